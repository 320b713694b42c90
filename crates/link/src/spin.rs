//! Whether to look again and again for a short while before sleeping.

use std::time::Duration;

/// Confidence at which looking begins, and the most there is.
const BEGIN: u32 = 4;
const MOST: u32 = 8;

/// Learns from how long somebody had to wait, whether it spun or slept, if spinning pays off.
#[derive(Debug)]
pub struct Spin {
    longest: Duration,
    confidence: u32,
}

impl Spin {
    /// Spins for `longest` at most; zero: never.
    #[must_use]
    pub fn new(longest: Duration) -> Self {
        Self { longest, confidence: 0 }
    }

    /// How long to spin now, if at all.
    #[must_use]
    pub fn now(&self) -> Option<Duration> {
        (self.confidence >= BEGIN && !self.longest.is_zero()).then_some(self.longest)
    }

    /// Something came after a wait of `gap`.
    pub fn waited(&mut self, gap: Duration) {
        if gap <= self.longest {
            self.confidence = (self.confidence + 1).min(MOST);
        } else {
            self.confidence /= 2;
        }
    }

    /// A whole spin brought nothing.
    pub fn in_vain(&mut self) {
        self.confidence = self.confidence.saturating_sub(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spins_only_while_it_pays_off() {
        let micros = Duration::from_micros;
        let mut spin = Spin::new(micros(50));
        assert_eq!(spin.now(), None, "nothing is known yet");
        for _ in 0..BEGIN {
            spin.waited(micros(20));
        }
        assert_eq!(spin.now(), Some(micros(50)));
        for _ in 0..MOST {
            spin.in_vain();
            spin.waited(Duration::from_secs(1));
        }
        assert_eq!(spin.now(), None, "an idle node sleeps");
        let mut never = Spin::new(Duration::ZERO);
        for _ in 0..100 {
            never.waited(Duration::ZERO);
        }
        assert_eq!(never.now(), None);
    }
}
