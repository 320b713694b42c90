//! Where the blocks of one grid lie: 8 bytes a block where they are dense.

use super::format::{UNIT, units};
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

/// A record's place: segment (31 bits), offset (18 bits) and length (15 bits) in units of 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location(u64);

const OFFSET_BITS: u32 = 18;
const LENGTH_BITS: u32 = 15;
/// The highest number a segment can have.
pub(super) const SEGMENT_MAX: u32 = (1 << (64 - OFFSET_BITS - LENGTH_BITS)) - 1;
/// The most bytes a segment can have.
pub(super) const SEGMENT_BYTES_MAX: u32 = (1 << OFFSET_BITS) * UNIT;

impl Location {
    /// Nothing. No record has it: segments are numbered from 1.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn new(segment: u32, offset: u32, bytes: u32) -> Self {
        debug_assert!(segment > 0 && segment <= SEGMENT_MAX && offset < SEGMENT_BYTES_MAX);
        Self(
            u64::from(segment) << (OFFSET_BITS + LENGTH_BITS)
                | u64::from(offset / UNIT) << LENGTH_BITS
                | u64::from(bytes / UNIT),
        )
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn segment(self) -> u32 {
        (self.0 >> (OFFSET_BITS + LENGTH_BITS)) as u32
    }

    pub(super) const fn offset(self) -> u32 {
        (self.0 >> LENGTH_BITS) as u32 % (1 << OFFSET_BITS) * UNIT
    }

    /// Bytes of the whole record.
    pub(super) const fn bytes(self) -> u32 {
        self.0 as u32 % (1 << LENGTH_BITS) * UNIT
    }

    /// Whether a block is there: neither nothing nor the record of a deletion, the only kind that is one unit long.
    pub(super) const fn is_block(self) -> bool {
        self.bytes() > UNIT
    }
}

const CHUNK: usize = 512;
const CHUNK_BITS: u32 = CHUNK.trailing_zeros();
/// From this many entries on a chunk costs less as an array.
const DENSE_FROM: usize = CHUNK / 2;

/// 512 consecutive indexes.
#[derive(Debug)]
enum Chunk {
    /// In ascending order.
    Sparse(Vec<(u16, Location)>),
    /// One for each.
    Dense(Box<[Location; CHUNK]>),
}

/// All blocks of a grid, and the deletions that must still be remembered.
#[derive(Debug, Default)]
pub(super) struct GridIndex {
    chunks: BTreeMap<u64, Chunk>,
    blocks: u64,
    bytes: u64,
}

impl GridIndex {
    pub(super) fn get(&self, index: u64) -> Location {
        match self.chunks.get(&(index >> CHUNK_BITS)) {
            None => Location::NONE,
            Some(Chunk::Dense(all)) => all[slot(index)],
            Some(Chunk::Sparse(some)) => match some.binary_search_by_key(&(slot(index) as u16), |entry| entry.0) {
                Ok(at) => some[at].1,
                Err(_) => Location::NONE,
            },
        }
    }

    /// Puts `location` there, and gives what was there.
    pub(super) fn set(&mut self, index: u64, location: Location) -> Location {
        let old = self.exchange(index, location);
        if old.is_block() {
            self.blocks -= 1;
            self.bytes -= payload_units(old);
        }
        if location.is_block() {
            self.blocks += 1;
            self.bytes += payload_units(location);
        }
        old
    }

    fn exchange(&mut self, index: u64, location: Location) -> Location {
        let key = index >> CHUNK_BITS;
        let slot = slot(index);
        if location == Location::NONE && !self.chunks.contains_key(&key) {
            return Location::NONE;
        }
        let chunk = self.chunks.entry(key).or_insert_with(|| Chunk::Sparse(Vec::new()));
        match chunk {
            Chunk::Dense(all) => std::mem::replace(&mut all[slot], location),
            Chunk::Sparse(some) => {
                let old = match some.binary_search_by_key(&(slot as u16), |entry| entry.0) {
                    Ok(at) if location == Location::NONE => some.remove(at).1,
                    Ok(at) => std::mem::replace(&mut some[at].1, location),
                    Err(_) if location == Location::NONE => Location::NONE,
                    Err(at) => {
                        some.insert(at, (slot as u16, location));
                        Location::NONE
                    }
                };
                if some.is_empty() {
                    self.chunks.remove(&key);
                } else if some.len() >= DENSE_FROM {
                    let mut all = Box::new([Location::NONE; CHUNK]);
                    some.iter().for_each(|&(slot, location)| all[usize::from(slot)] = location);
                    *chunk = Chunk::Dense(all);
                }
                old
            }
        }
    }

    /// Forgets what lies in these segments.
    pub(super) fn forget(&mut self, segments: &HashSet<u32>) {
        let gone: Vec<u64> =
            self.entries(0).filter(|(_, location)| segments.contains(&location.segment())).map(|(at, _)| at).collect();
        for at in gone {
            self.set(at, Location::NONE);
        }
    }

    /// All entries from `from` on, deletions among them, in ascending order.
    pub(super) fn entries(&self, from: u64) -> impl Iterator<Item = (u64, Location)> + '_ {
        let chunks = self.chunks.range((Bound::Included(from >> CHUNK_BITS), Bound::Unbounded));
        chunks.flat_map(|(key, chunk)| chunk.entries(key << CHUNK_BITS)).skip_while(move |entry| entry.0 < from)
    }

    /// The blocks from `from` on in ascending order.
    pub(super) fn blocks(&self, from: u64) -> impl Iterator<Item = (u64, Location)> + '_ {
        self.entries(from).filter(|entry| entry.1.is_block())
    }

    pub(super) const fn count(&self) -> u64 {
        self.blocks
    }

    /// Bytes of the payloads in whole units.
    pub(super) const fn payload_bytes(&self) -> u64 {
        self.bytes
    }
}

impl Chunk {
    fn entries(&self, base: u64) -> impl Iterator<Item = (u64, Location)> + '_ {
        let (some, all) = match self {
            Self::Sparse(some) => (&some[..], &[][..]),
            Self::Dense(all) => (&[][..], &all[..]),
        };
        let some = some.iter().map(|&(slot, location)| (usize::from(slot), location));
        let all = all.iter().copied().enumerate().filter(|&(_, location)| location != Location::NONE);
        some.chain(all).map(move |(slot, location)| (base + slot as u64, location))
    }
}

const fn slot(index: u64) -> usize {
    index as usize % CHUNK
}

fn payload_units(location: Location) -> u64 {
    u64::from(location.bytes() - units(0) * UNIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_location_keeps_its_three_numbers() {
        for segment in [1, 2, 77, SEGMENT_MAX] {
            for offset in [0, UNIT, 4096, SEGMENT_BYTES_MAX - UNIT] {
                for bytes in [UNIT, 2 * UNIT, (1 << 20) + UNIT, ((1 << LENGTH_BITS) - 1) * UNIT] {
                    let location = Location::new(segment, offset, bytes);
                    assert_eq!((location.segment(), location.offset(), location.bytes()), (segment, offset, bytes));
                    assert_eq!(location.is_block(), bytes > UNIT);
                }
            }
        }
        assert!(!Location::NONE.is_block());
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(changes in prop::collection::vec((0..3000u64, 0..4u32), 1..2000), from in 0..3100u64) {
            let mut index = GridIndex::default();
            let mut model = BTreeMap::new();
            for (at, (i, units)) in changes.into_iter().enumerate() {
                let location = match units {
                    0 => Location::NONE,
                    units => Location::new(1 + at as u32, 0, units * UNIT),
                };
                let old = match units {
                    0 => model.remove(&i),
                    _ => model.insert(i, location),
                };
                prop_assert_eq!(index.set(i, location), old.unwrap_or(Location::NONE));
            }
            prop_assert!((0..3100).all(|i| index.get(i) == model.get(&i).copied().unwrap_or(Location::NONE)));
            prop_assert!(index.entries(from).eq(model.range(from..).map(|(i, l)| (*i, *l))));
            let blocks = model.values().filter(|location| location.is_block());
            prop_assert_eq!(index.count(), blocks.clone().count() as u64);
            prop_assert_eq!(index.payload_bytes(), blocks.map(|l| u64::from(l.bytes() - UNIT)).sum::<u64>());
        }
    }
}
