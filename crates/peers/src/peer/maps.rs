//! Placement as of the present member list, computed as work and kept by shape.

use super::Peer;
use super::work::Job;
use crate::happiness::Reach;
use crate::limits::{LIST_REST, MAP_REST};
use crate::machine::{Done, Work};
use crate::placement::{Map, Place, group_of, shape_for};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, MemberId, NodeId, SegmentName, Shape};
use okapi_wire::peer::member::State;

/// One shape's placement.
#[derive(Debug)]
struct Computed {
    map: Arc<Map>,
    /// The digest of the member list it is of.
    list: Digest,
}

/// Placements by shape.
#[derive(Debug, Default)]
pub(crate) struct Maps {
    computed: BTreeMap<Shape, Computed>,
    /// Being computed: of which list.
    asked: BTreeMap<Shape, Digest>,
    wanted: BTreeSet<Shape>,
    /// The member list has changed since they were computed.
    stale: bool,
    /// It has changed, and not rested since.
    restless: bool,
}

impl Maps {
    pub(crate) fn of(&self, shape: Shape) -> Option<&Arc<Map>> {
        self.computed.get(&shape).map(|computed| &computed.map)
    }

    /// The member list behind the placement of a shape.
    pub(crate) fn list_of(&self, shape: Shape) -> Option<Digest> {
        self.computed.get(&shape).map(|computed| computed.list)
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The member list changed.
    pub(crate) fn outdated(&mut self) {
        (self.stale, self.restless) = (true, true);
    }
}

impl Peer {
    /// The places of the present member list.
    pub(super) fn places(&self) -> Vec<Place> {
        self.members
            .active()
            .map(|record| Place {
                node: record.binding.node,
                owner: record.binding.member,
                site: record.site,
                capacity: if record.state == State::Active { self.members.capacity(record.binding.node) } else { 0 },
            })
            .collect()
    }

    /// The widest shape for this node's segments: by the owners there are, those that are gone left out.
    pub(super) fn target_shape(&self) -> Shape {
        let places: Vec<Place> = self.places().into_iter().filter(|place| self.is_counted_on(place.node)).collect();
        shape_for(&places, &self.identity.member)
    }

    /// Whether so few others are left that a shard lies in this node's own server half, even if those who are gone still
    /// stand in the list, and so in the placement.
    pub(super) fn keeps_own_shard(&self) -> bool {
        Shape::in_own_half(self.counted_owners()) > 0
    }

    /// How many other members have a node that is counted on.
    fn counted_owners(&self) -> usize {
        let counted = self
            .others()
            .filter(|node| self.is_counted_on(*node) && !self.is_leaving_node(*node))
            .map(|node| self.owner_of(node));
        counted.filter(|owner| *owner != self.identity.member).collect::<BTreeSet<_>>().len()
    }

    /// How many holders this node's segments could have at the very most, those that are gone left out, and those to whom
    /// nothing is given because of what they have lost.
    pub(super) fn reach(&self) -> Reach {
        let few = self.keeps_own_shard();
        let own = few.then_some(self.node);
        let may_hold = |node: &NodeId| {
            self.is_counted_on(*node)
                && self.is_trusted(*node)
                && self.members.capacity(*node) > 0
                && (few || self.owner_of(*node) != self.identity.member)
        };
        let nodes: Vec<NodeId> = self.others().filter(may_hold).chain(own).collect();
        let owners: BTreeSet<MemberId> = nodes.iter().map(|node| self.owner_of(*node)).collect();
        Reach { owners: owners.len(), nodes: nodes.len() }
    }

    /// Has the placement of a shape computed.
    pub(super) fn want_map(&mut self, shape: Shape) {
        self.maps.wanted.insert(shape);
        self.compute_maps();
    }

    /// Has placements computed that are wanted, or that are of an older list: what is placed or repaired goes by the new
    /// one soon, while nothing is moved for it before it has rested.
    pub(super) fn compute_maps(&mut self) {
        let list = self.members.version().digest;
        let mut shapes = core::mem::take(&mut self.maps.wanted);
        if self.maps.restless && self.list_rested() {
            self.maps.restless = false;
            // What waited for the list to rest need not wait any more, even if no placement changes.
            self.mine.all_dirty();
        }
        if self.maps.stale && self.now.0.saturating_sub(self.list_changed_at.0) >= MAP_REST {
            self.maps.stale = false;
            shapes.extend(self.maps.computed.keys().copied());
            shapes.insert(self.target_shape());
        }
        for shape in shapes {
            if self.maps.list_of(shape) == Some(list) || self.maps.asked.get(&shape) == Some(&list) {
                continue;
            }
            self.maps.asked.insert(shape, list);
            let work = Work::Place { places: self.places().into(), seed: Digest(self.group.0), shape };
            self.work(Job::Map(shape, list), work);
        }
    }

    pub(super) fn maps_at(&self) -> Option<Moment> {
        let after = |is: bool, rest| is.then(|| Moment(self.list_changed_at.0 + rest));
        [after(self.maps.stale, MAP_REST), after(self.maps.restless, LIST_REST)].into_iter().flatten().min()
    }

    pub(super) fn mapped(&mut self, shape: Shape, list: Digest, done: &Done) {
        let Done::Placed(map) = done else { unreachable!("placing is answered by a map") };
        if self.maps.asked.get(&shape) != Some(&list) {
            return;
        }
        self.maps.asked.remove(&shape);
        self.maps.computed.insert(shape, Computed { map: map.clone(), list });
        let waiting = core::mem::take(&mut self.awaiting_map);
        self.mine.dirty.extend(waiting);
        self.mine.all_dirty();
    }

    /// Who may be asked next to hold a shard of a segment of one's own, besides those who are taken.
    pub(super) fn candidates<'a>(
        &'a self,
        name: SegmentName,
        shape: Shape,
        taken: &'a [NodeId],
    ) -> impl Iterator<Item = NodeId> + 'a {
        let map = self.maps.of(shape);
        let next = map.map(|map| map.replacement(group_of(&name), &self.identity.member, &self.node, taken));
        // Where so few others are left, this member's other machines are better than nobody.
        let few = self.keeps_own_shard();
        let kin = self.others().filter(move |node| few && self.owner_of(*node) == self.identity.member);
        next.into_iter().flatten().chain(kin).filter(|node| !taken.contains(node) && self.may_ask(*node))
    }

    /// Whether a node may be asked to hold something more.
    pub(super) fn may_ask(&self, node: NodeId) -> bool {
        self.is_here(node)
            && !self.has_declined(node)
            && !self.is_leaving_node(node)
            && (node == self.node || self.is_trusted(node))
    }
}
