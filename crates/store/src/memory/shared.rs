//! What lets another process of this machine read a grid.

use okapi_base::BlockSize;
use okapi_base::map::{Layout, SEGMENTS_PER_PART, SegmentAt};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The memory files of one grid, open for reading alone, as they were at one moment.
///
/// A map is handed over in parts, because a link carries 16 descriptors at a time: the client asks for the part from
/// segment 0, then from [`Layout::to`] of what it got, until that is [`Layout::END`]; later, when its reader meets an
/// unknown segment, from that segment's number.
#[derive(Debug, Clone)]
pub struct SharedMap {
    block_size: BlockSize,
    index: Arc<OwnedFd>,
    epoch: u64,
    entries: u64,
    segments: Vec<(SegmentAt, Arc<OwnedFd>)>,
}

impl SharedMap {
    pub(super) fn new(
        block_size: BlockSize,
        index: Arc<OwnedFd>,
        epoch: u64,
        entries: u64,
        segments: Vec<(SegmentAt, Option<Arc<OwnedFd>>)>,
    ) -> Self {
        let segments = segments.into_iter().filter_map(|(at, fd)| Some((at, fd?))).collect();
        Self { block_size, index, epoch, entries, segments }
    }

    /// The part that tells of segments from number `from` on: its layout, to be sent in the reply, and its
    /// descriptors, to be sent in this order beside it.
    #[must_use]
    pub fn part(&self, from: u32) -> (Layout, Vec<BorrowedFd<'_>>) {
        let from = from.min(Layout::END);
        let mut rest = self.segments.iter().skip_while(|(at, _)| at.number < from);
        let named: Vec<_> = rest.by_ref().take(SEGMENTS_PER_PART).collect();
        let to = rest.next().map_or(Layout::END, |(next, _)| next.number);
        let ats: Vec<SegmentAt> = named.iter().map(|(at, _)| *at).collect();
        let layout = Layout::new(self.block_size.bytes(), self.epoch, self.entries, from, to, &ats);
        let fds = named.iter().map(|(_, fd)| fd.as_fd());
        (layout, std::iter::once(self.index.as_fd()).chain(fds).collect())
    }
}
