//! Memory that all connections of a node share, and who waits for it.

use crate::mailbox::{Key, Mailbox};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes that may be in use at a time, for all connections together.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    anyone_waits: AtomicBool,
    waiting: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    /// Bytes that must be free.
    need: usize,
    mailbox: Arc<Mailbox>,
    key: Key,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0), anyone_waits: AtomicBool::new(false), waiting: Mutex::new(Vec::new()) }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn anyone_waits(&self) -> bool {
        self.anyone_waits.load(Ordering::Relaxed)
    }

    /// Has `key` woken once `need` bytes are free.
    pub(crate) fn wait(&self, need: usize, mailbox: &Arc<Mailbox>, key: Key) {
        let need = need.min(self.limit);
        let mut waiting = self.waiting.lock();
        waiting.retain(|one| one.key != key || !Arc::ptr_eq(&one.mailbox, mailbox));
        waiting.push(Waiting { need, mailbox: mailbox.clone(), key });
        self.anyone_waits.store(true, Ordering::SeqCst);
        drop(waiting);
        // Whoever gave back before it saw somebody wait has told nobody.
        self.tell();
    }

    fn tell(&self) {
        let free = self.limit.saturating_sub(self.used.load(Ordering::SeqCst));
        let mut waiting = self.waiting.lock();
        waiting.retain(|one| {
            let goes = one.need <= free;
            if goes {
                one.mailbox.drive(one.key);
            }
            !goes
        });
        self.anyone_waits.store(!waiting.is_empty(), Ordering::SeqCst);
    }
}

/// What one connection has of a budget.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    /// Bytes every connection may have for nothing.
    free: usize,
    /// Whoever has something already takes more only while so many times of it are free: 1 for first come, first
    /// served; with more, many greedy ones leave room for a modest one.
    modesty: usize,
    charged: usize,
}

impl Charge {
    pub(crate) fn new(budget: Arc<Budget>, free: usize, modesty: usize) -> Self {
        assert!(modesty > 0);
        Self { budget, free, modesty, charged: 0 }
    }

    /// Makes the charge fit `total` bytes if the budget allows it, or says how many bytes of it must be free first.
    pub(crate) fn cover(&mut self, total: usize) -> Result<(), usize> {
        let wanted = total.saturating_sub(self.free);
        let more = wanted.saturating_sub(self.charged);
        if more == 0 {
            return Ok(());
        }
        let mut used = self.budget.used.load(Ordering::Relaxed);
        loop {
            let free = self.budget.limit.saturating_sub(used);
            let modest = self.modesty > 1 && self.charged > 0;
            let need = if modest { wanted.saturating_mul(self.modesty) } else { more };
            if need > free {
                return Err(need);
            }
            match self.budget.used.compare_exchange_weak(used, used + more, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => used = now,
            }
        }
        self.charged = wanted;
        Ok(())
    }

    /// Makes the charge fit `total` bytes that are there already, whatever the budget says.
    pub(crate) fn settle(&mut self, total: usize) {
        let wanted = total.saturating_sub(self.free);
        if wanted > self.charged {
            self.budget.used.fetch_add(wanted - self.charged, Ordering::SeqCst);
        } else if wanted < self.charged {
            self.budget.used.fetch_sub(self.charged - wanted, Ordering::SeqCst);
            if self.budget.anyone_waits.load(Ordering::SeqCst) {
                self.budget.tell();
            }
        }
        self.charged = wanted;
    }

    /// Bytes this connection may have more than the `total` it has, as things are.
    pub(crate) fn room(&self, total: usize) -> usize {
        let share = self.budget.limit.saturating_sub(self.budget.used()) / self.modesty;
        (self.free + share.max(self.charged)).saturating_sub(total)
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.free = 0;
        self.settle(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_charges_together_stay_within_the_limit() {
        let budget = Arc::new(Budget::new(1000));
        let mut all: Vec<Charge> = (0..50).map(|_| Charge::new(budget.clone(), 10, 4)).collect();
        for round in 1..40 {
            for charge in &mut all {
                let _ = charge.cover(10 + round * 10);
                assert!(budget.used() <= 1000);
            }
        }
        assert!(budget.used() > 800, "greedy ones get most of it: {}", budget.used());
        let mut modest = Charge::new(budget.clone(), 10, 4);
        modest.cover(20).expect("a modest one still finds room");
        drop(all);
        assert_eq!(budget.used(), 10);
        drop(modest);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn who_waits_is_woken_when_enough_is_free() {
        let budget = Arc::new(Budget::new(100));
        let (_poll, mailbox) = Mailbox::for_test();
        let mut holder = Charge::new(budget.clone(), 0, 1);
        holder.cover(80).unwrap();
        let mut other = Charge::new(budget.clone(), 0, 1);
        let need = other.cover(50).unwrap_err();
        budget.wait(need, &mailbox, Key { slot: 3, life: 1 });
        assert!(mailbox.is_empty());
        holder.settle(60);
        assert!(mailbox.is_empty(), "40 bytes are not 50");
        holder.settle(50);
        assert!(!mailbox.is_empty());
        other.cover(50).unwrap();
    }
}
