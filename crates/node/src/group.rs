//! The node's part in a group: how it begins, and what its owner may ask of it.
//!
//! The visitors know no more of the group than [`GroupDoor`]. Whoever drives the peer stands behind it.

mod carrier;
mod clock;
mod driver;
pub(crate) mod founding;
mod keeper;
pub(crate) mod links;
pub(crate) mod neighbours;
pub(crate) mod pace;
mod records;
mod report;
mod roster;
mod route;
pub(crate) mod running;
mod segments;
mod tend;
#[cfg(test)]
pub(crate) mod tests;
mod workers;
mod yard;

pub(crate) use driver::short;
pub use founding::{
    FoundError, Founded, Founding, GIVE_MIN, Gift, GiftError, NAME_MAX, begin_restore, change_restore, found,
    pending_restore,
};
pub use roster::{Enrolled, Roster};
pub use running::GroupError;

use crate::refusal::Refusal;
use okapi_base::NodeId;
use okapi_link::Link;
use okapi_wire::Status;
pub use okapi_wire::message::Route;
pub use okapi_wire::message::group::NODE_NAME_MAX;
use okapi_wire::message::{DeedPage, DeedsOf, GroupStatus, ShardPart, ShardRead};
use okapi_wire::peer::ticket::{PREFIX, TicketError};
pub use okapi_wire::peer::ticket::{Ticket, is_address};
use std::path::Path;
use std::time::Duration;

/// What programs are told first while a restore is under way.
pub(crate) const COMING_BACK: &str = "this node's data is still coming back";

/// What is to be called once everything put before lies safely with others, or never will.
pub type WhenSafe = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// The way to another member's node: joins a program's link to it. Takes the link, the bytes that came from it already,
/// and what is to be dropped when the last byte has passed.
pub type Onward = Box<dyn FnOnce(Box<dyn Link>, Vec<u8>, Box<dyn Send>) + Send>;

/// Where a route leads.
pub struct Way {
    /// The way there.
    pub onward: Onward,
    /// As of when, in milliseconds since 1970, where the node is away and it leads to what others hold of it.
    pub as_of: Option<u64>,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").field("as_of", &self.as_of).finish_non_exhaustive()
    }
}

/// What is to be called once a route leads somewhere, or nowhere.
pub type Routed = Box<dyn FnOnce(Result<Way, Refusal>) + Send>;

/// The way to whoever drives the peer. Called on a thread of its own, one ask after the other, and never on one that
/// serves connections; so each may take a moment, but must not wait for other members.
pub trait GroupDoor: Send + Sync {
    /// How the node stands.
    fn status(&self) -> GroupStatus;

    /// Makes a ticket that opens the group for `lifetime`: its text, and when it ceases to, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Refusal`] if the node may not invite anybody.
    fn invite(&self, lifetime: Duration) -> Result<(String, u64), Refusal>;

    /// Begins to join the group of a ticket; the status tells how it goes on.
    ///
    /// # Errors
    /// [`Refusal`] if it cannot even begin: no such ticket, one that has expired, a node that is in a group with others.
    fn join(&self, ticket: &str) -> Result<(), Refusal>;

    /// Begins to leave the group: once what is held for others lies elsewhere, or `now`.
    ///
    /// # Errors
    /// [`Refusal`] if there is nothing to leave.
    fn leave(&self, now: bool) -> Result<(), Refusal>;

    /// Gives so many bytes of disk from now on, both halves together. Durable when this returns.
    ///
    /// # Errors
    /// [`Refusal`] if more is used already, or the disk has not so much.
    fn give(&self, bytes: u64) -> Result<(), Refusal>;

    /// Counts a node as lost for good, so that what it held is repaired at once.
    ///
    /// # Errors
    /// [`Refusal`] if it is no node of the group, or is here.
    fn lost(&self, node: NodeId) -> Result<(), Refusal>;

    /// Finds the node that a route is to lead to, dials it, and calls `then` with the way there, or why there is none.
    /// Dropped uncalled, it is answered as if the node were stopping.
    fn route(&self, wanted: &Route, then: Routed) {
        let _ = wanted;
        then(Err(Status::Unsupported.into()));
    }

    /// The deeds that this node has of another's segments: a page of them.
    ///
    /// # Errors
    /// [`Refusal`] if it takes no part.
    fn deeds_of(&self, wanted: &DeedsOf) -> Result<DeedPage, Refusal> {
        let _ = wanted;
        Err(Status::Unsupported.into())
    }

    /// A part of a shard that this node holds.
    ///
    /// # Errors
    /// [`Refusal`] if it holds none such.
    fn read_shard(&self, wanted: &ShardRead) -> Result<ShardPart, Refusal> {
        let _ = wanted;
        Err(Status::Unsupported.into())
    }

    /// Calls `then` once everything put before this lies safely with others; at once if it does already, and with a
    /// refusal if it will not. Dropped uncalled, it is answered as if the node were stopping.
    fn when_safe(&self, then: WhenSafe);
}

/// Whom a restored node asks first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreVia {
    /// The node that made this ticket.
    Ticket(Ticket),
    /// Whoever is at this address: a node of the group.
    Address(String),
}

impl RestoreVia {
    /// A ticket, or an address.
    ///
    /// # Errors
    /// [`TicketError`] of what looks like a ticket and is none.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        if text.trim().to_ascii_lowercase().starts_with(PREFIX) {
            return Ticket::parse(text).map(Self::Ticket);
        }
        Ok(Self::Address(text.trim().to_owned()))
    }

    fn text(&self) -> String {
        match self {
            Self::Ticket(ticket) => ticket.to_text(),
            Self::Address(address) => address.clone(),
        }
    }
}

/// Whether a data directory has an identity.
#[must_use]
pub fn is_founded(data: &Path) -> bool {
    data.join(founding::IDENTITY_FILE).exists()
}

impl Refusal {
    /// What a node without an identity says to all of them.
    pub(crate) fn no_group() -> Self {
        Status::NoGroup.into()
    }
}
