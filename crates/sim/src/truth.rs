//! What really is so, whatever the peers believe: which segments were promised to be safe, and where intact bytes of them lie.

use crate::disk::Lying;
use crate::host::{Fate, Host};
use okapi_base::{NodeId, SegmentName, Shape};
use okapi_peers::{Blob, ShardId};
use std::collections::BTreeMap;

/// A segment that somebody wrote.
#[derive(Debug, Clone)]
pub struct Fact {
    /// Which host wrote it.
    pub owner: usize,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its data key, wrapped.
    pub key: Blob,
    /// Whether its owner was told that it is safe.
    pub safe: bool,
    /// Shards of the shape in which it was safe last.
    pub shards: u32,
    /// Whether its owner gave it up.
    pub released: bool,
}

/// All segments by name.
#[derive(Debug, Default)]
pub struct Truth {
    facts: BTreeMap<SegmentName, Fact>,
    written: u64,
}

/// Where intact shards lie: a bit for each index, by segment and k.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Intact(BTreeMap<(NodeId, SegmentName, u8), u32>);

impl Intact {
    /// What lies on honest hosts, but for those that `but` leaves out.
    pub fn on(hosts: &[Host], but: impl Fn(usize) -> bool) -> Self {
        let mut intact = Self::default();
        let counted = |(at, host): &(usize, &Host)| host.fate == Fate::There && host.is_honest() && !but(*at);
        for (_, host) in hosts.iter().enumerate().filter(counted) {
            intact.add(&host.disk.shards);
        }
        intact
    }

    /// What lies on honest hosts of one segment.
    #[must_use]
    pub fn of_segment(hosts: &[Host], owner: NodeId, segment: SegmentName) -> Self {
        let mut intact = Self::default();
        let first = ShardId { owner, segment, k: 0, index: 0 };
        let last = ShardId { owner, segment, k: u8::MAX, index: u8::MAX };
        for host in hosts.iter().filter(|host| host.fate == Fate::There && host.is_honest()) {
            intact.add(host.disk.shards.range(first..=last));
        }
        intact
    }

    fn add<'a>(&mut self, shards: impl IntoIterator<Item = (&'a ShardId, &'a Lying)>) {
        for (shard, _) in shards.into_iter().filter(|(_, lying)| lying.good) {
            *self.0.entry((shard.owner, shard.segment, shard.k)).or_insert(0) |= 1 << shard.index;
        }
    }

    /// How many different shards of a segment there are beyond those that rebuild it, in the best of its shapes; nothing
    /// if none can be rebuilt.
    #[must_use]
    pub fn spare(&self, owner: NodeId, segment: SegmentName) -> Option<u32> {
        let spare = |k: u8| self.count(owner, segment, k).checked_sub(u32::from(k));
        [1, 2, 4, 8].into_iter().filter_map(spare).max()
    }

    /// How many different shards of one shape there are.
    #[must_use]
    pub fn count(&self, owner: NodeId, segment: SegmentName, k: u8) -> u32 {
        self.0.get(&(owner, segment, k)).copied().unwrap_or(0).count_ones()
    }
}

impl Truth {
    /// Somebody wrote a segment.
    pub fn wrote(&mut self, name: SegmentName, fact: Fact) {
        self.written += fact.bytes;
        self.facts.insert(name, fact);
    }

    /// Bytes of all segments ever written.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// What is so of a segment.
    #[must_use]
    pub fn of(&self, name: SegmentName) -> Option<&Fact> {
        self.facts.get(&name)
    }

    /// Its owner was told that it is safe in this shape.
    pub fn promised(&mut self, name: SegmentName, shape: Shape) {
        if let Some(fact) = self.facts.get_mut(&name) {
            (fact.safe, fact.shards) = (true, shape.n() as u32);
        }
    }

    /// Its owner gave it up.
    pub fn released(&mut self, name: SegmentName) {
        if let Some(fact) = self.facts.get_mut(&name) {
            fact.released = true;
        }
    }

    /// The owner's disk is gone, or set back, without segments that were never promised.
    pub fn forget_unpromised(&mut self, owner: usize, left: impl Fn(&SegmentName) -> bool) {
        self.facts.retain(|name, fact| fact.owner != owner || fact.safe || left(name));
    }

    /// Segments that must not be lost.
    pub fn promises(&self) -> impl Iterator<Item = (SegmentName, &Fact)> {
        self.facts.iter().filter(|(_, fact)| fact.safe && !fact.released).map(|(name, fact)| (*name, fact))
    }

    /// All segments that were not given up.
    pub fn wanted(&self) -> impl Iterator<Item = (SegmentName, &Fact)> {
        self.facts.iter().filter(|(_, fact)| !fact.released).map(|(name, fact)| (*name, fact))
    }
}
