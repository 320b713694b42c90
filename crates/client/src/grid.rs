//! A grid of a node, and its blocks.

use crate::client::{Client, stub};
use crate::fault::{BlockError, GridError};
use crate::list::{Blocks, Runs};
use okapi_base::{BlockSize, Generation, Index, Slice};
use okapi_wire::message::GridInfo;
use okapi_wire::{GetAsk, Outcome, PutAsk};

/// An open grid. Clones are the same grid. It is opened again by itself on every connection that needs it.
#[derive(Debug, Clone)]
pub struct Grid(());

/// A block, or the part of it that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its bytes, checked against their checksum.
    pub bytes: Vec<u8>,
    /// Bytes the whole block has.
    pub length: u32,
    /// Which put made it.
    pub generation: Generation,
    /// CRC-32C of `bytes`.
    pub crc: u32,
}

/// What [`Grid::get_into`] got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Got {
    /// Bytes written to the front of the caller's buffer.
    pub filled: usize,
    /// Bytes the whole block has.
    pub length: u32,
    /// Which put made it.
    pub generation: Generation,
}

/// What a put has made of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The block's generation now.
    pub generation: Generation,
    /// Bytes the block has now.
    pub length: u32,
}

impl Grid {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        stub(())
    }

    /// The node it is on.
    #[must_use]
    pub fn client(&self) -> &Client {
        stub(())
    }

    /// What the node said of it when it was opened.
    #[must_use]
    pub fn info(&self) -> &GridInfo {
        stub(())
    }

    /// The capacity of its blocks.
    #[must_use]
    pub fn block_size(&self) -> BlockSize {
        stub(())
    }

    /// What it holds now.
    ///
    /// # Errors
    /// [`GridError`].
    pub fn stat(&self) -> Result<GridInfo, GridError> {
        stub(())
    }

    /// Waits until everything put before, relaxed or not, is durable.
    ///
    /// # Errors
    /// [`GridError`]; [`crate::Fault::Interrupted`] if a connection that carried relaxed puts broke since the last
    /// sync: they may be lost.
    pub fn sync(&self) -> Result<(), GridError> {
        stub(())
    }

    /// A block, or nothing if it is absent.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn get(&self, index: Index) -> Result<Option<Block>, BlockError> {
        stub(index)
    }

    /// Part of a block, cut at its end, or nothing if it is absent.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn get_slice(&self, index: Index, slice: Slice) -> Result<Option<Block>, BlockError> {
        stub((index, slice))
    }

    /// Gets part of a block into the front of `into`, or nothing if it is absent. A slice longer than `into` is cut to
    /// it.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn get_into(&self, index: Index, slice: Slice, into: &mut [u8]) -> Result<Option<Got>, BlockError> {
        stub((index, slice, into))
    }

    /// Gets any number of slices of blocks. `each` is called once for each ask, with its number, how it ended
    /// ([`okapi_wire::Status::Absent`] is one way) and its bytes, which are checked; mostly, but not always, in order.
    ///
    /// # Errors
    /// [`BlockError`] if the asks as a whole failed; `each` may have been called for some.
    pub fn get_many(&self, asks: &[GetAsk], each: impl FnMut(usize, Outcome, &[u8])) -> Result<(), BlockError> {
        stub((asks, each))
    }

    /// Replaces a block. No bytes at all delete it.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn put(&self, index: Index, bytes: &[u8]) -> Result<Placed, BlockError> {
        stub((index, bytes))
    }

    /// Changes part of a block, which grows if need be.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn put_slice(&self, index: Index, offset: u32, bytes: &[u8]) -> Result<Placed, BlockError> {
        stub((index, offset, bytes))
    }

    /// Replaces a block if it still is at `expect` ([`Generation::ABSENT`]: if there is none).
    ///
    /// # Errors
    /// [`BlockError`], with [`okapi_wire::Status::Stale`] if it is not.
    pub fn put_if(&self, index: Index, bytes: &[u8], expect: Generation) -> Result<Placed, BlockError> {
        stub((index, bytes, expect))
    }

    /// Deletes a block; one that is absent already is no error.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn delete(&self, index: Index) -> Result<(), BlockError> {
        stub(index)
    }

    /// Makes any number of changes, each descriptor with its payload, in order. `put_flags` are those of
    /// [`okapi_wire::flags`]. `each` is called once for each with its number and how it ended, in order.
    ///
    /// # Errors
    /// [`BlockError`] if the puts as a whole failed; those `each` was called for are done.
    pub fn put_many(
        &self,
        puts: &[(PutAsk, &[u8])],
        put_flags: u16,
        each: impl FnMut(usize, Outcome),
    ) -> Result<(), BlockError> {
        stub((puts, put_flags, each))
    }

    /// The occupied blocks from `from` on, ascending. `detail` fills in lengths, checksums and generations.
    #[must_use]
    pub fn list(&self, from: Index, detail: bool) -> Blocks {
        stub((from, detail))
    }

    /// The runs of occupied blocks from `from` on, ascending.
    #[must_use]
    pub fn runs(&self, from: Index) -> Runs {
        stub(from)
    }
}
