//! Who witnesses an entry: two nodes drawn from the log, the entry's sequence and the member list's version, so that
//! anyone draws the same, then and later. Never from what the entry says: an author could try bodies until it had the
//! witnesses it likes.
//!
//! A draw jumps to positions of the sorted list; it neither shuffles nor copies it, and takes the same time however
//! long the list is. Nodes of the author's own member, and of a member that was drawn already, are left out while
//! there are others: a witness should be another person. By the other nodes that take part:
//!
//! - none: nobody is drawn, and the entry waits for the list to change;
//! - one: that one, and the entry is witnessed when it confirms;
//! - two or more: two of them, of two members if there are, not of the author's own if there are.
//!
//! Considered: Floyd's method with all positions at once. With nodes to leave out that hang on the first draw, two
//! draws one after the other are simpler.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use okapi_base::{Digest, MemberId, NodeId};
use okapi_seal::Hasher;
use okapi_wire::peer::member::Version;

use crate::MemberList;
use crate::limits::ROSTERS_MAX;

/// Witnesses of an entry.
pub const WITNESSES: usize = 2;

/// What a draw hangs on besides its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrawBy {
    /// Nothing.
    Place,
    /// The entry's hash. The simulator uses it to show what then goes wrong; nobody else does.
    Content(Digest),
}

/// The nodes drawn for an entry: up to [`WITNESSES`], each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Witnesses([Option<NodeId>; WITNESSES]);

impl Witnesses {
    /// Them.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.iter().flatten().copied()
    }

    /// Whether a node is one of them.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.0.contains(&Some(node))
    }

    /// Whether nobody was drawn.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }
}

/// Who can be drawn under one member list: its nodes that take part, in their order, and whose each is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    seats: Vec<(NodeId, MemberId)>,
    /// The positions of each member's nodes, in order.
    of_member: BTreeMap<MemberId, Vec<usize>>,
}

impl Roster {
    /// The roster of nodes and whose they are.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = (NodeId, MemberId)>) -> Self {
        let mut seats: Vec<_> = nodes.into_iter().collect();
        seats.sort_unstable();
        seats.dedup_by_key(|seat| seat.0);
        let mut of_member: BTreeMap<MemberId, Vec<usize>> = BTreeMap::new();
        for (at, (_, member)) in seats.iter().enumerate() {
            of_member.entry(*member).or_default().push(at);
        }
        Self { seats, of_member }
    }

    /// Its nodes, in their order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.seats.iter().map(|(node, _)| *node)
    }

    /// Whether a node is in it.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.seat_of(node).is_some()
    }

    fn seat_of(&self, node: NodeId) -> Option<usize> {
        self.seats.binary_search_by_key(&node, |seat| seat.0).ok()
    }

    /// The witnesses of an entry; nobody for an author that is not in the list.
    #[must_use]
    pub fn draw(&self, log: NodeId, sequence: u64, list: &Digest, by: DrawBy) -> Witnesses {
        let mut drawn = Witnesses::default();
        let Some(author) = self.seat_of(log) else { return drawn };
        let own = &self.of_member[&self.seats[author].1];
        let mut taken: Vec<usize> = Vec::from([author]);
        let mut apart: Vec<usize> = own.clone();
        for (number, slot) in numbers(log, sequence, list, by).into_iter().zip(&mut drawn.0) {
            // The nearer a node stands to those it should watch, the later it is considered.
            let but_own: Vec<usize> = taken.iter().chain(own).copied().collect();
            let found = [&apart, &but_own, &taken].into_iter().find_map(|without| self.nth_without(number, without));
            let Some(at) = found else { break };
            *slot = Some(self.seats[at].0);
            taken.push(at);
            apart.extend(&self.of_member[&self.seats[at].1]);
        }
        drawn
    }

    /// The position that a number, as a part of 2^64, falls on among all but `without`.
    fn nth_without(&self, number: u64, without: &[usize]) -> Option<usize> {
        let mut without = without.to_vec();
        without.sort_unstable();
        without.dedup();
        let left = self.seats.len() - without.len();
        if left == 0 {
            return None;
        }
        let nth = ((u128::from(number) * left as u128) >> 64) as usize;
        // Each position left out before it moves it on by one.
        Some(without.into_iter().fold(nth, |at, out| if at >= out { at + 1 } else { at }))
    }
}

fn numbers(log: NodeId, sequence: u64, list: &Digest, by: DrawBy) -> [u64; WITNESSES] {
    let place = Hasher::new("okapi 2026 timeline: witnesses").add(&log.0).add(&sequence.to_le_bytes()).add(&list.0);
    let seeded = match by {
        DrawBy::Place => place,
        DrawBy::Content(hash) => place.add(&hash.0),
    };
    let mut bytes = [0; 8 * WITNESSES];
    seeded.fill(&mut bytes);
    core::array::from_fn(|at| {
        u64::from_le_bytes(bytes[8 * at..8 * (at + 1)].try_into().expect("eight bytes are eight bytes"))
    })
}

/// The rosters of the member lists that a node had of late: another node may be a little ahead or behind.
#[derive(Debug, Clone, Default)]
pub struct Rosters {
    /// The present one last.
    recent: VecDeque<(Version, Arc<Roster>)>,
}

impl Rosters {
    /// Takes the present list in; tells whether it is another than before.
    pub fn follow(&mut self, list: &MemberList) -> bool {
        let version = list.version();
        if self.recent.back().is_some_and(|(last, _)| *last == version) {
            return false;
        }
        let seats = || list.active().map(|record| (record.binding.node, record.binding.member));
        let roster = match self.recent.back() {
            // Most changes of a list are of what its nodes promise, not of who they are.
            Some((_, last)) if last.seats.iter().copied().eq(seats()) => last.clone(),
            _ => Arc::new(Roster::new(seats())),
        };
        self.push(version, roster);
        true
    }

    pub(crate) fn push(&mut self, version: Version, roster: Arc<Roster>) {
        self.recent.retain(|(known, _)| *known != version);
        if self.recent.len() >= ROSTERS_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((version, roster));
    }

    /// That of a version, if it is known.
    #[must_use]
    pub fn get(&self, version: &Version) -> Option<&Roster> {
        self.recent.iter().rev().find(|(known, _)| known == version).map(|(_, roster)| &**roster)
    }

    /// The version of the present one.
    ///
    /// # Panics
    /// If there was no list yet.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.recent.back().expect("a node is always in a list").0
    }

    /// The present one.
    ///
    /// # Panics
    /// If there was no list yet.
    #[must_use]
    pub fn present(&self) -> &Roster {
        &self.recent.back().expect("a node is always in a list").1
    }
}

#[cfg(test)]
mod tests;
