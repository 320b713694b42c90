//! What a segment of version 2 has beyond one of version 1: the table of grids with keys of their own, and for each of
//! those a part of the index that is sealed for its readers. Drawn in `docs/format/segment.md`.

use super::format::{ENTRY, Entry, u16_at, u32_at};
use super::keys::{PartKey, SegmentKeys, home};
use okapi_base::GridId;
use okapi_seal::{KEY_NUMBER_MAX, NONCE_BYTES, Sealer, TAG_BYTES};

/// Grids of a store that can have keys of their own.
pub(super) const GIVEN_MAX: usize = 128;
const TABLE_ENTRY: usize = 8;
/// Bytes of a sealed table: as many whether it is full or not.
pub(super) const TABLE: usize = NONCE_BYTES + GIVEN_MAX * TABLE_ENTRY + TAG_BYTES;
pub(super) type Table = [u8; TABLE];
/// Where a table begins, after the beginning of each copy of the label in the first page.
pub(super) const TABLE_AT: usize = 256;

/// Bytes of a part in clear before its sealed ones.
const PART_CLEAR: usize = 36;
const PART_HEAD: usize = 16;
const HOME: usize = 8;
/// Bytes of a part that tells of no segments and has no entries.
pub(super) const PART_LEAST: usize = PART_CLEAR + PART_HEAD + TAG_BYTES;
/// Runs of segments that a part can name.
pub(super) const HOMES_MAX: usize = 1024;
const TOLD: u8 = 1;
const WHOLE: u8 = 2;

const _: () = assert!(TABLE_AT >= super::format::LABEL && TABLE_AT + TABLE <= super::format::LABEL_COPY);
const _: () = assert!(super::format::LABEL_COPY + TABLE_AT + TABLE <= super::format::FIRST_RECORD as usize);

/// What the owner says of a grid in the moment in which a segment is closed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    /// All that lives in the grid lies under keys of its own.
    pub(super) whole: bool,
    /// In which segments it lies: runs of numbers, each the first and the last.
    pub(super) homes: Vec<(u32, u32)>,
}

/// A grid's part of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) told: Option<Told>,
    pub(super) entries: Vec<Entry>,
}

pub(super) fn seal_table(numbers: &[(GridId, u16)], footers: &Sealer) -> Box<Table> {
    let mut table = Box::new([0; TABLE]);
    let (nonce, sealed) = table.split_first_chunk_mut::<NONCE_BYTES>().expect("a table has a nonce");
    for ((grid, number), slot) in numbers.iter().zip(sealed.chunks_exact_mut(TABLE_ENTRY)) {
        slot[..4].copy_from_slice(&grid.0.to_le_bytes());
        slot[4..6].copy_from_slice(&number.to_le_bytes());
    }
    okapi_seal::random(nonce);
    footers.seal_in_place(*nonce, sealed);
    table
}

/// The grids in a table, if it is whole.
pub(super) fn open_table(table: &Table, footers: &Sealer) -> Option<Vec<(GridId, u16)>> {
    let mut sealed = *table;
    let (nonce, sealed) = sealed.split_first_chunk_mut::<NONCE_BYTES>()?;
    let plain = footers.open_in_place(*nonce, sealed).ok()?;
    let slots = plain.chunks_exact(TABLE_ENTRY).map(|slot| (GridId(u32_at(slot, 0)), u16_at(slot, 4)));
    let numbers: Vec<(GridId, u16)> = slots.take_while(|(grid, _)| grid.0 != 0).collect();
    let good = numbers.is_sorted_by(|one, next| one.0 < next.0)
        && numbers.iter().all(|(grid, number)| home(*grid) == *grid && (1..=KEY_NUMBER_MAX).contains(number));
    good.then_some(numbers)
}

/// What follows the footer: the table once more, and the parts of all grids of which there is something to say.
pub(super) fn tail(
    table: &Table,
    keys: &SegmentKeys,
    entries: &[Entry],
    told: impl Fn(GridId) -> Option<Told>,
) -> Vec<u8> {
    let mut tail = table.to_vec();
    for (grid, number) in keys.numbers() {
        let entries = entries.iter().filter(|entry| home(entry.grid) == grid).copied().collect();
        let part = Part { told: told(grid), entries };
        if part.told.is_some() || !part.entries.is_empty() {
            let mut nonce = okapi_seal::Nonce::default();
            okapi_seal::random(&mut nonce);
            part.write(&keys.part(grid, number), number, nonce, &mut tail);
        }
    }
    tail
}

impl Part {
    pub(super) fn write(&self, key: &PartKey, number: u16, nonce: okapi_seal::Nonce, into: &mut Vec<u8>) {
        let homes = self.told.iter().flat_map(|told| &told.homes);
        let count = homes.clone().count();
        let from = into.len() + PART_CLEAR;
        into.extend_from_slice(&key.name);
        into.extend_from_slice(&nonce);
        into.extend_from_slice(&number.to_le_bytes());
        into.extend_from_slice(&[0; 2]);
        let sealed = PART_HEAD + count * HOME + self.entries.len() * ENTRY + TAG_BYTES;
        into.extend_from_slice(&u32::try_from(sealed).expect("a part fits its segment").to_le_bytes());
        into.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        into.extend_from_slice(&(count as u32).to_le_bytes());
        let flags = self.told.as_ref().map_or(0, |told| TOLD | if told.whole { WHOLE } else { 0 });
        into.extend_from_slice(&[flags, 0, 0, 0, 0, 0, 0, 0]);
        for (first, last) in homes {
            into.extend_from_slice(&first.to_le_bytes());
            into.extend_from_slice(&last.to_le_bytes());
        }
        for entry in &self.entries {
            let mut slot = [0; ENTRY];
            entry.write(&mut slot);
            into.extend_from_slice(&slot);
        }
        into.extend_from_slice(&[0; TAG_BYTES]);
        key.sealer.seal_in_place(nonce, &mut into[from..]);
    }

    fn parse(plain: &[u8], end: u32) -> Option<Self> {
        let (head, rest) = plain.split_at_checked(PART_HEAD)?;
        let (entries, homes) = (u32_at(head, 0) as usize, u32_at(head, 4) as usize);
        let (homes, rest) = rest.split_at_checked(homes.checked_mul(HOME)?)?;
        if entries.checked_mul(ENTRY) != Some(rest.len()) {
            return None;
        }
        let homes = homes.chunks_exact(HOME).map(|run| (u32_at(run, 0), u32_at(run, 4))).collect();
        let told = (head[8] & TOLD != 0).then_some(Told { whole: head[8] & WHOLE != 0, homes });
        let entries: Option<Vec<Entry>> = rest.chunks_exact(ENTRY).map(|bytes| Entry::read(bytes, end)).collect();
        Some(Self { told, entries: entries? })
    }
}

/// The part of a grid among `parts` (what follows the table), for whoever has one of its keys: `key` gives the key of a
/// number. None: there is none; an error: what is there is none.
pub(super) fn find(
    mut parts: &[u8],
    end: u32,
    key: impl Fn(u16) -> Option<PartKey>,
) -> Result<Option<(u16, Part)>, &'static str> {
    while !parts.is_empty() {
        let (clear, rest) = parts.split_at_checked(PART_CLEAR).ok_or("a part of its index is cut off")?;
        let number = u16_at(clear, 28);
        let bytes = u32_at(clear, 32) as usize;
        let (sealed, rest) = rest.split_at_checked(bytes).ok_or("a part of its index is cut off")?;
        if let Some(key) = key(number).filter(|key| key.name == clear[..16]) {
            let nonce = *clear[16..].first_chunk().expect("it has 12 more bytes");
            let mut sealed = sealed.to_vec();
            let plain = key.sealer.open_in_place(nonce, &mut sealed).map_err(|_| "the seal of its index is broken")?;
            let part = Part::parse(plain, end).ok_or("its index makes no sense")?;
            return Ok(Some((number, part)));
        }
        parts = rest;
    }
    Ok(None)
}

/// The runs that some numbers make.
pub(super) fn runs(numbers: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

/// Bytes that a part takes beyond its entries.
pub(super) const fn part_bytes(homes: usize) -> usize {
    PART_LEAST + homes * HOME
}
