//! The node's part in a group: how it begins, and what its owner may ask of it.
//!
//! The visitors know no more of the group than [`GroupDoor`]. Whoever drives the peer stands behind it.

use crate::lock::LockError;
use crate::refusal::Refusal;
use okapi_base::{MemberId, NodeId};
use okapi_seal::MemberSecret;
use okapi_wire::Status;
use okapi_wire::message::GroupStatus;
pub use okapi_wire::message::group::NODE_NAME_MAX;
pub use okapi_wire::peer::ticket::{Ticket, is_address};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is to be called once everything put before lies safely with others, or never will.
pub type WhenSafe = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

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

    /// Calls `then` once everything put before this lies safely with others; at once if it does already, and with a
    /// refusal if it will not. Dropped uncalled, it is answered as if the node were stopping.
    fn when_safe(&self, then: WhenSafe);
}

/// How a node of a member begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// Which of the member's nodes it is: a number that no other node of the member ever had.
    pub number: u32,
    /// What people call it.
    pub name: String,
    /// Bytes of disk that it gives, both halves together.
    pub give: u64,
    /// Where it listens for other members.
    pub listen: Vec<SocketAddr>,
    /// Where others are to reach it, if that is elsewhere.
    pub advertise: Vec<String>,
    /// Where it stands: nodes of one site are lost together. Nothing: a site of its own.
    pub site: Option<u64>,
}

/// A node that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Founded {
    /// Its name.
    pub node: NodeId,
    /// Whose it is.
    pub member: MemberId,
}

/// Why a node did not begin.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The data directory cannot be had.
    #[error(transparent)]
    Data(#[from] LockError),
    /// It has an identity already.
    #[error("{} has an identity already: `okapi status` tells which; a second node needs a directory of its own", data.display())]
    Already {
        /// The data directory.
        data: PathBuf,
    },
    /// A file of the data directory.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// This version cannot do it yet.
    #[error("this version has no part in groups yet")]
    NotYet,
}

/// Whom a restored node asks first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreVia {
    /// The node that made this ticket.
    Ticket(Ticket),
    /// Whoever is at this address: a node of the group.
    Address(String),
}

/// Whether a data directory has an identity.
#[must_use]
pub fn is_founded(data: &Path) -> bool {
    data.join("group").exists()
}

/// Gives the node of a data directory an identity, in a group of its own. No node may be running there.
///
/// # Errors
/// [`FoundError`]; nothing has changed then.
pub fn found(_: &Path, _: &MemberSecret, _: &Founding) -> Result<Founded, FoundError> {
    Err(FoundError::NotYet)
}

/// Has the node that was just founded there get everything back from the group of `via` once it is started.
///
/// # Errors
/// [`FoundError`].
pub fn begin_restore(_: &Path, _: &RestoreVia) -> Result<(), FoundError> {
    Err(FoundError::NotYet)
}

impl Refusal {
    /// What a node without an identity says to all of them.
    pub(crate) fn no_group() -> Self {
        Status::NoGroup.into()
    }
}
