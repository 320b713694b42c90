//! Every limit of the block protocol and the store, with its unit.
//!
//! At a limit Okapi refuses or slows down; it never allocates on. Relations between limits are asserted when this
//! crate is compiled.

/// Bits of a block index.
pub const INDEX_BITS: u32 = 48;
/// The largest block index.
pub const INDEX_MAX: u64 = (1 << INDEX_BITS) - 1;
/// The smallest block size, in bytes.
pub const BLOCK_SIZE_MIN: u32 = 512;
/// The largest block size, in bytes.
pub const BLOCK_SIZE_MAX: u32 = 1 << 20;
/// The block size of a grid that was not told another, in bytes.
pub const BLOCK_SIZE_DEFAULT: u32 = 64 << 10;
/// Descriptors in one frame.
pub const DESCRIPTORS_MAX: u16 = 1024;
/// Bytes after a frame's header: descriptors and payloads together.
pub const BODY_MAX: u32 = 16 << 20;
/// Bytes of replies one connection may have waiting to be sent before its peer's further asks are left unread.
pub const REPLY_WINDOW: u32 = 8 << 20;
/// Frames one connection may have asked and not yet had answered.
pub const FRAMES_IN_FLIGHT_MAX: u32 = 256;
/// Bytes of a grid's name.
pub const GRID_NAME_MAX: usize = 64;
/// Bytes of a record's name.
pub const RECORD_NAME_MAX: usize = 1024;
/// Bytes of a record's content type.
pub const CONTENT_TYPE_MAX: usize = 128;
/// Extents (runs of blocks) one record may consist of.
pub const EXTENTS_MAX: usize = 4096;
/// Records in one grid: their names are kept in memory.
pub const RECORDS_MAX: usize = 1 << 20;
/// Grids on one node.
pub const GRIDS_MAX: usize = 4096;
/// Connections one node accepts at a time.
pub const CONNECTIONS_MAX: usize = 4096;
/// Bytes an idle connection may cost the node.
pub const IDLE_CONNECTION_MAX: usize = 16 << 10;
/// Payloads up to this many bytes are copied into a connection's send buffer; larger ones are lent to it.
pub const COPY_MAX: usize = 4 << 10;

const _: () = assert!(BLOCK_SIZE_MIN.is_power_of_two() && BLOCK_SIZE_MAX.is_power_of_two());
const _: () = assert!(BLOCK_SIZE_DEFAULT >= BLOCK_SIZE_MIN && BLOCK_SIZE_DEFAULT <= BLOCK_SIZE_MAX);
// A frame can carry at least one whole block and its descriptors, and so can a reply.
const _: () = assert!(BODY_MAX as u64 >= BLOCK_SIZE_MAX as u64 + DESCRIPTORS_MAX as u64 * 32);
const _: () = assert!(REPLY_WINDOW >= 2 * BLOCK_SIZE_MAX);
const _: () = assert!(REPLY_WINDOW <= BODY_MAX);
