//! A disk in memory under a peer, honest or not.

use okapi_base::{Digest, SegmentName};
use okapi_peers::labour::{NoRoom, Yard, labour};
use okapi_peers::{Blob, Done, ShardId, Work};
use okapi_seal::hash;
use std::collections::{BTreeMap, BTreeSet};

/// How a holder treats what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Honesty {
    /// As it should.
    Honest,
    /// Says that it stored, and throws away; whoever asks for it is told that it is lost.
    Drops,
    /// Throws away, and makes up what it is asked for.
    MakesUp,
    /// Changes one byte of what it stores, and finds that when it looks.
    Rots,
    /// Changes one byte, and proves without a look at what it has.
    RotsUnseen,
    /// Keeps every tree, but only one leaf of so many, and makes the others up.
    KeepsOneIn(u32),
    /// Serves other bytes than it was given.
    Swaps,
}

/// What lies on one disk.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) segments: BTreeMap<SegmentName, Blob>,
    pub(crate) shards: BTreeMap<ShardId, Blob>,
    /// Bytes of shards that really lie here, and the most there ever were.
    pub(crate) used: u64,
    pub(crate) peak: u64,
    /// How often a shard came or went.
    pub(crate) changes: u64,
    /// Bytes of shards that the disk has room for.
    pub(crate) room: u64,
    pub(crate) honesty: Honesty,
}

impl Heap {
    pub(crate) fn new(room: u64) -> Self {
        let (segments, shards) = (BTreeMap::new(), BTreeMap::new());
        Self { segments, shards, used: 0, peak: 0, changes: 0, room, honesty: Honesty::Honest }
    }

    /// Does work as honest as this disk is.
    pub(crate) fn work(&mut self, work: Work) -> Done {
        match (self.honesty, work) {
            (Honesty::KeepsOneIn(every), Work::Prove { shard, root, leaves }) => {
                let kept = leaves.iter().all(|leaf| leaf % every == 0);
                match labour(self, Work::Prove { shard, root, leaves }) {
                    Done::Proofs(proofs) if !kept => {
                        let mut made_up = proofs.to_vec();
                        *made_up.last_mut().expect("a proof has a leaf") ^= 1;
                        Done::Proofs(made_up.into())
                    }
                    done => done,
                }
            }
            (Honesty::MakesUp | Honesty::RotsUnseen, Work::Prove { shard, leaves, .. }) => {
                let root = self.shard(shard).map_or(Digest([0; 32]), |bytes| hash(&bytes));
                labour(self, Work::Prove { shard, root, leaves })
            }
            (Honesty::Swaps, Work::ReadShard { shard, root }) => match labour(self, Work::ReadShard { shard, root }) {
                Done::Bytes(bytes) => Done::Bytes(bytes.iter().map(|byte| byte ^ 1).collect()),
                done => done,
            },
            (_, work) => labour(self, work),
        }
    }

    /// Removes shards that nobody knows of: a crash left them behind.
    pub(crate) fn sweep(&mut self, known: &BTreeSet<ShardId>) {
        let strange: Vec<ShardId> = self.shards.keys().filter(|shard| !known.contains(shard)).copied().collect();
        strange.into_iter().for_each(|shard| self.drop_shard(shard));
    }
}

impl Yard for Heap {
    fn segment(&mut self, name: SegmentName) -> Option<Blob> {
        self.segments.get(&name).cloned()
    }

    fn put_segment(&mut self, name: SegmentName, bytes: Blob) -> Result<(), NoRoom> {
        self.segments.insert(name, bytes);
        Ok(())
    }

    fn shard(&mut self, shard: ShardId) -> Option<Blob> {
        self.shards.get(&shard).cloned()
    }

    fn put_shard(&mut self, shard: ShardId, bytes: Blob) -> Result<(), NoRoom> {
        let bytes = match self.honesty {
            Honesty::Drops => return Ok(()),
            Honesty::MakesUp => bytes.iter().map(|_| 0).collect(),
            Honesty::Rots | Honesty::RotsUnseen => {
                bytes.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 0)).collect()
            }
            _ => bytes,
        };
        self.drop_shard(shard);
        if self.used + bytes.len() as u64 > self.room {
            return Err(NoRoom);
        }
        self.changes += 1;
        self.used += bytes.len() as u64;
        self.peak = self.peak.max(self.used);
        self.shards.insert(shard, bytes);
        Ok(())
    }

    fn drop_shard(&mut self, shard: ShardId) {
        if let Some(bytes) = self.shards.remove(&shard) {
            self.changes += 1;
            self.used -= bytes.len() as u64;
        }
    }
}
