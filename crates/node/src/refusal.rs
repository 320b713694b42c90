//! Why something asked for was not done: a number for programs, words for people.

use okapi_base::Generation;
use okapi_store::{ReadError, WriteError};
use okapi_wire::{BodyError, Status};

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// The reason as a number.
    pub status: Status,
    /// The reason in words, with what it is about.
    pub text: String,
}

impl Refusal {
    /// A refusal in words of its own.
    pub(crate) fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// A record or block that is not at the expected generation.
    pub(crate) fn stale(what: &str, found: Generation) -> Self {
        Self::new(Status::Stale, format!("{what} is at generation {}; get it again and decide anew", found.0))
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::new(status, status.text())
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let status = if matches!(error, BodyError::TooLong { .. }) { Status::TooLong } else { Status::Malformed };
        Self::new(status, error.to_string())
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Self::new(read_status(&error), error.to_string())
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        Self::new(write_status(&error), error.to_string())
    }
}

/// The number of a failed read.
pub(crate) fn read_status(error: &ReadError) -> Status {
    match error {
        ReadError::Corrupted { .. } => Status::Corrupted,
        ReadError::Io { .. } => Status::Unreadable,
    }
}

/// The number of a failed write.
pub(crate) fn write_status(error: &WriteError) -> Status {
    match error {
        WriteError::Stale { .. } => Status::Stale,
        WriteError::PastBlock { .. } => Status::PastBlock,
        WriteError::Full { .. } => Status::Full,
        WriteError::Unreadable(error) => read_status(error),
        WriteError::Dropped { .. } => Status::UnknownGrid,
        WriteError::Broken(_) => Status::ReadOnly,
    }
}
