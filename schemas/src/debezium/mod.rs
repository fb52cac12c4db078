//! Change data capture as Debezium writes it.
//!
//! ```text
//!   bytes ── JSON, bare | JSON, {"schema","payload"} | Avro ──> Message ──> Change of a reference row
//!                                                        │
//!                     Tombstone | Notice | Envelope {op, source, before, after: named Datums}
//! ```
//!
//! Two layers: [`message`] reads any table's messages into an [`Envelope`]; [`ChangeDecoder`] maps the
//! envelopes of our own reference tables onto [`Change`](crate::reference::Change)s.
//!
//! Where a message brings its schema (wrapped JSON, Avro), the schema says what a column is: decimals are
//! exact whatever their size, times keep their precision. Bare JSON has none, so a decimal sent as bytes or
//! a time in microseconds looks like any text or number; [`Hints`] name such columns.
//!
//! What it does not do: rows flattened by the ExtractNewRecordState transform have lost their operation
//! and position and are refused; PostgreSQL's unavailable (unchanged TOAST) values are refused where a
//! column of ours needs them.

mod avro;
mod change;
mod commission;
mod connect;
mod datum;
mod draws;
mod envelope;
mod hints;
mod write;

pub use avro::AvroSchemas;
pub use change::{ChangeDecoder, DecodedChange, decode_change};
pub use datum::{Datum, Decimal};
pub use envelope::{Cells, Envelope, Message, Notice, Op, Source, key, message};
pub use hints::{Hints, Semantic};
pub use write::{envelope, key_of, truncate};
