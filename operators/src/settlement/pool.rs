//! What each tier pays: counts of all slots in, amounts out.
//!
//! A result and its counts have one place, and come within one epoch, in whatever order: they are handled at its end,
//! in the order of their places. Nothing is kept from one epoch to the next.
//!
//! Asserted in release: the tickets of a tier that shares the pool get no more than the tier's share, all tiers
//! together no more than the pool.

use super::{Amounts, Counted, Settle};
use crate::messages::Output;
use runtime::{At, Ctx, Operator, Route, State, stable_hash2};
use schemas::draws::{DrawEvent, DrawFact, DrawRow, DrawStatus, Prize, PrizeTier, TierSettled, prize_tiers};
use schemas::{Fact, Row};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolIn {
    Settle(Box<Settle>),
    Counted(Box<Counted>),
}

/// Out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolOut {
    Amounts(Box<Amounts>),
    Out(Output),
}

/// The operator. See the module.
#[derive(Default)]
pub struct Pool {
    epoch: BTreeMap<At, Gathered>,
}

#[derive(Default)]
struct Gathered {
    settle: Option<Box<Settle>>,
    winners: Vec<i64>,
    tickets: i64,
}

/// What a tier with so many winners pays.
pub fn settle_tier(tier: &PrizeTier, winners: i64, pool_minor: i64) -> TierSettled {
    let (prize_minor, share_minor) = match tier.prize {
        Prize::Fixed { minor } => (minor, None),
        Prize::Pool { bps } => {
            let share = i128::from(pool_minor) * i128::from(bps) / 10_000;
            let share = i64::try_from(share).expect("a part of the pool is no more than the pool");
            (share.checked_div(winners).unwrap_or(0), Some(share))
        }
    };
    let paid_minor = prize_minor.checked_mul(winners).unwrap_or_else(|| {
        panic!("tier {}: {winners} times {prize_minor} is more than money can be", tier.tier)
    });
    assert!(share_minor.is_none_or(|share| paid_minor <= share), "tier {} pays out too much", tier.tier);
    TierSettled { tier: tier.tier.clone(), winners, prize_minor, paid_minor, share_minor }
}

impl Gathered {
    fn add(&mut self, counted: &Counted) {
        self.winners.resize(self.winners.len().max(counted.winners.len()), 0);
        self.winners.iter_mut().zip(&counted.winners).for_each(|(sum, more)| *sum += more);
        self.tickets += counted.tickets;
    }

    fn close(self, at: At, ctx: &mut Ctx<PoolOut>) {
        let settle = *self.settle.expect("a count stands at the place of its result");
        let draw = &settle.draw;
        let tiers = prize_tiers(&draw.prize_tiers).expect("a draw's tiers are checked when its row comes in");
        let pool = draw.pool_minor.unwrap_or(0);
        let winners = self.winners.iter().copied().chain(std::iter::repeat(0));
        let settled: Vec<TierSettled> =
            tiers.iter().zip(winners).map(|(tier, winners)| settle_tier(tier, winners, pool)).collect();
        let shared = |tier: &&TierSettled| tier.share_minor.is_some();
        let from_pool: i64 = settled.iter().filter(shared).map(|tier| tier.paid_minor).sum();
        assert!(from_pool <= pool, "draw {} pays {from_pool} out of a pool of {pool}", draw.draw_id);
        ctx.emit(at, PoolOut::Amounts(Box::new(amounts(&settle, &settled))));
        let row = settled_row(&settle, &settled, self.tickets);
        let fact = settled_fact(settle, settled, self.tickets);
        ctx.emit(at, PoolOut::Out(Output::Fact(Fact::Draw(Box::new(fact)))));
        ctx.emit(at, PoolOut::Out(Output::Row(Row::Draw(Box::new(row)))));
    }
}

fn amounts(settle: &Settle, settled: &[TierSettled]) -> Amounts {
    Amounts {
        tenant: settle.draw.tenant.clone(),
        draw_id: settle.draw.draw_id.clone(),
        revision: settle.revision,
        currency: settle.draw.currency.clone(),
        tiers: settled.iter().map(|tier| (tier.tier.clone(), tier.prize_minor)).collect(),
        at_ms: settle.row.at_ms,
        cause: settle.cause.clone(),
    }
}

fn settled_row(settle: &Settle, settled: &[TierSettled], tickets: i64) -> DrawRow {
    DrawRow {
        status: DrawStatus::Settled,
        tickets: Some(tickets),
        winners: Some(settled.iter().map(|tier| tier.winners).sum()),
        paid_minor: Some(settled.iter().fold(0, |sum: i64, tier| sum.saturating_add(tier.paid_minor))),
        ..settle.row.clone()
    }
}

fn settled_fact(settle: Settle, tiers: Vec<TierSettled>, tickets: i64) -> DrawFact {
    let Settle { draw, drawn, revision, row, cause } = settle;
    DrawFact {
        tenant: draw.tenant,
        draw_id: draw.draw_id,
        revision,
        supersedes: (revision > 1).then_some(revision - 1),
        game: Some(draw.game),
        numbers: drawn.numbers,
        bonus: drawn.bonus,
        prizes: drawn.prizes,
        jackpot_minor: row.jackpot_minor,
        currency: Some(draw.currency),
        drawn_at_ms: row.drawn_at_ms,
        tiers,
        tickets: Some(tickets),
        at_ms: row.at_ms,
        ..DrawFact::of(DrawEvent::Settled, cause)
    }
}

impl Operator for Pool {
    type In = PoolIn;
    type Out = PoolOut;
    const NAME: &'static str = "draw_pool";

    fn route(input: &PoolIn) -> Route {
        let (tenant, draw_id) = match input {
            PoolIn::Settle(settle) => (&settle.draw.tenant, &settle.draw.draw_id),
            PoolIn::Counted(counted) => (&counted.tenant, &counted.draw_id),
        };
        Route::Key(stable_hash2(tenant.as_bytes(), draw_id.as_bytes()))
    }

    fn on_record(&mut self, at: At, input: PoolIn, _ctx: &mut Ctx<PoolOut>) {
        let gathered = self.epoch.entry(at).or_default();
        match input {
            PoolIn::Settle(settle) => gathered.settle = Some(settle),
            PoolIn::Counted(counted) => gathered.add(&counted),
        }
    }

    fn on_epoch_end(&mut self, ctx: &mut Ctx<PoolOut>) {
        for (at, gathered) in std::mem::take(&mut self.epoch) {
            gathered.close(at, ctx);
        }
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::draws::{FIXED_MINOR_MAX, TierRule};

    #[test]
    fn a_share_is_divided_equally_and_the_rest_stays_in_the_pool() {
        let tier = |prize| PrizeTier { tier: "1".into(), rule: TierRule::Hits { main: 1, bonus: 0 }, prize };
        for (prize, winners, pool, each, paid, share) in [
            (Prize::Fixed { minor: 500 }, 3, 0, 500, 1_500, None),
            (Prize::Fixed { minor: 500 }, 0, 0, 500, 0, None),
            (
                Prize::Fixed { minor: FIXED_MINOR_MAX },
                1 << 32,
                0,
                FIXED_MINOR_MAX,
                FIXED_MINOR_MAX << 32,
                None,
            ),
            (Prize::Pool { bps: 5_000 }, 3, 100, 16, 48, Some(50)),
            (Prize::Pool { bps: 3_333 }, 1, 100, 33, 33, Some(33)),
            (Prize::Pool { bps: 10_000 }, 0, 100, 0, 0, Some(100)),
            (Prize::Pool { bps: 1 }, 7, 100, 0, 0, Some(0)),
            (Prize::Pool { bps: 10_000 }, 1, i64::MAX, i64::MAX, i64::MAX, Some(i64::MAX)),
        ] {
            let settled = settle_tier(&tier(prize), winners, pool);
            assert_eq!((settled.prize_minor, settled.paid_minor, settled.share_minor), (each, paid, share));
        }
    }
}
