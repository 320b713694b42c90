//! Announcements: where a node can be reached, signed by itself.
//!
//! `docs/format/member-link.md` describes the same byte by byte.

use super::{SignatureBytes, encoded};
use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::string::String;
use alloc::vec::Vec;
use okapi_base::NodeId;

/// Bytes of a node's name.
pub const NAME_MAX: usize = 64;
/// Addresses in one announcement.
pub const ADDRESSES_MAX: usize = 8;
/// Bytes of one address.
pub const ADDRESS_MAX: usize = 128;
/// The latest stamp: the year 10889. One far in the future could never be followed by a newer one.
pub const STAMP_MAX: u64 = 1 << 48;
/// Bytes of the longest announcement.
pub const ANNOUNCEMENT_BYTES_MAX: usize = 1 + 32 + 8 + 2 + NAME_MAX + 1 + ADDRESSES_MAX * (2 + ADDRESS_MAX) + 64;

const VERSION: u8 = 1;

/// Where a node can be reached, in its own words. Of two by one node the one with the later stamp holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Which node.
    pub node: NodeId,
    /// When it was signed, in milliseconds since 1970, at most [`STAMP_MAX`].
    pub stamp: u64,
    /// What people call it: at most [`NAME_MAX`] bytes, no control characters.
    pub name: String,
    /// Where it listens, the best first: at most [`ADDRESSES_MAX`] texts such as `tcp://192.0.2.1:7072`, each of 1 to
    /// [`ADDRESS_MAX`] bytes of ASCII without blanks. None if nobody can dial it.
    pub addresses: Vec<String>,
    /// By the key of `node`.
    pub signature: SignatureBytes,
}

impl Announcement {
    /// What `signature` covers: all but itself.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        encoded(|body| self.encode_unsigned(body))
    }

    fn encode_unsigned(&self, body: &mut BodyWriter<'_>) {
        assert!(is_name(&self.name), "whoever announces checks its name");
        assert!(self.addresses.len() <= ADDRESSES_MAX, "an announcement has few addresses");
        body.u8(VERSION);
        body.bytes(&self.node.0);
        body.u64(self.stamp);
        body.text(&self.name);
        body.u8(self.addresses.len() as u8);
        for address in &self.addresses {
            assert!(is_address(address), "whoever announces checks its addresses");
            body.text(address);
        }
    }
}

impl Message for Announcement {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.encode_unsigned(body);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != VERSION {
            return Err(BodyError::BadValue { field: "announcement version" });
        }
        let node = NodeId(body.array()?);
        let stamp = body.u64()?;
        if stamp > STAMP_MAX {
            return Err(BodyError::BadValue { field: "announcement stamp" });
        }
        let name = body.text(NAME_MAX)?;
        if !is_name(&name) {
            return Err(BodyError::BadValue { field: "node name" });
        }
        let count = usize::from(body.u8()?);
        if count > ADDRESSES_MAX {
            return Err(BodyError::TooLong { length: count, most: ADDRESSES_MAX });
        }
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            let address = body.text(ADDRESS_MAX)?;
            if !is_address(&address) {
                return Err(BodyError::BadValue { field: "address" });
            }
            addresses.push(address);
        }
        Ok(Self { node, stamp, name, addresses, signature: body.array()? })
    }
}

/// Whether a text can be announced as a name: others show it on their terminals.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_MAX && !text.chars().any(char::is_control)
}

/// Whether a text can be announced as an address.
#[must_use]
pub fn is_address(text: &str) -> bool {
    (1..=ADDRESS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
