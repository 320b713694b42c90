//! The order of preference in which the nodes stand for each placement group.
//!
//! Order sampling: a node's rank is its draw's log-odds less its own lean, smallest first. If the lean is the log-odds of
//! the share it is to have, then the first n of the order hold it with almost exactly that share (Rosén's Pareto
//! sampling), and a change of one lean moves little else, as the draws stay. What "almost" leaves, and the luck of a
//! limited number of groups, is taken out by counting and correcting the leans for some rounds.

use super::GROUPS;
use super::choice::{Choice, Walk};
use super::draw::{CERTAIN, ONE, draw, log_odds};
use super::level::Shares;
use super::roster::Roster;
use alloc::vec;
use alloc::vec::Vec;

/// How often shares are counted and leans corrected.
const ROUNDS: usize = 12;
/// The lean of a node that is to stand first everywhere: beyond any draw and any other lean.
const ALWAYS: i32 = 90 * ONE;
/// The largest lean, either way, of any other node.
const LEAN_MAX: i32 = 20 * ONE;

/// The lean of each node, and the head of each group's order.
#[derive(Debug, Clone)]
pub(super) struct Ranking {
    leans: Vec<i32>,
    depth: usize,
    heads: Vec<u16>,
}

impl Ranking {
    pub(super) fn new(roster: &Roster, shares: &Shares, n: usize) -> Self {
        let depth = roster.len().min(2 * n + 16);
        let leans = shares.targets.iter().map(|&target| lean(target, CERTAIN - shares.writes)).collect();
        let mut ranking = Self { leans, depth, heads: Vec::new() };
        if roster.len() > n {
            ranking.correct(roster, shares, n);
        }
        ranking.heads = ranking.cut(roster).map(|(_, node)| node).collect();
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
        let ranked = |(node, (&key, &lean)): (usize, (&u64, &i32))| (draw(key, group) - lean, node as u16);
        roster.keys.iter().zip(&self.leans).enumerate().map(ranked).collect()
    }

    /// The first `depth` of every group's order, with their ranks.
    fn cut<'a>(&'a self, roster: &'a Roster) -> impl Iterator<Item = (i32, u16)> + 'a {
        (0..GROUPS).flat_map(move |group| {
            let mut ranks = self.ranks(roster, group);
            if self.depth < ranks.len() {
                ranks.select_nth_unstable(self.depth);
                ranks.truncate(self.depth);
            }
            ranks.sort_unstable();
            ranks
        })
    }

    /// Counts which share each node has, and moves its lean by what it lacks. Only nodes that stand near the front at
    /// the beginning are looked at.
    fn correct(&mut self, roster: &Roster, shares: &Shares, n: usize) {
        let most = CERTAIN - shares.writes;
        let mut near: Vec<(i32, u16)> = self.cut(roster).collect();
        for _ in 0..ROUNDS {
            let mut counts = vec![0; roster.len()];
            for head in near.chunks_exact_mut(self.depth) {
                count(roster, shares, n, head, &mut counts);
            }
            let before = self.leans.clone();
            for (node, lean) in self.leans.iter_mut().enumerate() {
                if *lean != ALWAYS {
                    let has = (counts[node] / u64::from(GROUPS)).clamp(CERTAIN / u64::from(GROUPS) / 2, most);
                    let step = self::odds(shares.targets[node], most) - self::odds(has, most);
                    *lean = (*lean + step).clamp(-LEAN_MAX, LEAN_MAX);
                }
            }
            for (rank, node) in &mut near {
                let node = usize::from(*node);
                *rank = *rank + before[node] - self.leans[node];
            }
            for head in near.chunks_exact_mut(self.depth) {
                head.sort_unstable();
            }
        }
    }
}

/// Adds what the nodes of one group's order hold, averaged over all writers: the first n what any owner but their own
/// writes, the next what the owners of those n write.
fn count(roster: &Roster, shares: &Shares, n: usize, head: &[(i32, u16)], counts: &mut [u64]) {
    let mut choice = Choice::new(roster, shares.per_site, Vec::with_capacity(n + 1));
    let _ = Walk::ALL.into_iter().any(|walk| choice.walk(walk, head.iter().map(|&(_, node)| node), n + 1));
    for (at, &node) in choice.chosen().iter().enumerate() {
        counts[usize::from(node)] += if at < n { CERTAIN - shares.writes } else { shares.writes * n as u64 };
    }
}

fn lean(target: u64, most: u64) -> i32 {
    if target >= most - most / 4096 { ALWAYS } else { odds(target, most).clamp(-LEAN_MAX, LEAN_MAX) }
}

/// The log-odds of a share among what the node could hold.
fn odds(share: u64, most: u64) -> i32 {
    log_odds((u128::from(share) * u128::from(CERTAIN) / u128::from(most)) as u64)
}
