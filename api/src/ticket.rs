//! `POST /api/ticket/buy`: the lottery's first entry, as its customers knew it: one request, one ticket, paid.
//!
//! ```text
//!   order ─ held ─> payment, captured by this very request ─ confirmed ─> ticket
//! ```
//!
//! Only where a shop is configured, which the demo does: nobody else's payments are captured by asking. A
//! crash in between leaves an order that is held and expires, or is paid and confirmed; sent again with the same
//! `Idempotency-Key` the request goes on where it was.

use crate::app::{Answering, App, Call, Shop, Wait};
use crate::auth::Principal;
use crate::backend::Select;
use crate::commands::{Given, Submitted, clock_ms, decide, given, ids};
use crate::problem::{Answer, Problem};
use crate::waiting::Decision;
use schemas::commands::{PaymentCaptured, PlaceOrder};
use schemas::facts::{OrderEvent, OrderFact};
use schemas::rows::Value as Cell;
use schemas::{Command, Fact, Text, tables};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long each of the two decisions is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// Tells requests without a key apart.
static BOUGHT: AtomicU64 = AtomicU64::new(0);

/// The handler.
pub fn buy(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let Some(shop) = app.settings.shop.clone() else {
            return Err(Problem::new("not-found", "tickets are sold here in the demo only; POST /v1/orders"));
        };
        let started = Instant::now();
        let tenant = call.principal.tenant(Some(shop.tenant.as_str().into()))?;
        // One that is there but can't be used is none of its own: the client counts on it.
        let key = if call.headers.contains_key("idempotency-key") {
            crate::commands::idempotency_key(&call.headers)?
        } else {
            fresh_key()
        };
        let order = order(&shop, &tenant, &call, &key)?;
        let (quantity, price_minor) = (i64::from(order.quantity), order.price_minor);
        let order_id = order.order_id.clone();
        let order = given(order, |o| &mut o.placed_at_ms, Command::PlaceOrder);
        expect(&app, &call.principal, &tenant, &order_id, order, &[OrderEvent::Held, OrderEvent::Confirmed])
            .await?;
        let payment = payment(&shop, &tenant, &call, &key, &order_id, quantity * price_minor);
        let payment = given(payment, |p| &mut p.captured_at_ms, Command::PaymentCaptured);
        let epoch =
            expect(&app, &call.principal, &tenant, &order_id, payment, &[OrderEvent::Confirmed]).await?;
        bought(&app, &tenant, &order_id, epoch, started).await
    })
}

fn fresh_key() -> String {
    let number = BOUGHT.fetch_add(1, Ordering::SeqCst);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{number}", now.as_nanos(), std::process::id())
}

fn order(shop: &Shop, tenant: &Text, call: &Call, key: &str) -> Result<PlaceOrder, Problem> {
    let ids = ids(tenant, &call.principal.name, key);
    let numbers = call.body.smalls("numbers")?;
    let numbers = if numbers.is_empty() { picked(shop, key) } else { numbers };
    Ok(PlaceOrder {
        command_id: ids.command,
        tenant: tenant.clone(),
        order_id: ids.order,
        customer_id: call.body.text("customer_id").unwrap_or_else(|| shop.customer_id.as_str().into()),
        partner_id: None,
        offer_id: shop.offer_id.as_str().into(),
        quantity: call.body.small("quantity")?.unwrap_or(1),
        price_minor: shop.price_minor,
        currency: shop.currency.as_str().into(),
        placed_at_ms: 0,
        card: None,
        device: None,
        ip: None,
        numbers,
        seat: None,
    })
}

/// Numbers for whoever names none: they follow from the key, so that a retry asks for the same.
fn picked(shop: &Shop, key: &str) -> Vec<i32> {
    let mut numbers: Vec<i32> = Vec::new();
    for round in 0u32.. {
        if numbers.len() >= shop.numbers.min(shop.number_max.max(0) as usize) {
            break;
        }
        let digest = Sha256::new().chain_update(round.to_le_bytes()).chain_update(key).finalize();
        for byte in digest {
            let number = i32::from(byte) % shop.number_max.max(1) + 1;
            if numbers.len() < shop.numbers && !numbers.contains(&number) {
                numbers.push(number);
            }
        }
    }
    numbers.sort_unstable();
    numbers
}

fn payment(
    shop: &Shop,
    tenant: &Text,
    call: &Call,
    key: &str,
    order_id: &Text,
    amount_minor: i64,
) -> PaymentCaptured {
    let ids = ids(tenant, &call.principal.name, &format!("{key}:payment"));
    PaymentCaptured {
        payment_id: ids.command.clone(),
        command_id: ids.command,
        tenant: tenant.clone(),
        order_id: order_id.clone(),
        amount_minor,
        currency: shop.currency.as_str().into(),
        captured_at_ms: 0,
    }
}

/// Sends a command and waits until the order stands as wanted; the epoch that decided it.
async fn expect(
    app: &App,
    principal: &Principal,
    tenant: &Text,
    order_id: &Text,
    given: Given,
    wanted: &[OrderEvent],
) -> Result<u64, Problem> {
    let wait = Wait::take(app, principal, WAIT)?;
    let Submitted { decision, .. } = decide(app, given, Some(wait)).await?;
    match decision {
        None => {
            Err(Problem::new("not-decided-yet", "it takes longer than usual; send the same request again")
                .with("order_id", order_id.as_str()))
        }
        Some(Decision::DeadLetter { letter, .. }) => {
            Err(Problem::new("dead-letter", letter.reason.clone()).with("id", letter.id.as_str()))
        }
        Some(Decision::Fact { epoch, fact: Fact::Order(fact) }) => match fact.event {
            OrderEvent::IdempotencyConflict => Err(Problem::new(
                "idempotency-conflict",
                "this key was used for another ticket; use a new one",
            )),
            OrderEvent::Duplicate => standing(app, tenant, order_id, epoch, wanted).await,
            event if wanted.contains(&event) => Ok(epoch),
            _ => Err(refused(&fact)),
        },
        Some(Decision::Unchanged { epoch, .. }) => standing(app, tenant, order_id, epoch, wanted).await,
        Some(Decision::Fact { .. }) => Err(Problem::new("not-decided-yet", "ask again")),
    }
}

/// The same was asked before: does the order stand as wanted now?
async fn standing(
    app: &App,
    tenant: &Text,
    order_id: &Text,
    epoch: u64,
    wanted: &[OrderEvent],
) -> Result<u64, Problem> {
    let rows = rows(app, &tables::ORDERS, tenant, order_id).await?;
    let status = rows.first().map(|row| crate::reads::object(&tables::ORDERS, row)["status"].clone());
    let status = status.as_ref().and_then(|status| status.as_str()).unwrap_or_default().to_owned();
    if wanted.iter().any(|event| event.as_str() == status) {
        return Ok(epoch);
    }
    let problem = format!("the order is {status}; use a new Idempotency-Key for another ticket");
    Err(Problem::new("payment-not-confirmed", problem).with("order_id", order_id.as_str()))
}

fn refused(fact: &OrderFact) -> Problem {
    let reasons: Vec<&str> = fact.reasons.iter().map(|reason| reason.as_str()).collect();
    let problem = format!("the order is {}: {}", fact.event.as_str(), reasons.join(", "));
    Problem::new("payment-not-confirmed", problem)
        .with("order_id", fact.order_id.as_str())
        .with("reasons", reasons)
}

async fn rows(
    app: &App,
    table: &'static schemas::rows::TableSpec,
    tenant: &Text,
    order_id: &Text,
) -> Result<Vec<Vec<Cell>>, Problem> {
    let filters = vec![("tenant", Cell::Text(tenant.clone())), ("order_id", Cell::Text(order_id.clone()))];
    Ok(app.readers.select(Select { limit: 10, ..Select::of(table, filters) }).await?.rows)
}

async fn bought(
    app: &App,
    tenant: &Text,
    order_id: &Text,
    epoch: u64,
    started: Instant,
) -> Result<Answer, Problem> {
    let orders = rows(app, &tables::ORDERS, tenant, order_id).await?;
    let tickets = rows(app, &tables::TICKETS, tenant, order_id).await?;
    let order = orders.first().map(|row| crate::reads::object(&tables::ORDERS, row)).unwrap_or_default();
    let tickets: Vec<_> = tickets.iter().map(|row| crate::reads::object(&tables::TICKETS, row)).collect();
    let first = tickets.first().cloned().unwrap_or_default();
    let body = json!({
        "message": "payment confirmed",
        "status": order["status"],
        "tenant": tenant,
        "order_id": order_id,
        "offer_id": order["offer_id"],
        "amount_minor": order["amount_minor"],
        "currency": order["currency"],
        "ticket_id": first["ticket_id"],
        "ticket": first["payload"],
        "tickets": tickets,
        "epoch": epoch,
        "waited_ms": started.elapsed().as_millis() as u64,
        "at_ms": clock_ms(),
    });
    let mut answer = crate::reads::json_answer(&body);
    crate::reads::set_frontier(&mut answer, epoch);
    Ok(answer)
}
