//! Entries of a snapshot, packed as they stand in its files.
//!
//! ```text
//!   entry = slot (1 byte) · key (length, bytes) · 0 | 1 value (length, bytes)        lengths as varints
//! ```
//!
//! A snapshot is written between epochs, by the thread that has to get on with the next one: an entry costs
//! it no allocation. The bytes are those in which postcard writes a sequence of [`StateEntry`].

use serde::{Deserialize, Serialize};

/// One changed key of one state, unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    pub slot: u8,
    pub key: Vec<u8>,
    /// Absent where the key was removed.
    pub value: Option<Vec<u8>>,
}

/// Any number of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    bytes: Vec<u8>,
    count: usize,
    scratch: Vec<u8>,
}

impl Entries {
    /// Takes over bytes that hold `count` entries.
    pub(crate) fn from_packed(bytes: Vec<u8>, count: usize) -> Self {
        Entries { bytes, count, scratch: Vec::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The packed bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds an entry, encoded; an absent value says that the key was removed.
    pub fn add<K: Serialize, V: Serialize>(&mut self, slot: u8, key: &K, value: Option<&V>) {
        self.begin(slot);
        self.put_encoded(key);
        match value {
            Some(value) => {
                self.bytes.push(1);
                self.put_encoded(value);
            }
            None => self.bytes.push(0),
        }
    }

    /// Adds an entry of bytes.
    pub fn add_bytes(&mut self, slot: u8, key: &[u8], value: Option<&[u8]>) {
        self.begin(slot);
        put_sized(&mut self.bytes, key);
        match value {
            Some(value) => {
                self.bytes.push(1);
                put_sized(&mut self.bytes, value);
            }
            None => self.bytes.push(0),
        }
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: &StateEntry) {
        self.add_bytes(entry.slot, &entry.key, entry.value.as_deref());
    }

    /// All of them, unpacked.
    ///
    /// # Errors
    /// Where the bytes are no entries.
    pub fn unpack(&self) -> Result<Vec<StateEntry>, postcard::Error> {
        self.iter().collect()
    }

    fn begin(&mut self, slot: u8) {
        self.count += 1;
        self.bytes.push(slot);
    }

    fn put_encoded(&mut self, what: &impl Serialize) {
        self.scratch.clear();
        let scratch = postcard::to_extend(what, std::mem::take(&mut self.scratch));
        self.scratch = scratch.expect("plain data always encodes into memory");
        put_sized(&mut self.bytes, &self.scratch);
    }

    /// Moves all entries of `other` behind these.
    pub fn append(&mut self, other: &mut Entries) {
        self.bytes.append(&mut other.bytes);
        self.count += std::mem::take(&mut other.count);
    }

    /// The entries, unpacked one after the other; the first that can't be is the last that comes.
    pub fn iter(&self) -> impl Iterator<Item = Result<StateEntry, postcard::Error>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| {
                let taken = postcard::take_from_bytes(rest);
                rest = taken.as_ref().map_or(&[], |(_, after)| after);
                taken.map(|(entry, _)| entry)
            })
        })
    }
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

impl FromIterator<StateEntry> for Entries {
    fn from_iter<I: IntoIterator<Item = StateEntry>>(entries: I) -> Self {
        let mut packed = Entries::default();
        entries.into_iter().for_each(|entry| packed.push(&entry));
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_what_postcard_writes_and_comes_back() {
        let entry = |slot, key: &[u8], value: Option<Vec<u8>>| StateEntry { slot, key: key.into(), value };
        let entries = vec![
            entry(0, b"", None),
            entry(255, b"k", Some(vec![])),
            entry(7, &[1; 127], Some(vec![2; 128])),
            entry(8, &[3; 16_383], Some(vec![4; 16_384])),
        ];
        let packed: Entries = entries.iter().cloned().collect();
        let all = postcard::to_stdvec(&entries).unwrap();
        assert_eq!((packed.len(), packed.bytes()), (4, &all[1..]));
        assert_eq!(packed.unpack().unwrap(), entries);
        let mut encoded = Entries::default();
        encoded.add(9, &300u32, Some(&"value"));
        encoded.add(9, &300u32, None::<&str>.as_ref());
        let key = postcard::to_stdvec(&300u32).unwrap();
        let value = postcard::to_stdvec("value").unwrap();
        let both = [entry(9, &key, Some(value)), entry(9, &key, None)];
        assert_eq!(encoded.unpack().unwrap(), both);
        assert!(Entries::from_packed(vec![1, 200, 2], 1).unpack().is_err());
    }
}
