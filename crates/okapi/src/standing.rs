//! How a node stands in its group, as people and scripts are shown it: words, bars and JSON. The commands put them on
//! the screen.

mod json;
#[cfg(test)]
pub(crate) mod pretend;
mod words;

pub(crate) use json::{json, member_json};
pub(crate) use words::{
    Tally, ago, bar, days, grade, presence, rates, short, state, state_tone, survives, title, when,
};

use crate::failure::Failure;
use okapi_client::group::GroupStatus;
use okapi_client::{Client, Status};

/// How the node stands, or nothing if it has no identity, or is older than groups.
///
/// # Errors
/// [`Failure`] if it cannot be asked.
pub(crate) fn of(client: &Client) -> Result<Option<GroupStatus>, Failure> {
    match client.group_status() {
        Ok(status) => Ok(Some(status)),
        Err(error) if matches!(error.status(), Some(Status::NoGroup | Status::UnknownOp)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
