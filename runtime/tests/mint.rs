//! When epochs are minted, as a table of what is known of the partitions and what is decided on it.

#![allow(clippy::unwrap_used)] // a test: what fails here fails the test

use runtime::mint::{Decision, Mint, Pace, PartitionStatus, Status};
use runtime::{Epoch, Millis, Offset, PartitionId, TopicId};

const CLOCK: Millis = 1_000_000;

/// A live run that takes no snapshots.
const PACE: Pace = Pace {
    epoch_ms: 10,
    idle_epoch_ms: 100,
    epochs_in_flight_max: 4,
    snapshot_every_ms: None,
    until_drained: false,
    epoch_records_max: 10,
};

/// Partitions as `rungs time_max drained buffered`: `5,7 9 open 30` or `- 9 drained 3`; `follows` is drained as of
/// where another pipeline is.
fn statuses(partitions: &[&str]) -> Vec<PartitionStatus> {
    let parse = |(n, text): (usize, &&str)| {
        let words: Vec<&str> = text.split(' ').collect();
        let rungs = words[0].split(',').filter(|rung| *rung != "-").map(|rung| rung.parse().unwrap());
        PartitionStatus {
            partition: PartitionId { topic: TopicId(0), partition: n as u32 },
            rungs: rungs.collect(),
            time_max: words[1].parse().unwrap(),
            drained_as_of: match words[2] {
                "drained" => Some(CLOCK - 1),
                "follows" => Some(CLOCK - 500),
                _ => None,
            },
            follows: words[2] == "follows",
            buffered: words[3].parse().unwrap(),
            read_upto: Offset(words[3].parse().unwrap()),
            share_upto: Offset(words[3].parse::<u64>().unwrap().min(5)),
        }
    };
    partitions.iter().enumerate().map(parse).collect()
}

fn decide(until_drained: bool, partitions: &[&str]) -> Decision {
    let pace = Pace { snapshot_every_ms: Some(1_000_000), until_drained, ..PACE };
    let mut mint = Mint::new(pace, 1, Epoch(0), 0, CLOCK);
    let partitions = statuses(partitions);
    mint.report(Status { worker: 0, seq: 1, taken: Epoch(0), ready: true, partitions });
    mint.next(CLOCK)
}

fn mint(now: Millis, bound: impl Into<Option<Millis>>) -> Decision {
    Decision::Mint { now, bound: bound.into(), snapshot: false }
}

#[test]
fn partitions_advance_together_and_a_drained_one_holds_nothing_back() {
    for (until_drained, partitions, wanted) in [
        (false, ["5,7 9 open 30", "6,8 9 open 30"], mint(5, 5)),
        (false, ["5,7 9 open 30", "- 3 open 2"], Decision::WaitForReport),
        (false, ["5,7 9 open 30", "- 3 drained 2"], mint(5, 5)),
        // Live, time comes as far as all was seen to be drained.
        (false, ["- 9 drained 8", "- 3 drained 2"], mint(CLOCK - 1, None)),
        // Drained, more than an epoch takes goes up to where all was seen to be drained.
        (false, ["- 9 drained 9", "- 3 drained 2"], mint(CLOCK - 1, CLOCK - 1)),
        (false, ["5 9 drained 9", "- 3 drained 2"], mint(5, 5)),
        // What another pipeline has yet to say holds everything back, unless the log is taken as it is.
        (false, ["- 9 follows 2", "- 3 drained 2"], mint(CLOCK - 500, CLOCK - 500)),
        (true, ["- 9 follows 2", "- 3 drained 2"], mint(9, None)),
        // Until drained, time never leaves the log's own.
        (true, ["- 9 drained 11", "- 3 drained 2"], mint(9, 9)),
        (true, ["5 9 drained 11", "- 3 drained 2"], mint(5, 5)),
        (true, ["- 9 drained 8", "- 3 drained 2"], mint(9, None)),
        // A log whose producers' clocks are ahead is no reason to wait for ours.
        (true, ["2000000 2000009 open 30", "- 3 drained 2"], mint(2_000_000, 2_000_000)),
    ] {
        assert_eq!(decide(until_drained, &partitions), wanted, "{until_drained} {partitions:?}");
    }
}

#[test]
fn while_the_pipeline_followed_stands_still_epochs_come_now_and_then_at_the_same_bound() {
    let mut state = Mint::new(PACE, 1, Epoch(0), 0, CLOCK);
    let partitions = statuses(&["- 9 follows 2", "- 3 drained 2"]);
    state.report(Status { worker: 0, seq: 1, taken: Epoch(0), ready: true, partitions });
    let stands = mint(CLOCK - 500, CLOCK - 500);
    assert_eq!(state.next(CLOCK), stands);
    state.computed(Epoch(1));
    assert_eq!(state.next(CLOCK + 1), Decision::WaitUntil(CLOCK + 100));
    assert_eq!(state.next(CLOCK + 100), stands);
}

#[test]
fn what_came_too_late_for_a_bound_is_taken_at_that_bound() {
    let pace = Pace { snapshot_every_ms: Some(1_000_000), until_drained: true, ..PACE };
    let mut mint_state = Mint::new(pace, 1, Epoch(7), 9, CLOCK);
    let late = statuses(&["- 8 drained 30"]);
    mint_state.report(Status { worker: 0, seq: 1, taken: Epoch(7), ready: true, partitions: late });
    assert_eq!(mint_state.next(CLOCK), mint(9, 9));
    assert_eq!(mint_state.next(CLOCK), Decision::WaitForReport, "until it is seen to be taken");
}

/// A burst between a report and the tick that follows from it is for the next epoch: neither its size nor its time was
/// part of the decision.
#[test]
fn an_epoch_takes_what_was_reported_and_time_stays_where_the_log_was_last_seen_whole() {
    let mut state = Mint::new(PACE, 1, Epoch(0), 0, CLOCK);
    let partitions = statuses(&["- 9 drained 7", "- 3 drained 2"]);
    state.report(Status { worker: 0, seq: 1, taken: Epoch(0), ready: true, partitions });
    let read = |upto: [u64; 2]| {
        (0..)
            .zip(upto)
            .map(|(n, end)| (PartitionId { topic: TopicId(0), partition: n }, Offset(end)))
            .collect()
    };
    // The reader has hung for long: what it would find is not known.
    assert_eq!(state.next(CLOCK + 5_000), mint(CLOCK - 1, None));
    let wanted: Vec<(PartitionId, Offset)> = read([7, 2]);
    assert_eq!(state.upto(), wanted);
    let partitions = statuses(&["2,4 9 open 60", "- 3 drained 0"]);
    state.report(Status { worker: 0, seq: 2, taken: Epoch(1), ready: true, partitions });
    state.computed(Epoch(1));
    assert_eq!(state.next(CLOCK + 5_001), mint(CLOCK - 1, 2), "a backlog comes in shares");
}

/// The machine's clock was set back while nobody ran, or producers' clocks are ahead: waiting for the bound would last as long.
#[test]
fn more_than_an_epoch_takes_that_lies_about_a_bound_ahead_of_the_clock_is_taken_in_shares_and_time_stays() {
    let ahead = CLOCK + 1_000;
    for partitions in [["5 9 drained 8", "- 9 drained 8"], ["- 2000000 drained 8", "- 2000000 drained 8"]] {
        let mut state = Mint::new(PACE, 1, Epoch(7), ahead, CLOCK);
        let status = |taken| {
            let partitions = statuses(&partitions);
            Status { worker: 0, seq: 1 + taken, taken: Epoch(taken), ready: true, partitions }
        };
        state.report(status(6));
        assert_eq!(state.next(CLOCK), Decision::WaitForReport, "until it is seen what is taken");
        state.report(status(7));
        assert_eq!(state.next(CLOCK), mint(ahead, None), "{partitions:?}");
        assert!(state.upto().iter().all(|(_, upto)| *upto == Offset(5)), "a share of each");
    }
}
