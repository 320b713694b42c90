//! Placement put to the test: mixes of disks, the best that any placement could do with them, and pure hashing beside it.
//! Shared by the tests and the example that prints the table.

use super::{GROUPS, Map, Place, shape_for};
use okapi_base::{Digest, MemberId, NodeId, Shape};
use std::collections::BTreeMap;
use std::vec::Vec;

/// A group of people and their disks.
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) places: Vec<Place>,
}

impl Mix {
    /// One node for each capacity, each with an owner and at a site of its own.
    pub(crate) fn new(name: &'static str, capacities: &[u64]) -> Self {
        let place = |(at, &capacity): (usize, &u64)| Place {
            node: NodeId(name_of(at)),
            owner: MemberId(name_of(at)),
            site: at as u64,
            capacity,
        };
        Self { name, places: capacities.iter().enumerate().map(place).collect() }
    }

    /// Five friends: 1, 2, 4, 4 and 12 TB, in GB.
    pub(crate) fn friends() -> Self {
        Self::new("5 friends, 1 to 12 TB", &[1000, 2000, 4000, 4000, 12000])
    }

    /// Ten people with servers at home: 1 to 16 TB, in GB.
    pub(crate) fn homelab() -> Self {
        Self::new("10 homelab, 1 to 16 TB", &[1000, 1000, 2000, 2000, 4000, 4000, 8000, 8000, 12000, 16000])
    }

    /// As many nodes of 0.5 to 32 TB, in GB, most of them small.
    pub(crate) fn mixed(name: &'static str, count: usize) -> Self {
        let sizes = [500, 500, 1000, 1000, 1000, 2000, 2000, 2000, 4000, 4000, 4000, 8000, 8000, 16000, 32000];
        Self::new(name, &(0..count).map(|at| sizes[at * 7 % sizes.len()]).collect::<Vec<u64>>())
    }

    /// The same with two or three nodes an owner, and four owners a site.
    pub(crate) fn clustered(name: &'static str, count: usize) -> Self {
        let mut mix = Self::mixed(name, count);
        for (at, place) in mix.places.iter_mut().enumerate() {
            let owner = at * 2 / 5;
            place.owner = MemberId(name_of(owner));
            place.site = owner as u64 / 4;
        }
        mix
    }

    /// The smallest, a middle and the largest place, by number.
    pub(crate) fn by_size(&self) -> [usize; 3] {
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_by_key(|at| self.places[*at].capacity);
        [order[0], order[order.len() / 2], order[order.len() - 1]]
    }

    pub(crate) fn shape(&self) -> Shape {
        shape_for(&self.places, &self.places[0].owner)
    }

    fn owners(&self) -> Vec<MemberId> {
        let mut owners: Vec<MemberId> = self.places.iter().map(|place| place.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Room by owner, most first.
    fn rooms(&self) -> Vec<f64> {
        let of = |owner: &MemberId| {
            self.places.iter().filter(|place| place.owner == *owner).map(|place| place.capacity as f64).sum::<f64>()
        };
        let mut rooms: Vec<f64> = self.owners().iter().map(of).collect();
        rooms.sort_by(|a, b| b.total_cmp(a));
        rooms
    }

    /// The most segments that fit, whoever writes: the largest S with sum(min(c, S)) >= n S.
    pub(crate) fn optimum(&self) -> f64 {
        let (rooms, n) = (self.rooms(), self.shape().n() as f64);
        largest(rooms.iter().sum(), |level| rooms.iter().map(|room| room.min(level)).sum::<f64>() >= n * level)
    }

    /// The most that fit if all m owners write equally much and nobody holds its own. By the theorem of flows and cuts:
    /// whatever any set of owners writes must fit with the others, each of which takes one shard of a segment at most;
    /// of all sets of a owners that with the largest disks is the hardest.
    pub(crate) fn optimum_with_others(&self) -> f64 {
        let (rooms, n) = (self.rooms(), self.shape().n() as f64);
        let fits = |level: f64, writers: usize| {
            let each = level / rooms.len() as f64;
            let ceiling = |at: usize| each * (writers - usize::from(at < writers)) as f64;
            let held: f64 = rooms.iter().enumerate().map(|(at, room)| room.min(ceiling(at))).sum();
            held >= n * each * writers as f64 * (1.0 - 1e-9)
        };
        largest(rooms.iter().sum(), |level| (1..=rooms.len()).all(|writers| fits(level, writers)))
    }

    /// For each place the part of all segments of which it should hold a shard.
    fn ideals(&self) -> Vec<f64> {
        let (level, part) = (self.optimum_with_others(), 1.0 - 1.0 / self.owners().len() as f64);
        let room = |owner: MemberId| {
            self.places.iter().filter(|place| place.owner == owner).map(|place| place.capacity as f64).sum::<f64>()
        };
        let ideal = |place: &Place| {
            let all = room(place.owner);
            all.min(level * part) / level * place.capacity as f64 / all
        };
        self.places.iter().map(ideal).collect()
    }
}

/// The largest level up to `most` that fits.
fn largest(most: f64, fits: impl Fn(f64) -> bool) -> f64 {
    let (mut fit, mut too_many) = (0.0, most);
    for _ in 0..60 {
        let middle = (fit + too_many) / 2.0;
        if fits(middle) { fit = middle } else { too_many = middle }
    }
    fit
}

fn name_of(at: usize) -> [u8; 32] {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&(at as u64).to_be_bytes());
    name
}

fn numbers(mix: &Mix) -> BTreeMap<NodeId, usize> {
    mix.places.iter().enumerate().map(|(at, place)| (place.node, at)).collect()
}

/// So many of a group's owners write when movement is looked at.
const WRITERS: usize = 12;

pub(crate) const SEED: Digest = Digest([1; 32]);

/// Who holds what writers write, in each placement group: the holders of group g and writer w at g * writers + w, by
/// their numbers among the places.
pub(crate) struct Held(pub(crate) Vec<Vec<usize>>);

impl Held {
    /// By Okapi's map. `writers` are places by number, and hold the same numbers in `mix`.
    pub(crate) fn by_map(mix: &Mix, map: &Map, writers: usize) -> Self {
        let number = numbers(mix);
        Self::by(writers, |group, writer| {
            let place = &mix.places[writer];
            map.holders(group, &place.owner, &place.node).iter().map(|node| number[node]).collect()
        })
    }

    /// By pure rendezvous hashing, weighed by capacity: the n smallest of -ln(u) / capacity among others' nodes.
    pub(crate) fn by_hashing(mix: &Mix, writers: usize) -> Self {
        Self::by(writers, |group, writer| {
            let mut order = hashed(mix, u64::from(group) << 32 | writer as u64, writer);
            order.truncate(mix.shape().n());
            order
        })
    }

    fn by(writers: usize, holders: impl Fn(u16, usize) -> Vec<usize>) -> Self {
        Self(
            (0..GROUPS)
                .flat_map(|group| (0..writers).map(move |writer| (group, writer)))
                .map(|(g, w)| holders(g, w))
                .collect(),
        )
    }

    /// For each place the part of all segments of which it holds a shard.
    fn shares(&self, places: usize) -> Vec<f64> {
        let mut counts = std::vec![0_u32; places];
        self.0.iter().flatten().for_each(|node| counts[*node] += 1);
        counts.iter().map(|count| f64::from(*count) / self.0.len() as f64).collect()
    }

    /// How many segments fit, as a part of the optimum, if nobody ever takes another's place: until the first node is
    /// full.
    pub(crate) fn fill(&self, mix: &Mix) -> f64 {
        let shares = self.shares(mix.places.len());
        let fits = mix.places.iter().zip(shares).filter(|(_, share)| *share > 0.0);
        let least = fits.map(|(place, share)| place.capacity as f64 / share).fold(f64::INFINITY, f64::min);
        least / mix.optimum_with_others()
    }

    /// Shards whose holder is another than in `before`, against the least that any placement would have to move to get
    /// from the one mix's ideal shares to the other's. `numbers` tells each place of this mix its number in the other.
    pub(crate) fn movement(&self, mix: &Mix, before: &Self, other: &Mix) -> f64 {
        let name = |mix: &Mix, node: usize| mix.places[node].node;
        let moved: usize = self
            .0
            .iter()
            .zip(&before.0)
            .map(|(now, then)| {
                let stays = |node: &&usize| then.iter().any(|old| name(other, *old) == name(mix, **node));
                now.len() - now.iter().filter(stays).count()
            })
            .sum();
        let was = other.ideals();
        let ideal = |node: NodeId| other.places.iter().position(|place| place.node == node).map_or(0.0, |at| was[at]);
        let least: f64 = mix.places.iter().zip(mix.ideals()).map(|(place, is)| (is - ideal(place.node)).max(0.0)).sum();
        moved as f64 / self.0.len() as f64 / least
    }
}

/// What moves when the place of this number joins the others of its group, or leaves them: the same shards there and
/// back. The shape stays, and the same owners write before and after.
pub(crate) fn moved(mix: &Mix, at: usize) -> f64 {
    let mut places = mix.places.clone();
    let one = places.remove(at);
    let without = Mix { name: "", places: places.clone() };
    places.push(one);
    let with = Mix { name: "", places };
    let (shape, writers) = (without.shape(), without.places.len().min(WRITERS));
    let before = Held::by_map(&without, &Map::new(&without.places, &SEED, shape), writers);
    let after = Held::by_map(&with, &Map::new(&with.places, &SEED, shape), writers);
    after.movement(&with, &before, &without)
}

/// The others of a writer in the order of rendezvous hashing, one node an owner.
fn hashed(mix: &Mix, what: u64, writer: usize) -> Vec<usize> {
    let mut ranked: Vec<(f64, usize)> = mix
        .places
        .iter()
        .enumerate()
        .filter(|(_, place)| place.owner != mix.places[writer].owner)
        .map(|(at, place)| (-uniform(what, at as u64).ln() / place.capacity as f64, at))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut owners = Vec::new();
    ranked.retain(|(_, at)| {
        let owner = mix.places[*at].owner;
        let is_new = !owners.contains(&owner);
        owners.push(owner);
        is_new
    });
    ranked.into_iter().map(|(_, at)| at).collect()
}

fn uniform(what: u64, whose: u64) -> f64 {
    let mut z = what.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ whose.wrapping_mul(0xd1b5_4a32_d192_ed03);
    for _ in 0..2 {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    ((z >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// How many segments fit, as a part of the optimum, if a node that is full is passed over, until a segment finds fewer
/// than n nodes with room. Writers take turns; `segments` would fit at best.
pub(crate) fn fill_with_replacements(
    mix: &Mix,
    segments: usize,
    order: impl Fn(usize, u64, &[usize]) -> Vec<usize>,
) -> f64 {
    let unit = mix.optimum_with_others() / segments as f64;
    let mut room: Vec<i64> = mix.places.iter().map(|place| (place.capacity as f64 / unit) as i64).collect();
    let first = |owner: &MemberId| mix.places.iter().position(|place| place.owner == *owner).unwrap();
    let writers: Vec<usize> = mix.owners().iter().map(first).collect();
    let n = mix.shape().n();
    for written in 0.. {
        let mut taken: Vec<usize> = Vec::new();
        let writer = writers[written % writers.len()];
        let what = (uniform(written as u64, 77) * (1_u64 << 50) as f64) as u64;
        // A refused offer goes to the next in order, given those that agreed.
        let mut full: Vec<usize> = Vec::new();
        'next: while taken.len() < n {
            for node in order(writer, what, &taken) {
                if !taken.contains(&node) && !full.contains(&node) {
                    if room[node] > 0 {
                        taken.push(node);
                        continue 'next;
                    }
                    full.push(node);
                }
            }
            return written as f64 / segments as f64;
        }
        taken.iter().for_each(|node| room[*node] -= 1);
    }
    unreachable!("disks are finite")
}

/// By the map: first those that should hold it, then replacements.
pub(crate) fn map_order<'a>(mix: &'a Mix, map: &'a Map) -> impl Fn(usize, u64, &[usize]) -> Vec<usize> + 'a {
    let number = numbers(mix);
    move |writer, what, taken| {
        let (place, group) = (&mix.places[writer], (what % u64::from(GROUPS)) as u16);
        let names: Vec<NodeId> = taken.iter().map(|at| mix.places[*at].node).collect();
        let mut order: Vec<usize> =
            map.holders(group, &place.owner, &place.node).iter().map(|node| number[node]).collect();
        order.extend(map.replacement(group, &place.owner, &place.node, &names).map(|node| number[&node]));
        order
    }
}

/// By rendezvous hashing: on along the order.
pub(crate) fn hash_order(mix: &Mix) -> impl Fn(usize, u64, &[usize]) -> Vec<usize> + '_ {
    move |writer, what, _| hashed(mix, what, writer)
}
