//! How records lie in a batch: one blob per row of `batches`, some hundreds of records each.
//!
//! ```text
//!   record  = timestamp i64 LE · key · value · headers      (bytes = 0 for none, else varint length+1, then the bytes)
//!   headers = varint length of all, then per header: varint length · name · bytes
//! ```
//!
//! A batch worth it is stored LZ4-compressed: records of one topic are alike, and the disk is slower than
//! the processor. The checksum (xxh3, 64 bits) covers the bytes as stored and where they belong (partition,
//! base offset, count), so that a batch that was cut, overwritten or moved is noticed before any of its
//! records is believed.

use runtime::Millis;
use runtime::verdicts::Verdict;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A batch closes when it has this many records, so that a read from its middle decodes little in vain.
pub(crate) const BATCH_RECORDS_MAX: u32 = 1024;
/// ... or this many bytes.
pub(crate) const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Below this, compression gains less than a page.
const COMPRESS_BYTES_MIN: usize = 2_048;

/// A record as it lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    pub timestamp_ms: Millis,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: RawHeaders<'a>,
    /// What its binding says of it, in a replay.
    pub verdict: Verdict<'a>,
}

/// A record's headers, undecoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RawHeaders<'a>(&'a [u8]);

impl<'a> RawHeaders<'a> {
    /// Packs headers that come from elsewhere into `buffer`, which is emptied before.
    pub(crate) fn pack<'h>(
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
        buffer: &'a mut Vec<u8>,
    ) -> RawHeaders<'a> {
        buffer.clear();
        put_headers(buffer, headers);
        RawHeaders(buffer)
    }

    /// The first header of this name.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// Every header, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let name = take_sized(&mut rest)?;
            Some((name, take_optional(&mut rest)?.unwrap_or_default()))
        })
    }
}

/// A batch being filled.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    pub bytes: Vec<u8>,
    pub count: u32,
    pub time_max: Millis,
    headers: Vec<u8>,
}

impl BatchBuilder {
    pub fn is_full(&self) -> bool {
        self.count >= BATCH_RECORDS_MAX || self.bytes.len() >= BATCH_BYTES_MAX
    }

    /// Empties it; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    pub fn push<'h>(
        &mut self,
        timestamp_ms: Millis,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    ) {
        self.time_max = if self.count == 0 { timestamp_ms } else { self.time_max.max(timestamp_ms) };
        self.count += 1;
        self.bytes.extend_from_slice(&timestamp_ms.to_le_bytes());
        put_optional(&mut self.bytes, key);
        put_optional(&mut self.bytes, value);
        self.headers.clear();
        put_headers(&mut self.headers, headers);
        put_sized(&mut self.bytes, &self.headers);
    }
}

/// A batch's bytes as stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'a> {
    /// Their length before compression; absent where they are as they are.
    pub raw_length: Option<i64>,
    pub bytes: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Compresses into `buffer` where that gains something.
    pub fn pack(raw: &'a [u8], buffer: &'a mut Vec<u8>) -> Self {
        let plain = Stored { raw_length: None, bytes: raw };
        if raw.len() < COMPRESS_BYTES_MIN {
            return plain;
        }
        buffer.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
        match lz4_flex::block::compress_into(raw, buffer) {
            Ok(length) if length < raw.len() - raw.len() / 8 => {
                Stored { raw_length: Some(raw.len() as i64), bytes: &buffer[..length] }
            }
            _ => plain,
        }
    }

    /// The bytes before compression; `None` where they can't be had.
    pub fn unpack(self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let Some(length) = self.raw_length else { return Some(self.bytes) };
        buffer.resize(usize::try_from(length).ok()?, 0);
        let written = lz4_flex::block::decompress_into(self.bytes, buffer).ok()?;
        (written == buffer.len()).then_some(buffer)
    }

    /// What `batches.checksum` must be for a batch that stands at this place.
    pub fn checksum(&self, partition_id: i64, base_offset: i64, count: i64) -> i64 {
        let mut place = [partition_id.to_le_bytes(), base_offset.to_le_bytes(), count.to_le_bytes()].concat();
        place.extend(self.raw_length.into_iter().flat_map(i64::to_le_bytes));
        xxh3_64_with_seed(self.bytes, runtime::stable_hash(&place)) as i64
    }
}

/// The records of a batch, in order; `None` as an item says that the bytes are no batch.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Records { rest: bytes }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Option<RawRecord<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = take_record(&mut self.rest);
        if record.is_none() {
            self.rest = &[];
        }
        Some(record)
    }
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<RawRecord<'a>> {
    let (timestamp, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(RawRecord {
        timestamp_ms: i64::from_le_bytes(*timestamp),
        key: take_optional(rest)?,
        value: take_optional(rest)?,
        headers: RawHeaders(take_sized(rest)?),
        verdict: Verdict::Open,
    })
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_headers<'h>(out: &mut Vec<u8>, headers: impl Iterator<Item = (&'h str, &'h [u8])>) {
    for (name, bytes) in headers {
        put_sized(out, name.as_bytes());
        put_optional(out, Some(bytes));
    }
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            put_varint(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8], len: u64) -> Option<&'a [u8]> {
    let (bytes, tail) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = tail;
    Some(bytes)
}

fn take_sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_varint(rest)?;
    take_bytes(rest, len)
}

fn take_optional<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match take_varint(rest)? {
        0 => Some(None),
        len => take_bytes(rest, len - 1).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Parts = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

    fn built(records: &[Parts]) -> BatchBuilder {
        let mut batch = BatchBuilder::default();
        for (time, key, value, headers) in records {
            let headers = headers.iter().map(|(n, v)| (n.as_str(), v.as_slice()));
            batch.push(*time, key.as_deref(), value.as_deref(), headers);
        }
        batch
    }

    fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..200)
    }

    fn some_records() -> impl Strategy<Value = Vec<Parts>> {
        let header = ("[a-z]{0,9}", some_bytes());
        let optional = || proptest::option::of(some_bytes());
        let record = (any::<i64>(), optional(), optional(), proptest::collection::vec(header, 0..3));
        proptest::collection::vec(record, 0..5)
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(records in some_records()) {
            let batch = built(&records);
            let unpacked: Vec<Parts> = Records::new(&batch.bytes)
                .map(|r| r.expect("well-formed"))
                .map(|r| {
                    let headers = r.headers.iter()
                        .map(|(n, v)| (String::from_utf8(n.to_vec()).unwrap(), v.to_vec()));
                    (r.timestamp_ms, r.key.map(Into::into), r.value.map(Into::into), headers.collect())
                })
                .collect();
            prop_assert_eq!(unpacked, records);
        }

        #[test]
        fn bytes_that_are_no_batch_end_without_a_panic(bytes in some_bytes()) {
            let _ = Records::new(&bytes).count();
        }

        #[test]
        fn any_flipped_bit_changes_the_checksum(bytes in proptest::collection::vec(any::<u8>(), 1..200), at: usize) {
            let mut flipped = bytes.clone();
            let at = at % (bytes.len() * 8);
            flipped[at / 8] ^= 1 << (at % 8);
            let sum = |bytes| Stored { raw_length: None, bytes }.checksum(1, 0, 1);
            prop_assert_ne!(sum(&bytes), sum(&flipped));
        }

        #[test]
        fn what_is_compressed_comes_back(word in some_bytes(), times in 0_usize..300) {
            let raw = word.repeat(times);
            let (mut packed, mut unpacked) = (Vec::new(), Vec::new());
            let stored = Stored::pack(&raw, &mut packed);
            prop_assert!(stored.bytes.len() <= raw.len());
            prop_assert_eq!(stored.unpack(&mut unpacked), Some(&raw[..]));
        }
    }
}
