//! One remembered command, in 24 bytes.
//!
//! ```text
//!   key  : 64 bits of the key's hash, never 0: the place in the table
//!   mid  : 32 more of the key's hash | 32 of the payload's
//!   tail : 8 more of the payload's | 14 hour | 42 time
//! ```
//!
//! Two commands of one slot are taken for one with probability 2^-96 a pair; another payload for the same
//! with 2^-40, and only under the same `command_id`. Times are exact, up to the year 2109. Hours are those of the slot's clock (see
//! the store) modulo 16,384, of which the store never holds more than 12,000 in a row.

use runtime::Millis;

/// Largest time that fits.
const TIME_MS_MAX: Millis = (1 << 42) - 1;
/// Hours are told apart within this.
const HOURS: i64 = 1 << 14;
/// Bytes of an entry in a snapshot.
pub const ENTRY_BYTES: usize = 24;

/// 96 bits of a key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash {
    pub high: u64,
    pub low: u32,
}

impl KeyHash {
    /// Of a 128-bit hash.
    pub fn new(hash: u128) -> Self {
        KeyHash { high: ((hash >> 64) as u64).max(1), low: hash as u32 }
    }
}

/// A remembered command; all zeros is an empty cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    key: u64,
    mid: u64,
    tail: u64,
}

impl Entry {
    /// Packs. Of `payload` 40 bits are kept, of `hour` 14.
    pub fn new(key: KeyHash, payload: u64, time: Millis, hour: i64) -> Self {
        let time = time.clamp(0, TIME_MS_MAX) as u64;
        Entry {
            key: key.high,
            mid: u64::from(key.low) << 32 | payload & 0xffff_ffff,
            tail: (payload >> 32 & 0xff) << 56 | (hour.rem_euclid(HOURS) as u64) << 42 | time,
        }
    }

    /// Whether the cell holds nothing.
    pub fn is_empty(&self) -> bool {
        self.key == 0
    }

    /// Its key.
    pub fn key(&self) -> KeyHash {
        KeyHash { high: self.key, low: (self.mid >> 32) as u32 }
    }

    /// Whether both say the same of their payload.
    pub fn same_payload(&self, other: &Entry) -> bool {
        self.mid as u32 == other.mid as u32 && self.tail >> 56 == other.tail >> 56
    }

    /// When it was first given.
    pub fn time(&self) -> Millis {
        (self.tail & ((1 << 42) - 1)) as Millis
    }

    /// The hour at which it was remembered: the last one not after `newest` that it can be.
    pub fn hour(&self, newest: i64) -> i64 {
        let hour = (self.tail >> 42) as i64 & (HOURS - 1);
        newest - (newest - hour).rem_euclid(HOURS)
    }

    /// As a snapshot holds it.
    pub fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip([self.key, self.mid, self.tail]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Back from a snapshot; absent where the bytes are none of ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let entry = Entry { key: word(0)?, mid: word(8)?, tail: word(16)? };
        (bytes.len() == ENTRY_BYTES && !entry.is_empty()).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_gives_back_what_was_packed_and_survives_a_snapshot() {
        let key = KeyHash::new(0xfedc_ba98_7654_3210_0123_4567_89ab_cdef);
        let entry = Entry::new(key, 0x1122_3344_5566_7788, 1_760_000_000_123, 488_888);
        assert_eq!((entry.key(), entry.time(), entry.hour(488_900)), (key, 1_760_000_000_123, 488_888));
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        assert_eq!(Entry::from_bytes(&entry.to_bytes()[..23]), None);
        assert!(entry.same_payload(&Entry::new(key, 0xffff_ff44_5566_7788, 0, 0)));
        assert!(!entry.same_payload(&Entry::new(key, 0x1122_3345_5566_7788, 0, 0)));
        assert!(!entry.same_payload(&Entry::new(key, 0x1122_3344_5566_7789, 0, 0)));
        assert_eq!(size_of::<Entry>(), ENTRY_BYTES);
    }
}
