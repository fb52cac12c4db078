//! One file of SQL that brings a store up to date, whichever store it is.

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    pub number: u32,
    pub name: &'static str,
    /// As in the file; names between at signs are not filled in.
    pub sql: &'static str,
    /// Whether it had been applied when it was looked at.
    pub applied: bool,
}
