//! The author: the one writer of a log. It chains and signs entries, keeps them, has each confirmed by its witnesses,
//! and never waits for them: an entry is written when it is durable here, and witnessed when they get round to it.
//!
//! The log's own copy is the most important one, and the most dangerous: a backup that goes on where it was made would
//! write a second entry in a place that has one. So an author does not chain anything before it knows where its log
//! ends ([`seek`]); what it has to say until then are **drafts**, durable but without a place.
//!
//! How entries come to their witnesses is in [`ask`].
//!
//! It keeps the last [`OWN_ENTRIES_MAX`] entries, with their confirmations. A witness whose last known entry is older
//! than those cannot be shown the way to a new one, and stays without; others are drawn for it in time.

mod ask;
mod kept;
mod seek;

use self::ask::Asks;
use self::seek::Seek;
use crate::act::{Act, BadRecord, World};
use crate::chain::{Chain, entry_hash, path_of, sign};
use crate::fork;
use crate::limits::{DRAFTS_MAX, OWN_ENTRIES_MAX};
use crate::pack::Pack;
use crate::tally::Tally;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, NodeId};
use okapi_wire::peer::entry::{ENTRY_BODY_MAX, EntryHeader, ForkProof, LogMessage, Path, SignedHeader};

/// The writer of a log.
#[derive(Debug)]
pub struct Author {
    log: NodeId,
    lines: BTreeMap<u64, Line>,
    /// The last sequence that is durable: nothing behind it is told.
    told: u64,
    /// What is to be written once the log's end is known, by a number of its own.
    drafts: BTreeMap<u64, (u16, Vec<u8>)>,
    stage: Stage,
    asks: Asks,
    acts: VecDeque<Act>,
}

/// How far an author is.
#[derive(Debug)]
enum Stage {
    /// It looks for the end of its log.
    Seeking(Box<Seek>),
    /// It writes.
    Writing,
    /// Its log was forked, by a copy of it or of its key: it writes no more.
    Forked,
}

/// One entry of one's own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    head: SignedHeader,
    hash: Digest,
    /// What it says; nothing if it came back from others and nobody had it.
    body: Option<Vec<u8>>,
    tally: Tally,
    /// Nobody needs to be asked for it: all drawn have confirmed, or it came back from a witness.
    settled: bool,
}

/// An entry of one's own, to be looked at.
#[derive(Debug, Clone, Copy)]
pub struct LineView<'a> {
    /// Its header, signed.
    pub head: &'a SignedHeader,
    /// Its hash.
    pub hash: Digest,
    /// What it says, if that is known.
    pub body: Option<&'a [u8]>,
    /// Who confirmed it.
    pub tally: &'a Tally,
    /// Whether nobody is asked for it any more.
    pub settled: bool,
}

/// Why something is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The log was forked.
    #[error("the log of this node was forked by a copy of it: part this node and come back under a new number")]
    Forked,
    /// The body is too long.
    #[error("the entry has {bytes} bytes, and at most {ENTRY_BODY_MAX} is allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Too much waits for the end of the log to be found.
    #[error("{DRAFTS_MAX} entries wait for a member that knows where the log ends: connect to one")]
    Full,
}

impl Author {
    /// An author as its kept records leave it. It looks for its log's end first, unless `ask_head` is false: only the
    /// simulator does that, to show what a backup then does.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn open<'a>(
        log: NodeId,
        records: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        ask_head: bool,
        now: Moment,
    ) -> Result<Self, BadRecord> {
        let mut author = Self {
            log,
            lines: BTreeMap::new(),
            told: 0,
            drafts: BTreeMap::new(),
            stage: Stage::Writing,
            asks: Asks::new(ask_head),
            acts: VecDeque::new(),
        };
        kept::open(&mut author, records)?;
        author.told = author.last_sequence();
        author.seek(now);
        author.asks.draw_all(author.lines.iter().filter(|(_, line)| !line.settled).map(|(sequence, _)| *sequence));
        Ok(author)
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When it wants to be called again, at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        match &self.stage {
            Stage::Seeking(seek) => seek.wake_at(),
            Stage::Writing => self.asks.wake_at(),
            Stage::Forked => None,
        }
    }

    /// Does whatever time has made due.
    pub fn go_on(&mut self, world: &World<'_>) {
        self.go_on_seeking(world);
        if matches!(self.stage, Stage::Writing) {
            self.go_on_asking(world);
        }
    }

    /// Writes an entry. It is durable, and told to others, some time after.
    ///
    /// # Errors
    /// [`AppendError`]; nothing is written then.
    pub fn append(&mut self, world: &World<'_>, kind: u16, body: Vec<u8>) -> Result<(), AppendError> {
        if body.len() > ENTRY_BODY_MAX {
            return Err(AppendError::TooLong { bytes: body.len() });
        }
        match self.stage {
            Stage::Forked => return Err(AppendError::Forked),
            Stage::Writing => self.write(world, kind, body),
            Stage::Seeking(_) if self.drafts.len() >= DRAFTS_MAX => return Err(AppendError::Full),
            Stage::Seeking(_) => {
                let number = self.drafts.last_key_value().map_or(0, |(number, _)| number + 1);
                self.acts.push_back(kept::draft(number, kind, &body));
                self.drafts.insert(number, (kind, body));
            }
        }
        Ok(())
    }

    fn write(&mut self, world: &World<'_>, kind: u16, body: Vec<u8>) {
        let (last, previous) = self.lines.last_key_value().map_or((0, Digest([0; 32])), |(at, line)| (*at, line.hash));
        let header = EntryHeader {
            log: self.log,
            sequence: last + 1,
            previous,
            list: *world.rosters.version(),
            stamp: world.stamp(),
            kind,
            body_bytes: body.len() as u32,
            body: okapi_seal::hash(&body),
        };
        let head = sign(world.key, header);
        let line = Line { head, hash: entry_hash(&header), body: Some(body), tally: Tally::default(), settled: false };
        self.put(line);
        self.trim();
        self.acts.push_back(Act::TellWhenKept(last + 1));
    }

    fn write_drafts(&mut self, world: &World<'_>) {
        for (number, (kind, body)) in core::mem::take(&mut self.drafts) {
            self.acts.push_back(kept::without_draft(number));
            self.write(world, kind, body);
        }
    }

    fn put(&mut self, line: Line) {
        self.acts.push_back(kept::line(&line));
        self.lines.insert(line.head.header.sequence, line);
    }

    fn remove(&mut self, sequence: u64) -> Option<Line> {
        let line = self.lines.remove(&sequence)?;
        self.asks.forget(sequence);
        self.acts.push_back(kept::without_line(sequence));
        Some(line)
    }

    fn trim(&mut self) {
        while self.lines.len() > OWN_ENTRIES_MAX {
            let oldest = *self.lines.first_key_value().expect("there are too many").0;
            self.remove(oldest);
        }
    }

    /// Entries up to this sequence are durable: they may be told.
    pub fn kept(&mut self, world: &World<'_>, sequence: u64) {
        let from = self.told + 1;
        self.told = self.told.max(sequence.min(self.last_sequence()));
        if from <= self.told {
            let fresh = self.lines.range(from..=self.told).filter(|(_, line)| !line.settled);
            self.asks.draw_all(fresh.map(|(sequence, _)| *sequence));
        }
        self.go_on(world);
    }

    fn last_sequence(&self) -> u64 {
        self.lines.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }

    /// The headers from one sequence to another, as a path: nothing if some are not known, or they are too many.
    fn path(&self, from: u64, to: u64) -> Option<Path> {
        let whole = self.lines.range(from..=to).count() as u64 == to - from + 1;
        whole.then(|| path_of(self.lines.range(from..=to).map(|(_, line)| line.head.header))).flatten()
    }

    /// Somebody asks for the last entry of this log.
    pub fn asked_head(&mut self, from: NodeId, nonce: u64) {
        let head = self.lines.get(&self.told).map(|line| Box::new(line.head));
        self.acts.push_back(Act::Send(from, LogMessage::Head { log: self.log, nonce, head }));
    }

    /// Somebody asks for entries of this log.
    pub fn asked(&mut self, from: NodeId, nonce: u64, first: u64, last: u64) {
        let mut pack = Pack::default();
        let mut to = last;
        let last = last.min(self.told);
        if first <= last {
            for (sequence, line) in self.lines.range(first..=last) {
                let Some(body) = &line.body else { continue };
                if !pack.add(&line.head, body) {
                    to = sequence - 1;
                    break;
                }
            }
        }
        let entries = LogMessage::Entries { log: self.log, nonce, to, entries: pack.entries };
        self.acts.push_back(Act::Send(from, entries));
    }

    /// Somebody proves that this log was forked.
    pub fn shown_fork(&mut self, proof: &ForkProof) {
        if fork::verify(proof) == Ok(self.log) && !matches!(self.stage, Stage::Forked) {
            self.stage = Stage::Forked;
            self.asks.stop();
            self.acts.push_back(kept::fork(proof));
            self.acts.push_back(Act::Forked(proof.clone()));
        }
    }

    /// The last entry that is durable: its sequence, 0 if there is none, and its hash.
    #[must_use]
    pub fn head(&self) -> (u64, Digest) {
        self.lines.get(&self.told).map_or((0, Digest([0; 32])), |line| (self.told, line.hash))
    }

    /// Its entries, as far back as they are kept.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = LineView<'_>> {
        self.lines.values().map(|line| LineView {
            head: &line.head,
            hash: line.hash,
            body: line.body.as_deref(),
            tally: &line.tally,
            settled: line.settled,
        })
    }

    /// How many entries wait for a witness.
    #[must_use]
    pub fn unwitnessed(&self) -> usize {
        self.asks.open() + self.lines.range(self.told + 1..).count()
    }

    /// How many entries wait for the end of the log to be found.
    #[must_use]
    pub fn drafts(&self) -> usize {
        self.drafts.len()
    }

    /// Whether it is still looking for the end of its log.
    #[must_use]
    pub const fn is_seeking(&self) -> bool {
        matches!(self.stage, Stage::Seeking(_))
    }

    /// Whether its log was forked.
    #[must_use]
    pub const fn is_forked(&self) -> bool {
        matches!(self.stage, Stage::Forked)
    }
}

/// The proof that a line and another header, signed, are two entries in one place; nothing if they are not.
fn proof_between(line: &Line, other: &SignedHeader) -> Option<ForkProof> {
    let chain = Chain::of(&Path { first: other.header, rest: Vec::new() })?;
    fork::prove(&line.head, &chain, other.header.sequence, other.signature)
}

#[cfg(test)]
mod tests;
