//! Replication: making one grid like another, once or for as long as wanted.

mod copy;
mod follow;
mod records;

use crate::fault::{BlockError, Fault, GridError, RecordError};
use crate::grid::Grid;

pub use copy::{Progress, Report, copy};
pub use follow::{Position, follow};

/// Why replication ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplicateError {
    /// The grids do not fit together.
    #[error("grid {from} cannot be replicated to {to}: {why}")]
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

impl ReplicateError {
    /// Why it failed, unless the grids do not fit together.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Misfit { .. } => None,
            Self::Grid(error) => Some(&error.fault),
            Self::Block(error) => Some(error.fault()),
            Self::Record(error) => Some(&error.fault),
            Self::Follow { fault, .. } => Some(fault),
        }
    }
}

/// Makes sure that blocks of the one are blocks of the other, and that they are not the same.
fn check(from: &Grid, to: &Grid) -> Result<(), ReplicateError> {
    let name = |grid: &Grid| format!("`{}` at {}", grid.name(), grid.address());
    let misfit = |why: String| Err(ReplicateError::Misfit { from: name(from), to: name(to), why });
    let (size, other) = (from.block_size(), to.block_size());
    if size != other {
        return misfit(format!("their blocks are of {size:?} and {other:?}; make a grid with blocks of {size:?}"));
    }
    if from.client().welcome().node == to.client().welcome().node && from.info().id == to.info().id {
        return misfit("they are the same grid".to_owned());
    }
    Ok(())
}
