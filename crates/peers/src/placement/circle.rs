//! Who may hold the shards of one owner's segments.

use super::roster::Roster;
use okapi_base::{MemberId, NodeId, Shape};

/// While an owner has fewer other owners than this, it counts machines instead, its own among them.
const OWNERS_MIN: usize = 3;

/// An owner, writing from one of its nodes, among the places of a roster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circle {
    owner: Option<u16>,
    own: Option<u16>,
    others: usize,
    places: usize,
}

impl Circle {
    pub(super) fn new(roster: &Roster, owner: &MemberId, own_node: &NodeId) -> Self {
        let found = roster.members.binary_search(owner).ok().map(|at| at as u16);
        Self {
            owner: found,
            own: roster.find(own_node),
            others: roster.members.len() - usize::from(found.is_some()),
            places: roster.len(),
        }
    }

    /// May this node hold a shard that does not belong in the owner's own half?
    pub(super) fn admits(&self, roster: &Roster, node: u16) -> bool {
        if self.others < OWNERS_MIN { self.own != Some(node) } else { self.owner != Some(roster.owner(node)) }
    }

    /// The node whose own half holds the first shard, if one does.
    pub(super) fn own_half(&self) -> Option<u16> {
        let small = match self.others {
            0 => Shape::in_own_half(self.places.saturating_sub(1)) > 0,
            others => Shape::in_own_half(others) > 0,
        };
        self.own.filter(|_| small)
    }
}

/// The shape for an owner with so many other owners, in a group of so many places in all.
pub(super) fn shape(others: usize, places: usize) -> Shape {
    let machines = places.saturating_sub(1);
    match others {
        0 => Shape::for_others(machines),
        1..OWNERS_MIN => Shape::for_others(machines.min(OWNERS_MIN - 1)),
        _ => Shape::for_others(others),
    }
}
