//! Reads that come after a record: they wait until it is decided.
//!
//! ```text
//!   after=topic:partition:offset ─ is there such a partition? ─> its decided end, once out of the bindings,
//!                                                                then as the frontier moves ─> the read
//! ```
//!
//! The bindings are looked through for partitions that exist alone, and by few at once: what a client makes up
//! costs a look at the log's topics, which all who ask meanwhile share.

use crate::app::{App, Call, Pool, Wait, wait_limit};
use crate::backend::{Backend, Failed};
use crate::decided::Decided;
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a read waits for the record it is to come after, where it doesn't say.
const WAIT: Duration = Duration::from_secs(5);
/// Look-ups at once.
const AT_ONCE: usize = 2;

/// Partitions by topic, and when they were asked for.
type Known = Option<(Instant, BTreeMap<String, u32>)>;

/// What such reads need to know. See the module.
pub struct After {
    backends: Pool<Arc<dyn Backend>>,
    known: Arc<Mutex<Known>>,
}

impl After {
    /// Nothing is known yet.
    pub fn new(backend: &Arc<dyn Backend>) -> After {
        let backend = Arc::clone(backend);
        let backends = Pool::new(AT_ONCE, move || Ok(Box::new(Arc::clone(&backend))));
        After { backends, known: Arc::default() }
    }

    /// Whether a topic has a partition. The log is asked where it isn't known: one may have been added.
    async fn has(&self, topic: &'static str, partition: u32) -> Result<bool, Failed> {
        let (known, since) = (Arc::clone(&self.known), Instant::now());
        if has(&known, topic, partition) {
            return Ok(true);
        }
        let ask = move |backend: &mut Arc<dyn Backend>| {
            // Somebody else may have asked while this one waited for its turn.
            let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
            if lock().as_ref().is_none_or(|(asked, _)| *asked < since) {
                let asked = Instant::now();
                let partitions = backend.partitions()?;
                *lock() = Some((asked, partitions));
            }
            Ok(has(&known, topic, partition))
        };
        self.backends.ask(ask).await
    }

    /// Looks up where a partition's decided part ends.
    async fn look_up(
        &self,
        decided: &Arc<Decided>,
        topic: &'static str,
        partition: u32,
    ) -> Result<(), Failed> {
        let decided = Arc::clone(decided);
        let ask = move |backend: &mut Arc<dyn Backend>| {
            if decided.end(topic, partition).is_none() {
                decided.note_end(topic, partition, backend.decided_end(topic, partition)?);
            }
            Ok(())
        };
        self.backends.ask(ask).await
    }
}

fn has(known: &Mutex<Known>, topic: &str, partition: u32) -> bool {
    let known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let count = known.as_ref().and_then(|(_, partitions)| partitions.get(topic));
    count.is_some_and(|count| partition < *count)
}

/// Waits until the record that `after` names is decided.
///
/// # Errors
/// 422 where there can be no such record, 503 where it takes too long or too many wait, 429 where too many of the
/// caller's do.
pub async fn wait_after(app: &App, call: &Call) -> Result<(), Problem> {
    let Some(after) = call.query.text("after") else { return Ok(()) };
    let wrong = || crate::fields::invalid("after", "say TOPIC:PARTITION:OFFSET of a record");
    let mut parts = after.splitn(3, ':');
    let (topic, partition, offset) = (parts.next(), parts.next(), parts.next());
    let topic = topic.and_then(crate::commands::topic).ok_or_else(wrong)?;
    let partition: u32 = partition.and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let offset: u64 = offset.and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    if app.decided.end(topic, partition).is_none() && !app.after.has(topic, partition).await? {
        return Err(crate::fields::invalid("after", "the topic has no such partition here"));
    }
    if app.decided.end(topic, partition).is_some_and(|end| end > offset) {
        return Ok(());
    }
    let wait = Wait::take(app, &call.principal, wait_limit(app, call).unwrap_or(WAIT))?;
    let reached = async {
        let mut frontier = app.decided.frontier();
        if app.decided.end(topic, partition).is_none()
            && let Err(problem) = app.after.look_up(&app.decided, topic, partition).await
        {
            tracing::debug!(%problem, "a decided end can't be looked up now; the frontier may yet tell it");
        }
        while app.decided.end(topic, partition).is_none_or(|end| end <= offset) {
            if frontier.changed().await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(wait.limit, reached).await.map_err(|_| {
        Problem::new("not-decided-yet", format!("the record {after} is not decided yet; ask again"))
    })
}
