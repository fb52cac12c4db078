//! The world's draws: each is corrected once, pays one prize in either revision, and is posted on one of two channels.

use crate::world::{cause, record_time, text};
use schemas::draws::*;
use schemas::{Fact, Text};

/// Everything that is told of the n-th draw.
pub fn told(epoch: u64, n: u64) -> Vec<Fact> {
    vec![
        draw(epoch, n, DrawEvent::Refused, 0),
        draw(epoch, n, DrawEvent::Published, 1),
        winning(epoch, n, WinningStatus::Won, 1),
        draw(epoch, n, DrawEvent::Corrected, 2),
        winning(epoch, n, WinningStatus::Superseded, 1),
        winning(epoch, n, WinningStatus::Won, 2),
        post(epoch, n, PublicationEvent::Posted, "square"),
        post(epoch, n, PublicationEvent::Failed, "tower"),
    ]
}

fn draw(epoch: u64, n: u64, event: DrawEvent, revision: i32) -> Fact {
    Fact::Draw(Box::new(DrawFact {
        event,
        tenant: "acme".into(),
        draw_id: text("draw", n),
        revision,
        supersedes: (revision > 1).then(|| revision - 1),
        game: Some("6 of 49".into()),
        numbers: vec![1, 2, 3, 4, 5, 6 + revision],
        bonus: vec![49],
        prizes: Vec::new(),
        jackpot_minor: None,
        currency: Some("EUR".into()),
        drawn_at_ms: Some(record_time(epoch) - 1_000),
        source: Some("hall".into()),
        sources: vec!["hall".into()],
        said: Vec::new(),
        tiers: Vec::new(),
        tickets: None,
        reason: (revision == 0).then(|| "50 is not on a ball".into()),
        at_ms: record_time(epoch),
        cause: cause(epoch, n),
    }))
}

fn winning(epoch: u64, n: u64, status: WinningStatus, revision: i32) -> Fact {
    Fact::Winning(Box::new(WinningFact {
        status,
        tenant: "acme".into(),
        draw_id: text("draw", n),
        revision,
        ticket_id: text("ticket", n),
        tier: "3".into(),
        order_id: text("order", n),
        amount_minor: 500 * i64::from(revision),
        currency: "EUR".into(),
        at_ms: record_time(epoch),
        cause: cause(epoch, n),
    }))
}

fn post(epoch: u64, n: u64, event: PublicationEvent, channel: &str) -> Fact {
    let failed = event == PublicationEvent::Failed;
    Fact::Publication(Box::new(PublicationFact {
        tenant: "acme".into(),
        draw_id: text("draw", n),
        revision: 2,
        kind: PublicationKind::Post,
        template: "plain".into(),
        locale: "en".into(),
        channel: Some(channel.into()),
        event,
        round: 1,
        attempts: if failed { 5 } else { 1 },
        game: "6 of 49".into(),
        numbers: vec![1, 2, 3, 4, 5, 8],
        bonus: vec![49],
        prizes: Vec::new(),
        drawn_at_ms: Some(record_time(epoch) - 1_000),
        jackpot_minor: None,
        currency: Some("EUR".into()),
        image: Text::from(format!("acme/6 of 49/draw-{n}/plain/en/r2.png")),
        sha256: None,
        bytes: None,
        network: Some(Network::Webhook),
        endpoint: None,
        target: None,
        supersedes: Some(1),
        external_id: (!failed).then(|| text("post", n)),
        reason: failed.then(|| "the channel answers 410".into()),
        at_ms: record_time(epoch),
        cause: cause(epoch, n),
    }))
}
