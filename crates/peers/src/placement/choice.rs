//! Choosing holders from an order of preference: new owners at sites that have not got many yet, then new owners, then
//! any node. No node twice.

use super::roster::Roster;
use alloc::vec::Vec;

/// How strict a walk through the order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Walk {
    /// Nodes of owners not chosen yet, at sites chosen fewer than so many times.
    Sites,
    /// Nodes of owners not chosen yet.
    Owners,
    /// Any node not chosen yet.
    Nodes,
}

impl Walk {
    /// From the strictest on.
    pub(super) const ALL: [Self; 3] = [Self::Sites, Self::Owners, Self::Nodes];
}

/// What has been chosen for one segment so far.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    roster: &'a Roster,
    per_site: usize,
    chosen: Vec<u16>,
}

impl<'a> Choice<'a> {
    pub(super) fn new(roster: &'a Roster, per_site: usize, chosen: Vec<u16>) -> Self {
        Self { roster, per_site, chosen }
    }

    pub(super) fn chosen(&self) -> &[u16] {
        &self.chosen
    }

    /// Chooses along the order until `want` are chosen; whether they are.
    pub(super) fn walk(&mut self, walk: Walk, order: impl Iterator<Item = u16>, want: usize) -> bool {
        for node in order {
            if self.chosen.len() >= want {
                break;
            }
            if self.strictest(node).is_some_and(|strictest| strictest <= walk) {
                self.chosen.push(node);
            }
        }
        self.chosen.len() >= want
    }

    /// The strictest walk that would choose this node next; none if it is chosen already.
    pub(super) fn strictest(&self, node: u16) -> Option<Walk> {
        let (owner, site) = (self.roster.owner(node), self.roster.site(node));
        let (mut walk, mut at_site) = (Walk::Sites, 0);
        for &other in &self.chosen {
            if other == node {
                return None;
            }
            if self.roster.owner(other) == owner {
                walk = Walk::Nodes;
            }
            at_site += usize::from(self.roster.site(other) == site);
        }
        Some(if at_site >= self.per_site { walk.max(Walk::Owners) } else { walk })
    }
}
