//! Finds where one's own log ends, before anything is written: everyone else is asked for the last entry they know.
//!
//! The search ends
//! - at once, when every other node that is counted on has answered, or there is none;
//! - [`HEAD_PATIENCE`] after the first answer, when all of them but one have: an entry has two witnesses, so one of the
//!   last entry's is among those who answered;
//! - [`HEAD_PATIENCE_MAX`] after the first answer, with whatever came, unless nothing of the log is known here at all.
//!
//! What is written meanwhile waits, and is kept. (Considered: the word of more than half. The simulator found worlds in
//! which the two who knew the end were in the other half, and the log was forked when they came back. The risk that is
//! left: the log is a backup, and two who know its end are away for a week, or longer than is usual for them.)
//!
//! What lies behind the last entry known here is fetched from its witnesses. Entries written here that nobody confirmed
//! and that are not in the log as the others know it are written again behind its end: they are from before a restore,
//! and were never told. One that somebody confirmed and that is not in it is a fork.

use super::{Author, Line, Stage, proof_between};
use crate::act::{Act, World};
use crate::chain::{Chain, entry_hash, has_its_body, is_by_author, is_signed, sign};
use crate::draw::WITNESSES;
use crate::limits::{
    FETCH_PATIENCE, HEAD_PATIENCE, HEAD_PATIENCE_MAX, OWN_ENTRIES_MAX, RETRY_FIRST, RETRY_MAX, retry_after,
};
use crate::tally::Tally;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, NodeId};
use okapi_wire::peer::SignatureBytes;
use okapi_wire::peer::entry::{Entry, EntryHeader, LogMessage, Path, SignedHeader};

/// A header, and what its entry says if that is known.
type Found = (EntryHeader, Option<Vec<u8>>);

/// A search.
#[derive(Debug)]
pub(super) struct Seek {
    /// Comes back in answers.
    nonce: u64,
    /// Who is asked, and when again.
    asked: BTreeMap<NodeId, Asked>,
    first_answer: Option<Moment>,
    /// The last entry anyone told.
    best: Option<SignedHeader>,
    fetch: Option<Fetch>,
    next: Option<Moment>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    next: Moment,
    tries: u32,
    answered: bool,
    /// How far it has told the entries it has.
    told: u64,
}

/// The entries that are fetched, once it is known where the log ends.
#[derive(Debug)]
struct Fetch {
    from: u64,
    to: u64,
    until: Moment,
    found: BTreeMap<(u64, Digest), Found>,
}

impl Seek {
    pub(super) const fn wake_at(&self) -> Option<Moment> {
        self.next
    }

    /// Who is to be asked now, of those who have not said all yet.
    fn due(&mut self, world: &World<'_>, others: &[NodeId]) -> Vec<(NodeId, Asked)> {
        let mut due = Vec::new();
        self.asked.retain(|node, _| others.contains(node));
        let last = self.fetch.as_ref().map(|fetch| fetch.to);
        for node in others {
            let asked = self.asked.entry(*node).or_default();
            let done = last.map_or(asked.answered, |last| asked.told >= last);
            if !done && asked.next <= world.now && (world.is_here)(*node) {
                asked.next = Moment(world.now.0 + retry_after(asked.tries));
                asked.tries = (asked.tries + 1).min(16);
                due.push((*node, *asked));
            }
        }
        due
    }

    fn set_next(&mut self, now: Moment) {
        let patience = match (&self.fetch, self.first_answer) {
            (Some(fetch), _) => Some(fetch.until),
            (None, Some(first)) => {
                let ends = [HEAD_PATIENCE, HEAD_PATIENCE_MAX].map(|patience| Moment(first.0 + patience));
                ends.into_iter().find(|end| *end > now)
            }
            (None, None) => None,
        };
        let last = self.fetch.as_ref().map(|fetch| fetch.to);
        let waiting = |asked: &&Asked| last.map_or(!asked.answered, |last| asked.told < last) && asked.tries > 0;
        let again = self.asked.values().filter(waiting).map(|asked| asked.next.max(Moment(now.0 + RETRY_FIRST)));
        // Whoever is waited for may cease to be counted on.
        self.next = Some(again.chain(patience).min().unwrap_or(Moment(now.0 + RETRY_MAX)));
    }

    /// Whether nothing is missing any more, or nobody is left who could have it.
    fn is_all_there(&self, lines: &BTreeMap<u64, Line>, to: u64) -> bool {
        let (way, whole) = self.way(lines);
        let bodies = || way.iter().all(|(_, body)| body.is_some());
        let told = || self.asked.values().filter(|asked| asked.tries > 0).all(|asked| asked.told >= to);
        whole && (bodies() || told())
    }

    /// What there is on the way back from the last entry, the last first, as far as it is known: down to an entry of
    /// one's own log, or to the first of all. Tells whether it got there.
    fn way(&self, lines: &BTreeMap<u64, Line>) -> (Vec<Found>, bool) {
        let mut way = Vec::new();
        let (Some(best), Some(fetch)) = (&self.best, &self.fetch) else { return (way, true) };
        let (mut sequence, mut hash) = (best.header.sequence, entry_hash(&best.header));
        while sequence > 0 && way.len() < OWN_ENTRIES_MAX {
            if lines.get(&sequence).is_some_and(|line| line.hash == hash) {
                return (way, true);
            }
            let found = fetch.found.get(&(sequence, hash)).cloned();
            let at_best = (sequence == best.header.sequence).then_some((best.header, None));
            let Some(one) = found.or(at_best) else { return (way, false) };
            (sequence, hash) = (sequence - 1, one.0.previous);
            way.push(one);
        }
        (way, true)
    }
}

impl Author {
    /// Begins to look for the end of the log.
    pub(super) fn seek(&mut self, now: Moment) {
        if matches!(self.stage, Stage::Forked) || !self.asks.ask_head {
            return;
        }
        let nonce = u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX);
        let next = Some(now);
        let asked = BTreeMap::new();
        let seek = Seek { nonce, asked, first_answer: None, best: None, fetch: None, next };
        self.stage = Stage::Seeking(Box::new(seek));
    }

    /// The node is in another group now: somebody there may know more of its log than itself.
    pub fn seek_again(&mut self, world: &World<'_>) {
        self.seek(world.now);
        self.go_on(world);
    }

    pub(super) fn seek_back(&mut self, now: Moment, node: NodeId) {
        if let Stage::Seeking(seek) = &mut self.stage {
            let asked = seek.asked.entry(node).or_default();
            *asked = Asked { next: now, tries: 0, ..*asked };
            seek.next = Some(now);
        } else if let Some((from, to)) = self.hole() {
            let nonce = 0;
            self.acts.push_back(Act::Send(node, LogMessage::AskEntries { log: self.log, nonce, from, to }));
        }
    }

    pub(super) fn go_on_seeking(&mut self, world: &World<'_>) {
        let Stage::Seeking(seek) = &mut self.stage else { return };
        let others: Vec<NodeId> = world.rosters.present().nodes().filter(|node| *node != self.log).collect();
        if seek.next.is_none_or(|next| next > world.now) && !others.is_empty() {
            return;
        }
        for (node, asked) in seek.due(world, &others) {
            let (log, nonce) = (self.log, seek.nonce);
            let message = match &seek.fetch {
                None => LogMessage::AskHead { log, nonce },
                Some(fetch) => {
                    LogMessage::AskEntries { log, nonce, from: fetch.from.max(asked.told + 1), to: fetch.to }
                }
            };
            self.acts.push_back(Act::Send(node, message));
        }
        let over = match &seek.fetch {
            None => self.is_end_known(world, &others),
            Some(fetch) => fetch.until <= world.now || seek.is_all_there(&self.lines, fetch.to),
        };
        if over {
            self.take_up(world);
        }
        if let Stage::Seeking(seek) = &mut self.stage {
            seek.set_next(world.now);
        }
    }

    /// An entry has two witnesses. So if at most one of those who may know the end has not answered, a witness of the
    /// last entry has.
    fn is_end_known(&self, world: &World<'_>, others: &[NodeId]) -> bool {
        let Stage::Seeking(seek) = &self.stage else { return false };
        let has_answered = |node: NodeId| seek.asked.get(&node).is_some_and(|asked| asked.answered);
        let missing = others.iter().filter(|node| !has_answered(**node) && (world.is_counted_on)(**node)).count();
        if missing == 0 {
            return true;
        }
        let Some(first) = seek.first_answer else { return false };
        let waited = world.now.0.saturating_sub(first.0);
        (missing < WITNESSES && waited >= HEAD_PATIENCE) || (!self.lines.is_empty() && waited >= HEAD_PATIENCE_MAX)
    }

    /// The end is known: fetches what lies before it, or, if that is here, begins to write.
    fn take_up(&mut self, world: &World<'_>) {
        let Stage::Seeking(seek) = &mut self.stage else { return };
        if let (Some(best), None) = (&seek.best, &seek.fetch) {
            let to = best.header.sequence;
            let last = self.lines.last_key_value().map_or(0, |(last, _)| *last);
            // One that lies before the end, and is missing here, is no contradiction.
            let known = self.lines.get(&to).map_or(to < last, |line| line.head.header == best.header);
            if !known {
                let first = self.lines.first_key_value().map_or(1, |(first, _)| *first);
                // If the log as known here is not the beginning of that of the others, it is compared from its start.
                let from = if last < to { last + 1 } else { first };
                let from = from.max(to.saturating_sub(OWN_ENTRIES_MAX as u64 - 1)).max(1);
                let until = Moment(world.now.0 + FETCH_PATIENCE);
                seek.fetch = Some(Fetch { from, to, until, found: BTreeMap::new() });
                seek.asked.values_mut().for_each(|asked| *asked = Asked { answered: true, ..Asked::default() });
                seek.next = Some(world.now);
                return self.go_on_seeking(world);
            }
        }
        let (way, _) = seek.way(&self.lines);
        self.stage = Stage::Writing;
        self.adopt(world, way);
        if matches!(self.stage, Stage::Writing) {
            self.asks.draw_all([]);
            self.write_drafts(world);
        }
    }

    /// Goes on behind what the others know.
    fn adopt(&mut self, world: &World<'_>, way: Vec<Found>) {
        let Some(lowest) = way.last().map(|(header, _)| header.sequence) else { return };
        let highest = way[0].0.sequence;
        let beside: Vec<u64> = self.lines.range(lowest..).map(|(sequence, _)| *sequence).collect();
        let confirmed = |sequence: &u64| !self.lines[sequence].tally.confirmations().is_empty();
        if beside.iter().any(confirmed)
            && let Some(sequence) = beside.iter().find(|sequence| **sequence <= highest)
        {
            let header = way[(highest - sequence) as usize].0;
            let other = sign(world.key, header);
            let proof = proof_between(&self.lines[sequence], &other).expect("two entries are in one place");
            return self.shown_fork(&proof);
        }
        self.told = self.told.min(lowest - 1);
        let mut again = Vec::new();
        for sequence in beside {
            let line = self.remove(sequence).expect("it was just seen");
            again.extend(line.body.map(|body| (line.head.header.kind, body)));
        }
        self.put_before_drafts(again);
        for (header, body) in way.into_iter().rev() {
            let head = sign(world.key, header);
            self.put(Line { head, hash: entry_hash(&header), body, tally: Tally::default(), settled: true });
        }
        self.trim();
        self.acts.push_back(Act::TellWhenKept(self.last_sequence()));
        self.acts.push_back(Act::Behind);
    }

    fn put_before_drafts(&mut self, again: Vec<(u16, Vec<u8>)>) {
        // They are written in this very call, together with the drafts: no record of them is needed.
        let drafts = core::mem::take(&mut self.drafts);
        let count = again.len() as u64;
        self.drafts.extend((0..).zip(again));
        for (number, (kind, body)) in drafts {
            self.acts.push_back(super::kept::without_draft(number));
            self.drafts.insert(count + number, (kind, body));
        }
    }

    /// Somebody says which is the last entry of this log it knows. Tells whether what it shows is an entry of it.
    pub fn told_head(&mut self, world: &World<'_>, from: NodeId, nonce: u64, head: Option<&SignedHeader>) -> bool {
        if head.is_some_and(|head| head.header.log != self.log || !is_signed(head)) {
            return false;
        }
        match &mut self.stage {
            Stage::Seeking(seek) if seek.nonce == nonce && seek.fetch.is_none() => {
                let Some(asked) = seek.asked.get_mut(&from) else { return true };
                asked.answered = true;
                seek.first_answer.get_or_insert(world.now);
                if let Some(head) = head
                    && seek.best.is_none_or(|best| best.header.sequence < head.header.sequence)
                {
                    seek.best = Some(*head);
                }
                seek.next = Some(world.now);
            }
            _ => {
                if let Some(head) = head {
                    self.met_head(world, head);
                }
            }
        }
        self.go_on(world);
        true
    }

    /// Entries of this log came that somebody has kept.
    pub fn told_entries(&mut self, world: &World<'_>, from: NodeId, nonce: u64, to: u64, entries: Vec<Entry>) -> bool {
        let good = |entry: &Entry| entry.head.header.log == self.log && has_its_body(entry) && is_signed(&entry.head);
        if !entries.iter().all(good) {
            return false;
        }
        match &mut self.stage {
            Stage::Seeking(seek) if seek.nonce == nonce => {
                let (Some(fetch), Some(asked)) = (&mut seek.fetch, seek.asked.get_mut(&from)) else { return true };
                if to > asked.told {
                    *asked = Asked { told: to.min(fetch.to), next: world.now, tries: 1, ..*asked };
                }
                for entry in entries {
                    let header = entry.head.header;
                    if (fetch.from..=fetch.to).contains(&header.sequence) {
                        fetch.found.insert((header.sequence, entry_hash(&header)), (header, Some(entry.body)));
                    }
                }
                seek.next = Some(world.now);
            }
            _ => self.fill_hole(entries.into_iter().map(|entry| (entry.head, Some(entry.body)))),
        }
        self.go_on(world);
        true
    }

    /// The last headers of this log came that somebody knows.
    pub fn told_path(&mut self, world: &World<'_>, path: &Path, signature: SignatureBytes) -> bool {
        let chain = match Chain::of(path) {
            Some(chain) if path.first.log == self.log && is_by_author(self.log, &chain.last().1, &signature) => chain,
            _ => return false,
        };
        match &mut self.stage {
            Stage::Seeking(seek) => {
                if let Some(fetch) = &mut seek.fetch {
                    for (header, hash) in chain.iter().filter(|(h, _)| (fetch.from..=fetch.to).contains(&h.sequence)) {
                        fetch.found.entry((header.sequence, *hash)).or_insert((*header, None));
                    }
                    seek.next = Some(world.now);
                }
            }
            _ => self.fill_hole(chain.iter().map(|(header, _)| (sign(world.key, *header), None))),
        }
        self.go_on(world);
        true
    }

    /// The last entries of this log that are missing here, if any are that would be kept.
    fn hole(&self) -> Option<(u64, u64)> {
        let last = self.last_sequence();
        let oldest = last.saturating_sub(OWN_ENTRIES_MAX as u64) + 1;
        let first = *self.lines.first_key_value()?.0;
        if (last - first + 1) as usize == self.lines.len() && first <= oldest {
            return None;
        }
        let mut expected = last;
        for sequence in self.lines.keys().rev() {
            if *sequence != expected {
                return Some((sequence + 1, expected));
            }
            expected -= 1;
        }
        Some((oldest, expected))
    }

    /// Entries that were missing came: those are taken that lead to one that is here.
    fn fill_hole(&mut self, came: impl DoubleEndedIterator<Item = (SignedHeader, Option<Vec<u8>>)>) {
        let Some((from, to)) = self.hole() else { return };
        for (head, body) in came.rev() {
            let sequence = head.header.sequence;
            let hash = entry_hash(&head.header);
            let leads = |next: &Line| next.head.header.previous == hash;
            if (from..=to).contains(&sequence) && self.lines.get(&(sequence + 1)).is_some_and(leads) {
                self.put(Line { head, hash, body, tally: Tally::default(), settled: true });
            }
        }
    }
}
