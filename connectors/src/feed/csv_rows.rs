//! Rows of a CSV document: columns by the names in its first line, whatever their order and padding.

use super::draw::Problem;
use super::fields::{Fields, Value};
use super::mapping::Mapping;
use super::rows::{Row, Rows, within};
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
        match fields(&columns, &record) {
            Ok(fields) => rows.rows.push(Row { place, original, fields }),
            Err(reason) => rows.problems.push(Problem { place, reason, original }),
        }
    }
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
