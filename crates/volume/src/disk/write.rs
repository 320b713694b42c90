//! Writing to a disk.

use super::Disk;
use crate::fault::DiskError;
use crate::presence::State;
use crate::puts::{Puts, ZEROES, cut};
use okapi_client::{Status, flags};
use std::borrow::Cow;

/// What is to become of one block.
struct Change<'a> {
    block: u64,
    /// Where in the block.
    from: usize,
    bytes: Cow<'a, [u8]>,
    /// Whether the bytes are the whole block, as far as the disk reaches.
    whole: bool,
}

impl Disk {
    /// Writes `bytes` at `offset`. `durable`: they are on the disk when this returns, and not only with the node.
    ///
    /// # Errors
    /// [`DiskError`]; what was to be written may be there in part then, each block old or new.
    pub fn write_at(&self, offset: u64, bytes: &[u8], durable: bool) -> Result<(), DiskError> {
        self.check_write(offset, bytes.len() as u64)?;
        let mut changes = self.cut_up(offset, bytes);
        if changes.iter().all(|change| change.whole) {
            let _shared = self.order.read();
            return self.put(&changes, durable);
        }
        // A part is not put as one: what the node forgot when it was killed would leave zeros around it, where the guest is
        // owed what was there before.
        let _alone = self.order.write();
        for change in changes.iter_mut().filter(|change| !change.whole) {
            let at = change.block * self.top.block;
            let mut block = vec![0; usize::try_from(self.top.block.min(self.head.size - at)).expect("at most 1 MiB")];
            self.read_at(at, &mut block)?;
            block[change.from..change.from + change.bytes.len()].copy_from_slice(&change.bytes);
            *change = Change { block: change.block, from: 0, bytes: block.into(), whole: true };
        }
        self.put(&changes, durable)
    }

    /// Puts whole blocks, as far as the disk reaches.
    pub(crate) fn put_blocks(&self, blocks: &[(u64, &[u8])], durable: bool) -> Result<(), DiskError> {
        self.check_write(0, 0)?;
        let changes: Vec<Change<'_>> = blocks
            .iter()
            .map(|(block, bytes)| Change { block: *block, from: 0, bytes: (*bytes).into(), whole: true })
            .collect();
        let _shared = self.order.read();
        self.put(&changes, durable)
    }

    /// Replaces a block, if it is there, by `bytes` and zeros after them, wherever the disk ends.
    pub(crate) fn put_last(&self, block: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let _alone = self.order.write();
        if self.top.presence.state(block) == State::Missing {
            return Ok(());
        }
        self.put(&[Change { block, from: 0, bytes: bytes.into(), whole: true }], false)
    }

    /// Makes zeros of `length` bytes at `offset`; they take no room.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn write_zeroes(&self, offset: u64, length: u64, durable: bool) -> Result<(), DiskError> {
        self.check_write(offset, length)?;
        let (block, end) = (self.top.block, offset + length);
        let first = offset.next_multiple_of(block).min(end);
        // The last block is whole if it is zeroed up to the disk's end.
        let last = if end == self.head.size { end } else { (end - end % block).max(first) };
        let zeroes = vec![0; usize::try_from((first - offset).max(end - last)).expect("less than a block")];
        for (from, to) in [(offset, first), (last, end)] {
            // A part of what is zeros already stays as it is.
            if from < to && self.status(from, to - from)? != (super::Content::Zeroes, to - from) {
                self.write_at(from, &zeroes[..(to - from) as usize], durable)?;
            }
        }
        if first < last {
            let _alone = self.order.write();
            self.zero_blocks(first / block, last.div_ceil(block), durable)?;
        }
        Ok(())
    }

    /// Zeroes whole blocks: where something would show through they are covered, elsewhere they go.
    fn zero_blocks(&self, from: u64, to: u64, durable: bool) -> Result<(), DiskError> {
        let block = self.top.block;
        let cover = |range: std::ops::Range<u64>| range.start / block..range.end.div_ceil(block).min(to);
        let mut shining = self.shining_through(from * block..(to * block).min(self.head.size)).map(cover).peekable();
        let mut batch = Vec::with_capacity(Puts::FRAME);
        let mut at = from;
        while at < to {
            while shining.next_if(|range| range.end <= at).is_some() {}
            let (covered, end) = match shining.peek() {
                Some(range) if range.start <= at => (true, range.end),
                Some(range) => (false, range.start.min(to)),
                None => (false, to),
            };
            let (state, run_end) = self.top.presence.run(at..end);
            match (covered, state) {
                (true, State::Zeroes) | (false, State::Missing) => {}
                _ => {
                    for block in at..run_end {
                        batch.push((block, if covered { State::Zeroes } else { State::Missing }));
                        if batch.len() == Puts::FRAME {
                            self.put_states(&batch, durable)?;
                            batch.clear();
                        }
                    }
                }
            }
            at = run_end;
        }
        self.put_states(&batch, durable)
    }

    fn put_states(&self, batch: &[(u64, State)], durable: bool) -> Result<(), DiskError> {
        let mut puts = Puts::default();
        for (block, state) in batch {
            let index = self.top.number.data(*block);
            match state {
                State::Zeroes => puts.whole(index, ZEROES),
                _ => puts.delete(index),
            };
        }
        self.send(&puts, durable, "zeroing blocks")?;
        batch.iter().for_each(|(block, state)| self.top.presence.set(*block, *state));
        Ok(())
    }

    /// The changes that writing `bytes` at `offset` makes.
    fn cut_up<'a>(&self, offset: u64, bytes: &'a [u8]) -> Vec<Change<'a>> {
        let block_size = usize::try_from(self.top.block).expect("blocks are at most 1 MiB");
        let mut changes = Vec::with_capacity(bytes.len() / block_size + 2);
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (block, from) = (at / self.top.block, (at % self.top.block) as usize);
            let (part, later) = rest.split_at((block_size - from).min(rest.len()));
            at += part.len() as u64;
            let whole = from == 0 && (part.len() == block_size || at == self.head.size);
            changes.push(Change { block, from, bytes: part.into(), whole });
            rest = later;
        }
        changes
    }

    fn put(&self, changes: &[Change<'_>], durable: bool) -> Result<(), DiskError> {
        let mut puts = Puts::default();
        for change in changes {
            puts.whole(self.top.number.data(change.block), cut(&change.bytes));
        }
        let sent = self.send(&puts, durable, "a write");
        for change in changes {
            let is_zero = sent.is_ok() && cut(&change.bytes) == ZEROES;
            // After a failure it may be there or not; a read finds out.
            self.top.presence.set(change.block, if is_zero { State::Zeroes } else { State::Data });
        }
        sent
    }

    fn send(&self, puts: &Puts<'_>, durable: bool, what: &'static str) -> Result<(), DiskError> {
        let put_flags = if durable { 0 } else { flags::RELAXED };
        let name = || self.head.name.clone();
        match puts.put(&self.inner.grid, put_flags) {
            Ok(Ok(())) => Ok(()),
            Ok(Err((number, status))) => {
                let block = self.top.number.block_of(puts.index(number)).expect("only data is written");
                // Only those of damage and of fullness are to be expected here.
                debug_assert!(status != Status::Stale, "a write expects nothing");
                Err(DiskError::Refused { name: name(), block, what, status })
            }
            Err(error) => Err(DiskError::Block { name: name(), error: Box::new(error) }),
        }
    }

    pub(crate) fn check_write(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        let held = self.held.as_ref().ok_or_else(|| DiskError::ReadOnly { name: self.head.name.clone() })?;
        self.check(offset, length)?;
        held.check(&self.head.name)
    }
}
