//! Small changes of one's own segments: told of by the local store, by holders, or by a change of group.

use super::Peer;
use super::hold::gives;
use super::keep::Then;
use super::refusal::Refusal;
use super::segment::Segment;
use crate::limits::SEGMENTS_MAX;
use crate::machine::{Blob, Done, Event, Thing};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use okapi_base::shape::SHARDS_MAX;
use okapi_base::{GroupId, NodeId, SegmentName};
use okapi_wire::peer::letter::{Body, Held, INVENTORY_MAX, No};
use okapi_wire::peer::shard::{Deed, ShardId, Slot};

impl Peer {
    /// The local store closed a segment, or says again that it has it.
    pub(super) fn closed(&mut self, name: SegmentName, bytes: u64, key: Blob) {
        assert!(bytes > 0, "a closed segment is not empty");
        if let Some(segment) = self.mine.segments.get_mut(&name) {
            if !segment.live {
                segment.live = true;
                self.gathers.remove(&(self.node, name));
                self.keep_segment(name);
                self.mine.dirty.insert(name);
            }
            return;
        }
        if self.mine.segments.len() >= SEGMENTS_MAX {
            return;
        }
        let entered = self.books.keep(name, bytes);
        if !self.enter(entered) {
            return self.tell_user(Event::UserHalfFull { segment: name });
        }
        self.mine.segments.insert(name, Segment::new(bytes, key));
        self.keep_segment(name);
        self.mine.dirty.insert(name);
    }

    /// The driver's scrub found something damaged.
    pub(super) fn damaged(&mut self, thing: Thing) {
        match thing {
            Thing::Shard(shard) => self.lost_here(shard),
            Thing::Segment(name) => {
                let Some(segment) = self.mine.segments.get_mut(&name) else { return };
                segment.live = false;
                self.keep_segment(name);
                self.abandon(name);
                self.bring_back(name);
            }
        }
    }

    /// A holder does not have a shard of this node's.
    pub(super) fn not_held(&mut self, from: NodeId, shard: ShardId, why: No) {
        if why != No::Missing || shard.owner != self.node {
            return self.mend_refused(from, shard);
        }
        self.struck(from, shard);
        let Some(segment) = self.mine.segments.get_mut(&shard.segment) else { return };
        let Some(deed) = &segment.deed else { return };
        if gives(deed, shard, from) {
            let is_news = segment.lost.insert(shard.index);
            self.mine.dirty.insert(shard.segment);
            if is_news {
                segment.rest_until = okapi_base::machine::Moment::default();
                self.keep_segment(shard.segment);
            }
        }
    }

    /// One's own shard was written into one's own server half.
    pub(super) fn stored_own(&mut self, shard: ShardId, draft: &Deed, done: &Done) {
        let slot = draft.slots[usize::from(shard.index)];
        let bytes = draft.shape.shard_bytes(draft.bytes);
        self.theirs.storing.remove(&shard);
        if !matches!(done, Done::Well) {
            self.books_drop(shard);
            return self.refused(self.node, shard, No::Full);
        }
        self.hold(shard, super::hold::HeldShard { root: slot.root, bytes });
        let waits = self.plan(shard.segment).is_some_and(|plan| plan.revision == draft.revision);
        if waits {
            self.placed_at(self.node, shard, bytes);
            self.placed_own(shard);
        } else {
            self.drop_shard(shard);
        }
    }

    /// Drops one's own shards of a segment that the deed does not give to this node.
    fn drop_own_unless_named(&mut self, name: SegmentName, deed: &Deed) {
        let held: Vec<ShardId> = self.theirs.held(self.node, name).map(|(shard, _)| shard).collect();
        for shard in held {
            if !gives(deed, shard, self.node) {
                self.drop_shard(shard);
            }
        }
    }

    /// Someone asks which of its shards this node holds.
    pub(super) fn asked_for_inventory(&mut self, from: NodeId, after: Option<SegmentName>) {
        let first = ShardId { owner: from, segment: after.unwrap_or(SegmentName([0; 32])), k: u8::MAX, index: u8::MAX };
        let first = if after.is_some() { first } else { ShardId { k: 0, index: 0, ..first } };
        let last = ShardId { owner: from, segment: SegmentName([0xff; 32]), k: u8::MAX, index: u8::MAX };
        let mut lines: Vec<Held> = Vec::new();
        let mut more = false;
        for shard in self.theirs.shards.range((core::ops::Bound::Excluded(first), core::ops::Bound::Included(last))) {
            // A page ends between segments, so that the next can begin after one.
            if lines.len() >= INVENTORY_MAX - 64 && lines.last().is_some_and(|line| line.segment != shard.0.segment) {
                more = true;
                break;
            }
            let known = self.theirs.deeds.get(&(from, shard.0.segment));
            let revision = known.and_then(|known| known.in_force()).map_or(0, |deed| deed.revision);
            lines.push(Held { segment: shard.0.segment, revision, k: shard.0.k, index: shard.0.index });
        }
        self.send(from, Body::Inventory(after, more, lines));
    }

    /// A holder says which shards it holds: what it should not have it is told to drop, what it should have and has not
    /// is lost.
    pub(super) fn inventory_came(&mut self, from: NodeId, after: Option<SegmentName>, more: bool, lines: &[Held]) {
        self.restore_inventory(from, lines);
        // Each page goes on after the one before, or the end would never come.
        if let Some(last) = lines.last().filter(|last| more && after.is_none_or(|after| last.segment > after)) {
            self.send(from, Body::InventoryAsk(Some(last.segment)));
        }
        if !self.knows_itself() || !self.has_told_all(from) {
            return;
        }
        let last = if more { lines.last().map(|line| line.segment) } else { None };
        let there: BTreeSet<(SegmentName, u8, u8)> =
            lines.iter().map(|line| (line.segment, line.k, line.index)).collect();
        // A revision of 0 means that no deed of it was ever in force there.
        let names: BTreeMap<SegmentName, u32> = lines.iter().map(|line| (line.segment, line.revision)).collect();
        lines.iter().for_each(|line| self.found_stray(from, line));
        for (name, revision) in names {
            self.explain(from, name, revision, &there);
        }
        let covered = |name: &SegmentName| after.is_none_or(|after| *name > after) && last.is_none_or(|l| *name <= l);
        let mut missing = Vec::new();
        for (name, segment) in
            self.mine.segments.iter().filter(|(name, segment)| covered(name) && segment.release.is_none())
        {
            let Some(deed) = &segment.deed else { continue };
            for (index, slot) in (0..).zip(&deed.slots) {
                let shard = super::hold::shard_of(deed, index);
                if slot.holder == Some(from) && !there.contains(&(*name, shard.k, index)) {
                    missing.push(shard);
                }
            }
        }
        for shard in missing {
            self.not_held(from, shard, No::Missing);
        }
        self.books_follow(from, &there, covered);
    }

    /// A node has a shard of a segment of which there is no deed yet: a plan gave it up too soon. The next one begins with
    /// it.
    fn found_stray(&mut self, holder: NodeId, line: &Held) {
        let Some(segment) = self.mine.segments.get_mut(&line.segment) else { return };
        let is_known = segment.deed.is_some() || segment.release.is_some() || segment.plan.is_some();
        if !is_known && usize::from(line.index) < SHARDS_MAX {
            segment.mended.insert(line.index, holder);
            self.mine.dirty.insert(line.segment);
        }
    }

    /// Tells a holder how a segment lies of which it holds something, if it may not know. It goes by the deed of this
    /// revision, and `there` is all that it holds.
    fn explain(&mut self, holder: NodeId, name: SegmentName, revision: u32, there: &BTreeSet<(SegmentName, u8, u8)>) {
        let now = self.now;
        let Some(segment) = self.mine.segments.get_mut(&name) else {
            return self.meet_unknown(holder, name, revision > 0);
        };
        if segment.plan.is_some() || (segment.deed.is_none() && segment.release.is_none()) {
            return;
        }
        // What a mender gave it waits until it is settled who keeps it.
        if segment.release.is_none() && segment.mended.values().any(|node| *node == holder) {
            return;
        }
        // This node was set back to a backup, and has signed another deed of that revision since: only one that outranks
        // both will do.
        let its = || there.range((name, 0, 0)..=(name, u8::MAX, u8::MAX));
        if let Some(deed) = segment.deed.as_ref().filter(|deed| segment.release.is_none() && revision >= deed.revision)
            && its().any(|&(segment, k, index)| !gives(deed, ShardId { owner: deed.owner, segment, k, index }, holder))
        {
            let slots = deed.slots.clone();
            segment.floor = segment.floor.max(revision);
            return self.reissue(name, slots, &[holder]);
        }
        segment.will_tell([holder], now);
        self.mine.tell_at(name, Some(now));
    }

    /// The deed of a segment is as it was, but whoever has more than it gives is to drop it.
    pub(super) fn resettle(&mut self, name: SegmentName) {
        let Some(segment) = self.mine.segments.get_mut(&name) else { return };
        let mut mended: Vec<NodeId> = core::mem::take(&mut segment.mended).into_values().collect();
        mended.extend(core::mem::take(&mut segment.asked));
        segment.resettle = false;
        let Some(slots) = segment.deed.as_ref().map(|deed| deed.slots.clone()) else { return };
        self.reissue(name, slots, &mended);
    }

    /// Signs the deed of a segment anew with these holders, and tells them and `others`.
    pub(super) fn reissue(&mut self, name: SegmentName, slots: Vec<Slot>, others: &[NodeId]) {
        let (stamp, group) = (self.stamp(), self.group);
        let Some(segment) = self.mine.segments.get_mut(&name) else { return };
        let revision = segment.revision() + 1;
        let Some(deed) = segment.deed.as_mut() else { return };
        *deed = Deed { revision, stamp, group, slots, ..deed.clone() };
        deed.signature = self.identity.sign(deed);
        let deed = deed.clone();
        let holders = deed.slots.iter().filter_map(|slot| slot.holder);
        let concerned: Vec<NodeId> = holders.chain(others.iter().copied()).filter(|node| *node != self.node).collect();
        self.deed_signed(name, &deed, &concerned);
        self.log_deed(name, &deed);
        self.keeper.then(Then::Committed(name));
    }

    /// A deed of a segment was signed: whoever it concerns is told, and what it does not give them is given up.
    pub(super) fn deed_signed(&mut self, name: SegmentName, deed: &Deed, concerned: &[NodeId]) {
        let segment = self.mine.segments.get_mut(&name).expect("its deed was signed");
        segment.will_tell(concerned.iter().copied(), self.now);
        self.mine.tell_at(name, Some(self.now));
        self.keep_segment(name);
        self.drop_own_unless_named(name, deed);
        self.settle_books(name, concerned, deed);
    }

    /// The group is another now: deeds are signed anew for it, and what lies in one's own half stays.
    pub(super) fn deeds_enter_group(&mut self) {
        let names: Vec<SegmentName> = self.mine.segments.keys().copied().collect();
        for name in names {
            self.abandon(name);
            self.resettle(name);
            self.mine.dirty.insert(name);
        }
    }

    /// A node with a new disk belongs to its old group again.
    pub(super) fn rejoin(&mut self, group: GroupId) {
        self.enter_group(group);
        self.log_rejoined();
        self.deeds_enter_group();
    }

    /// Whether a record is signed by a node.
    pub(super) fn verified<T: okapi_wire::peer::shard::Signed>(&self, node: NodeId, record: &T) -> bool {
        super::identity::verified(&node, record)
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refusals.count(refusal);
    }

    /// What was kept is durable: it may be told.
    pub(super) fn committed(&mut self, name: SegmentName) {
        let Some(segment) = self.mine.segments.get(&name) else { return };
        if let Some(shape) = segment.deed.as_ref().map(|deed| deed.shape)
            && self.safe_when_kept.remove(&name)
        {
            self.tell_user(Event::Safe { segment: name, shape });
        }
    }
}
