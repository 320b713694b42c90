//! The durable records of a peer: their keys, and the forms that are this crate's own. `docs/format/peer.md` describes
//! them byte by byte.

use super::hold::HeldShard;
use super::segment::Segment;
use alloc::sync::Arc;
use alloc::vec::Vec;
use okapi_base::{Digest, NodeId, SHARDS_MAX, SegmentName};
use okapi_wire::peer::shard::{Deed, Release, ShardId};
use okapi_wire::{BodyError, BodyReader, BodyWriter, Message};

/// The first byte of a key says what kind of record it is.
pub(crate) mod kind {
    /// Which group.
    pub(crate) const GROUP: u8 = b'g';
    /// A member record.
    pub(crate) const MEMBER: u8 = b'm';
    /// A segment of one's own.
    pub(crate) const SEGMENT: u8 = b's';
    /// A shard held.
    pub(crate) const HELD: u8 = b'h';
    /// A deed in force of another's segment.
    pub(crate) const DEED: u8 = b'd';
    /// A draft of another's deed.
    pub(crate) const DRAFT: u8 = b'f';
    /// A ticket to join.
    pub(crate) const TICKET: u8 = b't';
    /// The highest serial number of a vouch that was given.
    pub(crate) const SERIAL: u8 = b'n';
    /// Records of the books and contracts.
    pub(crate) const LEDGER: u8 = b'l';
    /// Records of the author.
    pub(crate) const AUTHOR: u8 = b'a';
    /// Records of the witness.
    pub(crate) const WITNESS: u8 = b'w';
    /// What was seen of other nodes.
    pub(crate) const HISTORY: u8 = b'u';
    /// An attestation given to this node.
    pub(crate) const ATTESTED: u8 = b'v';
}

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::from([kind]);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(crate) fn segment_key(name: SegmentName) -> Vec<u8> {
    key(kind::SEGMENT, &[&name.0])
}

pub(crate) fn held_key(shard: &ShardId) -> Vec<u8> {
    key(kind::HELD, &[&encode(shard)])
}

pub(crate) fn deed_key(owner: NodeId, segment: SegmentName) -> Vec<u8> {
    key(kind::DEED, &[&owner.0, &segment.0])
}

pub(crate) fn draft_key(owner: NodeId, segment: SegmentName) -> Vec<u8> {
    key(kind::DRAFT, &[&owner.0, &segment.0])
}

pub(crate) fn node_key(kind: u8, node: NodeId) -> Vec<u8> {
    key(kind, &[&node.0])
}

pub(crate) fn ticket_key(secret: &[u8; 32]) -> Vec<u8> {
    key(kind::TICKET, &[secret])
}

pub(crate) fn prefixed(kind: u8, rest: &[u8]) -> Vec<u8> {
    key(kind, &[rest])
}

/// A message in bytes.
pub(crate) fn encode<T: Message>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut BodyWriter::new(&mut bytes));
    bytes
}

/// A shard held: root 32, bytes u64.
pub(crate) fn held_value(held: &HeldShard) -> Vec<u8> {
    let mut bytes = held.root.0.to_vec();
    bytes.extend_from_slice(&held.bytes.to_le_bytes());
    bytes
}

pub(crate) fn parse_held(key: &[u8], value: &[u8]) -> Result<(ShardId, HeldShard), BodyError> {
    let mut body = BodyReader::new(value);
    let held = HeldShard { root: Digest(body.array()?), bytes: body.u64()? };
    body.end()?;
    Ok((ShardId::parse(key)?, held))
}

/// A segment of one's own: version u8, flags u8 (1 live, 2 has a deed, 4 has a release, 8 safe), zero u16, bytes u64,
/// key (length u16, bytes), lost (count u8, indexes), untold (count u16, nodes 32 each), deed, release.
pub(crate) fn segment_value(segment: &Segment) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut body = BodyWriter::new(&mut bytes);
    let flag = |is: bool, bit: u8| if is { bit } else { 0 };
    body.u8(1);
    body.u8(flag(segment.live, 1)
        | flag(segment.deed.is_some(), 2)
        | flag(segment.release.is_some(), 4)
        | flag(segment.safe, 8));
    body.u16(0);
    body.u64(segment.bytes);
    body.u16(segment.key.len() as u16);
    body.bytes(&segment.key);
    body.u8(segment.lost.len() as u8);
    segment.lost.iter().for_each(|index| body.u8(*index));
    body.u16(segment.untold.len() as u16);
    segment.untold.keys().for_each(|node| body.bytes(&node.0));
    if let Some(deed) = &segment.deed {
        deed.encode(&mut body);
    }
    if let Some(release) = &segment.release {
        release.encode(&mut body);
    }
    bytes
}

pub(crate) fn parse_segment(key: &[u8], value: &[u8]) -> Result<(SegmentName, Segment, Vec<NodeId>), BodyError> {
    let mut key = BodyReader::new(key);
    let name = SegmentName(key.array()?);
    key.end()?;
    let mut body = BodyReader::new(value);
    if body.u8()? != 1 {
        return Err(BodyError::BadValue { field: "version" });
    }
    let (flags, _) = (body.u8()?, body.u16()?);
    if flags & !0xf != 0 {
        return Err(BodyError::BadValue { field: "flags" });
    }
    let bytes = body.u64()?;
    if bytes == 0 {
        return Err(BodyError::BadValue { field: "bytes" });
    }
    let key_bytes = usize::from(body.u16()?);
    let mut segment = Segment::new(bytes, Arc::from(body.take(key_bytes)?));
    segment.live = flags & 1 != 0;
    segment.safe = flags & 8 != 0;
    for _ in 0..body.u8()? {
        let index = body.u8()?;
        if usize::from(index) >= SHARDS_MAX {
            return Err(BodyError::BadValue { field: "lost" });
        }
        segment.lost.insert(index);
    }
    let untold = (0..body.u16()?).map(|_| body.array().map(NodeId)).collect::<Result<Vec<_>, _>>()?;
    segment.deed = if flags & 2 != 0 { Some(Deed::decode(&mut body)?) } else { None };
    segment.release = if flags & 4 != 0 { Some(Release::decode(&mut body)?) } else { None };
    body.end()?;
    Ok((name, segment, untold))
}

#[cfg(test)]
mod tests;
