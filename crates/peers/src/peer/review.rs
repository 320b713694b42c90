//! Looks at a segment of one's own and says what it needs, if anything.
//!
//! Nothing is polled: a segment is looked at when something about it, about one of its holders or about the member
//! list has changed.

use super::plan::{Need, Plan, Step, Why};
use super::segment::Segment;
use super::{Peer, reshape};
use crate::limits::{LOOK_AGAIN, PLANS_MAX, REVIEWS_PER_TURN};
use crate::placement::group_of;
use crate::safety::Days;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{NodeId, SegmentName, Shape};
use okapi_wire::peer::shard::Deed;

/// The state of a deed's holders, as far as this node knows.
pub(super) struct View<'a> {
    pub(super) peer: &'a Peer,
    pub(super) name: SegmentName,
    pub(super) segment: &'a Segment,
    /// The shape that the group allows now.
    pub(super) target: Shape,
    /// Who should hold shards of that shape.
    pub(super) desired: Vec<NodeId>,
    /// Whether holders that are merely away count as missing.
    pub(super) danger: bool,
}

/// How urgent something is; the least is the most urgent. What is missing comes before what lies in the wrong place, and
/// then the least days of safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency {
    rank: u8,
    days: Days,
}

/// What a look at a segment says.
pub(super) enum Verdict {
    /// All is as it should be.
    Fine,
    /// Something is to be done.
    Need(Need),
    /// It cannot be said, or done, before the placement of a shape is computed.
    NoMap(Shape),
}

impl Peer {
    /// Looks at segments that need it, the most endangered first, and starts plans for them while there is room.
    pub(super) fn review(&mut self) {
        // Until it knows what it signed before, whatever needs a look is kept for later.
        if !self.may_place() {
            return;
        }
        let rested = self.resting.iter().take_while(|(at, _)| *at <= self.now).count();
        for _ in 0..rested {
            let (_, name) = self.resting.pop_first().expect("counted");
            self.mine.dirty.insert(name);
        }
        for _ in 0..REVIEWS_PER_TURN {
            let Some(name) = self.mine.dirty.pop_first() else { break };
            match self.verdict(name) {
                Some(Verdict::Need(need)) => {
                    self.ready.insert((self.urgency(name, &need), name));
                }
                Some(Verdict::NoMap(shape)) => {
                    self.awaiting_map.insert(name);
                    self.want_map(shape);
                }
                Some(Verdict::Fine) => self.is_fine(name),
                None => {}
            }
        }
        while self.mine.planned.len() < PLANS_MAX {
            let Some((_, name)) = self.ready.pop_first() else { break };
            // It may have changed since it was looked at.
            if let Some(Verdict::Need(need)) = self.verdict(name) {
                self.start(name, need);
            }
        }
    }

    /// All is as it should be with a segment.
    fn is_fine(&mut self, name: SegmentName) {
        let (version, rested) = (self.members.version().digest, self.list_rested());
        let segment = self.mine.segments.get_mut(&name).expect("it was looked at");
        if rested {
            segment.placed_under = Some(version);
        }
        if segment.resettle && self.waiting_mends(name).is_empty() {
            self.resettle(name);
        }
        self.note_safety(name, false);
        self.look_again_if_incomplete(name);
    }

    /// Shards that menders gave to others while those whom the deed names are not here. This node has not seen what the
    /// menders saw: until who is named is back, or counts as missing here too, both keep what they have.
    pub(super) fn waiting_mends(&self, name: SegmentName) -> BTreeMap<u8, NodeId> {
        let segment = &self.mine.segments[&name];
        let waits = |(index, _): &(&u8, &NodeId)| {
            let slot = segment.deed.as_ref().and_then(|deed| deed.slots.get(usize::from(**index)));
            slot.and_then(|slot| slot.holder).is_some_and(|node| !self.is_here(node))
        };
        segment.mended.iter().filter(waits).map(|(index, node)| (*index, *node)).collect()
    }

    /// Something is missing and there is nobody to give it to now: what may change that need not be told to this node.
    fn look_again_if_incomplete(&mut self, name: SegmentName) {
        let segment = &self.mine.segments[&name];
        let Some(deed) = &segment.deed else { return };
        let complete = (0..deed.slots.len()).all(|index| self.is_good(segment, deed, index));
        if !complete && segment.look_at <= self.now {
            let at = Moment(self.now.0 + LOOK_AGAIN);
            self.resting.insert((at, name));
            self.mine.segments.get_mut(&name).expect("it is there").look_at = at;
        }
    }

    /// Whether segments wait to be looked at.
    pub(super) fn review_at(&self) -> Option<Moment> {
        if !self.may_place() {
            return None;
        }
        if !self.mine.dirty.is_empty() {
            return Some(self.now);
        }
        self.resting.first().map(|(at, _)| *at)
    }

    /// What the segment needs; nothing if it is busy, resting or being given back.
    fn verdict(&self, name: SegmentName) -> Option<Verdict> {
        let segment = self.mine.segments.get(&name)?;
        if segment.plan.is_some() || segment.release.is_some() || segment.rest_until > self.now {
            return None;
        }
        // It comes back first.
        if !segment.live && self.gathers.contains_key(&(self.node, name)) {
            return None;
        }
        let target = self.target_shape();
        let Some(map) = self.maps.of(target) else { return Some(Verdict::NoMap(target)) };
        let desired = map.holders(group_of(&name), &self.identity.member, &self.node);
        let danger = segment.deed.as_ref().is_some_and(|deed| self.is_in_danger(segment, deed));
        let view = View { peer: self, name, segment, target, desired, danger };
        let Some(deed) = &segment.deed else {
            let steps = (0..target.n()).map(|_| Step::Open(None)).collect();
            return Some(Verdict::Need(Need { why: Why::Spatter, shape: target, steps }));
        };
        let need = reshape::wider(&view, deed)
            .or_else(|| super::repair::missing(&view, deed))
            .or_else(|| super::part::drained(&view, deed))
            .or_else(|| reshape::narrower(&view, deed))
            .or_else(|| reshape::moved(&view, deed));
        Some(match need {
            // After a restart the placement of an older shape may not be there.
            Some(need) if self.maps.of(need.shape).is_none() => Verdict::NoMap(need.shape),
            Some(need) => Verdict::Need(need),
            None => Verdict::Fine,
        })
    }

    fn urgency(&self, name: SegmentName, need: &Need) -> Urgency {
        let segment = &self.mine.segments[&name];
        // What never was placed has no days at all.
        let days = segment.deed.as_ref().map_or(Days::NONE, |deed| self.days_of_deed(segment, deed));
        let rank = match need.why {
            Why::Spatter | Why::Repair => 0,
            Why::Drain => 1,
            Why::Reshape => 2,
        };
        Urgency { rank, days }
    }

    fn start(&mut self, name: SegmentName, need: Need) {
        if !self.settings.care.place_before_release && need.why == Why::Reshape {
            self.release_before_placing(name, &need);
        }
        let segment = self.mine.segments.get_mut(&name).expect("it was looked at");
        let wanted = need.wanted();
        let shape = need.shape;
        segment.plan = Some(Plan::new(need, segment.revision() + 1));
        self.mine.planned.insert(name);
        self.source(name, shape, wanted);
    }

    /// What a naive node does: whoever is to give a shard up does so before another has it.
    fn release_before_placing(&mut self, name: SegmentName, need: &Need) {
        let Some(deed) = self.mine.segments.get(&name).and_then(|segment| segment.deed.clone()) else { return };
        let holders: Vec<NodeId> = deed.slots.iter().filter_map(|slot| slot.holder).collect();
        let mut slots = deed.slots;
        for (index, slot) in slots.iter_mut().enumerate() {
            if need.shape.k() != deed.shape.k() || !matches!(need.steps.get(index), Some(Step::Held(_))) {
                slot.holder = None;
            }
        }
        self.reissue(name, slots, &holders);
    }

    /// Whether the holder of an index is one that is counted on: a member that is not gone for longer than is usual
    /// for it, and not known to have lost the shard.
    pub(super) fn is_good(&self, segment: &Segment, deed: &Deed, index: usize) -> bool {
        let held = deed.slots[index].holder.is_some_and(|node| self.is_counted_on(node));
        held && !segment.lost.contains(&(index as u8))
    }

    /// How many losses a deed survives as it lies.
    pub(super) fn survives(&self, segment: &Segment, deed: &Deed) -> usize {
        let good = (0..deed.slots.len()).filter(|index| self.is_good(segment, deed, *index)).count();
        good.saturating_sub(deed.shape.k())
    }
}

impl View<'_> {
    /// A step for each index: held where `stays` says so, else open with the old holder named meanwhile.
    pub(super) fn steps(&self, deed: &Deed, stays: impl Fn(usize) -> bool) -> Vec<Step> {
        let step = |index: usize| match deed.slots[index].holder {
            Some(node) if stays(index) => Step::Held(node),
            Some(node) if !self.segment.lost.contains(&(index as u8)) && !self.peer.has_parted(node) => {
                Step::Open(Some(node))
            }
            _ => Step::Open(None),
        };
        (0..deed.slots.len()).map(step).collect()
    }

    /// Whether the holder of an index is counted on, and here if the segment is in danger.
    pub(super) fn is_good(&self, deed: &Deed, index: usize) -> bool {
        let here = deed.slots[index].holder.is_some_and(|node| self.peer.is_here(node));
        self.peer.is_good(self.segment, deed, index) && (here || !self.danger)
    }

    /// Whether there is somebody who could take a shard at once and has none, or has lost the one it had.
    pub(super) fn has_candidate(&self, deed: &Deed) -> bool {
        let has = |(index, _): &(usize, _)| self.peer.is_good(self.segment, deed, *index);
        let holders: Vec<NodeId> =
            deed.slots.iter().enumerate().filter(has).filter_map(|(_, slot)| slot.holder).collect();
        if !holders.contains(&self.peer.node) && self.peer.keeps_own_shard() {
            return true;
        }
        let is_free = |node: &NodeId| !holders.contains(node) && self.peer.may_ask(*node);
        self.peer.candidates(self.name, self.target, &holders).next().is_some()
            || self.desired.iter().any(is_free)
            || self.segment.mended.values().any(|node| !holders.contains(node) && self.peer.is_here(*node))
    }

    /// Whether there is anybody at all who has no shard and may have one some day.
    pub(super) fn has_place(&self, deed: &Deed) -> bool {
        let holders: Vec<NodeId> = deed.slots.iter().filter_map(|slot| slot.holder).collect();
        let Some(map) = self.peer.maps.of(self.target) else { return true };
        let (owner, own) = (&self.peer.identity.member, &self.peer.node);
        let others = map.replacement(group_of(&self.name), owner, own, &holders);
        let may =
            |node: NodeId| !holders.contains(&node) && !self.peer.wants_out(node) && self.peer.is_counted_on(node);
        others.chain(self.desired.iter().copied()).any(may)
    }
}
