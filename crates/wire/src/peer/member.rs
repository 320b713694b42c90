//! Records of the member list, and what is sent to bring two lists together.
//!
//! `docs/format/timeline.md` describes the same byte by byte.

use super::{SignatureBytes, encoded};
use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::vec::Vec;
use okapi_base::{Digest, GroupId, MemberId, NodeId};

/// Nodes that a group ever has, the parted ones included.
pub const NODES_MAX: usize = 1024;
/// Attestations in one record.
pub const ATTESTATIONS_MAX: usize = 64;
/// Bytes of a record without attestations.
pub const RECORD_BYTES: usize = 487;
/// Bytes of an attestation.
pub const ATTESTATION_BYTES: usize = 153;
/// Bytes of the longest record.
pub const RECORD_BYTES_MAX: usize = RECORD_BYTES + ATTESTATIONS_MAX * ATTESTATION_BYTES;

const RECORD_VERSION: u8 = 1;
const ATTESTATION_VERSION: u8 = 1;

/// Which state of a member list: a number to compare, a digest to be sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The sum of the records' revisions.
    pub number: u64,
    /// The hash of the records, in the order of their nodes.
    pub digest: Digest,
}

/// Who a node is: what never changes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binding {
    /// The group it is in.
    pub group: GroupId,
    /// The node.
    pub node: NodeId,
    /// Whose node it is.
    pub member: MemberId,
    /// The member's X25519 public key, to which data keys are wrapped.
    pub recipient: [u8; 32],
    /// Which of the member's nodes it is.
    pub number: u32,
}

impl Binding {
    /// What the node's key signs when it enters a group.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        encoded(|body| self.encode(body))
    }

    /// What the member's key signs when the node is made: all but the group, so that the node can enter one later
    /// without the member's secret.
    #[must_use]
    pub fn member_signed_bytes(&self) -> Vec<u8> {
        encoded(|body| {
            body.bytes(&self.node.0);
            body.bytes(&self.member.0);
            body.bytes(&self.recipient);
            body.u32(self.number);
        })
    }

    /// What the name of the group is the hash of, if this node founds it at `stamp` (milliseconds since 1970).
    #[must_use]
    pub fn founding_bytes(&self, stamp: u64) -> Vec<u8> {
        encoded(|body| {
            body.bytes(&self.node.0);
            body.bytes(&self.member.0);
            body.bytes(&self.recipient);
            body.u32(self.number);
            body.u64(stamp);
        })
    }
}

impl Message for Binding {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.group.0);
        body.bytes(&self.node.0);
        body.bytes(&self.member.0);
        body.bytes(&self.recipient);
        body.u32(self.number);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self {
            group: GroupId(body.array()?),
            node: NodeId(body.array()?),
            member: MemberId(body.array()?),
            recipient: body.array()?,
            number: body.u32()?,
        })
    }
}

/// With what a newcomer asks a node of the group to vouch for it: who it is, by both its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pledge {
    /// Who it is.
    pub binding: Binding,
    /// The member's signature of the binding without its group.
    pub member_signature: SignatureBytes,
    /// The node's signature of the binding.
    pub node_signature: SignatureBytes,
}

impl Message for Pledge {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.binding.encode(body);
        body.bytes(&self.member_signature);
        body.bytes(&self.node_signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { binding: Binding::decode(body)?, member_signature: body.array()?, node_signature: body.array()? })
    }
}

/// A node's word for another: with it the group takes the other in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vouch {
    /// Who vouches. The founder vouches for itself.
    pub by: NodeId,
    /// Which of its vouches this is, from 1; 0 for the founder's own.
    pub serial: u64,
    /// When, in milliseconds since 1970.
    pub stamp: u64,
    /// By the node key of `by`.
    pub signature: SignatureBytes,
}

impl Vouch {
    /// What the voucher signs: whom it vouches for, serial and stamp.
    #[must_use]
    pub fn signed_bytes(&self, newcomer: &Binding) -> Vec<u8> {
        encoded(|body| {
            newcomer.encode(body);
            body.bytes(&self.by.0);
            body.u64(self.serial);
            body.u64(self.stamp);
        })
    }
}

impl Message for Vouch {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.by.0);
        body.u64(self.serial);
        body.u64(self.stamp);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { by: NodeId(body.array()?), serial: body.u64()?, stamp: body.u64()?, signature: body.array()? })
    }
}

/// An owner's word on what another node holds for it, verified by audits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attestation {
    /// Who holds.
    pub subject: NodeId,
    /// For whom: the owner node that audited and signs.
    pub by: NodeId,
    /// Bytes held and verified.
    pub bytes: u64,
    /// Probes answered rightly.
    pub answered: u32,
    /// Probes not answered, or wrongly.
    pub failed: u32,
    /// When, in milliseconds since 1970.
    pub stamp: u64,
    /// By the node key of `by`.
    pub signature: SignatureBytes,
}

impl Attestation {
    /// What the owner signs. The group is not sent with it, and keeps it from being used in another one.
    #[must_use]
    pub fn signed_bytes(&self, group: &GroupId) -> Vec<u8> {
        encoded(|body| {
            body.bytes(&group.0);
            self.encode_unsigned(body);
        })
    }

    fn encode_unsigned(&self, body: &mut BodyWriter<'_>) {
        body.u8(ATTESTATION_VERSION);
        body.bytes(&self.subject.0);
        body.bytes(&self.by.0);
        body.u64(self.bytes);
        body.u32(self.answered);
        body.u32(self.failed);
        body.u64(self.stamp);
    }
}

impl Message for Attestation {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.encode_unsigned(body);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != ATTESTATION_VERSION {
            return Err(BodyError::BadValue { field: "attestation version" });
        }
        Ok(Self {
            subject: NodeId(body.array()?),
            by: NodeId(body.array()?),
            bytes: body.u64()?,
            answered: body.u32()?,
            failed: body.u32()?,
            stamp: body.u64()?,
            signature: body.array()?,
        })
    }
}

/// Whether a node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It does.
    Active,
    /// It still does, but is emptying its server half.
    Leaving,
    /// It no longer does, and never will again.
    Parted,
}

impl State {
    const fn code(self) -> u8 {
        match self {
            Self::Active => 1,
            Self::Leaving => 2,
            Self::Parted => 3,
        }
    }
}

/// Whose key signed a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signer {
    /// The node's own.
    Node,
    /// The member's, because the node is lost: only to part it.
    Member,
}

/// What a group knows of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// Who it is.
    pub binding: Binding,
    /// Where it stands: nodes of one site may fail together.
    pub site: u64,
    /// Bytes it offers to others.
    pub promise: u64,
    /// Bytes it holds for others, as `attestations` prove; rounded down to a power of two.
    pub proven: u64,
    /// Whether it takes part.
    pub state: State,
    /// Whose key `signature` is by.
    pub signer: Signer,
    /// Grows with every record of this node, from 1.
    pub revision: u32,
    /// When it was signed, in milliseconds since 1970.
    pub stamp: u64,
    /// Who brought it into the group.
    pub vouch: Vouch,
    /// How many of its own vouches count once it has parted: those with a serial up to this.
    pub vouches_honoured: u64,
    /// What proves `proven`: at most [`ATTESTATIONS_MAX`], in the order of their signers, each signer once.
    pub attestations: Vec<Attestation>,
    /// The member's signature of the binding without its group.
    pub member_signature: SignatureBytes,
    /// The node's signature of the binding.
    pub node_signature: SignatureBytes,
    /// The signature of all the above.
    pub signature: SignatureBytes,
}

impl MemberRecord {
    /// What `signature` covers: all but itself.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        encoded(|body| self.encode_unsigned(body))
    }

    /// Who it is, with the signatures of both its keys.
    #[must_use]
    pub const fn pledge(&self) -> Pledge {
        Pledge { binding: self.binding, member_signature: self.member_signature, node_signature: self.node_signature }
    }

    fn encode_unsigned(&self, body: &mut BodyWriter<'_>) {
        assert!(self.attestations.len() <= ATTESTATIONS_MAX, "a record has few attestations");
        body.u8(RECORD_VERSION);
        body.u8(self.state.code());
        body.u8(match self.signer {
            Signer::Node => 1,
            Signer::Member => 2,
        });
        self.binding.encode(body);
        body.u64(self.site);
        body.u64(self.promise);
        body.u64(self.proven);
        body.u32(self.revision);
        body.u64(self.stamp);
        self.vouch.encode(body);
        body.u64(self.vouches_honoured);
        body.list(&self.attestations);
        body.bytes(&self.member_signature);
        body.bytes(&self.node_signature);
    }
}

impl Message for MemberRecord {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.encode_unsigned(body);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != RECORD_VERSION {
            return Err(BodyError::BadValue { field: "member record version" });
        }
        let state = match body.u8()? {
            1 => State::Active,
            2 => State::Leaving,
            3 => State::Parted,
            _ => return Err(BodyError::BadValue { field: "state" }),
        };
        let signer = match body.u8()? {
            1 => Signer::Node,
            2 => Signer::Member,
            _ => return Err(BodyError::BadValue { field: "signer" }),
        };
        Ok(Self {
            binding: Binding::decode(body)?,
            site: body.u64()?,
            promise: body.u64()?,
            proven: body.u64()?,
            state,
            signer,
            revision: body.u32()?,
            stamp: body.u64()?,
            vouch: Vouch::decode(body)?,
            vouches_honoured: body.u64()?,
            attestations: body.list(ATTESTATIONS_MAX)?,
            member_signature: body.array()?,
            node_signature: body.array()?,
            signature: body.array()?,
        })
    }
}

/// What a list holds, in short: enough for another to see which records it lacks. 40 bytes a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Of which group.
    pub group: GroupId,
    /// The state of the list.
    pub version: Version,
    /// For each node, in their order, the first bytes of its record's hash.
    pub marks: Vec<Mark>,
}

/// One record in a [`Summary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The node.
    pub node: NodeId,
    /// The first eight bytes of its record's hash.
    pub hash: [u8; 8],
}

impl Message for Version {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.number);
        body.bytes(&self.digest.0);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { number: body.u64()?, digest: Digest(body.array()?) })
    }
}

impl Message for Mark {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.node.0);
        body.bytes(&self.hash);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { node: NodeId(body.array()?), hash: body.array()? })
    }
}

impl Message for Summary {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.group.0);
        self.version.encode(body);
        body.list(&self.marks);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { group: GroupId(body.array()?), version: Version::decode(body)?, marks: body.list(NODES_MAX)? })
    }
}

#[cfg(test)]
mod tests;
