//! How long a reply can get, before it is made.

use okapi_base::Slice;
use okapi_base::limits::{DESCRIPTORS_MAX, REPLY_WINDOW};
use okapi_grid::Backend;
use okapi_wire::{Frame, GetAsk, HEADER_BYTES, Listed, Op, Outcome, flags};

/// Room for a reply of an operation that says nothing of its length.
const MESSAGE_ROOM: usize = 128 << 10;
/// Room for a page of grids or records.
const PAGE_ROOM: usize = 3 << 19;

/// Whether a frame is nothing for a reactor: details of a list may have to be read from the disk one by one.
pub(super) fn is_for_disks(frame: &Frame<'_>) -> bool {
    frame.header.op == Op::List as u8 && frame.header.flags & flags::DETAIL != 0
}

/// Bytes the reply to a frame may have at most.
pub(super) fn reply_room<B: Backend>(frame: &Frame<'_>, backend: &mut B) -> usize {
    let header = &frame.header;
    let count = usize::from(header.count);
    HEADER_BYTES
        + match header.operation() {
            Some(Op::Get) => {
                let credit = header.credit.min(REPLY_WINDOW) as usize;
                let described = count * Outcome::BYTES;
                if credit <= described {
                    return HEADER_BYTES + described;
                }
                let Ok(block) = backend.grid(header.grid) else { return HEADER_BYTES + described };
                let (asks, _) = frame.descriptors.as_chunks::<{ GetAsk::BYTES }>();
                let payloads = asks.iter().map(|ask| part_of(GetAsk::decode(ask).slice, block.bytes())).sum::<usize>();
                described + payloads.min(credit)
            }
            Some(Op::Put) => count * Outcome::BYTES,
            Some(Op::List | Op::Runs) => usize::from(DESCRIPTORS_MAX) * Listed::BYTES,
            Some(Op::GridList | Op::RecordList) => PAGE_ROOM,
            Some(Op::Ping) => header.body as usize,
            _ => MESSAGE_ROOM,
        }
}

fn part_of(slice: Slice, block: u32) -> usize {
    slice.within(block).len()
}
