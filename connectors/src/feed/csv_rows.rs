//! Rows of a CSV document: columns by the names in its first line, whatever their order and padding.
//!
//! A row is a line. CSV lets a quoted field hold line breaks, but no publisher's draw does: where one seems to, a quote was
//! opened by mistake, and swallowed the lines of other draws. They are a problem together, and not the fields of one row.

use super::draw::Problem;
use super::fields::{Fields, Value};
use super::mapping::Mapping;
use super::rows::{Row, Rows, kept, within};
use csv::{ReaderBuilder, StringRecord};

/// Reads `text` into `rows`.
///
/// # Errors
/// Where the document as a whole doesn't fit: then nothing of it is taken.
pub fn read(mapping: &Mapping, text: &str, rows: &mut Rows, name: &str) -> Result<(), String> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(mapping.rows.delimiter.0)
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    if !reader.read_record(&mut record).map_err(|e| e.to_string())? {
        return Err("the document is empty: not even names of columns".to_owned());
    }
    let columns: Vec<String> = record.iter().map(|column| column.trim().to_owned()).collect();
    check_columns(mapping, &columns)?;
    loop {
        let from = reader.position().clone();
        if !reader.read_record(&mut record).map_err(|e| e.to_string())? {
            return Ok(());
        }
        let (start, end) = (from.byte() as usize, reader.position().byte() as usize);
        let original = text.as_bytes()[start..end].trim_ascii().to_vec();
        let line = record.position().map_or(from.line(), csv::Position::line);
        let place = within(name, &format!("line {line}"));
        if let Some(reason) = several_lines(&record, line, &original) {
            let (original, cut) = kept(&original);
            rows.problems.push(Problem { place, reason: format!("{reason}{cut}"), original });
            continue;
        }
        match fields(&columns, &record) {
            Ok(fields) => rows.rows.push(Row { place, original, fields }),
            Err(reason) => rows.problems.push(Problem { place, reason, original }),
        }
    }
}

/// Why a record is no row: a quote holds its lines together.
fn several_lines(record: &StringRecord, from: u64, original: &[u8]) -> Option<String> {
    let breaks = ['\n', '\r'];
    record.iter().any(|field| field.contains(breaks)).then(|| {
        let to = from + String::from_utf8_lossy(original).lines().count().saturating_sub(1) as u64;
        format!(
            "lines {from} to {to} are held together by a quote that one of them opens; a draw has one line"
        )
    })
}

fn check_columns(mapping: &Mapping, columns: &[String]) -> Result<(), String> {
    for (index, column) in columns.iter().enumerate() {
        if columns[..index].contains(column) {
            return Err(format!("two columns are called {column:?}"));
        }
        mapping.check_known("column", column)?;
    }
    let known = |wanted: &&str| !columns.iter().any(|column| column == wanted);
    match mapping.fields_needed().find(known) {
        Some(missing) => Err(format!("the column {missing:?} is missing; there are {}", columns.join(", "))),
        None => Ok(()),
    }
}

fn fields(columns: &[String], record: &StringRecord) -> Result<Fields, String> {
    if record.len() != columns.len() {
        return Err(format!("it has {} fields, the first line has {}", record.len(), columns.len()));
    }
    let mut fields = Fields::default();
    for (column, value) in columns.iter().zip(record) {
        fields.add(column.clone(), Value::Text(value.trim().to_owned()))?;
    }
    Ok(fields)
}
