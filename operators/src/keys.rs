//! How keys within a tenant are written, borrowed and routed, and the number of each operator.
//!
//! Tenants never see each other's rows: every key is a [`Scoped`] pair. Looking one up borrows both parts
//! ([`ScopedRef`]), so that an id too long to lie inline costs no allocation per record.

use runtime::{slot_of, stable_hash2};
use schemas::{ReferenceKey, Text};
use serde::{Deserialize, Serialize};

/// Operators by number: timers due at the same time come in this order. Stable across versions.
pub mod stage {
    /// Rows that a record removes: by a delete, by a move to another key, or all of them by a truncate.
    pub const TABLE: u16 = 0;
    pub const DEDUP: u16 = 1;
    pub const DESK: u16 = 2;
    pub const FRAUD: u16 = 3;
    pub const BOOK: u16 = 4;
    pub const DRAWS: u16 = 5;
    /// Slots that pay prizes of one result.
    pub const PAY: u16 = 6;
    /// Slots whose tickets turn out to be too late for one result.
    pub const TICKETS: u16 = 7;
}

/// An id within a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scoped {
    pub tenant: Text,
    pub id: Text,
}

/// The same, borrowed. Hashes as [`Scoped`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopedRef<'a> {
    pub tenant: &'a str,
    pub id: &'a str,
}

impl Scoped {
    /// Both parts, borrowed.
    pub fn borrowed(&self) -> ScopedRef<'_> {
        ScopedRef { tenant: &self.tenant, id: &self.id }
    }

    /// The hash by which it is routed.
    pub fn route(&self) -> u64 {
        stable_hash2(self.tenant.as_bytes(), self.id.as_bytes())
    }

    /// The slot that holds it.
    pub fn slot(&self) -> u8 {
        slot_of(self.route())
    }
}

impl ScopedRef<'_> {
    /// The pair, to keep.
    pub fn to_owned(self) -> Scoped {
        Scoped { tenant: Text::from(self.tenant), id: Text::from(self.id) }
    }
}

impl hashbrown::Equivalent<Scoped> for ScopedRef<'_> {
    fn equivalent(&self, key: &Scoped) -> bool {
        self.tenant == key.tenant && self.id == key.id
    }
}

/// The hash by which a reference row's changes are routed. Equal ids in different tables differ in the low bits.
pub fn reference_route(key: &ReferenceKey) -> u64 {
    let (tenant, id) = key.parts();
    stable_hash2(tenant.as_bytes(), id.as_bytes()).wrapping_add(key.table() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::KeyedState;

    #[test]
    fn a_borrowed_pair_finds_what_an_owned_one_put_there() {
        let mut state = KeyedState::new("test.v1", Scoped::slot);
        let long = "an id that is much too long to lie inline";
        state.insert(ScopedRef { tenant: "t", id: long }.to_owned(), 7);
        assert_eq!(state.get(&ScopedRef { tenant: "t", id: long }), Some(&7));
        assert_eq!(state.get(&ScopedRef { tenant: "u", id: long }), None);
    }
}
