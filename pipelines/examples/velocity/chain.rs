//! Probe, velocity and screen on one thread, an epoch after the other, as the runtime's workers drive them.

use operators::messages::{BookIn, Output, TableChange};
use operators::probe::Probe;
use operators::screen::Screen;
use operators::settings::Settings;
use operators::velocity::Velocity;
use operators::velocity::messages::{ProbeIn, ProbeOut, ScreenIn, ScreenOut, VelocityIn};
use runtime::driver::Driver;
use runtime::{At, Class, Envelope, Epoch, Millis, Offset, PartitionId, Position, TopicId};
use schemas::Reference;
use schemas::commands::PlaceOrder;
use schemas::velocity::{FraudAction, VelocityRule};

/// The three operators and how far they are.
pub struct Chain {
    probe: Driver<Probe>,
    velocity: Driver<Velocity>,
    screen: Driver<Screen>,
    epoch: Epoch,
    offset: u64,
}

impl Chain {
    /// With rules that were always there.
    pub fn new(settings: &Settings, rules: &[VelocityRule]) -> Self {
        let mut chain = Chain {
            probe: Driver::new(Probe::new(settings), Epoch(0), Millis::MIN),
            velocity: Driver::new(Velocity::new(settings), Epoch(0), Millis::MIN),
            screen: Driver::new(Screen::new(settings.clone()), Epoch(0), Millis::MIN),
            epoch: Epoch(0),
            offset: 0,
        };
        let changes: Vec<_> = rules.iter().map(|rule| chain.change(rule)).collect();
        let rules =
            changes.iter().map(|(at, c)| Envelope { at: *at, body: ProbeIn::Rule(Box::new(c.clone())) });
        let rules = rules.collect();
        let counted =
            changes.iter().map(|(at, c)| Envelope { at: *at, body: VelocityIn::Rule(Box::new(c.clone())) });
        chain.run(rules, counted.collect(), 0);
        chain
    }

    fn change(&mut self, rule: &VelocityRule) -> (At, TableChange) {
        let row = Reference::VelocityRule(Box::new(rule.clone()));
        (self.next(0, Class::Reference), TableChange { key: row.key(), row: Some(row) })
    }

    fn next(&mut self, time: Millis, class: Class) -> At {
        self.offset += 1;
        let partition = PartitionId { topic: TopicId(0), partition: 0 };
        At::record(Position::record(time, class, partition, Offset(self.offset)))
    }

    /// Handles orders with their record times, in order; what was told, and what became of the orders.
    pub fn epoch(&mut self, orders: Vec<(Millis, PlaceOrder)>) -> (Vec<Output>, Vec<FraudAction>) {
        let now = orders.last().map_or(0, |(time, _)| *time);
        let record = |(time, order)| {
            let order = Box::new(order);
            let judged = BookIn::Order { order, reasons: Vec::new(), screening: None };
            Envelope { at: self.next(time, Class::Command), body: ProbeIn::Judged(judged) }
        };
        let records = orders.into_iter().map(record).collect();
        let (mut told, mut actions) = (Vec::new(), Vec::new());
        for out in self.run(records, Vec::new(), now) {
            match out.body {
                ScreenOut::Out(output) => told.push(output),
                ScreenOut::ToBook(BookIn::Order { screening, .. }) => actions.extend(screening),
                ScreenOut::ToBook(_) => (),
            }
        }
        (told, actions)
    }

    fn run(
        &mut self,
        records: Vec<Envelope<ProbeIn>>,
        mut probes: Vec<Envelope<VelocityIn>>,
        now: Millis,
    ) -> Vec<Envelope<ScreenOut>> {
        self.epoch = self.epoch.next();
        let (mut probed, mut screened) = (Vec::new(), Vec::new());
        self.probe.run_epoch(self.epoch, now, &mut records.into(), &mut probed);
        for Envelope { at, body } in probed {
            match body {
                ProbeOut::Probe(probe) => probes.push(Envelope { at, body: VelocityIn::Probe(probe) }),
                ProbeOut::Pass { message, verdicts } => {
                    screened.push(Envelope { at, body: ScreenIn::Pass { message, verdicts } });
                }
            }
        }
        let (mut verdicts, mut out) = (Vec::new(), Vec::new());
        self.velocity.run_epoch(self.epoch, now, &mut probes.into(), &mut verdicts);
        screened.extend(verdicts.into_iter().map(|v| Envelope { at: v.at, body: ScreenIn::Verdict(v.body) }));
        self.screen.run_epoch(self.epoch, now, &mut screened.into(), &mut out);
        out
    }
}
