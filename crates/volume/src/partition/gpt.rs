//! The newer table: a header and entries at the disk's begin, and both again at its end.

use super::mbr::Mbr;
use super::{ALIGNED, Addition, PLACE, Partition, SECTOR, Shown, Wrong, gap};
use crate::seed;
use crc_fast::CrcAlgorithm::Crc32IsoHdlc;
use std::ops::Range;

const MAGIC: &[u8; 8] = b"EFI PART";
const HEADER_MIN: usize = 92;
/// A basic partition with data, as a FAT is.
const BASIC_DATA: [u8; 16] = *b"\xA2\xA0\xD0\xEB\xE5\xB9\x33\x44\x87\xC0\x68\xB6\xB7\x26\x99\xC7";
/// The most entries and bytes of one: more than anybody has, and little to read.
const COUNT_MAX: usize = 1024;
const ENTRY_MAX: usize = 1024;

/// A table as it was read.
#[derive(Debug, Clone)]
pub(super) struct Gpt {
    mbr: Mbr,
    /// The header's sector, and how many of its bytes count.
    header: Vec<u8>,
    length: usize,
    /// All entries, and bytes of one.
    entries: Vec<u8>,
    entry: usize,
}

impl Gpt {
    /// Reads the table at the disk's begin.
    pub(super) fn read(disk: &impl Shown, mbr: Mbr) -> Result<Self, Wrong> {
        let header = disk.read(SECTOR, SECTOR as usize)?;
        if !header.starts_with(MAGIC) {
            return Err(Wrong::Damaged("its header is missing"));
        }
        let length = four(&header, 12) as usize;
        if !(HEADER_MIN..=SECTOR as usize).contains(&length) || sum(&header, length) != four(&header, 16) {
            return Err(Wrong::Damaged("the checksum of its header does not fit"));
        }
        let (at, count, entry) = (eight(&header, 72), four(&header, 80) as usize, four(&header, 84) as usize);
        if count > COUNT_MAX || !(128..=ENTRY_MAX).contains(&entry) || !entry.is_multiple_of(128) {
            return Err(Wrong::Damaged("it has too many entries, or too large ones"));
        }
        let bytes = count * entry;
        let end = at.checked_mul(SECTOR).and_then(|at| at.checked_add(bytes as u64));
        if at < 2 || end.is_none_or(|end| end > disk.size()) {
            return Err(Wrong::Damaged("its entries are not on the disk"));
        }
        let entries = disk.read(at * SECTOR, bytes)?;
        if crc32(&entries) != four(&header, 88) {
            return Err(Wrong::Damaged("the checksum of its entries does not fit"));
        }
        Ok(Self { mbr, header, length, entries, entry })
    }

    pub(super) fn partitions(&self) -> Vec<Partition> {
        let partition = |entry: &[u8]| {
            let (first, last) = (eight(entry, 32), eight(entry, 40));
            let units = entry[56..128].chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
            let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
            let bytes = first.checked_mul(SECTOR)?..last.checked_add(1)?.checked_mul(SECTOR)?;
            Some(Partition { bytes, name: String::from_utf16_lossy(&units) })
        };
        let used = self.entries.chunks(self.entry).filter(|entry| entry[..16] != [0; 16]);
        used.filter_map(partition).filter(|found| !found.bytes.is_empty()).collect()
    }

    /// The table's copy is put at the disk's very end, where it belongs, also if it was not there before.
    pub(super) fn with_place(mut self, disk: &impl Shown, id: [u8; 16]) -> Result<Addition, Wrong> {
        let free = self.entries.chunks(self.entry).position(|entry| entry[..16] == [0; 16]).ok_or(Wrong::Full)?;
        let table = (self.entries.len() as u64).next_multiple_of(SECTOR);
        let begin = eight(&self.header, 72) * SECTOR + table;
        let partitions = self.partitions();
        if partitions.iter().any(|partition| partition.bytes.end > disk.size()) {
            return Err(Wrong::Damaged("a partition reaches past the disk's end"));
        }
        let used = partitions.iter().map(|partition| partition.bytes.end).fold(begin, u64::max);
        // The copy: entries, then the header.
        let copy = table + SECTOR;
        let between = begin..disk.size().saturating_sub(copy).max(begin);
        let (size, place) = match gap(disk, between, &partitions)? {
            Some(place) if used + copy <= disk.size() => (disk.size(), place),
            _ => {
                let start = used.max(disk.size()).next_multiple_of(ALIGNED);
                ((start + PLACE + copy).next_multiple_of(ALIGNED), start..start + PLACE)
            }
        };
        self.enter(free, id, &place);
        let writes = self.encoded(size, begin.min(place.start));
        Ok(Addition { size, place, writes })
    }

    fn enter(&mut self, free: usize, id: [u8; 16], place: &Range<u64>) {
        let entry = &mut self.entries[free * self.entry..][..self.entry];
        entry.fill(0);
        entry[..16].copy_from_slice(&BASIC_DATA);
        entry[16..32].copy_from_slice(&id);
        entry[32..40].copy_from_slice(&(place.start / SECTOR).to_le_bytes());
        entry[40..48].copy_from_slice(&(place.end / SECTOR - 1).to_le_bytes());
        for (at, unit) in (56..).step_by(2).zip(seed::LABEL.encode_utf16()) {
            entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
    }

    /// What lies where on a disk of this size; the first byte that partitions may have.
    fn encoded(mut self, size: u64, first: u64) -> Vec<(u64, Vec<u8>)> {
        let own = eight(&self.header, 72);
        let last = size / SECTOR - 1;
        let copied = last - (self.entries.len() as u64).div_ceil(SECTOR);
        let first = eight(&self.header, 40).min(first / SECTOR);
        let entries_sum = crc32(&self.entries);
        let mut header = |at: u64, other: u64, entries: u64| {
            let mut eight = |to: usize, value: u64| self.header[to..to + 8].copy_from_slice(&value.to_le_bytes());
            eight(24, at);
            eight(32, other);
            eight(40, first);
            eight(48, copied - 1);
            eight(72, entries);
            self.header[88..92].copy_from_slice(&entries_sum.to_le_bytes());
            let sum = sum(&self.header, self.length);
            self.header[16..20].copy_from_slice(&sum.to_le_bytes());
            self.header.clone()
        };
        let (begin, end) = (header(1, last, own), header(last, 1, copied));
        vec![
            (0, self.mbr.protecting(size)),
            (SECTOR, begin),
            (own * SECTOR, self.entries.clone()),
            (copied * SECTOR, self.entries),
            (last * SECTOR, end),
        ]
    }
}

/// The checksum of a header, taken with zeros in its own place.
fn sum(header: &[u8], length: usize) -> u32 {
    let mut bytes = header[..length].to_vec();
    bytes[16..20].fill(0);
    crc32(&bytes)
}

fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::checksum(Crc32IsoHdlc, bytes) as u32
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from(four(bytes, at)) | u64::from(four(bytes, at + 4)) << 32
}
