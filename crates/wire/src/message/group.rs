//! Messages about the group: what the node's owner asks of its membership.
//!
//! A node without an identity refuses all of them with [`Status::NoGroup`](crate::Status::NoGroup).

mod find;
mod status;

pub use find::FindError;
pub use status::{
    EVENTS_MAX, GroupData, GroupEvent, GroupHalves, GroupMember, GroupRestore, GroupRisk, GroupState, GroupStatus,
    GroupWork, MEMBERS_MAX, MemberGrade, MemberPresence, MemberState, NODE_NAME_MAX, NOTE_MAX, RISK_RECORDS_MAX,
    RISKS_MAX, STATUS_VERSION,
};

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use crate::peer::ticket::TEXT_MAX;
use alloc::string::String;
use okapi_base::NodeId;

/// Asks how the group stands. Body: newest u8. Answered by a [`GroupStatus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupStatusAsk {
    /// The newest version of the answer that the asker reads: it gets this or an older one.
    pub newest: u8,
}

impl GroupStatusAsk {
    /// As this crate reads it.
    pub const OURS: Self = Self { newest: STATUS_VERSION };
}

/// Makes a ticket. Body: lifetime u32 (seconds). Answered by an [`Invited`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupInvite {
    /// How long it opens the group, in seconds.
    pub lifetime: u32,
}

/// A ticket just made. Body: ticket text, expires u64.
#[derive(Clone, PartialEq, Eq)]
pub struct Invited {
    /// The ticket as `crate::peer::ticket` writes it.
    pub ticket: String,
    /// When it ceases to open the group: milliseconds since 1970-01-01 UTC.
    pub expires: u64,
}

/// Joins the group of a ticket. Body: ticket text. Answered once it has begun; the status tells how it goes on.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupJoin {
    /// The ticket.
    pub ticket: String,
}

/// Leaves the group. Body: now u8. Answered once it has begun; the status tells how it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLeave {
    /// Without waiting until what is held for others lies elsewhere.
    pub now: bool,
}

/// Counts a node as lost for good: what it held is repaired at once. Body: node 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupLost {
    /// The node.
    pub node: NodeId,
}

/// Changes how much disk is given. Body: bytes u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupGive {
    /// Both halves together, in bytes.
    pub bytes: u64,
}

// A ticket opens the group for whoever reads it: it never shows in logs.
impl core::fmt::Debug for Invited {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Invited(… until {})", self.expires)
    }
}

impl core::fmt::Debug for GroupJoin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("GroupJoin(…)")
    }
}

impl Message for GroupStatusAsk {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(self.newest);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        match body.u8()? {
            0 => Err(BodyError::BadValue { field: "newest" }),
            newest => Ok(Self { newest }),
        }
    }
}

impl Message for GroupInvite {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u32(self.lifetime);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { lifetime: body.u32()? })
    }
}

impl Message for Invited {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.text(&self.ticket);
        body.u64(self.expires);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { ticket: body.text(TEXT_MAX)?, expires: body.u64()? })
    }
}

impl Message for GroupJoin {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.text(&self.ticket);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { ticket: body.text(TEXT_MAX)? })
    }
}

impl Message for GroupLeave {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(u8::from(self.now));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        match body.u8()? {
            now @ (0 | 1) => Ok(Self { now: now == 1 }),
            _ => Err(BodyError::BadValue { field: "now" }),
        }
    }
}

impl Message for GroupLost {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.node.0);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { node: NodeId(body.array()?) })
    }
}

impl Message for GroupGive {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.bytes);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { bytes: body.u64()? })
    }
}
