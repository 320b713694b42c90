//! The hello and the welcome: the two bodies that never change.
//!
//! Hello, 64 bytes: oldest version u8, newest version u8, reserved u16, body limit u32, reply window u32, frames in
//! flight u32, reserved 16 bytes, token 32 bytes. Welcome, 64 bytes: version u8, access u8, reserved u16, body limit
//! u32, reply window u32, frames in flight u32, node 16 bytes, reserved 32 bytes.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use core::fmt;

/// A secret of 256 bits that opens a grid, or the whole node. All zeros stands for none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 32]);

impl Token {
    /// No token.
    pub const NONE: Self = Self([0; 32]);

    /// Whether this stands for none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_none() { "Token(none)" } else { "Token(…)" })
    }
}

/// What each end will hold for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a frame's body it takes.
    pub body_max: u32,
    /// Bytes of replies it lets wait before it leaves further asks unread.
    pub reply_window: u32,
    /// Asks it takes before the first of them is answered.
    pub frames_in_flight: u32,
}

impl Default for Limits {
    fn default() -> Self {
        use okapi_base::limits::{BODY_MAX, FRAMES_IN_FLIGHT_MAX, REPLY_WINDOW};
        Self { body_max: BODY_MAX, reply_window: REPLY_WINDOW, frames_in_flight: FRAMES_IN_FLIGHT_MAX }
    }
}

impl Limits {
    fn encode(self, body: &mut BodyWriter<'_>) {
        body.u32(self.body_max);
        body.u32(self.reply_window);
        body.u32(self.frames_in_flight);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { body_max: body.u32()?, reply_window: body.u32()?, frames_in_flight: body.u32()? })
    }
}

/// The first ask of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version the asker speaks.
    pub oldest: u8,
    /// The newest.
    pub newest: u8,
    /// What the asker holds for the other end.
    pub limits: Limits,
    /// The node's token, or none.
    pub token: Token,
}

/// The answer to a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The version both will speak.
    pub version: u8,
    /// Whether the asker is the node's owner, who may do everything.
    pub owner: bool,
    /// What the node holds for the asker.
    pub limits: Limits,
    /// Which node this is.
    pub node: [u8; 16],
}

impl Message for Hello {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(self.oldest);
        body.u8(self.newest);
        body.u16(0);
        self.limits.encode(body);
        body.bytes(&[0; 16]);
        body.bytes(&self.token.0);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (oldest, newest, _) = (body.u8()?, body.u8()?, body.u16()?);
        let limits = Limits::decode(body)?;
        body.array::<16>()?;
        Ok(Self { oldest, newest, limits, token: Token(body.array()?) })
    }
}

impl Message for Welcome {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(self.version);
        body.u8(u8::from(self.owner));
        body.u16(0);
        self.limits.encode(body);
        body.bytes(&self.node);
        body.bytes(&[0; 32]);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (version, access, _) = (body.u8()?, body.u8()?, body.u16()?);
        let limits = Limits::decode(body)?;
        let node = body.array()?;
        body.array::<32>()?;
        Ok(Self { version, owner: access == 1, limits, node })
    }
}
