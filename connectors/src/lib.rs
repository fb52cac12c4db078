//! How records get in: the embedded log or Kafka, the decoding of commands and change records, publishers' feeds.
//!
//! A connector knows the runtime's traits and the schemas, no job and no sink.

pub mod captured_records;
pub mod decode;
pub mod embedded;
pub mod fact_records;
pub mod feed;
pub mod kafka;
