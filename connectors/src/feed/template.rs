//! Text with fields in braces: `{DD} {MMM} {YYYY}`, `{game}-{date}`.

use serde::Deserialize;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text.as_str());
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').map(|at| open + at);
            let close =
                close.ok_or_else(|| format!("{text:?} has a {{ without its }}; name a field: {{Name}}"))?;
            let name = rest[open + 1..close].trim();
            if name.is_empty() {
                return Err(format!("{text:?} has {{}} without a name; name a field: {{Name}}"));
            }
            parts.push(Part::Text(rest[..open].to_owned()));
            parts.push(Part::Field(name.to_owned()));
            rest = &rest[close + 1..];
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        if parts.is_empty() { Err("is empty; name a field: {Name}".to_owned()) } else { Ok(Template(parts)) }
    }
}

impl Template {
    /// The fields it names.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with every field filled in.
    ///
    /// # Errors
    /// What `value` says of the first field it refuses.
    pub fn fill<'a>(&self, mut value: impl FnMut(&str) -> Result<&'a str, String>) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(name) => out.push_str(value(name)?),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in_and_text_stays() {
        let template = Template::try_from("{DD} {MMM}-x".to_owned()).unwrap();
        let filled = template.fill(|name| Ok(if name == "DD" { "7" } else { "Jul" }));
        assert_eq!(filled, Ok("7 Jul-x".to_owned()));
        assert_eq!(template.fields().collect::<Vec<_>>(), ["DD", "MMM"]);
    }

    #[test]
    fn a_template_that_is_no_template_is_refused() {
        for (text, wanted) in [("{a", "without its }"), ("{}", "without a name"), ("", "is empty")] {
            let error = Template::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }
}
