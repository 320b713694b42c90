//! What parents show, kept in memory once for all their children.
//!
//! A parent cannot change, so nothing here is ever out of date: a page is either here or read again. Which pages go when
//! there are too many is decided by a clock: those that were looked at since its hand last passed get another round.

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Bytes of a page.
pub(crate) const PAGE: usize = 64 << 10;
/// Pages whose slots are allocated together.
const CHAPTER: u64 = 256;

/// The limit that all pages share.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Bytes at most.
    limit: usize,
    clock: Mutex<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    bytes: usize,
    hand: VecDeque<(Weak<Pages>, u64, usize)>,
}

/// The pages of what one disk shows.
#[derive(Debug)]
pub(crate) struct Pages {
    chapters: Box<[OnceLock<Box<[Slot]>>]>,
}

type Slot = RwLock<Option<Arc<Page>>>;

/// A page: what is at its place, or nothing for zeros.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: Box<[u8]>,
    /// Since the clock's hand last passed.
    touched: AtomicBool,
}

impl Page {
    /// A page of these bytes; all zeros take no memory.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let kept: &[u8] = if crate::puts::is_zero(bytes) { &[] } else { bytes };
        Self { bytes: kept.into(), touched: AtomicBool::new(false) }
    }

    /// Copies what is at `from` in the page.
    pub(crate) fn copy(&self, from: usize, into: &mut [u8]) {
        if self.bytes.is_empty() {
            into.fill(0);
        } else {
            into.copy_from_slice(&self.bytes[from..from + into.len()]);
        }
    }

    /// Bytes of memory it takes; the smallest stands for what surrounds it.
    fn cost(&self) -> usize {
        self.bytes.len() + 64
    }
}

impl Pages {
    /// Of what is `size` bytes long; none is here.
    pub(crate) fn new(size: u64) -> Self {
        let chapters = size.div_ceil(PAGE as u64).div_ceil(CHAPTER);
        Self { chapters: (0..chapters).map(|_| OnceLock::new()).collect() }
    }

    /// A page, if it is here. The guard is to be held for a copy and no longer.
    pub(crate) fn get(&self, page: u64) -> Option<RwLockReadGuard<'_, Option<Arc<Page>>>> {
        let guard = self.slot(page)?.read();
        let found = guard.as_ref()?;
        if !found.touched.load(Ordering::Relaxed) {
            found.touched.store(true, Ordering::Relaxed);
        }
        Some(guard)
    }

    fn slot(&self, page: u64) -> Option<&Slot> {
        self.chapters[(page / CHAPTER) as usize].get().map(|chapter| &chapter[(page % CHAPTER) as usize])
    }
}

impl Cache {
    /// A cache of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, clock: Mutex::default() }
    }

    /// Keeps a page.
    pub(crate) fn keep(&self, pages: &Arc<Pages>, number: u64, page: Page) {
        let cost = page.cost();
        if cost > self.limit {
            return;
        }
        let chapter = pages.chapters[(number / CHAPTER) as usize]
            .get_or_init(|| (0..CHAPTER).map(|_| RwLock::new(None)).collect());
        let mut slot = chapter[(number % CHAPTER) as usize].write();
        if slot.is_some() {
            // Somebody else was faster; what a parent shows is always the same.
            return;
        }
        *slot = Some(Arc::new(page));
        drop(slot);
        let mut clock = self.clock.lock();
        clock.bytes += cost;
        clock.hand.push_back((Arc::downgrade(pages), number, cost));
        while clock.bytes > self.limit {
            let Some((pages, number, cost)) = clock.hand.pop_front() else { break };
            if let Some(alive) = pages.upgrade() {
                let mut slot = alive.slot(number).expect("a page in the clock has a slot").write();
                if slot.as_ref().is_some_and(|page| page.touched.swap(false, Ordering::Relaxed)) {
                    drop(slot);
                    clock.hand.push_back((pages, number, cost));
                    continue;
                }
                *slot = None;
            }
            clock.bytes -= cost;
        }
    }

    /// Bytes kept now.
    pub(crate) fn bytes(&self) -> usize {
        self.clock.lock().bytes
    }

    /// Forgets the pages of what nobody has open any more.
    pub(crate) fn forget_closed(&self) {
        let mut clock = self.clock.lock();
        let mut freed = 0;
        clock.hand.retain(|(pages, _, cost)| {
            let alive = pages.strong_count() > 0;
            freed += if alive { 0 } else { *cost };
            alive
        });
        clock.bytes -= freed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_stays_and_the_limit_holds() {
        let cache = Cache::new(4 * (PAGE + 64));
        let pages = Arc::new(Pages::new(100 * PAGE as u64));
        let page = |number: u64| Page::new(&vec![number as u8 + 1; PAGE]);
        for number in 0..50 {
            cache.keep(&pages, number, page(number));
            assert!(cache.bytes() <= 4 * (PAGE + 64));
            let mut bytes = [0; 3];
            pages.get(0).expect("it is looked at each time").as_ref().unwrap().copy(PAGE - 3, &mut bytes);
            assert_eq!(bytes, [1; 3]);
        }
        assert!(pages.get(49).is_some() && pages.get(20).is_none() && pages.get(99).is_none());
        drop(pages);
        cache.forget_closed();
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn zeros_take_next_to_nothing() {
        let cache = Cache::new(PAGE);
        let pages = Arc::new(Pages::new(1 << 40));
        for number in 0..100 {
            cache.keep(&pages, number * 1000, Page::new(&[0; PAGE]));
        }
        assert_eq!(cache.bytes(), 6400);
        let mut bytes = [7; 9];
        pages.get(99_000).unwrap().as_ref().unwrap().copy(5, &mut bytes);
        assert_eq!(bytes, [0; 9]);
    }
}
