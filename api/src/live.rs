//! Live: what is decided, as it is decided, over Server-Sent Events.
//!
//! ```text
//!   Last-Event-ID ─> positions ─ facts told since, out of the log ─┐
//!                                                                  ├─> each fact once, in the order of its partition
//!   hub ─ ring of what is told from now on ────────────────────────┘
//! ```
//!
//! An event's id is the positions behind it: the next offset of every partition of the topics followed. So
//! whoever resumes with it gets exactly what comes after, from any instance, however long it was away. A
//! client that falls out of the ring is told `bye`, with its id, and comes back through the log. A connection holds
//! nothing but its place in the ring; one that takes no bytes is ended by the system (see `server.rs`).

use crate::app::{Answering, App, Call};
use crate::auth::Principal;
use crate::backend::{Positions, Told};
use crate::decided::News;
use crate::limits::Seat;
use crate::problem::Problem;
use futures_util::stream::{Stream, unfold};
use schemas::{Fact, Text};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use warp::Reply as _;
use warp::http::header::{CACHE_CONTROL, HeaderValue};
use warp::sse::Event;

/// What can be followed: its name here, its topic, its events' name, its letter in ids.
pub const TOPICS: &[(&str, &str, &str, char)] = &[
    ("orders", "facts.orders", "order", 'o'),
    ("stock", "facts.stock", "stock", 's'),
    ("alerts", "facts.fraud", "alert", 'a'),
    ("draws", "facts.draws", "draw", 'd'),
];

/// The one topic a partner follows: stock and alerts are the tenant's, and tell of others' orders.
const PARTNERS_OWN: &str = "facts.orders";
/// Facts that are read back at once, and so the most that a connection holds.
const READ_BACK: usize = 100;
/// How long a client waits until anything can be followed.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// Longest life of a stream: coming back costs nothing, and finds who may no longer.
const LIFE_MAX: Duration = Duration::from_secs(15 * 60);
/// How often the frontier is told.
const FRONTIER_EVERY: Duration = Duration::from_secs(1);

/// Which facts a client gets.
struct Wanted {
    topics: Vec<&'static str>,
    tenant: Option<Text>,
    partner: Option<Text>,
    offer: Option<Text>,
}

/// One client.
struct Client {
    app: Arc<App>,
    wanted: Wanted,
    /// The place after everything it was sent or that is not for it.
    at: Positions,
    ring: broadcast::Receiver<Arc<News>>,
    /// Read back and not sent yet.
    ready: VecDeque<Arc<News>>,
    /// Up to where it reads back, before it goes on with the ring.
    until: Option<Positions>,
    frontier: watch::Receiver<crate::backend::Frontier>,
    closing: watch::Receiver<bool>,
    every: Interval,
    life: Life,
    greeted: bool,
    ended: bool,
    _seat: Seat,
}

/// Until when a stream lasts, and why it ends then.
type Life = (Instant, &'static str);

/// What a client waits for.
enum Heard {
    Fact(Arc<News>),
    Tick,
    End(&'static str),
}

/// `GET /v1/live`.
pub fn live(app: Arc<App>, call: Call) -> Answering {
    Box::pin(async move {
        let seat = app.seats.take(&call.principal.name)?;
        let wanted = wanted(&call)?;
        let from = call.header("last-event-id").map(str::to_owned);
        let from = from.or_else(|| call.query.text("last_event_id").map(Into::into));
        let from = from.filter(|id| !id.is_empty()).map(|id| opened(&id)).transpose()?;
        let silent = || Problem::new("unavailable", "nothing can be followed yet: is the pipeline running?");
        let followed = followed(&app).await.ok_or_else(silent)?;
        if let Some(from) = &from {
            held(&app, from.clone(), followed.1.clone()).await?;
        }
        let (left, reason) = life(&call.principal, crate::commands::clock_ms());
        let client = Client::new(app, wanted, from, followed, (Instant::now() + left, reason), seat);
        let mut answer = warp::sse::reply(warp::sse::keep_alive().stream(events(client))).into_response();
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(answer)
    })
}

/// How long a caller may follow before it has to say again who it is, and why no longer.
fn life(principal: &Principal, now_ms: i64) -> (Duration, &'static str) {
    let left_ms = principal.ends_at_ms.map(|end| u64::try_from(end.saturating_sub(now_ms)).unwrap_or(0));
    match left_ms.map(Duration::from_millis) {
        Some(left) if left < LIFE_MAX => (left, "expired"),
        _ => (LIFE_MAX, "renew"),
    }
}

/// What a caller may follow, by name: nothing where it may only send.
pub fn topics_for(principal: &Principal) -> Vec<&'static str> {
    if !principal.may(crate::routes::LOOKERS) {
        return Vec::new();
    }
    let all =
        TOPICS.iter().filter(|(_, topic, ..)| principal.only_partner().is_none() || *topic == PARTNERS_OWN);
    all.map(|(name, ..)| *name).collect()
}

fn wanted(call: &Call) -> Result<Wanted, Problem> {
    let tenant = call.principal.tenant_or_all(call.query.text("tenant"))?;
    let partner = match (call.principal.only_partner(), call.query.text("partner")) {
        (Some(own), Some(named)) if *own != named => {
            return Err(Problem::new("forbidden", "your token is another partner's"));
        }
        (Some(own), _) => Some(own.clone()),
        (None, named) => named,
    };
    let only_orders = call.principal.only_partner().is_some();
    let mut topics = Vec::new();
    match call.query.text("topics") {
        None => topics.extend(TOPICS.iter().map(|(_, topic, ..)| *topic)),
        Some(names) => {
            for name in names.split(',').filter(|name| !name.is_empty()) {
                let known = TOPICS.iter().find(|(known, ..)| *known == name);
                let names: Vec<&str> = TOPICS.iter().map(|(name, ..)| *name).collect();
                let unknown =
                    || crate::fields::invalid("topics", &format!("say some of {}", names.join(",")));
                topics.push(known.ok_or_else(unknown)?.1);
            }
        }
    }
    if only_orders {
        if call.query.text("topics").is_some() && topics.iter().any(|topic| *topic != PARTNERS_OWN) {
            return Err(Problem::new("forbidden", "a partner follows its orders"));
        }
        topics.retain(|topic| *topic == PARTNERS_OWN);
    }
    Ok(Wanted { topics, tenant, partner, offer: call.query.text("offer") })
}

impl Wanted {
    fn takes(&self, fact: &Fact) -> bool {
        let is = |wanted: &Option<Text>, own: &Text| wanted.as_ref().is_none_or(|wanted| wanted == own);
        self.topics.contains(&fact.topic())
            && match fact {
                Fact::Order(f) => {
                    is(&self.tenant, &f.tenant)
                        && is(&self.offer, &f.offer_id)
                        && (self.partner.is_none() || self.partner == f.partner_id)
                }
                Fact::Stock(f) => {
                    self.partner.is_none() && is(&self.tenant, &f.tenant) && is(&self.offer, &f.offer_id)
                }
                Fact::Fraud(f) => {
                    self.partner.is_none() && self.offer.is_none() && is(&self.tenant, &f.tenant)
                }
                Fact::Draw(f) => {
                    self.partner.is_none() && self.offer.is_none() && is(&self.tenant, &f.tenant)
                }
                _ => false,
            }
    }
}

fn events(client: Client) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    unfold(client, |mut client| async move {
        if client.ended {
            return None;
        }
        let event = client.next().await;
        Some((Ok(event), client))
    })
}

impl Client {
    fn new(
        app: Arc<App>,
        wanted: Wanted,
        from: Option<Positions>,
        (ring, head): Followed,
        life: Life,
        seat: Seat,
    ) -> Client {
        let (at, until) = match from {
            None => (head, None),
            // Partitions that weren't there yet when the id was made are read from their beginning.
            Some(from) => (from, Some(head)),
        };
        let mut every = tokio::time::interval(FRONTIER_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (frontier, closing) = (app.decided.frontier(), app.closing.clone());
        Client {
            app,
            wanted,
            at,
            ring,
            ready: VecDeque::new(),
            until,
            frontier,
            closing,
            every,
            life,
            greeted: false,
            ended: false,
            _seat: seat,
        }
    }

    /// The next event; there is always one, if only the frontier.
    async fn next(&mut self) -> Event {
        if !self.greeted {
            self.greeted = true;
            return self.hello();
        }
        let (until, reason) = self.life;
        loop {
            if Instant::now() >= until {
                return self.bye(reason);
            }
            while let Some(told) = self.ready.pop_front() {
                if let Some(event) = self.take(&told) {
                    return event;
                }
            }
            if self.until.is_some() {
                if self.read_back().await.is_err() {
                    return self.bye("unavailable");
                }
                continue;
            }
            let heard = tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing) => Heard::End("shutdown"),
                () = tokio::time::sleep_until(until) => Heard::End(reason),
                told = self.ring.recv() => match told {
                    Ok(told) => Heard::Fact(told),
                    Err(RecvError::Lagged(_)) => Heard::End("lagged"),
                    Err(RecvError::Closed) => Heard::End("shutdown"),
                },
                _ = self.every.tick() => Heard::Tick,
            };
            match heard {
                Heard::Fact(told) => self.ready.push_back(told),
                Heard::Tick => return self.standing(),
                Heard::End(reason) => return self.bye(reason),
            }
        }
    }

    /// Reads back a part of what was told before; at the end of it goes over to the ring.
    async fn read_back(&mut self) -> Result<(), Problem> {
        let Some(until) = self.until.clone() else { return Ok(()) };
        let behind = until.iter().any(|(partition, end)| self.at.get(partition).unwrap_or(&0) < end);
        if !behind {
            self.until = None;
            return Ok(());
        }
        let (from, to) = (self.at.clone(), until);
        let told = self.app.histories.ask(move |history| history.read(&from, &to, READ_BACK)).await?;
        if told.is_empty() {
            // Offsets that hold nothing: transaction markers.
            if let Some(until) = self.until.take() {
                merge(&mut self.at, &until);
            }
        }
        self.ready.extend(told.into_iter().map(News::new).map(Arc::new));
        // A long way back may take longer than the ring lasts: then the rest is read back, too.
        if self.ring.len() > crate::decided::BEHIND_MAX / 2 {
            let silent = || Problem::new("unavailable", "nothing can be followed now");
            let (ring, head) = followed(&self.app).await.ok_or_else(silent)?;
            (self.ring, self.until) = (ring, Some(head));
        }
        Ok(())
    }

    /// Moves past a fact; its event, if it is for this client and wasn't sent yet.
    fn take(&mut self, news: &News) -> Option<Event> {
        let told = &news.told;
        let at = self.at.entry((told.place.topic, told.place.partition)).or_default();
        if told.place.offset < *at {
            return None;
        }
        *at = told.place.offset + 1;
        if !self.wanted.takes(&told.fact) {
            return None;
        }
        let (_, _, name, _) = TOPICS.iter().find(|(_, topic, ..)| *topic == told.place.topic)?;
        Some(Event::default().event(*name).id(sealed(&self.at)).data(news.json(body)))
    }

    fn hello(&self) -> Event {
        let names: Vec<&str> = TOPICS
            .iter()
            .filter(|(_, t, ..)| self.wanted.topics.contains(t))
            .map(|(name, ..)| *name)
            .collect();
        let frontier = *self.frontier.borrow();
        let data = json!({"epoch": frontier.epoch, "at_ms": crate::commands::clock_ms(), "topics": names});
        let event = Event::default().event("hello").data(data.to_string()).id(sealed(&self.at));
        event.retry(Duration::from_secs(1))
    }

    fn standing(&self) -> Event {
        let frontier = *self.frontier.borrow();
        let data = json!({
            "epoch": frontier.epoch, "decided_now_ms": frontier.now_ms, "age_ms": frontier.age_ms,
        });
        Event::default().event("frontier").data(data.to_string())
    }

    fn bye(&mut self, reason: &str) -> Event {
        self.ended = true;
        let data = json!({"reason": reason}).to_string();
        Event::default().event("bye").id(sealed(&self.at)).data(data)
    }
}

/// The ring from now on, and the positions where it begins.
type Followed = (broadcast::Receiver<Arc<News>>, Positions);

async fn followed(app: &App) -> Option<Followed> {
    let (ring, mut head) = app.decided.subscribe(OPEN_MAX).await?;
    head.retain(|(topic, _), _| TOPICS.iter().any(|(_, followed, ..)| followed == topic));
    Some((ring, head))
}

/// Whoever comes back to a log that no longer holds the place, or to another log, would wait for ever or miss what was
/// between: it is told, and begins anew.
async fn held(app: &App, from: Positions, head: Positions) -> Result<(), Problem> {
    if from == head || app.histories.ask(move |history| history.holds(&from, &head)).await? {
        return Ok(());
    }
    let gone = "the log does not hold what comes after this id; follow without one, and read the lists after `hello`";
    Err(Problem::new("position-gone", gone))
}

fn merge(at: &mut Positions, other: &Positions) {
    for (partition, end) in other {
        let known = at.entry(*partition).or_default();
        *known = (*known).max(*end);
    }
}

fn body(told: &Told) -> String {
    let mut body = match &told.fact {
        Fact::Order(fact) => serde_json::to_value(&**fact),
        Fact::Stock(fact) => serde_json::to_value(&**fact),
        Fact::Fraud(fact) => serde_json::to_value(&**fact),
        Fact::Draw(fact) => serde_json::to_value(&**fact),
        _ => Ok(Value::Null),
    }
    .unwrap_or_default();
    if let Value::Object(fields) = &mut body {
        fields.insert("epoch".to_owned(), told.epoch.into());
    }
    body.to_string()
}

/// Positions as an id: letter of the topic, partition, `.`, next offset, and `-` between them.
fn sealed(at: &Positions) -> String {
    let mut id = String::from("v1");
    for (_, topic, _, letter) in TOPICS {
        for ((of, partition), offset) in at.iter().filter(|((of, _), _)| of == topic) {
            debug_assert_eq!(of, topic);
            let _ = write!(id, "-{letter}{partition}.{offset}");
        }
    }
    id
}

fn opened(id: &str) -> Result<Positions, Problem> {
    let wrong = || crate::fields::invalid("Last-Event-ID", "it is none of ours; follow without one");
    let rest = id.strip_prefix("v1").ok_or_else(wrong)?;
    let mut at = Positions::new();
    for part in rest.split('-').filter(|part| !part.is_empty()) {
        let mut letters = part.chars();
        let letter = letters.next().ok_or_else(wrong)?;
        let (_, topic, ..) = TOPICS.iter().find(|(.., known)| *known == letter).ok_or_else(wrong)?;
        let (partition, offset) = letters.as_str().split_once('.').ok_or_else(wrong)?;
        let partition = partition.parse().map_err(|_| wrong())?;
        at.insert((*topic, partition), offset.parse().map_err(|_| wrong())?);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_lasts_as_long_as_its_token_and_never_longer_than_it_may() {
        let of = |ends_at_ms| life(&Principal { ends_at_ms, ..Principal::everybody() }, 1_000_000);
        assert_eq!(of(None), (LIFE_MAX, "renew"));
        assert_eq!(of(Some(i64::MAX)), (LIFE_MAX, "renew"));
        assert_eq!(of(Some(1_007_000)), (Duration::from_secs(7), "expired"));
        assert_eq!(of(Some(7)), (Duration::ZERO, "expired"));
    }

    #[test]
    fn an_id_gives_back_its_positions() {
        let at =
            Positions::from([(("facts.orders", 0), 7), (("facts.orders", 3), 0), (("facts.stock", 0), 9)]);
        assert_eq!(sealed(&at), "v1-o0.7-o3.0-s0.9");
        assert_eq!(opened(&sealed(&at)).expect("ours"), at);
        assert_eq!(opened("v1").expect("ours"), Positions::new());
        for stranger in ["", "7", "v2-o0.1", "v1-x0.1", "v1-o0", "v1-o0.x"] {
            assert!(opened(stranger).is_err(), "{stranger:?}");
        }
    }
}
