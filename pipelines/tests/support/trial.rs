//! One scenario: a complete log, what an undisturbed run makes of it, and a directory to be killed in.

use super::books::{self, Outcome};
use super::process::{self, Ended, Running};
use super::{Folder, Pace, RULES, Rules, configure, workload};
use pipelines::demo::random::Dice;
use std::path::Path;
use std::time::{Duration, Instant};

/// Many short epochs, one after the other.
const SLOW: Pace = Pace { epoch_records_max: 60, epochs_in_flight_max: 1 };

/// A log, and what it comes to.
pub struct Scenario {
    pub seed: u64,
    pub dice: Dice,
    log: Folder,
    wanted: Outcome,
    /// How long a run takes, about: first an undisturbed one, less where kills come too late.
    pub took: Duration,
}

impl Scenario {
    /// Builds the log of a seed and runs it undisturbed.
    pub fn new(seed: u64, orders: u64) -> Self {
        let log = Folder::new();
        let ids = workload::prepare(log.path());
        workload::append(log.path(), &ids, &workload::records(seed, orders), 0);
        let mut dice = Dice::new(seed ^ 0x5eed);
        let undisturbed = copy(&log, random_pace(&mut dice));
        let began = Instant::now();
        process::drain_well(undisturbed.path(), 1 + dice.below(4));
        let took = began.elapsed();
        books::assert_balanced(undisturbed.path());
        let wanted = books::outcome(undisturbed.path());
        assert!(wanted.facts_count() as u64 > orders, "the workload leads to decisions");
        assert!(wanted.statements.values().any(|[_, commission, _]| *commission != 0), "and to commissions");
        Scenario { seed, dice, log, wanted, took }
    }

    /// A fresh directory with the same log, cut and paced otherwise.
    pub fn directory(&mut self) -> Folder {
        copy(&self.log, random_pace(&mut self.dice))
    }

    /// The same, with many short epochs.
    pub fn slow_directory(&mut self) -> Folder {
        copy(&self.log, SLOW)
    }

    /// Puts the same log into a directory of one's own.
    pub fn copy_into(&mut self, dir: &Path) {
        copy_into(&self.log, random_pace(&mut self.dice), dir);
    }

    /// A number of workers.
    pub fn workers(&mut self) -> u64 {
        1 + self.dice.below(4)
    }

    /// Runs on `dir` and kills it at a random moment. True where that hit it before it had ended.
    pub fn run_and_kill(&mut self, dir: &Path) -> bool {
        let workers = self.workers();
        let after = Duration::from_micros(self.dice.below(self.took.as_micros() as u64 + 1));
        let mut running = Running::start(process::drain(dir, workers));
        std::thread::sleep(after);
        running.kill();
        let hit = self.killed(running.wait());
        if !hit {
            // A machine that was busy in the undisturbed run may be idle now: most kills would come too late.
            self.took = (self.took + after) / 2;
        }
        hit
    }

    /// Runs on `dir` until the `nth` time it reaches a kill point. True where it got there.
    pub fn run_to_kill_point(&mut self, dir: &Path, point: &str, nth: u64) -> bool {
        let workers = self.workers();
        let mut command = process::drain(dir, workers);
        command.env("TOMBOLA_KILL_AT", format!("{point}:{nth}"));
        self.killed(process::end_of(command))
    }

    fn killed(&self, ended: Ended) -> bool {
        let killed = ended.was_killed();
        assert!(
            killed || ended.status.success(),
            "seed {}: neither killed nor drained: {ended:?}",
            self.seed
        );
        killed
    }

    /// Runs to the end and asserts that the answer is the undisturbed run's, and that a replay agrees.
    pub fn finish(&mut self, dir: &Path) {
        let workers = self.workers();
        process::drain_well(dir, workers);
        self.assert_same(dir);
        let workers = self.workers();
        process::verify(dir, workers);
    }

    /// Asserts that the answer is the undisturbed run's.
    pub fn assert_same(&self, dir: &Path) {
        books::assert_balanced(dir);
        let what = format!("seed {}, {}", self.seed, dir.display());
        books::outcome(dir).assert_equals(&self.wanted, &what);
    }
}

fn random_pace(dice: &mut Dice) -> Pace {
    Pace { epoch_records_max: 20 + dice.below(300) as usize, epochs_in_flight_max: 1 + dice.below(12) }
}

fn copy(log: &Folder, pace: Pace) -> Folder {
    let dir = Folder::new();
    copy_into(log, pace, dir.path());
    dir
}

fn copy_into(log: &Folder, pace: Pace, dir: &Path) {
    std::fs::copy(log.path().join("log.db"), dir.join("log.db")).expect("the log can be copied");
    assert!(!log.path().join("log.db-wal").exists(), "the copy is whole: nobody has the log open");
    configure(dir, pace, RULES);
}

/// Rules of one generation after the other.
fn random_rules(dice: &mut Dice) -> Rules {
    Rules {
        hold_ttl_ms: 500 + dice.below(8_000) as i64,
        grace_ms: dice.below(4_000) as i64,
        requiring: [None, Some("tenant-0")][dice.index(2)],
    }
}

/// Goes through a log with other rules at every restart, killed on the way; then and in between, replays agree.
pub fn change_rules_at_every_restart(seed: u64, orders: u64, kills: u64) {
    let mut scenario = Scenario::new(seed, orders);
    let mut dice = Dice::new(seed);
    let dir = scenario.slow_directory();
    for _ in 0..kills {
        configure(dir.path(), SLOW, random_rules(&mut dice));
        let points = [
            "bindings.after_append",
            "facts.after_commit",
            "serving.before_commit",
            "frontier.before_publish",
        ];
        let (point, nth) = (points[dice.index(points.len())], 2 + dice.below(8));
        scenario.run_to_kill_point(dir.path(), point, nth);
        process::verify(dir.path(), scenario.workers());
    }
    configure(dir.path(), SLOW, random_rules(&mut dice));
    process::drain_well(dir.path(), scenario.workers());
    books::assert_balanced(dir.path());
    books::assert_each_order_decided_once(dir.path());
    process::verify(dir.path(), scenario.workers());
}
