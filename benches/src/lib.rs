//! What the programs of this crate share: a made-up day of sales, and a straight loop that decides on it.

pub mod day;
pub mod guarded;
pub mod straight;
pub mod visible;
