//! How work in the background gives way: it measures its own steps and sleeps in proportion while programs are served.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// While programs are served, the background sleeps so many times as long as its step took.
const YIELD: u32 = 1;
/// The longest such sleep.
const YIELD_MAX: Duration = Duration::from_millis(250);
/// Programs count as being served for so long after they asked for something.
const BUSY_FOR: Duration = Duration::from_millis(500);

/// What the background goes by.
pub(crate) struct Pace {
    started: Instant,
    /// When programs were last served, in milliseconds since `started`.
    served: AtomicU64,
    /// Somebody waits for the background: then it hurries.
    hurry: AtomicU64,
    stopping: AtomicBool,
    paused: Mutex<Option<String>>,
    changed: Condvar,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            served: AtomicU64::new(0),
            hurry: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            paused: Mutex::new(None),
            changed: Condvar::new(),
        }
    }

    /// A program was served just now.
    pub(crate) fn served(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.served.store(now + 1, Relaxed);
    }

    /// Somebody begins, or ceases, to wait for the background.
    pub(crate) fn hurry(&self, on: bool) {
        if on {
            self.hurry.fetch_add(1, Relaxed)
        } else {
            self.hurry.fetch_sub(1, Relaxed)
        };
    }

    /// Pauses the background, with the reason; without one it goes on.
    pub(crate) fn pause(&self, why: Option<String>) {
        *self.paused.lock() = why;
        self.changed.notify_all();
    }

    /// Why it pauses.
    pub(crate) fn paused(&self) -> Option<String> {
        self.paused.lock().clone()
    }

    /// Ends all waiting, for good.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        // Under the lock, so that nobody decides to wait just before this and misses it.
        drop(self.paused.lock());
        self.changed.notify_all();
    }

    /// Does one step of the background's work, and rests after it if programs are being served.
    pub(crate) fn step<T>(&self, step: impl FnOnce() -> T) -> T {
        let mut paused = self.paused.lock();
        while paused.is_some() && !self.stopping.load(Relaxed) {
            self.changed.wait(&mut paused);
        }
        drop(paused);
        let begun = Instant::now();
        let done = step();
        let rest = self.rest_after(begun.elapsed());
        if !rest.is_zero() {
            let mut paused = self.paused.lock();
            if !self.stopping.load(Relaxed) {
                self.changed.wait_for(&mut paused, rest);
            }
        }
        done
    }

    fn rest_after(&self, took: Duration) -> Duration {
        if self.hurry.load(Relaxed) > 0 || !self.is_serving() {
            return Duration::ZERO;
        }
        (took * YIELD).min(YIELD_MAX)
    }

    /// Whether programs are being served.
    pub(crate) fn is_serving(&self) -> bool {
        let now = self.started.elapsed();
        match self.served.load(Relaxed) {
            0 => false,
            served => now.saturating_sub(Duration::from_millis(served - 1)) < BUSY_FOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_while_programs_are_served_and_nobody_waits_for_it() {
        let pace = Pace::new();
        let took = Duration::from_millis(40);
        assert_eq!(pace.rest_after(took), Duration::ZERO);
        pace.served();
        assert_eq!(pace.rest_after(took), took);
        assert_eq!(pace.rest_after(took * 1000), YIELD_MAX);
        pace.hurry(true);
        assert_eq!(pace.rest_after(took), Duration::ZERO);
        pace.hurry(false);
        assert_eq!(pace.rest_after(took), took);
    }

    #[test]
    fn paused_it_waits_until_it_may_go_on_or_must_stop() {
        let pace = Pace::new();
        pace.pause(Some("on battery".to_owned()));
        assert_eq!(pace.paused().as_deref(), Some("on battery"));
        std::thread::scope(|scope| {
            let step = scope.spawn(|| pace.step(|| 7));
            assert!(!step.is_finished());
            pace.pause(None);
            assert_eq!(step.join().unwrap(), 7);
            pace.pause(Some("again".to_owned()));
            let step = scope.spawn(|| pace.step(|| 8));
            pace.stop();
            assert_eq!(step.join().unwrap(), 8);
        });
    }
}
