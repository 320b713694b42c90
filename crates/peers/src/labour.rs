//! Labour: does the heavy work that a peer gives out. The same for every driver; only where bytes lie differs.

use crate::machine::{Blob, Done, ShardId, Work};
use crate::peer::join_proofs;
use crate::placement::Map;
use alloc::sync::Arc;
use alloc::vec::Vec;
use okapi_base::{Digest, SegmentName, Shape};
use okapi_seal::{code, hash, proof};

/// Where the bytes of segments and shards lie.
pub trait Yard {
    /// A live segment of one's own, as it lies: whether it is what its name says is not looked at here.
    fn segment(&mut self, name: SegmentName) -> Option<Blob>;
    /// Puts a segment that came back into the local store, durably.
    ///
    /// # Errors
    /// [`NoRoom`] if the disk is full; nothing is left behind then.
    fn put_segment(&mut self, name: SegmentName, bytes: Blob) -> Result<(), NoRoom>;
    /// A shard of the server half, as it lies.
    fn shard(&mut self, shard: ShardId) -> Option<Blob>;
    /// Writes a shard into the server half, durably.
    ///
    /// # Errors
    /// [`NoRoom`] if the disk is full; nothing is left behind then.
    fn put_shard(&mut self, shard: ShardId, bytes: Blob) -> Result<(), NoRoom>;
    /// Removes a shard, if it is there.
    fn drop_shard(&mut self, shard: ShardId);
}

/// The disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no room on the disk; give Okapi more of it, or delete something")]
pub struct NoRoom;

/// Does one piece of work.
///
/// # Panics
/// If the work asks for shards that its shape does not have, which no peer does.
pub fn labour(yard: &mut impl Yard, work: Work) -> Done {
    match work {
        Work::Place { places, seed, shape } => Done::Placed(Arc::new(Map::new(&places, &seed, shape))),
        Work::Code { segment, shape, wanted } => encode(yard, segment, shape, &wanted).unwrap_or(Done::Lost),
        Work::Rebuild { bytes, shape, have, wanted } => rebuild(bytes, shape, &have, &wanted),
        Work::Restore { segment, bytes, shape, have } => restore(yard, segment, bytes, shape, &have),
        Work::StoreShard { shard, root, bytes } if hash(&bytes) == root => stored(yard.put_shard(shard, bytes)),
        Work::Check { root, bytes } if hash(&bytes) == root => Done::Well,
        Work::StoreShard { .. } | Work::Check { .. } => Done::Lost,
        Work::ReadShard { shard, root } => {
            yard.shard(shard).filter(|bytes| hash(bytes) == root).map_or(Done::Lost, Done::Bytes)
        }
        Work::DropShard { shard } => {
            yard.drop_shard(shard);
            Done::Well
        }
        Work::Prove { shard, root, leaves } => prove(yard, shard, root, &leaves).unwrap_or(Done::Lost),
    }
}

fn stored(outcome: Result<(), NoRoom>) -> Done {
    outcome.map_or(Done::Full, |()| Done::Well)
}

/// The roots of all shards need all shards; only those that are wanted are kept.
fn encode(yard: &mut impl Yard, name: SegmentName, shape: Shape, wanted: &[u8]) -> Option<Done> {
    let segment = yard.segment(name).filter(|bytes| hash(bytes).0 == name.0)?;
    let copies = |bytes: &Blob| {
        let root = Digest(name.0);
        let shards = wanted.iter().map(|index| (*index, bytes.clone())).collect();
        Done::Shards { shards, roots: alloc::vec![root; shape.n()] }
    };
    if shape.k() == 1 {
        return Some(copies(&segment));
    }
    let mut shards = Vec::with_capacity(wanted.len());
    let mut roots = Vec::with_capacity(shape.n());
    let all: Vec<u8> = (0..shape.n() as u8).collect();
    for (index, bytes) in (0..).zip(code::encode(shape, &segment, &all).expect("all indexes are the shape's")) {
        roots.push(hash(&bytes));
        if wanted.contains(&index) {
            shards.push((index, bytes));
        }
    }
    Some(Done::Shards { shards, roots })
}

fn rebuild(bytes: u64, shape: Shape, have: &[(u8, Blob)], wanted: &[u8]) -> Done {
    let have: Vec<(u8, &[u8])> = have.iter().map(|(index, bytes)| (*index, &**bytes)).collect();
    match code::rebuild(shape, bytes, &have, wanted) {
        Ok(shards) => {
            let shards = wanted.iter().copied().zip(shards).collect();
            Done::Shards { shards, roots: Vec::new() }
        }
        Err(_) => Done::Lost,
    }
}

fn restore(yard: &mut impl Yard, name: SegmentName, bytes: u64, shape: Shape, have: &[(u8, Blob)]) -> Done {
    let have: Vec<(u8, &[u8])> = have.iter().map(|(index, bytes)| (*index, &**bytes)).collect();
    match code::join(shape, bytes, &have) {
        Ok(segment) if hash(&segment).0 == name.0 => stored(yard.put_segment(name, segment)),
        _ => Done::Lost,
    }
}

fn prove(yard: &mut impl Yard, shard: ShardId, root: Digest, leaves: &[u32]) -> Option<Done> {
    let bytes = yard.shard(shard).filter(|bytes| hash(bytes) == root)?;
    let proofs = proof::prove_all(&bytes, leaves).ok()?;
    Some(Done::Proofs(Blob::from(join_proofs(&proofs))))
}

#[cfg(test)]
mod tests;
