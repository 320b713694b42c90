//! Every byte the log writes, but for the checkpoint. The layout is drawn in `docs/format/segment.md`.

use super::keys::{RecordKey, SegmentKeys, VEIL, Veil};
use super::parts::{TABLE, TABLE_AT, Table};
use okapi_base::{Generation, GridId, Index, crc32c, limits};
use okapi_seal::{NONCE_BYTES, Nonce, TAG_BYTES};
use std::sync::Arc;

/// Records begin at multiples of this many bytes and are as many bytes long.
pub(super) const UNIT: u32 = 64;
/// Bytes of a record's header.
pub(super) const HEADER: usize = 48;
/// Bytes before the first record of a segment.
pub(super) const FIRST_RECORD: u32 = 4096;
/// Bytes of the block that describes a segment; it stands at the start of the file, in the middle of the first page
/// and in the trailer, so that no single accident takes all copies.
pub(super) const LABEL: usize = 128;
/// Where the label's second copy stands.
pub(super) const LABEL_COPY: usize = 2048;
/// Bytes of the trailer, the last of a closed segment.
pub(super) const TRAILER: usize = 192;
/// Bytes of one footer entry.
pub(super) const ENTRY: usize = 32;
/// Bytes that a footer entry and a record's header have in common.
const COMMON: usize = 26;
/// Bytes of a header before and after its check.
const CHECKED: usize = COMMON + 4;
/// The highest number a record can have.
pub(super) const SEQUENCE_MAX: u64 = (1 << 48) - 1;
/// From here on a header says in whole thousands (of 1024) how much older the newest durable record is.
const SYNCED_EXACT: u64 = 1 << 15;
/// Bytes before the footer's entries.
pub(super) const FOOTER_HEAD: usize = 32;
/// The version of segments in which nothing is sealed for others.
pub(super) const VERSION: u16 = 1;
/// The version of segments with a table of grids that have keys of their own, and with their parts of the index.
pub(super) const VERSION_WITH_PARTS: u16 = 2;

const LABEL_MAGIC: [u8; 8] = *b"OKAPISEG";
const TRAILER_MAGIC: [u8; 8] = *b"OKAPIEND";
const RECORD_NONCE: u8 = 1;

const _: () = assert!(HEADER + TAG_BYTES == UNIT as usize);
const _: () = assert!(FIRST_RECORD.is_multiple_of(UNIT));

/// Units a record with `length` bytes of payload takes.
pub(super) const fn units(length: u32) -> u32 {
    1 + length.div_ceil(UNIT)
}

pub(super) type StoreId = [u8; 16];

/// What says which segment a file is and how its keys are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) version: u16,
    pub(super) number: u32,
    pub(super) store: StoreId,
    pub(super) salt: [u8; 32],
}

impl Label {
    /// Whether the segment has a table and parts.
    pub(super) const fn has_parts(&self) -> bool {
        self.version == VERSION_WITH_PARTS
    }

    pub(super) fn write(&self, into: &mut [u8]) {
        let into = &mut into[..LABEL];
        into.fill(0);
        into[..8].copy_from_slice(&LABEL_MAGIC);
        into[8..10].copy_from_slice(&self.version.to_le_bytes());
        into[10] = okapi_seal::ALGORITHM_AES_256_GCM;
        into[12..16].copy_from_slice(&self.number.to_le_bytes());
        into[16..32].copy_from_slice(&self.store);
        into[32..64].copy_from_slice(&self.salt);
        seal_with_crc(into);
    }

    pub(super) fn write_page(&self, table: Option<&Table>, page: &mut [u8]) {
        let page = &mut page[..FIRST_RECORD as usize];
        page.fill(0);
        for at in [0, LABEL_COPY] {
            self.write(&mut page[at..]);
            if let Some(table) = table {
                page[at + TABLE_AT..][..TABLE].copy_from_slice(table);
            }
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..LABEL)?;
        let version = u16_at(bytes, 8);
        let known = bytes[..8] == LABEL_MAGIC
            && crc_matches(bytes)
            && (VERSION..=VERSION_WITH_PARTS).contains(&version)
            && bytes[10] == okapi_seal::ALGORITHM_AES_256_GCM;
        let (number, store, salt) = (u32_at(bytes, 12), array_at(bytes, 16), array_at(bytes, 32));
        known.then_some(Self { version, number, store, salt })
    }
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A block's content.
    Put,
    /// A block is deleted.
    Tombstone,
    /// A grid is dropped.
    GridDrop,
    /// A segment's live records have been moved; its file goes.
    Released,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::Tombstone => 2,
            Self::GridDrop => 3,
            Self::Released => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Put),
            2 => Some(Self::Tombstone),
            3 => Some(Self::GridDrop),
            4 => Some(Self::Released),
            _ => None,
        }
    }
}

/// What both a record's header and its footer entry say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) grid: GridId,
    /// For [`Kind::Released`] the segment's number.
    pub(super) index: Index,
    pub(super) generation: Generation,
    /// Bytes of payload.
    pub(super) length: u32,
    /// CRC-32C of the payload; for a tombstone and a grid drop the segment in which the deletion first was.
    pub(super) crc: u32,
    /// Where the record begins in its segment.
    pub(super) offset: u32,
}

impl Entry {
    /// Bytes of the whole record.
    pub(super) const fn bytes(&self) -> u32 {
        units(self.length) * UNIT
    }

    /// Whether the numbers can be those of a record in a segment of `end` bytes.
    fn fits(&self, end: u32) -> bool {
        self.length <= limits::BLOCK_SIZE_MAX
            && (self.kind == Kind::Put) == (self.length > 0)
            && self.offset >= FIRST_RECORD
            && self.offset.is_multiple_of(UNIT)
            && self.offset.checked_add(self.bytes()).is_some_and(|own_end| own_end <= end)
    }

    fn write_common(&self, into: &mut [u8]) {
        into[..6].copy_from_slice(&self.index.get().to_le_bytes()[..6]);
        into[6] = self.kind.code();
        into[7..10].copy_from_slice(&self.length.to_le_bytes()[..3]);
        into[10..14].copy_from_slice(&self.grid.0.to_le_bytes());
        into[14..18].copy_from_slice(&self.crc.to_le_bytes());
        into[18..26].copy_from_slice(&self.generation.0.to_le_bytes());
    }

    /// What `bytes` say of the record at `offset` of a segment of `end` bytes; its kind is `kind`.
    fn read_common(bytes: &[u8], kind: u8, offset: u32, end: u32) -> Option<Self> {
        let entry = Self {
            kind: Kind::from_code(kind)?,
            grid: GridId(u32_at(bytes, 10)),
            index: Index::new(u48_at(bytes, 0))?,
            generation: Generation(u64_at(bytes, 18)),
            length: u32_at(bytes, 6) >> 8,
            crc: u32_at(bytes, 14),
            offset,
        };
        entry.fits(end).then_some(entry)
    }

    pub(super) fn write(&self, into: &mut [u8]) {
        self.write_common(into);
        into[COMMON..28].fill(0);
        into[28..32].copy_from_slice(&(self.offset / UNIT).to_le_bytes());
    }

    pub(super) fn read(bytes: &[u8], end: u32) -> Option<Self> {
        let offset = u32_at(bytes, 28).checked_mul(UNIT)?;
        let entry = Self::read_common(bytes, bytes[6], offset, end)?;
        (bytes[COMMON..28] == [0; 2]).then_some(entry)
    }
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) kind: Kind,
    pub(super) grid: GridId,
    pub(super) index: Index,
}

/// The first bytes of a record, sealed together with its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) entry: Entry,
    /// The record's number: each appended record has the next one.
    pub(super) sequence: u64,
    /// The newest record that was known to be durable when this one was made. Where that is more than 32,767 records
    /// ago a header rounds it down.
    pub(super) synced: u64,
    /// What the record before this one is about, should it ever be damaged; unknown right after an opening.
    pub(super) previous: Option<Name>,
}

impl Header {
    /// `veil` is laid over what tells of the record before, where the record's readers need not know it.
    pub(super) fn write(&self, veil: Option<Veil>, into: &mut [u8; HEADER]) {
        self.entry.write_common(into);
        into[30..36].copy_from_slice(&self.sequence.to_le_bytes()[..6]);
        into[36..38].copy_from_slice(&synced_code(self.sequence - self.synced).to_le_bytes());
        into[38..48].fill(0);
        if let Some(previous) = &self.previous {
            into[6] |= previous.kind.code() << 4;
            into[38..44].copy_from_slice(&previous.index.get().to_le_bytes()[..6]);
            into[44..48].copy_from_slice(&previous.grid.0.to_le_bytes());
        }
        lay(veil, into);
        // The offset is not written, it is where the record is found, but the check covers it.
        into[COMMON..CHECKED].copy_from_slice(&(self.entry.offset / UNIT).to_le_bytes());
        let check = crc32c(into);
        into[COMMON..CHECKED].copy_from_slice(&check.to_le_bytes());
    }

    /// The header that `bytes` are, found at `offset` of a segment of `end` bytes. They need not be authentic yet.
    pub(super) fn read(bytes: &[u8; HEADER], offset: u32, end: u32, key: RecordKey<'_>) -> Option<Self> {
        let mut bytes = *bytes;
        let check = u32_at(&bytes, COMMON);
        bytes[COMMON..CHECKED].copy_from_slice(&(offset / UNIT).to_le_bytes());
        if crc32c(&bytes) != check {
            return None;
        }
        lay(key.veil(offset), &mut bytes);
        let sequence = u48_at(&bytes, 30);
        let previous = match bytes[6] >> 4 {
            0 if bytes[38..48] == [0; 10] => None,
            kind => Some(Name {
                kind: Kind::from_code(kind)?,
                index: Index::new(u48_at(&bytes, 38))?,
                grid: GridId(u32_at(&bytes, 44)),
            }),
        };
        Some(Self {
            entry: Entry::read_common(&bytes, bytes[6] & 0xf, offset, end)?,
            sequence,
            synced: synced_of(sequence, u16_at(&bytes, 36))?,
            previous,
        })
    }
}

/// Lays a veil over the bytes that tell of the record before, or takes it off.
fn lay(veil: Option<Veil>, header: &mut [u8; HEADER]) {
    let Some(veil) = veil else { return };
    header[6] ^= veil[0] & 0xf0;
    for (byte, over) in header[HEADER - (VEIL - 1)..].iter_mut().zip(&veil[1..]) {
        *byte ^= over;
    }
}

/// How a header says that the newest durable record is `ago` records old: exactly, or rounded up.
fn synced_code(ago: u64) -> u16 {
    let code = if ago < SYNCED_EXACT { ago } else { SYNCED_EXACT | ago.div_ceil(1024).min(SYNCED_EXACT - 1) };
    u16::try_from(code).expect("both ways give 16 bits")
}

/// The reverse. The last code says nothing.
fn synced_of(sequence: u64, code: u16) -> Option<u64> {
    match u64::from(code) {
        0 => None,
        0xffff => Some(0),
        ago if ago < SYNCED_EXACT => sequence.checked_sub(ago),
        thousands => Some(sequence.saturating_sub((thousands - SYNCED_EXACT) * 1024)),
    }
}

/// The nonce of the record at `offset`: each offset of a segment is written at most once.
pub(super) fn record_nonce(offset: u32) -> Nonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce[0] = RECORD_NONCE;
    nonce[4..8].copy_from_slice(&offset.to_le_bytes());
    nonce
}

/// Seals a record into `into`, which is exactly as long as the record.
pub(super) fn seal_record(keys: &SegmentKeys, header: &Header, payload: &[u8], into: &mut [u8]) {
    debug_assert_eq!(into.len(), header.entry.bytes() as usize);
    debug_assert_eq!(payload.len(), header.entry.length as usize);
    let nonce = record_nonce(header.entry.offset);
    let (head, tail) = into.split_first_chunk_mut::<HEADER>().expect("a record is longer than its header");
    let key = keys.of(header.entry.grid);
    header.write(key.veil(header.entry.offset), head);
    if payload.len().is_multiple_of(UNIT as usize) {
        key.sealer.seal(nonce, head, payload, tail);
    } else {
        let (content, rest) = tail.split_at_mut(payload.len());
        content.copy_from_slice(payload);
        rest.fill(0);
        key.sealer.seal_in_place(nonce, into);
    }
}

/// The header the record at `offset` seems to have, not authenticated.
pub(super) fn peek_header(keys: &SegmentKeys, bytes: &[u8], offset: u32, end: u32) -> Option<Header> {
    let sealed = bytes.get(offset as usize..)?.first_chunk::<HEADER>()?;
    keys.peek(|key| {
        let mut head = *sealed;
        key.sealer.peek(record_nonce(offset), &mut head);
        Header::read(&head, offset, end, key)
    })
}

/// The index of a closed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    /// The number of the segment's first record, and of its last: `first > last` where it has none.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The newest record known to be durable when the footer was made.
    pub(super) synced: u64,
    /// The records, by ascending offset.
    pub(super) entries: Arc<Vec<Entry>>,
}

/// Bytes that closing a segment of `count` records adds after the last of them, if its table and parts have `tail`.
pub(super) const fn closing_bytes(count: usize, tail: usize) -> usize {
    (FOOTER_HEAD + count * ENTRY + TAG_BYTES + tail).next_multiple_of(UNIT as usize) + TRAILER
}

impl Footer {
    /// Footer, table and parts (`tail`) and trailer, as they follow the last record, which ends at `end`.
    pub(super) fn write(
        &self,
        segment: (&Label, &SegmentKeys),
        end: u32,
        nonce: Nonce,
        tail: &[u8],
        into: &mut Vec<u8>,
    ) {
        let (label, keys) = segment;
        let closing = closing_bytes(self.entries.len(), tail.len());
        into.clear();
        into.resize(closing, 0);
        let (sealed, trailer) = into.split_at_mut(closing - TRAILER);
        let sealed_length = FOOTER_HEAD + self.entries.len() * ENTRY + TAG_BYTES;
        let (sealed, after) = sealed.split_at_mut(sealed_length);
        after[..tail.len()].copy_from_slice(tail);
        let count = u32::try_from(self.entries.len()).expect("a segment holds fewer than 2^32 records");
        sealed[..4].copy_from_slice(&count.to_le_bytes());
        sealed[8..16].copy_from_slice(&self.first.to_le_bytes());
        sealed[16..24].copy_from_slice(&self.last.to_le_bytes());
        sealed[24..32].copy_from_slice(&self.synced.to_le_bytes());
        for (entry, slot) in self.entries.iter().zip(sealed[FOOTER_HEAD..].chunks_exact_mut(ENTRY)) {
            entry.write(slot);
        }
        keys.footers.seal_in_place(nonce, sealed);

        label.write(trailer);
        trailer[128..136].copy_from_slice(&TRAILER_MAGIC);
        trailer[136..140].copy_from_slice(&end.to_le_bytes());
        trailer[140..144].copy_from_slice(&(sealed_length as u32).to_le_bytes());
        trailer[144..156].copy_from_slice(&nonce);
        trailer[156..160].copy_from_slice(&(tail.len() as u32).to_le_bytes());
        seal_with_crc(trailer);
    }

    fn parse(plain: &[u8], end: u32) -> Option<Self> {
        let count = u32_at(plain, 0) as usize;
        if plain.len() != FOOTER_HEAD + count * ENTRY || plain[4..8] != [0; 4] {
            return None;
        }
        let entries: Option<Vec<_>> =
            plain[FOOTER_HEAD..].chunks_exact(ENTRY).map(|bytes| Entry::read(bytes, end)).collect();
        let footer = Self {
            first: u64_at(plain, 8),
            last: u64_at(plain, 16),
            synced: u64_at(plain, 24),
            entries: Arc::new(entries?),
        };
        let apart = footer.entries.windows(2).all(|two| two[0].offset + two[0].bytes() <= two[1].offset);
        apart.then_some(footer)
    }
}

/// The last bytes of a closed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) label: Label,
    /// Where the records end and the footer begins.
    pub(super) footer_at: u32,
    /// Bytes of the sealed footer, its tag among them.
    pub(super) footer_bytes: u32,
    pub(super) nonce: Nonce,
    /// Bytes of table and parts, which follow the footer.
    pub(super) tail_bytes: u32,
}

impl Trailer {
    /// The trailer at the end of a file of `file_bytes`, given its last bytes.
    pub(super) fn read(bytes: &[u8], file_bytes: u64) -> Option<Self> {
        let bytes = bytes.last_chunk::<TRAILER>()?;
        if bytes[128..136] != TRAILER_MAGIC || !crc_matches(bytes) {
            return None;
        }
        let trailer = Self {
            label: Label::read(bytes)?,
            footer_at: u32_at(bytes, 136),
            footer_bytes: u32_at(bytes, 140),
            nonce: array_at(bytes, 144),
            tail_bytes: u32_at(bytes, 156),
        };
        let entries = (trailer.footer_bytes as usize).checked_sub(FOOTER_HEAD + TAG_BYTES)?;
        let whole = entries.is_multiple_of(ENTRY)
            && u64::from(trailer.footer_at) + closing_bytes(entries / ENTRY, trailer.tail_bytes as usize) as u64
                == file_bytes
            && trailer.footer_at >= FIRST_RECORD
            // One whose table was torn by a power cut is closed without.
            && (trailer.tail_bytes == 0 || trailer.label.has_parts() && trailer.tail_bytes >= TABLE as u32);
        whole.then_some(trailer)
    }

    /// Opens the footer this trailer tells of, given its sealed bytes.
    pub(super) fn open(&self, keys: &SegmentKeys, sealed: &mut [u8]) -> Option<Footer> {
        let plain = keys.footers.open_in_place(self.nonce, sealed).ok()?;
        Footer::parse(plain, self.footer_at)
    }
}

/// Fills in the CRC-32C of all before the last four bytes.
pub(super) fn seal_with_crc(bytes: &mut [u8]) {
    let cut = bytes.len() - 4;
    let crc = crc32c(&bytes[..cut]);
    bytes[cut..].copy_from_slice(&crc.to_le_bytes());
}

pub(super) fn crc_matches(bytes: &[u8]) -> bool {
    let cut = bytes.len() - 4;
    bytes[cut..] == crc32c(&bytes[..cut]).to_le_bytes()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u48_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight[..6].copy_from_slice(&bytes[at..at + 6]);
    u64::from_le_bytes(eight)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// The `N` bytes at `at`; the caller has checked that they are there.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}
