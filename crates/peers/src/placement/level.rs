//! The level to which a group can be filled, and with it the share of all segments that each node is to hold.
//!
//! If every segment puts n shards on n places, then S segments fit exactly if sum(min(c, S)) >= n S: no place holds
//! more than one shard of a segment, whatever its room. The largest such S is the level. What an owner writes lies
//! with others, so its nodes can hold shards only of what the others write. Who writes how much is not known here;
//! all are taken to write equally much.

use super::draw::CERTAIN;
use super::roster::Roster;
use alloc::vec;
use alloc::vec::Vec;

/// Bits by which capacities are scaled up, so that tiny ones still give fine levels.
const SCALE: u32 = 16;
/// Sites are kept apart as long as the level stays at so many quarters of what it is without that.
const QUARTERS: u128 = 3;

/// What each node is to hold.
#[derive(Debug)]
pub(super) struct Shares {
    /// For each node, the part of all segments of which it is to hold a shard; [`CERTAIN`] is all.
    pub(super) targets: Vec<u64>,
    /// The part of all segments that owners write of whom one has to look for another holder in the node's place.
    pub(super) writes: u64,
    /// How many shards of a segment one site may hold before others are looked for.
    pub(super) per_site: usize,
}

impl Shares {
    /// The shares for segments of `n` shards.
    pub(super) fn new(roster: &Roster, n: usize) -> Self {
        let members = roster.members.len();
        let apart = members > n;
        let nodes: Vec<u16> = (0..roster.len() as u16).collect();
        let limit = if apart {
            Limit { of: &roster.owners, times: 1, writers: members as u128 }
        } else {
            Limit { of: &nodes, times: 1, writers: u128::MAX }
        };
        let level = level(roster, n, &[limit]);
        let sites = |times| Limit { of: &roster.sites, times, writers: u128::MAX };
        let kept = |times: usize| self::level(roster, n, &[limit, sites(times as u128)]) >= level / 4 * QUARTERS;
        Self {
            targets: limit.targets(roster, level),
            writes: if apart { CERTAIN / members as u64 } else { 0 },
            per_site: (1..n).find(|&times| kept(times)).unwrap_or(n),
        }
    }
}

/// Sets of nodes, each of which holds at most so many shards of a segment.
#[derive(Debug, Clone, Copy)]
struct Limit<'a> {
    /// For each node, the number of its set.
    of: &'a [u16],
    times: u128,
    /// One out of so many segments cannot be held at all.
    writers: u128,
}

impl Limit<'_> {
    /// The most shards that each set can hold when there are `level` segments, by room alone.
    fn rooms(&self, roster: &Roster, level: u128) -> Vec<u128> {
        let mut rooms = vec![0; self.of.iter().max().map_or(0, |&last| usize::from(last) + 1)];
        for (node, &set) in self.of.iter().enumerate() {
            rooms[usize::from(set)] += room(roster, node, level);
        }
        rooms
    }

    fn ceiling(&self, level: u128) -> u128 {
        self.times * (level - level / self.writers)
    }

    fn targets(&self, roster: &Roster, level: u128) -> Vec<u64> {
        if level == 0 {
            return vec![CERTAIN; roster.len()];
        }
        let rooms = self.rooms(roster, level);
        let of_node = |(node, &set): (usize, &u16)| {
            let of_set = rooms[usize::from(set)];
            let held = part(of_set.min(self.ceiling(level)), level);
            (held * part(room(roster, node, level), of_set) / u128::from(CERTAIN)) as u64
        };
        self.of.iter().enumerate().map(of_node).collect()
    }
}

/// The largest number of segments of `n` shards that fit within all limits, scaled.
fn level(roster: &Roster, n: usize, limits: &[Limit<'_>]) -> u128 {
    let fits = |level: u128| {
        limits.iter().all(|limit| {
            let ceiling = limit.ceiling(level);
            limit.rooms(roster, level).into_iter().map(|room| room.min(ceiling)).sum::<u128>() >= level * n as u128
        })
    };
    let all: u128 = roster.capacities.iter().map(|&capacity| u128::from(capacity) << SCALE).sum();
    let (mut fit, mut too_many) = (0, all / n as u128 + 1);
    while too_many - fit > 1 {
        let middle = fit.midpoint(too_many);
        if fits(middle) {
            fit = middle;
        } else {
            too_many = middle;
        }
    }
    fit
}

fn room(roster: &Roster, node: usize, level: u128) -> u128 {
    level.min(u128::from(roster.capacities[node]) << SCALE)
}

fn part(some: u128, all: u128) -> u128 {
    some * u128::from(CERTAIN) / all
}
