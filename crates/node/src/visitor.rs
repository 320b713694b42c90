//! One connection's view of a node.

use okapi_base::{BlockSize, Index};
use okapi_grid::{Backend, Control, Fetched, Outbox, Reply, Stored};
use okapi_store::Payload;
use okapi_wire::{Frame, Listed, PutAsk, Run, Status};
use std::os::fd::OwnedFd;

/// One connection's view: open grids, leases, what is being followed. Dropped, its leases are released.
pub struct Visitor {}

/// A visitor's open grids, for a thread that may wait for disks: only for get and list.
pub struct PatientVisitor {}

/// Why a connection must end: the other end answered one of our asks in a way that cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// A reply to nothing that was asked.
    #[error("a reply came to an ask that was never made (request {0})")]
    Unasked(u32),
}

impl Visitor {
    /// Asks for the disk workers to answer: a backend for the same open grids that waits for disks (get and list).
    #[must_use]
    pub fn patient(&self) -> PatientVisitor {
        PatientVisitor {}
    }

    /// Writes what the visitor itself has to say (answers to what it kept for later, asks to a follower) while `room`
    /// bytes of the window are free.
    pub fn pump(&mut self, outbox: &mut Outbox<Payload>, room: usize) {
        let _ = (outbox, room);
    }

    /// Takes a reply from the other end to one of our asks.
    ///
    /// # Errors
    /// [`AskError`]: the connection must end.
    pub fn answered(&mut self, reply: &Frame<'_>) -> Result<(), AskError> {
        Err(AskError::Unasked(reply.header.request))
    }

    /// Whether the connection has said hello.
    #[must_use]
    pub fn has_said_hello(&self) -> bool {
        false
    }

    /// File descriptors to be sent together with the first bytes of the reply written last (a shared map's). Empty but
    /// after an `Op::Map` was answered with `Status::Ok`.
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        Vec::new()
    }
}

macro_rules! refuse_all {
    ($who:ty) => {
        impl Backend for $who {
            type Payload = Payload;

            fn grid(&mut self, _: u32) -> Result<BlockSize, Status> {
                Err(Status::NoHello)
            }
            fn get(&mut self, _: u32, _: Index) -> Fetched<Payload> {
                Fetched::Failed(Status::NoHello)
            }
            fn put(&mut self, _: u32, _: &PutAsk, _: &[u8], _: u16) -> Stored {
                Stored::refused(Status::NoHello)
            }
            fn list(&mut self, _: u32, _: Index, _: usize, _: bool, _: &mut Vec<Listed>) -> Result<bool, Status> {
                Err(Status::NoHello)
            }
            fn runs(&mut self, _: u32, _: Index, _: usize, _: &mut Vec<Run>) -> Result<bool, Status> {
                Err(Status::NoHello)
            }
            fn control(&mut self, _: &Frame<'_>, _: &mut Reply<'_>) -> Control {
                Control::Last(Status::NoHello)
            }
        }
    };
}
refuse_all!(Visitor);
refuse_all!(PatientVisitor);
