//! The order of preference in which the nodes stand for each placement group.
//!
//! Order sampling: a node's rank is its draw measured against the share it is to have, smallest first; the first n of
//! the order then hold it with nearly that share. Two measures are used. The quotient (Ohlsson's sequential Poisson
//! sampling) moves least: if all shares shrink by the same part, as when a node is added, no two nodes change places,
//! and only what the new one takes moves. With few shards its shares are off by up to a fifth, so that copies are placed
//! by the quotient of the odds (Rosén's Pareto sampling), which is nearly exact.

use super::GROUPS;
use super::draw::{CERTAIN, ONE, draw, log, log_odds};
use super::level::Shares;
use super::roster::Roster;
use alloc::vec::Vec;

/// The handicap of a node that is to stand first everywhere: before any draw with any other handicap.
const ALWAYS: i32 = -90 * ONE;
/// Up to so many shards nodes are ranked by odds.
const ODDS_MAX: usize = 3;

/// The handicap of each node, and the head of each group's order.
#[derive(Debug, Clone)]
pub(super) struct Ranking {
    by_odds: bool,
    handicaps: Vec<i32>,
    depth: usize,
    heads: Vec<u16>,
}

impl Ranking {
    pub(super) fn new(roster: &Roster, shares: &Shares, n: usize) -> Self {
        let depth = roster.len().min(2 * n + 16);
        let mut ranking = Self { by_odds: n <= ODDS_MAX, handicaps: Vec::new(), depth, heads: Vec::new() };
        let most = CERTAIN - shares.writes;
        ranking.handicaps = shares.targets.iter().map(|&target| ranking.handicap(target, most)).collect();
        ranking.heads = (0..GROUPS).flat_map(|group| ranking.cut(roster, group)).collect();
        ranking
    }

    /// The first nodes of a group's order.
    pub(super) fn head(&self, group: u16) -> &[u16] {
        &self.heads[usize::from(group) * self.depth..][..self.depth]
    }

    /// All nodes of a group's order.
    pub(super) fn order(&self, roster: &Roster, group: u16) -> Vec<u16> {
        let mut ranks = self.ranks(roster, group);
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, node)| node).collect()
    }

    fn ranks(&self, roster: &Roster, group: u16) -> Vec<(i32, u16)> {
        let ranked =
            |(node, (&key, &handicap)): (usize, (&u64, &i32))| (self.measure(draw(key, group)) + handicap, node as u16);
        roster.keys.iter().zip(&self.handicaps).enumerate().map(ranked).collect()
    }

    /// The first `depth` of a group's order.
    fn cut(&self, roster: &Roster, group: u16) -> Vec<u16> {
        let mut ranks = self.ranks(roster, group);
        if self.depth < ranks.len() {
            ranks.select_nth_unstable(self.depth);
            ranks.truncate(self.depth);
        }
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, node)| node).collect()
    }

    fn measure(&self, part: u64) -> i32 {
        if self.by_odds { log_odds(part) } else { log(part) }
    }

    /// What is added to a node's draws, so that it holds `target` of the `most` it could.
    fn handicap(&self, target: u64, most: u64) -> i32 {
        if target >= most - most / 4096 {
            return ALWAYS;
        }
        -self.measure((u128::from(target) * u128::from(CERTAIN) / u128::from(most)) as u64)
    }
}
