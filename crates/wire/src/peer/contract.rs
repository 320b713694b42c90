//! Contracts: one node lets another keep so many bytes of shards with it, for so long.
//!
//! `docs/format/contract.md` describes them byte by byte. A contract grows out of a [`Proposal`], which its owner has
//! signed, by the holder's signature under the same [`Terms`]; an [`Ending`] of either side closes it. This module
//! knows layouts only: what is signed is hashed and verified in `okapi_peers::contract`.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use okapi_base::{GroupId, NodeId};

/// The first byte of every record here: layout, hash (BLAKE3) and signatures (Ed25519) of this version.
pub const CONTRACT_VERSION: u8 = 1;

/// Bytes of encoded [`Terms`].
pub const TERMS_BYTES: usize = 1 + 3 * 32 + 3 * 8 + 4;
/// Bytes of an encoded [`Proposal`].
pub const PROPOSAL_BYTES: usize = TERMS_BYTES + 64;
/// Bytes of an encoded [`Contract`].
pub const CONTRACT_BYTES: usize = PROPOSAL_BYTES + 64;
/// Bytes of an encoded [`Ending`].
pub const ENDING_BYTES: usize = 1 + 3 * 32 + 4 + 1 + 8 + 64;

/// What both sides agree on, and sign. Body: version u8, group, owner, holder (32 bytes each), bytes u64, from u64,
/// until u64, revision u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The group in which it holds.
    pub group: GroupId,
    /// The node whose shards are kept.
    pub owner: NodeId,
    /// The node that keeps them.
    pub holder: NodeId,
    /// The most bytes of shards that the owner may have there at any time.
    pub bytes: u64,
    /// When it begins: milliseconds since 1970-01-01 UTC.
    pub from: u64,
    /// When it ends if it is not renewed: milliseconds since 1970-01-01 UTC, after `from`.
    pub until: u64,
    /// Counts the contracts of this owner with this holder, from 1; a higher one replaces a lower one.
    pub revision: u32,
}

/// A contract that its holder has not signed yet. Body: terms, owner's signature (64 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// What is proposed.
    pub terms: Terms,
    /// The owner's signature of the terms.
    pub owner_signature: [u8; 64],
}

/// A contract. Body: terms, owner's signature, holder's signature (64 bytes each).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contract {
    /// What is agreed.
    pub terms: Terms,
    /// The owner's signature of the terms.
    pub owner_signature: [u8; 64],
    /// The holder's signature of the terms.
    pub holder_signature: [u8; 64],
}

/// A side of a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The node whose shards are kept.
    Owner,
    /// The node that keeps them.
    Holder,
}

/// One side's word that a contract takes no new data and is to be emptied. Body: version u8, group, owner, holder (32
/// bytes each), revision u32, side u8 (1 owner, 2 holder), stamp u64, signature (64 bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The group.
    pub group: GroupId,
    /// The owner in the contract.
    pub owner: NodeId,
    /// The holder in the contract.
    pub holder: NodeId,
    /// The revision that ends, and every lower one.
    pub revision: u32,
    /// Who ends it.
    pub side: Side,
    /// When: milliseconds since 1970-01-01 UTC.
    pub stamp: u64,
    /// That side's signature.
    pub signature: [u8; 64],
}

impl Contract {
    /// The proposal that it grew out of.
    #[must_use]
    pub const fn proposal(&self) -> Proposal {
        Proposal { terms: self.terms, owner_signature: self.owner_signature }
    }
}

impl Proposal {
    /// The contract that the holder's signature makes of it.
    #[must_use]
    pub const fn signed(self, holder_signature: [u8; 64]) -> Contract {
        Contract { terms: self.terms, owner_signature: self.owner_signature, holder_signature }
    }
}

impl Ending {
    /// The node that signs it.
    #[must_use]
    pub const fn by(&self) -> NodeId {
        match self.side {
            Side::Owner => self.owner,
            Side::Holder => self.holder,
        }
    }

    /// Appends all but the signature: what is signed.
    pub fn encode_unsigned(&self, body: &mut BodyWriter<'_>) {
        body.u8(CONTRACT_VERSION);
        body.bytes(&self.group.0);
        body.bytes(&self.owner.0);
        body.bytes(&self.holder.0);
        body.u32(self.revision);
        body.u8(match self.side {
            Side::Owner => 1,
            Side::Holder => 2,
        });
        body.u64(self.stamp);
    }
}

impl Message for Terms {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(CONTRACT_VERSION);
        body.bytes(&self.group.0);
        body.bytes(&self.owner.0);
        body.bytes(&self.holder.0);
        body.u64(self.bytes);
        body.u64(self.from);
        body.u64(self.until);
        body.u32(self.revision);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (group, owner, holder) = pair(body)?;
        let terms = Self {
            group,
            owner,
            holder,
            bytes: body.u64()?,
            from: body.u64()?,
            until: body.u64()?,
            revision: body.u32()?,
        };
        if terms.until <= terms.from {
            return Err(BodyError::BadValue { field: "until" });
        }
        revised(terms.revision)?;
        Ok(terms)
    }
}

impl Message for Proposal {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.terms.encode(body);
        body.bytes(&self.owner_signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { terms: Terms::decode(body)?, owner_signature: body.array()? })
    }
}

impl Message for Contract {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.proposal().encode(body);
        body.bytes(&self.holder_signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Proposal::decode(body)?.signed(body.array()?))
    }
}

impl Message for Ending {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.encode_unsigned(body);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (group, owner, holder) = pair(body)?;
        let revision = body.u32()?;
        revised(revision)?;
        let side = match body.u8()? {
            1 => Side::Owner,
            2 => Side::Holder,
            _ => return Err(BodyError::BadValue { field: "side" }),
        };
        Ok(Self { group, owner, holder, revision, side, stamp: body.u64()?, signature: body.array()? })
    }
}

/// The head that all records here share. A node has no contract with itself: what it keeps for itself in its own
/// server half needs nobody's consent.
fn pair(body: &mut BodyReader<'_>) -> Result<(GroupId, NodeId, NodeId), BodyError> {
    if body.u8()? != CONTRACT_VERSION {
        return Err(BodyError::BadValue { field: "version" });
    }
    let (group, owner, holder) = (GroupId(body.array()?), NodeId(body.array()?), NodeId(body.array()?));
    if owner == holder {
        return Err(BodyError::BadValue { field: "holder" });
    }
    Ok((group, owner, holder))
}

fn revised(revision: u32) -> Result<(), BodyError> {
    if revision == 0 { Err(BodyError::BadValue { field: "revision" }) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests;
