//! The old table: four entries in the first sector.

use super::{ALIGNED, Addition, PLACE, Partition, SECTOR, Shown, Wrong, gap};

const ENTRIES: usize = 446;
const ENTRY: usize = 16;
const PROTECTIVE: u8 = 0xEE;
/// A small FAT, as what is put there is.
const FAT12: u8 = 0x01;

/// The first sector of a disk with partitions.
#[derive(Debug, Clone)]
pub(super) struct Mbr(Vec<u8>);

impl Mbr {
    /// The table in a first sector, if there is one: what a file system has there looks much alike.
    pub(super) fn decode(sector: &[u8]) -> Option<Self> {
        let is_fat = sector[54..].starts_with(b"FAT") || sector[82..].starts_with(b"FAT");
        let mbr = Self(sector.to_vec());
        let sound = mbr.entries().all(|entry| entry[0] & 0x7F == 0);
        (sector[510..] == [0x55, 0xAA] && sound && !is_fat).then_some(mbr)
    }

    fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.0[ENTRIES..ENTRIES + 4 * ENTRY].chunks(ENTRY)
    }

    /// Whether it only says that there is a newer table.
    pub(super) fn is_protective(&self) -> bool {
        self.entries().any(|entry| entry[4] == PROTECTIVE)
    }

    /// The sector with the newer table's entry reaching to the disk's end.
    pub(super) fn protecting(mut self, size: u64) -> Vec<u8> {
        let at = self.entries().position(|entry| entry[4] == PROTECTIVE).expect("it is protective");
        let length = u32::try_from(size / SECTOR - 1).unwrap_or(u32::MAX);
        self.0[ENTRIES + at * ENTRY + 12..][..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }

    pub(super) fn partitions(&self) -> Vec<Partition> {
        let partition = |entry: &[u8]| {
            let four =
                |at: usize| u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
            let start = four(8) * SECTOR;
            Partition { bytes: start..start + four(12) * SECTOR, name: String::new() }
        };
        self.entries().filter(|entry| entry[4] != 0).map(partition).filter(|found| !found.bytes.is_empty()).collect()
    }

    /// Never before the first partition, where what starts the machine is.
    pub(super) fn with_place(self, disk: &impl Shown) -> Result<Addition, Wrong> {
        let free = self.entries().position(|entry| entry[4] == 0).ok_or(Wrong::Full)?;
        let partitions = self.partitions();
        if partitions.iter().any(|partition| partition.bytes.end > disk.size()) {
            return Err(Wrong::Damaged("a partition reaches past the disk's end"));
        }
        let first = partitions.iter().map(|partition| partition.bytes.start).min().unwrap_or(PLACE);
        let place = match gap(disk, first..disk.size(), &partitions)? {
            Some(place) => place,
            None => {
                let start = disk.size().next_multiple_of(ALIGNED);
                start..start + PLACE
            }
        };
        let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).map(u32::to_le_bytes).map_err(|_| Wrong::TooLarge);
        let Self(mut sector) = self;
        let entry = &mut sector[ENTRIES + free * ENTRY..][..ENTRY];
        entry.fill(0);
        // Cylinders and heads: past what they can say.
        entry[1..4].fill(0xFF);
        entry[4] = FAT12;
        entry[5..8].fill(0xFF);
        entry[8..12].copy_from_slice(&sectors(place.start)?);
        entry[12..].copy_from_slice(&sectors(place.end - place.start)?);
        let size = disk.size().max(place.end);
        Ok(Addition { size, place, writes: vec![(0, sector)] })
    }
}
