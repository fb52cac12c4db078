//! The workload "guarded sales" at a small scale: the engine decides as the straight loop does, at any number of workers.

use std::fmt::Write;
use std::path::Path;
use tombola_benches::guarded::engine::{self, Pace, Wiring};
use tombola_benches::guarded::outcome::mix64;
use tombola_benches::guarded::straight;

const OFFERS: u64 = 40;

/// The numbers of one line follow from its own number.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix64(self.0) % n
    }
}

fn price(offer: u64) -> u64 {
    100 + offer * 37 % 900
}

/// Every rule applies to some of it: repeated lines, unknown offers, wrong prices and quantities, busy customers,
/// offers that sell out; times up to two seconds behind.
fn write_folder(folder: &Path, lines: u64) {
    let mut draw = Draw(7);
    let offers: String = (1..=OFFERS).map(|o| format!("{o},{},{},{}\n", price(o), o * 40, o % 4)).collect();
    let mut orders: Vec<String> = Vec::new();
    for n in 0..lines {
        if n > 10 && draw.below(20) == 0 {
            orders.push(orders[(n - 1 - draw.below(10)) as usize].clone());
            continue;
        }
        let ts = 1_767_225_600_000 + n * 400 - draw.below(2_001);
        let (customer, partner) = (1 + draw.below(30) * draw.below(30), 1 + draw.below(500));
        let offer = 1 + draw.below(OFFERS + 2);
        let (quantity, wrong) = (draw.below(13), u64::from(draw.below(20) == 0));
        orders.push(format!("{n},{ts},{customer},{partner},{offer},{quantity},{},{n}", price(offer) + wrong));
    }
    let mut all = String::new();
    orders.iter().for_each(|line| writeln!(all, "{line}").expect("text can be written"));
    for (name, text) in [
        ("offers.csv", offers.as_str()),
        ("rates.csv", "0,250\n1,700\n2,1200\n3,1850\n"),
        ("orders.csv", &all),
    ] {
        std::fs::write(folder.join(name), text).expect("the disk has room");
    }
}

#[test]
fn the_engine_decides_as_the_straight_loop_does_at_any_number_of_workers() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    write_folder(folder.path(), 4_000);
    let expected = straight::decide(folder.path()).expect("just written");
    assert!(expected.decisions.counts.iter().all(|count| *count > 50), "every rule applies: {expected}");
    for workers in [1, 2, 4] {
        for (wiring, epoch_lines) in [(Wiring::Whole, 1_000), (Wiring::Parts, 100), (Wiring::Parts, 3_000)] {
            let pace = Pace { workers, epoch_lines };
            let (outcome, _) = engine::decide(folder.path(), wiring, pace).expect("just written");
            assert_eq!(outcome, expected, "{wiring:?}, {pace:?}");
        }
    }
}
