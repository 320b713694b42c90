//! Entries of timelines, what proves their order, and what authors and witnesses say to each other.
//!
//! `docs/format/timeline.md` describes the same byte by byte.

mod message;
mod path;
mod said;

pub use message::{LogMessage, No};
pub use path::{PATH_BYTES_MAX, Path, STEP_BYTES_MAX, Step};
pub use said::{Said, kind};

use super::member::Version;
use super::{SignatureBytes, encoded};
use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::vec::Vec;
use okapi_base::{Digest, NodeId};

/// Bytes of an entry's body.
pub const ENTRY_BODY_MAX: usize = 64 << 10;
/// Headers in one path.
pub const PATH_MAX: usize = 1024;
/// Entries in one message.
pub const ENTRIES_MAX: usize = 256;
/// Bytes of the entries in one message: whoever sends more than one keeps to it.
pub const ENTRIES_BYTES_MAX: usize = 128 << 10;
/// Confirmations in one message.
pub const CONFIRMATIONS_MAX: usize = 256;
/// Bytes of the longest message: as many entries as may be in one, behind the longest path.
pub const LOG_MESSAGE_MAX: usize = 1 + 40 + PATH_BYTES_MAX + 4 + ENTRIES_BYTES_MAX;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 159;
/// Bytes of an entry without its body.
pub const SIGNED_HEADER_BYTES: usize = HEADER_BYTES + 64;
/// Bytes of a confirmation.
pub const CONFIRMATION_BYTES: usize = 209;

const _: () = assert!(SIGNED_HEADER_BYTES + ENTRY_BODY_MAX <= ENTRIES_BYTES_MAX, "every entry fits into a message");

const ENTRY_VERSION: u8 = 1;
const CONFIRMATION_VERSION: u8 = 1;

/// All of an entry but its body: its hash is the entry's, so headers alone prove a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryHeader {
    /// Whose log: the only one who writes it.
    pub log: NodeId,
    /// From 1, without gaps.
    pub sequence: u64,
    /// The hash of the entry before; zeros for the first.
    pub previous: Digest,
    /// The member list as its author knew it.
    pub list: Version,
    /// When, in milliseconds since 1970.
    pub stamp: u64,
    /// What the body means.
    pub kind: u16,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// The BLAKE3 hash of the body.
    pub body: Digest,
}

impl EntryHeader {
    /// What is hashed to name the entry.
    #[must_use]
    pub fn hashed_bytes(&self) -> Vec<u8> {
        encoded(|body| self.encode(body))
    }
}

impl Message for EntryHeader {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(ENTRY_VERSION);
        body.bytes(&self.log.0);
        body.u64(self.sequence);
        body.bytes(&self.previous.0);
        self.list.encode(body);
        body.u64(self.stamp);
        body.u16(self.kind);
        body.u32(self.body_bytes);
        body.bytes(&self.body.0);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != ENTRY_VERSION {
            return Err(BodyError::BadValue { field: "entry version" });
        }
        let header = Self {
            log: NodeId(body.array()?),
            sequence: body.u64()?,
            previous: Digest(body.array()?),
            list: Version::decode(body)?,
            stamp: body.u64()?,
            kind: body.u16()?,
            body_bytes: body.u32()?,
            body: Digest(body.array()?),
        };
        if header.sequence == 0 || header.sequence == u64::MAX {
            return Err(BodyError::BadValue { field: "sequence" });
        }
        if header.body_bytes as usize > ENTRY_BODY_MAX {
            return Err(BodyError::TooLong { length: header.body_bytes as usize, most: ENTRY_BODY_MAX });
        }
        Ok(header)
    }
}

/// A header with its author's signature of its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedHeader {
    /// The header.
    pub header: EntryHeader,
    /// By the log's node key, of the header's hash.
    pub signature: SignatureBytes,
}

impl Message for SignedHeader {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.header.encode(body);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { header: EntryHeader::decode(body)?, signature: body.array()? })
    }
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its header, signed.
    pub head: SignedHeader,
    /// Its body: as long as the header says.
    pub body: Vec<u8>,
}

impl Message for Entry {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        assert_eq!(self.body.len(), self.head.header.body_bytes as usize, "the header tells the body's length");
        self.head.encode(body);
        body.bytes(&self.body);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let head = SignedHeader::decode(body)?;
        Ok(Self { body: body.take(head.header.body_bytes as usize)?.to_vec(), head })
    }
}

/// A witness's word that it keeps an entry, and will never keep another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Confirmation {
    /// Whose log.
    pub log: NodeId,
    /// Which entry.
    pub sequence: u64,
    /// The entry's hash.
    pub hash: Digest,
    /// The member list under which the witness was drawn.
    pub list: Version,
    /// The witness.
    pub witness: NodeId,
    /// By the node key of `witness`.
    pub signature: SignatureBytes,
}

impl Confirmation {
    /// What `signature` covers: all but itself.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        encoded(|body| self.encode_unsigned(body))
    }

    fn encode_unsigned(&self, body: &mut BodyWriter<'_>) {
        body.u8(CONFIRMATION_VERSION);
        body.bytes(&self.log.0);
        body.u64(self.sequence);
        body.bytes(&self.hash.0);
        self.list.encode(body);
        body.bytes(&self.witness.0);
    }
}

impl Message for Confirmation {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.encode_unsigned(body);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != CONFIRMATION_VERSION {
            return Err(BodyError::BadValue { field: "confirmation version" });
        }
        Ok(Self {
            log: NodeId(body.array()?),
            sequence: body.u64()?,
            hash: Digest(body.array()?),
            list: Version::decode(body)?,
            witness: NodeId(body.array()?),
            signature: body.array()?,
        })
    }
}

/// Proof that the author of a log wrote two entries in one place: an entry it signed, and a path from another entry in
/// the same place to one that it signed as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkProof {
    /// One of the two.
    pub one: SignedHeader,
    /// From the other, of the same log and sequence, to a signed one: itself, or one that comes after it.
    pub path: Path,
    /// The author's signature of the last header's hash.
    pub signature: SignatureBytes,
}

impl Message for ForkProof {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.one.encode(body);
        self.path.encode(body);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { one: SignedHeader::decode(body)?, path: Path::decode(body)?, signature: body.array()? })
    }
}

#[cfg(test)]
mod tests;
