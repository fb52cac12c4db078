//! Which topics are mirrored, and what their tables are called.

use super::ddl::is_own;
use std::collections::BTreeMap;

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

/// Topics that have a table each, in a fixed order; and those whose table would be another's, and why. Of two, the one that
/// is mirrored already keeps its name, else the first.
pub(super) fn tell_apart(
    mut topics: Vec<String>,
    is_mirrored: impl Fn(&str) -> bool,
) -> (Vec<String>, BTreeMap<String, String>) {
    topics.sort_by_key(|topic| (!is_mirrored(topic), topic.clone()));
    let (mut apart, mut refused): (Vec<String>, _) = (Vec::new(), BTreeMap::new());
    for topic in topics {
        let name = table_of(&topic);
        // A table must not be taken for another one's view.
        let clashes = |other: &&String| {
            let theirs = table_of(other);
            theirs == name || format!("{theirs}{CURRENT}") == name || format!("{name}{CURRENT}") == theirs
        };
        if let Some(other) = apart.iter().find(clashes) {
            let why = format!(
                "topics {other} and {topic} would share a table or view `{name}`; narrow mirror.topics"
            );
            refused.insert(topic, why);
        } else if is_own(&name) {
            refused
                .insert(topic, format!("the mirror has a table `{name}` of its own; narrow mirror.topics"));
        } else {
            apart.push(topic);
        }
    }
    apart.sort();
    (apart, refused)
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

    #[test]
    fn a_topic_whose_table_would_be_anothers_stands_aside_and_the_others_are_mirrored() {
        let check = |topics: &str, mirrored: &str, expected: &str, refused: &str| {
            let topics = topics.split(' ').map(str::to_owned).collect();
            let (apart, nameless) = tell_apart(topics, |topic| topic == mirrored);
            let nameless: Vec<String> = nameless.into_keys().collect();
            assert_eq!((apart.join(" "), nameless.join(" ")), (expected.to_owned(), refused.to_owned()));
        };
        check("b.public.t a.public.t a.u", "", "a.public.t a.u", "b.public.t");
        check("b.public.t a.public.t a.u", "b.public.t", "a.u b.public.t", "a.public.t");
        check("a.t a.t_current", "", "a.t", "a.t_current");
        check("a.t a.t_current", "a.t_current", "a.t_current", "a.t");
        check("a.mirror_progress a.t", "", "a.t", "a.mirror_progress");
    }
}
