//! Fields of requests: declared once, held to by the parser and described in the OpenAPI document.

use crate::problem::Problem;
use schemas::Text;
use serde_json::{Map, Value, json};

/// Longest cursor, in bytes: a key of five ids whose every byte is written as `\u001f`, in base64, and some.
pub const CURSOR_MAX: usize = 6_144;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// 1 to 128 bytes.
    Id,
    /// Free text.
    Text,
    /// What a page gave to go on with: as long as the longest key makes it.
    Cursor,
    Int,
    Ints,
    Ids,
    Choice(&'static [&'static str]),
    Object,
    Objects,
}

/// A field of a body or a query.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub about: &'static str,
}

/// A field that may be left out.
pub const fn may(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, required: false, about }
}

/// A field that must be there.
pub const fn must(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, required: true, about }
}

impl Kind {
    /// As JSON Schema.
    pub fn schema(self) -> Value {
        match self {
            Kind::Id => json!({"type": "string", "minLength": 1, "maxLength": 128}),
            Kind::Text => json!({"type": "string", "maxLength": 1024}),
            Kind::Cursor => {
                json!({"type": "string", "maxLength": CURSOR_MAX, "pattern": "^[A-Za-z0-9_-]*$"})
            }
            Kind::Int => json!({"type": "integer", "format": "int64"}),
            Kind::Ints => json!({"type": "array", "items": {"type": "integer", "format": "int32"}}),
            Kind::Ids => {
                json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1000})
            }
            Kind::Choice(words) => json!({"type": "string", "enum": words}),
            Kind::Object => json!({"type": "object"}),
            Kind::Objects => json!({"type": "array", "items": {"type": "object"}, "maxItems": 256}),
        }
    }

    fn fits(self, value: &Value) -> bool {
        let int = |value: &Value| value.as_i64().is_some();
        match (self, value) {
            (Kind::Id, Value::String(text)) => (1..=128).contains(&text.len()),
            (Kind::Text, Value::String(text)) => text.len() <= 1024,
            (Kind::Cursor, Value::String(text)) => text.len() <= CURSOR_MAX,
            (Kind::Int, value) => int(value),
            (Kind::Ints, Value::Array(items)) => items.iter().all(int),
            (Kind::Ids, Value::Array(items)) => {
                (1..=1_000).contains(&items.len()) && items.iter().all(Value::is_string)
            }
            (Kind::Choice(words), Value::String(text)) => words.contains(&text.as_str()),
            (Kind::Object, Value::Object(_)) => true,
            (Kind::Objects, Value::Array(items)) => items.len() <= 256 && items.iter().all(Value::is_object),
            _ => false,
        }
    }

    fn wanted(self) -> String {
        match self {
            Kind::Id => "send text of 1 to 128 bytes".to_owned(),
            Kind::Text => "send text of at most 1024 bytes".to_owned(),
            Kind::Cursor => "send the `next_cursor` of the page before".to_owned(),
            Kind::Int => "send a whole number".to_owned(),
            Kind::Ints => "send a list of whole numbers".to_owned(),
            Kind::Ids => "send a list of 1 to 1000 texts".to_owned(),
            Kind::Choice(words) => format!("send one of {}", words.join(", ")),
            Kind::Object => "send an object".to_owned(),
            Kind::Objects => "send a list of objects".to_owned(),
        }
    }
}

/// Fields that were sent and fit their declarations.
#[derive(Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Out of a JSON body; an empty one has no fields. Null is the same as absent.
    ///
    /// # Errors
    /// Names the field that is wrong, missing or unknown.
    pub fn of_body(declared: &[Field], body: &[u8]) -> Result<Fields, Problem> {
        let mut sent: Map<String, Value> = if body.trim_ascii().is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(body)
                .map_err(|e| Problem::new("malformed", format!("the body is no JSON object: {e}")))?
        };
        sent.retain(|_, value| !value.is_null());
        Fields::checked(declared, sent)
    }

    /// Out of a query string.
    ///
    /// # Errors
    /// As [`Fields::of_body`].
    pub fn of_query(declared: &[Field], query: &str) -> Result<Fields, Problem> {
        let mut sent = Map::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            let int = declared.iter().any(|f| f.name == name && matches!(f.kind, Kind::Int));
            let value = match value.parse::<i64>() {
                Ok(number) if int => Value::from(number),
                _ => Value::from(value),
            };
            sent.insert(name, value);
        }
        Fields::checked(declared, sent)
    }

    fn checked(declared: &[Field], sent: Map<String, Value>) -> Result<Fields, Problem> {
        for (name, value) in &sent {
            let Some(field) = declared.iter().find(|field| field.name == name) else {
                let problem = format!("there is no field `{name}`; leave it out or correct its name");
                return Err(Problem::new("invalid", problem).with("field", name.as_str()));
            };
            if !field.kind.fits(value) {
                return Err(invalid(field.name, &field.kind.wanted()));
            }
        }
        match declared.iter().find(|field| field.required && !sent.contains_key(field.name)) {
            Some(missing) => Err(invalid(missing.name, "it is missing")),
            None => Ok(Fields(sent)),
        }
    }

    /// A text, where it was sent.
    pub fn text(&self, name: &str) -> Option<Text> {
        self.0.get(name).and_then(Value::as_str).map(Text::from)
    }

    /// A number, where it was sent.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    /// A number that fits 32 bits.
    ///
    /// # Errors
    /// Where it doesn't.
    pub fn small(&self, name: &str) -> Result<Option<i32>, Problem> {
        let small = |int| i32::try_from(int).map_err(|_| invalid(name, "it is too large"));
        self.int(name).map(small).transpose()
    }

    /// Numbers; none where they weren't sent.
    ///
    /// # Errors
    /// Where one doesn't fit 32 bits.
    pub fn smalls(&self, name: &str) -> Result<Vec<i32>, Problem> {
        let items = self.0.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let small = |item: &Value| item.as_i64().and_then(|int| i32::try_from(int).ok());
        items.iter().map(|item| small(item).ok_or_else(|| invalid(name, "a number is too large"))).collect()
    }

    /// Texts; none where they weren't sent.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let items = self.0.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// A value as it was sent.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

/// A field that is wrong.
pub fn invalid(field: &str, remedy: &str) -> Problem {
    Problem::new("invalid", format!("`{field}`: {remedy}")).with("field", field)
}

/// Undoes percent-encoding; `+` is a space.
pub fn decoded(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Problem::new("malformed", "the address isn't UTF-8; encode it as UTF-8 with %XX"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &[Field] =
        &[must("id", Kind::Id, ""), may("n", Kind::Int, ""), may("w", Kind::Choice(&["a", "b"]), "")];

    #[test]
    fn a_body_is_held_to_what_was_declared() {
        for (body, wanted) in [
            (r#"{"id":"x","n":3,"w":"a"}"#, None),
            (r#"{"id":"x","n":null}"#, None),
            (r#"{"n":3}"#, Some("`id`: it is missing")),
            (r#"{"id":""}"#, Some("`id`: send text")),
            (r#"{"id":"x","n":"3"}"#, Some("`n`: send a whole number")),
            (r#"{"id":"x","n":3.5}"#, Some("`n`: send a whole number")),
            (r#"{"id":"x","w":"c"}"#, Some("`w`: send one of a, b")),
            (r#"{"id":"x","m":1}"#, Some("there is no field `m`")),
            ("[]", Some("no JSON object")),
            ("", Some("`id`: it is missing")),
        ] {
            let said = Fields::of_body(DECLARED, body.as_bytes()).err().map(|p| format!("{p:?}"));
            assert_eq!(said.is_some(), wanted.is_some(), "{body}: {said:?}");
            assert!(said.unwrap_or_default().contains(wanted.unwrap_or_default()), "{body}");
        }
    }

    #[test]
    fn a_query_is_decoded_and_numbers_are_numbers() {
        let fields = Fields::of_query(DECLARED, "id=a%20b%2F+c&n=17").expect("good");
        assert_eq!((fields.text("id").as_deref(), fields.int("n")), (Some("a b/ c"), Some(17)));
        assert!(Fields::of_query(DECLARED, "id=x&n=many").is_err());
    }
}
