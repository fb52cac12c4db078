//! Runs one operator through one epoch, in the one order of things. Pure: no timely, no clock.
//!
//! ```text
//!   for each message in the order of At: fire the timers due at or before its time, then handle it
//!   then fire the timers due at or before the epoch's now
//! ```

use crate::operator::{Ctx, Operator};
use crate::types::{Envelope, Epoch, Millis};

/// An operator and how far time has come for it.
pub struct Driver<O: Operator> {
    pub operator: O,
    /// The previous epoch's now.
    now: Millis,
    last: Epoch,
}

impl<O: Operator> Driver<O> {
    /// An operator that has handled everything up to `last`, when it was `now`.
    pub fn new(operator: O, last: Epoch, now: Millis) -> Self {
        Driver { operator, now, last }
    }

    /// Handles a whole epoch. `input` is sorted here and left empty.
    pub fn run_epoch(
        &mut self,
        epoch: Epoch,
        now: Millis,
        input: &mut Vec<Envelope<O::In>>,
        out: &mut Vec<Envelope<O::Out>>,
    ) {
        assert!(epoch > self.last, "{}: epochs come in order", O::NAME);
        self.last = epoch;
        let mut active = !input.is_empty();
        // Stable: messages of one At keep the order in which one operator emitted them.
        input.sort_by_key(|message| message.at);
        for message in input.drain(..) {
            let time = message.at.time();
            active |= self.fire_upto(epoch, time, out);
            let mut ctx = Ctx::new(epoch, self.now.max(time), out);
            self.operator.on_record(message.at, message.body, &mut ctx);
        }
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
