//! The time that the node's machine is given: as the wall clock says, but never back.

use okapi_base::machine::Moment;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How far the wall clock may run ahead before it is believed: a machine that slept is back at once.
const SLEPT: Duration = Duration::from_secs(2);

/// A clock.
#[derive(Debug)]
pub(crate) struct Clock {
    base: Duration,
    since: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { base: wall(), since: Instant::now() }
    }

    /// The time now. It goes on evenly while somebody sets the wall clock back, and jumps ahead with it: that is how a
    /// machine that was suspended learns of it.
    pub(crate) fn now(&mut self) -> Moment {
        let even = self.base + self.since.elapsed();
        let wall = wall();
        if wall > even + SLEPT {
            *self = Self { base: wall, since: Instant::now() };
            return Moment(wall);
        }
        Moment(even)
    }

    /// How long it is until a moment.
    pub(crate) fn until(&mut self, at: Moment) -> Duration {
        at.0.saturating_sub(self.now().0)
    }
}

/// Since 1970-01-01 UTC; a clock that is before that counts as there.
pub(crate) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn stamp() -> u64 {
    u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back_and_follows_the_wall_ahead() {
        let mut ahead = Clock { base: wall() + Duration::from_secs(1000), since: Instant::now() };
        let (one, two) = (ahead.now(), ahead.now());
        assert!(two >= one && one.0 >= wall() + Duration::from_secs(900), "the wall was set back");
        let mut behind = Clock { base: wall() - Duration::from_secs(1000), since: Instant::now() };
        assert!(behind.now().0 + SLEPT >= wall(), "the machine slept");
        assert_eq!(behind.until(Moment::default()), Duration::ZERO);
    }
}
