//! Deeds and what holders and menders sign about shards.
//!
//! A deed is its owner's description of one segment's shards and of who holds them. It names no secret but the wrapped
//! data key, and travels beside every shard, so that any holder can help to mend or restore the segment.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::vec::Vec;
use okapi_base::{Digest, GroupId, NodeId, SegmentName, Shape};

/// Version of the records in this module.
pub const VERSION: u8 = 1;
/// Bytes of a wrapped data key, at most.
pub const KEY_MAX: usize = 1024;
/// Amendments that travel with one deed, at most.
pub const AMENDMENTS_MAX: usize = 64;

/// Names one shard. Body: owner 32, segment 32, k u8, index u8.
///
/// 1of1, 1of2 and 1of3 have the same shards, so that `k` and the index are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId {
    /// The node whose segment it is.
    pub owner: NodeId,
    /// The segment.
    pub segment: SegmentName,
    /// How many shards rebuild the segment.
    pub k: u8,
    /// Which of the shards.
    pub index: u8,
}

/// One shard in a deed. Body: root 32, holder 32 (zeros: nobody).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// BLAKE3 of the shard.
    pub root: Digest,
    /// The node that holds it.
    pub holder: Option<NodeId>,
}

/// The owner's description of one segment's shards. Body: version u8, shape u8, zero u16, revision u32, group 32,
/// owner 32, segment 32, bytes u64, stamp u64, wrapped key (length u16, bytes), `n` slots, signature 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// The group.
    pub group: GroupId,
    /// The node whose segment it is.
    pub owner: NodeId,
    /// The segment.
    pub segment: SegmentName,
    /// Its length in bytes, at least 1.
    pub bytes: u64,
    /// Its shape.
    pub shape: Shape,
    /// A higher revision replaces a lower one. From 1.
    pub revision: u32,
    /// When it was signed, in milliseconds since 1970.
    pub stamp: u64,
    /// The data key, wrapped to the owner.
    pub key: Vec<u8>,
    /// One for each index, `shape.n()` in all.
    pub slots: Vec<Slot>,
    /// The owner's signature of all before.
    pub signature: [u8; 64],
}

/// The owner's word that a segment is no longer needed; final. Body: version u8, zero 7, group 32, owner 32,
/// segment 32, stamp u64, signature 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The group.
    pub group: GroupId,
    /// The node whose segment it was.
    pub owner: NodeId,
    /// The segment.
    pub segment: SegmentName,
    /// When it was signed, in milliseconds since 1970.
    pub stamp: u64,
    /// The owner's signature of all before.
    pub signature: [u8; 64],
}

/// A mender's word that it gave a missing shard to a new holder while the owner was away. Body: version u8, index u8,
/// zero u16, revision u32, group 32, owner 32, segment 32, holder 32, mender 32, stamp u64, signature 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amendment {
    /// The group.
    pub group: GroupId,
    /// The node whose segment it is.
    pub owner: NodeId,
    /// The segment.
    pub segment: SegmentName,
    /// Which revision of the deed is amended.
    pub revision: u32,
    /// Which shard.
    pub index: u8,
    /// Who holds it now, beside whoever the deed names.
    pub holder: NodeId,
    /// Who made it.
    pub mender: NodeId,
    /// When, in milliseconds since 1970.
    pub stamp: u64,
    /// The mender's signature of all before.
    pub signature: [u8; 64],
}

/// A holder's word that it has a shard, durably. Body: version u8, zero 7, group 32, shard, root 32, holder 32,
/// stamp u64, signature 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The group.
    pub group: GroupId,
    /// Which shard.
    pub shard: ShardId,
    /// BLAKE3 of its bytes.
    pub root: Digest,
    /// Who holds it.
    pub holder: NodeId,
    /// When it was signed, in milliseconds since 1970.
    pub stamp: u64,
    /// The holder's signature of all before.
    pub signature: [u8; 64],
}

/// A deed with what menders added. Body: deed, amendments (count u16, each).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmendedDeed {
    /// The deed.
    pub deed: Deed,
    /// The amendments of this revision of it.
    pub amendments: Vec<Amendment>,
}

/// A record that is signed by appending the signature to its body.
pub trait Signed: Message {
    /// The context under which its hash is made.
    const CONTEXT: &'static str;

    /// Its signature.
    fn signature(&self) -> [u8; 64];

    /// Its body without the signature: what is hashed and signed.
    #[must_use]
    fn unsigned(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut BodyWriter::new(&mut bytes));
        bytes.truncate(bytes.len() - 64);
        bytes
    }
}

impl Signed for Deed {
    const CONTEXT: &'static str = "okapi 2026 shard: deed";

    fn signature(&self) -> [u8; 64] {
        self.signature
    }
}

impl Signed for Release {
    const CONTEXT: &'static str = "okapi 2026 shard: release";

    fn signature(&self) -> [u8; 64] {
        self.signature
    }
}

impl Signed for Amendment {
    const CONTEXT: &'static str = "okapi 2026 shard: amendment";

    fn signature(&self) -> [u8; 64] {
        self.signature
    }
}

impl Signed for Receipt {
    const CONTEXT: &'static str = "okapi 2026 shard: receipt";

    fn signature(&self) -> [u8; 64] {
        self.signature
    }
}

impl Message for ShardId {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.owner.0);
        body.bytes(&self.segment.0);
        body.u8(self.k);
        body.u8(self.index);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (owner, segment) = (NodeId(body.array()?), SegmentName(body.array()?));
        let (k, index) = (body.u8()?, body.u8()?);
        if !Shape::ALL.iter().any(|shape| shape.k() == usize::from(k) && usize::from(index) < shape.n()) {
            return Err(BodyError::BadValue { field: "shard" });
        }
        Ok(Self { owner, segment, k, index })
    }
}

impl Message for Slot {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.root.0);
        body.bytes(&self.holder.map_or([0; 32], |holder| holder.0));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (root, holder) = (Digest(body.array()?), body.array()?);
        Ok(Self { root, holder: (holder != [0; 32]).then_some(NodeId(holder)) })
    }
}

fn version(body: &mut BodyReader<'_>) -> Result<(), BodyError> {
    if body.u8()? == VERSION { Ok(()) } else { Err(BodyError::BadValue { field: "version" }) }
}

fn zeros<const N: usize>(body: &mut BodyReader<'_>) -> Result<(), BodyError> {
    if body.array::<N>()? == [0; N] { Ok(()) } else { Err(BodyError::BadValue { field: "zero" }) }
}

impl Message for Deed {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        assert_eq!(self.slots.len(), self.shape.n(), "a deed has a slot for each shard");
        assert!(self.key.len() <= KEY_MAX, "a wrapped key is short");
        body.u8(VERSION);
        body.u8(self.shape.code());
        body.u16(0);
        body.u32(self.revision);
        body.bytes(&self.group.0);
        body.bytes(&self.owner.0);
        body.bytes(&self.segment.0);
        body.u64(self.bytes);
        body.u64(self.stamp);
        body.u16(self.key.len() as u16);
        body.bytes(&self.key);
        for slot in &self.slots {
            slot.encode(body);
        }
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        version(body)?;
        let shape = Shape::from_code(body.u8()?).ok_or(BodyError::BadValue { field: "shape" })?;
        zeros::<2>(body)?;
        let revision = body.u32()?;
        let (group, owner) = (GroupId(body.array()?), NodeId(body.array()?));
        let segment = SegmentName(body.array()?);
        let (bytes, stamp) = (body.u64()?, body.u64()?);
        if bytes == 0 || revision == 0 {
            return Err(BodyError::BadValue { field: "bytes or revision" });
        }
        let key_bytes = usize::from(body.u16()?);
        if key_bytes > KEY_MAX {
            return Err(BodyError::BadValue { field: "key" });
        }
        let key = body.take(key_bytes)?.to_vec();
        let mut slots = Vec::with_capacity(shape.n());
        for _ in 0..shape.n() {
            slots.push(Slot::decode(body)?);
        }
        Ok(Self { group, owner, segment, bytes, shape, revision, stamp, key, slots, signature: body.array()? })
    }
}

impl Message for Release {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(VERSION);
        body.bytes(&[0; 7]);
        body.bytes(&self.group.0);
        body.bytes(&self.owner.0);
        body.bytes(&self.segment.0);
        body.u64(self.stamp);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        version(body)?;
        zeros::<7>(body)?;
        Ok(Self {
            group: GroupId(body.array()?),
            owner: NodeId(body.array()?),
            segment: SegmentName(body.array()?),
            stamp: body.u64()?,
            signature: body.array()?,
        })
    }
}

impl Message for Amendment {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(VERSION);
        body.u8(self.index);
        body.u16(0);
        body.u32(self.revision);
        for name in [&self.group.0, &self.owner.0, &self.segment.0, &self.holder.0, &self.mender.0] {
            body.bytes(name);
        }
        body.u64(self.stamp);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        version(body)?;
        let index = body.u8()?;
        zeros::<2>(body)?;
        Ok(Self {
            index,
            revision: body.u32()?,
            group: GroupId(body.array()?),
            owner: NodeId(body.array()?),
            segment: SegmentName(body.array()?),
            holder: NodeId(body.array()?),
            mender: NodeId(body.array()?),
            stamp: body.u64()?,
            signature: body.array()?,
        })
    }
}

impl Message for Receipt {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(VERSION);
        body.bytes(&[0; 7]);
        body.bytes(&self.group.0);
        self.shard.encode(body);
        body.bytes(&self.root.0);
        body.bytes(&self.holder.0);
        body.u64(self.stamp);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        version(body)?;
        zeros::<7>(body)?;
        Ok(Self {
            group: GroupId(body.array()?),
            shard: ShardId::decode(body)?,
            root: Digest(body.array()?),
            holder: NodeId(body.array()?),
            stamp: body.u64()?,
            signature: body.array()?,
        })
    }
}

impl Message for AmendedDeed {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        assert!(self.amendments.len() <= AMENDMENTS_MAX, "a deed travels with few amendments");
        self.deed.encode(body);
        body.u16(self.amendments.len() as u16);
        for amendment in &self.amendments {
            amendment.encode(body);
        }
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let deed = Deed::decode(body)?;
        let count = usize::from(body.u16()?);
        if count > AMENDMENTS_MAX {
            return Err(BodyError::BadValue { field: "amendments" });
        }
        let amendments = (0..count).map(|_| Amendment::decode(body)).collect::<Result<_, _>>()?;
        Ok(Self { deed, amendments })
    }
}

#[cfg(test)]
pub(crate) mod tests;
