//! Letters in and out: numbers and sessions, so that none is read twice, late or from nowhere.

use super::refusal::Refusal;
use crate::limits::{FUTURE_TOLERANCE, LETTER_AGE_MAX, LETTER_MAX, PAYLOAD_MAX};
use crate::machine::{Blob, Output};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use okapi_base::NodeId;
use okapi_base::machine::Moment;
use okapi_wire::peer::letter::{Body, Letter};

/// How many letters may overtake one before it is taken for a replay.
const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// A letter on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) to: NodeId,
    pub(crate) body: Body,
    pub(crate) payload: Blob,
}

/// What was received of one node.
#[derive(Debug, Default)]
struct Inbox {
    session: u64,
    highest: u64,
    seen: [u64; WORDS],
}

/// The numbers of letters sent and received.
#[derive(Debug)]
pub(crate) struct Post {
    session: u64,
    sent: BTreeMap<NodeId, u64>,
    inboxes: BTreeMap<NodeId, Inbox>,
}

/// Milliseconds since 1970 at `now`.
pub(crate) fn stamp(now: Moment) -> u64 {
    u64::try_from(now.0.as_millis()).expect("the clock is not 500 million years off")
}

impl Post {
    pub(crate) fn new(now: Moment) -> Self {
        Self { session: stamp(now), sent: BTreeMap::new(), inboxes: BTreeMap::new() }
    }

    /// The output that sends a letter.
    pub(crate) fn send(&mut self, now: Moment, mail: Mail) -> (u64, Output) {
        let number = self.sent.entry(mail.to).or_default();
        *number += 1;
        let letter = Letter { session: self.session, number: *number, stamp: stamp(now), body: mail.body };
        (*number, Output::Send { to: mail.to, letter: letter.to_bytes(), payload: mail.payload })
    }

    /// Opens a letter that came from `from`, once; and whether it is the first since its sender was started anew.
    pub(crate) fn open(
        &mut self,
        now: Moment,
        from: NodeId,
        letter: &[u8],
        payload: &Blob,
    ) -> Result<(Letter, bool), Refusal> {
        if letter.len() > LETTER_MAX || payload.len() > PAYLOAD_MAX {
            return Err(Refusal::Oversized);
        }
        let letter = Letter::parse(letter).map_err(|_| Refusal::Malformed)?;
        let now = stamp(now);
        if letter.stamp > now.saturating_add(FUTURE_TOLERANCE.as_millis() as u64) {
            return Err(Refusal::FromTheFuture);
        }
        if letter.stamp.saturating_add(LETTER_AGE_MAX.as_millis() as u64) < now {
            return Err(Refusal::TooOld);
        }
        // A session begins before its letters are sent; one from the future would lock out the sender's next ones.
        if letter.session > letter.stamp {
            return Err(Refusal::FromTheFuture);
        }
        let inbox = self.inboxes.entry(from).or_default();
        let before = inbox.session;
        inbox.take(letter.session, letter.number)?;
        let anew = ![0, letter.session].contains(&before);
        Ok((letter, anew))
    }

    /// The session of a node's last letter; nothing if there was none since this node was started.
    pub(crate) fn session_of(&self, node: NodeId) -> Option<u64> {
        self.inboxes.get(&node).map(|inbox| inbox.session)
    }

    /// Forgets what was received of a node: strangers are not to fill the memory.
    pub(crate) fn forget(&mut self, from: NodeId) {
        self.inboxes.remove(&from);
    }
}

impl Inbox {
    fn take(&mut self, session: u64, number: u64) -> Result<(), Refusal> {
        if session < self.session || number == 0 {
            return Err(Refusal::Replayed);
        }
        if session > self.session {
            *self = Self { session, ..Self::default() };
        }
        if number > self.highest {
            let skipped = (number - self.highest).min(WINDOW);
            for ahead in 1..=skipped {
                self.mark(number - skipped + ahead, false);
            }
            self.highest = number;
        } else if self.highest - number >= WINDOW || self.is_marked(number) {
            return Err(Refusal::Replayed);
        }
        self.mark(number, true);
        Ok(())
    }

    fn is_marked(&self, number: u64) -> bool {
        let at = number % WINDOW;
        self.seen[(at / 64) as usize] >> (at % 64) & 1 == 1
    }

    fn mark(&mut self, number: u64, seen: bool) {
        let at = number % WINDOW;
        let word = &mut self.seen[(at / 64) as usize];
        *word = *word & !(1 << (at % 64)) | u64::from(seen) << (at % 64);
    }
}

/// No payload.
pub(crate) fn nothing() -> Blob {
    Arc::new([])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::time::Duration;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(1_000_000 + seconds))
    }

    fn letter(post: &mut Post, now: Moment) -> Vec<u8> {
        let mail = Mail { to: NodeId([2; 32]), body: Body::JoinNo(1), payload: nothing() };
        match post.send(now, mail).1 {
            Output::Send { letter, .. } => letter,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_letter_is_read_once_in_any_order() {
        let (mut here, mut there) = (Post::new(at(0)), Post::new(at(0)));
        let letters: Vec<_> = (0..3000).map(|_| letter(&mut here, at(1))).collect();
        let from = NodeId([1; 32]);
        for pair in letters.chunks(2) {
            for letter in pair.iter().rev() {
                assert!(there.open(at(2), from, letter, &nothing()).is_ok_and(|(_, anew)| !anew));
            }
        }
        for letter in &letters {
            assert_eq!(there.open(at(3), from, letter, &nothing()), Err(Refusal::Replayed));
        }
        // After a restart of the sender its old letters are worth nothing, its new ones are.
        let mut again = Post::new(at(5));
        let fresh = letter(&mut again, at(5));
        let late = letter(&mut here, at(5));
        assert!(there.open(at(6), from, &fresh, &nothing()).is_ok_and(|(_, anew)| anew));
        assert_eq!(there.open(at(6), from, &late, &nothing()), Err(Refusal::Replayed));
    }

    #[test]
    fn letters_far_from_now_or_too_large_are_refused_by_name() {
        let (mut here, mut there) = (Post::new(at(0)), Post::new(at(0)));
        let from = NodeId([1; 32]);
        let early = letter(&mut here, at(0));
        let late = LETTER_AGE_MAX.as_secs() + 1;
        assert_eq!(there.open(at(late), from, &early, &nothing()), Err(Refusal::TooOld));
        let ahead = letter(&mut here, at(FUTURE_TOLERANCE.as_secs() + 1));
        assert_eq!(there.open(at(0), from, &ahead, &nothing()), Err(Refusal::FromTheFuture));
        assert_eq!(there.open(at(0), from, &[0; LETTER_MAX + 1], &nothing()), Err(Refusal::Oversized));
        assert_eq!(there.open(at(0), from, &early[..20], &nothing()), Err(Refusal::Malformed));
        assert!(there.open(at(0), from, &early, &nothing()).is_ok());
    }
}
