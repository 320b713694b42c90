//! Addresses: an endpoint, a port and the index of a block behind it.
//!
//! Binary, 16 bytes, little endian:
//!
//! ```text
//! 0      8      10       16
//! +------+------+--------+
//! | ip   | port | index  |
//! +------+------+--------+
//! ```

use crate::limits::{INDEX_BITS, INDEX_MAX};
use core::fmt;
use core::str::FromStr;

/// The index of a block in its grid: 48 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Index(u64);

impl Index {
    /// The first block.
    pub const MIN: Self = Self(0);
    /// The last block.
    pub const MAX: Self = Self(INDEX_MAX);

    /// The index `value`, or nothing if it needs more than 48 bits.
    #[inline]
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value >> INDEX_BITS == 0 { Some(Self(value)) } else { None }
    }

    /// The number itself.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The index `count` further on, or nothing past the last one.
    #[inline]
    #[must_use]
    pub const fn plus(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(value) => Self::new(value),
            None => None,
        }
    }

    /// The next index, or nothing after the last one.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        self.plus(1)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a node is reached: 8 bytes. An IPv4 address stands in the last four, the first four being zero; otherwise
/// the bytes are an IPv6 network prefix (the upper 64 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Endpoint(pub [u8; 8]);

impl Endpoint {
    /// The endpoint of an IPv4 address.
    #[must_use]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, octets[0], octets[1], octets[2], octets[3]])
    }
}

/// The place of one block among all blocks of all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The node's endpoint.
    pub endpoint: Endpoint,
    /// The node's port.
    pub port: u16,
    /// The block behind it.
    pub index: Index,
}

impl Address {
    /// Bytes of an address in binary.
    pub const BYTES: usize = 16;

    /// The 16 bytes of this address.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.endpoint.0);
        bytes[8..10].copy_from_slice(&self.port.to_le_bytes());
        bytes[10..].copy_from_slice(&self.index.get().to_le_bytes()[..6]);
        bytes
    }

    /// The address that 16 bytes stand for; every 16 bytes are one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut endpoint = [0; 8];
        endpoint.copy_from_slice(&bytes[..8]);
        let mut index = [0; 8];
        index[..6].copy_from_slice(&bytes[10..]);
        Self {
            endpoint: Endpoint(endpoint),
            port: u16::from_le_bytes([bytes[8], bytes[9]]),
            index: Index(u64::from_le_bytes(index)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i] = self.0;
        if [a, b, c, d] == [0; 4] {
            write!(f, "{e}.{g}.{h}.{i}")
        } else {
            let group = |hi, lo| u16::from_be_bytes([hi, lo]);
            write!(f, "[{:x}:{:x}:{:x}:{:x}]", group(a, b), group(c, d), group(e, g), group(h, i))
        }
    }
}

/// `10.1.2.3:7070/42`, or `[2001:db8:1:2]:7070/42` for an IPv6 prefix.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.endpoint, self.port, self.index)
    }
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// There is no `/INDEX` at the end.
    NoIndex,
    /// The index is not a number below 2^48.
    BadIndex,
    /// There is no `:PORT` before the index, or it is not a number below 65536.
    BadPort,
    /// The endpoint is neither `a.b.c.d` nor `[w:x:y:z]`.
    BadEndpoint,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoIndex => "an address ends in /INDEX, as in 10.1.2.3:7070/42",
            Self::BadIndex => "an address's index is a number below 2^48 (281474976710656)",
            Self::BadPort => "an address has a :PORT from 0 to 65535 before its index",
            Self::BadEndpoint => "an address begins with an IPv4 address or a bracketed IPv6 prefix of four groups",
        })
    }
}

impl core::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (place, index) = text.rsplit_once('/').ok_or(AddressError::NoIndex)?;
        let (endpoint, port) = place.rsplit_once(':').ok_or(AddressError::BadPort)?;
        Ok(Self {
            endpoint: endpoint.parse()?,
            port: digits(port).and_then(|port| u16::try_from(port).ok()).ok_or(AddressError::BadPort)?,
            index: digits(index).and_then(Index::new).ok_or(AddressError::BadIndex)?,
        })
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut bytes = [0; 8];
        if let Some(prefix) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let mut groups = prefix.split(':');
            for pair in bytes.chunks_exact_mut(2) {
                let group = groups.next().ok_or(AddressError::BadEndpoint)?;
                if group.is_empty() || group.len() > 4 || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(AddressError::BadEndpoint);
                }
                let value = u16::from_str_radix(group, 16).map_err(|_| AddressError::BadEndpoint)?;
                pair.copy_from_slice(&value.to_be_bytes());
            }
            return if groups.next().is_none() { Ok(Self(bytes)) } else { Err(AddressError::BadEndpoint) };
        }
        let mut octets = text.split('.');
        for byte in &mut bytes[4..] {
            let octet = octets.next().and_then(digits).ok_or(AddressError::BadEndpoint)?;
            *byte = u8::try_from(octet).map_err(|_| AddressError::BadEndpoint)?;
        }
        if octets.next().is_none() { Ok(Self(bytes)) } else { Err(AddressError::BadEndpoint) }
    }
}

/// A number written in digits alone: no sign, no blanks.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_and_bytes_come_back() {
        for text in ["0.0.0.0:0/0", "10.1.2.3:7070/42", "[2001:db8:1:ffff]:65535/281474976710655"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(Address::from_bytes(&address.to_bytes()), address);
        }
    }

    #[test]
    fn the_binary_form_is_fixed() {
        let address: Address = "10.1.2.3:7070/66051".parse().unwrap();
        assert_eq!(address.to_bytes(), [0, 0, 0, 0, 10, 1, 2, 3, 0x9E, 0x1B, 3, 2, 1, 0, 0, 0]);
    }

    #[test]
    fn bad_texts_say_which_part_is_bad() {
        for (text, error) in [
            ("10.1.2.3:7070", AddressError::NoIndex),
            ("10.1.2.3/1", AddressError::BadPort),
            ("10.1.2.3:65536/1", AddressError::BadPort),
            ("10.1.2.3:+1/1", AddressError::BadPort),
            ("10.1.2.3:1/281474976710656", AddressError::BadIndex),
            ("10.1.2.3:1/", AddressError::BadIndex),
            ("10.1.2:1/1", AddressError::BadEndpoint),
            ("10.1.2.3.4:1/1", AddressError::BadEndpoint),
            ("10.1.2.256:1/1", AddressError::BadEndpoint),
            ("[1:2:3]:1/1", AddressError::BadEndpoint),
            ("[1:2:3:+4]:1/1", AddressError::BadEndpoint),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
