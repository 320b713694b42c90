//! The numbers of the protocol and the shapes of its requests. All are big endian.

/// The server's first eight bytes.
pub(crate) const GREETING: &[u8; 8] = b"NBDMAGIC";
/// What comes before each option.
pub(crate) const OPTION: &[u8; 8] = b"IHAVEOPT";
/// What comes before each reply to an option.
pub(crate) const OPTION_REPLY: u64 = 0x0003_E889_0455_65A9;

/// Flags of the greeting and of its answer.
pub(crate) const FIXED_NEWSTYLE: u16 = 1;
pub(crate) const NO_ZEROES: u16 = 2;

/// Options.
pub(crate) mod option {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const LIST: u32 = 3;
    pub(crate) const STARTTLS: u32 = 5;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
    pub(crate) const STRUCTURED_REPLY: u32 = 8;
    pub(crate) const LIST_META_CONTEXT: u32 = 9;
    pub(crate) const SET_META_CONTEXT: u32 = 10;
    pub(crate) const EXTENDED_HEADERS: u32 = 11;
}

/// Replies to options.
pub(crate) mod reply {
    pub(crate) const ACK: u32 = 1;
    pub(crate) const SERVER: u32 = 2;
    pub(crate) const INFO: u32 = 3;
    pub(crate) const META_CONTEXT: u32 = 4;
    pub(crate) const ERR_UNSUP: u32 = 1 << 31 | 1;
    pub(crate) const ERR_POLICY: u32 = 1 << 31 | 2;
    pub(crate) const ERR_INVALID: u32 = 1 << 31 | 3;
    pub(crate) const ERR_TLS_REQD: u32 = 1 << 31 | 5;
    pub(crate) const ERR_UNKNOWN: u32 = 1 << 31 | 6;
    pub(crate) const ERR_TOO_BIG: u32 = 1 << 31 | 9;
    pub(crate) const ERR_EXT_HEADER_REQD: u32 = 1 << 31 | 10;
}

/// What `INFO` and `GO` tell.
pub(crate) mod info {
    pub(crate) const EXPORT: u16 = 0;
    pub(crate) const NAME: u16 = 1;
    pub(crate) const BLOCK_SIZE: u16 = 3;
}

/// What can be done with an export.
pub(crate) mod can {
    pub(crate) const HAS_FLAGS: u16 = 1;
    pub(crate) const READ_ONLY: u16 = 2;
    pub(crate) const FLUSH: u16 = 4;
    pub(crate) const FUA: u16 = 8;
    pub(crate) const TRIM: u16 = 32;
    pub(crate) const WRITE_ZEROES: u16 = 64;
    pub(crate) const DF: u16 = 128;
    pub(crate) const MULTI_CONN: u16 = 256;
    pub(crate) const CACHE: u16 = 1024;
    pub(crate) const FAST_ZERO: u16 = 2048;
}

/// Commands.
pub(crate) mod command {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISC: u16 = 2;
    pub(crate) const FLUSH: u16 = 3;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const CACHE: u16 = 5;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const BLOCK_STATUS: u16 = 7;
}

/// Flags of commands.
pub(crate) mod flag {
    pub(crate) const FUA: u16 = 1;
    pub(crate) const NO_HOLE: u16 = 2;
    pub(crate) const DF: u16 = 4;
    pub(crate) const REQ_ONE: u16 = 8;
    pub(crate) const FAST_ZERO: u16 = 16;
    pub(crate) const PAYLOAD: u16 = 32;
}

/// Chunks of replies.
pub(crate) mod chunk {
    pub(crate) const DONE: u16 = 1;
    pub(crate) const NONE: u16 = 0;
    pub(crate) const OFFSET_DATA: u16 = 1;
    pub(crate) const BLOCK_STATUS: u16 = 5;
    pub(crate) const BLOCK_STATUS_EXT: u16 = 6;
    pub(crate) const ERROR: u16 = 1 << 15 | 1;
}

/// The one context of block status there is, and its number.
pub(crate) const ALLOCATION: &str = "base:allocation";
pub(crate) const ALLOCATION_ID: u32 = 1;
/// A run that takes no room and reads as zeros.
pub(crate) const HOLE_OF_ZEROES: u32 = 3;

/// The longest name that an option may bring.
pub(crate) const NAME_MAX: usize = 4096;
/// The most data that a request brings or gets, in bytes: what guests send and other servers take.
pub(crate) const REQUEST_MAX: u32 = 64 << 20;

const REQUEST: u32 = 0x2560_9513;
const EXTENDED_REQUEST: u32 = 0x21E4_1C71;
const SIMPLE: u32 = 0x6744_6698;
const STRUCTURED: u32 = 0x668E_33EF;
const EXTENDED_REPLY: u32 = 0x6E8A_278C;

/// How requests and their answers look: the client says so before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// An answer is an error, or what was read.
    #[default]
    Simple,
    /// An answer is chunks that say what they are.
    Structured,
    /// The same, and lengths have 64 bits.
    Extended,
}

impl Dialect {
    /// Bytes of a request.
    pub(crate) fn request_bytes(self) -> usize {
        if self == Self::Extended { 32 } else { 28 }
    }

    /// Bytes of the head of an answer or a chunk of it.
    pub(crate) fn head_bytes(self) -> usize {
        match self {
            Self::Simple => 16,
            Self::Structured => 20,
            Self::Extended => 32,
        }
    }
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) flags: u16,
    pub(crate) command: u16,
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Request {
    /// What these bytes, as many as a request has, ask; nothing if they are no request.
    pub(crate) fn decode(dialect: Dialect, bytes: &[u8]) -> Option<Self> {
        let (magic, length) = match dialect {
            Dialect::Extended => (EXTENDED_REQUEST, eight(bytes, 24)),
            Dialect::Simple | Dialect::Structured => (REQUEST, u64::from(four(bytes, 24))),
        };
        (four(bytes, 0) == magic).then(|| Self {
            flags: two(bytes, 4),
            command: two(bytes, 6),
            cookie: eight(bytes, 8),
            offset: eight(bytes, 16),
            length,
        })
    }
}

/// The head of a simple reply.
pub(crate) fn simple(error: u32, cookie: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&SIMPLE.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// Writes the head of a chunk, with `length` bytes after it, of the answer to `request`.
pub(crate) fn chunk_head(into: &mut [u8], dialect: Dialect, (flags, kind): (u16, u16), request: &Request, length: u32) {
    let magic = if dialect == Dialect::Extended { EXTENDED_REPLY } else { STRUCTURED };
    into[..4].copy_from_slice(&magic.to_be_bytes());
    into[4..6].copy_from_slice(&flags.to_be_bytes());
    into[6..8].copy_from_slice(&kind.to_be_bytes());
    into[8..16].copy_from_slice(&request.cookie.to_be_bytes());
    match dialect {
        Dialect::Extended => {
            into[16..24].copy_from_slice(&request.offset.to_be_bytes());
            into[24..].copy_from_slice(&u64::from(length).to_be_bytes());
        }
        Dialect::Simple | Dialect::Structured => into[16..].copy_from_slice(&length.to_be_bytes()),
    }
}

pub(crate) fn two(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from(two(bytes, at)) << 16 | u32::from(two(bytes, at + 2))
}

pub(crate) fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from(four(bytes, at)) << 32 | u64::from(four(bytes, at + 4))
}
