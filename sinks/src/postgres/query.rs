//! One question in SQL, answered within a time and up to a number of rows.
//!
//! The question is prepared as it is, which takes a single statement, and becomes a cursor, which takes
//! nothing that writes; the transaction is read-only besides.

use super::columns::unescaped;
use super::error::{PostgresError, Result, message};
use super::frontier::DECIDED;
use super::reader::{PostgresReader, frontier, refused};
use super::session::Session;
use crate::answers::Found;
use runtime::Epoch;
use schemas::rows::Value;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, SimpleQueryMessage, SimpleQueryRow};

impl PostgresReader {
    /// Asks one question in SQL: at most `rows_max` rows, for at most `timeout_ms`.
    ///
    /// Whole numbers come as such, also numeric ones that are whole and fit; everything else as text.
    ///
    /// # Errors
    /// [`PostgresError::Refused`] where it isn't a single statement that only reads, or isn't SQL;
    /// [`PostgresError::TooLong`] where time ran out.
    pub fn query(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<Found> {
        self.answer(|session| {
            session.run("begin a query", &format!("SET LOCAL statement_timeout = {timeout_ms}"))?;
            ask(session, sql, rows_max, timeout_ms)
        })
    }
}

impl PostgresReader {
    /// The same, and the decided epoch that the answer is as of.
    ///
    /// # Errors
    /// As [`PostgresReader::query`].
    pub fn query_at(&mut self, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<(Epoch, Found)> {
        self.answer(|session| {
            let (epoch, _) = frontier(session, DECIDED)?;
            session.run("begin a query", &format!("SET LOCAL statement_timeout = {timeout_ms}"))?;
            Ok((epoch, ask(session, sql, rows_max, timeout_ms)?))
        })
    }
}

fn ask(session: &Session, sql: &str, rows_max: usize, timeout_ms: u64) -> Result<Found> {
    let failed = |error| blame(error, session, timeout_ms);
    let question = session.wait_long(session.client.prepare(sql)).map_err(failed)?;
    if question.columns().is_empty() || !question.params().is_empty() {
        return Err(refused("it is no SELECT, or has parameters"));
    }
    let declare = format!("DECLARE answer NO SCROLL CURSOR FOR {sql}");
    session.wait_long(session.client.execute(&declare, &[])).map_err(failed)?;
    let fetch = match i32::try_from(rows_max.saturating_add(1)) {
        Ok(count) => format!("FETCH {count} FROM answer"),
        Err(_) => "FETCH ALL FROM answer".to_owned(),
    };
    let messages = session.wait_long(session.client.simple_query(&fetch)).map_err(failed)?;
    let types: Vec<&Type> = question.columns().iter().map(|column| column.type_()).collect();
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(values(row, &types)),
        _ => None,
    });
    let mut rows: Vec<Vec<Value>> = rows.collect();
    let more = rows.len() > rows_max;
    rows.truncate(rows_max);
    let columns = question.columns().iter().map(|column| column.name().to_owned()).collect();
    Ok(Found { columns, rows, more })
}

fn values(row: &SimpleQueryRow, types: &[&Type]) -> Vec<Value> {
    types.iter().enumerate().map(|(at, ty)| value(row.get(at), ty)).collect()
}

fn value(text: Option<&str>, ty: &Type) -> Value {
    let Some(text) = text else { return Value::Null };
    match *ty {
        Type::INT2 | Type::INT4 | Type::INT8 | Type::NUMERIC => {
            text.parse().map_or_else(|_| Value::Text(text.into()), Value::Int)
        }
        Type::BOOL => Value::Text(if text == "t" { "true".into() } else { "false".into() }),
        Type::BYTEA => bytes(text).map_or_else(|| Value::Text(text.into()), Value::Bytes),
        _ => Value::Text(unescaped(text).as_ref().into()),
    }
}

/// Bytes as the server writes them, `\x00ff`.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

/// The question's own fault, time, or the database's.
fn blame(error: Error, session: &Session, timeout_ms: u64) -> PostgresError {
    let Some(code) = error.code().map(SqlState::code) else {
        return super::error::classify(&session.place, "query", error);
    };
    match &code[..2] {
        _ if code == "57014" => PostgresError::TooLong { timeout_ms },
        // Syntax and names, values, features, what may not be in a cursor or a read-only transaction.
        "42" | "22" | "0A" | "25" | "21" | "34" => refused(message(&error)),
        _ => super::error::classify(&session.place, "query", error),
    }
}
