//! Placement: which nodes hold the shards of a segment. A pure function of the places, a seed and a shape, in integers,
//! with no memory of earlier maps: anyone recomputes it from the member list.
//!
//! A segment belongs to one of [`GROUPS`] placement groups by its name. In each group all nodes stand in an order of
//! preference; the first n that may hold an owner's segments do. How the order is made so that unequal disks fill up
//! together and little moves when one is added: docs/notes/placement.md.

mod choice;
mod circle;
mod draw;
mod level;
mod ranking;
mod roster;

use self::choice::{Choice, Walk};
use self::circle::Circle;
use self::level::Shares;
use self::ranking::Ranking;
use self::roster::Roster;
use crate::happiness::Reach;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use okapi_base::{Digest, MemberId, NodeId, SegmentName, Shape};

/// How many placement groups there are. For ever: another number is another placement of everything.
pub const GROUPS: u16 = 1024;

/// A node that offers room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which node.
    pub node: NodeId,
    /// The member to whom it belongs.
    pub owner: MemberId,
    /// Where it stands: nodes with the same number burn together.
    pub site: u64,
    /// Room, in any unit that all places share. One without any, such as one that leaves, is never chosen.
    pub capacity: u64,
}

/// The placement group of a segment, below [`GROUPS`].
#[must_use]
pub fn group_of(segment: &SegmentName) -> u16 {
    u16::from_le_bytes([segment.0[0], segment.0[1]]) % GROUPS
}

/// The widest shape for what `owner` writes: by distinct other owners or, as long as there are fewer than three, by
/// machines. One or two other owners get no more than three copies from that, however many machines they have.
#[must_use]
pub fn shape_for(places: &[Place], owner: &MemberId) -> Shape {
    let live = || places.iter().filter(|place| place.capacity > 0);
    let others: BTreeSet<&MemberId> = live().map(|place| &place.owner).filter(|&other| other != owner).collect();
    let nodes: BTreeSet<&NodeId> = live().map(|place| &place.node).collect();
    circle::shape(others.len(), nodes.len())
}

/// Who holds what, for one list of places.
#[derive(Debug, Clone)]
pub struct Map {
    shape: Shape,
    roster: Roster,
    per_site: usize,
    ranking: Ranking,
}

impl Map {
    /// The map of these places, whatever their order, for segments of this shape. Those of other shapes can be asked
    /// for too, but fill the disks less evenly.
    #[must_use]
    pub fn new(places: &[Place], seed: &Digest, shape: Shape) -> Self {
        let roster = Roster::new(places, seed);
        let shares = Shares::new(&roster, shape.n());
        let ranking = Ranking::new(&roster, &shares, shape.n());
        Self { shape, roster, per_site: shares.per_site, ranking }
    }

    /// The shape the map was made for.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The nodes that are to hold the segments of a group that `owner` writes from `own_node`: as many as the map's
    /// shape has shards, fewer only if there are not so many. None belongs to the owner, unless there are fewer than
    /// three other owners: then the first is `own_node`, if it has room, and its owner's other nodes may follow.
    /// Owners repeat only when there are too few of them, sites when that is needed to use the room there is.
    #[must_use]
    pub fn holders(&self, group: u16, owner: &MemberId, own_node: &NodeId) -> Vec<NodeId> {
        let circle = Circle::new(&self.roster, owner, own_node);
        let admitted = |order: &[u16]| {
            order.iter().copied().filter(|&node| circle.admits(&self.roster, node)).collect::<Vec<u16>>()
        };
        let n = self.shape.n();
        let start = || Choice::new(&self.roster, self.per_site, circle.own_half().into_iter().collect());
        let mut choice = start();
        if !choice.walk(Walk::Sites, admitted(self.ranking.head(group)).into_iter(), n) {
            let order = admitted(&self.ranking.order(&self.roster, group));
            choice = start();
            let _ = Walk::ALL.into_iter().any(|walk| choice.walk(walk, order.iter().copied(), n));
        }
        self.roster.names(choice.chosen())
    }

    /// How many holders segments that `owner` writes from `own_node` could have at the very most.
    #[must_use]
    pub fn reach(&self, owner: &MemberId, own_node: &NodeId) -> Reach {
        let circle = Circle::new(&self.roster, owner, own_node);
        let may_hold = |node: &u16| circle.admits(&self.roster, *node) || circle.own_half() == Some(*node);
        let nodes: Vec<u16> = (0..self.roster.len() as u16).filter(may_hold).collect();
        let owners: BTreeSet<u16> = nodes.iter().map(|&node| self.roster.owner(node)).collect();
        Reach { owners: owners.len(), nodes: nodes.len() }
    }

    /// The nodes to ask next, best first, when `taken` hold shards of the segment already: in place of one that refused
    /// or is gone. Ends when every other node that may hold one has been named. After one has agreed, ask again with
    /// it among the taken ones.
    pub fn replacement(
        &self,
        group: u16,
        owner: &MemberId,
        own_node: &NodeId,
        taken: &[NodeId],
    ) -> impl Iterator<Item = NodeId> + '_ {
        let circle = Circle::new(&self.roster, owner, own_node);
        let taken = taken.iter().filter_map(|node| self.roster.find(node)).collect();
        let choice = Choice::new(&self.roster, self.per_site, taken);
        let next = move |order: &[u16], walk| {
            let fits = |node: &u16| circle.admits(&self.roster, *node) && choice.strictest(*node) == Some(walk);
            order.iter().copied().filter(fits).collect::<Vec<u16>>()
        };
        let first = next(self.ranking.head(group), Walk::Sites);
        let known = first.len();
        let rest = core::iter::once_with(move || {
            let order = self.ranking.order(&self.roster, group);
            Walk::ALL.into_iter().flat_map(|walk| next(&order, walk)).skip(known).collect::<Vec<u16>>()
        });
        first.into_iter().chain(rest.flatten()).map(|node| self.roster.nodes[usize::from(node)])
    }
}

#[cfg(test)]
mod tests;
