//! Messages about who else may use a grid.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::string::String;
use alloc::vec::Vec;
use okapi_base::MemberId;
use okapi_base::limits::GRID_NAME_MAX;

/// Members that may be granted something on one grid.
pub const GRANTS_GRID_MAX: usize = 200;
/// Grants that one node may have given, on all its grids: a list of them fits one reply.
pub const GRANTS_NODE_MAX: usize = 8_192;

/// What a member may do with a grid of another. Each includes what stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Right {
    /// Nothing.
    #[default]
    None = 0,
    /// Get, list, find, follow.
    Read = 1,
    /// Put, and make and remove records.
    Write = 2,
    /// Drop the grid, and grant and revoke.
    Own = 3,
}

impl Right {
    const ALL: [Self; 4] = [Self::None, Self::Read, Self::Write, Self::Own];

    /// The right a number stands for.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|right| *right as u8 == code)
    }

    /// The word people write for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
            Self::Own => "own",
        }
    }
}

/// Sets what a member may do with a grid, in place of what it might before. Body: grid text, member 32, right u8 (0:
/// nothing any more). Answered once it is durable and in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantSet {
    /// The grid's name.
    pub grid: String,
    /// The member: all its nodes.
    pub member: MemberId,
    /// What it may do.
    pub right: Right,
}

/// A right that was granted. Body: grid text, member 32, right u8, since u64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The grid's name.
    pub grid: String,
    /// The member.
    pub member: MemberId,
    /// What it may do, and more than nothing.
    pub right: Right,
    /// When that was granted, in milliseconds since 1970-01-01 UTC.
    pub since: u64,
}

/// What was granted, as far as it is the asker's business. Body: list of [`Granted`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrantList {
    /// Ordered by the grid's name, then by member.
    pub grants: Vec<Granted>,
}

fn right(body: &mut BodyReader<'_>) -> Result<Right, BodyError> {
    Right::from_code(body.u8()?).ok_or(BodyError::BadValue { field: "right" })
}

impl Message for GrantSet {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.text(&self.grid);
        body.bytes(&self.member.0);
        body.u8(self.right as u8);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { grid: body.text(GRID_NAME_MAX)?, member: MemberId(body.array()?), right: right(body)? })
    }
}

impl Message for Granted {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.text(&self.grid);
        body.bytes(&self.member.0);
        body.u8(self.right as u8);
        body.u64(self.since);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (grid, member, right) = (body.text(GRID_NAME_MAX)?, MemberId(body.array()?), right(body)?);
        if right == Right::None {
            return Err(BodyError::BadValue { field: "right" });
        }
        Ok(Self { grid, member, right, since: body.u64()? })
    }
}

impl Message for GrantList {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.list(&self.grants);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { grants: body.list(GRANTS_NODE_MAX)? })
    }
}
