//! What a reactor needs of whatever answers: the [`crate::Host`] with its visitors, or in tests something that can be
//! made to stall, wait and break at will.

use crate::group::Onward;
use crate::host::Host;
use crate::visitor::{PatientVisitor, Visitor};
use okapi_base::Ticket;
use okapi_grid::{Backend, Outbox};
use okapi_link::Facts;
use okapi_store::Payload;
use okapi_store::engine::Broken;
use okapi_wire::Frame;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Has a connection looked at soon; may be called from any thread.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// What all connections share.
pub(crate) trait Hosting: Send + Sync + Sized + 'static {
    /// One connection's view.
    type Visitor: Visiting;

    /// A visitor for a new connection.
    fn visitor(self: &Arc<Self>, facts: &Facts, wake: Wake) -> Self::Visitor;

    /// Up to which ticket an engine is durable.
    fn durable(&self, engine: u8) -> Result<Ticket, Broken>;

    /// How many engines there are; their numbers are below.
    fn engines(&self) -> u8;
}

/// One connection's view of the host. What it says no to at once, its patient twin says where waiting harms nobody.
pub(crate) trait Visiting: Backend<Payload = Payload> + Send + 'static {
    /// The one that may wait for disks.
    type Patient: Backend<Payload = Payload> + Send + 'static;

    /// A backend of the same open grids that waits for disks; only ever asked for gets and lists.
    fn patient(&self) -> Self::Patient;

    /// Writes what the visitor itself has to say, at most about `room` bytes.
    fn pump(&mut self, outbox: &mut Outbox<Payload>, room: usize);

    /// A reply to one of the visitor's own asks; in words what is wrong with it.
    fn answered(&mut self, reply: &Frame<'_>) -> Result<(), String>;

    /// Whether the connection has begun as it must.
    fn has_said_hello(&self) -> bool;

    /// Whether answers are still to be made, or to be written.
    fn owes(&self) -> bool;

    /// Where the connection goes on to after a route that was not refused.
    fn take_onward(&mut self) -> Option<Onward>;

    /// The descriptors that go with the reply just written, if any.
    fn take_fds(&mut self) -> Vec<OwnedFd>;
}

impl Hosting for Host {
    type Visitor = Visitor;

    fn visitor(self: &Arc<Self>, facts: &Facts, wake: Wake) -> Visitor {
        Host::visitor(self, facts, wake)
    }

    fn durable(&self, engine: u8) -> Result<Ticket, Broken> {
        Host::durable(self, engine)
    }

    fn engines(&self) -> u8 {
        Host::engines(self)
    }
}

impl Visiting for Visitor {
    type Patient = PatientVisitor;

    fn patient(&self) -> PatientVisitor {
        Visitor::patient(self)
    }

    fn pump(&mut self, outbox: &mut Outbox<Payload>, room: usize) {
        Visitor::pump(self, outbox, room);
    }

    fn answered(&mut self, reply: &Frame<'_>) -> Result<(), String> {
        Visitor::answered(self, reply).map_err(|error| error.to_string())
    }

    fn has_said_hello(&self) -> bool {
        Visitor::has_said_hello(self)
    }

    fn owes(&self) -> bool {
        Visitor::owes(self)
    }

    fn take_onward(&mut self) -> Option<Onward> {
        Visitor::take_onward(self)
    }

    fn take_fds(&mut self) -> Vec<OwnedFd> {
        Visitor::take_fds(self)
    }
}
