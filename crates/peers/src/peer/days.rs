//! Days of safety: of one's own segments, and of those of others of which this node holds shards.

use super::Peer;
use super::hold::Foreign;
use super::segment::Segment;
use crate::safety::{Days, Holder, days};
use alloc::vec::Vec;
use okapi_base::{NodeId, SHARDS_MAX, Shape};
use okapi_wire::peer::shard::Deed;

impl Peer {
    /// The days of safety of a segment of one's own, by its shards alone: should this node burn down, they are what is
    /// left.
    pub(super) fn days_of_deed(&self, segment: &Segment, deed: &Deed) -> Days {
        let held = (0_u8..).zip(&deed.slots).filter(|(index, _)| !segment.lost.contains(index));
        self.days_with(deed.shape, held.filter_map(|(index, slot)| slot.holder.map(|node| (index, node))))
    }

    /// The days of safety of another's segment, as far as this node knows.
    pub(super) fn days_of_foreign(&self, foreign: &Foreign) -> Days {
        foreign.in_force().map_or(Days::MAX, |deed| self.days_with(deed.shape, foreign.holders()))
    }

    /// Of several holders of one shard the best counts.
    fn days_with(&self, shape: Shape, held: impl Iterator<Item = (u8, NodeId)>) -> Days {
        let mut best: [Option<Holder>; SHARDS_MAX] = [None; _];
        for (index, node) in held {
            let (holder, slot) = (self.holder(node), &mut best[usize::from(index)]);
            if slot.is_none_or(|other| holder.lost_ppm < other.lost_ppm) {
                *slot = Some(holder);
            }
        }
        let holders: Vec<Holder> = best.into_iter().flatten().collect();
        days(shape, &holders, self.pace)
    }

    fn holder(&self, node: NodeId) -> Holder {
        let lost_ppm = match () {
            () if self.is_here(node) => 0,
            () if self.is_counted_on(node) => self.histories.lost_ppm(self.now, &node),
            () => 1_000_000,
        };
        Holder { member: self.owner_of(node), lost_ppm, loss_rate: self.histories.loss_rate_of(&node) }
    }

    /// Whether a segment is so near to being lost that holders who are merely away count as missing.
    pub(super) fn is_in_danger(&self, segment: &Segment, deed: &Deed) -> bool {
        let away = deed.slots.iter().filter_map(|slot| slot.holder).any(|node| !self.is_here(node));
        away && self.settings.care.grace && self.days_of_deed(segment, deed).danger()
    }

    /// The same for another's segment.
    pub(super) fn is_foreign_in_danger(&self, foreign: &Foreign) -> bool {
        let away = foreign.holders().any(|(_, node)| !self.is_here(node));
        away && self.settings.care.grace && self.days_of_foreign(foreign).danger()
    }

    /// Segments that lie with nodes that are away become less safe with every day that these stay so.
    pub(super) fn look_at_absent(&mut self) {
        let away: Vec<NodeId> = self.others().filter(|node| !self.is_here(*node)).collect();
        for node in away {
            self.mine.dirty_for(node);
            self.mend_gone(node);
        }
    }
}
