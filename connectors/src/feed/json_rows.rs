//! Rows of a JSON document: the elements of a list, or the members of an object with their keys as a field.
//!
//! Objects within a row become fields with dotted names: `prizes.specialPrize`. A name that stands twice in an
//! object is a problem, not the last one's gain.

use super::draw::Problem;
use super::fields::{Fields, Value};
use super::mapping::Mapping;
use super::rows::{Row, Rows, within};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members, in their order, each as it was written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(All).map(Members)
    }
}

/// Reads `text` into `rows`.
///
/// # Errors
/// Where the document as a whole doesn't fit: then nothing of it is taken.
pub fn read(mapping: &Mapping, text: &str, rows: &mut Rows, name: &str) -> Result<(), String> {
    let document: &RawValue = serde_json::from_str(text).map_err(|e| format!("it is not JSON: {e}"))?;
    let place = mapping.rows.at.as_deref().unwrap_or_default();
    let at = place.split('.').filter(|step| !step.is_empty()).try_fold(document, step)?;
    match &mapping.rows.key {
        Some(key) => {
            for (member, row) in members(at).map_err(|e| format!("rows.at {place:?}: {e}"))?.0 {
                add(mapping, within(name, &format!("{place}[{member:?}]")), row, Some((key, member)), rows);
            }
        }
        None => {
            let list: Vec<&RawValue> = serde_json::from_str(at.get())
                .map_err(|e| format!("rows.at {place:?}: it is no list of rows: {e}"))?;
            for (index, row) in list.into_iter().enumerate() {
                add(mapping, within(name, &format!("{place}[{index}]")), row, None, rows);
            }
        }
    }
    Ok(())
}

fn members(value: &RawValue) -> Result<Members<'_>, String> {
    serde_json::from_str(value.get()).map_err(|e| format!("it is no object: {e}"))
}

fn step<'a>(value: &'a RawValue, name: &str) -> Result<&'a RawValue, String> {
    let mut found = members(value)?.0.into_iter().filter(|(member, _)| member == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Ok(value),
        (Some(_), Some(_)) => Err(format!("rows.at: {name:?} stands there twice")),
        (None, _) => Err(format!("rows.at: there is no {name:?}")),
    }
}

fn add(mapping: &Mapping, place: String, row: &RawValue, key: Option<(&String, String)>, rows: &mut Rows) {
    let named = key.as_ref().map(|(_, member)| member.clone());
    let read = || {
        let mut fields = Fields::default();
        if let Some((name, member)) = key {
            fields.add(name.clone(), Value::Text(member.trim().to_owned()))?;
        }
        flatten("", row, &mut fields)?;
        fields.names().try_for_each(|field| mapping.check_known("field", field))?;
        Ok(fields)
    };
    let original = match named {
        Some(member) => format!("{{{}:{}}}", serde_json::Value::String(member), row.get()).into_bytes(),
        None => row.get().as_bytes().to_vec(),
    };
    match read() {
        Ok(fields) => rows.rows.push(Row { place, original, fields }),
        Err(reason) => rows.problems.push(Problem { place, reason, original }),
    }
}

fn flatten(prefix: &str, object: &RawValue, fields: &mut Fields) -> Result<(), String> {
    for (name, value) in members(object)?.0 {
        let name = format!("{prefix}{}", name.trim());
        match value.get().as_bytes().first() {
            Some(b'{') => flatten(&format!("{name}."), value, fields)?,
            Some(b'[') => {
                let items: Vec<serde_json::Value> =
                    serde_json::from_str(value.get()).map_err(|e| format!("the field {name:?}: {e}"))?;
                let items = items.iter().map(|item| scalar(&name, item)).collect::<Result<_, _>>()?;
                fields.add(name, Value::List(items))?;
            }
            _ => {
                let value =
                    serde_json::from_str(value.get()).map_err(|e| format!("the field {name:?}: {e}"))?;
                let text = scalar(&name, &value)?;
                fields.add(name, Value::Text(text))?;
            }
        }
    }
    Ok(())
}

fn scalar(name: &str, value: &serde_json::Value) -> Result<String, String> {
    match value {
        serde_json::Value::Null => Ok(String::new()),
        serde_json::Value::Bool(is) => Ok(is.to_string()),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        serde_json::Value::String(text) => Ok(text.trim().to_owned()),
        _ => Err(format!("the list {name:?} holds more than plain values")),
    }
}
