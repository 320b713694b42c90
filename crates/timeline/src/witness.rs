//! The witness: keeps entries of others' logs and signs, for each, that it will never keep another in its place.
//!
//! By the rules of transparency logs' witnesses: what it signs is durable before the signature leaves, and it signs
//! nothing that does not come from, or lead to, the last entry it knows of the log. So whoever forks a log must keep
//! all its earlier witnesses away from one of the branches for ever. What it is shown that fits in neither place is a
//! fork, and the two signatures under it are the proof.
//!
//! Of each log it keeps the last signed header it knows, a few headers before that, and the entries it was drawn for,
//! the last [`LOG_ENTRIES_MAX`] of them: with these, and those of the other witnesses, an author that lost its disk
//! finds its log again. Forgetting an old entry breaks no promise: another in its place would not lead to the head.

mod kept;

use crate::act::{Act, BadRecord, World};
use crate::chain::{Chain, entry_hash, has_its_body, is_by_author, is_signed};
use crate::fork;
use crate::limits::{LOG_BYTES_MAX, LOG_ENTRIES_MAX, LOGS_MAX, TAIL_MAX, WITNESS_BYTES_MAX};
use crate::pack::Pack;
use crate::tally;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use okapi_base::{Digest, NodeId};
use okapi_wire::peer::SignatureBytes;
use okapi_wire::peer::entry::{Confirmation, Entry, EntryHeader, ForkProof, LogMessage, No, Path, SignedHeader};
use okapi_wire::peer::member::Version;

/// What one node keeps of others' logs.
#[derive(Debug, Default)]
pub struct Witness {
    logs: BTreeMap<NodeId, Log>,
    forks: BTreeMap<NodeId, ForkProof>,
    /// Bytes of the bodies of all entries.
    bytes: usize,
    acts: VecDeque<Act>,
}

/// What it keeps of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Log {
    /// The last signed header known.
    head: SignedHeader,
    /// Its hash.
    hash: Digest,
    /// The headers up to and including it, as far back as they are kept.
    tail: VecDeque<EntryHeader>,
    /// The entries it was drawn for.
    entries: BTreeMap<u64, Entry>,
    /// Bytes of their bodies.
    bytes: usize,
}

impl Witness {
    /// A witness as its kept records leave it.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn open<'a>(records: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, BadRecord> {
        kept::open(records)
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// An author wants entries confirmed. Tells why it does not get that, if it sent what it should not have.
    pub fn submitted(
        &mut self,
        world: &World<'_>,
        from: NodeId,
        list: Version,
        path: &Path,
        entries: Vec<Entry>,
    ) -> Option<No> {
        let log = path.first.log;
        let sequence = entries.last().map_or(path.first.sequence, |entry| entry.head.header.sequence);
        let no = match self.judge(world, from, &list, path, &entries) {
            Ok(chain) => self.connect(world, &chain, list, entries),
            Err(no) => Err(no),
        };
        let why = no.err()?;
        self.acts.push_back(Act::Send(from, LogMessage::Refused { log, sequence, why }));
        Some(why)
    }

    /// Whether what was submitted is what it says, looking at nothing that is kept of the log.
    fn judge(
        &self,
        world: &World<'_>,
        from: NodeId,
        list: &Version,
        path: &Path,
        entries: &[Entry],
    ) -> Result<Chain, No> {
        let log = path.first.log;
        if log != from || entries.is_empty() {
            return Err(No::Bad);
        }
        if !world.rosters.present().contains(log) {
            return Err(No::NotAMember);
        }
        let roster = world.rosters.get(list).ok_or(No::UnknownList)?;
        let chain = Chain::of(path).ok_or(No::Bad)?;
        let mut before = 0;
        for entry in entries {
            let header = &entry.head.header;
            let named = chain.at(header.sequence).ok_or(No::Bad)?;
            if header.sequence <= before || named.0 != *header || !has_its_body(entry) {
                return Err(No::Bad);
            }
            before = header.sequence;
            let drawn = roster.draw(log, header.sequence, &list.digest, world.draw_by(named.1));
            if !drawn.contains(NodeId(world.key.public())) {
                return Err(No::NotDrawn);
            }
            if !is_by_author(log, &named.1, &entry.head.signature) {
                return Err(No::Bad);
            }
        }
        Ok(chain)
    }

    /// Confirms entries if they and the head are of one chain.
    fn connect(&mut self, world: &World<'_>, chain: &Chain, list: Version, entries: Vec<Entry>) -> Result<(), No> {
        let log = chain.first().0.log;
        let last = entries.last().expect("it was judged").head;
        if let Some(proof) = self.forks.get(&log) {
            self.acts.push_back(Act::Send(log, LogMessage::Forked(Box::new(proof.clone()))));
            return Ok(());
        }
        match self.logs.get(&log) {
            None if self.logs.len() >= LOGS_MAX => return Err(No::Busy),
            None => {}
            Some(known) => match chain.at(known.head.header.sequence) {
                Some((_, hash)) if *hash == known.hash => {}
                found => {
                    let leads_elsewhere = found.is_some();
                    if let Some(proof) = known.fork_in(chain, &entries) {
                        self.forked(proof);
                        return Ok(());
                    }
                    if leads_elsewhere {
                        return Err(No::Bad);
                    }
                    self.say_known(log, last.header.sequence);
                    return Ok(());
                }
            },
        }
        let confirmations: Vec<Confirmation> = entries
            .iter()
            .map(|entry| tally::confirm(world.key, &entry.head.header, entry_hash(&entry.head.header), list))
            .collect();
        self.advance(chain, &last);
        self.keep(log, entries);
        let told = tally::combine(&confirmations).into_iter().map(|message| Act::SendWhenKept(log, message));
        self.acts.extend(told);
        Ok(())
    }

    /// Moves the head of a log on to `end`, which is in `chain` and signed, if that is later.
    fn advance(&mut self, chain: &Chain, end: &SignedHeader) {
        let log = end.header.log;
        let known = self.logs.entry(log).or_insert_with(|| Log {
            head: *end,
            hash: entry_hash(&end.header),
            tail: VecDeque::new(),
            entries: BTreeMap::new(),
            bytes: 0,
        });
        if end.header.sequence < known.head.header.sequence
            || (end.header.sequence == known.head.header.sequence && !known.tail.is_empty())
        {
            return;
        }
        let from = known.tail.back().map_or(0, |last| last.sequence);
        known.tail.extend(
            chain
                .iter()
                .map(|(header, _)| *header)
                .filter(|header| header.sequence > from && header.sequence <= end.header.sequence),
        );
        let over = known.tail.len().saturating_sub(TAIL_MAX);
        known.tail.drain(..over);
        known.head = *end;
        known.hash = entry_hash(&end.header);
        self.acts.push_back(kept::head(known));
    }

    fn keep(&mut self, log: NodeId, entries: Vec<Entry>) {
        let known = self.logs.get_mut(&log).expect("it has a head");
        for entry in entries {
            let sequence = entry.head.header.sequence;
            if known.entries.contains_key(&sequence) {
                continue;
            }
            self.acts.push_back(kept::entry(&entry));
            self.bytes += entry.body.len();
            known.bytes += entry.body.len();
            known.entries.insert(sequence, entry);
        }
        while self.logs[&log].is_over() {
            self.forget_oldest(log);
        }
        while self.bytes > WITNESS_BYTES_MAX {
            let largest = self.logs.iter().max_by_key(|(log, known)| (known.bytes, **log)).map(|(log, _)| *log);
            self.forget_oldest(largest.expect("bytes lie in some log"));
        }
    }

    fn forget_oldest(&mut self, log: NodeId) {
        let known = self.logs.get_mut(&log).expect("only known logs have entries");
        let (_, entry) = known.entries.pop_first().expect("a log over its limit has entries");
        known.bytes -= entry.body.len();
        self.bytes -= entry.body.len();
        self.acts.push_back(kept::without_entry(&entry));
    }

    fn say_known(&mut self, log: NodeId, sequence: u64) {
        let Some(known) = self.logs.get(&log) else { return };
        let (known, hash) = (known.head.header.sequence, known.hash);
        self.acts.push_back(Act::Send(log, LogMessage::Known { log, sequence, known, hash }));
    }

    /// An author shows a piece of the way from the last entry known here.
    pub fn advanced(&mut self, from: NodeId, path: &Path, signature: SignatureBytes) -> Option<No> {
        let chain = match Chain::of(path) {
            Some(chain) if path.first.log == from && is_by_author(from, &chain.last().1, &signature) => chain,
            _ => return Some(No::Bad),
        };
        let known = self.logs.get(&from)?;
        let end = SignedHeader { header: chain.last().0, signature };
        match chain.at(known.head.header.sequence) {
            Some((_, hash)) if *hash == known.hash => self.advance(&chain, &end),
            Some(_) => {
                if let Some(proof) = fork::prove(&known.head, &chain, end.header.sequence, signature) {
                    self.forked(proof);
                }
                return None;
            }
            None => {}
        }
        self.say_known(from, end.header.sequence);
        None
    }

    /// Somebody shows a signed header of a log: its author's answer, or what another was told. If it and what is known
    /// here are two entries in one place, that is a fork.
    pub fn saw(&mut self, head: &SignedHeader) {
        let Some(known) = self.logs.get(&head.header.log) else { return };
        let sequence = head.header.sequence;
        let ours = if sequence == known.head.header.sequence {
            Some(known.head)
        } else {
            known.entries.get(&sequence).map(|entry| entry.head)
        };
        if let Some(ours) = ours.filter(|ours| ours.header != head.header && is_signed(head)) {
            let chain = Chain::of(&Path { first: head.header, rest: Vec::new() }).expect("one header is a path");
            if let Some(proof) = fork::prove(&ours, &chain, sequence, head.signature) {
                self.forked(proof);
            }
        }
    }

    /// Somebody shows a proof of a fork. Tells whether it is one that was not known; only of logs whose author is or
    /// was in the group should be asked.
    pub fn shown(&mut self, proof: ForkProof) -> Result<bool, fork::NotAFork> {
        let log = fork::verify(&proof)?;
        if self.forks.contains_key(&log) || self.forks.len() >= LOGS_MAX {
            return Ok(false);
        }
        self.forked(proof);
        Ok(true)
    }

    fn forked(&mut self, proof: ForkProof) {
        let log = proof.one.header.log;
        if self.forks.contains_key(&log) {
            return;
        }
        self.acts.push_back(kept::fork(&proof));
        self.acts.push_back(Act::SendWhenKept(log, LogMessage::Forked(Box::new(proof.clone()))));
        self.acts.push_back(Act::Forked(proof.clone()));
        self.forks.insert(log, proof);
    }

    /// The last entry known of a log.
    #[must_use]
    pub fn head(&self, log: NodeId) -> Option<&SignedHeader> {
        self.logs.get(&log).map(|known| &known.head)
    }

    /// The hash of the last entry known of a log, and its sequence.
    #[must_use]
    pub fn head_hash(&self, log: NodeId) -> Option<(u64, Digest)> {
        self.logs.get(&log).map(|known| (known.head.header.sequence, known.hash))
    }

    /// Somebody asks for the last entry known of a log.
    pub fn asked_head(&mut self, from: NodeId, log: NodeId, nonce: u64) {
        let head = self.head(log).copied().map(Box::new);
        self.acts.push_back(Act::Send(from, LogMessage::Head { log, nonce, head }));
    }

    /// Somebody asks for entries of a log that are kept here. If it is the author itself, it also gets the last
    /// headers: among them may be entries that nobody kept.
    pub fn asked(&mut self, from: NodeId, log: NodeId, nonce: u64, first: u64, last: u64) {
        let mut pack = Pack::default();
        let mut to = last;
        if let Some(known) = self.logs.get(&log).filter(|_| first <= last) {
            for (sequence, entry) in known.entries.range(first..=last) {
                if !pack.add(&entry.head, &entry.body) {
                    to = sequence - 1;
                    break;
                }
            }
            let whole = crate::chain::path_of(known.tail.iter().copied());
            if let Some(path) = whole.filter(|_| from == log && to == last && known.head.header.sequence >= first) {
                self.acts.push_back(Act::Send(from, LogMessage::Advance { path, signature: known.head.signature }));
            }
        }
        self.acts.push_back(Act::Send(from, LogMessage::Entries { log, nonce, to, entries: pack.entries }));
    }

    /// The logs that are known to be forked, with the proofs.
    pub fn forks(&self) -> impl Iterator<Item = (NodeId, &ForkProof)> {
        self.forks.iter().map(|(log, proof)| (*log, proof))
    }

    /// Whether a log is known to be forked.
    #[must_use]
    pub fn is_forked(&self, log: NodeId) -> bool {
        self.forks.contains_key(&log)
    }

    /// The entries that are kept of a log.
    pub fn entries(&self, log: NodeId) -> impl Iterator<Item = &Entry> {
        self.logs.get(&log).into_iter().flat_map(|known| known.entries.values())
    }

    /// The logs of which something is kept.
    pub fn logs(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.logs.keys().copied()
    }
}

impl Log {
    fn is_over(&self) -> bool {
        self.entries.len() > LOG_ENTRIES_MAX || (self.bytes > LOG_BYTES_MAX && self.entries.len() > 1)
    }

    /// The proof that what was submitted lies beside what is known, if it can be proven: by another entry in the place
    /// of one that is kept, or by an entry that comes after another in the head's place.
    fn fork_in(&self, chain: &Chain, entries: &[Entry]) -> Option<ForkProof> {
        let beside = entries.iter().find_map(|entry| {
            let sequence = entry.head.header.sequence;
            fork::prove(&self.entries.get(&sequence)?.head, chain, sequence, entry.head.signature)
        });
        let after = || {
            entries
                .iter()
                .find_map(|entry| fork::prove(&self.head, chain, entry.head.header.sequence, entry.head.signature))
        };
        beside.or_else(after)
    }
}

#[cfg(test)]
mod tests;
