//! Restore: a node whose disk is new gets everything back from the others: the list, the deeds and what they name.

use super::gather::{For, Gather};
use super::hold::shard_of;
use super::segment::Segment;
use super::{Peer, kept};
use crate::limits::{
    ASK_AGAIN, DEEDS_PER_LETTER, DOUBT_EVERY, LETTER_MAX, RESTORE_PATIENCE, RESTORES_MAX, SHARDS_MAX, retry_after,
};
use crate::machine::Event;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{NodeId, SegmentName};
use okapi_timeline::members;
use okapi_wire::peer::letter::{Body, Held};
use okapi_wire::peer::member::{MemberRecord, NODES_MAX};
use okapi_wire::peer::shard::{AmendedDeed, Deed, ShardId};

/// How far a restore is.
#[derive(Debug, Default)]
pub(crate) enum Restore {
    /// Nothing is to be restored.
    #[default]
    No,
    /// The member list is asked for; so much of it has come.
    List { via: NodeId, next: Moment, tries: u32, records: Vec<MemberRecord> },
    /// Members are asked for deeds and inventories; until then, or until all have answered.
    Deeds(Found, Moment),
    /// Segments are fetched; whoever comes back later is still asked.
    Segments(Found),
}

impl Restore {
    /// What was found so far, once deeds are asked for.
    const fn found(&mut self) -> Option<&mut Found> {
        match self {
            Self::Deeds(found, _) | Self::Segments(found) => Some(found),
            Self::No | Self::List { .. } => None,
        }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Who was asked, and has said all it knows.
    answered: BTreeSet<NodeId>,
    asked: BTreeMap<NodeId, Moment>,
    /// Who was last asked when, because it holds what this node does not know.
    doubted: BTreeMap<NodeId, Moment>,
    /// All deeds of each segment that were shown.
    deeds: BTreeMap<SegmentName, Vec<Deed>>,
    /// Who says that it holds which shard.
    sources: BTreeMap<ShardId, BTreeSet<NodeId>>,
    /// Segments whose fetching has begun.
    begun: BTreeSet<SegmentName>,
    /// The last segment named in each one's answers, while there are more.
    pages: BTreeMap<NodeId, SegmentName>,
    /// Whether something has changed since it was looked at what can be fetched.
    stirred: bool,
    restored: u32,
    told: bool,
}

impl Peer {
    pub(super) fn restore(&mut self, via: NodeId) {
        self.restore = Restore::List { via, next: self.now, tries: 0, records: Vec::new() };
        self.go_on_restoring();
    }

    pub(super) fn restore_at(&self) -> Option<Moment> {
        match &self.restore {
            Restore::No => None,
            Restore::List { next, .. } => Some(*next),
            Restore::Deeds(found, until) => found.asked.values().copied().chain([*until]).min(),
            Restore::Segments(found) => found.asked.values().copied().min(),
        }
    }

    /// Whether something is still to come back.
    pub(super) fn is_restoring(&self) -> bool {
        match &self.restore {
            Restore::No => false,
            Restore::List { .. } | Restore::Deeds(..) => true,
            Restore::Segments(_) => {
                self.mine.segments.values().any(|segment| !segment.live && segment.release.is_none())
            }
        }
    }

    /// Whether this node may sign deeds: not before it knows those it signed before.
    pub(super) fn may_place(&self) -> bool {
        matches!(self.restore, Restore::No | Restore::Segments(_))
    }

    /// Whether this node knows what it once knew, as far as anybody else remembers: it may tell others to drop what it
    /// does not know of.
    pub(super) fn knows_itself(&self) -> bool {
        self.may_place() && !self.logs.author.is_seeking()
    }

    /// A node says that it holds a segment of this one's that this one does not know, by a deed that was in force. It is
    /// asked to show its deeds, now and then: whoever makes segments up costs no more than that.
    pub(super) fn ask_what_was_forgotten(&mut self, holder: NodeId) {
        let now = self.now;
        if matches!(self.restore, Restore::No) {
            let answered = self.others().filter(|node| *node != holder).collect();
            self.restore = Restore::Segments(Found { answered, ..Found::default() });
        }
        let Restore::Segments(found) = &mut self.restore else { return };
        if found.doubted.get(&holder).is_none_or(|at| now.0.saturating_sub(at.0) >= DOUBT_EVERY) {
            found.doubted.insert(holder, now);
            found.answered.remove(&holder);
            found.asked.insert(holder, now);
            self.go_on_restoring();
        }
    }

    /// How many of those that take part have not told yet what they know of this node's segments.
    pub(super) fn restore_silent(&self) -> u32 {
        match &self.restore {
            Restore::No | Restore::List { .. } => 0,
            Restore::Deeds(found, _) | Restore::Segments(found) => {
                self.others().filter(|node| !found.answered.contains(node)).count() as u32
            }
        }
    }

    /// Whether a node has told all it knows of this one's segments, so that what it holds and this node does not know
    /// was really given up.
    pub(super) fn has_told_all(&self, node: NodeId) -> bool {
        match &self.restore {
            Restore::No => true,
            Restore::Segments(found) => found.answered.contains(&node),
            Restore::List { .. } | Restore::Deeds(..) => false,
        }
    }

    /// This node was set back to a backup: the others know of segments that it has forgotten.
    pub(super) fn restore_what_was_forgotten(&mut self) {
        if matches!(self.restore, Restore::No | Restore::Segments(_)) {
            self.restore = Restore::Deeds(Found::default(), Moment(self.now.0 + RESTORE_PATIENCE));
            self.go_on_restoring();
        }
    }

    /// Asks again whatever was not answered.
    pub(super) fn go_on_restoring(&mut self) {
        let now = self.now;
        match &mut self.restore {
            Restore::No => {}
            Restore::List { via, next, tries, records } => {
                if *next > now {
                    return;
                }
                records.clear();
                *next = Moment(now.0 + retry_after(*tries));
                *tries = (*tries + 1).min(16);
                let via = *via;
                let summary = okapi_timeline::MemberList::new(self.group).summary();
                self.send(via, Body::Summary(summary));
            }
            Restore::Deeds(_, until) => {
                let over = *until <= now;
                self.ask_for_deeds();
                let Restore::Deeds(found, _) = &self.restore else { return };
                // Who cannot be reached cannot answer; whoever comes back later is still asked.
                let awaited = found.asked.keys().any(|node| !self.is_unreached(*node));
                let Restore::Deeds(found, _) = &mut self.restore else { return };
                if over || !awaited {
                    let found = core::mem::take(found);
                    self.restore = Restore::Segments(found);
                    self.adopt_found();
                }
            }
            Restore::Segments(_) => self.ask_for_deeds(),
        }
    }

    /// Whether the member list is asked of this node.
    pub(super) fn is_restoring_from(&self, node: NodeId) -> bool {
        matches!(&self.restore, Restore::List { via, .. } if *via == node)
    }

    /// A part of the list came. Once this node is in it, its group is this node's again.
    pub(super) fn restore_learned(&mut self, more: Vec<MemberRecord>) {
        let Restore::List { records, .. } = &mut self.restore else { return };
        records.extend(more.into_iter().take(NODES_MAX.saturating_sub(records.len())));
        let own = records.iter().find(|record| record.binding.node == self.node).map(MemberRecord::pledge);
        // Only this node itself can have signed that it is in a group: nobody can lure it into another one.
        let Some(own) = own.filter(members::is_pledge_good) else { return };
        let records = core::mem::take(records);
        self.rejoin(own.binding.group);
        self.restore = Restore::Deeds(Found::default(), Moment(self.now.0 + RESTORE_PATIENCE));
        self.merge_all(records);
    }

    /// Asks everyone for deeds and inventories who has not answered and is due.
    fn ask_for_deeds(&mut self) {
        let now = self.now;
        let others: Vec<NodeId> = self.others().collect();
        let Some(found) = self.restore.found() else { return };
        found.asked.retain(|node, _| others.contains(node));
        let mut due = Vec::new();
        for node in others {
            if found.answered.contains(&node) {
                continue;
            }
            let next = found.asked.entry(node).or_insert(now);
            if *next <= now {
                *next = Moment(now.0 + ASK_AGAIN);
                due.push(node);
            }
        }
        for node in due {
            self.send(node, Body::DeedsAsk(self.node, None));
            self.send(node, Body::InventoryAsk(None));
        }
    }

    /// A member came back: it may hold what is still missing.
    pub(super) fn restore_back(&mut self, node: NodeId) {
        let now = self.now;
        if let Some(found) = self.restore.found()
            && let Some(next) = found.asked.get_mut(&node)
        {
            *next = now;
        }
    }

    /// Someone asks which deeds of an owner this node has.
    pub(super) fn asked_for_deeds(&mut self, from: NodeId, owner: NodeId, after: Option<SegmentName>) {
        let (more, deeds) = self.deeds_of(owner, after);
        self.send(from, Body::Deeds(owner, more, deeds));
    }

    /// The deeds that this node has of an owner's segments, in the order of those, as many as fit a letter: in force, or
    /// about to be; and whether there are more.
    #[must_use]
    pub fn deeds_of(&self, owner: NodeId, after: Option<SegmentName>) -> (bool, Vec<AmendedDeed>) {
        let first = core::ops::Bound::Excluded((owner, after.unwrap_or(SegmentName([0; 32]))));
        let last = core::ops::Bound::Included((owner, SegmentName([0xff; 32])));
        let mut deeds = Vec::new();
        let mut bytes = 0;
        let mut more = false;
        for (_, foreign) in self.theirs.deeds.range((first, last)) {
            let in_force = foreign.amended.iter().cloned();
            let draft = foreign.draft.iter().map(|deed| AmendedDeed { deed: deed.clone(), amendments: Vec::new() });
            let both: Vec<AmendedDeed> = in_force.chain(draft).collect();
            let size: usize = both.iter().map(|one| kept::encode(one).len()).sum();
            if !deeds.is_empty() && (bytes + size > LETTER_MAX - 1024 || deeds.len() + both.len() > DEEDS_PER_LETTER) {
                more = true;
                break;
            }
            bytes += size;
            deeds.extend(both);
        }
        (more, deeds)
    }

    /// Deeds came.
    pub(super) fn deeds_came(&mut self, from: NodeId, owner: NodeId, more: bool, deeds: Vec<AmendedDeed>) {
        if owner != self.node {
            return self.visited(from, owner, more, &deeds);
        }
        let Some(found) = self.restore.found() else {
            return self.refuse(super::refusal::Refusal::Unasked);
        };
        let before = found.pages.remove(&from);
        let last = deeds.last().map(|amended| amended.deed.segment).filter(|last| more && before < Some(*last));
        if let Some(last) = last {
            found.pages.insert(from, last);
        }
        for amended in deeds {
            let good = amended.deed.owner == self.node
                && amended.deed.group == self.group
                && self.verified(self.node, &amended.deed);
            if !good {
                self.refuse(super::refusal::Refusal::BadSignature);
                continue;
            }
            self.found_deed(amended);
        }
        match last {
            Some(last) => {
                self.send(from, Body::DeedsAsk(self.node, Some(last)));
            }
            None => {
                if let Some(found) = self.restore.found() {
                    found.answered.insert(from);
                    found.asked.remove(&from);
                }
                if matches!(self.restore, Restore::Segments(_)) {
                    self.adopt_found();
                } else {
                    self.go_on_restoring();
                }
            }
        }
    }

    fn found_deed(&mut self, amended: AmendedDeed) {
        let Some(found) = self.restore.found() else { return };
        let deed = amended.deed;
        for amendment in amended.amendments {
            if amendment.revision == deed.revision && usize::from(amendment.index) < deed.slots.len() {
                found.sources.entry(shard_of(&deed, amendment.index)).or_default().insert(amendment.holder);
            }
        }
        for (index, slot) in (0..).zip(&deed.slots) {
            if let Some(holder) = slot.holder {
                found.sources.entry(shard_of(&deed, index)).or_default().insert(holder);
            }
        }
        let all = found.deeds.entry(deed.segment).or_default();
        if !all.contains(&deed) {
            all.push(deed);
        }
    }

    /// A member says what it holds for this node.
    pub(super) fn restore_inventory(&mut self, from: NodeId, lines: &[Held]) {
        let owner = self.node;
        let Some(found) = self.restore.found() else { return };
        let mut news = BTreeSet::new();
        for line in lines {
            if found.sources.len() >= SHARDS_MAX {
                break;
            }
            let shard = ShardId { owner, segment: line.segment, k: line.k, index: line.index };
            if found.sources.entry(shard).or_default().insert(from) {
                news.insert(line.segment);
            }
        }
        // What rests because nobody had enough of it may be had now.
        let rests = |name: &SegmentName| self.gathers.get(&(owner, *name)).is_some_and(|gather| !gather.is_busy());
        news.retain(rests);
        for name in news {
            self.restore_anew(name);
        }
    }

    /// Fetches a segment anew when its turn comes; false if nothing is being restored.
    pub(super) fn restore_anew(&mut self, name: SegmentName) -> bool {
        let Restore::Segments(found) = &mut self.restore else { return false };
        found.begun.remove(&name);
        found.stirred = true;
        true
    }

    /// Takes on what was found, and fetches what can be fetched.
    fn adopt_found(&mut self) {
        let Restore::Segments(found) = &self.restore else { return };
        let names: Vec<SegmentName> = found.deeds.keys().copied().filter(|name| !found.begun.contains(name)).collect();
        for name in names {
            self.adopt_segment(name);
        }
        self.restore_went_on();
    }

    /// What can be fetched has changed.
    pub(super) fn restore_went_on(&mut self) {
        if let Restore::Segments(found) = &mut self.restore {
            found.stirred = true;
        }
    }

    /// Takes on one segment by the newest deed under which enough shards are said to be there.
    fn adopt_segment(&mut self, name: SegmentName) {
        if self.mine.segments.get(&name).is_some_and(|segment| segment.live || segment.release.is_some()) {
            return self.adopt_deed(name);
        }
        let Restore::Segments(found) = &self.restore else { return };
        let deeds = &found.deeds[&name];
        let floor = deeds.iter().map(|deed| deed.revision).max().unwrap_or(0);
        let there = |deed: &Deed| {
            let has = |index: u8| found.sources.contains_key(&shard_of(deed, index));
            (0..deed.shape.n() as u8).filter(|index| has(*index)).count()
        };
        let enough = |deed: &&Deed| there(deed) >= deed.shape.k();
        let newest = deeds.iter().max_by_key(|deed| deed.revision);
        let Some(deed) = deeds.iter().filter(enough).max_by_key(|deed| deed.revision).or(newest).cloned() else {
            return;
        };
        let mut segment = Segment::new(deed.bytes, Arc::from(deed.key.as_slice()));
        segment.live = false;
        segment.floor = floor;
        segment.safe = true;
        segment.deed = Some(deed.clone());
        segment.lost = self.lost_with_own_disk(&deed);
        self.adopt_books(name, &deed);
        self.mine.segments.insert(name, segment);
        self.keep_segment(name);
    }

    /// What a deed says lies in this node's own half, and does not: it went with the old disk.
    fn lost_with_own_disk(&self, deed: &Deed) -> BTreeSet<u8> {
        let own = (0..).zip(&deed.slots).filter(|(_, slot)| slot.holder == Some(self.node)).map(|(index, _)| index);
        own.filter(|index| !self.theirs.shards.contains_key(&shard_of(deed, *index))).collect()
    }

    /// The segment is here; the deed that others have of it may be a newer one than this node remembers.
    fn adopt_deed(&mut self, name: SegmentName) {
        let Restore::Segments(found) = &self.restore else { return };
        let Some(newest) = found.deeds[&name].iter().max_by_key(|deed| deed.revision).cloned() else { return };
        let segment = self.mine.segments.get_mut(&name).expect("it was just seen");
        if newest.revision <= segment.revision() {
            return;
        }
        segment.floor = newest.revision;
        let lost = self.lost_with_own_disk(&newest);
        let segment = self.mine.segments.get_mut(&name).expect("it was just seen");
        if segment.plan.is_none() && segment.release.is_none() {
            segment.deed = Some(newest.clone());
            segment.placed_under = None;
            segment.lost = lost;
            self.adopt_books(name, &newest);
            self.mine.dirty.insert(name);
        }
        self.keep_segment(name);
    }

    /// Begins to fetch more, and says when all is done that can be.
    pub(super) fn restore_more(&mut self) {
        let Restore::Segments(found) = &mut self.restore else { return };
        if !core::mem::take(&mut found.stirred) {
            return;
        }
        let mut fetching = self.gathers.values().filter(|g| g.purpose == For::BringBack && g.is_busy()).count();
        let next: Vec<SegmentName> = self
            .mine
            .segments
            .iter()
            .filter(|(name, segment)| !segment.live && segment.release.is_none() && !found.begun.contains(name))
            .map(|(name, _)| *name)
            .collect();
        for name in next {
            if fetching >= RESTORES_MAX {
                break;
            }
            self.restore_segment(name);
            fetching += usize::from(self.gathers.get(&(self.node, name)).is_some_and(Gather::is_busy));
        }
        self.tell_if_restored();
    }

    fn restore_segment(&mut self, name: SegmentName) {
        let Restore::Segments(found) = &mut self.restore else { return };
        found.begun.insert(name);
        let Some(deed) = self.mine.segments[&name].deed.clone() else { return };
        let mut sources = BTreeSet::new();
        for index in 0..deed.shape.n() as u8 {
            for node in found.sources.get(&shard_of(&deed, index)).into_iter().flatten() {
                sources.insert((index, *node));
            }
        }
        self.gather(Gather::new(For::BringBack, deed, sources));
    }

    fn tell_if_restored(&mut self) {
        let waiting: Vec<SegmentName> =
            self.mine.segments.iter().filter(|(_, segment)| !segment.live).map(|(name, _)| *name).collect();
        let busy = self.gathers.values().any(|gather| gather.purpose == For::BringBack && gather.is_busy());
        let restored = (self.mine.segments.len() - waiting.len()) as u32;
        let Restore::Segments(found) = &mut self.restore else { return };
        let unbegun = waiting.iter().any(|name| !found.begun.contains(name));
        if busy || unbegun || (found.told && found.restored == restored) {
            return;
        }
        found.told = true;
        found.restored = restored;
        self.tell_user(Event::RestoreDone { restored, waiting });
    }
}
