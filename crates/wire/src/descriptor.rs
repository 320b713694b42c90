//! Descriptors: one block each.

use okapi_base::limits::INDEX_BITS;
use okapi_base::{Generation, Index, Slice};

use crate::status::Status;

/// An index and 16 bits of flags in one word: the index in the lower 48 bits.
fn split(word: u64) -> (u64, u16) {
    (word & ((1 << INDEX_BITS) - 1), (word >> INDEX_BITS) as u16)
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from(four(bytes, at)) | u64::from(four(bytes, at + 4)) << 32
}

/// Asks for a slice of a block. 16 bytes: index u64, offset u32, length u32.
///
/// The index is a full 64-bit word on the wire, so that one of 2^48 or more is seen as what it is and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetAsk {
    /// The block, if its number has at most 48 bits.
    pub index: Option<Index>,
    /// The part wanted.
    pub slice: Slice,
}

impl GetAsk {
    /// Bytes on the wire.
    pub const BYTES: usize = 16;

    /// Asks for a whole block.
    #[must_use]
    pub const fn whole(index: Index) -> Self {
        Self { index: Some(index), slice: Slice::WHOLE }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.index.map_or(u64::MAX, Index::get).to_le_bytes());
        bytes[8..12].copy_from_slice(&self.slice.offset.to_le_bytes());
        bytes[12..].copy_from_slice(&self.slice.length.to_le_bytes());
        bytes
    }

    /// What these bytes ask.
    #[inline]
    #[must_use]
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        Self { index: Index::new(eight(bytes, 0)), slice: Slice { offset: four(bytes, 8), length: four(bytes, 12) } }
    }
}

/// What a put does to its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutKind {
    /// Replaces the block by the payload. An empty payload deletes it.
    Whole,
    /// Writes the payload at the offset. An empty payload changes nothing.
    Slice,
    /// Writes `length` zeros at the offset, without a payload.
    Zeroes,
    /// Cuts or extends the block to `length`, without a payload. To 0 deletes it.
    Truncate,
}

/// Asks for a change of a block. 32 bytes: index u64 (48 bits) with kind u8 (48..56) and flags u8 (56..64), offset
/// u32, length u32, payload u32, crc u32, expected generation u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutAsk {
    /// The block.
    pub index: Index,
    /// What to do.
    pub kind: PutKind,
    /// Where in the block.
    pub offset: u32,
    /// Bytes of the block that are affected.
    pub length: u32,
    /// Bytes of payload in the frame.
    pub payload: u32,
    /// CRC-32C of the payload.
    pub crc: u32,
    /// Do it only if the block is at this generation.
    pub expect: Option<Generation>,
}

impl PutAsk {
    /// Bytes on the wire.
    pub const BYTES: usize = 32;
    const EXPECT: u8 = 1;

    /// Replaces a block by `payload`, whose checksum is `crc`.
    #[must_use]
    pub fn whole(index: Index, payload: &[u8], crc: u32) -> Self {
        let length = u32::try_from(payload.len()).expect("a block's payload has fewer than 2^32 bytes");
        Self { index, kind: PutKind::Whole, offset: 0, length, payload: length, crc, expect: None }
    }

    /// Writes `payload` into a block at `offset`.
    #[must_use]
    pub fn slice(index: Index, offset: u32, payload: &[u8], crc: u32) -> Self {
        Self { kind: PutKind::Slice, offset, ..Self::whole(index, payload, crc) }
    }

    /// Deletes a block.
    #[must_use]
    pub fn delete(index: Index) -> Self {
        Self::whole(index, &[], 0)
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let kind = match self.kind {
            PutKind::Whole => 0u8,
            PutKind::Slice => 1,
            PutKind::Zeroes => 2,
            PutKind::Truncate => 3,
        };
        let flags = if self.expect.is_some() { Self::EXPECT } else { 0 };
        let word = self.index.get() | u64::from(kind) << 48 | u64::from(flags) << 56;
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&word.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.payload.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.crc.to_le_bytes());
        bytes[24..].copy_from_slice(&self.expect.unwrap_or_default().0.to_le_bytes());
        bytes
    }

    /// What these bytes ask.
    ///
    /// # Errors
    /// [`Status::Malformed`] if kind, flags or lengths make no sense together.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, Status> {
        let (index, upper) = split(eight(bytes, 0));
        let [kind, flags] = upper.to_le_bytes();
        let kind = match kind {
            0 => PutKind::Whole,
            1 => PutKind::Slice,
            2 => PutKind::Zeroes,
            3 => PutKind::Truncate,
            _ => return Err(Status::Malformed),
        };
        if flags & !Self::EXPECT != 0 {
            return Err(Status::Malformed);
        }
        let ask = Self {
            index: Index::new(index).ok_or(Status::BadIndex)?,
            kind,
            offset: four(bytes, 8),
            length: four(bytes, 12),
            payload: four(bytes, 16),
            crc: four(bytes, 20),
            expect: (flags & Self::EXPECT != 0).then(|| Generation(eight(bytes, 24))),
        };
        let fits = match kind {
            PutKind::Whole => ask.offset == 0 && ask.payload == ask.length,
            PutKind::Slice => ask.payload == ask.length,
            PutKind::Zeroes => ask.payload == 0,
            PutKind::Truncate => ask.payload == 0 && ask.offset == 0,
        };
        if fits { Ok(ask) } else { Err(Status::Malformed) }
    }
}

/// How one descriptor of a get or put ended. 32 bytes: status u16, reserved u16, payload u32, length u32, crc u32,
/// generation u64, reserved u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Bytes of payload in the frame.
    pub payload: u32,
    /// Bytes the block has: what it is about, however much of it was asked for.
    pub length: u32,
    /// CRC-32C of the payload in the frame.
    pub crc: u32,
    /// The block's generation.
    pub generation: Generation,
}

impl Outcome {
    /// Bytes on the wire.
    pub const BYTES: usize = 32;

    /// An outcome without a block.
    #[must_use]
    pub const fn bare(status: Status) -> Self {
        Self { status, payload: 0, length: 0, crc: 0, generation: Generation::ABSENT }
    }

    /// Its bytes.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&(self.status as u16).to_le_bytes());
        bytes[4..8].copy_from_slice(&self.payload.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes
    }

    /// What these bytes say.
    #[inline]
    #[must_use]
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        Self {
            status: Status::from_code(u16::from_le_bytes([bytes[0], bytes[1]])),
            payload: four(bytes, 4),
            length: four(bytes, 8),
            crc: four(bytes, 12),
            generation: Generation(eight(bytes, 16)),
        }
    }
}

/// Asks for a list of blocks or of runs. 16 bytes: from u64, limit u32, reserved u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListAsk {
    /// The first index of interest, if its number has at most 48 bits.
    pub from: Option<Index>,
    /// How many at most (never more than the descriptors of one frame).
    pub limit: u32,
}

impl ListAsk {
    /// Bytes on the wire.
    pub const BYTES: usize = 16;

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.from.map_or(u64::MAX, Index::get).to_le_bytes());
        bytes[8..12].copy_from_slice(&self.limit.to_le_bytes());
        bytes
    }

    /// What these bytes ask.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        Self { from: Index::new(eight(bytes, 0)), limit: four(bytes, 8) }
    }
}

/// One occupied block. 32 bytes: index u64, length u32, crc u32, generation u64, reserved u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub index: Index,
    /// Bytes stored (0 unless details were asked for).
    pub length: u32,
    /// CRC-32C of them (likewise).
    pub crc: u32,
    /// Its generation (likewise).
    pub generation: Generation,
}

impl Listed {
    /// Bytes on the wire.
    pub const BYTES: usize = 32;

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.index.get().to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes
    }

    /// What these bytes say.
    ///
    /// # Errors
    /// [`Status::BadIndex`] if the index has more than 48 bits.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, Status> {
        Ok(Self {
            index: Index::new(eight(bytes, 0)).ok_or(Status::BadIndex)?,
            length: four(bytes, 8),
            crc: four(bytes, 12),
            generation: Generation(eight(bytes, 16)),
        })
    }
}

/// A run of blocks one after the other. 16 bytes: start u64, count u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    /// The first block.
    pub start: Index,
    /// How many blocks, at least 1.
    pub count: u64,
}

impl Run {
    /// Bytes on the wire.
    pub const BYTES: usize = 16;

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.start.get().to_le_bytes());
        bytes[8..].copy_from_slice(&self.count.to_le_bytes());
        bytes
    }

    /// What these bytes say.
    ///
    /// # Errors
    /// [`Status::BadIndex`] if the run is empty or reaches past the last index.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, Status> {
        let run = Self { start: Index::new(eight(bytes, 0)).ok_or(Status::BadIndex)?, count: eight(bytes, 8) };
        match run.count.checked_sub(1).and_then(|steps| run.start.plus(steps)) {
            Some(_) => Ok(run),
            None => Err(Status::BadIndex),
        }
    }

    /// The last block.
    #[must_use]
    pub fn last(&self) -> Index {
        self.start.plus(self.count - 1).expect("a run ends within the grid")
    }
}
