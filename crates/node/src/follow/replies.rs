//! What a follower answers.

use super::{Sent, Stream};
use okapi_grid::ask;
use okapi_wire::{Frame, Op, Status};

/// Why a connection must end: the other end answered one of our asks in a way that cannot be gone on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// A reply to nothing that was asked.
    #[error("a reply came to an ask that was never made (request {0})")]
    Unasked(u32),
    /// A follower refused what it was sent.
    #[error("the follower of grid `{grid}` could not take {what}: {why}")]
    Refused {
        /// The grid's name.
        grid: String,
        /// What it was sent.
        what: String,
        /// Its reason.
        why: String,
    },
}

impl Stream {
    /// Whether an ask with this number waits for its answer here; takes the answer if so.
    pub(crate) fn answered(&mut self, reply: &Frame<'_>) -> Option<Result<(), AskError>> {
        let asked = self.asked.remove(&reply.header.request)?;
        self.window -= asked.bytes;
        Some(self.judge(&asked.what, reply))
    }

    fn judge(&self, sent: &Sent, reply: &Frame<'_>) -> Result<(), AskError> {
        let refused =
            |what: String, why: String| AskError::Refused { grid: self.grid.definition.name.clone(), what, why };
        match sent {
            Sent::Puts(first, count) => {
                let what = || format!("{count} blocks from {first} on");
                let outcomes =
                    ask::outcomes(reply, Op::Put, *count).map_err(|error| refused(what(), error.to_string()))?;
                for (outcome, _) in outcomes {
                    if !matches!(outcome.status, Status::Ok | Status::Absent) {
                        return Err(refused(what(), outcome.status.to_string()));
                    }
                }
                Ok(())
            }
            Sent::Bind(record, sequence) => {
                let name = &record.info.name;
                match ask::accept(reply, Op::RecordBind) {
                    Ok(()) => Ok(()),
                    // It has changed since, and what it is now is still to come.
                    Err(ask::ReplyError::Refused { .. })
                        if !self.is_current(record) || self.grid.changes.newest_of_name(name).0 > *sequence =>
                    {
                        Ok(())
                    }
                    Err(error) => Err(refused(format!("the record `{name}`"), error.to_string())),
                }
            }
            Sent::Remove(name) => match ask::accept(reply, Op::RecordRemove) {
                Ok(()) | Err(ask::ReplyError::Refused { status: Status::UnknownRecord, .. }) => Ok(()),
                Err(error) => Err(refused(format!("the removal of the record `{name}`"), error.to_string())),
            },
            Sent::Mark => ask::accept(reply, Op::Mark).map_err(|error| refused("a mark".to_owned(), error.to_string())),
        }
    }
}
