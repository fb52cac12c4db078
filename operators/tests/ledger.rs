//! The ledger as text tables: a script of transfers, each with the answer expected of it.
//!
//! ```text
//!   open NAME UNIT [strict]      an account; strict: debits must not exceed credits
//!   move FROM TO N | hold ID FROM TO N | post ID N | void ID | close NAME
//!   link A ; B ; C               a linked batch of the above transfers
//!   LINE => ANSWER               "ok" where none is given
//!   NAME: DP|D CP|C              an account's counters: debits pending|posted, credits pending|posted
//! ```

#![allow(clippy::unwrap_used)] // a test may

use operators::ledger::{AccountId, Ledger, Overdraft, PendingId, Refusal, Transfer, Unit};
use proptest::prelude::*;
use runtime::{Entries, State, StateEntry};
use std::collections::BTreeMap;

const HOME: u64 = 7 << 56;

#[derive(Default)]
struct Script {
    ledger: Ledger,
    names: BTreeMap<String, u64>,
}

impl Script {
    /// The number of a name: by first mention. `other/x` lives in another home.
    fn number(&mut self, name: &str) -> (u64, u64) {
        let next = self.names.len() as u64;
        let number = *self.names.entry(name.to_owned()).or_insert(next);
        (if name.starts_with("other/") { HOME + 1 } else { HOME }, number)
    }

    fn account(&mut self, name: &str) -> AccountId {
        let (home, number) = self.number(name);
        AccountId { home, number }
    }

    fn hold(&mut self, name: &str) -> PendingId {
        let (home, number) = self.number(name);
        PendingId { home, number }
    }

    fn transfer(&mut self, words: &[&str]) -> Transfer {
        let amount = |word: &str| word.parse().unwrap();
        match *words {
            ["move", debit, credit, n] => {
                Transfer::Move { debit: self.account(debit), credit: self.account(credit), amount: amount(n) }
            }
            ["hold", id, debit, credit, n] => Transfer::Hold {
                id: self.hold(id),
                debit: self.account(debit),
                credit: self.account(credit),
                amount: amount(n),
            },
            ["post", id, n] => Transfer::Post { id: self.hold(id), amount: amount(n) },
            ["void", id] => Transfer::Void { id: self.hold(id) },
            _ => panic!("not a transfer: {words:?}"),
        }
    }

    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["open", name, unit, ref flags @ ..] => {
                let overdraft = if flags == ["strict"] { Overdraft::Refused } else { Overdraft::Allowed };
                let id = self.account(name);
                answer(self.ledger.open(id, unit_of(unit), overdraft))
            }
            ["close", name] => {
                let id = self.account(name);
                answer(self.ledger.close(id))
            }
            ["link", ..] => {
                let steps = line.trim_start_matches("link").split(';');
                let batch: Vec<Transfer> =
                    steps.map(|step| self.transfer(&step.split_whitespace().collect::<Vec<_>>())).collect();
                match self.ledger.apply_linked(&batch) {
                    Ok(()) => "ok".into(),
                    Err(refused) => format!("{}: {}", refused.index + 1, answer(Err(refused.refusal))),
                }
            }
            _ => {
                let transfer = self.transfer(&words);
                answer(self.ledger.apply(&transfer))
            }
        }
    }

    fn counters(&mut self, name: &str) -> String {
        let id = self.account(name);
        let Some(account) = self.ledger.account(id) else { return "closed".into() };
        let [dp, d, cp, c] = account.counters();
        format!("{dp}|{d} {cp}|{c}")
    }
}

fn unit_of(word: &str) -> Unit {
    match word.split_once(':').unwrap() {
        ("stock", n) => Unit::Stock(n.parse().unwrap()),
        ("money", code) => Unit::Currency(code.as_bytes().try_into().unwrap()),
        _ => panic!("not a unit: {word}"),
    }
}

fn answer(result: Result<(), Refusal>) -> String {
    let Err(refusal) = result else { return "ok".into() };
    match refusal {
        Refusal::ExceedsCredits { free, .. } => format!("exceeds credits, {free} free"),
        Refusal::UnknownPending(_) => "unknown hold".into(),
        Refusal::ExceedsPending { held, .. } => format!("exceeds hold of {held}"),
        Refusal::PendingExists(_) => "hold exists".into(),
        Refusal::UnknownAccount(_) => "unknown account".into(),
        Refusal::AccountExists(_) => "account exists".into(),
        Refusal::AccountInUse(_) => "in use".into(),
        Refusal::AmountOutOfRange(_) => "amount out of range".into(),
        Refusal::SameAccount(_) => "same account".into(),
        Refusal::HomesDiffer { .. } => "homes differ".into(),
        Refusal::UnitsDiffer { .. } => "units differ".into(),
        Refusal::CounterFull(_) => "counter full".into(),
    }
}

/// Every line does as it says, the books balance after each, and a ledger restored at the end is the same.
fn check(script: &str) {
    let mut run = Script::default();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some((name, counters)) = line.split_once(": ").filter(|_| !line.contains("=>")) {
            assert_eq!(run.counters(name), counters.trim(), "after the line before `{line}`");
            continue;
        }
        let (step, expected) = line.split_once("=>").unwrap_or((line, "ok"));
        assert_eq!(run.run(step.trim()), expected.trim(), "`{line}`");
        run.ledger.audit();
    }
    assert_restores(&mut run.ledger);
}

fn entries(ledger: &mut Ledger) -> Vec<Vec<StateEntry>> {
    let dump = |state: &mut dyn State| {
        let mut out = Entries::default();
        state.freeze();
        while !state.write_slice(3, &mut out) {}
        out.unpack().unwrap()
    };
    ledger.states().into_iter().map(dump).collect()
}

fn assert_restores(ledger: &mut Ledger) {
    let mut copy = Ledger::new();
    for (state, dumped) in copy.states().into_iter().zip(entries(ledger)) {
        for entry in &dumped {
            state.load(entry).unwrap();
        }
    }
    copy.audit();
    assert_eq!(copy.accounts_len(), ledger.accounts_len());
    assert_eq!(copy.pending_len(), ledger.pending_len());
}

#[test]
fn a_move_debits_one_account_and_credits_another() {
    check(
        "open issued stock:1
         open available stock:1 strict
         move issued available 10
         issued: 0|10 0|0
         available: 0|0 0|10",
    );
}

#[test]
fn a_strict_account_is_never_overdrawn_not_even_by_holds() {
    check(
        "open issued stock:1
         open available stock:1 strict
         open sold stock:1 strict
         move available issued 1 => exceeds credits, 0 free
         move issued available 10
         hold h1 available sold 7
         hold h2 available sold 4 => exceeds credits, 3 free
         hold h2 available sold 3
         move available issued 1 => exceeds credits, 0 free
         move sold issued 1 => exceeds credits, 0 free
         available: 10|0 0|10
         sold: 0|0 10|0",
    );
}

#[test]
fn a_hold_is_posted_in_full_in_part_or_voided_and_only_once() {
    check(
        "open issued stock:1
         open available stock:1 strict
         open sold stock:1 strict
         move issued available 10
         hold h1 available sold 4
         hold h1 available sold 1 => hold exists
         post h1 5 => exceeds hold of 4
         post h1 0 => amount out of range
         post h1 3
         available: 0|3 0|10
         sold: 0|0 0|3
         post h1 1 => unknown hold
         void h1 => unknown hold
         hold h2 available sold 7
         void h2
         void h2 => unknown hold
         available: 0|3 0|10
         hold h1 available sold 7
         post h1 7
         available: 0|10 0|10
         sold: 0|0 0|10",
    );
}

#[test]
fn units_and_homes_do_not_mix() {
    check(
        "open stock stock:1
         open stock2 stock:2
         open euros money:EUR
         open yen money:JPY
         open other/yen money:JPY
         move stock stock2 1 => units differ
         move euros yen 1 => units differ
         move stock euros 1 => units differ
         move yen other/yen 1 => homes differ
         hold other/h yen euros 1 => homes differ
         hold h euros yen 1 => units differ
         yen: 0|0 0|0",
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    check(
        "open a stock:1
         open b stock:1
         open a stock:1 => account exists
         move a a 1 => same account
         move a b 0 => amount out of range
         move a b 9223372036854775808 => amount out of range
         move a c 1 => unknown account
         move c a 1 => unknown account
         post h 1 => unknown hold",
    );
}

#[test]
fn a_linked_batch_succeeds_as_a_whole() {
    check(
        "open issued stock:1
         open available stock:1 strict
         open sold stock:1 strict
         link move issued available 5 ; hold h1 available sold 5 ; post h1 2 ; move sold available 1
         issued: 0|5 0|0
         available: 0|2 0|6
         sold: 0|1 0|2
         move available issued 5 => exceeds credits, 4 free",
    );
}

#[test]
fn a_linked_batch_fails_as_a_whole() {
    check(
        "open issued stock:1
         open available stock:1 strict
         open sold stock:1 strict
         move issued available 5
         hold h0 available sold 1
         link hold h1 available sold 1 ; post h1 1 ; void h0 ; move issued available 3 ; hold h2 available sold 9 => 5: exceeds credits, 7 free
         issued: 0|5 0|0
         available: 1|0 0|5
         sold: 0|0 1|0
         void h1 => unknown hold
         void h0
         link void h0 ; move issued available 1 => 1: unknown hold
         issued: 0|5 0|0",
    );
}

#[test]
fn a_seat_is_one_unit_per_segment_and_resold_on_a_disjoint_leg() {
    check(
        "open capacity stock:12
         open seat1a/a-b stock:12 strict
         open seat1a/b-c stock:12 strict
         open seat1a/c-d stock:12 strict
         open taken stock:12 strict
         link move capacity seat1a/a-b 1 ; move capacity seat1a/b-c 1 ; move capacity seat1a/c-d 1
         link hold x1 seat1a/a-b taken 1 ; hold x2 seat1a/b-c taken 1
         link hold y1 seat1a/b-c taken 1 ; hold y2 seat1a/c-d taken 1 => 1: exceeds credits, 0 free
         link hold z1 seat1a/c-d taken 1
         link post x1 1 ; post x2 1
         taken: 0|0 1|2
         seat1a/c-d: 1|0 0|1",
    );
}

#[test]
fn a_wallet_pays_what_it_has_and_not_more() {
    check(
        "open world money:EUR
         open ann money:EUR strict
         open shop money:EUR strict
         move world ann 2000
         hold pay1 ann shop 1500
         hold pay2 ann shop 501 => exceeds credits, 500 free
         post pay1 1200
         ann: 0|1200 0|2000
         shop: 0|0 0|1200
         move shop world 1200
         move shop world 1 => exceeds credits, 0 free",
    );
}

#[test]
fn an_account_closes_only_when_empty() {
    check(
        "open issued stock:1
         open available stock:1 strict
         move issued available 2
         close available => in use
         hold h available issued 2
         close available => in use
         post h 2
         close available
         close available => unknown account
         available: closed
         close issued",
    );
}

/// A step of the random test: what, between which of four accounts, under which of six hold ids, how much.
type Step = (u8, u8, u8, u8, u64);

fn random_transfer((what, debit, credit, hold, amount): Step) -> Transfer {
    let account = |n: u8| AccountId { home: HOME, number: u64::from(n) };
    let id = PendingId { home: HOME, number: u64::from(hold) };
    match what {
        0 => Transfer::Move { debit: account(debit), credit: account(credit), amount },
        1 => Transfer::Hold { id, debit: account(debit), credit: account(credit), amount },
        2 => Transfer::Post { id, amount },
        _ => Transfer::Void { id },
    }
}

fn snapshot_of(ledger: &Ledger) -> Vec<String> {
    let accounts = (0..4).map(|n| format!("{:?}", ledger.account(AccountId { home: HOME, number: n })));
    let holds = (0..6).map(|n| format!("{:?}", ledger.pending(PendingId { home: HOME, number: n })));
    accounts.chain(holds).collect()
}

proptest! {
    /// The books balance after anything, and a refused batch leaves no trace.
    #[test]
    fn random_batches_balance_and_refused_ones_leave_no_trace(
        batches in proptest::collection::vec(
            proptest::collection::vec((0u8..4, 0u8..4, 0u8..4, 0u8..6, 1u64..9), 1..5), 1..60)
    ) {
        let mut ledger = Ledger::new();
        for n in 0..4 {
            let overdraft = if n == 0 { Overdraft::Allowed } else { Overdraft::Refused };
            ledger.open(AccountId { home: HOME, number: n }, Unit::Stock(1), overdraft).unwrap();
        }
        for batch in batches {
            let batch: Vec<Transfer> = batch.into_iter().map(random_transfer).collect();
            let before = snapshot_of(&ledger);
            if ledger.apply_linked(&batch).is_err() {
                prop_assert_eq!(before, snapshot_of(&ledger));
            }
            ledger.audit();
        }
    }
}
