//! Frames: a 32-byte header, descriptors, payloads.
//!
//! ```text
//! 0       4      8     9    10      12      14       16        20     24     28       32
//! +-------+------+-----+----+-------+-------+--------+---------+------+------+--------+-------------+----------+
//! | magic | crc  | ver | op | flags | count | status | request | grid | body | credit | descriptors | payloads |
//! +-------+------+-----+----+-------+-------+--------+---------+------+------+--------+-------------+----------+
//! ```
//!
//! `body` counts the bytes after the header. `crc` is the CRC-32C of bytes 8 to 32 and of the descriptors; of a frame
//! without descriptors, of the whole body. Payloads carry checksums of their own in the descriptors.

use crate::op::Op;
use okapi_base::{crc32c, limits};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 32;
/// The first four bytes of every frame: `OKPI`.
pub const MAGIC: [u8; 4] = *b"OKPI";
/// The version this crate writes.
pub const VERSION: u8 = 1;

/// Bits of a header's `flags`.
pub mod flags {
    /// Put: the asker waits for no disk; a later frame makes it durable.
    pub const RELAXED: u16 = 1;
    /// Put: the blocks are those of a record, or reserved for one.
    pub const RECORD: u16 = 2;
    /// List: fill in length, checksum and generation.
    pub const DETAIL: u16 = 4;
    /// Reply to a list: there is more after the last one.
    pub const MORE: u16 = 8;
}

/// A frame's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The format's version.
    pub version: u8,
    /// The operation's number, with [`Op::REPLY`] in a reply.
    pub op: u8,
    /// [`flags`].
    pub flags: u16,
    /// Descriptors after the header.
    pub count: u16,
    /// In a reply: the status of the whole ([`crate::Status`] as a number).
    pub status: u16,
    /// The asker's number for this ask; the reply has the same.
    pub request: u32,
    /// The handle of an open grid, 0 if none.
    pub grid: u32,
    /// Bytes after the header.
    pub body: u32,
    /// In an ask: how long the reply's body may be. In a reply: how much of the window is free.
    pub credit: u32,
}

impl Header {
    /// The header of an ask without flags.
    #[must_use]
    pub const fn ask(op: Op, request: u32, grid: u32) -> Self {
        Self { version: VERSION, op: op as u8, flags: 0, count: 0, status: 0, request, grid, body: 0, credit: 0 }
    }

    /// Whether this is a reply.
    #[inline]
    #[must_use]
    pub const fn is_reply(&self) -> bool {
        self.op & Op::REPLY != 0
    }

    /// The operation, if it is known.
    #[inline]
    #[must_use]
    pub fn operation(&self) -> Option<Op> {
        Op::from_code(self.op & !Op::REPLY)
    }

    /// Bytes of the body that are descriptors. Of an operation without descriptors, or unknown, the whole body is
    /// one piece and checked as one.
    #[must_use]
    pub fn described(&self) -> usize {
        let each = match self.operation() {
            Some(op) if self.is_reply() => op.reply_bytes(),
            Some(op) => op.ask_bytes(),
            None => 0,
        };
        // A reply to a list may be an error with a text and no descriptors.
        if each == 0 || self.count == 0 { self.body as usize } else { each * self.count as usize }
    }

    /// The header's bytes; the checksum is left zero, see [`sign`].
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8] = self.version;
        bytes[9] = self.op;
        bytes[10..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.count.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.status.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.request.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.grid.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.body.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.credit.to_le_bytes());
        bytes
    }

    /// The header in these bytes, its lengths checked against the limits but not yet its checksum.
    ///
    /// # Errors
    /// [`FrameError`] if the bytes cannot be a header.
    pub fn decode(bytes: &[u8; HEADER_BYTES], body_max: u32) -> Result<Self, FrameError> {
        if bytes[..4] != MAGIC {
            return Err(FrameError::BadMagic);
        }
        let two = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let header = Self {
            version: bytes[8],
            op: bytes[9],
            flags: two(10),
            count: two(12),
            status: two(14),
            request: four(16),
            grid: four(20),
            body: four(24),
            credit: four(28),
        };
        // The hello is read in every version: it is how the versions find each other.
        if header.version != VERSION && header.operation() != Some(Op::Hello) {
            return Err(FrameError::BadVersion { version: header.version });
        }
        if header.body > body_max {
            return Err(FrameError::TooLong { body: header.body, most: body_max });
        }
        if header.count > limits::DESCRIPTORS_MAX {
            return Err(FrameError::TooMany { count: header.count });
        }
        if header.described() > header.body as usize {
            return Err(FrameError::Short { count: header.count, body: header.body });
        }
        Ok(header)
    }

    /// The header that begins `bytes`, or nothing if more bytes are needed.
    fn first(bytes: &[u8], body_max: u32) -> Result<Option<Self>, FrameError> {
        match bytes.first_chunk::<HEADER_BYTES>() {
            Some(head) => Self::decode(head, body_max).map(Some),
            None => {
                let known = bytes.len().min(MAGIC.len());
                if bytes[..known] == MAGIC[..known] { Ok(None) } else { Err(FrameError::BadMagic) }
            }
        }
    }

    /// The descriptors behind this header in `bytes`, once both have met their checksum.
    fn check<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], FrameError> {
        let head = HEADER_BYTES + self.described();
        let crc = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        if crc32c(&bytes[8..head]) == crc { Ok(&bytes[HEADER_BYTES..head]) } else { Err(FrameError::BadChecksum) }
    }
}

/// Puts the checksum into the header at the start of `head`: the header and the descriptors (or, without
/// descriptors, the body).
pub fn sign(head: &mut [u8]) {
    let crc = crc32c(&head[8..]);
    head[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// A whole frame, as it lies in the buffer it was received into.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// The descriptors; the whole body of an operation without any.
    pub descriptors: &'a [u8],
    /// What comes after them.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that begins `bytes` and how many bytes it takes, or nothing if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]: the stream is beyond repair.
    pub fn parse(bytes: &'a [u8], body_max: u32) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(header) = Header::first(bytes, body_max)? else { return Ok(None) };
        let length = HEADER_BYTES + header.body as usize;
        if bytes.len() < length {
            return Ok(None);
        }
        let descriptors = header.check(bytes)?;
        Ok(Some((Self { header, descriptors, payload: &bytes[HEADER_BYTES + descriptors.len()..length] }, length)))
    }

    /// The head of the frame that begins `bytes`, its payload left out, and how many bytes the head takes; nothing if
    /// more bytes are needed. For frames whose payloads are worth taking one by one as they come.
    ///
    /// # Errors
    /// [`FrameError`]: the stream is beyond repair.
    pub fn parse_head(bytes: &'a [u8], body_max: u32) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(header) = Header::first(bytes, body_max)? else { return Ok(None) };
        let length = HEADER_BYTES + header.described();
        if bytes.len() < length {
            return Ok(None);
        }
        let descriptors = header.check(bytes)?;
        Ok(Some((Self { header, descriptors, payload: &[] }, length)))
    }
}

/// Why bytes are not a frame. Nothing after them can be trusted, so the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first four bytes are not `OKPI`.
    #[error("these are not Okapi's frames: the first four bytes are not OKPI; is another program on this address?")]
    BadMagic,
    /// A version this crate does not read.
    #[error("the frame has version {version}, and this end reads version {VERSION}")]
    BadVersion {
        /// The version found.
        version: u8,
    },
    /// The body is longer than the limit.
    #[error("the frame's body has {body} bytes, and this end takes at most {most}")]
    TooLong {
        /// Bytes announced.
        body: u32,
        /// Bytes allowed.
        most: u32,
    },
    /// Too many descriptors.
    #[error("the frame has {count} descriptors, and at most {} are allowed", limits::DESCRIPTORS_MAX)]
    TooMany {
        /// Descriptors announced.
        count: u16,
    },
    /// The descriptors do not fit into the body.
    #[error("the frame announces {count} descriptors, and its body has only {body} bytes")]
    Short {
        /// Descriptors announced.
        count: u16,
        /// Bytes of the body.
        body: u32,
    },
    /// The checksum is wrong.
    #[error("the frame's checksum is wrong: it was damaged on the way")]
    BadChecksum,
}
