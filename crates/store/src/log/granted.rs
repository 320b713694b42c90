//! Reading one grid of somebody else's log, from its closed segments wherever they lie, with a key of that grid.

use super::ends::{Distant, End, EndError, for_each};
use super::format::{Entry, HEADER, Kind, Label, Trailer, UNIT, record_nonce};
use super::index::SEGMENT_MAX;
use super::keys::{PartKey, both, record_sealer};
use super::parts::{Part, TABLE, Told, find};
use crate::engine::{Block, Blocks, Broken, Change, Got, GridUsage, Listed, Patience, Placed, ReadError, WriteError};
use crate::payload::Payload;
use okapi_base::{GridId, Index};
use okapi_seal::{GridKey, Sealer};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

/// Missing segments that are counted.
const MISSING_MAX: usize = 1000;

/// Why a grid of somebody else's log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GrantedError {
    /// A segment cannot be fetched.
    #[error("the end of a segment cannot be read: {0}")]
    Unread(#[from] io::Error),
    /// None of them has anything of the grid.
    #[error("nothing of this grid lies under its own key yet; it does once its owner's node has moved and placed it")]
    Nothing,
    /// It was granted lately.
    #[error("not all of this grid lies under its own key yet: its owner's node was still moving it")]
    Moving,
    /// Segments are missing.
    #[error(
        "{count} of the segments in which it lies are not with anybody who can be reached, segment {first} among them"
    )]
    Missing {
        /// How many.
        count: usize,
        /// The number of the first.
        first: u32,
    },
    /// A segment is not what it should be.
    #[error("segment {number} is not what it should be: {what}")]
    Bad {
        /// Its number.
        number: u32,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A grid and its companion as somebody else can read them.
pub struct GrantedGrid {
    grids: [Arc<View>; 2],
    as_of: usize,
}

/// What lives in one grid.
struct View {
    id: GridId,
    blocks: BTreeMap<u64, Place>,
    bytes: u64,
    segments: Arc<Segments>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    segment: usize,
    entry: Entry,
}

struct Segments {
    distant: Arc<dyn Distant>,
    labels: BTreeMap<usize, Opened>,
    key: GridKey,
}

/// A segment with something of the grid in it.
struct Opened {
    number: u32,
    salt: [u8; 32],
    key_number: u16,
    sealer: OnceLock<Box<Sealer>>,
}

/// What the end of a segment tells.
struct Read {
    label: Label,
    /// None: it has nothing for anybody but its owner.
    found: Option<(u16, Part)>,
}

impl GrantedGrid {
    /// Opens a grid from segments of these lengths, in the order in which they were placed, by a key of it: as it was when
    /// the newest of them was closed before which nothing is missing that this key opens.
    ///
    /// # Errors
    /// [`GrantedError`].
    pub fn open(distant: Arc<dyn Distant>, lengths: &[u64], grid: GridId, key: GridKey) -> Result<Self, GrantedError> {
        let ends = for_each(lengths.len(), |at| read_end(&*distant, at, lengths[at], &key))?;
        let mut ends: Vec<(usize, Read)> = ends.into_iter().enumerate().collect();
        // Of two with one number the earlier was of an end of the log that is no more: the number was used again.
        ends.sort_by_key(|(at, end)| (end.label.number, Reverse(*at)));
        ends.dedup_by_key(|(_, end)| end.label.number);
        let (newest, told) = newest_whole(&ends).map(|(newest, told)| (newest, told.clone()))?;
        let until = told_by_themselves(&ends, newest);
        let is_home = |number: u32| {
            told.homes.iter().any(|(first, last)| (*first..=*last).contains(&number))
                || (newest + 1..=until).contains(&number)
        };
        let as_of = ends.iter().find(|(_, end)| end.label.number == until).expect("it was chosen among them").0;
        ends.retain(|(_, end)| is_home(end.label.number));
        Ok(Self::of(distant, ends, grid, key, as_of))
    }

    fn of(distant: Arc<dyn Distant>, ends: Vec<(usize, Read)>, grid: GridId, key: GridKey, as_of: usize) -> Self {
        let mut labels = BTreeMap::new();
        let mut blocks: [BTreeMap<u64, Place>; 2] = Default::default();
        for (at, Read { label, found }) in ends {
            let Some((key_number, part)) = found else { continue };
            labels.insert(at, Opened { number: label.number, salt: label.salt, key_number, sealer: OnceLock::new() });
            for entry in part.entries {
                let Some(which) = both(grid).iter().position(|id| *id == entry.grid) else { continue };
                match entry.kind {
                    Kind::Put => drop(blocks[which].insert(entry.index.get(), Place { segment: at, entry })),
                    Kind::Tombstone => drop(blocks[which].remove(&entry.index.get())),
                    Kind::GridDrop => blocks[which].clear(),
                    Kind::Released => {}
                }
            }
        }
        let segments = Arc::new(Segments { distant, labels, key });
        let [main, companion] = both(grid);
        let [blocks, names] = blocks;
        let view = |id, blocks: BTreeMap<u64, Place>| {
            let bytes = blocks.values().map(|place| u64::from(place.entry.length)).sum();
            Arc::new(View { id, blocks, bytes, segments: Arc::clone(&segments) })
        };
        Self { grids: [view(main, blocks), view(companion, names)], as_of }
    }

    /// The segment as of whose closing the grid is seen.
    #[must_use]
    pub const fn as_of(&self) -> usize {
        self.as_of
    }

    /// The blocks of the grid or of its companion; none of others.
    #[must_use]
    pub fn blocks(&self, id: GridId) -> Option<Arc<dyn Blocks>> {
        let view = self.grids.iter().find(|view| view.id == id)?;
        Some(Arc::clone(view) as Arc<dyn Blocks>)
    }
}

/// What the newest segment told of which all is there; in want of one, what is wrong with the newest.
fn newest_whole(ends: &[(usize, Read)]) -> Result<(u32, &Told), GrantedError> {
    let there: BTreeSet<u32> = ends.iter().map(|(_, end)| end.label.number).collect();
    let mut wrong = None;
    for (_, end) in ends.iter().rev() {
        let Some(told) = end.found.as_ref().and_then(|(_, part)| part.told.as_ref()) else { continue };
        let missing = told.homes.iter().flat_map(|(first, last)| *first..=(*last).min(SEGMENT_MAX));
        let mut missing = missing.filter(|number| !there.contains(number)).take(MISSING_MAX);
        match missing.next() {
            None if told.whole => return Ok((end.label.number, told)),
            None => wrong.get_or_insert(GrantedError::Moving),
            Some(first) => wrong.get_or_insert(GrantedError::Missing { count: 1 + missing.count(), first }),
        };
    }
    Err(wrong.unwrap_or(GrantedError::Nothing))
}

/// The last of the segments that follow the one of this number without a gap and have something of the grid. Nothing but
/// what lies in them has happened since, so it does not matter that they say nothing of where all else lies: one that was
/// open when its owner was killed does not.
fn told_by_themselves(ends: &[(usize, Read)], newest: u32) -> u32 {
    let (mut until, mut before) = (newest, newest);
    for (_, end) in ends.iter().filter(|(_, end)| end.label.number > newest) {
        if end.label.number != before + 1 {
            break;
        }
        before = end.label.number;
        if end.found.is_some() {
            until = before;
        }
    }
    until
}

fn read_end(distant: &dyn Distant, at: usize, length: u64, key: &GridKey) -> Result<Read, GrantedError> {
    let parts = |trailer: &Trailer| match trailer.tail_bytes {
        0 => length,
        _ => u64::from(trailer.footer_at) + u64::from(trailer.footer_bytes) + TABLE as u64,
    };
    let end = End::read(distant, at, length, parts).map_err(|error| match error {
        EndError::Unread(error) => GrantedError::Unread(error),
        EndError::Bad(what) => GrantedError::Bad { number: 0, what },
    })?;
    let (trailer, label) = (&end.trailer, end.trailer.label);
    if trailer.tail_bytes == 0 {
        return Ok(Read { label, found: None });
    }
    let from = parts(trailer);
    let sealed = end.between(from, from + u64::from(trailer.tail_bytes) - TABLE as u64);
    let sealed = sealed.expect("a trailer that was read tells of places before it");
    let keys = |number| Some(PartKey::new(&key.before(number)?, &label.salt));
    let found = find(sealed, trailer.footer_at, keys);
    let found = found.map_err(|what| GrantedError::Bad { number: label.number, what })?;
    Ok(Read { label, found })
}

impl Segments {
    fn payload(&self, place: &Place) -> Result<Vec<u8>, (String, Option<io::Error>)> {
        let Place { segment, entry } = place;
        let opened = &self.labels[segment];
        let mut bytes = vec![0; entry.bytes() as usize];
        let read = self.distant.read(*segment, entry.offset.into(), &mut bytes);
        read.map_err(|error| (String::new(), Some(error)))?;
        let make = || {
            let key = self.key.before(opened.key_number).expect("the part was opened with it");
            Box::new(record_sealer(&key, &opened.salt))
        };
        let sealer = opened.sealer.get_or_init(make);
        sealer
            .open_in_place(record_nonce(entry.offset), &mut bytes)
            .map_err(|_| ("its seal is broken".to_owned(), None))?;
        bytes.drain(..HEADER);
        bytes.truncate(entry.length as usize);
        Ok(bytes)
    }
}

impl Blocks for View {
    fn get(&self, index: Index, patience: Patience) -> Result<Got, ReadError> {
        let Some(place) = self.blocks.get(&index.get()) else { return Ok(Got::Absent) };
        if patience == Patience::Hurried {
            return Ok(Got::NotNow);
        }
        let Entry { generation, crc, offset, .. } = place.entry;
        let at = format!("segment {}+{offset} of another member", self.segments.labels[&place.segment].number);
        match self.segments.payload(place) {
            Ok(bytes) => Ok(Got::Block(Block { generation, crc, payload: Payload::Owned(bytes) })),
            Err((_, Some(source))) => Err(ReadError::Io { grid: self.id, index, place: at, source }),
            Err((what, None)) => Err(ReadError::Corrupted { grid: self.id, index, place: at, what }),
        }
    }

    fn put(&self, _: Index, _: &Change<'_>) -> Result<Placed, WriteError> {
        Err(Broken { why: "it is read from what others hold of it, while its owner is away".to_owned() }.into())
    }

    fn list(&self, from: Index, limit: usize, _: bool, out: &mut Vec<Listed>) -> Result<(), ReadError> {
        let after = (Bound::Included(from.get()), Bound::Unbounded);
        out.extend(self.blocks.range(after).take(limit).map(|(_, place)| {
            let Entry { index, length, crc, generation, .. } = place.entry;
            Listed { index, length, crc, generation }
        }));
        Ok(())
    }

    fn next_occupied(&self, from: Index) -> Option<Index> {
        self.blocks.range(from.get()..).next().map(|(_, place)| place.entry.index)
    }

    fn usage(&self) -> GridUsage {
        GridUsage { blocks: self.blocks.len() as u64, bytes: self.bytes }
    }
}

const _: () = assert!(UNIT as usize == HEADER + okapi_seal::TAG_BYTES);
