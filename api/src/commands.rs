//! Commands in: from a request to a durable record, and to the decision about it where the client waits.
//!
//! ```text
//!   POST ─ fields ─> Command ─ expect ─> append ─ durable ─> 202, where it lies and where to look
//!                                          └─ wait_ms ─> decided ─> 200, what was decided, or that it changed nothing
//! ```
//!
//! `command_id` (and an order's id, where none is sent) follows from tenant, principal and `Idempotency-Key`
//! alone, so a retry on any instance is the same command: it is decided once, however often it is appended. What
//! the client didn't send and the API filled in (the moment) is left out of the payload's hash, which travels
//! in the header `payload-hash`; so a retry says the same, and another payload under the same key is a conflict.

use crate::app::{Answering, App, Call, Wait, wait_of};
use crate::auth::Principal;
use crate::backend::{NewRecord, Place};
use crate::fields::invalid;
use crate::letters::Letter;
use crate::outcome::became;
use crate::problem::{Answer, Problem};
use crate::trace::Sending;
use crate::waiting::Decision;
use schemas::commands::{CancelOrder, PaymentCaptured, PaymentDeclined, PlaceOrder, RefundOrder};
use schemas::draws::DrawEvent;
use schemas::facts::{OrderEvent, Reason};
use schemas::rows::Value as Cell;
use schemas::{Command, Fact, PAYLOAD_HASH, Text, tables};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use warp::http::header::{HeaderValue, LOCATION};
use warp::http::{HeaderMap, StatusCode};

/// What an answer says of a command that brought nothing about.
const UNCHANGED: &str = "unchanged";

/// A command, and the same as its client sent it: without what was filled in.
pub struct Given {
    pub command: Command,
    pub sent_hash: u64,
}

/// The input topic of this name, as a name that lives for ever.
pub fn topic(name: &str) -> Option<&'static str> {
    schemas::ndjson::input_topics().into_iter().find(|topic| *topic == name)
}

/// The clock, UTC milliseconds.
pub fn clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `POST /v1/orders`.
pub fn place_order(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let (tenant, ids) = whose(&call)?;
        let b = &call.body;
        let order = PlaceOrder {
            command_id: ids.command.clone(),
            tenant,
            order_id: b.text("order_id").unwrap_or_else(|| ids.order.clone()),
            customer_id: b.text("customer_id").unwrap_or_default(),
            partner_id: partner_of(&call.principal, b.text("partner_id"))?,
            offer_id: b.text("offer_id").unwrap_or_default(),
            quantity: b.small("quantity")?.unwrap_or(1),
            price_minor: b.int("price_minor").unwrap_or_default(),
            currency: b.text("currency").unwrap_or_default(),
            placed_at_ms: b.int("placed_at_ms").unwrap_or_default(),
            card: b.text("card"),
            device: b.text("device"),
            ip: b.text("ip"),
            numbers: b.smalls("numbers")?,
            seat: b.text("seat"),
        };
        let given = given(order, |o| &mut o.placed_at_ms, Command::PlaceOrder);
        submit(&app, given, wait_of(&app, &call)).await
    })
}

/// `POST /v1/orders/{order_id}/cancel`.
pub fn cancel_order(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let (tenant, ids) = whose(&call)?;
        let order_id = call.id(0)?;
        own_order(&app, &call, &tenant, &order_id).await?;
        let cancel = CancelOrder {
            command_id: ids.command,
            tenant,
            order_id,
            reason: call.body.text("reason"),
            requested_at_ms: call.body.int("requested_at_ms").unwrap_or_default(),
        };
        let given = given(cancel, |c| &mut c.requested_at_ms, Command::CancelOrder);
        submit(&app, given, wait_of(&app, &call)).await
    })
}

/// `POST /v1/orders/{order_id}/refund`.
pub fn refund_order(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let (tenant, ids) = whose(&call)?;
        let order_id = call.id(0)?;
        own_order(&app, &call, &tenant, &order_id).await?;
        let refund = RefundOrder {
            command_id: ids.command,
            tenant,
            order_id,
            reason: call.body.text("reason"),
            requested_at_ms: call.body.int("requested_at_ms").unwrap_or_default(),
        };
        let given = given(refund, |c| &mut c.requested_at_ms, Command::RefundOrder);
        submit(&app, given, wait_of(&app, &call)).await
    })
}

/// `POST /v1/payments`.
pub fn report_payment(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let (tenant, ids) = whose(&call)?;
        let b = &call.body;
        let (order_id, payment_id) =
            (b.text("order_id").unwrap_or_default(), b.text("payment_id").unwrap_or_default());
        own_order(&app, &call, &tenant, &order_id).await?;
        let at_ms = b.int("at_ms").unwrap_or_default();
        let given = if b.text("outcome").as_deref() == Some("captured") {
            let captured = PaymentCaptured {
                command_id: ids.command,
                tenant,
                order_id,
                payment_id,
                amount_minor: b
                    .int("amount_minor")
                    .ok_or_else(|| invalid("amount_minor", "it is missing"))?,
                currency: b.text("currency").ok_or_else(|| invalid("currency", "it is missing"))?,
                captured_at_ms: at_ms,
            };
            given(captured, |c| &mut c.captured_at_ms, Command::PaymentCaptured)
        } else {
            let reason = b.text("reason");
            let declined = PaymentDeclined {
                command_id: ids.command,
                tenant,
                order_id,
                payment_id,
                reason,
                declined_at_ms: at_ms,
            };
            given(declined, |c| &mut c.declined_at_ms, Command::PaymentDeclined)
        };
        submit(&app, given, wait_of(&app, &call)).await
    })
}

/// What a command and its order are called, by tenant, principal and key.
pub struct Ids {
    pub command: Text,
    pub order: Text,
}

/// The ids that follow from them.
pub fn ids(tenant: &str, principal: &str, key: &str) -> Ids {
    let mut hasher = Sha256::new();
    for part in [tenant, principal, key] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let hex = hasher.finalize().iter().take(16).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ids { command: format!("api-{hex}").into(), order: format!("o-{hex}").into() }
}

/// Whose command it is, and what it is called.
pub fn whose(call: &Call) -> Result<(Text, Ids), Problem> {
    let tenant = call.principal.tenant(call.body.text("tenant"))?;
    let key = idempotency_key(&call.headers)?;
    let ids = ids(&tenant, &call.principal.name, &key);
    Ok((tenant, ids))
}

/// The header that makes a retry safe.
pub fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    if (1..=255).contains(&key.len()) {
        return Ok(key.to_owned());
    }
    let remedy = "send the header `Idempotency-Key` with 1 to 255 visible ASCII characters that are yours for this request \
                  alone (a UUID), and the same ones when you send it again";
    Err(Problem::new("malformed", remedy).with("header", "Idempotency-Key"))
}

/// A partner sells for itself alone.
fn partner_of(principal: &Principal, named: Option<Text>) -> Result<Option<Text>, Problem> {
    match (&principal.partner, named) {
        (Some(own), Some(named)) if *own != named => {
            Err(Problem::new("forbidden", "your token is another partner's"))
        }
        (Some(own), _) => Ok(Some(own.clone())),
        (None, named) => Ok(named),
    }
}

/// A partner speaks of its own orders alone: what it says of another's is not even appended. An order's partner
/// never changes, so what is found here holds when the command is decided.
async fn own_order(app: &App, call: &Call, tenant: &Text, order_id: &Text) -> Result<(), Problem> {
    let Some(own) = call.principal.only_partner() else { return Ok(()) };
    let text = |field: &str, text: &Text| crate::reads::plain(field, text.clone()).map(Cell::Text);
    let filters = vec![
        ("tenant", text("tenant", tenant)?),
        ("order_id", text("order_id", order_id)?),
        ("partner_id", Cell::Text(own.clone())),
    ];
    if crate::reads::first(app, &tables::ORDERS, filters).await?.is_none() {
        let unknown =
            "no such order of yours is decided; where it was placed a moment ago, send the same again";
        return Err(Problem::new("not-found", unknown));
    }
    Ok(())
}

/// The command with its moment filled in where the client sent none.
pub fn given<T: Clone>(
    mut sent: T,
    moment: impl Fn(&mut T) -> &mut i64,
    wrap: impl Fn(Box<T>) -> Command,
) -> Given {
    let sent_hash = wrap(Box::new(sent.clone())).payload_hash();
    let at_ms = moment(&mut sent);
    if *at_ms == 0 {
        *at_ms = clock_ms();
    }
    Given { command: wrap(Box::new(sent)), sent_hash }
}

/// What became of a command that was sent.
pub struct Submitted {
    pub command: Command,
    pub place: Place,
    /// Absent where nobody waited, or time ran out.
    pub decision: Option<Decision>,
}

/// Checks a command, makes it durable, and waits for its decision.
///
/// # Errors
/// 422 where the command is malformed, 503 where the log is away.
pub async fn decide(app: &App, given: Given, wait: Option<Wait>) -> Result<Submitted, Problem> {
    let Given { command, sent_hash } = given;
    command.check().map_err(|problem| Problem::new("invalid", problem))?;
    let mut value = Vec::with_capacity(192);
    schemas::encode_command(&command, |record| app.ids.of(record), &mut value);
    let mut headers = Vec::new();
    if sent_hash != command.payload_hash() {
        headers.push((PAYLOAD_HASH.to_owned(), format!("{sent_hash:016x}").into_bytes()));
    }
    let sending = Sending::begin();
    headers.extend(sending.iter().flat_map(Sending::headers));
    let key = Some(command.subject_id().as_bytes().to_vec());
    let record = NewRecord { topic: command.record().topic(), key, value, headers };
    let waiting = match wait {
        // Where facts can't be followed now, nobody can wait for one; the command counts all the same.
        Some(wait) if app.decided.opened(wait.limit).await => {
            Some((wait, app.decided.expect(command.tenant(), command.command_id())))
        }
        _ => None,
    };
    let topic = record.topic;
    let placed = app.appender.append(record).await;
    if let Some(sending) = sending {
        sending.ended(topic, &placed);
    }
    let place = placed?;
    app.counts.appended(place.topic);
    let decision = match waiting {
        None => None,
        Some((wait, waiting)) => {
            waiting.placed(place);
            tokio::time::timeout(wait.limit, became(app, &command, waiting)).await.ok().flatten()
        }
    };
    Ok(Submitted { command, place, decision })
}

/// The same, and its answer.
pub async fn submit(app: &App, given: Given, wait: Option<Wait>) -> Result<Answer, Problem> {
    let submitted = decide(app, given, wait).await?;
    answer(app, submitted).await
}

async fn answer(app: &App, submitted: Submitted) -> Result<Answer, Problem> {
    let Submitted { command, place, decision } = submitted;
    match decision {
        None => accepted(&command, place),
        Some(Decision::DeadLetter { epoch, letter }) => {
            let letter = Letter { id: letter.id.clone(), reason: letter.reason.as_str().into(), epoch };
            Err(letter.problem(&command))
        }
        Some(Decision::Fact { epoch, fact: Fact::Order(fact) }) => match fact.event {
            OrderEvent::IdempotencyConflict => Err(conflict(&command)),
            OrderEvent::Duplicate => replayed(app, &command, place, epoch).await,
            event => {
                let mut order = serde_json::to_value(&*fact).unwrap_or_default();
                order["epoch"] = epoch.into();
                decided(&command, place, epoch, (event.as_str(), json!(fact.reasons), order, false))
            }
        },
        Some(Decision::Fact { fact: Fact::Draw(fact), .. })
            if fact.event == DrawEvent::IdempotencyConflict =>
        {
            Err(conflict(&command))
        }
        Some(Decision::Fact { epoch, fact: Fact::Draw(fact) }) => {
            if fact.event == DrawEvent::Duplicate {
                return replayed(app, &command, place, epoch).await;
            }
            let mut draw = serde_json::to_value(&*fact).unwrap_or_default();
            draw["epoch"] = epoch.into();
            decided(
                &command,
                place,
                epoch,
                (fact.event.as_str(), json!(Vec::from_iter(&fact.reason)), draw, false),
            )
        }
        Some(Decision::Fact { .. }) => accepted(&command, place),
        Some(Decision::Unchanged { epoch, row }) => {
            decided(&command, place, epoch, (UNCHANGED, reasons_of(&row), row, false))
        }
    }
}

fn conflict(command: &Command) -> Problem {
    let problem =
        "this Idempotency-Key was used for another request; what that one asked for stands. Use a new key";
    Problem::new("idempotency-conflict", problem).with("command_id", command.command_id().as_str())
}

/// What the command speaks of, as its answer calls it.
fn subject(command: &Command) -> &'static str {
    if command.is_of_draws() { "draw_id" } else { "order_id" }
}

/// The same was decided before: it became a dead letter and is one still, or the order (the draw) is told as it
/// stands now.
async fn replayed(app: &App, command: &Command, place: Place, epoch: u64) -> Result<Answer, Problem> {
    let places_order = matches!(command, Command::PlaceOrder(_));
    if !places_order && let Some(letter) = crate::letters::of_command(app, command, place).await? {
        return Err(letter.problem(command));
    }
    let text = |text: &Text| Cell::Text(text.clone());
    let (table, id) =
        if command.is_of_draws() { (&tables::DRAWS, "draw_id") } else { (&tables::ORDERS, "order_id") };
    let filters = vec![("tenant", text(command.tenant())), (id, text(command.subject_id()))];
    let found = crate::reads::first(app, table, filters).await?;
    // What waits for its order, or for a row, does so still.
    let Some((frontier, order)) = found else { return accepted(command, place) };
    if let Command::PlaceOrder(placed) = command
        && order["command_id"] != placed.command_id.as_str()
    {
        // The id was another order's before: this one was refused for it then, and left no row.
        let reasons = json!([Reason::DuplicateOrder]);
        let mut refused = serde_json::to_value(&**placed).unwrap_or_default();
        refused["reasons"] = reasons.clone();
        let event = OrderEvent::Refused.as_str();
        return decided(command, place, epoch.max(frontier), (event, reasons, refused, true));
    }
    let status = order["status"].as_str().unwrap_or_default().to_owned();
    decided(command, place, epoch.max(frontier), (&status, reasons_of(&order), order, true))
}

/// Why it stands as it does; a draw's row has no reasons.
fn reasons_of(row: &Value) -> Value {
    if row["reasons"].is_array() { row["reasons"].clone() } else { json!([]) }
}

fn accepted(command: &Command, place: Place) -> Result<Answer, Problem> {
    let url = status_url(command, place);
    let body = json!({
        "command_id": command.command_id(),
        "tenant": command.tenant(),
        subject(command): command.subject_id(),
        "status": "accepted",
        "record": {"topic": place.topic, "partition": place.partition, "offset": place.offset},
        "status_url": url,
    });
    let mut answer = crate::reads::json_answer(&body);
    *answer.status_mut() = StatusCode::ACCEPTED;
    locate(&mut answer, &url);
    Ok(answer)
}

fn decided(
    command: &Command,
    place: Place,
    epoch: u64,
    (event, reasons, order, replayed): (&str, Value, Value, bool),
) -> Result<Answer, Problem> {
    let body = json!({
        "command_id": command.command_id(),
        "tenant": command.tenant(),
        subject(command): command.subject_id(),
        "status": "decided",
        "event": event,
        "reasons": reasons,
        "epoch": epoch,
        if command.is_of_draws() { "draw" } else { "order" }: order,
        "replayed": replayed,
        "record": {"topic": place.topic, "partition": place.partition, "offset": place.offset},
    });
    let mut answer = crate::reads::json_answer(&body);
    crate::reads::set_frontier(&mut answer, epoch);
    locate(&mut answer, &status_url(command, place));
    Ok(answer)
}

fn locate(answer: &mut Answer, url: &str) {
    if let Ok(url) = HeaderValue::from_str(url) {
        answer.headers_mut().insert(LOCATION, url);
    }
}

/// Where to look for what became of it: a read that waits until the record is decided.
fn status_url(command: &Command, place: Place) -> String {
    let encoded = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let list = if command.is_of_draws() { "draws" } else { "orders" };
    format!(
        "/v1/{list}/{}?tenant={}&after={}:{}:{}",
        encoded(command.subject_id()),
        encoded(command.tenant()),
        place.topic,
        place.partition,
        place.offset
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_tenant_principal_and_key_and_nothing_runs_together() {
        let id = |t: &str, p: &str, k: &str| ids(t, p, k).command;
        assert_eq!(id("a", "b", "c"), id("a", "b", "c"));
        assert_ne!(id("a", "b", "c"), id("ab", "", "c"));
        assert_ne!(id("a", "b", "c"), id("a", "bc", ""));
        assert_ne!(id("a", "b", "c"), id("a", "x", "c"));
    }

    #[test]
    fn the_hash_is_of_what_was_sent() {
        let cancel = |at_ms| CancelOrder {
            command_id: "c".into(),
            tenant: "t".into(),
            order_id: "o".into(),
            reason: None,
            requested_at_ms: at_ms,
        };
        let of = |at_ms| given(cancel(at_ms), |c| &mut c.requested_at_ms, Command::CancelOrder);
        let (one, two) = (of(0), of(0));
        assert_eq!(one.sent_hash, two.sent_hash);
        assert!(one.command.event_time_ms() > 0);
        let sent = of(7);
        assert_eq!((sent.sent_hash, sent.command.event_time_ms()), (sent.command.payload_hash(), 7));
    }
}
