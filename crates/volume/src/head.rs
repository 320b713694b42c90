//! Heads of disks and batches of them, as they lie in disk 0: `docs/format/disk.md`.

use crate::limits::{BLOCKS_MAX, NAME_MAX, SECTOR};
use crate::place::Number;
use okapi_base::crc32c;
use okapi_client::BlockSize;

const MAGIC: &[u8; 8] = b"OKAPIDSK";
const BATCH_MAGIC: &[u8; 8] = b"OKAPIBAT";
const VERSION: u8 = 1;

const READ_ONLY: u16 = 1;
const PARENT: u16 = 2;
const PARTIAL: u16 = 4;

/// Bytes of a head.
pub(crate) const BYTES: usize = 256;
/// Bytes of a batch.
pub(crate) const BATCH_BYTES: usize = 32;

/// What a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub number: Number,
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The size of its blocks.
    pub block_size: BlockSize,
    /// Nobody is to write to it.
    pub read_only: bool,
    /// It has children, or had some.
    pub is_parent: bool,
    /// It is being made or removed.
    pub partial: bool,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub made: u64,
    /// What tells it from any other disk there ever was.
    pub id: [u8; 16],
    /// What shows where it has no block.
    pub parent: Option<Parent>,
    /// The batch it was made in; 0: none.
    pub batch: u64,
}

/// What shows through a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The parent's number.
    pub number: Number,
    /// Its id: numbers are used again.
    pub id: [u8; 16],
    /// Bytes of it that show.
    pub through: u64,
}

impl Head {
    /// Blocks that the disk has room for.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.block_size.blocks_for(self.size)
    }

    /// Its bytes.
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = VERSION;
        bytes[9] = self.block_size.bytes().trailing_zeros() as u8;
        let flag = |set: bool, flag: u16| if set { flag } else { 0 };
        let flags = flag(self.read_only, READ_ONLY) | flag(self.is_parent, PARENT) | flag(self.partial, PARTIAL);
        bytes[10..12].copy_from_slice(&flags.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.get().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.size.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.made.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.id);
        if let Some(parent) = &self.parent {
            bytes[48..52].copy_from_slice(&parent.number.get().to_le_bytes());
            bytes[56..64].copy_from_slice(&parent.through.to_le_bytes());
            bytes[64..80].copy_from_slice(&parent.id);
        }
        bytes[80..88].copy_from_slice(&self.batch.to_le_bytes());
        bytes[88] = u8::try_from(self.name.len()).expect("names are at most 128 bytes");
        bytes[92..92 + self.name.len()].copy_from_slice(self.name.as_bytes());
        seal(&mut bytes);
        bytes
    }

    /// What these bytes at the head's place of `number` say, or why they make no sense.
    pub(crate) fn decode(number: Number, bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; BYTES] = bytes.try_into().map_err(|_| "it is not 256 bytes long")?;
        if &bytes[..8] != MAGIC {
            return Err("it does not begin as a head does");
        }
        if bytes[8] != VERSION {
            return Err("it is of a version that this program does not know; a newer one wrote it");
        }
        if !is_sealed(bytes) {
            return Err("its checksum does not fit");
        }
        if four(bytes, 12) != number.get() {
            return Err("it is another disk's");
        }
        let block_size = 1u32.checked_shl(u32::from(bytes[9])).and_then(BlockSize::new);
        let name = bytes.get(92..92 + usize::from(bytes[88])).and_then(|name| std::str::from_utf8(name).ok());
        let flags = u16::from_le_bytes([bytes[10], bytes[11]]);
        if flags & !(READ_ONLY | PARENT | PARTIAL) != 0 {
            return Err("it has flags that this program does not know");
        }
        let parent = match four(bytes, 48) {
            0 => None,
            parent => Some(Parent {
                number: Number::new(parent).ok_or("its parent's number is none")?,
                id: sixteen(bytes, 64),
                through: eight(bytes, 56),
            }),
        };
        let head = Self {
            number,
            name: name.filter(|name| is_name(name)).ok_or("its name makes no sense")?.to_owned(),
            size: eight(bytes, 16),
            block_size: block_size.ok_or("its block size makes no sense")?,
            read_only: flags & READ_ONLY != 0,
            is_parent: flags & PARENT != 0,
            partial: flags & PARTIAL != 0,
            made: eight(bytes, 24),
            id: sixteen(bytes, 32),
            parent,
            batch: eight(bytes, 80),
        };
        if !head.size.is_multiple_of(SECTOR) || head.blocks() > BLOCKS_MAX {
            return Err("its size makes no sense");
        }
        Ok(head)
    }
}

/// The bytes of a batch.
pub(crate) fn encode_batch(batch: u64) -> [u8; BATCH_BYTES] {
    let mut bytes = [0; BATCH_BYTES];
    bytes[..8].copy_from_slice(BATCH_MAGIC);
    bytes[8] = VERSION;
    bytes[16..24].copy_from_slice(&batch.to_le_bytes());
    seal(&mut bytes);
    bytes
}

/// The batch of these bytes, or why they make no sense.
pub(crate) fn decode_batch(bytes: &[u8]) -> Result<u64, &'static str> {
    let bytes: &[u8; BATCH_BYTES] = bytes.try_into().map_err(|_| "it is not 32 bytes long")?;
    match eight(bytes, 16) {
        batch if &bytes[..8] == BATCH_MAGIC && bytes[8] == VERSION && is_sealed(bytes) && batch != 0 => Ok(batch),
        _ => Err("it is no batch, or one of a version that this program does not know"),
    }
}

/// Whether a disk may be called this: 1 to 128 of `A-Z a-z 0-9 . _ @ / + -`, not beginning with `.`, `-` or `/`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && !text.starts_with(['.', '-', '/'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@/+-".contains(&byte))
}

/// Puts the checksum of all before it into the last four bytes.
pub(crate) fn seal(bytes: &mut [u8]) {
    let at = bytes.len() - 4;
    let crc = crc32c(&bytes[..at]);
    bytes[at..].copy_from_slice(&crc.to_le_bytes());
}

/// Whether the last four bytes are the checksum of all before.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    let (before, crc) = bytes.split_at(bytes.len() - 4);
    crc == crc32c(before).to_le_bytes()
}

pub(crate) fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

pub(crate) fn sixteen(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes[at..at + 16].try_into().expect("sixteen bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn head() -> Head {
        Head {
            number: Number::new(7).unwrap(),
            name: "web/01@monday".to_owned(),
            size: 64 << 20,
            block_size: crate::limits::DIFF_BLOCK,
            read_only: true,
            is_parent: false,
            partial: true,
            made: 0x0102_0304_0506,
            id: *b"0123456789abcdef",
            parent: Some(Parent { number: Number::new(3).unwrap(), id: [9; 16], through: 32 << 20 }),
            batch: 0x1122_3344_5566_7788,
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    #[test]
    fn golden_head() {
        let bytes = head().encode();
        let golden = format!(
            "{}{}{}{}{}{}{}{}{}{}",
            "4f4b4150 4944534b 01 0c 0500 07000000 0000000400000000 0605040302010000".replace(' ', ""),
            "30313233343536373839616263646566",
            "03000000 00000000 0000000200000000".replace(' ', ""),
            "09".repeat(16),
            "8877665544332211",
            "0d000000",
            "7765622f3031406d6f6e646179",
            "00".repeat(128 - 13),
            "00".repeat(32),
            "3c19b9d6"
        );
        assert_eq!(hex(&bytes), golden);
        assert_eq!(Head::decode(head().number, &bytes), Ok(head()));
    }

    #[test]
    fn golden_batch() {
        let bytes = encode_batch(0x1122_3344_5566_7788);
        assert_eq!(hex(&bytes), "4f4b41504942415401000000000000008877665544332211000000006258a785");
        assert_eq!(decode_batch(&bytes), Ok(0x1122_3344_5566_7788));
        assert!(decode_batch(&encode_batch(0)).is_err());
    }

    #[test]
    fn every_bent_byte_is_seen() {
        let number = head().number;
        for at in 0..BYTES {
            let mut bytes = head().encode();
            bytes[at] ^= 0x10;
            assert!(Head::decode(number, &bytes).is_err(), "{at}");
        }
        assert!(Head::decode(Number::new(8).unwrap(), &head().encode()).is_err(), "another's head");
        assert!(Head::decode(number, &head().encode()[1..]).is_err());
        let bent = |change: fn(&mut Head)| {
            let mut head = head();
            change(&mut head);
            Head::decode(number, &head.encode())
        };
        assert!(bent(|head| head.size = 1).is_err());
        assert!(bent(|head| head.size = (4096 << 28) + 4096).is_err());
        assert!(bent(|head| head.size = 4096 << 28).is_ok());
        assert!(bent(|head| head.name = "a b".to_owned()).is_err());
        for at in 0..BATCH_BYTES {
            let mut bytes = encode_batch(5);
            bytes[at] ^= 0x10;
            assert!(decode_batch(&bytes).is_err(), "{at}");
        }
    }

    #[test]
    fn names() {
        assert!(["a", "web-01", "a/b@c+d_e.f"].into_iter().all(is_name));
        assert!(is_name(&"x".repeat(128)) && !is_name(&"x".repeat(129)));
        assert!(!["", ".a", "-a", "/a", "a b", "ä", "a\0"].into_iter().any(is_name));
    }
}
