//! What answers and rows look like, as JSON Schema: out of the lists that rows are made of and read by.
//!
//! ```text
//!   columns of the serving tables ─> rows and pages          ┐
//!   contracts of reference tables ─> what a change may send  ├─> components and answers of /openapi.json
//!   what handlers say besides     ─> the few shapes below    ┘
//! ```

use crate::routes::{Gives, Route};
use schemas::Record;
use schemas::reference::ReferenceTable;
use schemas::rows::{ColumnType, TableSpec};
use schemas::tables::{ALL_TABLES, DRAWS};
use serde_json::{Map, Value, json};

/// What most fields are.
const TEXT: &str = "string";

/// Every shape that answers refer to, by its name.
pub fn components() -> Map<String, Value> {
    let rows = ALL_TABLES.iter().map(|table| (table.name.to_owned(), row(table)));
    let others = [("Accepted", accepted()), ("Decided", decided()), ("Record", record())];
    rows.chain(others.map(|(name, shape)| (name.to_owned(), shape))).collect()
}

/// The body of a route's 200.
pub fn body(route: &Route) -> Value {
    match (route.gives, route.table, route.id) {
        (Gives::Command, ..) => reference("Decided"),
        (Gives::Page, Some(table), _) => page(reference(table.name)),
        (Gives::Json, Some(table), _) => reference(table.name),
        (Gives::Json, None, "explainStatement") => page(json!({"type": "object"})),
        (Gives::Json, None, "isAlive" | "isReady") => object(&[("status", TEXT)]),
        (Gives::Json, None, "retryDeadLetters") => {
            let retried = object(&[("id", TEXT), ("outcome", TEXT), ("offset", "integer?")]);
            closed([("items", json!({"type": "array", "items": retried}))])
        }
        (Gives::Json, None, "getStatus") => status(),
        (Gives::Json, None, "buyTicket") => ticket(),
        (Gives::Json | Gives::Page, ..) => json!({"type": "object"}),
        _ => json!({}),
    }
}

/// A shape by its name.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// A row: its columns, and the epoch that wrote it.
fn row(table: &TableSpec) -> Value {
    let columns = table.columns.iter().map(|column| {
        let kind = match column.ty {
            ColumnType::Int => "integer",
            ColumnType::Text | ColumnType::Bytes => TEXT,
        };
        // Reasons are joined in the table, and a list here.
        let schema = match (column.name, column.nullable) {
            ("reasons", _) => texts(),
            (_, true) => json!({"type": [kind, "null"]}),
            (_, false) => json!({"type": kind}),
        };
        (column.name, schema)
    });
    let mut row = closed(columns.chain([("epoch", json!({"type": "integer"}))]));
    if table.name == DRAWS.name {
        let image = object(&[("template", TEXT), ("locale", TEXT), ("revision", "integer"), ("url", TEXT)]);
        // Left out where they were not asked for.
        row["properties"]["images"] = json!({"type": ["array", "null"], "items": image});
    }
    row
}

fn page(item: Value) -> Value {
    closed([
        ("items", json!({"type": "array", "items": item})),
        ("next_cursor", json!({"type": [TEXT, "null"]})),
    ])
}

fn record() -> Value {
    object(&[("topic", TEXT), ("partition", "integer"), ("offset", "integer")])
}

/// What is said of a command in any case. It is about an order or a draw, and that one's id is there.
fn command(status: &str, more: &[(&str, Value)], optional: &[&str]) -> Value {
    let mut shape = closed(
        [("command_id", json!({"type": TEXT})), ("tenant", json!({"type": TEXT}))]
            .into_iter()
            .chain([("status", json!({"const": status})), ("record", reference("Record"))])
            .chain(more.iter().map(|(name, schema)| (*name, schema.clone()))),
    );
    for (name, about) in
        [("order_id", "Of a command about an order"), ("draw_id", "Of a command about a draw")]
    {
        shape["properties"][name] = json!({"type": TEXT, "description": about});
    }
    for name in optional {
        shape["properties"][*name] = json!({"type": if *name == "status_url" { TEXT } else { "object" }});
    }
    shape
}

fn accepted() -> Value {
    command("accepted", &[], &["status_url"])
}

/// `order` (`draw`) is the fact that told it, or the row as it stands.
fn decided() -> Value {
    let more = [
        ("event", json!({"type": TEXT})),
        ("reasons", texts()),
        ("epoch", json!({"type": "integer"})),
        ("replayed", json!({"type": "boolean"})),
    ];
    command("decided", &more, &["order", "draw"])
}

fn status() -> Value {
    let mut shape = object(&[
        ("frontier", "integer"),
        ("decided_now_ms", "integer"),
        ("frontier_age_ms", "integer"),
        ("ready", "boolean"),
        ("version", TEXT),
        ("demo", "boolean"),
        ("role", "string?"),
        ("roles", "texts"),
        ("tenant", "string?"),
        ("partner", "string?"),
        ("topics", "texts"),
    ]);
    for name in ["roles", "topics"] {
        shape["properties"][name] = texts();
    }
    shape
}

fn ticket() -> Value {
    let mut shape = object(&[
        ("message", TEXT),
        ("status", TEXT),
        ("tenant", TEXT),
        ("order_id", TEXT),
        ("offer_id", TEXT),
        ("amount_minor", "integer"),
        ("currency", TEXT),
        ("ticket_id", "string?"),
        ("ticket", "string?"),
        ("tickets", "texts"),
        ("epoch", "integer"),
        ("waited_ms", "integer"),
        ("at_ms", "integer"),
    ]);
    shape["properties"]["tickets"] = json!({"type": "array", "items": reference("tickets")});
    shape
}

/// The names of reference tables.
pub fn reference_tables() -> Value {
    let names: Vec<&str> = ReferenceTable::ALL.iter().map(|table| table.as_str()).collect();
    json!({"type": TEXT, "enum": names})
}

/// What `POST /v1/reference/{table}` takes: the row, or what names the one that goes. Null is the same as absent.
pub fn change() -> Value {
    let one = |about: &str, whole: bool| {
        let rows = ReferenceTable::ALL.iter().map(|table| reference_row(*table, whole));
        let rows: Vec<Value> = rows.chain([json!({"type": "null"})]).collect();
        json!({"description": about, "anyOf": rows})
    };
    json!({
        "type": "object", "minProperties": 1, "additionalProperties": false,
        "properties": {
            "row": one("The row as it is from now on", true),
            "delete": one("The row that goes: its key's columns", false),
        },
    })
}

/// A row of a reference table by its contract; of one that goes, what is there of it.
pub fn reference_row(table: ReferenceTable, whole: bool) -> Value {
    let fields = contract(table)["fields"].as_array().cloned().unwrap_or_default();
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        let name = field["name"].as_str().unwrap_or_default();
        if whole && field.get("default").is_none() {
            required.push(name.to_owned());
        }
        let mut column = of_avro(&field["type"]);
        if !whole && let Some(column) = column.as_object_mut() {
            // Of a row that goes the key alone is looked at.
            column.remove("enum");
        }
        properties.insert(name.to_owned(), column);
    }
    if !whole {
        required.push("tenant".to_owned());
    }
    let title = table.as_str();
    json!({
        "title": title, "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

fn contract(table: ReferenceTable) -> Value {
    let record = Record::parse(table.as_str());
    record.and_then(|record| serde_json::from_str(record.avsc()).ok()).unwrap_or_default()
}

/// A contract's type as JSON Schema: as far as reference rows have them.
fn of_avro(kind: &Value) -> Value {
    match kind {
        Value::Array(kinds) => {
            let mut schema = kinds.iter().find(|kind| *kind != "null").map(of_avro).unwrap_or_default();
            schema["type"] = json!([schema["type"], "null"]);
            schema
        }
        Value::Object(_) if kind["type"] == "enum" => json!({"type": TEXT, "enum": kind["symbols"]}),
        Value::Object(_) => of_avro(&kind["type"]),
        _ => json!({"type": match kind.as_str() {
            Some("int" | "long") => "integer",
            Some("boolean") => "boolean",
            _ => TEXT,
        }}),
    }
}

/// What is wrong with a row by its description, and with which column.
pub fn misfit(table: ReferenceTable, row: &Map<String, Value>, whole: bool) -> Option<(String, String)> {
    let schema = reference_row(table, whole);
    let known = &schema["properties"];
    let wrong = |name: &str, problem: String| Some((name.to_owned(), problem));
    for (name, value) in row {
        let Some(column) = known.get(name) else {
            return wrong(name, format!("{} has no such column", table.as_str()));
        };
        let kinds = match &column["type"] {
            Value::Array(kinds) => kinds.clone(),
            kind => vec![kind.clone()],
        };
        let is = |kind: &Value| match value {
            Value::Null => kind == "null",
            Value::Bool(_) => kind == "boolean",
            Value::Number(number) => kind == "integer" && number.is_i64(),
            Value::String(_) => kind == TEXT,
            _ => false,
        };
        if !kinds.iter().any(is) {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            return wrong(name, format!("send {}", kinds.join(" or ")));
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing = required.into_iter().find(|name| !row.contains_key(*name))?;
    wrong(missing, "it is missing".to_owned())
}

fn texts() -> Value {
    json!({"type": "array", "items": {"type": TEXT}})
}

/// Fields by the types they have; `?` where they may be null.
fn object(fields: &[(&'static str, &str)]) -> Value {
    closed(fields.iter().map(|(name, kind)| match kind.strip_suffix('?') {
        Some(kind) => (*name, json!({"type": [kind, "null"]})),
        None => (*name, json!({"type": kind})),
    }))
}

/// These fields, all of them, and no others.
fn closed<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let properties: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let required: Vec<&String> = properties.keys().collect();
    json!({"required": required, "type": "object", "properties": properties, "additionalProperties": false})
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::rows::Value as Cell;

    #[test]
    fn rows_have_the_fields_that_are_described_and_no_others() {
        for table in ALL_TABLES {
            let cell = |kind| match kind {
                ColumnType::Int => Cell::Int(7),
                ColumnType::Text => Cell::Text("text".into()),
                ColumnType::Bytes => Cell::Bytes(vec![0xff]),
            };
            let mut cells: Vec<Cell> = table.columns.iter().map(|column| cell(column.ty)).collect();
            cells.push(Cell::Int(1));
            let (told, described) = (crate::reads::object(table, &cells), row(table));
            let fields = told.as_object().expect("an object");
            let required = described["required"].as_array().expect("a list");
            assert_eq!(fields.len(), required.len(), "{}", table.name);
            for (name, value) in fields {
                let kind = &described["properties"][name]["type"];
                let kind = kind.get(0).unwrap_or(kind);
                let is = match value {
                    Value::Number(_) => "integer",
                    Value::Array(_) => "array",
                    _ => TEXT,
                };
                assert!(required.contains(&json!(name)) && kind == is, "{}.{name}: {value}", table.name);
            }
        }
    }

    #[test]
    fn a_reference_row_is_held_to_its_contract() {
        let row = |row: Value| row.as_object().cloned().expect("an object");
        let good =
            json!({"tenant": "t", "customer_id": "c", "status": "active", "daily_spend_limit_minor": null});
        let check = |change: Value, whole| {
            let mut changed = row(good.clone());
            changed.extend(row(change));
            changed.retain(|_, value| *value != "absent");
            misfit(ReferenceTable::Customers, &changed, whole)
                .map(|(name, problem)| format!("{name}: {problem}"))
        };
        for (change, whole, wanted) in [
            (json!({}), true, None),
            (json!({"daily_spend_limit_minor": "absent"}), true, None),
            (
                json!({"daily_spend_limit_minor": 7.5}),
                true,
                Some("daily_spend_limit_minor: send integer or null"),
            ),
            (json!({"status": null}), true, Some("status: send string")),
            (json!({"status": "absent"}), true, Some("status: it is missing")),
            (json!({"status": "absent"}), false, None),
            (json!({"tenant": "absent"}), false, Some("tenant: it is missing")),
            (json!({"colour": 1}), true, Some("colour: customers has no such column")),
        ] {
            assert_eq!(check(change.clone(), whole).as_deref(), wanted, "{change}");
        }
        for table in ReferenceTable::ALL {
            let described = reference_row(*table, true);
            let named = described["properties"].as_object().map_or(0, Map::len);
            assert!(named >= 3 && described["properties"]["tenant"]["type"] == TEXT, "{described}");
        }
    }
}
