//! The demo: several businesses' worth of invented traffic, from a seed.
//!
//! ```text
//!   world ─ reference rows ─┐
//!                           ├─ generator (pure iterator) ─> producer (thread) ─> log
//!   random ─ fates ─────────┘
//! ```

pub mod draws;
pub mod fate;
pub mod generator;
pub mod latency;
pub mod producer;
pub mod random;
pub mod record;
pub mod reference;
pub mod summary;
pub mod view;
pub mod world;
