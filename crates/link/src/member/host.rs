//! What the links ask of the program above them, and what they tell it.

use crate::unix::UnixLink;
use okapi_base::NodeId;
use okapi_wire::peer::announce::Announcement;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The program above the links. Both calls come from the links' own threads and must not wait for anything.
pub trait Host: Send + Sync {
    /// What a node is to this one's group.
    fn standing(&self, node: &NodeId) -> Standing;

    /// Something happened.
    fn happened(&self, event: Event);
}

/// What a node is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It takes part.
    Member,
    /// Nobody has heard of it. It may ask to be taken in, and little else.
    Stranger,
    /// It took part once and never will again.
    Parted,
}

/// Something that happened on the links.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A letter came.
    Letter {
        /// Whose node sent it: its key is proven.
        from: NodeId,
        /// The letter.
        letter: Vec<u8>,
        /// What came with it; empty for most.
        payload: Arc<[u8]>,
        /// What the letter takes of the memory for received ones, given back when dropped.
        room: Room,
    },
    /// There is a new connection, in place of none or of another one: what was sent on that may be lost.
    Up {
        /// With which node.
        node: NodeId,
        /// Where it is.
        address: String,
    },
    /// There is none any more.
    Down {
        /// With which node.
        node: NodeId,
        /// Why, for people.
        why: String,
    },
    /// A node announced where it can be reached, or this node did. It is newer than what was known: keep it, and give it
    /// to [`MemberLinks::learn`](super::MemberLinks::learn) after the next start.
    Announced(Announcement),
    /// Another process, started earlier, runs with this node's identity: this one must stop before both write one log.
    Twin {
        /// Where it was heard.
        address: String,
        /// The same for people.
        said: String,
    },
    /// A node could not be dialled, or sent us away, in a way that people should see.
    Refused {
        /// Which node was wanted.
        node: NodeId,
        /// Where.
        address: String,
        /// Why, for people.
        why: String,
    },
    /// Another node's clock differs from this one's by more than a minute.
    ClockOff {
        /// Which node.
        node: NodeId,
        /// How far it is ahead of this one's; negative if behind.
        milliseconds: i64,
    },
    /// A node wants to speak the block protocol.
    Grid {
        /// Which node: its key is proven. The host decides what it may do.
        from: NodeId,
        /// The stream, as a link of kind `Tls` whose peer is that member.
        link: UnixLink,
    },
}

/// Memory for what was received. Whoever keeps it keeps others from sending.
#[derive(Debug)]
pub struct Room {
    letter: OwnedSemaphorePermit,
    payload: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(crate) fn of(letter: OwnedSemaphorePermit) -> Self {
        Self { letter, payload: None }
    }

    pub(crate) fn and(self, payload: OwnedSemaphorePermit) -> Self {
        Self { payload: Some(payload), ..self }
    }

    /// Bytes of it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.letter.num_permits() + self.payload.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}
