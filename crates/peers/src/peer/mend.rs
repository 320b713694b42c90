//! Mend: repairs the segments of an owner that is gone. The first of the holders that are here fetches k shards, computes
//! only the missing ones and gives each a new holder; the owner's deed stays, amended.

use super::gather::{For, Gather};
use super::hold::Foreign;
use super::post::stamp;
use super::pulse::Contact;
use super::refusal::Refusal;
use super::work::Job;
use super::{Peer, plan::Ask};
use crate::limits::{HOLDER_PATIENCE, MEND_STAGGER, MENDS_MAX, RETRY_FIRST, RETRY_MAX, retry_after};
use crate::machine::{Blob, Done, Event, Work};
use crate::placement::group_of;
use crate::safety::Days;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;
use okapi_base::machine::Moment;
use okapi_base::{NodeId, SegmentName, Shape};
use okapi_wire::peer::letter::Body;
use okapi_wire::peer::shard::{AmendedDeed, Amendment, Deed, Receipt, ShardId};

/// How far a segment is mended.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Shards are being fetched.
    Gathering,
    /// Missing ones are being computed.
    Rebuilding,
    /// They are offered, one after the other.
    Placing(Option<Ask>),
}

/// A segment that is being mended.
#[derive(Debug)]
pub(crate) struct Mend {
    deed: Deed,
    stage: Stage,
    /// Shards to place, by index.
    missing: Vec<u8>,
    shards: BTreeMap<u8, Blob>,
    tried: BTreeSet<NodeId>,
    placed: u32,
    read: u64,
    sent: u64,
}

/// Which segment: its owner and name.
type At = (NodeId, SegmentName);

/// All mending.
#[derive(Debug, Default)]
pub(crate) struct Mends {
    active: BTreeMap<At, Mend>,
    /// Segments to be looked at, and when.
    queue: BTreeSet<(Moment, At)>,
    /// Those whose time has come, the least safe first.
    due: BTreeSet<(Days, At)>,
    /// Fellow holders that were asked what they know of a gone owner, and after which segment.
    visits: BTreeMap<(NodeId, NodeId), Option<SegmentName>>,
}

impl Mends {
    pub(crate) fn under_way(&self) -> usize {
        self.active.len()
    }

    pub(crate) fn wake_at(&self) -> Option<Moment> {
        let asking = |mend: &Mend| match &mend.stage {
            Stage::Placing(Some(ask)) => Some(ask.next),
            _ => None,
        };
        let asked = self.active.values().filter_map(asking).min();
        asked.into_iter().chain(self.queue.first().map(|(at, _)| *at)).min()
    }
}

impl Peer {
    /// A node is gone: its own segments, and those it held shards of whose owners are gone, may need mending.
    pub(super) fn mend_gone(&mut self, node: NodeId) {
        let concerned: Vec<At> = self
            .theirs
            .deeds
            .iter()
            .filter(|(at, foreign)| at.0 == node || foreign.holders().any(|(_, holder)| holder == node))
            .map(|(at, _)| *at)
            .collect();
        concerned.into_iter().for_each(|at| self.mend_later(at));
    }

    /// A holder came back: what could not be mended without its shards may be now.
    pub(super) fn mend_again(&mut self, holder: NodeId) {
        let concerns = |(at, foreign): &(&At, &Foreign)| {
            self.pulses.contact(at.0) == Contact::Gone && foreign.holders().any(|(_, node)| node == holder)
        };
        let concerned: Vec<At> = self.theirs.deeds.iter().filter(concerns).map(|(at, _)| *at).collect();
        concerned.into_iter().for_each(|at| self.mend_later(at));
    }

    fn mend_later(&mut self, at: At) {
        let Some(rank) = self.mend_rank(at) else { return };
        self.mends.queue.insert((Moment(self.now.0 + MEND_STAGGER * rank), at));
    }

    /// How many holders that are here come before this node.
    fn mend_rank(&self, at: At) -> Option<u32> {
        let foreign = self.theirs.deeds.get(&at)?;
        let mut holders: Vec<(u8, NodeId)> = foreign.present().filter(|(_, node)| self.is_here(*node)).collect();
        holders.sort_unstable();
        holders.iter().position(|(_, node)| *node == self.node).map(|rank| rank as u32)
    }

    /// An owner came back: it is told who got its shards meanwhile.
    pub(super) fn mend_back(&mut self, owner: NodeId) {
        let amended: Vec<Amendment> = self
            .theirs
            .deeds
            .range((owner, SegmentName([0; 32]))..=(owner, SegmentName([0xff; 32])))
            .filter_map(|(_, foreign)| foreign.amended.as_ref())
            .flat_map(|amended| amended.amendments.iter().copied())
            .collect();
        for amendment in amended {
            self.send(owner, Body::Amended(amendment));
        }
        self.mends.active.retain(|at, _| at.0 != owner);
        self.gathers.retain(|at, gather| at.0 != owner || gather.purpose != For::Mend);
    }

    /// Looks at the segments whose time has come, and asks again where nobody answered.
    pub(super) fn mend(&mut self) {
        while let Some((_, which)) = self.mends.queue.first().copied().filter(|(at, _)| *at <= self.now) {
            self.mends.queue.pop_first();
            let days = self.theirs.deeds.get(&which).map_or(Days::MAX, |foreign| self.days_of_foreign(foreign));
            self.mends.due.insert((days, which));
        }
        while self.mends.active.len() < MENDS_MAX {
            let Some((_, which)) = self.mends.due.pop_first() else { break };
            self.mend_if_needed(which);
        }
        let due: Vec<At> = self.mends.active.keys().copied().collect();
        due.into_iter().for_each(|at| self.pump_mend(at));
    }

    fn mend_if_needed(&mut self, at: At) {
        if self.mends.active.contains_key(&at) || at.0 == self.node || self.pulses.contact(at.0) != Contact::Gone {
            return;
        }
        let Some(foreign) = self.theirs.deeds.get(&at) else { return };
        let Some(deed) = foreign.in_force().cloned() else { return };
        let good: BTreeSet<(u8, NodeId)> = foreign.present().filter(|(_, node)| self.is_counted_on(*node)).collect();
        let danger = self.is_foreign_in_danger(foreign);
        let is_there = |node: &NodeId| !danger || self.is_here(*node);
        let is_missing = |index: &u8| !good.iter().any(|(held, node)| held == index && is_there(node));
        let missing: Vec<u8> = (0..deed.shape.n() as u8).filter(is_missing).collect();
        let held: BTreeSet<u8> = good.iter().map(|(index, _)| *index).collect();
        if missing.is_empty() || held.len() < deed.shape.k() || self.mend_rank(at).is_none() {
            return;
        }
        if self.maps.of(deed.shape).is_none() {
            self.mends.queue.insert((Moment(self.now.0 + RETRY_FIRST), at));
            return self.want_map(deed.shape);
        }
        // Nothing is fetched for nobody.
        if self.mend_candidate(at, deed.shape, &BTreeSet::new()).is_none() {
            return;
        }
        let mend = Mend {
            deed: deed.clone(),
            stage: Stage::Gathering,
            missing,
            shards: BTreeMap::new(),
            tried: BTreeSet::new(),
            placed: 0,
            read: 0,
            sent: 0,
        };
        self.mends.active.insert(at, mend);
        self.gather(Gather::new(For::Mend, deed, good));
    }

    /// Once a day: nobody asks for what the holders of a gone owner still have, so they ask each other.
    pub(super) fn visit_orphans(&mut self) {
        let gone = |owner: &NodeId| *owner != self.node && self.pulses.contact(*owner) == Contact::Gone;
        let mut visits: BTreeSet<(NodeId, NodeId)> = BTreeSet::new();
        let mut orphans: Vec<At> = Vec::new();
        for (at, foreign) in self.theirs.deeds.iter().filter(|((owner, _), _)| gone(owner)) {
            let others =
                foreign.holders().map(|(_, node)| node).filter(|node| *node != self.node && self.is_here(*node));
            visits.extend(others.map(|node| (node, at.0)));
            orphans.push(*at);
        }
        orphans.into_iter().for_each(|at| self.mend_later(at));
        self.mends.visits = visits.iter().map(|visit| (*visit, None)).collect();
        for (node, owner) in visits {
            self.send(node, Body::DeedsAsk(owner, None));
        }
    }

    /// A fellow holder says which segments of a gone owner it knows: of the others it holds nothing.
    pub(super) fn visited(&mut self, from: NodeId, owner: NodeId, more: bool, deeds: &[AmendedDeed]) {
        let Some(after) = self.mends.visits.remove(&(from, owner)) else { return self.refuse(Refusal::Unasked) };
        let known: BTreeSet<SegmentName> = deeds.iter().map(|amended| amended.deed.segment).collect();
        let last = if more { known.last().copied() } else { None };
        let first = after.map_or(Bound::Included((owner, SegmentName([0; 32]))), |name| Bound::Excluded((owner, name)));
        let end = Bound::Included((owner, last.unwrap_or(SegmentName([0xff; 32]))));
        let mut concerned = Vec::new();
        for (at, foreign) in self.theirs.deeds.range_mut((first, end)) {
            if known.contains(&at.1) {
                foreign.absent.remove(&from);
            } else if foreign.holders().any(|(_, node)| node == from) {
                foreign.absent.insert(from);
                concerned.push(*at);
            }
        }
        concerned.into_iter().for_each(|at| self.mend_later(at));
        deeds.iter().flat_map(|amended| &amended.amendments).for_each(|amendment| self.amended(*amendment));
        if let Some(last) = last {
            self.mends.visits.insert((from, owner), Some(last));
            self.send(from, Body::DeedsAsk(owner, Some(last)));
        }
    }

    /// Enough shards came.
    pub(super) fn mend_gathered(&mut self, at: At) {
        let Some(gather) = self.gathers.remove(&at) else { return };
        let Some(mend) = self.mends.active.get_mut(&at) else { return };
        mend.read = gather.read;
        mend.stage = Stage::Rebuilding;
        let work = Work::Rebuild {
            bytes: mend.deed.bytes,
            shape: mend.deed.shape,
            have: gather.have.into_iter().collect(),
            wanted: mend.missing.clone(),
        };
        self.work(Job::Rebuild(at.0, at.1), work);
    }

    pub(super) fn rebuilt(&mut self, owner: NodeId, segment: SegmentName, done: Done) {
        let at = (owner, segment);
        let Some(mend) = self.mends.active.get_mut(&at) else { return };
        if let Done::Shards { shards, .. } = done {
            mend.shards = shards.into_iter().collect();
            mend.stage = Stage::Placing(None);
            self.pump_mend(at);
        } else {
            self.mends.active.remove(&at);
        }
    }

    fn pump_mend(&mut self, at: At) {
        let Some(mend) = self.mends.active.get(&at) else { return };
        let Stage::Placing(ask) = &mend.stage else { return };
        match *ask {
            Some(ask) if ask.next > self.now => {}
            Some(ask) => self.mend_ask(at, ask),
            None => self.mend_next(at),
        }
    }

    /// Takes the next missing shard to a node, or ends.
    fn mend_next(&mut self, at: At) {
        let mend = &self.mends.active[&at];
        if self.maps.of(mend.deed.shape).is_none() {
            return self.want_map(mend.deed.shape);
        }
        let node = if mend.missing.is_empty() { None } else { self.mend_candidate(at, mend.deed.shape, &mend.tried) };
        let Some(node) = node else { return self.mended(at) };
        let ask = Ask { node, old: None, since: self.now, next: self.now, tries: 0, sent: None };
        self.mend_ask(at, ask);
    }

    /// Who may be asked next to hold a missing shard.
    fn mend_candidate(&self, at: At, shape: Shape, tried: &BTreeSet<NodeId>) -> Option<NodeId> {
        let (map, owner, group) = (self.maps.of(shape)?, self.owner_of(at.0), group_of(&at.1));
        let holders: Vec<NodeId> = self.theirs.deeds.get(&at)?.present().map(|(_, node)| node).collect();
        let is_free = |node: &NodeId| {
            *node != self.node && !holders.contains(node) && !tried.contains(node) && self.may_ask(*node)
        };
        let desired = map.holders(group, &owner, &at.0).into_iter().find(is_free);
        desired.or_else(|| map.replacement(group, &owner, &at.0, &holders).find(is_free))
    }

    fn mend_ask(&mut self, at: At, ask: Ask) {
        let now = self.now;
        let silent = now.0.saturating_sub(ask.since.0) >= HOLDER_PATIENCE;
        let mend = self.mends.active.get_mut(&at).expect("it is active");
        if silent {
            mend.tried.insert(ask.node);
            mend.stage = Stage::Placing(None);
            return self.mend_next(at);
        }
        mend.stage =
            Stage::Placing(Some(Ask { next: Moment(now.0 + retry_after(ask.tries)), tries: ask.tries + 1, ..ask }));
        let (deed, index) = (mend.deed.clone(), mend.missing[0]);
        let amendment = self.amendment(&deed, index, ask.node);
        self.send(ask.node, Body::Offer(deed, index, Some(amendment)));
    }

    /// What a node was offered it is offered again.
    pub(super) fn mend_ask_again_at(&mut self, node: NodeId) {
        let now = self.now;
        for mend in self.mends.active.values_mut() {
            if let Stage::Placing(Some(ask)) = &mut mend.stage
                && ask.node == node
            {
                (ask.next, ask.tries) = (now, 0);
            }
        }
    }

    fn amendment(&self, deed: &Deed, index: u8, holder: NodeId) -> Amendment {
        let mut amendment = Amendment {
            group: self.group,
            owner: deed.owner,
            segment: deed.segment,
            revision: deed.revision,
            index,
            holder,
            mender: self.node,
            stamp: stamp(self.now),
            signature: [0; 64],
        };
        amendment.signature = self.identity.sign(&amendment);
        amendment
    }

    /// The mend that offers this shard to this node.
    fn mend_of(&mut self, from: NodeId, shard: ShardId) -> Option<&mut Mend> {
        let mend = self.mends.active.get_mut(&(shard.owner, shard.segment))?;
        let asked = matches!(&mend.stage, Stage::Placing(Some(ask)) if ask.node == from);
        (asked && mend.missing.first() == Some(&shard.index)).then_some(mend)
    }

    pub(super) fn mend_wanted(&mut self, from: NodeId, shard: ShardId) {
        let now = self.now;
        let Some(mend) = self.mend_of(from, shard) else { return self.refuse(Refusal::Unasked) };
        let Some(bytes) = mend.shards.get(&shard.index).cloned() else { return };
        mend.sent += bytes.len() as u64;
        if let Stage::Placing(Some(ask)) = &mut mend.stage {
            ask.since = now;
            ask.sent = ask.sent.or(Some(now));
            ask.next = Moment(now.0 + RETRY_MAX / 2);
        }
        self.send_with(from, Body::Place(shard), bytes);
    }

    pub(super) fn mend_receipted(&mut self, from: NodeId, receipt: &Receipt) {
        let shard = receipt.shard;
        let at = (shard.owner, shard.segment);
        let Some(mend) = self.mend_of(from, shard) else { return self.refuse(Refusal::Unasked) };
        if mend.deed.slots[usize::from(shard.index)].root != receipt.root {
            return self.refuse(Refusal::BadSignature);
        }
        mend.missing.remove(0);
        let bytes = mend.shards.remove(&shard.index).map_or(0, |bytes| bytes.len());
        mend.placed += 1;
        let stage = core::mem::replace(&mut mend.stage, Stage::Placing(None));
        let deed = mend.deed.clone();
        if let Stage::Placing(Some(Ask { sent: Some(sent), .. })) = stage {
            self.measured(from, bytes, sent);
        }
        let amendment = self.amendment(&deed, shard.index, from);
        self.learn_amendment(amendment);
        let foreign = self.theirs.deeds.get(&at);
        let others = foreign.into_iter().flat_map(Foreign::holders).map(|(_, node)| node);
        let others: BTreeSet<NodeId> = others.filter(|node| *node != self.node).collect();
        // The new holder is to know of the other ones, too.
        let before = foreign.and_then(|foreign| foreign.amended.as_ref()).into_iter();
        let before = before.flat_map(|amended| &amended.amendments).filter(|one| **one != amendment);
        for one in before.copied().collect::<Vec<_>>() {
            self.send(from, Body::Amended(one));
        }
        for node in others {
            self.send(node, Body::Amended(amendment));
        }
        self.pump_mend(at);
    }

    /// A node will not take a shard that this one mends.
    pub(super) fn mend_refused(&mut self, from: NodeId, shard: ShardId) {
        let Some(mend) = self.mend_of(from, shard) else { return };
        mend.tried.insert(from);
        mend.stage = Stage::Placing(None);
        self.pump_mend((shard.owner, shard.segment));
    }

    /// Nothing more can be done now.
    fn mended(&mut self, at: At) {
        let Some(mend) = self.mends.active.remove(&at) else { return };
        if mend.placed > 0 {
            let (shards, read, sent) = (mend.placed, mend.read, mend.sent);
            self.tell_user(Event::Repaired { owner: at.0, segment: at.1, shards, read, sent });
        }
    }

    /// Someone gave a shard a new holder.
    pub(super) fn amended(&mut self, amendment: Amendment) {
        if amendment.owner == self.node {
            return self.own_amended(&amendment);
        }
        let at = (amendment.owner, amendment.segment);
        let Some(deed) = self.theirs.deeds.get(&at).and_then(|foreign| foreign.in_force()).cloned() else { return };
        match self.check_amendment(&deed, &amendment) {
            Ok(()) => self.learn_amendment(amendment),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// While this node was away one of its segments was mended: the new holder serves if its shard is needed, and drops
    /// it otherwise when it is told of the deed.
    fn own_amended(&mut self, amendment: &Amendment) {
        let name = amendment.segment;
        if let Err(refusal) = self.check_own_amendment(amendment) {
            return self.refuse(refusal);
        }
        let knows_itself = self.knows_itself() && self.has_told_all(amendment.holder);
        let Some(segment) = self.mine.segments.get_mut(&name) else {
            if knows_itself {
                self.meet_unknown(amendment.holder, name, true);
            }
            return;
        };
        let Some(deed) = &segment.deed else { return };
        let named = deed.slots.get(usize::from(amendment.index)).and_then(|slot| slot.holder);
        if named == Some(amendment.holder) || amendment.revision != deed.revision {
            return;
        }
        segment.mended.insert(amendment.index, amendment.holder);
        // A deed of the next revision settles it, whoever is named.
        segment.resettle = true;
        self.mine.dirty.insert(name);
    }

    /// Whether somebody who held a shard of one's own segment says that another has one now.
    fn check_own_amendment(&self, amendment: &Amendment) -> Result<(), Refusal> {
        if amendment.group != self.group {
            return Err(Refusal::WrongGroup);
        }
        self.check_signer(amendment.mender)?;
        if let Some(segment) = self.mine.segments.get(&amendment.segment)
            && let Some(deed) = segment.deed.as_ref().filter(|deed| deed.revision == amendment.revision)
        {
            if usize::from(amendment.index) >= deed.slots.len() {
                return Err(Refusal::Malformed);
            }
            let named = deed.slots.iter().any(|slot| slot.holder == Some(amendment.mender));
            if !named && !segment.mended.values().any(|node| *node == amendment.mender) {
                return Err(Refusal::NotYours);
            }
        }
        if self.verified(amendment.mender, amendment) { Ok(()) } else { Err(Refusal::BadSignature) }
    }
}
