//! Runs one operator through one epoch, in the one order of things. Pure: no timely, no clock.
//!
//! ```text
//!   for each message in the order of At: fire the due timers of its time or before, then handle it
//!   then fire the due timers that are left
//! ```
//!
//! Due is what the epoch's now has reached. A record may be ahead of it (some other partition was last
//! seen whole earlier, or its producer's clock is ahead): it makes no timer due, because on another number of workers
//! it would meet other timers, and they would fire in other epochs.

use crate::gathered::Gathered;
use crate::operator::{Ctx, Operator};
use crate::types::{Envelope, Epoch, Millis};

/// Messages an operator is shown before it handles the first of them: as many look-ups as a core does at once.
const FORESEEN: usize = 16;

/// An operator and how far time has come for it.
pub struct Driver<O: Operator> {
    pub operator: O,
    /// Those that come next.
    coming: Vec<Envelope<O::In>>,
    /// The previous epoch's now.
    now: Millis,
    last: Epoch,
}

impl<O: Operator> Driver<O> {
    /// An operator that has handled everything up to `last`, when it was `now`.
    pub fn new(operator: O, last: Epoch, now: Millis) -> Self {
        Driver { operator, coming: Vec::with_capacity(FORESEEN), now, last }
    }

    /// Handles a whole epoch. `input` is left empty.
    pub fn run_epoch(
        &mut self,
        epoch: Epoch,
        now: Millis,
        input: &mut Gathered<O::In>,
        out: &mut Vec<Envelope<O::Out>>,
    ) {
        assert!(epoch > self.last, "{}: epochs come in order", O::NAME);
        self.last = epoch;
        let mut active = !input.is_empty();
        let (mut input, mut coming) = (input.drain(), std::mem::take(&mut self.coming));
        loop {
            input.fill(&mut coming, FORESEEN);
            if coming.is_empty() {
                break;
            }
            self.operator.foresee(&coming);
            for message in coming.drain(..) {
                let time = message.at.time();
                active |= self.fire_upto(epoch, time.min(now), out);
                let mut ctx = Ctx::new(epoch, self.now.max(time), out);
                self.operator.on_record(message.at, message.body, &mut ctx);
            }
        }
        self.coming = coming;
        active |= self.fire_upto(epoch, now, out);
        self.now = self.now.max(now);
        if active {
            self.operator.on_epoch_end(&mut Ctx::new(epoch, self.now, out));
        }
    }

    fn fire_upto(&mut self, epoch: Epoch, time: Millis, out: &mut Vec<Envelope<O::Out>>) -> bool {
        let mut fired = false;
        while let Some(due) = self.operator.next_timer().filter(|due| *due <= time) {
            let mut ctx = Ctx::new(epoch, self.now.max(due), out);
            self.operator.on_timer(due, &mut ctx);
            assert!(self.operator.next_timer() != Some(due), "{}: a timer fires once", O::NAME);
            fired = true;
        }
        fired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::Route;
    use crate::state::State;
    use crate::timers::Timers;
    use crate::types::{At, Class, Offset, PartitionId, Position, TopicId};

    /// Says what it handles; a record sets a timer ten milliseconds after its time.
    #[derive(Default)]
    struct Echo(Timers<i64>);

    impl Operator for Echo {
        type In = ();
        type Out = String;
        const NAME: &'static str = "echo";

        fn route((): &()) -> Route {
            Route::Key(0)
        }

        fn on_record(&mut self, at: At, (): (), ctx: &mut Ctx<String>) {
            self.0.set(ctx.now() + 10, ctx.now() + 10);
            ctx.emit(at, format!("record {} at {}", at.time(), ctx.now()));
        }

        fn next_timer(&self) -> Option<Millis> {
            self.0.next()
        }

        fn on_timer(&mut self, due: Millis, ctx: &mut Ctx<String>) {
            self.0.take(due);
            ctx.emit(At::record(Position::timer(due, 1, 0)), format!("timer {due}"));
        }

        fn states(&mut self) -> Vec<&mut dyn State> {
            Vec::new()
        }
    }

    /// What is said in each epoch, given its now and the times of its records.
    fn said(epochs: &[(Millis, &[Millis])]) -> Vec<String> {
        let mut driver = Driver::new(Echo::default(), Epoch(0), 0);
        let partition = PartitionId { topic: TopicId(0), partition: 0 };
        let mut said = Vec::new();
        for ((now, times), epoch) in epochs.iter().zip(1..) {
            let record = |time: &Millis| {
                let at = At::record(Position::record(*time, Class::Command, partition, Offset(0)));
                Envelope { at, body: () }
            };
            let (input, mut out) = (times.iter().map(record).collect::<Vec<_>>(), Vec::new());
            driver.run_epoch(Epoch(epoch), *now, &mut input.into(), &mut out);
            let bodies: Vec<String> = out.into_iter().map(|envelope| envelope.body).collect();
            said.push(bodies.join(", "));
        }
        said
    }

    #[test]
    fn due_timers_fire_before_records_of_their_time() {
        assert_eq!(
            said(&[(5, &[5]), (20, &[15, 14])]),
            ["record 5 at 5", "record 14 at 14, timer 15, record 15 at 15"]
        );
    }

    #[test]
    fn a_record_ahead_of_now_makes_no_timer_due() {
        assert_eq!(
            said(&[(5, &[5]), (9, &[30]), (15, &[])]),
            ["record 5 at 5", "record 30 at 30", "timer 15"]
        );
    }

    #[test]
    fn what_follows_from_a_late_record_counts_from_the_epoch_before() {
        assert_eq!(said(&[(50, &[]), (59, &[5]), (60, &[])]), ["", "record 5 at 50", "timer 60"]);
    }
}
