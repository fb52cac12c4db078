//! One channel: its posts, one after the other, each until it is out or given up.
//!
//! ```text
//!   request ─> limits ─> intent durable ─> call ─> judge ─┬─ posted, given up ─> recorded, told
//!                ↑                                        └─ again ─> wait ─┐
//!                └──────────────────────────────────────────────────────────┘
//! ```
//!
//! A channel knows nothing of the others: its limits, its breaker and its waiting are its own. The order of its
//! posts is that of the facts. A post whose result is corrected meanwhile has no intent: it isn't called, nor called again.
//! Nor is one that is no news any more: what may have gone out of either is found out, where the network can be asked.

use super::follow::Request;
use super::images::finish;
use super::judge::{Verdict, judge, unknown};
use super::keeper::Stopped;
use super::parts::{Busy, Context, luck};
use super::steps::{self, Outcome};
use runtime::killpoint;
use schemas::draws::PublicationFact;
use sinks::publishing::{Change, StepKey, StepState};
use sinks::social::limits::{Breaker, Bucket, backoff};
use sinks::social::{Image, Network, Post, PostError, Posted, Repeat, Target, network};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const DAY_MS: i64 = 86_400_000;

/// Tries of one post, as recorded.
#[derive(Clone, Copy, Debug)]
struct Tries {
    count: i64,
    first_ms: i64,
    in_doubt: bool,
}

/// What one try came to.
enum Tried {
    Judged(Verdict),
    /// The step is over without us: superseded, or the publisher stops.
    Gone,
}

/// An adapter, and what it was made from.
struct Adapter {
    made_from: (String, String, String, sinks::social::Secret),
    network: Box<dyn Network>,
}

/// A channel's task.
pub struct Channel {
    context: Context,
    name: String,
    bucket: Bucket,
    breaker: Breaker,
    adapter: Option<Adapter>,
    /// From before a call until what came of it is recorded.
    busy: Option<Busy>,
}

impl Channel {
    pub fn new(context: Context, name: String) -> Self {
        let settings = &context.settings;
        let bucket = Bucket::new(settings.per_minute, settings.burst, Instant::now());
        let breaker = Breaker::new(settings.breaker_failures, settings.breaker_pause);
        Channel { context, name, bucket, breaker, adapter: None, busy: None }
    }

    /// Until the publisher stops.
    pub async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        while let Some(request) = requests.recv().await {
            if self.publish(request).await.is_err() {
                return;
            }
            // Its posts go out one after the other.
            self.context.status.change_channel(&self.name, |channel| _ = channel.asked_ms.pop_front());
        }
    }

    async fn publish(&mut self, request: Request) -> Result<(), Stopped> {
        let Request { step, fact } = request;
        let in_doubt = matches!(step.state, StepState::Calling | StepState::Withdrawn);
        let mut tries = Tries { count: step.attempts, first_ms: step.first_call_ms, in_doubt };
        let outcome = loop {
            // Of what is in doubt, more is to be found out.
            if let Some(reason) = self.expired(&fact).filter(|_| !tries.in_doubt) {
                break Outcome::Failed { reason, attempts: tries.count };
            }
            match self.attempt(&step.key, &fact, &mut tries).await? {
                Tried::Gone => {
                    self.busy = None;
                    self.context.status.change(|f| f.waiting = f.waiting.saturating_sub(1));
                    return Ok(());
                }
                Tried::Judged(Verdict::Posted { external_id }) => {
                    break Outcome::Posted { external_id, attempts: tries.count };
                }
                Tried::Judged(Verdict::GiveUp { reason }) => {
                    break Outcome::Failed { reason, attempts: tries.count };
                }
                Tried::Judged(Verdict::Again { problem, after, in_doubt }) => {
                    self.again(&step.key, &mut tries, in_doubt).await?;
                    self.busy = None;
                    self.pause(&tries, &problem, after).await;
                }
            }
        };
        let finished = finish(&self.context, &step.key, &fact, &outcome).await;
        self.busy = None;
        finished
    }

    /// Too old to be news.
    fn expired(&self, fact: &PublicationFact) -> Option<String> {
        let settings = &self.context.settings;
        expired(fact, crate::clock_ms(), settings.age_ms_max, settings.publish_max_age_ms)
    }

    /// One call, with everything that has to be true before it.
    async fn attempt(
        &mut self,
        key: &StepKey,
        fact: &PublicationFact,
        tries: &mut Tries,
    ) -> Result<Tried, Stopped> {
        let (tries_max, count) = (self.context.settings.attempts, tries.count + 1);
        let post = match self.prepare(fact).await {
            Ok(post) => post,
            // Nothing was called: what was in doubt before still is.
            Err(error) => {
                tries.count = count;
                let repeat = if tries.in_doubt { Repeat::Recognised } else { Repeat::Never };
                return Ok(Tried::Judged(judge(Err(error), count, tries_max, repeat, tries.in_doubt)));
            }
        };
        let repeat = self.network().repeat();
        if tries.in_doubt && repeat == Repeat::Never {
            let reason = unknown("the process ended between the call and its answer");
            return Ok(Tried::Judged(Verdict::GiveUp { reason }));
        }
        self.limits().await;
        self.busy = Some(self.context.busy().ok_or(Stopped)?);
        if let Some(reason) = self.expired(fact) {
            return Ok(Tried::Judged(self.too_old(fact, &post, tries, reason).await));
        }
        killpoint::reach("publish.before_intent");
        let begin = Change::Begin { key: key.clone(), attempts: count, now_ms: crate::clock_ms() };
        if !self.context.asks.apply(vec![begin]).await?[0] {
            return self.withdrawn(key, fact, &post, tries).await;
        }
        killpoint::reach("publish.after_intent");
        let was_in_doubt = tries.in_doubt;
        let first_ms = if tries.first_ms == 0 { crate::clock_ms() } else { tries.first_ms };
        *tries = Tries { count, first_ms, in_doubt: true };
        let since_ms = since_ms(fact, first_ms);
        let result = call(self.network(), &post, was_in_doubt || fact.round > 1, since_ms).await;
        killpoint::reach("publish.after_call");
        self.look(&result);
        Ok(Tried::Judged(judge(result, count, tries_max, repeat, was_in_doubt)))
    }

    /// The step isn't wanted any more: nothing is called. What an earlier call came to is found out, where it can be.
    async fn withdrawn(
        &mut self,
        key: &StepKey,
        fact: &PublicationFact,
        post: &Post,
        tries: &mut Tries,
    ) -> Result<Tried, Stopped> {
        let why = "a corrected result took its place before the answer was known";
        match self.find_out(fact, post, tries, why).await {
            Ok(Some(posted)) => Ok(Tried::Judged(Verdict::Posted { external_id: posted.external_id })),
            Ok(None) => {
                self.context.asks.apply(vec![Change::Failed { key: key.clone() }]).await?;
                Ok(Tried::Gone)
            }
            Err(verdict) => Ok(Tried::Judged(verdict)),
        }
    }

    /// It is no news any more, for `reason`: nothing is called, either.
    async fn too_old(
        &mut self,
        fact: &PublicationFact,
        post: &Post,
        tries: &mut Tries,
        reason: String,
    ) -> Verdict {
        match self.find_out(fact, post, tries, "it became too old before the answer was known").await {
            Ok(Some(posted)) => Verdict::Posted { external_id: posted.external_id },
            Ok(None) => Verdict::GiveUp { reason },
            Err(verdict) => verdict,
        }
    }

    /// What an earlier call came to: the post, or that there certainly is none. Otherwise, what becomes of the step.
    async fn find_out(
        &self,
        fact: &PublicationFact,
        post: &Post,
        tries: &mut Tries,
        why: &str,
    ) -> Result<Option<Posted>, Verdict> {
        let network = self.network();
        let found = match network.repeat() {
            _ if !tries.in_doubt => return Ok(None),
            Repeat::Searchable => network.find(post, since_ms(fact, tries.first_ms)).await,
            Repeat::Recognised | Repeat::Never => return Err(Verdict::GiveUp { reason: unknown(why) }),
        };
        tries.count += 1;
        found.map_err(|error| match error {
            PostError::Again { problem, after } | PostError::InDoubt { problem, after } => {
                let doubt = Err(PostError::InDoubt { problem, after });
                judge(doubt, tries.count, self.context.settings.attempts, Repeat::Searchable, true)
            }
            PostError::Refused { problem } => Verdict::GiveUp { reason: unknown(&problem) },
        })
    }

    fn network(&self) -> &dyn Network {
        self.adapter.as_ref().expect("it was made for this post").network.as_ref()
    }

    /// The post, and an adapter for where it goes.
    async fn prepare(&mut self, fact: &PublicationFact) -> Result<Post, PostError> {
        let refused = |problem: String| PostError::Refused { problem };
        let channel = fact.channel.as_deref().unwrap_or_default();
        let name = fact.network.map(|network| network.as_str()).unwrap_or_default();
        let (endpoint, target) =
            (fact.endpoint.clone().unwrap_or_default(), fact.target.clone().unwrap_or_default());
        let secret = self.context.settings.secret(&fact.tenant, channel)?;
        let made_from = (name.to_owned(), endpoint.to_string(), target.to_string(), secret.clone());
        if self.adapter.as_ref().is_none_or(|adapter| adapter.made_from != made_from) {
            let http = self.context.settings.http.clone();
            let target = Target { endpoint: endpoint.to_string(), target: target.to_string(), secret, http };
            self.adapter = Some(Adapter { made_from, network: network(name, target)? });
        }
        let templates = &self.context.templates;
        let locale = templates.locales().get(&fact.locale).map_err(|e| refused(e.to_string()))?;
        let title = templates.title(&steps::announcement(fact));
        let image = self.image(fact).await?;
        Ok(steps::post_of(fact, &title, &locale, &templates.zone(&fact.game), image))
    }

    async fn image(&self, fact: &PublicationFact) -> Result<Option<Image>, PostError> {
        if fact.image.is_empty() {
            return Ok(None);
        }
        let found = self.context.images.get(&fact.image, fact.sha256.as_deref()).await;
        let png = found.map_err(|error| {
            let problem = error.to_string();
            if error.may_pass() {
                PostError::Again { problem, after: None }
            } else {
                PostError::Refused { problem }
            }
        })?;
        let base = self.context.settings.images_public_url.as_deref();
        Ok(Some(Image {
            png,
            path: fact.image.to_string(),
            // In a URL a sign of percent is one of the path's own.
            url: base
                .map(|base| format!("{}/{}", base.trim_end_matches('/'), fact.image.replace('%', "%25"))),
            sha256: fact.sha256.as_deref().unwrap_or_default().to_owned(),
        }))
    }

    /// Waits until the channel may be called.
    async fn limits(&mut self) {
        while let Some(wait) = self.breaker.wait(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        while let Err(wait) = self.bucket.take(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
    }

    /// What a call says about the channel.
    fn look(&mut self, result: &Result<Posted, PostError>) {
        let was_open = self.breaker.is_open();
        match result {
            Ok(_) | Err(PostError::Refused { .. }) => self.breaker.succeeded(),
            Err(PostError::Again { .. } | PostError::InDoubt { .. }) => self.breaker.failed(Instant::now()),
        }
        match (was_open, self.breaker.is_open()) {
            (false, true) => {
                tracing::warn!(
                    channel = self.name,
                    "a channel fails again and again and is left alone for a while"
                );
                self.context.status.change_channel(&self.name, |channel| channel.open = true);
            }
            (true, false) => {
                tracing::info!(channel = self.name, "a channel answers again");
                self.context.status.change_channel(&self.name, |channel| channel.open = false);
            }
            _ => {}
        }
    }

    /// Records that a call certainly did nothing, where that is so.
    async fn again(&mut self, key: &StepKey, tries: &mut Tries, in_doubt: bool) -> Result<(), Stopped> {
        if tries.in_doubt && !in_doubt {
            self.context.asks.apply(vec![Change::Failed { key: key.clone() }]).await?;
        }
        tries.in_doubt = in_doubt;
        Ok(())
    }

    async fn pause(&self, tries: &Tries, problem: &str, after: Option<Duration>) {
        let settings = &self.context.settings;
        let wait = backoff(settings.backoff, settings.backoff_max, tries.count as u32, luck(), after);
        let wait_ms = wait.as_millis() as u64;
        tracing::warn!(
            channel = self.name,
            attempts = tries.count,
            problem,
            wait_ms,
            "a post is tried again"
        );
        self.context.status.change(|figures| figures.retries += 1);
        tokio::time::sleep(wait).await;
    }
}

/// Why a post is no news any more, if it isn't. What nobody asked for by hand is as old as its result, and that as old as
/// a result may be that is posted by itself; the rest is as old as the wish.
fn expired(fact: &PublicationFact, now_ms: i64, asked_ms_max: i64, drawn_ms_max: i64) -> Option<String> {
    let hours = |ms: i64| ms / 3_600_000;
    let drawn_at_ms = fact.drawn_at_ms.unwrap_or(fact.at_ms);
    let by_itself = fact.round == 1 && fact.at_ms.saturating_sub(drawn_at_ms) <= drawn_ms_max;
    let (asked_ms, drawn_ms) = (now_ms.saturating_sub(fact.at_ms), now_ms.saturating_sub(drawn_at_ms));
    if asked_ms > asked_ms_max {
        let hours = hours(asked_ms);
        return Some(format!(
            "it was asked for {hours} h ago and is no news any more (publishing.age_ms_max)"
        ));
    }
    (by_itself && drawn_ms > drawn_ms_max).then(|| {
        let hours = hours(drawn_ms);
        format!("it was drawn {hours} h ago and is no news any more (draws.publish_max_age_ms)")
    })
}

/// From when on a post is looked for: an earlier round may have posted, whatever became of its answer.
fn since_ms(fact: &PublicationFact, first_ms: i64) -> i64 {
    if fact.round > 1 { published_ms(fact).min(first_ms) } else { first_ms }
}

/// Before any round of a post: a draw is published after it was drawn, by a clock that is no more than a day off.
fn published_ms(fact: &PublicationFact) -> i64 {
    fact.drawn_at_ms.unwrap_or(0).min(fact.at_ms).saturating_sub(DAY_MS)
}

/// Calls the network. What is in doubt is looked for first, where it can be.
async fn call(
    network: &dyn Network,
    post: &Post,
    in_doubt: bool,
    since_ms: i64,
) -> Result<Posted, PostError> {
    if in_doubt && network.repeat() == Repeat::Searchable {
        match network.find(post, since_ms).await {
            Ok(Some(posted)) => return Ok(posted),
            Ok(None) => {}
            // Not found out: it is as doubtful as before, whatever the reason.
            Err(PostError::Again { problem, after } | PostError::InDoubt { problem, after }) => {
                return Err(PostError::InDoubt { problem, after });
            }
            Err(PostError::Refused { problem }) => return Err(PostError::InDoubt { problem, after: None }),
        }
    }
    network.post(post).await
}
