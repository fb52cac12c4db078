//! Which topics are mirrored, and what their tables are called.

/// Ends the name of the view with plain semantics.
pub(super) const CURRENT: &str = "_current";

/// Whether a topic matches one of the patterns, in which `*` stands for anything.
pub(super) fn is_wanted(patterns: &[String], topic: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, topic))
}

fn matches(pattern: &str, topic: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = topic.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// `orders` of `oltp.public.orders`, `audit_orders` of `oltp.audit.orders`: the first part is the connector's, and
/// the schema that everybody uses goes without saying. Two topics may come to one name; the mirror refuses the second.
pub(super) fn table_of(topic: &str) -> String {
    let parts: Vec<&str> = topic.split('.').collect();
    let of_table = match parts.as_slice() {
        [_, "public", rest @ ..] if !rest.is_empty() => rest,
        [_, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    of_table.join("_")
}

/// A name as SQL writes it.
pub(super) fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, topic, expected) in [
            ("oltp.public.*", "oltp.public.orders", true),
            ("oltp.public.*", "oltp.audit.orders", false),
            ("*.orders", "oltp.public.orders", true),
            ("oltp.*.orders*", "oltp.public.orders_2", true),
            ("oltp.public.orders", "oltp.public.orders", true),
            ("oltp.public.orders", "oltp.public.orders_2", false),
            ("a*a", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, topic), expected, "{pattern} {topic}");
        }
    }

    #[test]
    fn a_table_is_named_after_its_topic() {
        for (topic, expected) in [
            ("oltp.public.orders", "orders"),
            ("oltp.audit.orders", "audit_orders"),
            ("oltp.orders", "orders"),
            ("orders", "orders"),
            ("oltp.public", "public"),
        ] {
            assert_eq!(table_of(topic), expected);
        }
    }
}
