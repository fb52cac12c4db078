//! Kills the pipeline with SIGKILL, at random moments and at every durable step, and checks every answer.
//!
//! Whatever was killed, and with however many workers it went on, the end is the undisturbed run's: the
//! same facts in the same order, each once, and the same tables. At the times of the kills there are holds,
//! graces and timers pending. The long ones are `#[ignore]`d: `scripts/test` runs them, `--quick` doesn't.

mod support;

use pipelines::demo::random::Dice;
use runtime::killpoint;
use std::path::Path;
use std::time::{Duration, Instant};
use support::process::{self, Running};
use support::trial::{self, Scenario};
use support::{Folder, Pace, RULES, Rules, books, configure, workload};

const PACE: Pace = Pace { epoch_records_max: 100, epochs_in_flight_max: 4 };
/// Longest wait for the last decisions, on a busy machine.
const DECIDED_MAX: Duration = Duration::from_secs(180);

/// Kill points that `tombola run` passes. Those of the log's appenders are `tombola produce`'s.
fn points_of_run() -> impl Iterator<Item = &'static str> {
    killpoint::ALL.iter().copied().filter(|point| !point.starts_with("log."))
}

/// Kills a run at random moments, going on with it each time; how many kills hit.
fn kill_at_random_moments(seed: u64, orders: u64, kills: usize) -> usize {
    let mut scenario = Scenario::new(seed, orders);
    let mut dir = scenario.directory();
    let mut hits = 0;
    // How often a kill comes too late depends on the machine; how many must hit doesn't.
    for _ in 0..kills * 8 {
        if hits == kills {
            break;
        }
        if scenario.run_and_kill(dir.path()) {
            hits += 1;
        } else {
            // It got through before the kill.
            scenario.assert_same(dir.path());
            dir = scenario.directory();
        }
    }
    scenario.finish(dir.path());
    hits
}

/// Kills at these points, one after the other; a fresh directory whenever a run gets through; how many hit.
fn kill_at_points(seed: u64, orders: u64, points: impl Iterator<Item = (&'static str, u64)>) -> usize {
    let mut scenario = Scenario::new(seed, orders);
    let mut dir = scenario.directory();
    let mut hits = 0;
    for (point, nth) in points {
        if scenario.run_to_kill_point(dir.path(), point, nth) {
            hits += 1;
        } else {
            // It got through without reaching the point so often.
            scenario.assert_same(dir.path());
            dir = scenario.directory();
        }
    }
    scenario.finish(dir.path());
    hits
}

/// Points in random order, each with a random small count.
fn shuffled_points(dice: &mut Dice, nth_max: u64) -> Vec<(&'static str, u64)> {
    let mut points: Vec<_> = points_of_run().map(|point| (point, 1 + dice.below(nth_max))).collect();
    for last in (1..points.len()).rev() {
        points.swap(last, dice.index(last + 1));
    }
    points
}

#[test]
fn a_few_kills_change_nothing() {
    let hits = kill_at_random_moments(1, 300, 2);
    assert_eq!(hits, 2, "kills that hit a running pipeline");
}

#[test]
fn a_kill_at_each_durable_step_changes_nothing() {
    let hits = kill_at_points(2, 200, points_of_run().map(|point| (point, 1)));
    assert_eq!(hits, points_of_run().count(), "every point is reached");
}

/// A test for each seed: they run side by side.
fn many_kills(seed: u64) {
    assert_eq!(kill_at_random_moments(seed, 700, 5), 5, "kills that hit a running pipeline");
}

#[test]
#[ignore = "long: run by scripts/test"]
fn many_kills_at_random_moments_change_nothing() {
    many_kills(10);
}

#[test]
#[ignore = "long: run by scripts/test"]
fn many_kills_at_other_moments_change_nothing() {
    many_kills(11);
}

#[test]
#[ignore = "long: run by scripts/test"]
fn many_kills_at_yet_other_moments_change_nothing() {
    many_kills(12);
}

#[test]
#[ignore = "long: run by scripts/test"]
fn kills_at_every_durable_step_again_and_again_change_nothing() {
    let round = |seed| kill_at_points(seed, 700, shuffled_points(&mut Dice::new(seed), 9).into_iter());
    let hits: usize = (20..22).map(round).sum();
    eprintln!("{hits} of {} kills hit a running pipeline", 2 * points_of_run().count());
    assert!(hits >= 16, "{hits} kills hit");
}

/// Appends the records at the moments they speak of, from `began` on.
fn produce_live(dir: &Path, records: &[workload::Timed], shift_ms: i64) {
    let ids = workload::prepare(dir);
    for burst in
        records.chunk_by(|a, b| (a.at_ms - workload::START_MS) / 50 == (b.at_ms - workload::START_MS) / 50)
    {
        let ahead_ms = burst[0].at_ms + shift_ms - pipelines::clock_ms();
        std::thread::sleep(Duration::from_millis(ahead_ms.max(0) as u64));
        workload::append(dir, &ids, burst, shift_ms);
    }
}

fn run_live(dir: &Path, workers: u64) -> Running {
    Running::start(process::tombola(dir, &["run", "--workers", &workers.to_string()]))
}

/// Kills a live pipeline while producers append; how many kills there were.
fn kill_live(seed: u64, orders: u64) -> usize {
    const GRACE_MS: i64 = 700;
    let dir = Folder::new();
    configure(dir.path(), PACE, Rules { hold_ttl_ms: 1_500, grace_ms: GRACE_MS, ..RULES });
    let records = workload::records(seed, orders);
    let mut dice = Dice::new(seed);
    // What lies in the past by now is the backlog it begins with.
    let backlog_ms = dice.below(4_000) as i64;
    let shift_ms = pipelines::clock_ms() - workload::START_MS - backlog_ms;
    let mut kills = 0;
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce_live(dir.path(), &records, shift_ms));
        while !producer.is_finished() {
            let mut running = run_live(dir.path(), 1 + dice.below(4));
            std::thread::sleep(Duration::from_millis(30 + dice.below(500)));
            assert!(running.runs(), "seed {seed}: it ended by itself: {:?}", running.wait());
            running.kill();
            assert!(running.wait().was_killed());
            kills += 1;
        }
    });
    let mut running = run_live(dir.path(), 1 + dice.below(4));
    let began = Instant::now();
    // Until the last graces are over, and as long again as it takes to see that; longer where the machine is busy.
    let graces = Duration::from_millis(2 * GRACE_MS as u64 + 4_000);
    while began.elapsed() < graces || !books::assert_each_order_decided_once(dir.path()).is_empty() {
        assert!(running.runs(), "seed {seed}: it ended by itself: {:?}", running.wait());
        assert!(began.elapsed() < DECIDED_MAX, "seed {seed}: orders still without a decision");
        std::thread::sleep(Duration::from_millis(500));
    }
    running.signal("TERM");
    running.wait().assert(0, &[]);
    books::assert_balanced(dir.path());
    let waiting = books::assert_each_order_decided_once(dir.path());
    assert_eq!(waiting, [], "seed {seed}: orders without a decision");

    process::verify(dir.path(), 1 + dice.below(4));
    kills
}

#[test]
#[ignore = "long: run by scripts/test"]
fn a_live_pipeline_killed_while_producers_append_decides_each_order_once() {
    let kills: usize = [30, 31].into_iter().map(|seed| kill_live(seed, 500)).sum();
    eprintln!("{kills} kills of a live pipeline");
    assert!(kills >= 12, "{kills} kills");
}

/// Produces a file; where it is killed on the way, once more from the beginning, as its producer would.
fn produce(dir: &Path, topic: &str, file: &Path, kill_at: Option<&str>) {
    let file = file.display().to_string();
    let produce = || process::tombola(dir, &["produce", topic, &file, "--event-time"]);
    if let Some(kill_at) = kill_at {
        let mut command = produce();
        command.env("TOMBOLA_KILL_AT", kill_at);
        assert!(process::end_of(command).was_killed(), "{kill_at} is reached");
    }
    process::end_of(produce()).assert(0, &[]);
}

fn orders_table(dir: &Path) -> String {
    let ended = process::end_of(process::tombola(dir, &["digest"])).assert(0, &[]);
    ended.stdout.lines().find(|line| line.starts_with("orders")).expect("a line for orders").to_owned()
}

/// What `orders` come to when their producer is killed at `kill_at` and sends everything again.
fn orders_of_producer(orders: u64, kill_at: Option<&str>) -> String {
    let dir = Folder::new();
    configure(dir.path(), Pace { epoch_records_max: 5_000, ..PACE }, RULES);
    let ids = workload::prepare(dir.path());
    let records = workload::records(40, orders);
    let (commands, changes): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| record.body.topic() == "commands.orders");
    workload::append(dir.path(), &ids, &changes, 0);
    let file = dir.path().join("orders.ndjson");
    let lines = workload::ndjson(&commands, "commands.orders");
    std::fs::write(&file, lines).expect("the directory can be written");
    produce(dir.path(), "commands.orders", &file, kill_at);
    process::drain_well(dir.path(), 2);
    books::assert_balanced(dir.path());
    orders_table(dir.path())
}

#[test]
fn a_producer_killed_at_an_append_sends_again_and_nothing_happens_twice() {
    let wanted = orders_of_producer(300, None);
    for kill_at in ["log.before_append:1", "log.after_append:1"] {
        assert_eq!(orders_of_producer(300, Some(kill_at)), wanted, "{kill_at}");
    }
}

#[test]
#[ignore = "long: run by scripts/test"]
fn a_producer_killed_between_its_batches_sends_again_and_nothing_happens_twice() {
    let wanted = orders_of_producer(6_000, None);
    for kill_at in ["log.before_append:2", "log.after_append:1"] {
        assert_eq!(orders_of_producer(6_000, Some(kill_at)), wanted, "{kill_at}");
    }
}

/// What `scripts/soak` repeats, with a seed of its own each time.
#[test]
#[ignore = "run by scripts/soak with TOMBOLA_SEED"]
fn soak_round() {
    let seed =
        std::env::var("TOMBOLA_SEED").map_or(1, |text| text.parse().expect("TOMBOLA_SEED is a number"));
    let mut dice = Dice::new(seed);
    let orders = 100 + dice.below(1_500);
    let hits = match dice.below(6) {
        0 => kill_live(seed, orders / 2),
        5 => {
            trial::change_rules_at_every_restart(seed, orders / 2, 6);
            6
        }
        1 | 2 => kill_at_points(seed, orders, shuffled_points(&mut dice, 25).into_iter()),
        _ => kill_at_random_moments(seed, orders, 12),
    };
    eprintln!("seed {seed}: {orders} orders, {hits} kills hit");
}
