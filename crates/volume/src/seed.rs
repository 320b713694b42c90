//! A NoCloud seed: a small volume in which a guest's cloud-init finds who the machine is.
//!
//! FAT12, since everything reads it. Written here and not by a crate, as it is to be as small as it can be: sectors and
//! clusters of 512 bytes, one table, one sector of names, so that a whole identity fits into one block of 4 KiB of a disk's
//! own; and the same bytes whoever makes it and when.

use crate::limits::DIFF_BLOCK;
use okapi_base::crc32c;

/// What cloud-init looks for.
pub const LABEL: &str = "CIDATA";
/// Bytes that a place for a seed has at least.
pub const PLACE_MIN: u64 = 16 << 10;

const SECTOR: usize = 512;
/// Entries of a table of one sector: 12 bits each.
const ENTRIES: usize = SECTOR * 8 / 12;
/// Boot sector, table, names.
const DATA: usize = 3;
/// Sectors that one table can tell of; what a place has beyond them is not used.
const SECTORS_MAX: usize = DATA + ENTRIES - 2;
const NAMES: usize = SECTOR / 32;
/// Characters of a long name in one entry.
const LONG: usize = 13;
const END_OF_FILE: u16 = 0xFFF;
/// 1980-01-01, where this format's time begins.
const DATE: u16 = 0x21;

/// Why there is no seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// The place is too small for any.
    #[error("a place of {has} bytes is too small for a seed, which needs {PLACE_MIN}")]
    SmallPlace {
        /// Its bytes.
        has: u64,
    },
    /// What is in it is too much.
    #[error("the files of a seed need {needed} bytes, and there is room for {has}")]
    TooLarge {
        /// Bytes of the files, each in whole sectors.
        needed: usize,
        /// Bytes there are for them.
        has: usize,
    },
}

/// A seed with these files, for a place of so many bytes: its beginning, in whole blocks of a disk that is written to. What
/// comes after it in the place means nothing.
///
/// # Errors
/// [`SeedError`].
pub fn seed(files: &[(&str, &[u8])], place: u64) -> Result<Vec<u8>, SeedError> {
    if place < PLACE_MIN {
        return Err(SeedError::SmallPlace { has: place });
    }
    let sectors = usize::try_from(place / SECTOR as u64).unwrap_or(usize::MAX).min(SECTORS_MAX);
    let used: usize = files.iter().map(|(_, content)| content.len().div_ceil(SECTOR)).sum();
    if used > sectors - DATA {
        return Err(SeedError::TooLarge { needed: used * SECTOR, has: (sectors - DATA) * SECTOR });
    }
    let block = DIFF_BLOCK.bytes() as usize;
    let mut bytes = vec![0; ((DATA + used) * SECTOR).next_multiple_of(block)];
    let mut table = Table::new();
    let mut names = Names::new();
    let mut next = 2;
    for (name, content) in files {
        let clusters = content.len().div_ceil(SECTOR);
        names.file(name, if clusters > 0 { next } else { 0 }, content.len());
        table.chain(next, clusters);
        let at = (DATA + usize::from(next) - 2) * SECTOR;
        bytes[at..at + content.len()].copy_from_slice(content);
        next += u16::try_from(clusters).expect("a table has few clusters");
    }
    bytes[SECTOR..2 * SECTOR].copy_from_slice(&table.0);
    bytes[2 * SECTOR..3 * SECTOR].copy_from_slice(&names.bytes);
    let id = crc32c(&bytes[SECTOR..]);
    bytes[..SECTOR].copy_from_slice(&boot_sector(sectors, id));
    Ok(bytes)
}

/// What the file of this name in a seed made here holds; `bytes` are the seed's, from its beginning.
#[must_use]
pub fn file_of<'a>(bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let names = bytes.get(2 * SECTOR..DATA * SECTOR)?;
    let short = short_name(name);
    let entry = names.chunks(32).find(|entry| entry[..11] == short && entry[11] == 0x20)?;
    let first = usize::from(u16::from_le_bytes([entry[26], entry[27]]));
    let length = u32::from_le_bytes([entry[28], entry[29], entry[30], entry[31]]) as usize;
    let at = (DATA + first.checked_sub(2)?) * SECTOR;
    bytes.get(at..at.checked_add(length)?)
}

fn boot_sector(sectors: usize, id: u32) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    bytes[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
    bytes[3..11].copy_from_slice(b"OKAPI   ");
    bytes[11..13].copy_from_slice(&(SECTOR as u16).to_le_bytes());
    bytes[13] = 1; // sectors a cluster
    bytes[14] = 1; // sectors before the table
    bytes[16] = 1; // tables
    bytes[17] = NAMES as u8;
    bytes[19..21].copy_from_slice(&(sectors as u16).to_le_bytes());
    bytes[21] = 0xF8; // a fixed disk
    bytes[22] = 1; // sectors of the table
    bytes[24] = 1; // sectors a track, of which every disk is a multiple
    bytes[26] = 1; // heads
    bytes[36] = 0x80;
    bytes[38] = 0x29; // what follows is there
    bytes[39..43].copy_from_slice(&id.to_le_bytes());
    bytes[43..54].copy_from_slice(&padded(LABEL));
    bytes[54..62].copy_from_slice(b"FAT12   ");
    bytes[510..].copy_from_slice(&[0x55, 0xAA]);
    bytes
}

/// Which cluster follows which.
struct Table([u8; SECTOR]);

impl Table {
    fn new() -> Self {
        let mut table = Self([0; SECTOR]);
        table.set(0, 0xFF8);
        table.set(1, 0xFFF);
        table
    }

    fn chain(&mut self, first: u16, count: usize) {
        for at in 0..count as u16 {
            let last = usize::from(at) + 1 == count;
            self.set(first + at, if last { END_OF_FILE } else { first + at + 1 });
        }
    }

    fn set(&mut self, cluster: u16, value: u16) {
        let at = usize::from(cluster) * 3 / 2;
        let [low, high] = value.to_le_bytes();
        if cluster.is_multiple_of(2) {
            self.0[at] = low;
            self.0[at + 1] = self.0[at + 1] & 0xF0 | high;
        } else {
            self.0[at] = self.0[at] & 0x0F | low << 4;
            self.0[at + 1] = low >> 4 | high << 4;
        }
    }
}

/// The names of the volume and of its files.
struct Names {
    bytes: [u8; SECTOR],
    next: usize,
}

impl Names {
    fn new() -> Self {
        let mut names = Self { bytes: [0; SECTOR], next: 0 };
        let label = names.entry();
        label[..11].copy_from_slice(&padded(LABEL));
        label[11] = 0x08;
        label[24..26].copy_from_slice(&DATE.to_le_bytes());
        names
    }

    fn entry(&mut self) -> &mut [u8] {
        let at = self.next * 32;
        assert!(at < SECTOR, "a seed has few files");
        self.next += 1;
        &mut self.bytes[at..at + 32]
    }

    /// A file: entries with its long name, the last part first, and one with the short name.
    fn file(&mut self, name: &str, first: u16, length: usize) {
        let short = short_name(name);
        let sum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let units: Vec<u16> = name.encode_utf16().collect();
        let parts = units.len().div_ceil(LONG);
        for part in (0..parts).rev() {
            let entry = self.entry();
            entry[0] = (part as u8 + 1) | if part + 1 == parts { 0x40 } else { 0 };
            entry[11] = 0x0F;
            entry[13] = sum;
            // After the name's end one zero, and then all ones.
            let unit = |at: usize| units.get(at).copied().unwrap_or(if at == units.len() { 0 } else { 0xFFFF });
            for (at, place) in (1..11).step_by(2).chain((14..26).step_by(2)).chain([28, 30]).enumerate() {
                entry[place..place + 2].copy_from_slice(&unit(part * LONG + at).to_le_bytes());
            }
        }
        let entry = self.entry();
        entry[..11].copy_from_slice(&short);
        entry[11] = 0x20;
        for at in [16, 18, 24] {
            entry[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
        }
        entry[26..28].copy_from_slice(&first.to_le_bytes());
        entry[28..].copy_from_slice(&(length as u32).to_le_bytes());
    }
}

/// `meta-data` as `META-D~1`: what those see who know no long names.
fn short_name(name: &str) -> [u8; 11] {
    let upper = name.to_ascii_uppercase();
    let start: String = upper.chars().filter(char::is_ascii_graphic).take(6).collect();
    padded(&format!("{start}~1"))
}

fn padded(text: &str) -> [u8; 11] {
    let mut bytes = [b' '; 11];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &[u8])]) -> Vec<u8> {
        seed(files, 1 << 20).unwrap()
    }

    #[test]
    fn an_identity_is_one_block_and_its_files_are_found() {
        let network = vec![b'n'; 700];
        let bytes = of(&[("meta-data", b"m"), ("user-data", b""), ("network-config", &network)]);
        assert_eq!(bytes.len(), 4096);
        assert_eq!(file_of(&bytes, "meta-data"), Some(&b"m"[..]));
        assert_eq!(file_of(&bytes, "network-config"), Some(&network[..]));
        assert_eq!(file_of(&bytes, "user-data"), None, "nothing is no cluster");
        assert_eq!(file_of(&bytes, "vendor-data"), None);
        assert_eq!(bytes, of(&[("meta-data", b"m"), ("user-data", b""), ("network-config", &network)]));
    }

    #[test]
    fn the_bytes_are_as_they_were() {
        let bytes = of(&[("meta-data", b"instance-id: a\n"), ("network-config", &[b'x'; 513])]);
        let told: Vec<u8> = bytes.iter().copied().take(3 * SECTOR).collect();
        assert_eq!(&told[SECTOR..SECTOR + 8], [0xF8, 0xFF, 0xFF, 0xFF, 0x4F, 0x00, 0xFF, 0x0F]);
        assert_eq!(&told[2 * SECTOR..2 * SECTOR + 12], b"CIDATA     \x08");
        assert_eq!(&told[2 * SECTOR + 32..][..13], b"Am\0e\0t\0a\0-\0\x0F\0");
        assert_eq!(&told[2 * SECTOR + 64..][..12], b"META-D~1   \x20");
        assert_eq!(crc32c(&bytes), 0x631D_373D, "all of it, as mtools and fsck.fat found it sound");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let most = SECTORS_MAX - DATA;
        assert!(seed(&[("user-data", &vec![1; most * SECTOR])], 1 << 20).is_ok());
        let refused = seed(&[("user-data", &vec![1; most * SECTOR + 1])], 1 << 20).unwrap_err();
        assert_eq!(refused.to_string(), "the files of a seed need 174080 bytes, and there is room for 173568");
        assert_eq!(seed(&[], 16_383), Err(SeedError::SmallPlace { has: 16_383 }));
        assert!(seed(&[("meta-data", &[1; 16_384])], 16_384).is_err());
    }

    #[test]
    fn bent_seeds_are_no_seeds() {
        let bytes = of(&[("meta-data", &[7; 600])]);
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 0xFF;
            let _ = file_of(&bent, "meta-data");
            let _ = file_of(&bytes[..at], "meta-data");
        }
    }
}
