//! When to try again: later each time, up to a cap, and not all at the same moment.

use std::time::Duration;

/// Delays that double from the first to a cap, each of them shortened by up to half by chance, so that many clients
/// of one node that went away do not come back all at once. The chance is the seed's alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
    dice: u64,
}

impl Backoff {
    /// Delays from `first` up to `cap` (the smaller of both, if they are the wrong way round).
    #[must_use]
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Self {
        let first = first.min(cap);
        Self { first, cap, next: first, dice: seed }
    }

    /// How long to wait before the next attempt: between half and all of this attempt's delay.
    #[must_use]
    pub fn delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.cap);
        whole / 2 + (whole / 2).mul_f64(self.chance())
    }

    /// It worked: the next delay is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next number from 0 to below 1: splitmix64, of which the upper 53 bits fit a double exactly.
    fn chance(&mut self) -> f64 {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(10);
    const CAP: Duration = Duration::from_secs(5);

    #[test]
    fn delays_double_up_to_the_cap_and_begin_again() {
        for seed in 0..1000 {
            let mut backoff = Backoff::new(FIRST, CAP, seed);
            for _ in 0..2 {
                for attempt in 0..100 {
                    let whole = FIRST.saturating_mul(1 << attempt.min(20)).min(CAP);
                    let delay = backoff.delay();
                    assert!(delay >= whole / 2 && delay <= whole, "seed {seed}, attempt {attempt}: {delay:?}");
                }
                backoff.reset();
            }
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let delays = |seed| {
            let mut backoff = Backoff::new(FIRST, CAP, seed);
            (0..20).map(|_| backoff.delay()).collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }

    #[test]
    fn extremes_do_no_harm() {
        let mut none = Backoff::new(Duration::ZERO, Duration::ZERO, 1);
        assert_eq!(none.delay(), Duration::ZERO);
        let mut endless = Backoff::new(Duration::MAX, Duration::MAX, 1);
        assert!(endless.delay() >= Duration::MAX / 2 && endless.delay() <= Duration::MAX);
        assert!(Backoff::new(CAP, FIRST, 1).delay() <= FIRST);
    }
}
