//! Whether what was written under one contract can be read under another.
//!
//! Avro's resolution rules as apache-avro knows them, plus one they lack: the rules ignore logical types,
//! so a time written in microseconds would be taken for milliseconds. Here it is refused.

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use serde_json::Value;

/// Checks that records written under `writer` can all be read under `reader`.
///
/// # Errors
/// What stands in the way, and what to do about it.
pub fn can_read_all(writer: &str, reader: &str) -> Result<(), String> {
    match can_read(writer, reader)? {
        Compatibility::Full => Ok(()),
        Compatibility::Partial => Err("some records (a union's branch or an enum's symbol that the reader \
             does not know) can't be read; let the reader know them too"
            .into()),
    }
}

/// Checks that at least some records written under `writer` can be read under `reader`; one that can't
/// is found out when it comes.
///
/// # Errors
/// What stands in the way, and what to do about it.
pub fn can_read_some(writer: &str, reader: &str) -> Result<(), String> {
    can_read(writer, reader).map(drop)
}

fn can_read(writer: &str, reader: &str) -> Result<Compatibility, String> {
    let parse = |text: &str| Schema::parse_str(text).map_err(|e| format!("not an Avro schema: {e}"));
    let compatibility =
        SchemaCompatibility::can_read(&parse(writer)?, &parse(reader)?).map_err(|e| explain(&e))?;
    same_logical_types(&json(writer)?, &json(reader)?, "")?;
    Ok(compatibility)
}

fn explain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        message = format!("{message}: {inner}");
        source = inner.source();
    }
    format!("{message}; a new field needs a default, and a field's type may only be widened")
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))
}

/// Walks the fields both records have. A reader's logical type must be the writer's, or the writer has none.
fn same_logical_types(writer: &Value, reader: &Value, place: &str) -> Result<(), String> {
    let (writer, reader) = (without_null(writer), without_null(reader));
    if let (Some(theirs), Some(ours)) = (writer.get("logicalType"), reader.get("logicalType"))
        && theirs != ours
    {
        return Err(format!("field `{place}` is written as {theirs} and read as {ours}; write it as {ours}"));
    }
    for field in fields(reader) {
        let name = field["name"].as_str().unwrap_or_default();
        if let Some(theirs) = fields(writer).iter().find(|f| f["name"] == field["name"]) {
            same_logical_types(&theirs["type"], &field["type"], name)?;
        }
    }
    Ok(())
}

fn fields(record: &Value) -> &[Value] {
    record.get("fields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The branch that says something, where a type is a union of it with null.
fn without_null(ty: &Value) -> &Value {
    match ty.as_array().map(Vec::as_slice) {
        Some([null, ty] | [ty, null]) if null == "null" => ty,
        _ => ty,
    }
}

/// The Avro name, with its namespace, that a schema's text declares.
///
/// # Errors
/// The text is no named Avro schema.
pub fn full_name(text: &str) -> Result<String, String> {
    let schema = Schema::parse_str(text).map_err(|e| format!("not an Avro schema: {e}"))?;
    let name = schema.name().ok_or("the schema is no record; commands and facts are records")?;
    Ok(name.fullname(None))
}
