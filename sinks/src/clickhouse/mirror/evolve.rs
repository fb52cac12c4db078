//! How a table follows its source: a pure decision over what it has and what a record's writer knew.
//!
//! A record's place in the source says which of two schemas is newer: changing a table locks it, so no change made
//! under the old definition has a later position. Newer: columns are added, widened and dropped. Older (a redelivery,
//! or a partition that is behind): only widened. What a column holds begins with the change it came with, so
//! that a column which was dropped and made again under the same name starts empty, as it does in the source: it is kept
//! under a name of its own, whatever the server still holds under the old one.

use super::rows::is_null_name;
use super::state::{Table, TableColumn};
use schemas::captured::{Column, ColumnType, TableSchema};

/// What can't be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyChanged {
    pub from: Vec<String>,
    pub to: Vec<String>,
}

/// The table a first record makes.
pub(super) fn first(name: String, schema: &TableSchema, position: u64) -> Table {
    let column = |column: &Column| TableColumn {
        name: column.name.clone(),
        stored: column.name.clone(),
        ty: stored(&column.ty),
        since: 0,
        default: column.default.clone(),
    };
    let columns = schema.columns.iter().map(column).collect();
    let (gone, dropping) = Default::default();
    Table { name, key: key_of(schema), columns, position, gone, dropping }
}

/// Takes a record's schema into the table.
pub(super) fn follow(table: &mut Table, schema: &TableSchema, position: u64) -> Result<(), KeyChanged> {
    let (from, to) = (table.key.clone(), key_of(schema));
    if from != to {
        return if position < table.position { Ok(()) } else { Err(KeyChanged { from, to }) };
    }
    for column in &mut table.columns {
        let theirs = schema.columns.iter().find(|theirs| theirs.name == column.name);
        if let Some(theirs) = theirs.filter(|_| position >= column.since) {
            column.ty = column.ty.widened(&stored(&theirs.ty));
        }
    }
    if position >= table.position {
        table.position = position;
        let known = std::mem::take(&mut table.columns);
        let is_gone = |column: &&TableColumn| !schema.columns.iter().any(|theirs| theirs.name == column.name);
        for column in known.iter().filter(is_gone) {
            table.gone.insert(column.name.clone());
            table.dropping.insert(column.stored.clone());
            if matches!(column.ty, ColumnType::Array(_)) {
                table.dropping.insert(is_null_name(&column.stored));
            }
        }
        let column = |theirs: &Column| match known.iter().find(|known| known.name == theirs.name) {
            Some(known) => known.clone(),
            None => added(theirs, position, table.gone.contains(&theirs.name)),
        };
        table.columns = schema.columns.iter().map(column).collect();
    }
    Ok(())
}

fn added(column: &Column, position: u64, again: bool) -> TableColumn {
    let Column { name, ty, default } = column;
    let kept_as = if again { format!("{name}__{position}") } else { name.clone() };
    TableColumn {
        name: name.clone(),
        stored: kept_as,
        ty: stored(ty),
        since: position,
        default: default.clone(),
    }
}

fn key_of(schema: &TableSchema) -> Vec<String> {
    schema.key.iter().map(|place| schema.columns[*place].name.clone()).collect()
}

/// What a column is kept as.
fn stored(ty: &ColumnType) -> ColumnType {
    match ty {
        ColumnType::ZonedTimestamp => ColumnType::Timestamp { digits: 6 },
        ColumnType::AnyDecimal | ColumnType::Json => ColumnType::Text,
        ColumnType::Array(items) => ColumnType::Array(Box::new(stored(items))),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `id:Int32 name:Text`, the first being the key.
    fn schema(text: &str) -> TableSchema {
        let column = |text: &str| {
            let (name, ty) = text.split_once(':').unwrap();
            let ty = match ty {
                "Int32" => ColumnType::Int32,
                "Int64" => ColumnType::Int64,
                _ => ColumnType::Text,
            };
            Column { name: name.to_owned(), ty, default: None }
        };
        TableSchema { columns: text.split(' ').map(column).collect(), key: vec![0] }
    }

    fn shown(table: &Table) -> String {
        let column = |c: &TableColumn| format!("{}:{:?}@{}", c.stored, c.ty, c.since);
        table.columns.iter().map(column).collect::<Vec<_>>().join(" ")
    }

    /// Schemas with their positions, as `position|columns`.
    fn check(steps: &[&str], expected: &str) {
        let step = |text: &&str| {
            let (position, columns) = text.split_once('|').unwrap();
            (position.parse::<u64>().unwrap(), schema(columns))
        };
        let mut steps = steps.iter().map(step);
        let (position, made) = steps.next().unwrap();
        let mut table = first("t".to_owned(), &made, position);
        for (position, schema) in steps {
            follow(&mut table, &schema, position).unwrap();
        }
        assert_eq!(shown(&table), expected);
    }

    #[test]
    fn columns_come_widen_and_go() {
        check(&["5|id:Int32 a:Text", "9|id:Int32 a:Text b:Int32"], "id:Int32@0 a:Text@0 b:Int32@9");
        check(&["5|id:Int32 a:Int32", "9|id:Int32 a:Int64"], "id:Int32@0 a:Int64@0");
        check(&["5|id:Int32 a:Int64", "9|id:Int32 a:Int32"], "id:Int32@0 a:Int64@0");
        check(&["5|id:Int32 a:Text", "9|id:Int32"], "id:Int32@0");
    }

    #[test]
    fn an_older_record_neither_brings_back_what_went_nor_drops_what_came() {
        check(&["5|id:Int32 a:Text", "9|id:Int32 b:Text", "5|id:Int32 a:Text"], "id:Int32@0 b:Text@9");
    }

    #[test]
    fn a_column_made_again_under_an_old_name_is_a_new_one() {
        check(
            &["5|id:Int32 a:Int32", "7|id:Int32", "9|id:Int32 a:Text", "5|id:Int32 a:Int32"],
            "id:Int32@0 a__9:Text@9",
        );
    }

    #[test]
    fn another_key_is_not_followed() {
        let mut table = first("t".to_owned(), &schema("id:Int32 a:Text"), 5);
        let other = schema("a:Text id:Int32");
        assert!(follow(&mut table, &other, 9).is_err());
        assert!(follow(&mut table, &other, 4).is_ok(), "an old one is history");
    }
}
