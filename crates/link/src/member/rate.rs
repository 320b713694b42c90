//! How many bytes a second may pass, over all links together.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The longest wait in seconds: the rate may be another one by then.
const LONGEST: f64 = 1.0;
/// For how long the full rate may have gone unused and still be used.
const BURST: Duration = Duration::from_millis(250);

/// A bucket into which `rate` tokens fall each second. Bytes are passed first and paid for then: the bucket may be in
/// debt, and whoever finds it so waits. So a piece need not be smaller than the bucket, and the rate holds on the whole.
#[derive(Debug)]
pub(crate) struct Rate {
    rate: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    at: Instant,
}

impl Rate {
    /// Bytes a second; 0 is no limit.
    pub(crate) fn new(rate: u64, now: Instant) -> Self {
        Self { rate: AtomicU64::new(rate), state: Mutex::new(State { tokens: 0.0, at: now }) }
    }

    /// From now on so many bytes a second. A debt stays, and is paid at the new rate.
    pub(crate) fn set(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// How long to wait before anything more may pass. Nothing while there is no debt.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let rate = self.rate();
        if rate == 0 {
            return Duration::ZERO;
        }
        let debt = -self.state.lock().refill(now, rate).tokens;
        if debt > 0.0 { Duration::from_secs_f64((debt / rate as f64).min(LONGEST)) } else { Duration::ZERO }
    }

    /// Pays for bytes that passed.
    pub(crate) fn pay(&self, now: Instant, bytes: usize) {
        let rate = self.rate();
        if rate > 0 {
            self.state.lock().refill(now, rate).tokens -= bytes as f64;
        }
    }

    /// Bytes that should pass at a time, at most `most`: so few that others get their turn often.
    pub(crate) fn portion(&self, most: usize) -> usize {
        let rate = self.rate();
        if rate == 0 { most } else { (rate as usize / 16).clamp(4096.min(most), most) }
    }
}

impl State {
    fn refill(&mut self, now: Instant, rate: u64) -> &mut Self {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate as f64).min(BURST.as_secs_f64() * rate as f64);
        self.at = self.at.max(now);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_rate_holds_on_the_whole() {
        let mut now = Instant::now();
        let (begin, rate) = (now, Rate::new(1000, now));
        let mut passed = 0;
        for _ in 0..100 {
            now += rate.wait(now);
            rate.pay(now, 300);
            passed += 300;
        }
        let seconds = (now - begin).as_secs_f64();
        assert!((f64::from(passed - 300) / seconds - 1000.0).abs() < 1.0, "{passed} bytes in {seconds} s");
    }

    #[test]
    fn what_goes_unused_is_not_saved_for_long() {
        let now = Instant::now();
        let rate = Rate::new(1000, now);
        let later = now + SECOND * 3600;
        rate.pay(later, 250);
        assert_eq!(rate.wait(later), Duration::ZERO, "a quarter of a second's worth was there");
        rate.pay(later, 500);
        assert_eq!(rate.wait(later), SECOND / 2);
        assert_eq!(rate.wait(later + SECOND / 4), SECOND / 4);
        // A clock that was read earlier, by another thread.
        assert_eq!(rate.wait(now), SECOND / 4);
    }

    #[test]
    fn a_new_rate_holds_at_once() {
        let now = Instant::now();
        let rate = Rate::new(1, now);
        rate.pay(now, 1000);
        assert_eq!(rate.wait(now), SECOND, "and is looked at again then");
        rate.set(2000);
        assert_eq!(rate.wait(now), SECOND / 2);
        rate.set(0);
        assert_eq!(rate.wait(now), Duration::ZERO);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let now = Instant::now();
        let rate = Rate::new(0, now);
        rate.pay(now, usize::MAX);
        assert_eq!(rate.wait(now), Duration::ZERO);
        assert_eq!(rate.portion(1 << 20), 1 << 20);
        assert_eq!(Rate::new(160_000, now).portion(1 << 20), 10_000);
        assert_eq!(Rate::new(1, now).portion(1 << 20), 4096);
        assert_eq!(Rate::new(u64::MAX, now).portion(1 << 20), 1 << 20);
    }
}
