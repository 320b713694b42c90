//! How to wait for what a client asks next.

use okapi_client::Spin;
use std::io;
use std::time::{Duration, Instant};

/// How to wait for what a client asks next: look again and again for a short while if that pays off, then sleep.
pub(crate) struct Wait<'a> {
    is_ready: &'a dyn Fn() -> bool,
    spin: Spin,
}

impl<'a> Wait<'a> {
    /// `is_ready` tells whether something has come; `spin`: how long to look for it at most.
    pub(crate) fn new(is_ready: &'a dyn Fn() -> bool, spin: Duration) -> Self {
        Self { is_ready, spin: Spin::new(spin) }
    }

    /// Whether something has come.
    pub(crate) fn is_ready(&self) -> bool {
        (self.is_ready)()
    }

    /// Waits, in the end by `sleep`, which returns what has come.
    pub(crate) fn until<T>(&mut self, sleep: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let began = Instant::now();
        if let Some(longest) = self.spin.now() {
            while !self.is_ready() {
                if began.elapsed() >= longest {
                    self.spin.in_vain();
                    break;
                }
                std::hint::spin_loop();
            }
        }
        let done = sleep();
        self.spin.waited(began.elapsed());
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn looks_only_while_that_pays_off() {
        let looked = Cell::new(0);
        let after_three = || {
            looked.set(looked.get() + 1);
            looked.get() % 3 == 0
        };
        let mut wait = Wait::new(&after_three, Duration::from_secs(600));
        for _ in 0..8 {
            wait.until(|| Ok(())).unwrap();
        }
        assert!(looked.get() >= 3 && looked.get() % 3 == 0, "{looked:?}: it has learned that something comes at once");
        looked.set(0);
        let mut never = Wait::new(&after_three, Duration::ZERO);
        for _ in 0..100 {
            never.until(|| Ok(())).unwrap();
        }
        assert_eq!(looked.get(), 0);
    }
}
