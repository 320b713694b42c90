//! What author and witness are told of the world around them, and what they want done.

use crate::draw::{DrawBy, Rosters};
use alloc::vec::Vec;
use okapi_base::NodeId;
use okapi_base::machine::Moment;
use okapi_seal::SigningKey;
use okapi_wire::peer::entry::{EntryHeader, ForkProof, LogMessage};

/// The world as it is at a call.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The time.
    pub now: Moment,
    /// This node's key.
    pub key: &'a SigningKey,
    /// The member lists of late.
    pub rosters: &'a Rosters,
    /// Whether a node was heard lately.
    pub is_here: &'a dyn Fn(NodeId) -> bool,
    /// Whether a node is one that will come back: it is here, or away for no longer than is usual for it.
    pub is_counted_on: &'a dyn Fn(NodeId) -> bool,
    /// Whether witnesses are drawn by an entry's place alone. Only the simulator turns this off, to prove that its
    /// checkers notice.
    pub by_place: bool,
}

impl World<'_> {
    /// What the draw for an entry with this hash hangs on.
    pub(crate) const fn draw_by(&self, hash: okapi_base::Digest) -> DrawBy {
        if self.by_place { DrawBy::Place } else { DrawBy::Content(hash) }
    }

    /// Milliseconds since 1970.
    pub(crate) fn stamp(&self) -> u64 {
        u64::try_from(self.now.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl core::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("World").field("now", &self.now).field("list", self.rosters.version()).finish_non_exhaustive()
    }
}

/// Something to do. Keys of records begin with a byte that tells their kind; author and witness have spaces of their
/// own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Keep this value under this key, durably; `None` removes it.
    Keep(Vec<u8>, Option<Vec<u8>>),
    /// Send this.
    Send(NodeId, LogMessage),
    /// Send this once all that was to be kept up to now is durable.
    SendWhenKept(NodeId, LogMessage),
    /// Tell the author, by [`crate::Author::kept`], when all that was to be kept up to now is durable: its entries up
    /// to this sequence are, then.
    TellWhenKept(u64),
    /// The author of a log forked it.
    Forked(ForkProof),
    /// Others know entries of this author's log that it had forgotten: it was set back to a backup, and may have
    /// forgotten more than its log.
    Behind,
}

/// A kept record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a kept record of a log cannot be read; the records were damaged, restore from the recovery phrase")]
pub struct BadRecord;

/// A header with its hash.
pub(crate) type Hashed = (EntryHeader, okapi_base::Digest);
