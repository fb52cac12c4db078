//! A publisher's document as rows: whatever its format, a row is named fields, its place and its original bytes.

use super::draw::Problem;
use super::fields::Fields;
use super::mapping::{Format, Mapping};
use super::{archive, csv_rows, json_rows};

/// Most bytes that are kept of what doesn't fit as a whole.
const KEPT_BYTES_MAX: usize = 65_536;

/// One row as it stands in its document.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where: `line 17`, `2026-04-20.json: results[3]`.
    pub place: String,
    /// The row as the publisher wrote it.
    pub original: Vec<u8>,
    pub fields: Fields,
}

/// The rows of a document, and what in it is no row.
#[derive(Debug, Default)]
pub struct Rows {
    pub rows: Vec<Row>,
    pub problems: Vec<Problem>,
}

/// Takes a document apart. `name` is what places begin with; empty for the document itself.
pub fn read(mapping: &Mapping, document: &[u8]) -> Rows {
    let mut rows = Rows::default();
    match mapping.rows.archive {
        None => read_file(mapping, "", document, &mut rows),
        Some(_) => {
            let unpacked = archive::unpack(document, mapping.rows.unpacked_bytes_max, |name, content| {
                if !mapping.rows.skips(name) {
                    read_file(mapping, name, content, &mut rows);
                }
            });
            if let Err(reason) = unpacked {
                // Half an archive is no archive: whatever came out of it may lack its other half.
                return Rows { rows: Vec::new(), problems: vec![whole("", document, reason)] };
            }
        }
    }
    rows
}

fn read_file(mapping: &Mapping, name: &str, document: &[u8], rows: &mut Rows) {
    let read = std::str::from_utf8(document)
        .map_err(|e| format!("the document is not UTF-8: {e}"))
        .map(|text| text.strip_prefix('\u{feff}').unwrap_or(text))
        .and_then(|text| match mapping.rows.format {
            Format::Csv => csv_rows::read(mapping, text, rows, name),
            Format::Json => json_rows::read(mapping, text, rows, name),
        });
    if let Err(reason) = read {
        rows.problems.push(whole(name, document, reason));
    }
}

/// A problem of a document as a whole; of a big one the beginning is kept.
fn whole(name: &str, document: &[u8], reason: String) -> Problem {
    let (original, cut) = kept(document);
    let place = if name.is_empty() { "the document".to_owned() } else { name.to_owned() };
    Problem { place, reason: format!("{reason}{cut}"), original }
}

/// What is kept of bytes that may be many, and a remark where that isn't all of them: a log takes no record of any size.
pub fn kept(bytes: &[u8]) -> (Vec<u8>, String) {
    let kept = &bytes[..bytes.len().min(KEPT_BYTES_MAX)];
    let cut = if kept.len() < bytes.len() {
        format!(" (these are the first {} of its {} bytes)", kept.len(), bytes.len())
    } else {
        String::new()
    };
    (kept.to_vec(), cut)
}

/// `place` within the file `name`.
pub fn within(name: &str, place: &str) -> String {
    if name.is_empty() { place.to_owned() } else { format!("{name}: {place}") }
}
