//! The trait every store engine fulfils.

use crate::payload::Payload;
use okapi_base::{BlockSize, Durability, Generation, GridId, Index, Ticket};
use okapi_seal::GridKey;
use std::sync::Arc;

/// A whole store: any number of grids.
///
/// All methods may be called from any thread. Writes of one engine are in one order; [`Ticket`]s number it.
pub trait Engine: Send + Sync {
    /// The engine's name, as settings and `status` show it.
    fn name(&self) -> &'static str;

    /// Opens a grid, making it if it is not there.
    ///
    /// # Errors
    /// [`WriteError`] if the store cannot take it.
    fn open_grid(&self, id: GridId, shape: Shape) -> Result<Arc<dyn Blocks>, WriteError>;

    /// Drops a grid and everything in it. Durable when this returns; space comes back in the background.
    ///
    /// # Errors
    /// [`WriteError`] if the store cannot say so durably.
    fn drop_grid(&self, id: GridId) -> Result<(), WriteError>;

    /// Seals what is put into a grid and its companion from now on under a key of the grid that others can be given, with
    /// at least this number, and what is there already in the background. None: this engine has no such keys.
    ///
    /// # Errors
    /// [`WriteError`] if the store cannot: too many grids have such keys, or this one has had too many.
    fn give_key(&self, id: GridId, at_least: u16) -> Result<Option<GridKey>, WriteError> {
        let _ = (id, at_least);
        Ok(None)
    }

    /// Up to which write everything is durable.
    ///
    /// # Errors
    /// [`Broken`] once the store has failed: nothing that was not durable then ever will be.
    fn durable(&self) -> Result<Ticket, Broken>;

    /// Sets what to call, from any thread, whenever [`Engine::durable`] has something new to say. It must be quick.
    fn watch(&self, watcher: Watcher);

    /// Makes everything written so far durable, and waits for it.
    ///
    /// # Errors
    /// [`WriteError`] if that failed.
    fn flush(&self) -> Result<(), WriteError>;

    /// Reads and verifies everything, handing each damage found to `report`, and counts.
    fn verify(&self, report: &mut dyn FnMut(Damage)) -> Verified;

    /// Compacts all that can be compacted now, and says what that gained.
    ///
    /// # Errors
    /// [`WriteError`] if a write failed on the way; nothing is lost by that.
    fn compact(&self) -> Result<Compacted, WriteError>;

    /// What the store holds and has done since it was opened.
    fn usage(&self) -> StoreUsage;
}

/// Called when durability has moved on.
pub type Watcher = Arc<dyn Fn() + Send + Sync>;

/// One grid of a store.
pub trait Blocks: Send + Sync {
    /// A block's bytes.
    ///
    /// # Errors
    /// [`ReadError`] if it is there and cannot be read; other blocks are not touched by that.
    fn get(&self, index: Index, patience: Patience) -> Result<Got, ReadError>;

    /// Says that these blocks are about to be got, one after the other, so that what lies in memory can be on its way
    /// while the first of them is answered. Changes nothing, and may do nothing.
    fn prefetch(&self, indexes: &[Index]) {
        let _ = indexes;
    }

    /// Changes a block. The change is seen by every later `get` when this returns, and durable when
    /// [`Engine::durable`] has reached the returned ticket.
    ///
    /// # Errors
    /// [`WriteError`]; the block is then as it was.
    fn put(&self, index: Index, change: &Change<'_>) -> Result<Placed, WriteError>;

    /// The occupied blocks from `from` on in ascending order, at most `limit`, appended to `out`.
    /// Without `detail` only `index` is filled in; with it the store may have to read for each.
    ///
    /// # Errors
    /// [`ReadError`] if the store cannot tell.
    fn list(&self, from: Index, limit: usize, detail: bool, out: &mut Vec<Listed>) -> Result<(), ReadError>;

    /// The first occupied block at or after `from`.
    fn next_occupied(&self, from: Index) -> Option<Index>;

    /// What the grid holds.
    fn usage(&self) -> GridUsage;

    /// The descriptors of the memory that lets another process on this machine read this grid, and where in them
    /// what lies; nothing where the engine cannot share.
    fn shared_map(&self) -> Option<crate::memory::SharedMap> {
        None
    }
}

/// What a grid is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The capacity of each block.
    pub block_size: BlockSize,
    /// How safe an acknowledged put is.
    pub durability: Durability,
}

/// Whether a get may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Answer from memory (or the page cache) or say [`Got::NotNow`].
    Hurried,
    /// Wait for the disk.
    Waiting,
}

/// The answer to a get.
#[derive(Debug)]
pub enum Got {
    /// Nothing is stored there.
    Absent,
    /// The whole block.
    Block(Block),
    /// The disk must be read: ask again with [`Patience::Waiting`] where waiting harms nobody.
    NotNow,
}

/// A block as stored.
#[derive(Debug)]
pub struct Block {
    /// Which put made it.
    pub generation: Generation,
    /// CRC-32C of the whole payload, as its writer computed it.
    pub crc: u32,
    /// The bytes, all of them.
    pub payload: Payload,
}

/// A change to one block.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// What to do.
    pub edit: Edit<'a>,
    /// Only if the block's generation is this one ([`Generation::ABSENT`]: only if it is not there).
    pub expect: Option<Generation>,
    /// The caller waits for no disk after this put: it will make a later one durable, and with it all before.
    pub relaxed: bool,
}

/// What a change does to a block.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    /// Replaces the whole block. Empty bytes delete it.
    Whole {
        /// The new content, at most the block size.
        bytes: &'a [u8],
        /// CRC-32C of `bytes`, as their writer computed it; already checked against them.
        crc: u32,
    },
    /// Writes over a part, extending the block (with zeros before it if need be). Empty bytes change nothing.
    Slice {
        /// Where the part begins.
        offset: u32,
        /// The part's new content; offset and length together at most the block size.
        bytes: &'a [u8],
    },
    /// Writes zeros over a part, extending the block if need be.
    Zeroes {
        /// Where the part begins.
        offset: u32,
        /// Bytes to zero.
        length: u32,
    },
    /// Cuts the block to a length, or extends it with zeros. To zero bytes deletes it.
    Truncate {
        /// The new length.
        length: u32,
    },
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The block's generation now; [`Generation::ABSENT`] if it was deleted or never there.
    pub generation: Generation,
    /// The block's length now, in bytes.
    pub length: u32,
    /// When it is durable. [`Ticket::NOW`] where the grid's durability asks for no waiting.
    pub ticket: Ticket,
}

/// One occupied block, as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub index: Index,
    /// Bytes stored.
    pub length: u32,
    /// CRC-32C of them.
    pub crc: u32,
    /// Which put made it.
    pub generation: Generation,
}

/// What a grid holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GridUsage {
    /// Occupied blocks.
    pub blocks: u64,
    /// Bytes of their payloads (a durable engine may count whole storage units of 64 bytes).
    pub bytes: u64,
}

/// What a store holds and has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreUsage {
    /// Bytes live blocks take, headers and all.
    pub live_bytes: u64,
    /// Bytes taken from the disk or from memory.
    pub held_bytes: u64,
    /// Bytes the store may take at most; 0 where only the disk says.
    pub limit_bytes: u64,
    /// Segments, or what the engine has in their place.
    pub segments: u64,
    /// Payload bytes put.
    pub put_bytes: u64,
    /// Bytes written to disk.
    pub written_bytes: u64,
    /// Bytes of live records that compaction has moved.
    pub moved_bytes: u64,
    /// Bytes given back by compaction.
    pub freed_bytes: u64,
    /// Segments in which something of a grid with a key of its own does not lie under that yet.
    pub moving: u64,
}

/// What a verification has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Segments read (or what the engine has in their place).
    pub segments: u64,
    /// Records read, live or not.
    pub records: u64,
    /// Live blocks verified.
    pub blocks: u64,
    /// Bytes of payload verified.
    pub bytes: u64,
    /// Damages reported.
    pub damages: u64,
}

/// One thing found damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The live block that is lost by it, if one is.
    pub block: Option<(GridId, Index)>,
    /// Where the damage lies: a file and an offset, or what the engine has.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

/// What a compaction gained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Segments read and removed.
    pub segments: u64,
    /// Bytes of live records moved.
    pub moved_bytes: u64,
    /// Bytes held before.
    pub held_before: u64,
    /// Bytes held after.
    pub held_after: u64,
}

/// Why a block could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The record is there and is not what was written.
    #[error("block {index} of grid {} is corrupted at {place}: {what}; run `okapi fsck` to see what else is", grid.0)]
    Corrupted {
        /// The block's grid.
        grid: GridId,
        /// The block.
        index: Index,
        /// File and offset.
        place: String,
        /// What is wrong there.
        what: String,
    },
    /// The operating system could not read it.
    #[error("block {index} of grid {} could not be read at {place}: {source}", grid.0)]
    Io {
        /// The block's grid.
        grid: GridId,
        /// The block.
        index: Index,
        /// File and offset.
        place: String,
        /// The system's own words.
        source: std::io::Error,
    },
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The block's generation is not the expected one.
    #[error("block {index} is at generation {}, not the expected one; get it again and decide anew", found.0)]
    Stale {
        /// The block.
        index: Index,
        /// The generation it has.
        found: Generation,
        /// Its length in bytes.
        length: u32,
    },
    /// The change would reach past the end of a block.
    #[error("block {index} would be {wanted} bytes long, and the grid's blocks have {capacity}")]
    PastBlock {
        /// The block.
        index: Index,
        /// The length it would need.
        wanted: u64,
        /// The grid's block size in bytes.
        capacity: u32,
    },
    /// The store has no room.
    #[error("no room: {what}; delete something, or give the store more")]
    Full {
        /// Which limit was met.
        what: String,
    },
    /// The grid was dropped while it was open.
    #[error("grid {} has been dropped; nothing can be put there any more", grid.0)]
    Dropped {
        /// The grid.
        grid: GridId,
    },
    /// The block's present content is needed and cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The store has failed and takes no more writes.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Why a store takes no more writes. Once broken, always broken: a failed fsync is never tried again, because the
/// kernel may already have dropped the pages it could not write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store is read-only: {why}; what was acknowledged is safe, mend the disk and start again")]
pub struct Broken {
    /// What failed, in words.
    pub why: String,
}
