//! Places where a test may kill the process: one at each durable step.
//!
//! `TOMBOLA_KILL_AT=name:n` sends SIGKILL to this process the n-th time (from 1) it reaches `name`.
//! In production the variable is absent and a point costs one load of a static. `fail` (the usual crate)
//! can't kill, only panic, and a panic runs destructors: a crash doesn't.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Armed {
    name: String,
    left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Every kill point there is, for tests that try them all.
pub const ALL: &[&str] = &[
    "bindings.before_append",
    "bindings.after_append",
    "facts.before_commit",
    "facts.after_commit",
    "serving.before_commit",
    "serving.after_commit",
    "snapshot.before_file",
    "snapshot.after_file",
    "manifest.before_write",
    "manifest.after_write",
    "frontier.before_publish",
    "frontier.after_publish",
    "log.before_append",
    "log.after_append",
];

/// Those of a loader of facts, a thread beside the pipeline.
pub const LOADER: &[&str] = &[
    "loader.before_plan",
    "loader.after_plan",
    "loader.before_insert",
    "loader.after_insert",
    "loader.after_done",
    "loader.before_frontier",
    "loader.after_frontier",
];

/// Those of a connector that polls a source.
pub const FEED: &[&str] = &["feed.before_append", "feed.after_append", "feed.after_save"];

/// Those of a publisher, which draws, posts and tells what became of it.
pub const PUBLISHER: &[&str] = &[
    "image.before_store",
    "image.after_store",
    "publish.before_take",
    "publish.after_take",
    "publish.before_intent",
    "publish.after_intent",
    "publish.after_call",
    "publish.after_record",
    "publish.before_tell",
    "publish.after_tell",
];

/// Those of a mirror of captured tables, a thread beside the pipeline.
pub const MIRROR: &[&str] = &[
    "mirror.before_plan",
    "mirror.after_plan",
    "mirror.before_table",
    "mirror.before_insert",
    "mirror.after_insert",
    "mirror.before_progress",
    "mirror.before_done",
    "mirror.after_done",
];

/// Those of a mirror that finds a table or a record at fault.
pub const MIRROR_FAULTS: &[&str] = &["mirror.before_park", "mirror.after_park", "mirror.after_cut"];

const GROUPS: [&[&str]; 6] = [ALL, LOADER, FEED, PUBLISHER, MIRROR, MIRROR_FAULTS];

/// Dies here if the environment says so.
pub fn reach(name: &'static str) {
    debug_assert!(GROUPS.iter().any(|points| points.contains(&name)), "undeclared kill point {name}");
    let Some(armed) = ARMED.get_or_init(from_environment) else { return };
    if armed.name == name && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        kill_self();
    }
}

fn from_environment() -> Option<Armed> {
    let spec = std::env::var("TOMBOLA_KILL_AT").ok()?;
    let (name, count) = spec.split_once(':').unwrap_or((&spec, "1"));
    Some(Armed { name: name.to_owned(), left: AtomicU64::new(count.parse().unwrap_or(1)) })
}

/// SIGKILL, so that nothing is flushed, dropped or told.
fn kill_self() -> ! {
    let pid = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-KILL", &pid]).status();
    std::process::abort()
}
