//! What a machine is told of its disk: features and the bytes of its configuration.

use virtio_bindings::bindings::virtio_blk as blk;
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// Queues that one disk may have, each with a thread and at most [`PIECE`](super::worker::PIECE) bytes.
pub const QUEUES_MAX: u16 = 16;
/// Entries of a queue.
pub(super) const QUEUE_MAX: u16 = 1024;
/// Data pieces of one request: what fits, with head and status, into the smallest queue that is usual.
pub(super) const SEGMENTS_MAX: u32 = 126;
/// Bytes of one such piece, so that no request is longer than [`REQUEST_MAX`].
pub(super) const SEGMENT_MAX: u32 = 512 << 10;
/// The longest request, in bytes.
pub(super) const REQUEST_MAX: u64 = 64 << 20;
/// Ranges that one request may discard or make zeros.
pub(super) const RANGES_MAX: u32 = 16;
/// What all sizes of the protocol are counted in, and what the machine takes for a block.
pub(super) const SECTOR: u64 = 512;
/// Machines write best in these, in bytes.
const PREFERRED: u64 = 4096;
/// Bytes of the configuration: all before what came with zoned disks.
const CONFIG: usize = 60;
/// The offset of the one byte of it that the machine may set: whether what is written may wait for a flush.
pub(super) const WRITE_BACK_AT: u32 = 32;

const _: () = assert!(SEGMENTS_MAX as u64 * SEGMENT_MAX as u64 <= REQUEST_MAX);

/// Whether `flag`, a number of a bit, is among `features`.
pub(super) fn has(features: u64, flag: u32) -> bool {
    features & 1 << flag != 0
}

/// What can be done with a disk.
pub(super) fn features(writable: bool) -> u64 {
    let always = [
        VIRTIO_F_VERSION_1,
        VIRTIO_RING_F_EVENT_IDX,
        VIRTIO_RING_F_INDIRECT_DESC,
        blk::VIRTIO_BLK_F_SIZE_MAX,
        blk::VIRTIO_BLK_F_SEG_MAX,
        blk::VIRTIO_BLK_F_BLK_SIZE,
        blk::VIRTIO_BLK_F_TOPOLOGY,
        blk::VIRTIO_BLK_F_FLUSH,
        blk::VIRTIO_BLK_F_CONFIG_WCE,
        blk::VIRTIO_BLK_F_MQ,
    ];
    let others: &[u32] = match writable {
        true => &[blk::VIRTIO_BLK_F_DISCARD, blk::VIRTIO_BLK_F_WRITE_ZEROES],
        false => &[blk::VIRTIO_BLK_F_RO],
    };
    always.iter().chain(others).fold(0, |all, flag| all | 1 << flag)
}

/// The configuration of a disk of so many bytes.
pub(super) fn config(size: u64, queues: u16, write_back: bool) -> [u8; CONFIG] {
    let range = u32::try_from(REQUEST_MAX / SECTOR).expect("a request is short");
    let mut bytes = [0; CONFIG];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &(size / SECTOR).to_le_bytes());
    put(8, &SEGMENT_MAX.to_le_bytes());
    put(12, &SEGMENTS_MAX.to_le_bytes());
    put(20, &(SECTOR as u32).to_le_bytes());
    // Blocks of 2^3 sectors, none of which is off; nothing smaller is written well, and nothing larger any better.
    put(24, &[(PREFERRED / SECTOR).ilog2() as u8, 0]);
    put(26, &((PREFERRED / SECTOR) as u16).to_le_bytes());
    put(WRITE_BACK_AT as usize, &[u8::from(write_back)]);
    put(34, &queues.to_le_bytes());
    // Discarding: how much in a range, how many ranges, and where one had best begin and end.
    put(36, &range.to_le_bytes());
    put(40, &RANGES_MAX.to_le_bytes());
    put(44, &((PREFERRED / SECTOR) as u32).to_le_bytes());
    // Making zeros: the same, and it may give up the room.
    put(48, &range.to_le_bytes());
    put(52, &RANGES_MAX.to_le_bytes());
    put(56, &[1]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_standard() {
        let mut expected = 0x0102_0304u64.to_le_bytes().to_vec();
        expected.extend([0, 0, 8, 0, 126, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0]);
        expected.extend([3, 0, 8, 0, 0, 0, 0, 0, 1, 0, 4, 0]);
        expected.extend([0, 0, 2, 0, 16, 0, 0, 0, 8, 0, 0, 0]);
        expected.extend([0, 0, 2, 0, 16, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(config(0x0102_0304 * 512 + 511, 4, true)[..], expected);
        assert_eq!(config(0, 1, false)[32], 0);
        assert_eq!(features(true), 0x1_3000_7E46);
        assert_eq!(features(false), 0x1_3000_1E66);
    }
}
