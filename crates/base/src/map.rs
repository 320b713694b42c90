//! The layout of a shared map: memory in which another process of this machine reads a grid without asking.
//!
//! A map is one index and any number of segments, each a memory file of fixed size. The writer (the node) keeps this
//! file's [`Header`] and [`Entry`] up to date; readers trust nothing they find in them. `docs/format/map.md` draws
//! the bytes and states the protocol; both sides of it are here, next to each other.

use crate::{Generation, Index};
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The first eight bytes of an index.
pub const MAGIC: u64 = u64::from_le_bytes(*b"OKAPIMAP");
/// The version of everything in this file.
pub const VERSION: u32 = 1;
/// Bytes before an index's first entry.
pub const HEADER_BYTES: usize = 4096;
/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 32;
/// Entries of the smallest index.
pub const ENTRIES_MIN: u64 = 128;
/// Entries of the largest index.
pub const ENTRIES_MAX: u64 = 1 << 36;
/// Bytes in which payloads are placed: each begins at a multiple of this.
pub const UNIT: u32 = 64;
/// Bytes of the smallest segment.
pub const SEGMENT_MIN: u32 = 16 << 20;
/// Bytes of the largest segment.
pub const SEGMENT_MAX: u32 = 64 << 20;
/// Segments one index may name in its life: their numbers are never used twice.
pub const SEGMENTS_MAX: u32 = 1 << 24;
/// Entries a reader looks at for one block before it gives up: no honest index needs as many.
pub const PROBES_MAX: u64 = 4096;
/// Segments whose descriptors travel together: with the index's they are the 16 that a link keeps.
pub const SEGMENTS_PER_PART: usize = 15;

const _: () = assert!(size_of::<Entry>() == ENTRY_BYTES);
const _: () = assert!(size_of::<Header>() <= HEADER_BYTES);
const _: () = assert!(SEGMENT_MAX / UNIT <= 1 << 20);
const _: () = assert!(crate::limits::BLOCK_SIZE_MAX <= 1 << 20);

/// The first bytes of an index. All but `state` and `segments` stay as they are once the index is shared.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// The grid's block size in bytes.
    pub block_size: AtomicU32,
    /// Entries that follow the header: a power of two.
    pub entries: AtomicU64,
    /// What [`home`] mixes into every block index.
    pub seed: AtomicU64,
    /// Which index of the grid this is: 1 for the first, one more each time it has moved.
    pub epoch: AtomicU64,
    /// [`MOVED`] and [`REVOKED`].
    pub state: AtomicU32,
    /// One more than the highest segment number in use.
    pub segments: AtomicU32,
}

/// Set in [`Header::state`] before the first change that only a later index has.
pub const MOVED: u32 = 1;
/// Set in [`Header::state`] when the grid is dropped.
pub const REVOKED: u32 = 2;

/// One place of an index: a block, or nothing.
///
/// Changed only by [`Entry::change`], by one writer at a time, and read by [`Entry::key`] and [`Entry::read`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct Entry {
    /// Odd while the entry is being changed; grows with every change.
    sequence: AtomicU32,
    /// CRC-32C of the payload.
    crc: AtomicU32,
    /// [`Key`].
    key: AtomicU64,
    /// The block's generation; 0 where there is no block.
    generation: AtomicU64,
    /// [`Place`].
    place: AtomicU64,
}

/// Whose an entry is: a block index with bit 63 set, or one of two marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub u64);

impl Key {
    /// Never used: no block that would have its home before this entry lies after it.
    pub const EMPTY: Self = Self(0);
    /// Used once: go on looking.
    pub const DELETED: Self = Self(1 << 62);

    /// The key of a block.
    #[inline]
    #[must_use]
    pub const fn of(index: Index) -> Self {
        Self(index.get() | 1 << 63)
    }

    /// The block whose key this is.
    #[inline]
    #[must_use]
    pub const fn index(self) -> Option<Index> {
        if self.0 >> 63 == 1 { Index::new(self.0 & !(1 << 63)) } else { None }
    }
}

/// Where a payload lies: segment (24 bits), first unit in it (20 bits), length in bytes less one (20 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub u64);

impl Place {
    /// The place of `length` (1 to 2^20) bytes in segment `segment` from byte `offset` on, a multiple of [`UNIT`].
    #[must_use]
    pub const fn new(segment: u32, offset: u32, length: u32) -> Self {
        assert!(segment < SEGMENTS_MAX && offset.is_multiple_of(UNIT) && offset < SEGMENT_MAX);
        assert!(length >= 1 && length <= 1 << 20);
        Self((segment as u64) << 40 | ((offset / UNIT) as u64) << 20 | (length - 1) as u64)
    }

    /// The segment's number.
    #[inline]
    #[must_use]
    pub const fn segment(self) -> u32 {
        (self.0 >> 40) as u32
    }

    /// Bytes of the segment before the payload.
    #[inline]
    #[must_use]
    pub const fn offset(self) -> u32 {
        (self.0 >> 20 & 0xF_FFFF) as u32 * UNIT
    }

    /// Bytes of the payload, 1 to 2^20.
    #[inline]
    #[must_use]
    pub const fn length(self) -> u32 {
        (self.0 & 0xF_FFFF) as u32 + 1
    }
}

/// What an entry says, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Even, and the same before and after what else is here was read.
    pub sequence: u32,
    /// CRC-32C of the payload.
    pub crc: u32,
    /// Whose the entry is.
    pub key: Key,
    /// Which put made the payload.
    pub generation: Generation,
    /// Where the payload lies.
    pub place: Place,
}

impl Entry {
    /// Whose the entry is now. Good for looking on; what belongs to the key is known from [`Entry::read`] alone.
    #[inline]
    #[must_use]
    pub fn key(&self) -> Key {
        Key(self.key.load(Ordering::Acquire))
    }

    /// Everything in the entry; nothing while it is being changed.
    #[inline]
    #[must_use]
    pub fn read(&self) -> Option<Seen> {
        let sequence = self.sequence.load(Ordering::Acquire);
        let seen = Seen {
            sequence,
            crc: self.crc.load(Ordering::Relaxed),
            key: Key(self.key.load(Ordering::Relaxed)),
            generation: Generation(self.generation.load(Ordering::Relaxed)),
            place: Place(self.place.load(Ordering::Relaxed)),
        };
        if sequence.is_multiple_of(2) && self.is_still(&seen) { Some(seen) } else { None }
    }

    /// Whether nothing has changed since `seen`, so that whatever was read in between at its place is its payload.
    #[inline]
    #[must_use]
    pub fn is_still(&self, seen: &Seen) -> bool {
        // Whatever was read before this fence and had been written over makes the writer's sequence visible after it.
        fence(Ordering::Acquire);
        // The generation never comes back, so a reader that slept for 2^31 changes is not deceived.
        self.sequence.load(Ordering::Relaxed) == seen.sequence
            && self.generation.load(Ordering::Relaxed) == seen.generation.0
    }

    /// For the writer: gives the entry to a block.
    pub fn change(&self, key: Key, generation: Generation, crc: u32, place: Place) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.key.store(key.0, Ordering::Relaxed);
        self.generation.store(generation.0, Ordering::Relaxed);
        self.crc.store(crc, Ordering::Relaxed);
        self.place.store(place.0, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// For the writer: takes the entry from its block. `mark` is [`Key::DELETED`] or [`Key::EMPTY`].
    pub fn clear(&self, mark: Key) {
        self.change(mark, Generation::ABSENT, 0, Place(0));
    }

    /// For the writer, who needs no sequence: the checksum and the generation.
    #[inline]
    #[must_use]
    pub fn own(&self) -> (u32, Generation) {
        (self.crc.load(Ordering::Relaxed), Generation(self.generation.load(Ordering::Relaxed)))
    }
}

/// The entry at which the search for a block begins, in an index of `entries` (a power of two). Four neighbouring
/// blocks have neighbouring homes.
#[inline]
#[must_use]
pub const fn home(index: Index, seed: u64, entries: u64) -> u64 {
    let product = ((index.get() >> 2) ^ seed) as u128 * 0x9E37_79B9_7F4A_7C15_u128;
    let mixed = (product >> 64) as u64 ^ product as u64;
    (mixed << 2 | index.get() & 3) & (entries - 1)
}

/// What travels beside the descriptors of a map: which index, and which segments from where on.
///
/// The descriptors come in this order: the index, then one for each of `segments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The grid's block size in bytes.
    pub block_size: u32,
    /// The index's epoch.
    pub epoch: u64,
    /// The index's entries.
    pub entries: u64,
    /// This part tells of segments from this number on ...
    pub from: u32,
    /// ... to below this one. A segment in between that is not named here is no more.
    pub to: u32,
    /// The segments, ascending.
    segments: [SegmentAt; SEGMENTS_PER_PART],
    count: usize,
}

/// A segment of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentAt {
    /// Its number.
    pub number: u32,
    /// Its size in bytes.
    pub bytes: u32,
}

impl Layout {
    /// The value of [`Layout::to`] in the last part.
    pub const END: u32 = SEGMENTS_MAX;
    /// Bytes of an encoded layout without segments.
    const HEAD: usize = 40;
    /// Bytes of the longest encoded layout.
    pub const BYTES_MAX: usize = Self::HEAD + 8 * SEGMENTS_PER_PART;

    /// A layout that names `segments`.
    ///
    /// # Panics
    /// If there are more than [`SEGMENTS_PER_PART`].
    #[must_use]
    pub fn new(block_size: u32, epoch: u64, entries: u64, from: u32, to: u32, segments: &[SegmentAt]) -> Self {
        let mut kept = [SegmentAt::default(); SEGMENTS_PER_PART];
        kept[..segments.len()].copy_from_slice(segments);
        Self { block_size, epoch, entries, from, to, segments: kept, count: segments.len() }
    }

    /// The segments told of, ascending.
    #[must_use]
    pub fn segments(&self) -> &[SegmentAt] {
        &self.segments[..self.count]
    }

    /// Writes the layout to the front of `out` and says how many bytes that took.
    pub fn encode(&self, out: &mut [u8; Self::BYTES_MAX]) -> usize {
        out[0..4].copy_from_slice(&VERSION.to_le_bytes());
        out[4..8].copy_from_slice(&self.block_size.to_le_bytes());
        out[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        out[16..24].copy_from_slice(&self.entries.to_le_bytes());
        out[24..28].copy_from_slice(&self.from.to_le_bytes());
        out[28..32].copy_from_slice(&self.to.to_le_bytes());
        out[32..36].copy_from_slice(&u32::try_from(self.count).expect("at most 15").to_le_bytes());
        out[36..40].fill(0);
        let (rooms, _) = out[Self::HEAD..].as_chunks_mut::<8>();
        for (room, segment) in rooms.iter_mut().zip(self.segments()) {
            room[..4].copy_from_slice(&segment.number.to_le_bytes());
            room[4..].copy_from_slice(&segment.bytes.to_le_bytes());
        }
        Self::HEAD + 8 * self.count
    }

    /// The layout that `bytes` are.
    ///
    /// # Errors
    /// [`LayoutError`] if they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, LayoutError> {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
            word.map(u32::from_le_bytes).ok_or(LayoutError::Length)
        };
        let long = |at: usize| Ok(u64::from(word(at)?) | u64::from(word(at + 4)?) << 32);
        let version = word(0)?;
        if version != VERSION {
            return Err(LayoutError::Version(version));
        }
        let count = word(32)? as usize;
        if count > SEGMENTS_PER_PART || bytes.len() != Self::HEAD + 8 * count {
            return Err(LayoutError::Length);
        }
        let mut segments = [SegmentAt::default(); SEGMENTS_PER_PART];
        for (at, segment) in segments[..count].iter_mut().enumerate() {
            *segment = SegmentAt { number: word(Self::HEAD + 8 * at)?, bytes: word(Self::HEAD + 8 * at + 4)? };
        }
        let layout = Self {
            block_size: word(4)?,
            epoch: long(8)?,
            entries: long(16)?,
            from: word(24)?,
            to: word(28)?,
            segments,
            count,
        };
        layout.check()?;
        Ok(layout)
    }

    fn check(&self) -> Result<(), LayoutError> {
        if crate::BlockSize::new(self.block_size).is_none() {
            return Err(LayoutError::Value("block size"));
        }
        if !self.entries.is_power_of_two() || !(ENTRIES_MIN..=ENTRIES_MAX).contains(&self.entries) {
            return Err(LayoutError::Value("number of entries"));
        }
        if self.from > self.to || self.to > Self::END {
            return Err(LayoutError::Value("range of segments"));
        }
        let mut least = self.from;
        for segment in self.segments() {
            if segment.number < least || segment.number >= self.to {
                return Err(LayoutError::Value("segment number"));
            }
            if !(SEGMENT_MIN..=SEGMENT_MAX).contains(&segment.bytes) || !segment.bytes.is_multiple_of(4096) {
                return Err(LayoutError::Value("segment size"));
            }
            least = segment.number + 1;
        }
        Ok(())
    }
}

/// Why bytes are not a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutError {
    /// It was written by another version of Okapi.
    Version(u32),
    /// There are too few or too many bytes for the segments it tells of.
    Length,
    /// One value is out of its range.
    Value(&'static str),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "the shared map has version {version}, this program reads {VERSION}"),
            Self::Length => f.write_str("the shared map's layout has the wrong length"),
            Self::Value(what) => write!(f, "the shared map's layout has a bad {what}"),
        }
    }
}

impl core::error::Error for LayoutError {}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_bytes_are_where_the_format_says() {
        assert_eq!((offset_of!(Header, magic), offset_of!(Header, version)), (0, 8));
        assert_eq!((offset_of!(Header, block_size), offset_of!(Header, entries)), (12, 16));
        assert_eq!((offset_of!(Header, seed), offset_of!(Header, epoch)), (24, 32));
        assert_eq!((offset_of!(Header, state), offset_of!(Header, segments)), (40, 44));
        assert_eq!((offset_of!(Entry, sequence), offset_of!(Entry, crc)), (0, 4));
        assert_eq!((offset_of!(Entry, key), offset_of!(Entry, generation), offset_of!(Entry, place)), (8, 16, 24));
        assert_eq!(Place::new(0x123456, 64 * 0xABCDE, 0x54321 + 1).0, 0x1234_56AB_CDE5_4321);
        assert_eq!(Key::of(Index::MAX).0, 0x8000_FFFF_FFFF_FFFF);
        assert_eq!(home(Index::new(0x1234_5678_9ABD).unwrap(), 0x0123_4567_89AB_CDEF, 1 << 30), 0x376D_8F65);
    }

    #[test]
    fn places_and_keys_come_back() {
        for (segment, offset, length) in [(0, 0, 1), (SEGMENTS_MAX - 1, SEGMENT_MAX - UNIT, 1 << 20), (7, 4096, 4096)] {
            let place = Place::new(segment, offset, length);
            assert_eq!((place.segment(), place.offset(), place.length()), (segment, offset, length));
        }
        for index in [Index::MIN, Index::MAX] {
            assert_eq!(Key::of(index).index(), Some(index));
        }
        for mark in [Key::EMPTY, Key::DELETED, Key(1 << 63 | 1 << 48)] {
            assert_eq!(mark.index(), None);
        }
    }

    #[test]
    fn an_entry_is_read_only_when_whole() {
        let entry = Entry::default();
        let (key, place) = (Key::of(Index::MAX), Place::new(1, 64, 9));
        entry.change(key, Generation(5), 77, place);
        let seen = entry.read().expect("nobody is changing it");
        assert_eq!((seen.key, seen.generation, seen.crc, seen.place), (key, Generation(5), 77, place));
        assert!(entry.is_still(&seen));
        entry.sequence.fetch_add(1, Ordering::Relaxed);
        assert!(entry.read().is_none() && !entry.is_still(&seen));
        entry.sequence.fetch_sub(1, Ordering::Relaxed);
        entry.clear(Key::DELETED);
        assert!(!entry.is_still(&seen));
        assert_eq!(entry.key(), Key::DELETED);
    }

    #[test]
    fn layouts_have_these_bytes_and_come_back() {
        let named = [SegmentAt { number: 2, bytes: SEGMENT_MIN }, SegmentAt { number: 0x01_0203, bytes: SEGMENT_MAX }];
        let layout = Layout::new(4096, 0x0807_0605_0403_0201, 128, 2, Layout::END, &named);
        let mut bytes = [0xFF; Layout::BYTES_MAX];
        let length = layout.encode(&mut bytes);
        #[rustfmt::skip]
        assert_eq!(bytes[..length], [
            1, 0, 0, 0,  0, 16, 0, 0,  1, 2, 3, 4, 5, 6, 7, 8,  128, 0, 0, 0, 0, 0, 0, 0,
            2, 0, 0, 0,  0, 0, 0, 1,  2, 0, 0, 0,  0, 0, 0, 0,
            2, 0, 0, 0,  0, 0, 0, 1,  3, 2, 1, 0,  0, 0, 0, 4,
        ]);
        assert_eq!(Layout::decode(&bytes[..length]), Ok(layout));
    }

    #[test]
    fn layouts_that_are_none_are_refused_and_never_panic() {
        let named = [SegmentAt { number: 2, bytes: SEGMENT_MIN }, SegmentAt { number: 3, bytes: SEGMENT_MAX }];
        let mut bytes = [0; Layout::BYTES_MAX];
        let length = Layout::new(4096, 1, 128, 2, 9, &named).encode(&mut bytes);
        for cut in 0..length {
            assert!(Layout::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(Layout::decode(&bytes[..length + 1]), Err(LayoutError::Length));
        let bad =
            [(0, 2), (4, 1), (16, 129), (16, 64), (24, 3), (24, 10), (28, 3), (32, 16), (32, 1), (40, 3), (44, 1)];
        for (at, byte) in bad {
            let mut bytes = bytes;
            bytes[at] = byte;
            assert!(Layout::decode(&bytes[..length]).is_err(), "byte {at} made {byte}");
        }
        // Every single byte changed to every value either is refused or is what it says.
        for at in 0..length {
            for byte in 0..=255 {
                let mut bytes = bytes;
                bytes[at] = byte;
                if let Ok(layout) = Layout::decode(&bytes[..length]) {
                    let mut again = [0; Layout::BYTES_MAX];
                    assert_eq!(layout.encode(&mut again), length);
                    bytes[36..40].fill(0);
                    assert_eq!(again[..length], bytes[..length], "byte {at} made {byte}");
                }
            }
        }
    }
}
