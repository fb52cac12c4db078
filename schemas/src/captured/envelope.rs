//! The envelope of a change, read field by field as it comes: rows by their schema, everything else by name.

use super::cell::Cell;
use super::types::Column;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// What a change says, its rows as cells in the order of the columns.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    /// Absent: no change of a row.
    pub op: Option<String>,
    pub before: Option<Vec<Cell>>,
    pub after: Option<Vec<Cell>>,
    pub source: Source,
}

/// Where the change was made.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Source {
    pub lsn: Option<u64>,
    pub ts_ms: Option<i64>,
    pub snapshot: Option<Snapshot>,
    /// Of a binary log.
    pub file: Option<String>,
    pub pos: Option<u64>,
    pub row: Option<u64>,
}

/// Older connectors write a flag.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Snapshot {
    Flag(bool),
    Word(String),
}

impl Source {
    pub fn is_snapshot(&self) -> bool {
        match &self.snapshot {
            None => false,
            Some(Snapshot::Flag(flag)) => *flag,
            Some(Snapshot::Word(word)) => !matches!(word.as_str(), "" | "false"),
        }
    }
}

/// Reads an envelope whose rows have these columns.
pub(super) struct EnvelopeSeed<'a>(pub &'a [Column]);

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = Envelope;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Envelope, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the envelope of a change")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(field) = fields.next_key::<Field>()? {
            match field {
                Field::Op => envelope.op = fields.next_value()?,
                Field::Before => envelope.before = fields.next_value_seed(RowSeed(self.0))?,
                Field::After => envelope.after = fields.next_value_seed(RowSeed(self.0))?,
                Field::Source => envelope.source = fields.next_value()?,
                Field::Other => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(envelope)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Op,
    Before,
    After,
    Source,
    #[serde(other)]
    Other,
}

/// Reads a row, or none.
pub(super) struct RowSeed<'a>(pub &'a [Column]);

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Option<Vec<Cell>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Option<Vec<Cell>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row, or null")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut cells = vec![Cell::Null; self.0.len()];
        let mut next = 0;
        while let Some(place) = fields.next_key_seed(PlaceSeed { columns: self.0, next })? {
            match place {
                Some(place) => {
                    cells[place] = fields.next_value()?;
                    next = place + 1;
                }
                None => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(cells))
    }
}

/// Finds a column by name; they come in the schema's order, so that the next one is looked at first.
struct PlaceSeed<'a> {
    columns: &'a [Column],
    next: usize,
}

impl<'de> DeserializeSeed<'de> for PlaceSeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for PlaceSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let is_next = self.columns.get(self.next).is_some_and(|column| column.name == name);
        Ok(if is_next { Some(self.next) } else { self.columns.iter().position(|c| c.name == name) })
    }
}
