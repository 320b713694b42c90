//! Limits of disks, with their units.

use okapi_base::BlockSize;
use okapi_base::limits::{BLOCK_SIZE_DEFAULT, INDEX_BITS};
use std::time::Duration;

/// Bits of a disk's number.
pub const NUMBER_BITS: u32 = 20;
/// Bits of a block's number within its disk.
pub const BLOCK_BITS: u32 = INDEX_BITS - NUMBER_BITS;
/// The highest number of a disk; 0 is none.
pub const DISKS_MAX: u32 = (1 << NUMBER_BITS) - 1;
/// Blocks of one disk.
pub const BLOCKS_MAX: u64 = 1 << BLOCK_BITS;
/// Bytes of a disk's name.
pub const NAME_MAX: usize = 128;
/// Disks from one without a parent to the youngest of its descendants, both counted.
pub const CHAIN_MAX: usize = 64;
/// Disks made in one go.
pub const BATCH_MAX: usize = 4096;
/// Disks are whole numbers of these, in bytes: what guests take for a sector.
pub const SECTOR: u64 = 512;
/// The block size of disks that are written to: a guest's page, so that no write of one can be torn.
pub const DIFF_BLOCK: BlockSize = BlockSize::new(4 << 10).expect("a power of two");
/// The block size of disks that are imported to be shared.
pub const BASE_BLOCK: BlockSize = BlockSize::new(64 << 10).expect("a power of two");
/// The block size of the grid they are in.
pub const GRID_BLOCK: BlockSize = BlockSize::DEFAULT;
/// Bytes of what parents show that are kept in memory, and of what buffers hold, unless another limit is asked for.
pub const CACHE_DEFAULT: usize = 256 << 20;
/// Disks of which what shows through them is kept in memory when nobody built on them is open any more.
pub const VIEWS_KEPT: usize = 8;
/// The part of the memory for buffers, one in so many, that may be written and not durable before writers have to wait.
pub const BUFFER_PINNED_PART: usize = 2;
/// How long what is written waits in memory, so that what is written again is put once.
pub const DRAIN_EVERY: Duration = Duration::from_secs(1);
/// How often it is made durable although nobody asked: once in so many of those.
pub const SYNC_EVERY: u32 = 5;
/// Bytes that are put together.
pub const DRAIN_BYTES: usize = 4 << 20;
/// Groups of 16 blocks up to which a flush puts what is dirty durably at once, rather than first and then all of it.
pub const FLUSHED_AT_ONCE: usize = 64;
/// Ranges that are zeroed between two flushes, at most.
pub const ZEROED_MAX: usize = 1 << 14;
/// How long a lease holds after it was renewed.
pub const LEASE: Duration = Duration::from_secs(60);
/// Time between two renewals.
pub const LEASE_RENEWED: Duration = Duration::from_secs(15);
/// Occupied blocks of one disk that are listed with their lengths when it is opened, to tell zeros from data. Of more it
/// is only known that they are there.
pub const LISTED_MAX: u64 = 1 << 20;

const _: () = assert!(BASE_BLOCK.bytes() <= BLOCK_SIZE_DEFAULT);
const _: () = assert!(LEASE_RENEWED.as_millis() * 3 < LEASE.as_millis());
