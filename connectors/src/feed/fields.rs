//! A row's named values, all of them text: what a publisher means by them is the mapping's business.

use std::collections::BTreeMap;

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Trimmed. Empty where the publisher says nothing.
    Text(String),
    /// A JSON list.
    List(Vec<String>),
}

/// Fields by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, Value>);

impl Fields {
    /// Adds a field.
    ///
    /// # Errors
    /// Where there is one of this name: which of both is meant, nobody knows.
    pub fn add(&mut self, name: String, value: Value) -> Result<(), String> {
        match self.0.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(format!("the field {name:?} stands there twice")),
        }
    }

    /// Names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn get(&self, name: &str) -> Result<&Value, String> {
        self.0.get(name).ok_or_else(|| format!("the field {name:?} is missing"))
    }

    /// A field of one value; empty text where it is empty.
    ///
    /// # Errors
    /// Where it is missing or a list.
    pub fn text(&self, name: &str) -> Result<&str, String> {
        match self.get(name)? {
            Value::Text(text) => Ok(text),
            Value::List(items) => {
                Err(format!("the field {name:?} is a list of {}, not one value", items.len()))
            }
        }
    }

    /// A field's values: a list as it is, a text split where `split` says so, empty text as none.
    ///
    /// # Errors
    /// Where it is missing, or a list that should be split.
    pub fn items(&self, name: &str, split: Option<&str>) -> Result<Vec<&str>, String> {
        match (self.get(name)?, split) {
            (Value::List(_), Some(_)) => {
                Err(format!("the field {name:?} is a list already, nothing to split"))
            }
            (Value::List(items), None) => Ok(items.iter().map(String::as_str).collect()),
            (Value::Text(text), _) if text.is_empty() => Ok(Vec::new()),
            (Value::Text(text), None) => Ok(vec![text]),
            // A run of blanks separates as one blank does; of any other separator, two mean an item is missing.
            (Value::Text(text), Some(split)) if split.trim().is_empty() => {
                Ok(text.split_whitespace().collect())
            }
            (Value::Text(text), Some(split)) => Ok(text.split(split).map(str::trim).collect()),
        }
    }
}
