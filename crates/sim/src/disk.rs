//! The pretend disk of one host: records, live segments and shards. It rots, it is full, it tears what a crash interrupts,
//! and it is lost.

use okapi_base::{Digest, SegmentName};
use okapi_peers::labour::{NoRoom, Yard};
use okapi_peers::{Blob, ShardId, Thing};
use okapi_seal::hash;
use std::collections::{BTreeMap, BTreeSet};

/// Records to be written, all or none.
pub type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// How a holder treats what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Honesty {
    /// It keeps it.
    Honest,
    /// It says that it keeps it, and throws it away.
    Discards,
    /// It keeps only the first half of each shard.
    Halves,
    /// It keeps nothing and does not answer when it is asked for proof.
    Silent,
}

/// A shard as it lies.
#[derive(Debug, Clone)]
pub struct Lying {
    /// Its bytes, good or not.
    pub bytes: Blob,
    /// What they should hash to.
    pub root: Digest,
    /// Whether they do.
    pub good: bool,
}

/// The disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The peer's durable records.
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Live segments and whether each is whole.
    pub segments: BTreeMap<SegmentName, (Blob, bool)>,
    /// Their wrapped data keys.
    pub keys: BTreeMap<SegmentName, Blob>,
    /// Shards of the server half.
    pub shards: BTreeMap<ShardId, Lying>,
    /// Segments the store gave up, which the peer may not know yet.
    pub released: BTreeSet<SegmentName>,
    /// Bytes there is room for, in segments and shards together.
    pub room: u64,
    /// How its owner treats shards.
    pub honesty: Honesty,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub const fn new(room: u64, honesty: Honesty) -> Self {
        Self {
            records: BTreeMap::new(),
            segments: BTreeMap::new(),
            keys: BTreeMap::new(),
            shards: BTreeMap::new(),
            released: BTreeSet::new(),
            room,
            honesty,
        }
    }

    /// Makes a batch durable.
    pub fn keep(&mut self, writes: Writes) {
        for (key, value) in writes {
            match value {
                Some(value) => drop(self.records.insert(key, value)),
                None => drop(self.records.remove(&key)),
            }
        }
    }

    /// Bytes of shards, and of live segments.
    #[must_use]
    pub fn used(&self) -> (u64, u64) {
        let shards = self.shards.values().map(|lying| lying.bytes.len() as u64).sum();
        (shards, self.segments.values().map(|(bytes, _)| bytes.len() as u64).sum())
    }

    /// Flips a bit of something.
    pub fn rot(&mut self, thing: Thing, bit: u64) {
        match thing {
            Thing::Segment(name) => {
                let Some((bytes, good)) = self.segments.get_mut(&name) else { return };
                (*bytes, *good) = (flipped(bytes, bit), false);
            }
            Thing::Shard(shard) => {
                let Some(lying) = self.shards.get_mut(&shard) else { return };
                (lying.bytes, lying.good) = (flipped(&lying.bytes, bit), false);
            }
        }
    }

    /// What a scrub finds: everything whose bytes are not what they should be.
    #[must_use]
    pub fn scrub(&self) -> Vec<Thing> {
        let shards = self.shards.iter().filter(|(_, lying)| hash(&lying.bytes) != lying.root);
        let segments = self.segments.iter().filter(|(name, (bytes, _))| hash(bytes).0 != name.0);
        let shards = shards.map(|(shard, _)| Thing::Shard(*shard));
        shards.chain(segments.map(|(name, _)| Thing::Segment(*name))).collect()
    }
}

fn flipped(bytes: &Blob, bit: u64) -> Blob {
    let mut bytes = bytes.to_vec();
    let at = (bit / 8) as usize % bytes.len();
    bytes[at] ^= 1 << (bit % 8);
    Blob::from(bytes)
}

impl Yard for Disk {
    fn segment(&mut self, name: SegmentName) -> Option<Blob> {
        self.segments.get(&name).map(|(bytes, _)| bytes.clone())
    }

    fn put_segment(&mut self, name: SegmentName, bytes: Blob) -> Result<(), NoRoom> {
        let (shards, segments) = self.used();
        if shards + segments + bytes.len() as u64 > self.room {
            return Err(NoRoom);
        }
        self.segments.insert(name, (bytes, true));
        Ok(())
    }

    fn shard(&mut self, shard: ShardId) -> Option<Blob> {
        self.shards.get(&shard).map(|lying| lying.bytes.clone())
    }

    fn put_shard(&mut self, shard: ShardId, bytes: Blob) -> Result<(), NoRoom> {
        let (shards, segments) = self.used();
        if shards + segments + bytes.len() as u64 > self.room {
            return Err(NoRoom);
        }
        let root = hash(&bytes);
        match self.honesty {
            Honesty::Honest => drop(self.shards.insert(shard, Lying { bytes, root, good: true })),
            Honesty::Discards | Honesty::Silent => {}
            Honesty::Halves => {
                let half = Blob::from(&bytes[..bytes.len() / 2]);
                self.shards.insert(shard, Lying { bytes: half, root, good: false });
            }
        }
        Ok(())
    }

    fn drop_shard(&mut self, shard: ShardId) {
        self.shards.remove(&shard);
    }
}
