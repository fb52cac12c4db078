//! Reads: pages of the serving tables, each as of one decided frontier.
//!
//! ```text
//!   GET ─ after=topic:partition:offset ─> wait until that record is decided ─┐
//!       ─ cursor, filters ─> keyset page ─> JSON, ETag, Tombola-Frontier <───┘
//! ```
//!
//! Pages follow the table's key, so a page is found without counting those before it, and rows that come or
//! go in between move no other row. Whoever has a tenant sees its rows alone, a partner its own.

use crate::after::wait_after;
use crate::app::{Answering, App, Call};
use crate::backend::{Select, Selected};
use crate::problem::{Answer, Problem};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use schemas::Text;
use schemas::rows::{TableSpec, Value as Cell};
use schemas::tables;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use warp::http::{Response, StatusCode};

/// Rows of a page where none are asked for, and at most.
const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 500;

/// `GET /v1/orders`.
pub fn orders(app: Arc<App>, call: Call) -> Answering {
    list(app, call, &tables::ORDERS)
}

/// `GET /v1/stock`.
pub fn stock(app: Arc<App>, call: Call) -> Answering {
    list(app, call, &tables::STOCK)
}

/// `GET /v1/tickets`.
pub fn tickets(app: Arc<App>, call: Call) -> Answering {
    list(app, call, &tables::TICKETS)
}

/// `GET /v1/alerts`.
pub fn alerts(app: Arc<App>, call: Call) -> Answering {
    list(app, call, &tables::FRAUD_ALERTS)
}

/// `GET /v1/statements`.
pub fn statements(app: Arc<App>, call: Call) -> Answering {
    list(app, call, &tables::COMMISSION_STATEMENTS)
}

/// `GET /v1/winning-tickets`.
pub fn winning_tickets(app: Arc<App>, call: Call) -> Answering {
    list(app, call, &tables::WINNING_TICKETS)
}

/// `GET /v1/publications`.
pub fn publications(app: Arc<App>, call: Call) -> Answering {
    list(app, call, &tables::PUBLICATIONS)
}

/// `GET /v1/dead-letters`.
pub fn dead_letters(app: Arc<App>, call: Call) -> Answering {
    if call.principal.tenant.is_some() {
        // A record that can't be read belongs to nobody in particular.
        let problem = Problem::new("forbidden", "dead letters are for operators of every tenant");
        return Box::pin(async move { Err(problem) });
    }
    list(app, call, &tables::DEAD_LETTERS)
}

/// `GET /v1/orders/{order_id}`.
pub fn order(app: Arc<App>, call: Call) -> Answering {
    let unknown = "no such order is decided; one that waits for its offer or customer is not yet";
    one(app, call, &tables::ORDERS, "order_id", unknown)
}

fn one(
    app: Arc<App>,
    call: Call,
    table: &'static TableSpec,
    id: &'static str,
    unknown: &'static str,
) -> Answering {
    Box::pin(async move {
        let (frontier, row) = row(&app, &call, table, id, unknown).await?;
        Ok(tagged(&call, frontier, &row))
    })
}

/// The row that a path names first by its `id`, as of a frontier.
///
/// # Errors
/// Where it isn't there or isn't the caller's.
pub async fn row(
    app: &App,
    call: &Call,
    table: &'static TableSpec,
    id: &'static str,
    unknown: &'static str,
) -> Result<(u64, Value), Problem> {
    let tenant = call.principal.tenant(call.query.text("tenant"))?;
    let mut filters =
        vec![("tenant", Cell::Text(plain("tenant", tenant)?)), (id, Cell::Text(plain(id, call.id(0)?)?))];
    if let Some(own) = call.principal.only_partner() {
        if !table.columns.iter().any(|column| column.name == "partner_id") {
            return Err(Problem::new("forbidden", "these rows belong to no partner"));
        }
        filters.push(("partner_id", Cell::Text(own.clone())));
    }
    wait_after(app, call).await?;
    first(app, table, filters).await?.ok_or_else(|| Problem::new("not-found", unknown))
}

/// The first row that has these values, as of a frontier.
///
/// # Errors
/// Where the table can't be read.
pub async fn first(
    app: &App,
    table: &'static TableSpec,
    filters: Vec<(&'static str, Cell)>,
) -> Result<Option<(u64, Value)>, Problem> {
    let page = app.readers.select(Select::of(table, filters)).await?;
    Ok(page.rows.first().map(|row| (page.frontier, object(table, row))))
}

/// `GET /v1/statements/{partner_id}/{month}/explanation`.
pub fn explanation(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let tenant = call.principal.tenant_or_all(call.query.text("tenant"))?;
        let (partner, month) = (plain("partner_id", call.id(0)?)?, plain("month", call.id(1)?)?);
        if call.principal.only_partner().is_some_and(|own| *own != partner) {
            return Err(Problem::new("forbidden", "your token is another partner's"));
        }
        if schemas::Month::parse(&month).is_none() {
            return Err(crate::fields::invalid("month", "say it as YYYY-MM"));
        }
        wait_after(&app, &call).await?;
        let question = crate::backend::Question { tenant, partner, month };
        let _turn = app.turns.take(&call.principal.name).await?;
        let (frontier, items) = app.explaining.ask(move |tables| tables.explain(&question)).await?;
        if items.is_empty() {
            return Err(Problem::new("not-found", "this partner has no statement for this month"));
        }
        Ok(tagged(&call, frontier, &json!({"items": items, "next_cursor": null})))
    })
}

/// `GET /v1/status`.
pub fn status(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let who = &call.principal;
        let frontier = app.decided.standing();
        let body = json!({
            "frontier": frontier.epoch,
            "decided_now_ms": frontier.now_ms,
            "frontier_age_ms": frontier.age_ms,
            "ready": crate::health::problem(&app).is_none(),
            "version": env!("CARGO_PKG_VERSION"),
            "demo": app.settings.shop.is_some(),
            "role": who.roles.first(),
            "roles": who.roles,
            "tenant": who.tenant,
            "partner": who.partner,
            "topics": crate::live::topics_for(who),
        });
        let mut answer = json_answer(&body);
        set_frontier(&mut answer, frontier.epoch);
        Ok(answer)
    })
}

fn list(app: Arc<App>, call: Call, table: &'static TableSpec) -> Answering {
    Box::pin(async move {
        let (frontier, page) = page(&app, &call, table).await?;
        Ok(tagged(&call, frontier, &page))
    })
}

/// The page of a list, as of a frontier.
///
/// # Errors
/// Where it can't be read or isn't the caller's.
pub async fn page(app: &App, call: &Call, table: &'static TableSpec) -> Result<(u64, Value), Problem> {
    let select = select(call, table)?;
    wait_after(app, call).await?;
    let page = app.readers.select(select).await?;
    Ok((page.frontier, page_of(table, &page)))
}

/// The question a list asks: its filters, and whose rows it may see.
fn select(call: &Call, table: &'static TableSpec) -> Result<Select, Problem> {
    let mut filters: Vec<(&'static str, Cell)> = Vec::new();
    let column = |name: &str| table.columns.iter().find(|column| column.name == name);
    if column("tenant").is_some() {
        let tenant = call.principal.tenant_or_all(call.query.text("tenant"))?;
        if let Some(tenant) = tenant {
            filters.push(("tenant", Cell::Text(plain("tenant", tenant)?)));
        }
    }
    for column in table.columns.iter().filter(|column| column.name != "tenant") {
        if let Some(wanted) = call.query.text(column.name) {
            filters.push((column.name, Cell::Text(plain(column.name, wanted)?)));
        }
    }
    if let Some(own) = call.principal.only_partner() {
        if column("partner_id").is_none() {
            return Err(Problem::new("forbidden", "these rows belong to no partner"));
        }
        if filters.iter().any(|(name, value)| *name == "partner_id" && *value != Cell::Text(own.clone())) {
            return Err(Problem::new("forbidden", "your token is another partner's"));
        }
        filters.retain(|(name, _)| *name != "partner_id");
        filters.push(("partner_id", Cell::Text(own.clone())));
    }
    let limit = call.query.int("limit").unwrap_or(LIMIT).clamp(1, LIMIT_MAX) as usize;
    let after = call.query.text("cursor").map(|cursor| opened(table, &cursor)).transpose()?;
    Ok(Select { after, limit, ..Select::of(table, filters) })
}

/// What a store's question may hold: a text without the character NUL.
///
/// # Errors
/// 422 where it holds one.
pub fn plain(field: &str, text: Text) -> Result<Text, Problem> {
    if text.contains(['\0', '\u{1}']) {
        return Err(crate::fields::invalid(
            field,
            "it holds the character NUL, and no such row can be asked for",
        ));
    }
    Ok(text)
}

fn page_of(table: &TableSpec, page: &Selected) -> Value {
    let items: Vec<Value> = page.rows.iter().map(|row| object(table, row)).collect();
    let next = page.rows.last().filter(|_| page.more).map(|row| sealed(&row[..table.key]));
    json!({"items": items, "next_cursor": next})
}

/// A cursor: the key of the last row seen. It gives nothing that filters don't: those of the next question count.
fn sealed(key: &[Cell]) -> String {
    let parts: Vec<Value> = key.iter().map(value).collect();
    URL_SAFE_NO_PAD.encode(Value::from(parts).to_string())
}

fn opened(table: &TableSpec, cursor: &str) -> Result<Vec<Cell>, Problem> {
    let stale = || crate::fields::invalid("cursor", "it is none of ours; begin without one");
    let text = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| stale())?;
    let parts: Vec<Value> = serde_json::from_slice(&text).map_err(|_| stale())?;
    let cell = |part: &Value| match part {
        Value::String(text) if !text.contains('\0') => Some(Cell::Text(text.as_str().into())),
        Value::Number(number) => number.as_i64().map(Cell::Int),
        _ => None,
    };
    let cells: Option<Vec<Cell>> = parts.iter().map(cell).collect();
    cells.filter(|cells| cells.len() == table.key).ok_or_else(stale)
}

/// A row as JSON: its columns by name and its epoch; reasons as a list.
pub fn object(table: &TableSpec, row: &[Cell]) -> Value {
    let mut fields = Map::new();
    for (column, cell) in table.columns.iter().zip(row) {
        let json = match cell {
            Cell::Text(text) if column.name == "reasons" => {
                text.split(',').filter(|reason| !reason.is_empty()).collect::<Vec<_>>().into()
            }
            cell => value(cell),
        };
        fields.insert(column.name.to_owned(), json);
    }
    if let Some(epoch) = row.get(table.columns.len()) {
        fields.insert("epoch".to_owned(), value(epoch));
    }
    Value::Object(fields)
}

fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Int(int) => (*int).into(),
        Cell::Text(text) => text.as_str().into(),
        Cell::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(bytes)).into(),
        },
    }
}

/// A body as JSON.
pub fn json_answer(body: &Value) -> Answer {
    let mut answer = Response::new(body.to_string().into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Names the decided epoch an answer is as of.
pub fn set_frontier(answer: &mut Answer, epoch: u64) {
    answer.headers_mut().insert("tombola-frontier", epoch.into());
}

/// An answer with its frontier and its tag; 304 without a body where the client has it.
pub fn tagged(call: &Call, frontier: u64, body: &Value) -> Answer {
    let (kind, caching) = ("application/json", "private, no-cache");
    let mut answer = unless_known(call, body.to_string().into(), kind, caching);
    set_frontier(&mut answer, frontier);
    answer
}

/// Bytes with their tag; 304 without them where the client has them.
pub fn unless_known(call: &Call, body: Bytes, kind: &'static str, caching: &'static str) -> Answer {
    let tag = format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(&body));
    let known = call.header(IF_NONE_MATCH.as_str()).is_some_and(|tags| {
        tags.split(',')
            .map(|known| known.trim().trim_start_matches("W/"))
            .any(|known| known == tag || known == "*")
    });
    let mut answer: Answer = Response::new(if known { Bytes::new() } else { body }.into());
    let headers = answer.headers_mut();
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (ETAG, tag)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    if known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cursor_is_longer_than_what_is_taken_back() {
        // Ids have 128 bytes; a ticket's is its order's and its number.
        let longest = format!("{}-4294967295", "\u{1f}".repeat(128));
        for table in tables::ALL_TABLES {
            let cell = |column: &schemas::rows::Column| match column.ty {
                schemas::rows::ColumnType::Int => Cell::Int(i64::MIN),
                _ => Cell::Text(longest.as_str().into()),
            };
            let key: Vec<Cell> = table.columns[..table.key].iter().map(cell).collect();
            let query = format!("cursor={}", sealed(&key));
            let fields = crate::fields::Fields::of_query(&[crate::routes::CURSOR], &query);
            let cursor = fields.expect("it is taken back").text("cursor").expect("it is there");
            assert_eq!(opened(table, &cursor).expect("ours"), key, "{}", table.name);
        }
    }

    #[test]
    fn a_cursor_gives_back_the_key_and_nothing_else_is_one() {
        let key = vec![Cell::Text("t/1 é".into()), Cell::Text("o".into())];
        assert_eq!(opened(&tables::ORDERS, &sealed(&key)).expect("ours"), key);
        for stranger in ["", "x", "bnVsbA", &sealed(&key[..1]), &sealed(&[Cell::Null, Cell::Null])] {
            assert!(opened(&tables::ORDERS, stranger).is_err(), "{stranger:?}");
        }
    }
}
