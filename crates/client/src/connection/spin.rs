//! Whether to look for an answer a little longer before sleeping.

use std::time::Duration;

/// Successes that are remembered.
const MOST: u8 = 16;
/// Of so many answers that were slept for one is looked for again, to see whether it has become worth while.
const RETRY: u8 = 64;

/// Looking costs a processor and saves a sleep and a wake-up; it is done while it has paid off lately.
#[derive(Debug)]
pub(crate) struct Spin {
    most: Duration,
    credit: u8,
    skipped: u8,
}

impl Spin {
    pub(crate) fn new(most: Duration) -> Self {
        // With one processor the other end cannot answer while we look.
        let alone = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
        Self { most: if alone { Duration::ZERO } else { most }, credit: MOST / 2, skipped: 0 }
    }

    pub(crate) fn most(&self) -> Duration {
        self.most
    }

    pub(crate) fn is_worth_it(&mut self) -> bool {
        if self.most.is_zero() {
            return false;
        }
        if self.credit == 0 {
            self.skipped += 1;
            if self.skipped < RETRY {
                return false;
            }
            self.skipped = 0;
        }
        true
    }

    pub(crate) fn paid_off(&mut self) {
        self.credit = (self.credit + 1).min(MOST);
    }

    pub(crate) fn was_in_vain(&mut self) {
        self.credit = self.credit.saturating_sub(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_stops_when_it_never_helps_and_starts_again_when_it_does() {
        let mut spin = Spin { most: Duration::from_micros(1), credit: MOST / 2, skipped: 0 };
        for _ in 0..MOST {
            spin.was_in_vain();
        }
        assert_eq!((0..640).filter(|_| spin.is_worth_it()).count(), 10);
        spin.paid_off();
        assert!(spin.is_worth_it());
    }
}
