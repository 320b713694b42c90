//! How entries come to their witnesses. Each link to a witness has at most one message out: what is written meanwhile
//! goes together with the next, so that a round costs one message a link and not one an entry. A witness that does not
//! answer is asked again, each time later; one that is away is asked when it comes back.
//!
//! Witnesses are drawn under the list that the author has when it asks. They are drawn anew if one is no member any
//! more, does not know that list while the author knows a newer one, or has been silent for [`REDRAW_AFTER`] while the
//! list went on. Whoever confirms under an earlier draw is counted under that.

use super::{Author, Line, Stage, proof_between};
use crate::act::{Act, World};
use crate::draw::Witnesses;
use crate::limits::{AWAY, REDRAW_AFTER, ROUND, retry_after};
use crate::pack::Pack;
use crate::tally::Counted;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, NodeId};
use okapi_wire::peer::entry::{Confirmation, Entry, LogMessage, No, PATH_MAX, Path, SignedHeader};
use okapi_wire::peer::member::Version;

/// How often in a row a witness may say what it knows and be answered at once.
const HASTY_MAX: u32 = 4;

/// What is asked of whom.
#[derive(Debug)]
pub(super) struct Asks {
    /// Whether the author goes by what others say of its log's end.
    pub(super) ask_head: bool,
    /// Entries that need witnesses to be drawn.
    undrawn: BTreeSet<u64>,
    /// Entries for which there was nobody to draw.
    alone: BTreeSet<u64>,
    /// Entries that wait for witnesses.
    open: BTreeMap<u64, Open>,
    links: BTreeMap<NodeId, Link>,
    /// The member list when it was last looked at.
    seen: Option<Version>,
    next: Option<Moment>,
}

/// An entry that waits for its witnesses.
#[derive(Debug)]
struct Open {
    list: Version,
    witnesses: Witnesses,
    since: Moment,
}

/// A witness that is asked.
#[derive(Debug, Default)]
struct Link {
    /// The last entry it said it knows.
    known: Option<(u64, Digest)>,
    /// What it has not confirmed.
    todo: BTreeSet<u64>,
    next: Moment,
    tries: u32,
}

/// What can be sent to a witness now.
enum Batch {
    Submit(Version, Path, Vec<Entry>),
    Advance(Path),
    /// It knows an entry that this log has not, or has otherwise.
    Strange,
    /// It lies so far behind an entry the witness knows that it cannot be shown any more.
    TooOld(u64),
    /// Headers on the way to it are not known here.
    NoWay,
}

impl Asks {
    pub(super) const fn new(ask_head: bool) -> Self {
        Self {
            ask_head,
            undrawn: BTreeSet::new(),
            alone: BTreeSet::new(),
            open: BTreeMap::new(),
            links: BTreeMap::new(),
            seen: None,
            next: None,
        }
    }

    pub(super) fn draw_all(&mut self, sequences: impl IntoIterator<Item = u64>) {
        self.undrawn.extend(sequences);
        if !self.undrawn.is_empty() {
            self.next = Some(Moment::default());
        }
    }

    /// An entry needs no more witnesses, or is no more.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.undrawn.remove(&sequence);
        self.alone.remove(&sequence);
        if let Some(open) = self.open.remove(&sequence) {
            for witness in open.witnesses.iter() {
                if let Some(link) = self.links.get_mut(&witness) {
                    link.todo.remove(&sequence);
                }
            }
        }
    }

    fn redraw(&mut self, sequence: u64) {
        self.forget(sequence);
        self.undrawn.insert(sequence);
    }

    pub(super) fn stop(&mut self) {
        *self = Self { seen: self.seen, ..Self::new(self.ask_head) };
    }

    pub(super) fn open(&self) -> usize {
        self.undrawn.len() + self.alone.len() + self.open.len()
    }

    pub(super) const fn wake_at(&self) -> Option<Moment> {
        self.next
    }

    /// Somebody new can be drawn, or somebody drawn is no member any more.
    fn follow_list(&mut self, world: &World<'_>) {
        self.seen = Some(*world.rosters.version());
        self.undrawn.append(&mut self.alone);
        let roster = world.rosters.present();
        let is_gone = |open: &Open| open.witnesses.iter().any(|witness| !roster.contains(witness));
        let gone: Vec<u64> = self.open.iter().filter(|(_, open)| is_gone(open)).map(|(at, _)| *at).collect();
        gone.into_iter().for_each(|sequence| self.redraw(sequence));
        self.links.retain(|witness, _| roster.contains(*witness));
    }

    fn link(&mut self, witness: NodeId, sequence: u64, world: &World<'_>) {
        let fresh = Link { next: Moment(world.now.0 + ROUND), ..Link::default() };
        let link = self.links.entry(witness).or_insert(fresh);
        if link.todo.is_empty() && link.tries == 0 {
            link.next = Moment(world.now.0 + ROUND);
        }
        link.todo.insert(sequence);
    }
}

impl Author {
    pub(super) fn go_on_asking(&mut self, world: &World<'_>) {
        let changed = self.asks.seen != Some(*world.rosters.version());
        if !changed && self.asks.next.is_none_or(|next| next > world.now) {
            return;
        }
        if changed {
            self.asks.follow_list(world);
        }
        self.draw_undrawn(world);
        let due = |link: &Link| link.next <= world.now && !link.todo.is_empty();
        let witnesses: Vec<NodeId> =
            self.asks.links.iter().filter(|(_, link)| due(link)).map(|(witness, _)| *witness).collect();
        for witness in witnesses {
            // Asking one may show that what was asked of both needs others.
            if self.asks.links.get(&witness).is_some_and(due) {
                self.ask(world, witness);
            }
        }
        self.draw_undrawn(world);
        let asked = self.asks.links.values().filter(|link| !link.todo.is_empty());
        self.asks.next = asked.map(|link| link.next).min();
    }

    fn draw_undrawn(&mut self, world: &World<'_>) {
        let list = *world.rosters.version();
        for sequence in core::mem::take(&mut self.asks.undrawn) {
            let Some(line) = self.lines.get_mut(&sequence) else { continue };
            let witnesses = world.rosters.present().draw(self.log, sequence, &list.digest, world.draw_by(line.hash));
            if witnesses.is_empty() {
                self.asks.alone.insert(sequence);
            } else if line.tally.is_complete(&list, &witnesses) {
                self.settle(sequence, Some(&list));
            } else {
                for witness in line.tally.missing(&list, &witnesses) {
                    self.asks.link(witness, sequence, world);
                }
                self.asks.open.insert(sequence, Open { list, witnesses, since: world.now });
            }
        }
    }

    /// Nobody needs to be asked for an entry any more: everyone who was drawn under this list has confirmed it.
    fn settle(&mut self, sequence: u64, list: Option<&Version>) {
        let line = self.lines.get_mut(&sequence).expect("a settled entry is there");
        if let Some(list) = list {
            line.tally.settle(list);
        }
        line.settled = true;
        self.acts.push_back(super::kept::line(line));
        self.asks.forget(sequence);
    }

    /// Sends a witness what it has not confirmed, as much as fits into one message.
    fn ask(&mut self, world: &World<'_>, witness: NodeId) {
        if !(world.is_here)(witness) {
            self.put_off(witness, Moment(world.now.0 + AWAY));
            return self.redraw_old(world, witness);
        }
        let link = self.asks.links.get_mut(&witness).expect("it is due");
        link.next = Moment(world.now.0 + retry_after(link.tries));
        link.tries = (link.tries + 1).min(16);
        match self.batch(witness) {
            Batch::Submit(list, path, entries) => {
                self.acts.push_back(Act::Send(witness, LogMessage::Submit { list, path, entries }));
            }
            Batch::Advance(path) => {
                let end = path.first.sequence + path.rest.len() as u64;
                let signature = self.lines[&end].head.signature;
                self.acts.push_back(Act::Send(witness, LogMessage::Advance { path, signature }));
            }
            Batch::Strange => {
                let nonce = world.stamp();
                self.acts.push_back(Act::Send(witness, LogMessage::AskHead { log: self.log, nonce }));
            }
            Batch::TooOld(sequence) => {
                // Whoever has confirmed a later entry has, by its chain, confirmed this one's place.
                self.settle(sequence, None);
                self.put_off(witness, world.now);
            }
            Batch::NoWay => self.put_off(witness, Moment(world.now.0 + AWAY)),
        }
        self.redraw_old(world, witness);
    }

    fn put_off(&mut self, witness: NodeId, next: Moment) {
        if let Some(link) = self.asks.links.get_mut(&witness) {
            link.next = next;
        }
    }

    /// What a witness did not confirm for a long time is drawn for anew, if the list would draw others.
    fn redraw_old(&mut self, world: &World<'_>, witness: NodeId) {
        let Some(link) = self.asks.links.get(&witness) else { return };
        let is_old = |open: &Open| {
            open.list != *world.rosters.version() && world.now.0.saturating_sub(open.since.0) >= REDRAW_AFTER
        };
        let old: Vec<u64> = link.todo.iter().copied().filter(|at| self.asks.open.get(at).is_some_and(is_old)).collect();
        old.into_iter().for_each(|sequence| self.asks.redraw(sequence));
    }

    fn batch(&self, witness: NodeId) -> Batch {
        let link = &self.asks.links[&witness];
        let first = *link.todo.first().expect("it is due");
        let known = link.known.map(|(known, _)| known);
        if let Some((known, hash)) = link.known {
            match self.lines.get(&known) {
                Some(line) if line.hash != hash => return Batch::Strange,
                None if known > self.told => return Batch::Strange,
                None => return Batch::NoWay,
                Some(_) => {}
            }
            if known > first && known - first >= PATH_MAX as u64 {
                return Batch::TooOld(first);
            }
        }
        let low = known.map_or(first, |known| known.min(first));
        let list = self.asks.open[&first].list;
        let mut pack = Pack::default();
        for sequence in link.todo.iter().take_while(|sequence| **sequence - low < PATH_MAX as u64) {
            let line = &self.lines[sequence];
            let Some(body) = line.body.as_ref().filter(|_| self.asks.open[sequence].list == list) else { continue };
            if !pack.add(&line.head, body) {
                break;
            }
        }
        let entries = pack.entries;
        let Some(last) = entries.last().map(|entry| entry.head.header.sequence) else {
            return self.path(low, low + PATH_MAX as u64 - 1).map_or(Batch::NoWay, Batch::Advance);
        };
        let high = known.map_or(last, |known| known.max(last));
        self.path(low, high).map_or(Batch::NoWay, |path| Batch::Submit(list, path, entries))
    }

    /// Confirmations came, of this log's entries. Tells whether any was [`Counted::Bad`].
    pub fn confirmed(&mut self, world: &World<'_>, confirmations: &[Confirmation]) -> Counted {
        let mut worst = Counted::New;
        for confirmation in confirmations {
            if self.count(world, confirmation) == Counted::Bad {
                worst = Counted::Bad;
            }
        }
        self.go_on(world);
        worst
    }

    fn count(&mut self, world: &World<'_>, confirmation: &Confirmation) -> Counted {
        let sequence = confirmation.sequence;
        if confirmation.log != self.log || matches!(self.stage, Stage::Forked) {
            return Counted::Bad;
        }
        let Some(line) = self.lines.get_mut(&sequence) else { return Counted::Known };
        if line.settled {
            return Counted::Known;
        }
        let by = world.draw_by(line.hash);
        let counted = line.tally.count(world.rosters, by, &line.head.header, &line.hash, confirmation);
        if matches!(counted, Counted::Bad | Counted::UnknownList) {
            return counted;
        }
        let link = self.asks.links.entry(confirmation.witness).or_default();
        if link.known.is_none_or(|(known, _)| known < sequence) {
            link.known = Some((sequence, line.hash));
        }
        link.tries = 0;
        link.next = world.now;
        let list = confirmation.list;
        if self.asks.open.get(&sequence).is_some_and(|open| open.list == list) {
            link.todo.remove(&sequence);
        }
        self.asks.next = Some(world.now);
        let drawn = world.rosters.get(&list).map(|roster| roster.draw(self.log, sequence, &list.digest, by));
        if drawn.is_some_and(|drawn| line.tally.is_complete(&list, &drawn)) {
            self.settle(sequence, Some(&list));
        } else if counted == Counted::New {
            self.acts.push_back(super::kept::line(line));
        }
        counted
    }

    /// A witness says which entry is the last it knows.
    pub fn told_known(&mut self, world: &World<'_>, from: NodeId, known: u64, hash: Digest) {
        let ours = self.lines.get(&known).is_some_and(|line| line.hash == hash);
        let Some(link) = self.asks.links.get_mut(&from) else { return };
        if ours && link.known.is_some_and(|(before, _)| before < known) {
            // A piece of the way is done.
            link.tries = 0;
        }
        link.known = Some((known, hash));
        if link.tries <= HASTY_MAX {
            link.next = world.now;
            self.asks.next = Some(world.now);
        }
        self.go_on(world);
    }

    /// A witness does not confirm.
    pub fn refused(&mut self, world: &World<'_>, from: NodeId, sequence: u64, why: No) {
        let Some(list) = self.asks.open.get(&sequence).map(|open| open.list) else { return };
        let Some(link) = self.asks.links.get(&from).filter(|link| link.todo.contains(&sequence)) else { return };
        if matches!(why, No::UnknownList | No::NotDrawn) && list != *world.rosters.version() {
            let same = |at: &u64| self.asks.open.get(at).is_some_and(|open| open.list == list);
            let all: Vec<u64> = link.todo.iter().copied().filter(same).collect();
            all.into_iter().for_each(|sequence| self.asks.redraw(sequence));
            self.asks.next = Some(world.now);
            if let Some(link) = self.asks.links.get_mut(&from) {
                link.tries = 0;
            }
        }
        self.go_on(world);
    }

    /// A node that was away is here again.
    pub fn came_back(&mut self, world: &World<'_>, node: NodeId) {
        if let Some(link) = self.asks.links.get_mut(&node)
            && !link.todo.is_empty()
        {
            link.next = world.now;
            link.tries = 0;
            self.asks.next = Some(world.now);
        }
        self.seek_back(world.now, node);
        self.go_on(world);
    }

    /// A signed header of this log that others know: where it ends, perhaps. What this log does not have, or has
    /// otherwise, is looked into.
    pub(super) fn met_head(&mut self, world: &World<'_>, head: &SignedHeader) {
        let sequence = head.header.sequence;
        let first = self.lines.first_key_value().map_or(0, |(first, _)| *first);
        let ours = self.lines.get(&sequence);
        let is_known = ours.map_or(sequence < self.told, |line| line.head.header == head.header);
        if !self.asks.ask_head || is_known || sequence < first || !matches!(self.stage, Stage::Writing) {
            return;
        }
        let confirmed = |line: &Line| !line.tally.confirmations().is_empty();
        let proof = ours.and_then(|line| proof_between(line, head));
        match proof.filter(|_| self.lines.range(sequence..).any(|(_, line)| confirmed(line))) {
            Some(proof) => self.shown_fork(&proof),
            None => self.seek(world.now),
        }
    }
}
