//! What answers the asks of the other end.

use crate::outbox::Hold;
use alloc::string::String;
use alloc::vec::Vec;
use okapi_base::{BlockSize, Generation, Index};
use okapi_wire::{Frame, Header, Listed, PutAsk, Run, Status};

/// Where the blocks and everything else are that the other end may ask for: a node's stores, a follower's copy, a
/// test's map.
pub trait Backend {
    /// The bytes of a block.
    type Payload: AsRef<[u8]>;

    /// The block size of an open grid.
    ///
    /// # Errors
    /// [`Status::UnknownGrid`], [`Status::NoHello`] and the like.
    fn grid(&mut self, handle: u32) -> Result<BlockSize, Status>;

    /// The block size of an open grid whose blocks are to be changed.
    ///
    /// # Errors
    /// As [`Backend::grid`], and [`Status::Forbidden`] where they may only be read.
    fn grid_to_put(&mut self, handle: u32) -> Result<BlockSize, Status> {
        self.grid(handle)
    }

    /// What to say of an ask about blocks that is refused as a whole, where the status does not say it all.
    fn words(&mut self, ask: &Header, status: Status) -> Option<String> {
        let _ = (ask, status);
        None
    }

    /// A block.
    fn get(&mut self, handle: u32, index: Index) -> Fetched<Self::Payload>;

    /// Says that these blocks are about to be got. Need not do anything.
    fn prefetch(&mut self, handle: u32, indexes: &[Index]) {
        let _ = (handle, indexes);
    }

    /// Changes a block; `payload` has been checked against its checksum, the lengths against the block size.
    fn put(&mut self, handle: u32, ask: &PutAsk, payload: &[u8], flags: u16) -> Stored;

    /// Appends the occupied blocks from `from` on, ascending, at most `limit`; whether there are more.
    ///
    /// # Errors
    /// A status if they cannot be listed.
    fn list(
        &mut self,
        handle: u32,
        from: Index,
        limit: usize,
        detail: bool,
        out: &mut Vec<Listed>,
    ) -> Result<bool, Status>;

    /// Appends the runs of occupied blocks from `from` on, ascending, at most `limit`; whether there are more.
    ///
    /// # Errors
    /// A status if they cannot be listed.
    fn runs(&mut self, handle: u32, from: Index, limit: usize, out: &mut Vec<Run>) -> Result<bool, Status>;

    /// Anything else: hello, grids, records, following, the node itself.
    fn control(&mut self, ask: &Frame<'_>, reply: &mut Reply<'_>) -> Control;
}

/// What a get found.
#[derive(Debug)]
pub enum Fetched<P> {
    /// Nothing there.
    Absent,
    /// The whole block.
    Block {
        /// Which put made it.
        generation: Generation,
        /// CRC-32C of all of it.
        crc: u32,
        /// Its bytes.
        payload: P,
    },
    /// A disk would have to be waited for: ask again from where waiting harms nobody.
    NotNow,
    /// It could not be read.
    Failed(Status),
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// How it ended.
    pub status: Status,
    /// The block's generation now.
    pub generation: Generation,
    /// Its length now, in bytes.
    pub length: u32,
    /// What the reply must wait for, if anything.
    pub hold: Option<Hold>,
}

impl Stored {
    /// A put that was not done.
    #[must_use]
    pub const fn refused(status: Status) -> Self {
        Self { status, generation: Generation::ABSENT, length: 0, hold: None }
    }
}

/// The reply to a control ask: a backend appends the body of its message to `body`, or sets `text` with a refusal.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The body.
    pub body: &'a mut Vec<u8>,
    /// What went wrong, in words; sent if the status is not ok.
    pub text: &'a mut String,
}

/// How a control ask ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// It is answered now.
    Done(Status),
    /// It is done, and answered once this is durable.
    Held(Hold),
    /// The backend keeps it and will see to the answer itself.
    Later,
    /// Answered now; after that the connection ends.
    Last(Status),
}
