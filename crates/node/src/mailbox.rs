//! What other threads have to say to a reactor.

use crate::shared::Seat;
use okapi_grid::Outbox;
use okapi_link::Link;
use okapi_store::Payload;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// One connection of a reactor: its place, and which of the connections that had the place in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) slot: usize,
    pub(crate) life: u64,
}

/// What there is to say.
pub(crate) enum Letter {
    /// A new connection.
    Link(Box<dyn Link>, Seat),
    /// Something that a connection waited for may be there.
    Drive(Key),
    /// A disk worker's answer to a connection's frame, and how many bytes were expected of it.
    Answer { key: Key, outbox: Outbox<Payload>, expected: usize },
    /// End every connection in good order, and then yourself.
    Stop,
    /// The same, but keep what you listen on: somebody else will.
    Retire,
}

/// A reactor's letters.
pub(crate) struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    /// Something happened since the reactor last looked.
    news: AtomicBool,
    /// Some engine's durability has moved on.
    durable: AtomicBool,
    /// The reactor sleeps or is about to.
    asleep: AtomicBool,
    waker: mio::Waker,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailbox")
    }
}

/// What a look into the mailbox found besides letters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct News {
    /// Some engine's durability has moved on.
    pub(crate) durable: bool,
}

impl Mailbox {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Self {
            letters: Mutex::new(Vec::new()),
            news: AtomicBool::new(false),
            durable: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            waker,
        }
    }

    pub(crate) fn post(&self, letter: Letter) {
        self.letters.lock().push(letter);
        self.tell();
    }

    pub(crate) fn drive(&self, key: Key) {
        self.post(Letter::Drive(key));
    }

    pub(crate) fn durable_moved(&self) {
        self.durable.store(true, Ordering::SeqCst);
        self.tell();
    }

    fn tell(&self) {
        // One wake-up is enough until the reactor has looked; and a reactor that is awake looks before it sleeps.
        if !self.news.swap(true, Ordering::SeqCst)
            && self.asleep.load(Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!("a reactor could not be woken: {error}");
        }
    }

    /// Takes all letters (into `into`, which must be empty), or nothing if nothing has happened.
    pub(crate) fn look(&self, into: &mut Vec<Letter>) -> Option<News> {
        if !self.news.load(Ordering::Relaxed) || !self.news.swap(false, Ordering::SeqCst) {
            return None;
        }
        let durable = self.durable.swap(false, Ordering::SeqCst);
        std::mem::swap(&mut *self.letters.lock(), into);
        Some(News { durable })
    }

    /// Whether a look would find something.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// Says that the reactor is about to sleep. False: there is news, do not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if self.news.load(Ordering::SeqCst) {
            self.asleep.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    pub(crate) fn woke_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> (mio::Poll, std::sync::Arc<Self>) {
        let poll = mio::Poll::new().expect("a poll");
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        (poll, std::sync::Arc::new(Self::new(waker)))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.letters.lock().is_empty()
    }
}
