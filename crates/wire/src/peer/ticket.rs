//! Tickets: the text by which one node may join a group, once.
//!
//! It is typed, read aloud and photographed, so its letters have no look-alikes (Crockford's base 32), and each group
//! of eight ends with a check letter of its own: whoever mistypes is told which group to look at. `docs/format/ticket.md`
//! describes it byte by byte.

mod letters;

use crate::body::{BodyError, BodyReader, BodyWriter};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use okapi_base::{GroupId, NodeId, crc32c};

/// What every ticket's text begins with.
pub const PREFIX: &str = "okapi-";
/// Addresses in one ticket.
pub const ADDRESSES_MAX: usize = 8;
/// Bytes of one address.
pub const ADDRESS_MAX: usize = 255;
/// Bytes of a ticket's text as it is written here, at most.
pub const TEXT_MAX: usize = PREFIX.len() + letters::text_length(BYTES_MAX);

const VERSION: u8 = 1;
/// Version, length, group, node, secret, expiry and the number of addresses.
const HEAD_BYTES: usize = 1 + 2 + 3 * 32 + 8 + 1;
const CRC_BYTES: usize = 4;
const BYTES_MIN: usize = HEAD_BYTES + CRC_BYTES;
const BYTES_MAX: usize = BYTES_MIN + ADDRESSES_MAX * (1 + ADDRESS_MAX);

/// A ticket. Whoever has it may join in place of who it was meant for, so it never shows in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The group it opens.
    pub group: GroupId,
    /// The node that made it, and that must be asked.
    pub via: NodeId,
    /// The secret that node knows it by.
    pub secret: [u8; 32],
    /// When it ceases to open: milliseconds since 1970-01-01 UTC.
    pub expires: u64,
    /// Where the node is to be found, the best first.
    pub addresses: Vec<String>,
}

impl Ticket {
    /// The ticket as text.
    ///
    /// # Panics
    /// If it has more than [`ADDRESSES_MAX`] addresses or one that is no address ([`is_address`]).
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(BYTES_MIN);
        let mut body = BodyWriter::new(&mut bytes);
        body.u8(VERSION);
        body.u16(0);
        body.bytes(&self.group.0);
        body.bytes(&self.via.0);
        body.bytes(&self.secret);
        body.u64(self.expires);
        assert!(self.addresses.len() <= ADDRESSES_MAX, "a ticket has at most {ADDRESSES_MAX} addresses");
        body.u8(self.addresses.len() as u8);
        for address in &self.addresses {
            assert!(is_address(address), "`{address}` is an address");
            body.u8(address.len() as u8);
            body.bytes(address.as_bytes());
        }
        let length = u16::try_from(bytes.len() + CRC_BYTES).expect("tickets are short");
        bytes[1..3].copy_from_slice(&length.to_le_bytes());
        let crc = crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let mut text = String::with_capacity(PREFIX.len() + letters::text_length(bytes.len()));
        text.push_str(PREFIX);
        letters::write(&bytes, &mut text);
        text
    }

    /// Reads a ticket as somebody typed or pasted it: capitals or not, any white space, with dashes or without.
    ///
    /// # Errors
    /// [`TicketError`], which says where it is wrong.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        let bytes = letters::read(without_prefix(text.trim())?, announced)?;
        let (said, crc) = bytes.split_last_chunk().expect("what was announced is there");
        if crc32c(said) != u32::from_le_bytes(*crc) {
            return Err(TicketError::Checksum);
        }
        Self::from_bytes(said).map_err(|_| TicketError::Malformed)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, BodyError> {
        let mut body = BodyReader::new(bytes);
        body.take(1 + 2)?;
        let (group, via) = (GroupId(body.array()?), NodeId(body.array()?));
        let (secret, expires, count) = (body.array()?, body.u64()?, usize::from(body.u8()?));
        if count > ADDRESSES_MAX {
            return Err(BodyError::TooLong { length: count, most: ADDRESSES_MAX });
        }
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            let length = usize::from(body.u8()?);
            let address = core::str::from_utf8(body.take(length)?).map_err(|_| BodyError::NotText)?;
            if !is_address(address) {
                return Err(BodyError::BadValue { field: "address" });
            }
            addresses.push(String::from(address));
        }
        body.end()?;
        Ok(Self { group, via, secret, expires, addresses })
    }
}

/// Whether a text may stand in a ticket as an address: 1 to [`ADDRESS_MAX`] bytes without white space or control
/// characters.
#[must_use]
pub fn is_address(text: &str) -> bool {
    (1..=ADDRESS_MAX).contains(&text.len()) && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// The length of a whole ticket, by its first bytes.
fn announced(head: [u8; 3]) -> Result<usize, TicketError> {
    if head[0] != VERSION {
        return Err(TicketError::Newer { version: head[0] });
    }
    let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
    if (BYTES_MIN..=BYTES_MAX).contains(&length) { Ok(length) } else { Err(TicketError::Malformed) }
}

fn without_prefix(text: &str) -> Result<&str, TicketError> {
    match text.get(..PREFIX.len()) {
        Some(begin) if begin.eq_ignore_ascii_case(PREFIX) => Ok(&text[PREFIX.len()..]),
        _ => Err(TicketError::NoTicket),
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ticket({:?} via {:?}, not shown)", self.group, self.via)
    }
}

/// Why a text is no ticket. Groups are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin like one.
    #[error("that is no ticket: a ticket begins with `{PREFIX}`; `okapi invite` makes one")]
    NoTicket,
    /// A character that no ticket has.
    #[error("group {group} of the ticket has a `{character}`, which no ticket has; compare that group")]
    Character {
        /// In which group.
        group: usize,
        /// The character.
        character: char,
    },
    /// A group that is not what its check letter says.
    #[error("a character is wrong in group {group} of the ticket, `{text}`; compare that group")]
    Group {
        /// Which group.
        group: usize,
        /// The group as it was read.
        text: String,
    },
    /// A group with a character too many or too few.
    #[error("group {group} of the ticket has {length} characters, and each but the last has 8; compare that group")]
    GroupLength {
        /// Which group.
        group: usize,
        /// Its characters.
        length: usize,
    },
    /// Its end is missing.
    #[error("the ticket is cut off: {found} of its {whole} characters are here, without dashes; copy all of it")]
    CutOff {
        /// Characters that are there, prefix and dashes left out.
        found: usize,
        /// Characters that a whole one has.
        whole: usize,
    },
    /// It is cut off before it could even say how long it is.
    #[error("the ticket is cut off: there is only its beginning; copy all of it")]
    OnlyBegun,
    /// It goes on after its end.
    #[error("there are {more} characters after the end of the ticket; copy the ticket alone")]
    TooLong {
        /// How many.
        more: usize,
    },
    /// Each group is right, and the whole is not.
    #[error("the groups of the ticket do not belong together; copy it anew")]
    Checksum,
    /// A later version made it.
    #[error("the ticket is of version {version}, and this program reads version {VERSION}; bring it up to date")]
    Newer {
        /// The version found.
        version: u8,
    },
    /// It is whole and means nothing.
    #[error("the ticket is whole, and what it says makes no sense; ask for a new one")]
    Malformed,
}

#[cfg(test)]
mod tests;
