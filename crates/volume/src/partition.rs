//! The partitions of a disk: where its place for a seed is, and how it gets one.
//!
//! Of a table only this is wanted: what is where under which name, and one entry more. What is read comes from images of
//! strangers, and is believed only as far as it makes sense.

mod gpt;
mod mbr;

use crate::disk::Disk;
use crate::fault::{DiskError, DisksError};
use crate::seed;
use std::ops::Range;

const SECTOR: u64 = crate::limits::SECTOR;
/// Bytes of a place that is made for a seed, and the fewest where there is no more room.
const PLACE: u64 = 1 << 20;
const PLACE_LEAST: u64 = 256 << 10;
/// Places begin at multiples of this, so that a seed is whole blocks.
const ALIGNED: u64 = crate::limits::DIFF_BLOCK.bytes() as u64;

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its bytes.
    pub bytes: Range<u64>,
    /// Its name, where the table has names.
    pub name: String,
}

/// What must be written to a disk to give it a place for a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// The disk's size then.
    pub size: u64,
    /// The place.
    pub place: Range<u64>,
    /// What goes where.
    pub writes: Vec<(u64, Vec<u8>)>,
}

/// Why a disk's partitions are of no use.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// It cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is no table.
    #[error("disk `{0}` has no partition table")]
    NoTable(String),
    /// There is one that makes no sense.
    #[error("the partition table of disk `{name}` makes no sense: {why}")]
    Damaged {
        /// Which disk.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// There is no entry left.
    #[error("the partition table of disk `{0}` is full")]
    Full(String),
    /// It has a place already.
    #[error("disk `{name}` has a place for a seed already, at {at}")]
    There {
        /// Which disk.
        name: String,
        /// Where.
        at: u64,
    },
    /// It cannot grow.
    #[error("disk `{0}` is too large for its partition table to get one more partition")]
    TooLarge(String),
}

/// What is read: a disk, or what a test has instead.
trait Shown {
    fn size(&self) -> u64;
    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, DiskError>;
}

impl Shown for Disk {
    fn size(&self) -> u64 {
        Self::size(self)
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0; length];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// Either kind of table.
enum Table {
    Gpt(gpt::Gpt),
    Mbr(mbr::Mbr),
}

/// What is wrong with a table, without the disk's name.
enum Wrong {
    Disk(DiskError),
    None,
    Damaged(&'static str),
    Full,
    TooLarge,
}

impl From<DiskError> for Wrong {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl Wrong {
    fn of(self, name: &str) -> PartitionError {
        let name = name.to_owned();
        match self {
            Self::Disk(error) => PartitionError::Disk(error),
            Self::None => PartitionError::NoTable(name),
            Self::Damaged(why) => PartitionError::Damaged { name, why },
            Self::Full => PartitionError::Full(name),
            Self::TooLarge => PartitionError::TooLarge(name),
        }
    }
}

/// Where a disk has its place for a seed, if it has one: the partition that is called `CIDATA`, or has a volume in it that is.
///
/// # Errors
/// [`PartitionError`].
pub fn seed_place(disk: &Disk) -> Result<Option<Range<u64>>, PartitionError> {
    place_of(disk).map_err(|wrong| wrong.of(disk.name()))
}

/// How a disk gets a place for a seed, with an empty seed in it: between its partitions where nothing but zeros is, or at its
/// end, which moves on then.
///
/// # Errors
/// [`PartitionError`].
pub fn add_seed_place(disk: &Disk) -> Result<Addition, DisksError> {
    let name = disk.name();
    let id = crate::disks::dice()?;
    let partition = |error: PartitionError| DisksError::Partitions(Box::new(error));
    if let Some(place) = seed_place(disk).map_err(partition)? {
        return Err(partition(PartitionError::There { name: name.to_owned(), at: place.start }));
    }
    addition(disk, id).map_err(|wrong| partition(wrong.of(name)))
}

fn place_of(disk: &impl Shown) -> Result<Option<Range<u64>>, Wrong> {
    let partitions = match table(disk)? {
        Table::Gpt(gpt) => gpt.partitions(),
        Table::Mbr(mbr) => mbr.partitions(),
    };
    let mut inside = partitions.into_iter().filter(|partition| partition.bytes.end <= disk.size());
    let found = inside.try_fold(None, |found: Option<Partition>, partition| {
        let is_it = found.is_none()
            && (partition.name.eq_ignore_ascii_case(seed::LABEL)
                || label_of(disk, &partition.bytes)?.eq_ignore_ascii_case(seed::LABEL));
        Ok::<_, Wrong>(if is_it { Some(partition) } else { found })
    })?;
    Ok(found.map(|partition| partition.bytes))
}

fn addition(disk: &impl Shown, id: [u8; 16]) -> Result<Addition, Wrong> {
    let mut addition = match table(disk)? {
        Table::Gpt(gpt) => gpt.with_place(disk, id)?,
        Table::Mbr(mbr) => mbr.with_place(disk)?,
    };
    let length = addition.place.end - addition.place.start;
    let empty = seed::seed(&[], length).expect("the place is large enough");
    addition.writes.push((addition.place.start, empty));
    Ok(addition)
}

fn table(disk: &impl Shown) -> Result<Table, Wrong> {
    if disk.size() < 2 * SECTOR {
        return Err(Wrong::None);
    }
    let first = disk.read(0, SECTOR as usize)?;
    let mbr = mbr::Mbr::decode(&first).ok_or(Wrong::None)?;
    if !mbr.is_protective() {
        return Ok(Table::Mbr(mbr));
    }
    Ok(Table::Gpt(gpt::Gpt::read(disk, mbr)?))
}

/// The label of the FAT or ISO 9660 volume in a partition; nothing if there is none.
fn label_of(disk: &impl Shown, partition: &Range<u64>) -> Result<String, Wrong> {
    const ISO: u64 = 32 << 10;
    let length = partition.end - partition.start;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if length >= SECTOR {
        let boot = disk.read(partition.start, SECTOR as usize)?;
        for (mark, label, kind) in [(38, 43, 54), (66, 71, 82)] {
            if boot[510..] == [0x55, 0xAA] && boot[mark] == 0x29 && boot[kind..].starts_with(b"FAT") {
                return Ok(text(&boot[label..label + 11]));
            }
        }
    }
    if length >= ISO + SECTOR {
        let volume = disk.read(partition.start + ISO, SECTOR as usize)?;
        if volume.starts_with(b"\x01CD001") {
            return Ok(text(&volume[40..72]));
        }
    }
    Ok(String::new())
}

/// Where there is room for a place within `whole`: the first gap between what is taken that holds nothing but zeros.
fn gap(disk: &impl Shown, whole: Range<u64>, taken: &[Partition]) -> Result<Option<Range<u64>>, Wrong> {
    let mut taken: Vec<&Range<u64>> = taken.iter().map(|partition| &partition.bytes).collect();
    taken.sort_by_key(|bytes| bytes.start);
    let mut from = whole.start;
    for next in taken.into_iter().cloned().chain(std::iter::once(whole.end..whole.end)) {
        let start = from.next_multiple_of(ALIGNED);
        let end = next.start.min(start + PLACE).min(disk.size());
        if end >= start + PLACE_LEAST && disk.read(start, (end - start) as usize)?.iter().all(|byte| *byte == 0) {
            return Ok(Some(start..end));
        }
        from = from.max(next.end);
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
