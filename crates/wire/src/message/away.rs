//! Messages between members' nodes by which a granted grid is read while its owner's node is away: the keys, and who
//! has what of the owner's segments.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use crate::message::grid::block_size;
use crate::peer::shard::{AmendedDeed, ShardId};
use alloc::string::String;
use alloc::vec::Vec;
use okapi_base::limits::GRID_NAME_MAX;
use okapi_base::{BlockSize, Digest, NodeId, SegmentName};

/// Grids of one node whose keys can be given.
pub const KEYS_MAX: usize = 128;
/// Deeds in one page: besides the bytes, of which a page has at most 256 KiB.
pub const DEED_PAGE_MAX: usize = 64;
/// Bytes of a shard that one ask can be for.
pub const SHARD_READ_MAX: u32 = 1 << 20;
/// Groups of leaves that the largest shard has.
pub const GROUPS_MAX: usize = 1024;

/// The key of a grid that its receiver may read, and what it must know to. Body: grid u32, number u16, block size u32,
/// made u64, name text, key 32.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyGiven {
    /// The grid's number at its owner.
    pub grid: u32,
    /// Which of its keys this is, from 1.
    pub number: u16,
    /// Its block size.
    pub block_size: BlockSize,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub made: u64,
    /// Its name.
    pub name: String,
    /// The key.
    pub key: [u8; 32],
}

/// All keys that the sender's node gives the receiver's, in place of those it gave before. Body: list of [`KeyGiven`].
/// Answered once they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeysGive {
    /// Ordered by grid.
    pub keys: Vec<KeyGiven>,
}

/// Which deeds of an owner do you have? Body: owner 32, after u8 (1: there is one) and segment 32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeedsOf {
    /// Whose.
    pub owner: NodeId,
    /// Those after this segment.
    pub after: Option<SegmentName>,
}

/// Some of them, in the order of their segments. Body: more u8, list of amended deeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeedPage {
    /// There are more after the last.
    pub more: bool,
    /// The deeds.
    pub deeds: Vec<AmendedDeed>,
}

/// Reads a part of a shard. Body: shard, offset u64, length u32, tree u8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRead {
    /// Which shard.
    pub shard: ShardId,
    /// From where on.
    pub offset: u64,
    /// How many bytes, at most [`SHARD_READ_MAX`].
    pub length: u32,
    /// Whether the hashes of the shard's groups are wanted too.
    pub tree: bool,
}

/// What was read. Body: list of hashes of 32 bytes, length u32, bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardPart {
    /// The hash of each group of the shard, if they were asked for.
    pub tree: Vec<Digest>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// The answer to a route that leads to what others hold of a node that is away. Body: as of u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutedAway {
    /// As of when that is, in milliseconds since 1970-01-01 UTC.
    pub as_of: u64,
}

impl core::fmt::Debug for KeyGiven {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("KeyGiven").field("grid", &self.grid).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Message for KeyGiven {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u32(self.grid);
        body.u16(self.number);
        body.u32(self.block_size.bytes());
        body.u64(self.made);
        body.text(&self.name);
        body.bytes(&self.key);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self {
            grid: body.u32()?,
            number: body.u16()?,
            block_size: block_size(body)?,
            made: body.u64()?,
            name: body.text(GRID_NAME_MAX)?,
            key: body.array()?,
        })
    }
}

impl Message for KeysGive {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.list(&self.keys);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { keys: body.list(KEYS_MAX)? })
    }
}

impl Message for DeedsOf {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.owner.0);
        body.u8(u8::from(self.after.is_some()));
        body.bytes(&self.after.map_or([0; 32], |segment| segment.0));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (owner, there, after) = (NodeId(body.array()?), flag(body, "after")?, SegmentName(body.array()?));
        Ok(Self { owner, after: there.then_some(after) })
    }
}

impl Message for DeedPage {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(u8::from(self.more));
        body.list(&self.deeds);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { more: flag(body, "more")?, deeds: body.list(DEED_PAGE_MAX)? })
    }
}

impl Message for ShardRead {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.shard.encode(body);
        body.u64(self.offset);
        body.u32(self.length);
        body.u8(u8::from(self.tree));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (shard, offset, length) = (ShardId::decode(body)?, body.u64()?, body.u32()?);
        if length > SHARD_READ_MAX {
            return Err(BodyError::BadValue { field: "length" });
        }
        Ok(Self { shard, offset, length, tree: flag(body, "tree")? })
    }
}

impl Message for ShardPart {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u32(u32::try_from(self.tree.len()).expect("a shard has few groups"));
        self.tree.iter().for_each(|hash| body.bytes(&hash.0));
        body.u32(u32::try_from(self.bytes.len()).expect("a part of a shard is short"));
        body.bytes(&self.bytes);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let groups = body.u32()? as usize;
        if groups > GROUPS_MAX {
            return Err(BodyError::TooLong { length: groups, most: GROUPS_MAX });
        }
        let (hashes, _) = body.take(groups * 32)?.as_chunks::<32>();
        let tree = hashes.iter().map(|hash| Digest(*hash)).collect();
        let length = body.u32()? as usize;
        Ok(Self { tree, bytes: body.take(length)?.to_vec() })
    }
}

impl Message for RoutedAway {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.as_of);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { as_of: body.u64()? })
    }
}

fn flag(body: &mut BodyReader<'_>, field: &'static str) -> Result<bool, BodyError> {
    match body.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(BodyError::BadValue { field }),
    }
}
