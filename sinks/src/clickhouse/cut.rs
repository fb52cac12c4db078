//! How far the next batch goes: a pure decision over what has been gathered.
//!
//! Batches end with an epoch, the same in every partition, so that what becomes visible together was decided
//! together, however far one partition's backlog is behind another's.

/// What is in hand of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InHand {
    /// Epochs of its first and last fact, where there is one.
    pub epochs: Option<(u64, u64)>,
    /// No further fact of a decided epoch will come.
    pub complete: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Every epoch up to this one has been loaded: publish it.
    Nothing { through: u64 },
    /// Send all facts up to this epoch, then publish it.
    Whole { through: u64 },
    /// One epoch is larger than a batch: send what is in hand of it, publish nothing.
    Part { through: u64 },
    /// A partition has more to come and has brought nothing yet: gather again.
    Wait,
}

/// Decides. `decided` was read before anything was gathered.
pub(super) fn cut(decided: u64, partitions: &[InHand]) -> Cut {
    let more = || partitions.iter().filter(|p| !p.complete);
    // More facts of the last epoch in hand may come.
    let sure = |p: &InHand| p.epochs.map_or(0, |(_, last)| last.saturating_sub(1));
    let through = more().map(sure).min().unwrap_or(decided).min(decided);
    let held_up_to = |epoch| partitions.iter().any(|p| p.epochs.is_some_and(|(first, _)| first <= epoch));
    if held_up_to(through) {
        return Cut::Whole { through };
    }
    if more().next().is_none() {
        return Cut::Nothing { through };
    }
    if more().any(|p| p.epochs.is_none()) {
        return Cut::Wait;
    }
    Cut::Part { through: through + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition: `first-last`, `...` where more is to come, `-` where nothing is in hand.
    fn in_hand(text: &str) -> InHand {
        let (epochs, complete) = match text.strip_suffix("...") {
            Some(epochs) => (epochs, false),
            None => (text, true),
        };
        let epochs = epochs.split_once('-').filter(|(first, _)| !first.is_empty());
        let number = |text: &str| text.parse().unwrap();
        InHand { epochs: epochs.map(|(first, last)| (number(first), number(last))), complete }
    }

    fn check(decided: u64, partitions: &str, expected: Cut) {
        let partitions: Vec<InHand> = partitions.split_whitespace().map(in_hand).collect();
        assert_eq!(cut(decided, &partitions), expected, "decided {decided}: {partitions:?}");
    }

    #[test]
    fn a_batch_ends_with_the_decided_epoch_once_everything_is_in_hand() {
        check(9, "3-9 - 9-9", Cut::Whole { through: 9 });
        check(9, "3-12 4-9", Cut::Whole { through: 9 });
    }

    #[test]
    fn epochs_without_facts_are_published_without_a_batch() {
        check(9, "", Cut::Nothing { through: 9 });
        check(9, "- -", Cut::Nothing { through: 9 });
        check(9, "10-12 -", Cut::Nothing { through: 9 });
    }

    #[test]
    fn a_partition_with_more_to_come_holds_the_others_back_to_its_last_whole_epoch() {
        check(90, "3-50... 3-90", Cut::Whole { through: 49 });
        check(90, "3-50... 7-30...", Cut::Whole { through: 29 });
        check(90, "60-70 3-50...", Cut::Whole { through: 49 });
    }

    #[test]
    fn an_epoch_larger_than_a_batch_goes_out_in_parts_and_is_published_after_the_last() {
        check(90, "50-50... 60-90", Cut::Part { through: 50 });
        check(90, "50-50... 50-90", Cut::Part { through: 50 });
        check(90, "50-50 60-90", Cut::Whole { through: 90 });
    }

    #[test]
    fn a_partition_that_brings_nothing_yet_is_waited_for() {
        check(90, "-... 60-90", Cut::Wait);
        check(90, "50-50... -...", Cut::Wait);
    }

    #[test]
    fn the_first_epoch_may_be_larger_than_a_batch_too() {
        check(90, "1-1...", Cut::Part { through: 1 });
    }
}
