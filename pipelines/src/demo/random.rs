//! Chance from a seed: the same seed gives the same draws on every machine and in every version.
//!
//! ChaCha8 keeps its sequence for good (its crate promises so); everything on top is integer arithmetic.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A seeded source of chance.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// Dice for this seed.
    pub fn new(seed: u64) -> Self {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below zero");
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index into a list of this length.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }
}

/// Zipf's law over ranks: the first is asked for twice as often as the second, three times as often as the third.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// Running sums of the ranks' weights.
    sums: Vec<u64>,
}

impl Zipf {
    /// A law over `ranks` ranks.
    pub fn new(ranks: usize) -> Self {
        let weights = (1..=ranks as u64).map(|rank| 1_000_000_000 / rank);
        let sums = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Zipf { sums: sums.collect() }
    }

    /// Draws a rank, from 0.
    pub fn draw(&self, dice: &mut Dice) -> usize {
        let total = self.sums.last().copied().expect("a law has at least one rank");
        let at = dice.below(total);
        self.sums.partition_point(|sum| *sum <= at)
    }

    /// Of `draws` draws, how many fall on `rank` on average.
    pub fn expected(&self, rank: usize, draws: u64) -> u64 {
        let total = self.sums.last().copied().expect("a law has at least one rank");
        let below = if rank == 0 { 0 } else { self.sums[rank - 1] };
        (u128::from(self.sums[rank] - below) * u128::from(draws) / u128::from(total)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_means_the_same() {
        let mut dice = Dice::new(7);
        let drawn: Vec<u64> = (0..5).map(|_| dice.below(1_000)).collect();
        assert_eq!(
            drawn,
            [157, 167, 704, 726, 601],
            "changing this changes what every recorded seed stands for"
        );
    }

    #[test]
    fn the_first_rank_is_asked_for_most() {
        let (law, mut dice, mut counts) = (Zipf::new(50), Dice::new(1), vec![0u64; 50]);
        for _ in 0..100_000 {
            counts[law.draw(&mut dice)] += 1;
        }
        let near = |rank: usize| counts[rank].abs_diff(law.expected(rank, 100_000)) < 700;
        assert!(near(0) && near(1) && near(49), "{counts:?}");
    }
}
