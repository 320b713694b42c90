//! The checkpoint: the index as a file, so that opening need not read every segment's footer.
//!
//! It is taken while writes go on: first it is settled which segments it covers (all closed by then), then the index
//! is copied piece by piece, each as it is at that moment, then everything appended so far is made durable. Replaying
//! all segments it does not cover brings each entry to its latest state, whatever state it was copied in.

use super::Inner;
use super::blocks::Grid;
use super::disk::{Disk, read_to_end};
use super::format::{StoreId, array_at, crc_matches, seal_with_crc, u16_at, u32_at, u64_at};
use super::index::{Location, SEGMENT_MAX};
use super::recover::Base;
use super::writer::SegmentState;
use crate::engine::WriteError;
use okapi_base::{Generation, GridId};
use okapi_seal::{NodeKey, Nonce, Sealer, TAG_BYTES};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

pub(super) const NAME: &str = "checkpoint";
pub(super) const NEW_NAME: &str = "checkpoint.new";
const MAGIC: [u8; 8] = *b"OKAPICHK";
const VERSION: u16 = 1;
const HEAD: usize = 128;
/// Plain bytes of each sealed piece but the last.
const PIECE: usize = 1 << 20;
/// Index entries copied while a grid is held.
const ENTRIES_AT_ONCE: usize = 64 << 10;
/// The index may grow to this share of the bytes written between two checkpoints: 1 in 32.
const SHARE: u64 = 32;

/// Seals a stream of bytes in pieces.
struct Pieces {
    sealer: Sealer,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    count: u64,
}

fn sealer(key: &NodeKey, salt: &[u8; 32]) -> Sealer {
    Sealer::new(&key.derive("okapi 2026 segment log: checkpoint of the index", salt))
}

/// Pieces are numbered, and the last is marked: none can be left out, moved, or cut off.
fn piece_nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce[8] = u8::from(last);
    nonce
}

impl Pieces {
    fn new(key: &NodeKey, store: &StoreId) -> Self {
        let mut salt = [0; 32];
        okapi_seal::random(&mut salt);
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&MAGIC);
        head[8..10].copy_from_slice(&VERSION.to_le_bytes());
        head[10] = okapi_seal::ALGORITHM_AES_256_GCM;
        head[16..32].copy_from_slice(store);
        head[32..64].copy_from_slice(&salt);
        seal_with_crc(&mut head);
        Self { sealer: sealer(key, &salt), plain: Vec::with_capacity(PIECE), sealed: head.to_vec(), count: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.plain.len() + bytes.len() > PIECE {
            self.seal(false);
        }
        self.plain.extend_from_slice(bytes);
    }

    fn seal(&mut self, last: bool) {
        let start = self.sealed.len();
        self.sealed.extend_from_slice(&(self.plain.len() as u32).to_le_bytes());
        self.sealed.extend_from_slice(&self.plain);
        self.sealed.extend_from_slice(&[0; TAG_BYTES]);
        self.sealer.seal_in_place(piece_nonce(self.count, last), &mut self.sealed[start + 4..]);
        self.plain.clear();
        self.count += 1;
    }
}

impl Inner {
    /// Whether enough segments have been closed since the last checkpoint.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        let blocks: u64 = self.grids.read().values().map(|grid| grid.index.read().count()).sum();
        let segment_bytes = u64::from(self.settings.segment_bytes);
        let every = u64::from(self.settings.checkpoint_every.max(1)).max(blocks * 8 * SHARE / segment_bytes);
        let w = self.writer.lock();
        let since = w.segments.range(self.checkpointed.load(Acquire) + 1..).filter(|(_, state)| state.closed).count();
        since as u64 >= every
    }

    /// Writes a checkpoint in the place of the last one.
    pub(super) fn checkpoint(&self) -> Result<(), WriteError> {
        let _alone = self.checkpointing.lock();
        let mut pieces = Pieces::new(&self.ring.node, &self.store);
        let through = self.collect(&mut pieces);
        self.flush_all()?;
        self.wait_footers_durable()?;
        if through == 0 {
            return Ok(());
        }
        match self.write_checkpoint(&pieces.sealed) {
            Ok(()) => {
                self.checkpointed.store(through, Release);
                Ok(())
            }
            // The old one is still there, or the segments are: only the next opening takes longer.
            Err(error) => {
                tracing::warn!("the checkpoint of the index could not be written: {error}");
                Ok(())
            }
        }
    }

    fn write_checkpoint(&self, bytes: &[u8]) -> io::Result<()> {
        match self.disk.remove(NEW_NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.create(NEW_NAME, 0)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        self.disk.rename(NEW_NAME, NAME)?;
        self.disk.sync_dir()?;
        self.written_bytes.fetch_add(bytes.len() as u64, Release);
        Ok(())
    }

    /// Copies the state; gives the last segment it covers.
    fn collect(&self, pieces: &mut Pieces) -> u32 {
        let (through, mut head, grids) = {
            let w = self.writer.lock();
            let last = w.segments.keys().next_back().copied().unwrap_or(0);
            let through = w.segments.iter().find(|(_, state)| !state.closed).map_or(last, |(number, _)| number - 1);
            let covered = || w.segments.range(..=through);
            let sequence = w.covered_sequence;
            let grids: Vec<_> = self.grids.read().values().cloned().collect();
            let mut head = Vec::new();
            head.extend_from_slice(&through.to_le_bytes());
            head.extend_from_slice(&[0; 4]);
            head.extend_from_slice(&sequence.to_le_bytes());
            head.extend_from_slice(&w.generation.to_le_bytes());
            for count in [covered().count(), w.drops.len(), grids.len()] {
                head.extend_from_slice(&(count as u64).to_le_bytes());
            }
            for (number, state) in covered() {
                head.extend_from_slice(&number.to_le_bytes());
                head.extend_from_slice(&state.length.to_le_bytes());
                head.extend_from_slice(&state.last.to_le_bytes());
            }
            for (grid, (generation, location)) in &w.drops {
                head.extend_from_slice(&u64::from(grid.0).to_le_bytes());
                head.extend_from_slice(&generation.0.to_le_bytes());
                head.extend_from_slice(&location.bits().to_le_bytes());
            }
            (through, head, grids)
        };
        for eight in head.chunks(8) {
            pieces.push(eight);
        }
        head.clear();
        for grid in grids {
            collect_grid(&grid, pieces);
        }
        pieces.seal(true);
        through
    }
}

/// A grid's number, then runs: the first index and the number of entries, then the entries. A run of none ends it.
fn collect_grid(grid: &Grid, pieces: &mut Pieces) {
    pieces.push(&u64::from(grid.id.0).to_le_bytes());
    let mut from = 0;
    let mut entries = Vec::new();
    loop {
        entries.clear();
        entries.extend(grid.index.read().entries(from).take(ENTRIES_AT_ONCE));
        for run in entries.chunk_by(|one, next| one.0 + 1 == next.0) {
            pieces.push(&run[0].0.to_le_bytes());
            pieces.push(&(run.len() as u64).to_le_bytes());
            run.iter().for_each(|(_, location)| pieces.push(&location.bits().to_le_bytes()));
        }
        match entries.last() {
            Some((last, _)) if entries.len() == ENTRIES_AT_ONCE => from = last + 1,
            _ => break,
        }
    }
    pieces.push(&0u64.to_le_bytes());
    pieces.push(&0u64.to_le_bytes());
}

/// What is wrong with a checkpoint, and at which offset of its file.
#[derive(Debug)]
pub(super) struct Unusable {
    pub(super) offset: u64,
    pub(super) what: String,
}

/// Loads the checkpoint; none if there is none.
pub(super) fn load(disk: &dyn Disk, key: &NodeKey, store: &StoreId) -> io::Result<Option<Result<Base, Unusable>>> {
    let file = match disk.open(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    Ok(Some(parse(read_to_end(&*file, 0, u64::MAX)?, key, store)))
}

/// Reads a whole checkpoint file.
pub(super) fn parse(mut bytes: Vec<u8>, key: &NodeKey, store: &StoreId) -> Result<Base, Unusable> {
    let unusable = |offset: usize, what: &str| Unusable { offset: offset as u64, what: what.to_owned() };
    let head = bytes.get(..HEAD).ok_or_else(|| unusable(bytes.len(), "the checkpoint ends in its head"))?;
    if head[..8] != MAGIC || !crc_matches(head) {
        return Err(unusable(0, "the checkpoint's head is damaged"));
    }
    if u16_at(head, 8) != VERSION || head[16..32] != store[..] {
        return Err(unusable(0, "the checkpoint belongs to another store or a newer version"));
    }
    let sealer = sealer(key, &array_at(head, 32));
    let (mut at, mut number, mut plain) = (HEAD, 0, Vec::new());
    while at < bytes.len() {
        let length = bytes.get(at..at + 4).map(|four| u32_at(four, 0) as usize);
        let end = length.and_then(|length| (at + 4).checked_add(length)?.checked_add(TAG_BYTES));
        let end = end.filter(|end| *end <= bytes.len()).ok_or_else(|| unusable(at, "the checkpoint is cut short"))?;
        let nonce = piece_nonce(number, end == bytes.len());
        let opened = sealer.open_in_place(nonce, &mut bytes[at + 4..end]);
        plain.extend_from_slice(opened.map_err(|_| unusable(at, "the checkpoint's seal is broken"))?);
        (at, number) = (end, number + 1);
    }
    decode(&plain).ok_or_else(|| unusable(HEAD, "the checkpoint makes no sense"))
}

/// Reads numbers off the front.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn u64(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }

    fn two_u32(&mut self) -> Option<(u32, u32)> {
        let (first, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some((u32_at(first, 0), u32_at(first, 4)))
    }

    /// A count of things of `bytes` bytes each, which are there.
    fn count(&mut self, bytes: usize) -> Option<u64> {
        self.u64().filter(|count| usize::try_from(*count).is_ok_and(|count| count <= self.0.len() / bytes))
    }
}

fn decode(plain: &[u8]) -> Option<Base> {
    let mut numbers = Numbers(plain);
    let (through, reserved) = numbers.two_u32()?;
    let (sequence, generation) = (numbers.u64()?, numbers.u64()?);
    if through >= SEGMENT_MAX || reserved != 0 || plain.len() < 48 {
        return None;
    }
    let counts = [u64_at(plain, 24), u64_at(plain, 32), u64_at(plain, 40)];
    numbers.0 = &plain[48..];
    let mut base = Base { through, sequence, generation, ..Base::default() };
    for _ in 0..counts[0] {
        let (number, length) = numbers.two_u32()?;
        let last = numbers.u64()?;
        base.segments.insert(number, SegmentState { length, last, closed: true, ..SegmentState::default() });
    }
    for _ in 0..counts[1] {
        let grid = GridId(u32::try_from(numbers.u64()?).ok()?);
        base.drops.insert(grid, (Generation(numbers.u64()?), Location::from_bits(numbers.u64()?)));
    }
    for _ in 0..counts[2] {
        let grid = Grid::new(GridId(u32::try_from(numbers.u64()?).ok()?));
        loop {
            let first = numbers.u64()?;
            let count = numbers.count(8)?;
            if count == 0 {
                break;
            }
            let mut index = grid.index.write();
            for at in 0..count {
                let at = first.checked_add(at).and_then(okapi_base::Index::new)?;
                index.set(at.get(), Location::from_bits(numbers.u64()?));
            }
        }
        base.grids.insert(grid.id, Arc::new(grid));
    }
    numbers.0.is_empty().then_some(base)
}
