//! The bell that wakes a sleeping end, rung only for one who has said that it is about to sleep.
//!
//! No wake-up is lost, because each side first shows and then looks:
//!
//! ```text
//! sleeper                         ringer
//! says what it waits for          makes it true (bytes, room, closed)
//! fence                           fence
//! looks whether it is true        looks whether anybody waits for it
//! ```
//!
//! The fences are sequentially consistent, so of the two looks at least one sees what the other side has shown:
//! either the sleeper finds it true and does not sleep, or the ringer finds the sleeper and rings.
//!
//! Whoever takes the word away (by swapping it for `NOTHING`) owns what follows from it: the ringer rings exactly
//! once for a word it took, and a sleeper that finds its own word gone knows that exactly one ring is due, now or in
//! a moment. So the count in the eventfd is always settled, and never stays behind to wake somebody for nothing.

use crate::link::Interest;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, retry_on_intr, write};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering, fence};

const NOTHING: u8 = 0;
const RECEIVE: u8 = 1;
const SEND: u8 = 2;
const BOTH: u8 = 3;

/// What one end sleeps by and the other rings.
#[derive(Debug)]
pub(super) struct Bell {
    waits: AtomicU8,
    count: OwnedFd,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let count = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { waits: AtomicU8::new(NOTHING), count })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.count.as_fd()
    }

    /// Wakes the sleeper if there is one and `worthy` says that what it waits for is now true. To be called after
    /// making it so.
    #[inline]
    pub(super) fn ring(&self, worthy: impl FnOnce(Interest) -> bool) {
        fence(Ordering::SeqCst);
        let interest = match self.waits.load(Ordering::Relaxed) {
            NOTHING => return,
            RECEIVE => Interest::Receive,
            SEND => Interest::Send,
            _ => Interest::Both,
        };
        if worthy(interest) && self.waits.swap(NOTHING, Ordering::SeqCst) != NOTHING {
            let written = retry_on_intr(|| write(&self.count, &1u64.to_ne_bytes()));
            // Not to ring would be to let the other end sleep for ever.
            assert_eq!(written, Ok(8), "an eventfd takes a count of one");
        }
    }
}

/// The sleeper's own side of its bell.
#[derive(Debug, Default)]
pub(super) struct Sleeper {
    armed: bool,
    /// Rings made or about to be made that have not been heard.
    due: u64,
}

impl Sleeper {
    /// Says what it waits for. To be called before looking whether that is already true.
    pub(super) fn arm(&mut self, bell: &Bell, interest: Interest) {
        let word = match interest {
            Interest::Receive => RECEIVE,
            Interest::Send => SEND,
            Interest::Both => BOTH,
        };
        bell.waits.store(word, Ordering::SeqCst);
        self.armed = true;
        fence(Ordering::SeqCst);
    }

    /// Says that it is awake.
    pub(super) fn disarm(&mut self, bell: &Bell) {
        if self.armed {
            self.armed = false;
            if bell.waits.swap(NOTHING, Ordering::SeqCst) == NOTHING {
                self.due += 1;
            }
        }
    }

    /// Hears the rings that are due, as far as they have been made. Enters the kernel only if one is due.
    pub(super) fn hear(&mut self, bell: &Bell) {
        if self.due == 0 {
            return;
        }
        let mut count = [0; 8];
        match retry_on_intr(|| read(&bell.count, &mut count)) {
            Ok(_) => {
                let heard = u64::from_ne_bytes(count);
                self.due = self.due.checked_sub(heard).expect("nobody rings without taking the sleeper's word");
            }
            // The ringer is between taking the word and ringing: this ring is heard another time.
            Err(error) => assert_eq!(error, Errno::AGAIN, "an eventfd is read or is empty"),
        }
    }
}

#[cfg(test)]
mod tests;
