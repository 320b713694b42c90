//! Letters: one message from a node to another.
//!
//! A letter is 32 bytes of head and a body; the bytes of a shard or proof travel beside it as its payload. It is not
//! signed: the link is pinned to the sender's key. What must be believed later, or by others, is a signed record
//! inside.
//!
//! ```text
//! 0         1      2          8         16        24           32
//! +---------+------+----------+---------+---------+------------+------+
//! | version | kind | zero     | session | number  | stamp      | body |
//! +---------+------+----------+---------+---------+------------+------+
//! ```

use super::contract::{Contract, Ending, Proposal};
use super::entry::LogMessage;
use super::member::{Attestation, MemberRecord, Pledge, Summary, Vouch};
use super::shard::{AmendedDeed, Amendment, Deed, Receipt, Release, ShardId};
use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::vec::Vec;
use okapi_base::{Digest, NodeId, SegmentName};

/// Version of the letters in this module.
pub const VERSION: u8 = 1;
/// Bytes of a letter's head.
pub const HEAD_BYTES: usize = 32;
/// Leaves asked for in one challenge, at most.
pub const LEAVES_MAX: usize = 16;
/// Deeds in one letter, at most.
pub const DEEDS_MAX: usize = 64;
/// Member records in one letter, at most.
pub const RECORDS_MAX: usize = 1024;
/// Shards listed in one inventory, at most.
pub const INVENTORY_MAX: usize = 1024;

/// One message from a node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// When the sender started, in milliseconds since 1970: a later start begins a new session.
    pub session: u64,
    /// Grows with every letter to this receiver in this session, from 1.
    pub number: u64,
    /// When it was sent, in milliseconds since 1970.
    pub stamp: u64,
    /// What it says.
    pub body: Body,
}

/// How one side's books of a pair stand, in bytes. Body: held u64, placed u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// What the sender of the letter holds for its receiver.
    pub held: u64,
    /// What the receiver has confirmed that it holds for the sender.
    pub placed: u64,
}

/// Sign of life. Body: list number u64, list digest 32, head sequence u64, head hash 32, balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping {
    /// Number of the sender's member list.
    pub list_number: u64,
    /// Its digest.
    pub list_digest: Digest,
    /// Sequence of the last entry in the sender's own log; 0 without one.
    pub head_sequence: u64,
    /// Its hash.
    pub head: Digest,
    /// The books of sender and receiver, as the sender has them.
    pub balance: Balance,
}

/// Why a node does not take a shard, or does not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum No {
    /// Its server half is full.
    Full,
    /// The owner's contract has no room for it.
    NoContract,
    /// The owner may place no more with the group: it holds too little for others.
    Allowance,
    /// It is about to leave, or the owner is.
    Leaving,
    /// The deed is not valid, or older than the one known.
    BadDeed,
    /// The bytes are not what the deed says.
    BadBytes,
    /// Too many offers wait already.
    Busy,
    /// It does not have this shard.
    Missing,
}

impl No {
    const ALL: [Self; 8] = [
        Self::Full,
        Self::NoContract,
        Self::Allowance,
        Self::Leaving,
        Self::BadDeed,
        Self::BadBytes,
        Self::Busy,
        Self::Missing,
    ];

    /// The byte that stands for it.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// What a byte stands for.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|no| no.code() == code)
    }
}

/// One line of an inventory. Body: segment 32, revision u32, k u8, index u8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The segment.
    pub segment: SegmentName,
    /// Revision of the newest deed known.
    pub revision: u32,
    /// The shard's `k`.
    pub k: u8,
    /// Its index.
    pub index: u8,
}

/// What a letter says. Each is a kind of its own; a body described as "as in" belongs to that module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Kind 1. I am here. Answered by a [`Body::Pong`].
    Ping(Ping),
    /// Kind 2: number of the ping u64, ping. So am I.
    Pong(u64, Ping),
    /// Kind 3: a summary, as in `member`. These member records I have; which do I lack?
    Summary(Summary),
    /// Kind 4: count u16, member records. You lack these.
    Records(Vec<MemberRecord>),
    /// Kind 5: a message about logs, as in `entry`.
    Log(LogMessage),
    /// Kind 6: secret of the ticket 32, then a pledge, as in `member`. I was invited.
    JoinAsk([u8; 32], Pledge),
    /// Kind 7: a vouch, as in `member`. You may join.
    JoinYes(Vouch),
    /// Kind 8: why u8 (1 no such ticket, 2 expired, 3 used by another). You may not join.
    JoinNo(u8),
    /// Kind 10: index u8, amended u8, deed, then an amendment if amended is 1. Will you hold this shard? The
    /// amendment is there when the sender is not the owner.
    Offer(Deed, u8, Option<Amendment>),
    /// Kind 11: shard. Send it now.
    Want(ShardId),
    /// Kind 12: shard; its bytes are the payload.
    Place(ShardId),
    /// Kind 13: receipt. I have it.
    Receipt(Receipt),
    /// Kind 14: shard, why u8. I will not.
    Refuse(ShardId, No),
    /// Kind 15: deed. This is how the segment lies now: keep what it gives you, drop what it does not.
    Revise(Deed),
    /// Kind 16: release. Drop all of it.
    Release(Release),
    /// Kind 17: segment 32, revision u32 (all ones: released). I have done so.
    Revised(SegmentName, u32),
    /// Kind 18: shard. Send me its bytes.
    Fetch(ShardId),
    /// Kind 19: shard; its bytes are the payload.
    Shard(ShardId),
    /// Kind 20: shard, why u8. I cannot.
    FetchNo(ShardId, No),
    /// Kind 21: shard, number u64, count u8, leaves u32 each. Prove that you hold these leaves.
    Challenge(ShardId, u64, Vec<u32>),
    /// Kind 22: shard, number u64; the proofs are the payload, empty if the shard is lost.
    Proof(ShardId, u64),
    /// Kind 23: owner 32, after u8 and segment 32. Which deeds of this owner do you have?
    DeedsAsk(NodeId, Option<SegmentName>),
    /// Kind 24: owner 32, more u8, count u16, amended deeds. These, in order of their names.
    Deeds(NodeId, bool, Vec<AmendedDeed>),
    /// Kind 25: after u8, segment 32. Which shards do you hold for me?
    InventoryAsk(Option<SegmentName>),
    /// Kind 26: from u8 and segment 32 (after which it begins), more u8, count u16, lines. These.
    Inventory(Option<SegmentName>, bool, Vec<Held>),
    /// Kind 27: amendment. A shard has a new holder.
    Amended(Amendment),
    /// Kind 28: an attestation, as in `member`. So much you hold for me, verified.
    Attest(Attestation),
    /// Kind 30: a proposal, as in `contract`. Will you sign this?
    Propose(Proposal),
    /// Kind 31: a contract, as in `contract`. Signed.
    Agree(Contract),
    /// Kind 32: revision u32, most u64. I will not sign that revision, but one with so many bytes in all, if any.
    Decline(u32, u64),
    /// Kind 33: an ending, as in `contract`. It is over between us.
    End(Ending),
}

impl Letter {
    /// The letter in bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut body = BodyWriter::new(&mut bytes);
        body.u8(VERSION);
        body.u8(self.body.kind());
        body.bytes(&[0; 6]);
        body.u64(self.session);
        body.u64(self.number);
        body.u64(self.stamp);
        self.body.encode(&mut body);
        bytes
    }

    /// Reads a letter.
    ///
    /// # Errors
    /// [`BodyError`] if the bytes are not one letter and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        let mut body = BodyReader::new(bytes);
        if body.u8()? != VERSION {
            return Err(BodyError::BadValue { field: "version" });
        }
        let kind = body.u8()?;
        if body.array::<6>()? != [0; 6] {
            return Err(BodyError::BadValue { field: "zero" });
        }
        let (session, number, stamp) = (body.u64()?, body.u64()?, body.u64()?);
        let said = Body::decode(kind, &mut body)?;
        body.end()?;
        Ok(Self { session, number, stamp, body: said })
    }
}

impl Body {
    /// The byte that stands for its kind.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Ping(_) => 1,
            Self::Pong(..) => 2,
            Self::Summary(_) => 3,
            Self::Records(_) => 4,
            Self::Log(_) => 5,
            Self::JoinAsk(..) => 6,
            Self::JoinYes(_) => 7,
            Self::JoinNo(_) => 8,
            Self::Offer(..) => 10,
            Self::Want(_) => 11,
            Self::Place(_) => 12,
            Self::Receipt(_) => 13,
            Self::Refuse(..) => 14,
            Self::Revise(_) => 15,
            Self::Release(_) => 16,
            Self::Revised(..) => 17,
            Self::Fetch(_) => 18,
            Self::Shard(_) => 19,
            Self::FetchNo(..) => 20,
            Self::Challenge(..) => 21,
            Self::Proof(..) => 22,
            Self::DeedsAsk(..) => 23,
            Self::Deeds(..) => 24,
            Self::InventoryAsk(_) => 25,
            Self::Inventory(..) => 26,
            Self::Amended(_) => 27,
            Self::Attest(_) => 28,
            Self::Propose(_) => 30,
            Self::Agree(_) => 31,
            Self::Decline(..) => 32,
            Self::End(_) => 33,
        }
    }

    fn encode(&self, body: &mut BodyWriter<'_>) {
        match self {
            Self::Ping(ping) => ping.encode(body),
            Self::Pong(number, ping) => {
                body.u64(*number);
                ping.encode(body);
            }
            Self::Summary(summary) => summary.encode(body),
            Self::Records(records) => encode_all(records, body),
            Self::Log(message) => message.encode(body),
            Self::JoinYes(vouch) => vouch.encode(body),
            Self::Attest(attestation) => attestation.encode(body),
            Self::Propose(proposal) => proposal.encode(body),
            Self::Agree(contract) => contract.encode(body),
            Self::Decline(revision, most) => {
                body.u32(*revision);
                body.u64(*most);
            }
            Self::End(ending) => ending.encode(body),
            Self::JoinAsk(secret, pledge) => {
                body.bytes(secret);
                pledge.encode(body);
            }
            Self::JoinNo(why) => body.u8(*why),
            Self::Offer(deed, index, amendment) => {
                body.u8(*index);
                body.u8(u8::from(amendment.is_some()));
                deed.encode(body);
                if let Some(amendment) = amendment {
                    amendment.encode(body);
                }
            }
            Self::Want(shard) | Self::Place(shard) | Self::Fetch(shard) | Self::Shard(shard) => shard.encode(body),
            Self::Receipt(receipt) => receipt.encode(body),
            Self::Refuse(shard, why) | Self::FetchNo(shard, why) => {
                shard.encode(body);
                body.u8(why.code());
            }
            Self::Revise(deed) => deed.encode(body),
            Self::Release(release) => release.encode(body),
            Self::Revised(segment, revision) => {
                body.bytes(&segment.0);
                body.u32(*revision);
            }
            Self::Challenge(shard, number, leaves) => encode_challenge(shard, *number, leaves, body),
            Self::Proof(shard, number) => {
                shard.encode(body);
                body.u64(*number);
            }
            Self::DeedsAsk(owner, after) => {
                body.bytes(&owner.0);
                encode_after(after.as_ref(), body);
            }
            Self::Deeds(owner, more, deeds) => {
                body.bytes(&owner.0);
                body.u8(u8::from(*more));
                encode_all(deeds, body);
            }
            Self::InventoryAsk(after) => encode_after(after.as_ref(), body),
            Self::Inventory(after, more, lines) => {
                encode_after(after.as_ref(), body);
                body.u8(u8::from(*more));
                encode_all(lines, body);
            }
            Self::Amended(amendment) => amendment.encode(body),
        }
    }

    fn decode(kind: u8, body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(match kind {
            1 => Self::Ping(Ping::decode(body)?),
            2 => Self::Pong(body.u64()?, Ping::decode(body)?),
            3 => Self::Summary(Summary::decode(body)?),
            4 => Self::Records(decode_all(RECORDS_MAX, body)?),
            5 => Self::Log(LogMessage::decode(body)?),
            6 => Self::JoinAsk(body.array()?, Pledge::decode(body)?),
            7 => Self::JoinYes(Vouch::decode(body)?),
            8 => Self::JoinNo(body.u8()?),
            10 => {
                let (index, amended) = (body.u8()?, decode_flag(body)?);
                let deed = Deed::decode(body)?;
                if usize::from(index) >= deed.shape.n() {
                    return Err(BodyError::BadValue { field: "index" });
                }
                Self::Offer(deed, index, if amended { Some(Amendment::decode(body)?) } else { None })
            }
            11 => Self::Want(ShardId::decode(body)?),
            12 => Self::Place(ShardId::decode(body)?),
            13 => Self::Receipt(Receipt::decode(body)?),
            14 => Self::Refuse(ShardId::decode(body)?, decode_no(body)?),
            15 => Self::Revise(Deed::decode(body)?),
            16 => Self::Release(Release::decode(body)?),
            17 => Self::Revised(SegmentName(body.array()?), body.u32()?),
            18 => Self::Fetch(ShardId::decode(body)?),
            19 => Self::Shard(ShardId::decode(body)?),
            20 => Self::FetchNo(ShardId::decode(body)?, decode_no(body)?),
            21 => Self::decode_challenge(body)?,
            22 => Self::Proof(ShardId::decode(body)?, body.u64()?),
            23 => Self::DeedsAsk(NodeId(body.array()?), decode_after(body)?),
            24 => Self::Deeds(NodeId(body.array()?), decode_flag(body)?, decode_all(DEEDS_MAX, body)?),
            25 => Self::InventoryAsk(decode_after(body)?),
            26 => Self::Inventory(decode_after(body)?, decode_flag(body)?, decode_all(INVENTORY_MAX, body)?),
            27 => Self::Amended(Amendment::decode(body)?),
            28 => Self::Attest(Attestation::decode(body)?),
            30 => Self::Propose(Proposal::decode(body)?),
            31 => Self::Agree(Contract::decode(body)?),
            32 => Self::Decline(body.u32()?, body.u64()?),
            33 => Self::End(Ending::decode(body)?),
            _ => return Err(BodyError::BadValue { field: "kind" }),
        })
    }

    fn decode_challenge(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (shard, number, count) = (ShardId::decode(body)?, body.u64()?, usize::from(body.u8()?));
        if count > LEAVES_MAX {
            return Err(BodyError::TooLong { length: count, most: LEAVES_MAX });
        }
        let leaves = (0..count).map(|_| body.u32()).collect::<Result<_, _>>()?;
        Ok(Self::Challenge(shard, number, leaves))
    }
}

fn encode_challenge(shard: &ShardId, number: u64, leaves: &[u32], body: &mut BodyWriter<'_>) {
    assert!(leaves.len() <= LEAVES_MAX, "a challenge asks for few leaves");
    shard.encode(body);
    body.u64(number);
    body.u8(leaves.len() as u8);
    leaves.iter().for_each(|leaf| body.u32(*leaf));
}

fn encode_after(after: Option<&SegmentName>, body: &mut BodyWriter<'_>) {
    body.u8(u8::from(after.is_some()));
    body.bytes(&after.map_or([0; 32], |segment| segment.0));
}

fn decode_after(body: &mut BodyReader<'_>) -> Result<Option<SegmentName>, BodyError> {
    let (there, name) = (decode_flag(body)?, SegmentName(body.array()?));
    if !there && name.0 != [0; 32] {
        return Err(BodyError::BadValue { field: "after" });
    }
    Ok(there.then_some(name))
}

fn decode_flag(body: &mut BodyReader<'_>) -> Result<bool, BodyError> {
    match body.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(BodyError::BadValue { field: "flag" }),
    }
}

fn decode_no(body: &mut BodyReader<'_>) -> Result<No, BodyError> {
    No::from_code(body.u8()?).ok_or(BodyError::BadValue { field: "why" })
}

fn encode_all<T: Message>(all: &[T], body: &mut BodyWriter<'_>) {
    body.u16(u16::try_from(all.len()).expect("lists in letters are short"));
    all.iter().for_each(|one| one.encode(body));
}

fn decode_all<T: Message>(most: usize, body: &mut BodyReader<'_>) -> Result<Vec<T>, BodyError> {
    let length = usize::from(body.u16()?);
    if length > most {
        return Err(BodyError::TooLong { length, most });
    }
    (0..length).map(|_| T::decode(body)).collect()
}

impl Message for Balance {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.held);
        body.u64(self.placed);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { held: body.u64()?, placed: body.u64()? })
    }
}

impl Message for Ping {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.list_number);
        body.bytes(&self.list_digest.0);
        body.u64(self.head_sequence);
        body.bytes(&self.head.0);
        self.balance.encode(body);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self {
            list_number: body.u64()?,
            list_digest: Digest(body.array()?),
            head_sequence: body.u64()?,
            head: Digest(body.array()?),
            balance: Balance::decode(body)?,
        })
    }
}

impl Message for Held {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.segment.0);
        body.u32(self.revision);
        body.u8(self.k);
        body.u8(self.index);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { segment: SegmentName(body.array()?), revision: body.u32()?, k: body.u8()?, index: body.u8()? })
    }
}

#[cfg(test)]
mod tests;
