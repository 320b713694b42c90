//! Frames between two nodes of a group: letters, their payloads in pieces, and what keeps a connection in order.
//!
//! `docs/format/member-link.md` describes the same byte by byte. A frame is a head and as many bytes as it says; they
//! travel inside TLS, which keeps them whole and secret, so nothing here has a checksum.
//!
//! ```text
//! 0      1      4        8         12     16
//! +------+------+--------+---------+------+--------+
//! | kind | zero | length | payload | zero | length |
//! |  u8  |      |  u32   |   u32   |      | bytes  |
//! +------+------+--------+---------+------+--------+
//! ```

use super::announce::{ANNOUNCEMENT_BYTES_MAX, Announcement};
use super::{SignatureBytes, encoded};
use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// The versions spoken here, oldest and newest.
pub const VERSIONS: (u16, u16) = (1, 1);
/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 16;
/// Bytes of a letter.
pub const LETTER_MAX: usize = 256 << 10;
/// Bytes of a payload.
pub const PAYLOAD_MAX: usize = 16 << 20;
/// Bytes of the longest payload that follows its letter at once. A longer one waits for the other end's go.
pub const INLINE_MAX: usize = 64 << 10;
/// Bytes of a piece of a payload.
pub const PIECE_MAX: usize = 1 << 20;
/// Letters whose payloads may be on their way at a time, with or without the other end's go.
pub const OFFERS_MAX: usize = 8;
/// Bytes of the announcements in one frame.
pub const ANNOUNCEMENTS_BYTES_MAX: usize = 64 << 10;
/// Announcements in one frame.
pub const ANNOUNCEMENTS_MAX: usize = 256;
/// Bytes of the longest hello.
pub const HELLO_BYTES_MAX: usize = 40 + ANNOUNCEMENT_BYTES_MAX;
/// Bytes of a farewell's words.
pub const WORDS_MAX: usize = 512;
/// Bytes of a presence.
pub const PRESENCE_BYTES: usize = 88;
/// Bytes of the longest farewell.
pub const FAREWELL_BYTES_MAX: usize = 1 + 2 + WORDS_MAX + PRESENCE_BYTES;

const _: () = assert!(4 + ANNOUNCEMENT_BYTES_MAX <= ANNOUNCEMENTS_BYTES_MAX, "every announcement fits into a frame");

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Who speaks, the first of each end. Body: [`Hello`].
    Hello,
    /// The end that was dialled takes the connection. No body.
    Welcome,
    /// A letter. If `payload` is not 0, so many bytes go with it: up to [`INLINE_MAX`] right after this frame, more of
    /// them in pieces, after the other end's go.
    Letter,
    /// There is room for the payload of the oldest letter that has not had its go. No body.
    Go,
    /// The next bytes of the oldest payload that is not whole yet.
    Piece,
    /// Are you there? Body: 8 bytes.
    Ping,
    /// I am. Body: the 8 bytes of the ping, or zeros for a sign of life nobody asked for.
    Pong,
    /// A list of announcements.
    Announcements,
    /// Prove that you are there. Body: 16 bytes.
    Prove,
    /// The answer. Body: [`Presence`].
    Presence,
    /// The last frame of an end. Body: [`Farewell`].
    Farewell,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Hello,
        Self::Welcome,
        Self::Letter,
        Self::Go,
        Self::Piece,
        Self::Ping,
        Self::Pong,
        Self::Announcements,
        Self::Prove,
        Self::Presence,
        Self::Farewell,
    ];

    /// The byte that stands for it.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The shortest and the longest body it may have, in bytes.
    #[must_use]
    pub const fn lengths(self) -> (usize, usize) {
        match self {
            Self::Hello => (40, HELLO_BYTES_MAX),
            Self::Welcome | Self::Go => (0, 0),
            Self::Letter => (0, LETTER_MAX),
            Self::Piece => (1, PIECE_MAX),
            Self::Ping | Self::Pong => (8, 8),
            Self::Announcements => (4, ANNOUNCEMENTS_BYTES_MAX),
            Self::Prove => (16, 16),
            Self::Presence => (PRESENCE_BYTES, PRESENCE_BYTES),
            Self::Farewell => (3, FAREWELL_BYTES_MAX),
        }
    }
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Bytes after the head.
    pub length: u32,
    /// Bytes of the payload that goes with a letter; 0 in every other frame.
    pub payload: u32,
}

impl Head {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[0] = self.kind.code();
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload.to_le_bytes());
        bytes
    }

    /// Reads it. What it returns keeps to all limits.
    ///
    /// # Errors
    /// [`BodyError`] if the bytes are no head, or what it announces is longer than it may be.
    pub fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Result<Self, BodyError> {
        let mut body = BodyReader::new(bytes);
        let code = body.u8()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.code() == code);
        let kind = kind.ok_or(BodyError::BadValue { field: "frame kind" })?;
        if body.array()? != [0; 3] {
            return Err(BodyError::BadValue { field: "frame head, bytes 1 to 3" });
        }
        let (length, payload) = (body.u32()?, body.u32()?);
        if body.array()? != [0; 4] {
            return Err(BodyError::BadValue { field: "frame head, bytes 12 to 15" });
        }
        let (least, most) = kind.lengths();
        if (length as usize) < least {
            return Err(BodyError::Short);
        }
        if length as usize > most {
            return Err(BodyError::TooLong { length: length as usize, most });
        }
        let payload_max = if kind == Kind::Letter { PAYLOAD_MAX } else { 0 };
        if payload as usize > payload_max {
            return Err(BodyError::TooLong { length: payload as usize, most: payload_max });
        }
        Ok(Self { kind, length, payload })
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To exchange letters.
    Letters,
    /// To see who is there; it is closed at once.
    Look,
}

/// The first frame of each end. It never changes: whatever version they speak, both can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version this end speaks.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
    /// What the connection is for; the end that was dialled repeats what it was told.
    pub purpose: Purpose,
    /// Drawn at random when this process started.
    pub run: [u8; 16],
    /// When this process started, in milliseconds since 1970.
    pub started: u64,
    /// Its clock now, in milliseconds since 1970.
    pub stamp: u64,
    /// Its own announcement.
    pub announcement: Announcement,
}

impl Message for Hello {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u16(self.oldest);
        body.u16(self.newest);
        body.u8(match self.purpose {
            Purpose::Letters => 1,
            Purpose::Look => 2,
        });
        body.bytes(&[0; 3]);
        body.bytes(&self.run);
        body.u64(self.started);
        body.u64(self.stamp);
        self.announcement.encode(body);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (oldest, newest) = (body.u16()?, body.u16()?);
        let purpose = match body.u8()? {
            1 => Purpose::Letters,
            2 => Purpose::Look,
            _ => return Err(BodyError::BadValue { field: "purpose" }),
        };
        body.array::<3>()?;
        Ok(Self {
            oldest,
            newest,
            purpose,
            run: body.array()?,
            started: body.u64()?,
            stamp: body.u64()?,
            announcement: Announcement::decode(body)?,
        })
    }
}

/// A process's word that it is there: it answers a challenge that was not known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Drawn at random when the process started.
    pub run: [u8; 16],
    /// When it started, in milliseconds since 1970.
    pub started: u64,
    /// By its node's key.
    pub signature: SignatureBytes,
}

impl Presence {
    /// What `signature` covers: the challenge, run and start.
    #[must_use]
    pub fn signed_bytes(&self, challenge: &[u8; 16]) -> Vec<u8> {
        encoded(|body| {
            body.bytes(challenge);
            body.bytes(&self.run);
            body.u64(self.started);
        })
    }
}

impl Message for Presence {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&self.run);
        body.u64(self.started);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { run: body.array()?, started: body.u64()?, signature: body.array()? })
    }
}

/// Why an end closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its process stops.
    Stopping,
    /// Another connection between the two does its work.
    Replaced,
    /// Another process has the identity of the receiver of this farewell.
    Twin,
    /// They speak no version in common.
    Versions,
    /// The receiver has parted from the group.
    Parted,
    /// Too many strangers are connected.
    Crowded,
    /// A stranger's time is over.
    Overstayed,
    /// A frame made no sense, or was more than is allowed.
    Malformed,
    /// All was said that was asked.
    Done,
}

impl Reason {
    const ALL: [Self; 9] = [
        Self::Stopping,
        Self::Replaced,
        Self::Twin,
        Self::Versions,
        Self::Parted,
        Self::Crowded,
        Self::Overstayed,
        Self::Malformed,
        Self::Done,
    ];

    /// The byte that stands for it.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }
}

/// The last frame of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// Why.
    pub reason: Reason,
    /// The same for people: at most [`WORDS_MAX`] bytes.
    pub words: String,
    /// With [`Reason::Twin`] the other process's answer to the challenge that is the receiver's own run.
    pub twin: Option<Box<Presence>>,
}

impl Message for Farewell {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        assert_eq!(self.twin.is_some(), self.reason == Reason::Twin, "a twin is told with its proof, and nothing else");
        body.u8(self.reason.code());
        body.text(&self.words);
        if let Some(twin) = &self.twin {
            twin.encode(body);
        }
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let code = body.u8()?;
        let reason = Reason::ALL.into_iter().find(|reason| reason.code() == code);
        let reason = reason.ok_or(BodyError::BadValue { field: "farewell reason" })?;
        let words = body.text(WORDS_MAX)?;
        let twin = if reason == Reason::Twin { Some(Box::new(Presence::decode(body)?)) } else { None };
        Ok(Self { reason, words, twin })
    }
}

#[cfg(test)]
mod tests;
