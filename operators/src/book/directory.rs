//! State found by (tenant, name), under keys that are cheap to hash, copy and sort.
//!
//! ```text
//!   (tenant, name) ─ hash ─> Key { home, hash, nth } ─> value, which knows its own names
//! ```
//!
//! Two names may share a hash. Then they stand in a row, `nth` = 0, 1, 2, .., without holes, and the
//! value's own names say which is which: nothing is ever found under another's name. A removal closes its
//! hole with the last of the row, and says so, because the moved value has a new key.

use runtime::{KeyedState, stable_hash};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A tenant, with the hash that routes it.
#[derive(Clone, Copy)]
pub struct Tenant<'a> {
    pub home: u64,
    pub name: &'a str,
}

impl<'a> Tenant<'a> {
    pub fn of(name: &'a str) -> Self {
        Tenant { home: stable_hash(name.as_bytes()), name }
    }
}

/// Where a value is kept. Sorted by tenant, then hash: the order of timers that are due together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub home: u64,
    pub hash: u64,
    pub nth: u32,
}

/// A value that knows whose it is.
pub trait Named {
    fn tenant(&self) -> &str;
    fn name(&self) -> &str;

    /// The name first: it tells more.
    fn is(&self, tenant: &str, name: &str) -> bool {
        self.name() == name && self.tenant() == tenant
    }
}

/// Values by (tenant, name).
pub struct Directory<V> {
    pub map: KeyedState<Key, V>,
    hash: fn(&[u8]) -> u64,
}

impl<V: Named + Serialize + DeserializeOwned> Directory<V> {
    pub fn new(state: &'static str) -> Self {
        Self::with_hash(state, stable_hash)
    }

    fn with_hash(state: &'static str, hash: fn(&[u8]) -> u64) -> Self {
        Directory { map: KeyedState::new(state, |key| runtime::slot_of(key.home)), hash }
    }

    /// The key of what has this name.
    pub fn find(&self, tenant: Tenant, name: &str) -> Option<Key> {
        let mut key = self.first(tenant, name);
        while !self.map.get(&key)?.is(tenant.name, name) {
            key.nth += 1;
        }
        Some(key)
    }

    /// Reads what a search for this name reads, so that it is near when it is searched for. What it says
    /// means nothing.
    pub fn glance(&self, tenant: Tenant, name: &str) -> u64 {
        self.map.get(&self.first(tenant, name)).map_or(0, |value| value.name().bytes().map(u64::from).sum())
    }

    /// The value of a key just found.
    pub fn at(&self, key: Key) -> &V {
        self.map.get(&key).expect("a key just found has a value")
    }

    /// The value of a key just found, to change it.
    pub fn at_mut(&mut self, key: Key) -> &mut V {
        self.map.get_mut(&key).expect("a key just found has a value")
    }

    /// Takes a value whose name isn't there yet.
    pub fn insert(&mut self, tenant: Tenant, value: V) -> Key {
        assert_eq!(value.tenant(), tenant.name, "a value is kept with its own tenant");
        let mut key = self.first(tenant, value.name());
        while let Some(other) = self.map.get(&key) {
            assert!(other.name() != value.name() || other.tenant() != tenant.name, "nothing is kept twice");
            key.nth += 1;
        }
        self.map.insert(key, value);
        key
    }

    /// Removes a value. Where another moved into its place, that place: what was known of it by key
    /// (its timer) has to be set again.
    pub fn remove(&mut self, key: Key) -> Option<Key> {
        let mut last = key;
        while self.map.contains(&Key { nth: last.nth + 1, ..last }) {
            last.nth += 1;
        }
        let moved = self.map.remove(&last).expect("a key just found has a value");
        if last == key {
            return None;
        }
        self.map.insert(key, moved);
        Some(key)
    }

    fn first(&self, tenant: Tenant, name: &str) -> Key {
        Key { home: tenant.home, hash: (self.hash)(name.as_bytes()), nth: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Named for (String, String) {
        fn tenant(&self) -> &str {
            &self.0
        }

        fn name(&self) -> &str {
            &self.1
        }
    }

    /// `+name` inserts, `-name` removes, `?name` finds; every name has one hash. Expected: the names left
    /// in order of their place.
    fn check(script: &str, expected: &str) {
        let mut directory = Directory::with_hash("test.v1", |_| 7);
        let tenant = Tenant::of("t");
        for word in script.split_whitespace() {
            let (what, name) = word.split_at(1);
            let found = directory.find(tenant, name);
            match what {
                "+" => drop(directory.insert(tenant, ("t".to_owned(), name.to_owned()))),
                "-" => drop(directory.remove(found.unwrap())),
                _ => assert_eq!(directory.at(found.unwrap()).1, name),
            }
        }
        let key = |nth| Key { home: tenant.home, hash: 7, nth };
        let left: Vec<&str> = (0..9).map_while(|nth| directory.map.get(&key(nth))).map(|v| &*v.1).collect();
        assert_eq!(left.join(" "), expected);
        assert_eq!(directory.map.iter().count(), left.len(), "a hole in the row");
    }

    #[test]
    fn names_that_share_a_hash_are_told_apart_and_leave_no_holes() {
        check("+a +b +c ?a ?b ?c", "a b c");
        check("+a +b +c -b ?a ?c", "a c");
        check("+a +b +c -a ?b ?c", "c b");
        check("+a +b -b -a", "");
        check("+a -a +b ?b", "b");
    }

    #[test]
    fn a_name_is_found_in_its_own_tenant_only() {
        let mut directory = Directory::with_hash("test.v1", |_| 7);
        let (one, two) = (Tenant { home: 5, name: "one" }, Tenant { home: 5, name: "two" });
        directory.insert(one, ("one".to_owned(), "x".to_owned()));
        assert!(directory.find(one, "x").is_some() && directory.find(two, "x").is_none());
    }
}
