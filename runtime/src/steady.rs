//! A wall clock that never stands still or goes back, whatever becomes of the system's.
//!
//! Epochs are paced by it and partitions are drained as of it. Were it the system's clock alone, one that is set back by
//! an hour would stop a pipeline for that hour: nothing would be due. So, once the system's clock is behind what was
//! told, time goes on at half speed until that has caught up, as `adjtime` slews a clock.

use crate::types::Millis;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The clock. One for all threads of a run, as they compare what it says.
#[derive(Debug, Default)]
pub struct SteadyClock {
    /// What was told last that was news, and when.
    told: Mutex<Option<(Millis, Instant)>>,
}

impl SteadyClock {
    /// Milliseconds since 1970; never less than before.
    pub fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.at(i64::try_from(since.as_millis()).unwrap_or(i64::MAX), Instant::now())
    }

    /// The same at a moment at which the system's clock says `wall`.
    fn at(&self, wall: Millis, moment: Instant) -> Millis {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let at_half_speed = told.map_or(Millis::MIN, |(last, at)| {
            let passed = moment.saturating_duration_since(at).as_millis() / 2;
            last.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
        });
        let now = wall.max(at_half_speed);
        // Asked more often than it moves, it still moves: what has passed counts from the last news.
        if told.is_none_or(|(last, _)| now > last) {
            *told = Some((now, moment));
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_that_is_set_back_is_caught_up_with_and_one_that_jumps_ahead_is_followed() {
        let (clock, start) = (SteadyClock::default(), Instant::now());
        for (passed_ms, wall, wanted) in [
            (0, 10_000, 10_000),
            (5, 10_005, 10_005),
            // Set back by a second; asked every millisecond, every second one tells.
            (6, 9_006, 10_005),
            (7, 9_007, 10_006),
            (8, 9_008, 10_006),
            (9, 9_009, 10_007),
            (1_009, 10_009, 10_507),
            // Caught up.
            (2_009, 11_009, 11_009),
            (2_010, 20_000, 20_000),
            (2_012, 20_000, 20_001),
        ] {
            let moment = start + Duration::from_millis(passed_ms);
            assert_eq!(clock.at(wall, moment), wanted, "after {passed_ms} ms, {wall} on the wall");
        }
    }
}
