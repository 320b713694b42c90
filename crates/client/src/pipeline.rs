//! Many frames in flight on one connection: for streams and for measuring.

use crate::client::stub;
use crate::fault::BlockError;
use crate::grid::Grid;
use okapi_wire::{GetAsk, Outcome, PutAsk};

/// A connection of one's own on which frames are asked without waiting for the answers to those before. Once warm it
/// allocates nothing. It does not connect again: after a broken link, make another.
#[derive(Debug)]
pub struct Pipeline(());

/// One frame asked by a [`Pipeline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) u32);

impl Grid {
    /// A pipeline on a connection of its own.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn pipeline(&self) -> Result<Pipeline, BlockError> {
        stub(())
    }
}

impl Pipeline {
    /// Asks for slices of blocks: at most 1,024, and what comes back must fit into one reply (8 MiB), or some end with
    /// [`okapi_wire::Status::NoCredit`].
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn submit_get(&mut self, asks: &[GetAsk]) -> Result<Ticket, BlockError> {
        stub(asks)
    }

    /// Asks for changes of blocks, each with its payload: at most 1,024, and at most 16 MiB with their descriptors of
    /// 32 bytes. Sent before this returns, without a copy of large payloads.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn submit_put(&mut self, puts: &[(PutAsk, &[u8])], put_flags: u16) -> Result<Ticket, BlockError> {
        stub((puts, put_flags))
    }

    /// Waits for the answer to a frame and calls `each` for each of its descriptors, in order.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn wait(&mut self, ticket: Ticket, each: impl FnMut(usize, Outcome, &[u8])) -> Result<(), BlockError> {
        stub((ticket, each))
    }

    /// Waits for whichever answer comes first; nothing if no frame is in flight.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn wait_any(&mut self, each: impl FnMut(usize, Outcome, &[u8])) -> Result<Option<Ticket>, BlockError> {
        stub(each)
    }

    /// Frames in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        stub(())
    }
}
