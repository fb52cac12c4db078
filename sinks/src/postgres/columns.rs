//! Rows as columns: one statement takes any number of rows as one array per column.
//!
//! A Postgres text can't hold the character NUL, and an id may. U+0001 escapes it and itself, as U+0001 U+0001
//! and U+0001 U+0002: no two texts become one, each is read back as it was, and their order stays.

use crate::rows::TableRows;
use schemas::rows::{Column, ColumnType, TableSpec};
use schemas::tables::Cell;
use std::borrow::Cow;
use tokio_postgres::types::ToSql;

/// One column of many rows.
pub(crate) enum ColumnValues<'a> {
    Int(Vec<Option<i64>>),
    Text(Vec<Option<Cow<'a, str>>>),
    Bytes(Vec<Option<&'a [u8]>>),
}

impl<'a> ColumnValues<'a> {
    fn of(ty: ColumnType, rows: usize) -> Self {
        match ty {
            ColumnType::Int => ColumnValues::Int(Vec::with_capacity(rows)),
            ColumnType::Text => ColumnValues::Text(Vec::with_capacity(rows)),
            ColumnType::Bytes => ColumnValues::Bytes(Vec::with_capacity(rows)),
        }
    }

    fn push(&mut self, cell: Cell<'a>) {
        match (self, cell) {
            (ColumnValues::Int(ints), Cell::Int(int)) => ints.push(Some(int)),
            (ColumnValues::Int(ints), Cell::Null) => ints.push(None),
            (ColumnValues::Text(texts), Cell::Text(text)) => texts.push(Some(escaped(text))),
            (ColumnValues::Text(texts), Cell::Null) => texts.push(None),
            (ColumnValues::Bytes(many), Cell::Bytes(bytes)) => many.push(Some(bytes)),
            (ColumnValues::Bytes(many), Cell::Null) => many.push(None),
            (_, cell) => unreachable!("a row's cells are of its table's types: {cell:?}"),
        }
    }

    /// As a statement takes it.
    pub fn param(&self) -> &(dyn ToSql + Sync) {
        match self {
            ColumnValues::Int(ints) => ints,
            ColumnValues::Text(texts) => texts,
            ColumnValues::Bytes(bytes) => bytes,
        }
    }
}

/// The columns of a table's rows, `epoch` last.
pub(crate) fn columns<'a>(rows: &TableRows<'a>) -> Vec<ColumnValues<'a>> {
    let count = rows.rows.len();
    let mut columns: Vec<ColumnValues<'a>> =
        rows.table.columns.iter().map(|column| ColumnValues::of(column.ty, count)).collect();
    for (row, _) in &rows.rows {
        let mut at = columns.iter_mut();
        row.each_cell(|cell| at.next().expect("one cell for each column").push(cell));
    }
    columns.push(ColumnValues::Int(rows.rows.iter().map(|(_, epoch)| Some(epoch.0 as i64)).collect()));
    columns
}

/// Writes rows: one array per column, new keys inserted, known ones replaced.
pub(crate) fn upsert_sql(table: &TableSpec) -> String {
    let arrays: Vec<String> = types(table).enumerate().map(|(n, ty)| format!("${}::{ty}[]", n + 1)).collect();
    let replaced = table.columns[table.key..].iter().map(|column| column.name).chain(["epoch"]);
    let replaced: Vec<String> = replaced.map(|name| format!("\"{name}\" = EXCLUDED.\"{name}\"")).collect();
    format!(
        "INSERT INTO {} ({}, epoch) SELECT * FROM unnest({}) ON CONFLICT ({}) DO UPDATE SET {}",
        table.name,
        names(table.columns),
        arrays.join(", "),
        names(&table.columns[..table.key]),
        replaced.join(", "),
    )
}

fn types(table: &TableSpec) -> impl Iterator<Item = &'static str> {
    table.columns.iter().map(sql_type).chain(["bigint"])
}

/// A column's type in the database.
pub(crate) fn sql_type(column: &Column) -> &'static str {
    match column.ty {
        ColumnType::Int => "bigint",
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytea",
    }
}

/// Column names, quoted (`offset` is a word of SQL) and joined.
pub(crate) fn names(columns: &[Column]) -> String {
    columns.iter().map(|c| format!("\"{}\"", c.name)).collect::<Vec<_>>().join(", ")
}

const ESCAPE: char = '\u{1}';

/// A text as it is stored.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => stored.extend([ESCAPE, '\u{1}']),
            ESCAPE => stored.extend([ESCAPE, '\u{2}']),
            plain => stored.push(plain),
        }
    }
    Cow::Owned(stored)
}

/// A text as it was.
pub(crate) fn unescaped(stored: &str) -> Cow<'_, str> {
    if !stored.contains(ESCAPE) {
        return Cow::Borrowed(stored);
    }
    let mut text = String::with_capacity(stored.len());
    let mut chars = stored.chars();
    while let Some(c) = chars.next() {
        match c {
            ESCAPE => text.push(if chars.next() == Some('\u{1}') { '\0' } else { ESCAPE }),
            plain => text.push(plain),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schemas::tables::{DEAD_LETTERS, STOCK};

    proptest! {
        #[test]
        fn a_text_comes_back_as_it_was_and_keeps_its_place(
            a in "[\0\u{1}\u{2}a]{0,6}", b in "[\0\u{1}\u{2}a]{0,6}"
        ) {
            prop_assert!(!escaped(&a).contains('\0'));
            let there = escaped(&a);
            prop_assert_eq!(unescaped(&there), a.as_str());
            prop_assert_eq!(escaped(&a).cmp(&escaped(&b)), a.cmp(&b));
        }
    }

    #[test]
    fn a_statement_names_every_column_and_replaces_all_but_the_key() {
        assert_eq!(
            upsert_sql(&STOCK),
            "INSERT INTO stock (\"tenant\", \"offer_id\", \"stock_total\", \"available\", \"held\", \"sold\", \
             \"shrink_due\", epoch) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], \
             $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[]) ON CONFLICT (\"tenant\", \"offer_id\") DO \
             UPDATE SET \"stock_total\" = EXCLUDED.\"stock_total\", \"available\" = EXCLUDED.\"available\", \
             \"held\" = EXCLUDED.\"held\", \"sold\" = EXCLUDED.\"sold\", \"shrink_due\" = EXCLUDED.\"shrink_due\", \
             \"epoch\" = EXCLUDED.\"epoch\""
        );
        assert!(upsert_sql(&DEAD_LETTERS).contains("$6::bytea[]"));
    }
}
