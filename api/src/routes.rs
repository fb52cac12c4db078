//! The one table of routes: requests are routed by it, checked by it, and described by it at `/openapi.json`.

use crate::app::{Answering, App, Call};
use crate::auth::Role::{self, Analyst, Operator, Partner, Producer};
use crate::fields::Kind::{Choice, Id, Ids, Int, Ints, Object, Objects};
use crate::fields::{Field, Kind, may, must};
use crate::{commands, draws, health, letters, live, openapi, page, reads, reference, results, ticket};
use schemas::rows::TableSpec;
use schemas::tables;
use std::sync::Arc;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Post,
}

/// Who may.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// Whoever asks.
    Anyone,
    /// These, and operators.
    Roles(&'static [Role]),
}

/// What it answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    Json,
    Command,
    Page,
    Events,
    Image,
    /// For Prometheus.
    Figures,
    /// Of the live page.
    Files,
}

/// One route.
pub struct Route {
    pub method: Method,
    /// Parameters in braces.
    pub path: &'static str,
    /// Its name in the OpenAPI document and in metrics.
    pub id: &'static str,
    pub about: &'static str,
    pub access: Access,
    pub query: &'static [Field],
    pub body: &'static [Field],
    /// Whether it wants an `Idempotency-Key`.
    pub keyed: bool,
    pub gives: Gives,
    /// Whose rows it answers with.
    pub table: Option<&'static TableSpec>,
    pub handler: fn(Arc<App>, Call) -> Answering,
}

impl Route {
    /// Whether its answers have a tag: rows, which may be the same as the last time.
    pub fn tags(&self) -> bool {
        self.gives == Gives::Image
            || self.method == Method::Get && self.query.iter().any(|f| f.name == "after")
    }

    /// Whether it is for those who watch the service: they need it most where there is too much of everything.
    pub fn watches(&self) -> bool {
        matches!(self.id, "isAlive" | "isReady" | "getMetrics")
    }
}

const TENANT: Field = may("tenant", Id, "Whose; needed where your token is of no tenant");
const WAIT: Field = may(
    "wait_ms",
    Int,
    "Wait so long for the decision and answer with it, as far as the instance allows; 0: not at all",
);
const AFTER: Field =
    may("after", Kind::Text, "TOPIC:PARTITION:OFFSET of a record: answer once it is decided");
const LIMIT: Field = may("limit", Int, "Rows of a page, 1 to 500; 50 where absent");
/// Where a list goes on.
pub const CURSOR: Field = may("cursor", Kind::Cursor, "`next_cursor` of the page before");
const REASON: Field = may("reason", Kind::Text, "Why, in the sender's words");
const MOMENT: &str = "UTC milliseconds; now where absent";
const SELLERS: Access = Access::Roles(&[Producer]);
const READERS: Access = Access::Roles(&[Analyst]);
const PARTNERS_TOO: Access = Access::Roles(LOOKERS);
/// Who may look at what is decided, a partner at its own.
pub const LOOKERS: &[Role] = &[Analyst, Partner];

const fn get(
    path: &'static str,
    id: &'static str,
    about: &'static str,
    access: Access,
    query: &'static [Field],
    handler: fn(Arc<App>, Call) -> Answering,
) -> Route {
    let gives = Gives::Json;
    let (method, body, table) = (Method::Get, &[], None);
    Route { method, path, id, about, access, query, body, keyed: false, gives, table, handler }
}

const fn list(
    path: &'static str,
    id: &'static str,
    about: &'static str,
    access: Access,
    (table, query): (&'static TableSpec, &'static [Field]),
    handler: fn(Arc<App>, Call) -> Answering,
) -> Route {
    Route { gives: Gives::Page, table: Some(table), ..get(path, id, about, access, query, handler) }
}

const fn open(
    path: &'static str,
    id: &'static str,
    about: &'static str,
    gives: Gives,
    handler: fn(Arc<App>, Call) -> Answering,
) -> Route {
    Route { gives, ..get(path, id, about, Access::Anyone, &[], handler) }
}

const fn command(
    path: &'static str,
    id: &'static str,
    about: &'static str,
    body: &'static [Field],
    handler: fn(Arc<App>, Call) -> Answering,
) -> Route {
    let (access, query, gives) = (SELLERS, &[WAIT], Gives::Command);
    let (method, table) = (Method::Post, None);
    Route { method, path, id, about, access, query, body, keyed: true, gives, table, handler }
}

/// Every route.
pub static ROUTES: &[Route] = &[
    command("/v1/orders", "placeOrder", "Place an order", PLACE, commands::place_order),
    command(
        "/v1/orders/{order_id}/cancel",
        "cancelOrder",
        "Give a held order's stock back",
        &[TENANT, REASON, may("requested_at_ms", Int, MOMENT)],
        commands::cancel_order,
    ),
    command(
        "/v1/orders/{order_id}/refund",
        "refundOrder",
        "Take a confirmed order back",
        &[TENANT, REASON, may("requested_at_ms", Int, MOMENT)],
        commands::refund_order,
    ),
    command(
        "/v1/payments",
        "reportPayment",
        "Report what the payment gateway did",
        PAY,
        commands::report_payment,
    ),
    Route {
        access: Access::Roles(&[Operator]),
        ..command("/v1/draws/results", "reportResult", "Report a draw's result", RESULT, results::report)
    },
    Route {
        access: Access::Roles(&[Operator]),
        query: &[],
        ..command(
            "/v1/reference/{table}",
            "changeReference",
            "Change a row of a reference table (embedded log only; else the database is its source)",
            &[
                may("row", Object, "The row as it is from now on"),
                may("delete", Object, "The row that goes: its key's columns"),
            ],
            reference::change,
        )
    },
    Route {
        access: Access::Roles(&[Operator]),
        gives: Gives::Json,
        query: &[],
        keyed: false,
        ..command(
            "/v1/dead-letters/retry",
            "retryDeadLetters",
            "Send dead letters in again, each once",
            &[must("ids", Ids, "TOPIC/PARTITION/OFFSET of each")],
            letters::retry,
        )
    },
    Route {
        query: &[],
        keyed: false,
        gives: Gives::Json,
        ..command(
            "/api/ticket/buy",
            "buyTicket",
            "Buy a lottery ticket and pay for it at once (demo only)",
            &[
                may("customer_id", Id, "Who buys"),
                may("numbers", Ints, "The numbers chosen; picked where absent"),
                may("quantity", Int, "How many tickets; 1 where absent"),
            ],
            ticket::buy,
        )
    },
    list(
        "/v1/orders",
        "listOrders",
        "Where orders stand",
        PARTNERS_TOO,
        (&tables::ORDERS, ORDERS),
        reads::orders,
    ),
    Route {
        table: Some(&tables::ORDERS),
        ..get(
            "/v1/orders/{order_id}",
            "getOrder",
            "Where an order stands",
            Access::Roles(&[Producer, Analyst, Partner]),
            &[TENANT, AFTER, WAIT],
            reads::order,
        )
    },
    list(
        "/v1/stock",
        "listStock",
        "The stock ledger's balances",
        READERS,
        (&tables::STOCK, STOCK),
        reads::stock,
    ),
    list(
        "/v1/tickets",
        "listTickets",
        "Tickets issued",
        READERS,
        (&tables::TICKETS, TICKETS),
        reads::tickets,
    ),
    list(
        "/v1/alerts",
        "listAlerts",
        "Velocity rules that fired",
        READERS,
        (&tables::FRAUD_ALERTS, ALERTS),
        reads::alerts,
    ),
    list("/v1/draws", "listDraws", "Where draws stand", READERS, (&tables::DRAWS, DRAWS), draws::draws),
    Route {
        table: Some(&tables::DRAWS),
        ..get(
            "/v1/draws/{draw_id}",
            "getDraw",
            "Where a draw stands",
            READERS,
            &[TENANT, AFTER, WAIT],
            draws::draw,
        )
    },
    Route {
        gives: Gives::Image,
        ..get(
            "/v1/draws/{draw_id}/images/{template}/{locale}/{revision}",
            "getDrawImage",
            "An image of a draw's result; the draw's `images` lists them",
            READERS,
            &[TENANT],
            draws::image,
        )
    },
    list(
        "/v1/winning-tickets",
        "listWinningTickets",
        "Tickets that won",
        READERS,
        (&tables::WINNING_TICKETS, WINNERS),
        reads::winning_tickets,
    ),
    list(
        "/v1/publications",
        "listPublications",
        "Posts of draws, with their images",
        READERS,
        (&tables::PUBLICATIONS, PUBLICATIONS),
        reads::publications,
    ),
    list(
        "/v1/statements",
        "listStatements",
        "What partners earn, by month",
        PARTNERS_TOO,
        (&tables::COMMISSION_STATEMENTS, STATEMENTS),
        reads::statements,
    ),
    get(
        "/v1/statements/{partner_id}/{month}/explanation",
        "explainStatement",
        "How a statement came about, down to the records in the log",
        PARTNERS_TOO,
        &[TENANT, AFTER, WAIT],
        reads::explanation,
    ),
    list(
        "/v1/dead-letters",
        "listDeadLetters",
        "Records nothing could be done with: of each the first 1,024 bytes",
        Access::Roles(&[Operator]),
        (&tables::DEAD_LETTERS, LETTERS),
        reads::dead_letters,
    ),
    Route {
        gives: Gives::Events,
        ..get("/v1/live", "followLive", "What is decided, as it is decided", PARTNERS_TOO, LIVE, live::live)
    },
    get(
        "/v1/status",
        "getStatus",
        "Where the pipeline stands",
        Access::Roles(&[Producer, Analyst, Partner]),
        &[],
        reads::status,
    ),
    open("/healthz", "isAlive", "The process answers", Gives::Json, health::alive),
    open("/readyz", "isReady", "The decided frontier moves", Gives::Json, health::ready),
    open("/metrics", "getMetrics", "Figures for Prometheus", Gives::Figures, health::metrics),
    open("/openapi.json", "getOpenapi", "This description", Gives::Json, openapi::document),
    open("/", "getPage", "The live page", Gives::Files, page::index),
    open("/{file}", "getPageFile", "A file of the live page", Gives::Files, page::file),
];

const PLACE: &[Field] = &[
    TENANT,
    may("order_id", Id, "Follows from the Idempotency-Key where absent"),
    must("customer_id", Id, "Who buys"),
    must("offer_id", Id, "What"),
    must("quantity", Int, "How many"),
    must("price_minor", Int, "Price of one as shown, in the currency's minor unit"),
    must("currency", Id, "ISO 4217"),
    may("partner_id", Id, "Through whom"),
    may("placed_at_ms", Int, MOMENT),
    may("card", Id, "Token or fingerprint, never a card number"),
    may("device", Id, "Fingerprint"),
    may("ip", Id, "Address"),
    may("numbers", Ints, "Numbers chosen for a lottery ticket"),
    may("seat", Id, "Which seat"),
];

const PAY: &[Field] = &[
    TENANT,
    must("outcome", Choice(&["captured", "declined"]), "What the gateway did"),
    must("order_id", Id, "For which order"),
    must("payment_id", Id, "The gateway's own id"),
    may("amount_minor", Int, "What was captured, in the currency's minor unit; needed for `captured`"),
    may("currency", Id, "ISO 4217; needed for `captured`"),
    REASON,
    may("at_ms", Int, MOMENT),
];

const RESULT: &[Field] = &[
    TENANT,
    must("draw_id", Id, "Which draw"),
    must("source", Id, "Who says so"),
    may("numbers", Ints, "The numbers drawn"),
    may("bonus", Ints, "The bonus numbers"),
    may("prizes", Objects, "In games of digits: {tier, numbers: [digits]} of each prize"),
    may("jackpot_minor", Int, "In the currency's minor unit"),
    may("currency", Id, "ISO 4217"),
    may("drawn_at_ms", Int, MOMENT),
    may("reported_at_ms", Int, MOMENT),
];

const DRAWS: &[Field] = &[
    TENANT,
    AFTER,
    WAIT,
    LIMIT,
    CURSOR,
    may("game", Id, "Only this game's"),
    may("status", Choice(&["waiting", "disagreement", "published", "settled"]), "Only these"),
    may("images", Choice(&["yes", "no"]), "Whether each row lists its images; yes where absent"),
];

const WINNERS: &[Field] = &[
    TENANT,
    AFTER,
    WAIT,
    LIMIT,
    CURSOR,
    may("draw_id", Id, "Only this draw's"),
    may("ticket_id", Id, "Only this ticket"),
    may("status", Choice(&["won", "superseded"]), "Only these"),
];

const PUBLICATIONS: &[Field] = &[
    TENANT,
    AFTER,
    WAIT,
    LIMIT,
    CURSOR,
    may("draw_id", Id, "Only this draw's"),
    may("channel", Id, "Only this channel's"),
    may("status", Kind::Text, "Only these"),
];

const ORDERS: &[Field] = &[
    TENANT,
    AFTER,
    WAIT,
    LIMIT,
    CURSOR,
    may(
        "status",
        Choice(&["held", "in_review", "confirmed", "refused", "cancelled", "expired", "refunded"]),
        "Only these",
    ),
    may("offer_id", Id, "Only this offer's"),
    may("partner_id", Id, "Only this partner's"),
    may("customer_id", Id, "Only this customer's"),
];

const STOCK: &[Field] = &[TENANT, AFTER, WAIT, LIMIT, CURSOR, may("offer_id", Id, "Only this offer's")];

const TICKETS: &[Field] = &[
    TENANT,
    AFTER,
    WAIT,
    LIMIT,
    CURSOR,
    may("order_id", Id, "Only this order's"),
    may("offer_id", Id, "Only this offer's"),
];

const ALERTS: &[Field] = &[
    TENANT,
    AFTER,
    WAIT,
    LIMIT,
    CURSOR,
    may("rule_id", Id, "Only this rule's"),
    may("order_id", Id, "Only this order's"),
    may("action", Choice(&["flag", "review", "block"]), "Only these"),
];

const LETTERS: &[Field] = &[
    AFTER,
    WAIT,
    LIMIT,
    CURSOR,
    may("topic", Id, "Only this topic's"),
    may("status", Choice(&["open", "retried"]), "Only these"),
];

const STATEMENTS: &[Field] = &[
    TENANT,
    AFTER,
    WAIT,
    LIMIT,
    CURSOR,
    may("partner_id", Id, "Only this partner's"),
    may("month", Id, "YYYY-MM"),
    may("currency", Id, "ISO 4217"),
    may("status", Choice(&["open", "closed"]), "Only these"),
];

const LIVE: &[Field] = &[
    TENANT,
    may("topics", Kind::Text, "Some of orders,stock,alerts,draws; all that you may see where absent"),
    may("partner", Id, "Only this partner's orders"),
    may("offer", Id, "Only this offer's"),
    may("last_event_id", Kind::Text, "Where to go on, for clients that can't send Last-Event-ID"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_routes_are_the_same_and_names_are_unique() {
        for (at, route) in ROUTES.iter().enumerate() {
            for other in &ROUTES[at + 1..] {
                assert_ne!(route.id, other.id);
                assert!((route.method, route.path) != (other.method, other.path), "{}", route.path);
            }
        }
    }
}
