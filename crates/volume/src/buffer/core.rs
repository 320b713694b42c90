//! What is behind the door of a buffer: reads and writes.

use super::drain::Owed;
use super::units::{LEAF, Leaf, Stage, Units};
use crate::disk::{Content, Disk};
use crate::fault::DiskError;
use crate::presence::State;
use parking_lot::{Mutex, RwLock};
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are read although a part of them was asked for.
const FETCHED_MAX: u64 = 64 << 10;

/// A disk and what is in memory of it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) disk: Disk,
    pub(super) units: Arc<Units>,
    /// Bytes of a block.
    block: u64,
    /// Held alone by whoever zeroes, as that goes past the buffer; shared by all others.
    order: RwLock<()>,
    /// What is owed to the node; whoever holds it puts.
    pub(super) owed: Mutex<Owed>,
}

/// A part of what is read or written that lies within one leaf.
struct Piece {
    leaf: u64,
    /// Where on the disk.
    offset: u64,
    /// Where in the caller's buffer.
    at: usize,
    length: usize,
}

/// A part of a piece that lies within one block.
struct Bit {
    block: u64,
    /// Where in the block.
    from: usize,
    /// Where in the caller's buffer.
    at: usize,
    length: usize,
}

impl Core {
    pub(super) fn new(disk: Disk) -> Self {
        Self {
            units: disk
                .claim()
                .and_then(|(before, _)| disk.kept().take(disk.head().number, before))
                .unwrap_or_else(|| Arc::new(Units::new(disk.head().blocks(), disk.pool()))),
            block: u64::from(disk.head().block_size.bytes()),
            order: RwLock::new(()),
            owed: Mutex::default(),
            disk,
        }
    }

    pub(super) fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        self.disk.check(offset, into.len() as u64)?;
        let _shared = self.order.read();
        if self.units.is_empty() && !self.is_own(offset, into.len() as u64) {
            return self.disk.read_at(offset, into);
        }
        // What is neither in memory nor this disk's own is read from below in as few pieces as can be.
        let mut below: Vec<Range<usize>> = Vec::new();
        for piece in self.pieces(offset, into.len()) {
            self.read_piece(&piece, into, &mut below)?;
        }
        for range in below {
            self.disk.read_at(offset + range.start as u64, &mut into[range])?;
        }
        self.units.pool().evict();
        Ok(())
    }

    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.disk.check_write(offset, bytes.len() as u64)?;
        {
            let _shared = self.order.read();
            for piece in self.pieces(offset, bytes.len()) {
                self.write_piece(&piece, bytes)?;
            }
        }
        self.relieve()
    }

    pub(super) fn write_zeroes(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.disk.check_write(offset, length)?;
        let end = offset + length;
        let first = offset.next_multiple_of(self.block).min(end);
        let last = if end == self.disk.size() { end } else { (end - end % self.block).max(first) };
        // Parts of blocks are written like anything else.
        let zeroes = vec![0; usize::try_from((first - offset).max(end - last)).expect("less than a block")];
        for (from, to) in [(offset, first), (last, end)] {
            if from < to {
                self.write_at(from, &zeroes[..(to - from) as usize])?;
            }
        }
        if first == last {
            return Ok(());
        }
        let mut owed = self.owed.lock();
        {
            let _alone = self.order.write();
            let zeroed = self.disk.write_zeroes(first, last - first, false);
            // In part it may be done even if it fails; what was written before and is not with the node stays then.
            self.forget(first / self.block..last.div_ceil(self.block), zeroed.is_ok());
            zeroed?;
            owed.zeroed(first..last);
        }
        if owed.is_much() { self.settle(&mut owed) } else { Ok(()) }
    }

    pub(super) fn flush(&self) -> Result<(), DiskError> {
        self.settle(&mut self.owed.lock())
    }

    pub(super) fn status(&self, offset: u64, length: u64) -> Result<(Content, u64), DiskError> {
        // What is only in memory the disk does not know of.
        self.drain()?;
        self.disk.status(offset, length)
    }

    /// Nobody has it open any more: what is in memory may be of use to whoever opens it next.
    pub(super) fn keep(&self) {
        if let Some((_, after)) = self.disk.claim()
            && self.units.pinned() == 0
            && !self.units.is_empty()
        {
            self.disk.kept().keep(self.disk.head().number, after, self.units.clone());
        }
    }

    /// Whether some of these bytes are in blocks of the disk's own.
    fn is_own(&self, offset: u64, length: u64) -> bool {
        length > 0 && self.disk.is_own(offset / self.block..(offset + length).div_ceil(self.block))
    }

    fn read_piece(&self, piece: &Piece, into: &mut [u8], below: &mut Vec<Range<usize>>) -> Result<(), DiskError> {
        let leaf = self.units.leaf(piece.leaf);
        if leaf.is_none() && !self.is_own(piece.offset, piece.length as u64) {
            add(below, piece.at..piece.at + piece.length);
            return Ok(());
        }
        let mut missed: Vec<Bit> = Vec::new();
        let version = {
            let leaf = leaf.map(RwLock::read);
            for bit in self.bits(piece) {
                let unit = leaf.as_ref().and_then(|leaf| leaf.units[(bit.block % LEAF) as usize].as_ref());
                match unit {
                    Some(unit) => {
                        unit.touch();
                        into[bit.at..bit.at + bit.length].copy_from_slice(&unit.bytes[bit.from..bit.from + bit.length]);
                    }
                    None if self.disk.state(bit.block) == State::Data => missed.push(bit),
                    None => add(below, bit.at..bit.at + bit.length),
                }
            }
            leaf.map_or(0, |leaf| leaf.version)
        };
        if missed.is_empty() { Ok(()) } else { self.fetch(piece, version, &missed, into) }
    }

    /// Reads blocks of the disk's own, and keeps them; where blocks are small, with those beside them.
    fn fetch(&self, piece: &Piece, version: u64, missed: &[Bit], into: &mut [u8]) -> Result<(), DiskError> {
        let (mut first, mut last) = (missed[0].block, missed[missed.len() - 1].block);
        if self.block * LEAF <= FETCHED_MAX {
            first = piece.leaf * LEAF;
            last = (first + LEAF).min(self.disk.head().blocks()) - 1;
        }
        let (start, end) = (first * self.block, ((last + 1) * self.block).min(self.disk.size()));
        let mut bytes = vec![0; usize::try_from(end - start).expect("a leaf fits into memory")];
        self.disk.read_at(start, &mut bytes)?;
        for bit in missed {
            let from = ((bit.block - first) * self.block) as usize + bit.from;
            into[bit.at..bit.at + bit.length].copy_from_slice(&bytes[from..from + bit.length]);
        }
        let mut leaf = self.units.leaf_or_new(piece.leaf).write();
        // Whatever was written meanwhile is newer.
        if leaf.version == version {
            for (block, bytes) in (first..=last).zip(bytes.chunks(self.block as usize)) {
                if self.disk.state(block) == State::Data && leaf.units[(block % LEAF) as usize].is_none() {
                    self.units.insert(&mut leaf, block, bytes.into(), Stage::Clean);
                }
            }
        }
        Ok(())
    }

    fn write_piece(&self, piece: &Piece, bytes: &[u8]) -> Result<(), DiskError> {
        let mut leaf = self.units.leaf_or_new(piece.leaf).write();
        leaf.version += 1;
        let mut is_new = false;
        for bit in self.bits(piece) {
            let part = &bytes[bit.at..bit.at + bit.length];
            is_new |= self.write_bit(&mut leaf, &bit, part)?;
        }
        drop(leaf);
        if is_new {
            self.units.dirty().insert(piece.leaf);
        }
        Ok(())
    }

    /// Whether it was not dirty before.
    fn write_bit(&self, leaf: &mut Leaf, bit: &Bit, part: &[u8]) -> Result<bool, DiskError> {
        if let Some(unit) = &mut leaf.units[(bit.block % LEAF) as usize] {
            unit.bytes[bit.from..bit.from + bit.length].copy_from_slice(part);
            unit.touch();
            let is_new = unit.stage != Stage::Dirty;
            self.units.move_to(unit, Stage::Dirty);
            return Ok(is_new);
        }
        let start = bit.block * self.block;
        let whole = usize::try_from(self.block.min(self.disk.size() - start)).expect("blocks are at most 1 MiB");
        let bytes = if bit.length == whole {
            part.into()
        } else {
            let mut bytes = vec![0; whole].into_boxed_slice();
            self.disk.read_at(start, &mut bytes)?;
            bytes[bit.from..bit.from + bit.length].copy_from_slice(part);
            bytes
        };
        self.units.insert(leaf, bit.block, bytes, Stage::Dirty);
        Ok(true)
    }

    /// Drops blocks; `all`: also those that the node does not have.
    fn forget(&self, blocks: Range<u64>, all: bool) {
        let mut at = blocks.start;
        while at < blocks.end {
            let end = ((at / LEAF + 1) * LEAF).min(blocks.end);
            if let Some(leaf) = self.units.leaf(at / LEAF) {
                let mut leaf = leaf.write();
                leaf.version += 1;
                for block in at..end {
                    let unit = leaf.units[(block % LEAF) as usize].as_ref();
                    if unit.is_some_and(|unit| all || !unit.stage.is_pinned()) {
                        self.units.remove(&mut leaf, block);
                    }
                }
            }
            at = end;
        }
    }

    /// The parts of `length` bytes at `offset`, a leaf each.
    fn pieces(&self, offset: u64, length: usize) -> impl Iterator<Item = Piece> {
        let span = self.block * LEAF;
        let mut at = 0;
        std::iter::from_fn(move || {
            let from = offset + at as u64;
            let leaf = from / span;
            let now = usize::try_from((leaf + 1) * span - from).expect("a leaf fits into memory").min(length - at);
            let piece = Piece { leaf, offset: from, at, length: now };
            at += now;
            (now > 0).then_some(piece)
        })
    }

    /// The parts of a piece, a block each.
    fn bits(&self, piece: &Piece) -> impl Iterator<Item = Bit> {
        let block_bytes = self.block;
        let (offset, start, length) = (piece.offset, piece.at, piece.length);
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let (block, from) = (at / block_bytes, (at % block_bytes) as usize);
            let now = (block_bytes as usize - from).min(length - done);
            let bit = Bit { block, from, at: start + done, length: now };
            done += now;
            (now > 0).then_some(bit)
        })
    }
}

/// Adds a range to those before it, as part of the last one if it goes on from there.
fn add(ranges: &mut Vec<Range<usize>>, range: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}
