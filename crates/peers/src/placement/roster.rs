//! The places that can be chosen, in an order that does not depend on how they were handed in.

use super::Place;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use okapi_base::{Digest, MemberId, NodeId};
use okapi_seal::Hasher;

/// Places with room, sorted by node; owners and sites by small numbers.
#[derive(Debug, Clone)]
pub(super) struct Roster {
    pub(super) nodes: Vec<NodeId>,
    /// For each node, where in `members` its owner is.
    pub(super) owners: Vec<u16>,
    /// For each node, the number of its site.
    pub(super) sites: Vec<u16>,
    pub(super) capacities: Vec<u64>,
    /// For each node, what its draws come from.
    pub(super) keys: Vec<u64>,
    /// All owners, sorted.
    pub(super) members: Vec<MemberId>,
}

impl Roster {
    /// Places without capacity are left out; of several places of one node the last in order counts.
    pub(super) fn new(places: &[Place], seed: &Digest) -> Self {
        let mut live: Vec<Place> = places.iter().filter(|place| place.capacity > 0).copied().collect();
        live.sort_unstable();
        live.reverse();
        live.dedup_by_key(|place| place.node);
        live.reverse();
        assert!(live.len() <= usize::from(u16::MAX), "{} places are more than a map can number", live.len());
        let members: Vec<MemberId> =
            live.iter().map(|place| place.owner).collect::<BTreeSet<_>>().into_iter().collect();
        let sites: Vec<u64> = live.iter().map(|place| place.site).collect::<BTreeSet<_>>().into_iter().collect();
        Self {
            nodes: live.iter().map(|place| place.node).collect(),
            owners: live.iter().map(|place| number_in(&members, &place.owner)).collect(),
            sites: live.iter().map(|place| number_in(&sites, &place.site)).collect(),
            capacities: live.iter().map(|place| place.capacity).collect(),
            keys: live.iter().map(|place| key(seed, &place.node)).collect(),
            members,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn find(&self, node: &NodeId) -> Option<u16> {
        self.nodes.binary_search(node).ok().map(|at| at as u16)
    }

    pub(super) fn owner(&self, node: u16) -> u16 {
        self.owners[usize::from(node)]
    }

    pub(super) fn site(&self, node: u16) -> u16 {
        self.sites[usize::from(node)]
    }

    pub(super) fn names(&self, nodes: &[u16]) -> Vec<NodeId> {
        nodes.iter().map(|&node| self.nodes[usize::from(node)]).collect()
    }
}

fn number_in<T: Ord>(sorted: &[T], item: &T) -> u16 {
    sorted.binary_search(item).expect("the list was made of these items") as u16
}

fn key(seed: &Digest, node: &NodeId) -> u64 {
    let digest = Hasher::new("okapi 2026 placement: draws of a node, version 1").add(&seed.0).add(&node.0).digest();
    u64::from_le_bytes(digest.0[..8].try_into().expect("eight of 32 bytes"))
}
