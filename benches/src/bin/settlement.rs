//! A draw of a million tickets, settled on one core: from the published result to the last prize told.
//!
//! ```text
//!   cargo run --release -p tombola-benches --bin settlement [TICKETS, default 1000000]
//! ```
//!
//! One worker's operators, called as the runtime calls them: tickets are sold, a snapshot is taken, the result is
//! published, then corrected (so that every prize is taken back and paid anew). A game of 6 of 49, whose lowest tier
//! pays three hits: about 1.9 % of the tickets win; then one of 2 of 10 with every third ticket a winner. Prizes are
//! told to nobody: what encoding and storing them costs is the sinks' (see `sinks/examples/serving_throughput.rs`).

use operators::draws::result::{Drawn, drawn};
use operators::messages::{Output, TableChange};
use operators::settings::Settings;
use operators::settlement::Settle;
use operators::settlement::pay::{Pay, PayIn};
use operators::settlement::pool::{Pool, PoolIn, PoolOut};
use operators::settlement::tickets::{Tickets, TicketsIn, TicketsOut};
use runtime::{At, Class, Ctx, Entries, Envelope, Epoch, Offset, Operator, PartitionId, Position, TopicId};
use schemas::draws::{Draw, DrawRow, DrawStatus};
use schemas::facts::Cause;
use schemas::reference::{Offer, OfferKind, OfferStatus};
use schemas::{Reference, Row, Text};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let tickets = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    for (count, max, tiers) in [
        (
            6,
            49,
            r#"[{"tier":"6","main":6,"pool_bps":5000},{"tier":"5","main":5,"pool_bps":2000},{"tier":"4","main":4,"pool_bps":2000},{"tier":"3","main":3,"fixed_minor":500}]"#,
        ),
        (2, 10, r#"[{"tier":"2","main":2,"pool_bps":5000},{"tier":"1","main":1,"pool_bps":2000}]"#),
    ] {
        Bench::new(draw(count, max, tiers)).run(tickets);
    }
}

struct Bench {
    draw: Draw,
    tickets: Tickets,
    pool: Pool,
    pay: Pay,
    epoch: u64,
}

impl Bench {
    fn new(draw: Draw) -> Self {
        let settings = Settings { topics: vec!["t".into()], ..Settings::default() };
        let (tickets, pay) = (Tickets::new(settings.clone()), Pay::new(settings));
        Bench { draw, tickets, pool: Pool::default(), pay, epoch: 0 }
    }

    fn run(&mut self, count: u64) {
        let Draw { main_count, main_max, .. } = self.draw;
        println!("{main_count} of {main_max}, {count} tickets, each of an order of its own");
        self.call(TicketsIn::Offer(offer()));
        let sold = Instant::now();
        for number in 0..count {
            let numbers = pick(number, main_count as u64, main_max as u64);
            let order_id = Text::from(format!("order-{number:09}"));
            let (tenant, offer_id) = ("shop".into(), "offer".into());
            self.call(TicketsIn::Placed { tenant, order_id: order_id.clone(), offer_id });
            self.call(TicketsIn::Ticket {
                tenant: "shop".into(),
                order_id,
                offer_id: "offer".into(),
                numbers,
                command_id: Text::default(),
            });
        }
        println!("  sold: {:.0} tickets a second", count as f64 / sold.elapsed().as_secs_f64());
        self.snapshot("of everything sold");
        for revision in 1..=2 {
            self.settle(revision);
        }
        self.snapshot("after settling");
    }

    fn call(&mut self, input: TicketsIn) -> Vec<Envelope<TicketsOut>> {
        let mut out = Vec::new();
        self.epoch += 1;
        let at = at(self.epoch);
        self.tickets.on_record(at, input, &mut Ctx::new(Epoch(self.epoch), at.time(), &mut out));
        self.tickets.on_epoch_end(&mut Ctx::new(Epoch(self.epoch), at.time(), &mut out));
        out
    }

    fn settle(&mut self, revision: i32) {
        let numbers =
            pick(u64::MAX / revision as u64, self.draw.main_count as u64, self.draw.main_max as u64);
        let result = drawn(&self.draw, &numbers, &[], &[]).expect("the numbers fit");
        let settle = Box::new(settle(&self.draw, result, revision));
        let began = Instant::now();
        let looked = self.call(TicketsIn::Settle(settle.clone()));
        let found = began.elapsed();
        let (told, longest) = self.pay_out(settle, looked);
        let took = began.elapsed();
        let won = told.iter().filter(|e| matches!(e.body, Output::Row(Row::WinningTicket(_)))).count();
        println!(
            "  revision {revision}: {} ms, of which {} ms to find winners; {won} prizes told or taken back; longest call {} ms",
            took.as_millis(),
            found.as_millis(),
            longest.max(found).as_millis()
        );
        assert!(took < Duration::from_secs(1), "a result is settled within a second");
    }

    fn pay_out(
        &mut self,
        settle: Box<Settle>,
        looked: Vec<Envelope<TicketsOut>>,
    ) -> (Vec<Envelope<Output>>, Duration) {
        let (at, epoch) = (at(self.epoch), Epoch(self.epoch));
        let (mut shared, mut told) = (Vec::new(), Vec::new());
        let mut ctx = Ctx::new(epoch, at.time(), &mut shared);
        self.pool.on_record(at, PoolIn::Settle(settle), &mut ctx);
        let mut pay = Ctx::new(epoch, at.time(), &mut told);
        for Envelope { at, body } in looked {
            match body {
                TicketsOut::Counted(counted) => self.pool.on_record(at, PoolIn::Counted(counted), &mut ctx),
                TicketsOut::Winners(winners) => self.pay.on_record(at, PayIn::Winners(winners), &mut pay),
                TicketsOut::Out(output) => panic!("nothing is late: {output:?}"),
            }
        }
        self.pool.on_epoch_end(&mut ctx);
        for Envelope { at, body } in shared {
            if let PoolOut::Amounts(amounts) = body {
                self.pay.on_record(at, PayIn::Amounts(amounts), &mut pay);
            }
        }
        let began = Instant::now();
        self.pay.on_epoch_end(&mut pay);
        (told, began.elapsed())
    }

    /// Frozen at once, written in slices of 64 entries as between epochs.
    fn snapshot(&mut self, of: &str) {
        let (mut entries, mut bytes, mut longest) = (0, 0, Duration::ZERO);
        let states = self.tickets.states().into_iter().chain(self.pay.states());
        for state in states {
            state.freeze();
            loop {
                let (began, mut slice) = (Instant::now(), Entries::default());
                let complete = state.write_slice(64, &mut slice);
                longest = longest.max(began.elapsed());
                (entries, bytes) = (entries + slice.len(), bytes + slice.bytes().len());
                if complete {
                    break;
                }
            }
        }
        println!(
            "  snapshot {of}: {entries} entries, {:.1} MB, longest slice {:.2} ms",
            bytes as f64 / 1e6,
            longest.as_secs_f64() * 1e3
        );
    }
}

fn at(number: u64) -> At {
    let partition = PartitionId { topic: TopicId(0), partition: 0 };
    At::record(Position::record(1_000 + number as i64 / 1_000, Class::Command, partition, Offset(number)))
}

/// Different numbers from 1 to `max`, the same for the same `seed`.
fn pick(seed: u64, count: u64, max: u64) -> Vec<i32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut numbers = Vec::with_capacity(count as usize);
    while (numbers.len() as u64) < count {
        state ^= state >> 30;
        state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state ^= state >> 27;
        let number = (state >> 11) % max + 1;
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        if !numbers.contains(&(number as i32)) {
            numbers.push(number as i32);
        }
    }
    numbers
}

fn draw(main_count: i32, main_max: i32, tiers: &str) -> Draw {
    Draw {
        tenant: "shop".into(),
        draw_id: "draw".into(),
        game: "lotto".into(),
        main_count,
        main_min: 1,
        main_max,
        bonus_count: 0,
        bonus_max: 0,
        bonus_in_main: false,
        repeats: false,
        closes_at_ms: i64::MAX,
        sources_required: 1,
        currency: "EUR".into(),
        pool_minor: Some(100_000_000),
        prize_tiers: tiers.into(),
    }
}

fn settle(draw: &Draw, drawn: Drawn, revision: i32) -> Settle {
    let row = DrawRow {
        tenant: draw.tenant.clone(),
        draw_id: draw.draw_id.clone(),
        revision,
        game: draw.game.clone(),
        numbers: Text::default(),
        bonus: Text::default(),
        prizes: "[]".into(),
        jackpot_minor: None,
        currency: draw.currency.clone(),
        drawn_at_ms: None,
        status: DrawStatus::Published,
        sources: Text::default(),
        tickets: None,
        winners: None,
        paid_minor: None,
        at_ms: 0,
    };
    let cause =
        Cause { command_id: "c".into(), topic: "t".into(), partition: 0, offset: 0, record_time_ms: 0 };
    Settle { draw: draw.clone(), drawn, revision, row, cause }
}

fn offer() -> TableChange {
    let row = Reference::Offer(Box::new(Offer {
        tenant: "shop".into(),
        offer_id: "offer".into(),
        kind: OfferKind::Ticket,
        price_minor: 200,
        currency: "EUR".into(),
        stock_total: 10_000_000,
        sale_opens_at_ms: None,
        sale_closes_at_ms: None,
        max_per_order: 10,
        max_per_customer: None,
        draw_id: Some("draw".into()),
        restock_on_refund: false,
        status: OfferStatus::Open,
    }));
    TableChange { key: row.key(), row: Some(row) }
}
