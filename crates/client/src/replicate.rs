//! Replication: making one grid like another, once or for as long as wanted.

use crate::client::stub;
use crate::fault::{BlockError, Fault, GridError, RecordError};
use crate::grid::Grid;
use okapi_wire::message::Mark;

/// How far [`copy()`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Blocks compared so far.
    pub compared: u64,
    /// Blocks the source says it has in all.
    pub total: u64,
    /// Blocks moved so far.
    pub moved: u64,
    /// Bytes moved so far.
    pub moved_bytes: u64,
}

/// What [`copy()`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Blocks compared.
    pub compared: u64,
    /// Blocks moved.
    pub moved: u64,
    /// Bytes moved.
    pub moved_bytes: u64,
    /// Blocks deleted, because the source no longer has them.
    pub deleted: u64,
    /// Records bound.
    pub bound: u64,
    /// Records removed, because the source no longer has them.
    pub removed: u64,
    /// Times it began again after a broken link.
    pub resumed: u64,
}

/// Up to where a follower has everything: to be kept, and handed to [`follow`] to go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The epoch of the followed node; it changes when that starts anew.
    pub epoch: u64,
    /// The last change that arrived.
    pub sequence: u64,
}

/// Why replication ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplicateError {
    /// The grids do not fit together.
    #[error("grid `{from}` cannot be replicated to `{to}`: {why}")]
    Misfit {
        /// The source, with its node's address.
        from: String,
        /// The destination, likewise.
        to: String,
        /// What does not fit.
        why: String,
    },
    /// Listing or opening failed.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// Blocks could not be got or put.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A record could not be found, bound or removed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Following failed.
    #[error("following grid `{grid}` at {address} failed: {fault}")]
    Follow {
        /// The followed node.
        address: String,
        /// The followed grid.
        grid: String,
        /// Why.
        fault: Fault,
    },
}

/// Makes `to` hold what `from` holds: moves the blocks that differ, deletes those that are gone, then binds the records
/// over the same blocks. Begun again after a cut it moves only what is still missing; broken links are made anew as the
/// settings say. What changes at the source meanwhile may or may not arrive. When it returns all is durable.
///
/// # Errors
/// [`ReplicateError`].
pub fn copy(from: &Grid, to: &Grid, progress: &mut dyn FnMut(Progress)) -> Result<Report, ReplicateError> {
    progress(Progress::default());
    stub((from, to))
}

/// Follows `from`: has it send everything (or what changed since `position`), and then what changes, into `to`, where
/// it is durable before it counts. Connects again when a link breaks, as the settings say. `on_mark` is told every
/// mark after it holds (lag: `head - sequence`; `behind`: blocks still missing); `stop` is asked about ten times a
/// second and ends it with `true`. Returns where to go on from.
///
/// # Errors
/// [`ReplicateError`].
pub fn follow(
    from: &Grid,
    to: &Grid,
    position: Option<Position>,
    on_mark: &mut dyn FnMut(Position, &Mark),
    stop: &dyn Fn() -> bool,
) -> Result<Position, ReplicateError> {
    on_mark(Position::default(), &Mark { epoch: 0, sequence: 0, head: 0, swept: None, behind: 0 });
    stub((from, to, position, stop()))
}
