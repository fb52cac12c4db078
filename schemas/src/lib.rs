//! Contracts of every record that crosses Tombola's border, and the codecs that read and write them.
//!
//! ```text
//!   NDJSON ─┐                                        ┌─ Avro (Confluent wire format)
//!   Avro  ──┼─> Command | reference row  ...  Fact ──┤
//!   Debezium┘                                        └─ serving Row (table, key, values)
//! ```
//!
//! This crate does no I/O and knows no runtime: bytes in, values out, and back.

pub mod avro;
pub mod captured;
mod checks;
pub mod commands;
pub mod compat;
mod datum;
pub mod debezium;
pub mod draws;
pub mod facts;
pub mod month;
mod names;
pub mod ndjson;
pub mod reference;
pub mod registry;
pub mod rows;
pub mod screening;
pub mod tables;
pub mod velocity;

/// An opaque identifier or short text. Inline up to 24 bytes, so that most ids cost no allocation.
pub type Text = compact_str::CompactString;

pub use avro::{DecodeError, Decoder, encode_command, encode_fact};
pub use checks::{PAYLOAD_HASH, sent_payload_hash};
pub use commands::Command;
pub use facts::Fact;
pub use month::Month;
pub use ndjson::{NdjsonRecord, parse_line, to_line};
pub use reference::{Reference, ReferenceKey};
pub use registry::{Record, SchemaIds};
pub use rows::{Row, TableSpec, Value};
pub use tables::{ALL_TABLES, RowKey};
