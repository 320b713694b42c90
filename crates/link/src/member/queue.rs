//! Letters that wait for one node: bounded in bytes, and not for ever.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A letter on its way out.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) letter: Vec<u8>,
    pub(crate) payload: Arc<[u8]>,
    /// When it was handed over.
    pub(crate) since: Instant,
}

impl Letter {
    pub(crate) fn bytes(&self) -> usize {
        self.letter.len() + self.payload.len()
    }
}

/// Bytes that wait for all nodes together.
#[derive(Debug)]
pub(crate) struct Waiting {
    bytes: AtomicUsize,
    most: usize,
}

impl Waiting {
    pub(crate) fn new(most: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), most }
    }
}

/// The letters for one node. Those whose payload needs the other end's go are apart, so that the others overtake them.
#[derive(Debug)]
pub(crate) struct Queue {
    small: VecDeque<Letter>,
    large: VecDeque<Letter>,
    bytes: usize,
    most: usize,
    all: Arc<Waiting>,
}

impl Queue {
    /// An empty one for at most `most` bytes.
    pub(crate) fn new(most: usize, all: Arc<Waiting>) -> Self {
        Self { small: VecDeque::new(), large: VecDeque::new(), bytes: 0, most, all }
    }

    /// Takes a letter in, or drops it if too many bytes wait already. One alone always finds room.
    pub(crate) fn push(&mut self, letter: Letter) -> bool {
        let bytes = letter.bytes();
        let full = self.bytes + bytes > self.most || self.all.bytes.load(Ordering::Relaxed) + bytes > self.all.most;
        if full && !self.is_empty() {
            return false;
        }
        self.count_in(bytes);
        let line = if is_large(&letter) { &mut self.large } else { &mut self.small };
        line.push_back(letter);
        true
    }

    /// Gives back a letter that was taken out and not sent. It has its room still, whatever came meanwhile.
    pub(crate) fn put_back(&mut self, letter: Letter) {
        self.count_in(letter.bytes());
        let line = if is_large(&letter) { &mut self.large } else { &mut self.small };
        line.push_front(letter);
    }

    /// The next letter that can be sent at once.
    pub(crate) fn next_small(&mut self) -> Option<Letter> {
        let letter = self.small.pop_front()?;
        self.count_out(letter.bytes());
        Some(letter)
    }

    /// The next letter that needs a go.
    pub(crate) fn next_large(&mut self) -> Option<Letter> {
        let letter = self.large.pop_front()?;
        self.count_out(letter.bytes());
        Some(letter)
    }

    /// Drops what has waited for longer than `age`, and says how many letters that was.
    pub(crate) fn expire(&mut self, now: Instant, age: Duration) -> usize {
        let mut dropped = 0;
        let mut bytes = 0;
        for line in [&mut self.small, &mut self.large] {
            line.retain(|letter| {
                let fresh = now.saturating_duration_since(letter.since) < age;
                if !fresh {
                    dropped += 1;
                    bytes += letter.bytes();
                }
                fresh
            });
        }
        self.count_out(bytes);
        dropped
    }

    /// When the first of the letters will have waited for `age`.
    pub(crate) fn expires(&self, age: Duration) -> Option<Instant> {
        let oldest = [self.small.front(), self.large.front()].into_iter().flatten().map(|letter| letter.since).min();
        oldest.map(|since| since + age)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn count_in(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn count_out(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.all.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.count_out(self.bytes);
    }
}

fn is_large(letter: &Letter) -> bool {
    letter.payload.len() > okapi_wire::peer::link::INLINE_MAX
}
