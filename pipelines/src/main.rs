//! tombola
fn main() {}
