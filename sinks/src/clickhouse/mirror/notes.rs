//! What a batch notes in the mirror's own tables: truncations, and records that don't go into their table.

use super::binary::Writer;
use super::gather::Taken;
use super::rows::{Kind, Piece, Pieces};
use super::state::Range;
use schemas::captured::Captured;
use std::collections::BTreeMap;

pub(super) const TRUNCATIONS: &str = "mirror_truncations";
pub(super) const REJECTED: &str = "mirror_rejected";

/// A record that doesn't go into its table: why, and its bytes.
struct Rejected<'a> {
    offset: u64,
    reason: &'a str,
    key: &'a [u8],
    value: &'a [u8],
}

fn write_place(writer: &mut Writer, range: &Range, offset: u64) {
    writer.string(range.topic.as_bytes());
    writer.bytes.extend_from_slice(&range.partition.to_le_bytes());
    writer.bytes.extend_from_slice(&offset.to_le_bytes());
}

pub(super) fn add_truncations(pieces: &mut Pieces, taken: &Taken) {
    let (mut writer, mut offsets) = (Writer::default(), Vec::new());
    for record in &taken.records {
        if let Captured::Truncate { position } = &record.body {
            write_place(&mut writer, &taken.range, record.offset.0);
            writer.bytes.extend_from_slice(&position.to_le_bytes());
            offsets.push(record.offset.0);
        }
    }
    if !offsets.is_empty() {
        pieces.note(TRUNCATIONS, "topic, __partition, __offset, lsn", writer.bytes, offsets);
    }
}

const REJECTED_COLUMNS: &str = "topic, __partition, __offset, reason, `key`, value";

/// What lies in `mirror_rejected`: records that can't be read, and `bytes` of those that can't be written or are refused.
pub(super) fn add_rejected(pieces: &mut Pieces, taken: &Taken, bytes: &BTreeMap<u64, Captured>) {
    let mut all: Vec<Rejected<'_>> = Vec::new();
    for record in &taken.records {
        if let Captured::Unreadable { reason, .. } = &record.body {
            all.extend(rejected(record.offset.0, reason, &record.body));
        }
    }
    let unfit = std::mem::take(&mut pieces.unfit);
    for (offset, reason) in &unfit {
        all.extend(bytes.get(offset).and_then(|body| rejected(*offset, reason, body)));
    }
    all.sort_by_key(|rejected| rejected.offset);
    if !all.is_empty() {
        let mut writer = Writer::default();
        all.iter().for_each(|rejected| write_rejected(&mut writer, &taken.range, rejected));
        let offsets = all.iter().map(|rejected| rejected.offset).collect();
        pieces.note(REJECTED, REJECTED_COLUMNS, writer.bytes, offsets);
    }
    for (offset, reason) in &taken.range.refused {
        let Some(refused) = bytes.get(offset).and_then(|body| rejected(*offset, reason, body)) else {
            continue;
        };
        let mut writer = Writer::default();
        write_rejected(&mut writer, &taken.range, &refused);
        pieces.all.push(Piece {
            table: REJECTED.to_owned(),
            columns: REJECTED_COLUMNS.to_owned(),
            bytes: writer.bytes,
            rows: 1,
            offsets: vec![*offset],
            name: format!("refused:{offset}"),
            kind: Kind::Refused,
        });
    }
    pieces.rejected = (all.len() + taken.range.refused.len()) as u64;
    pieces.unfit = unfit;
}

fn rejected<'a>(offset: u64, reason: &'a str, body: &'a Captured) -> Option<Rejected<'a>> {
    let Captured::Unreadable { key, value, .. } = body else { return None };
    let [key, value] = [key, value].map(|bytes| bytes.as_deref().unwrap_or_default());
    Some(Rejected { offset, reason, key, value })
}

fn write_rejected(writer: &mut Writer, range: &Range, rejected: &Rejected<'_>) {
    write_place(writer, range, rejected.offset);
    [rejected.reason.as_bytes(), rejected.key, rejected.value].iter().for_each(|text| writer.string(text));
}
