//! How results get out: facts into the log, rows into the serving tables, each epoch exactly once.
//!
//! A sink knows the runtime's traits and the schemas, no job and no connector.

pub mod announcement;
pub mod answers;
pub mod clickhouse;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod digest;
pub mod embedded;
pub mod images;
pub mod migration;
pub mod postgres;
pub mod publishing;
mod rows;
pub mod social;
mod tls;

pub use tls::TlsError;
