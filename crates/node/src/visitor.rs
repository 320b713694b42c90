//! One connection's view of a node.

mod away;
mod control;
mod grants;
mod group;
mod handles;
mod route;

use crate::follow::Stream;
use crate::grid::Grid;
use crate::group::Onward;
use crate::host::Host;
use crate::refusal::Refusal;
use handles::Handles;
use okapi_base::{BlockSize, Index, NodeId};
use okapi_grid::outbox::reply_header;
use okapi_grid::{Backend, Control, Fetched, Outbox, Reply, Stored};
use okapi_link::{Facts, Kind, Peer};
use okapi_store::{Patience, Payload};
use okapi_wire::message::Right;
use okapi_wire::{Frame, HEADER_BYTES, Header, Limits, Listed, Op, PutAsk, Run, Status};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub use crate::follow::AskError;

/// Answers one connection may have in the making.
const LATER_MAX: usize = 256;

/// One connection's view: open grids, leases, what is being followed. Dropped, its leases are released.
pub struct Visitor {
    host: Arc<Host>,
    id: u64,
    link: Kind,
    /// Whether the link itself proves that the other end is the node's owner.
    proven: bool,
    /// The member's node at the other end, if the link proves that one is.
    node: Option<NodeId>,
    /// What the hello said; nothing before it.
    access: Option<Access>,
    handles: Handles,
    streams: Vec<Stream>,
    requests: u32,
    later: Arc<Later>,
    fds: Vec<OwnedFd>,
    /// Where the connection goes on to.
    onward: Arc<Mutex<Option<Onward>>>,
}

/// What a connection may do.
#[derive(Debug, Clone, Copy)]
struct Access {
    owner: bool,
    limits: Limits,
}

/// Answers that are made in the background.
struct Later {
    state: Mutex<LaterState>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct LaterState {
    /// Answers not yet written, made or not.
    pending: usize,
    made: VecDeque<(Header, Result<Vec<u8>, Refusal>)>,
}

/// A visitor's open grids, for a thread that may wait for disks: only for get, list and runs.
pub struct PatientVisitor {
    host: Arc<Host>,
    node: Option<NodeId>,
    handles: Handles,
    ready: Result<(), Status>,
}

impl Visitor {
    pub(crate) fn new(host: Arc<Host>, id: u64, facts: &Facts, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        let proven = match facts.peer {
            Peer::Same => true,
            Peer::User(user) => user == 0 || user == rustix::process::geteuid().as_raw(),
            Peer::Unknown | Peer::Member(_) => false,
        };
        let node = if let Peer::Member(node) = facts.peer { Some(node) } else { None };
        Self {
            host,
            id,
            link: facts.kind,
            proven,
            node,
            access: None,
            handles: Handles::of(node),
            streams: Vec::new(),
            requests: 0,
            later: Arc::new(Later { state: Mutex::default(), wake }),
            fds: Vec::new(),
            onward: Arc::default(),
        }
    }

    /// Asks for the disk workers to answer: a backend for the same open grids that waits for disks (get, list, runs).
    #[must_use]
    pub fn patient(&self) -> PatientVisitor {
        let (host, handles) = (Arc::clone(&self.host), self.handles.clone());
        PatientVisitor { host, node: self.node, handles, ready: self.ready() }
    }

    /// Writes what the visitor itself has to say (answers to what it kept for later, asks to a follower) while `room`
    /// bytes of the window are free.
    pub fn pump(&mut self, outbox: &mut Outbox<Payload>, room: usize) {
        let full = outbox.waiting() + room;
        loop {
            let mut later = self.later.state.lock();
            let Some((_, result)) = later.made.front() else { break };
            let size = HEADER_BYTES + result.as_ref().map_or(512, Vec::len);
            if outbox.waiting() + size > full {
                return;
            }
            let (ask, result) = later.made.pop_front().expect("it was looked at just now");
            later.pending -= 1;
            drop(later);
            match result {
                Ok(body) => outbox.message(reply_header(&ask, Status::Ok), |out| out.extend_from_slice(&body)),
                Err(refusal) => outbox.refuse(&ask, refusal.status, &refusal.text),
            }
        }
        for stream in &mut self.streams {
            if let Err(Status::Forbidden) = self.handles.with(stream.handle(), Right::Read, &self.host) {
                let refusal = self.host.no_right(self.node, Right::Read, stream.grid_name());
                stream.say_goodbye(outbox, refusal.status, &refusal.text);
                continue;
            }
            let room = full.saturating_sub(outbox.waiting());
            stream.pump(outbox, room, &mut self.requests, &self.host, &self.later.wake);
        }
    }

    /// Takes a reply from the other end to one of our asks.
    ///
    /// # Errors
    /// [`AskError`]: the connection must end.
    pub fn answered(&mut self, reply: &Frame<'_>) -> Result<(), AskError> {
        let answer = self.streams.iter_mut().find_map(|stream| stream.answered(reply));
        answer.unwrap_or(Err(AskError::Unasked(reply.header.request)))
    }

    /// Whether the connection has said hello.
    #[must_use]
    pub fn has_said_hello(&self) -> bool {
        self.access.is_some()
    }

    /// File descriptors to be sent together with the first bytes of the reply written last (a shared map's). Empty but
    /// after an `Op::Map` was answered with `Status::Ok`.
    pub fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    fn ready(&self) -> Result<(), Status> {
        self.host.served();
        if self.access.is_none() {
            Err(Status::NoHello)
        } else if self.host.is_stopping() {
            Err(Status::Stopping)
        } else {
            Ok(())
        }
    }

    /// An open grid, if `right` is had on it.
    fn open(&mut self, handle: u32, right: Right) -> Result<&Arc<Grid>, Refusal> {
        self.ready()?;
        if right >= Right::Write {
            self.host.absence.may_change()?;
        }
        match self.handles.with(handle, right, &self.host) {
            Ok(_) => Ok(self.handles.get(handle)?),
            Err(status) => Err(words(&self.host, self.node, &self.handles, handle, right, status)),
        }
    }

    /// Has an answer made in the background.
    fn later(
        &self,
        ask: &Header,
        long: bool,
        work: impl FnOnce(&Arc<Host>) -> Result<Vec<u8>, Refusal> + Send + 'static,
    ) -> Result<Control, Refusal> {
        let (owed, host) = (self.owe(ask)?, Arc::clone(&self.host));
        let chores = if long { &self.host.long_chores } else { &self.host.chores };
        chores.add(move || {
            let result = work(&host);
            // The host may go with this, and must not be waited for under the lock.
            drop(host);
            owed.pay(result);
        });
        Ok(Control::Later)
    }

    /// An answer that somebody will make.
    fn owe(&self, ask: &Header) -> Result<Owed, Refusal> {
        let mut later = self.later.state.lock();
        if later.pending >= LATER_MAX {
            return Err(Status::Busy.into());
        }
        later.pending += 1;
        Ok(Owed { later: Arc::clone(&self.later), ask: *ask, paid: false })
    }
}

/// An answer that somebody owes. Forgotten, it is that the node is stopping: nobody is left to make it.
struct Owed {
    later: Arc<Later>,
    ask: Header,
    paid: bool,
}

impl Owed {
    fn pay(mut self, result: Result<Vec<u8>, Refusal>) {
        self.hand_over(result);
    }

    fn hand_over(&mut self, result: Result<Vec<u8>, Refusal>) {
        self.paid = true;
        self.later.state.lock().made.push_back((self.ask, result));
        (self.later.wake)();
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if !self.paid {
            self.hand_over(Err(Status::Stopping.into()));
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.streams.clear();
        for grid in self.handles.iter() {
            for doom in grid.release_all(self.id) {
                self.host.doom(grid, doom);
            }
        }
    }
}

/// A refusal of something about an open grid, with words where there is more to say than the status does.
fn words(host: &Host, node: Option<NodeId>, handles: &Handles, handle: u32, right: Right, status: Status) -> Refusal {
    if right >= Right::Write
        && let Err(refusal) = host.absence.may_change()
    {
        return refusal;
    }
    match handles.get(handle) {
        Ok(grid) if status == Status::Forbidden => host.no_right(node, right, &grid.definition.name),
        _ => status.into(),
    }
}

impl Backend for Visitor {
    type Payload = Payload;

    fn grid(&mut self, handle: u32) -> Result<BlockSize, Status> {
        self.ready()?;
        self.handles.with(handle, Right::Read, &self.host).map(|grid| grid.definition.shape.block_size)
    }

    fn grid_to_put(&mut self, handle: u32) -> Result<BlockSize, Status> {
        self.ready()?;
        self.host.absence.may_change().map_err(|refusal| refusal.status)?;
        self.handles.with(handle, Right::Write, &self.host).map(|grid| grid.definition.shape.block_size)
    }

    fn words(&mut self, ask: &Header, status: Status) -> Option<String> {
        let right = if ask.op == Op::Put as u8 { Right::Write } else { Right::Read };
        Some(words(&self.host, self.node, &self.handles, ask.grid, right, status).text)
    }

    fn get(&mut self, handle: u32, index: Index) -> Fetched<Payload> {
        match self.handles.get(handle) {
            Ok(grid) => grid.get(index, Patience::Hurried),
            Err(status) => Fetched::Failed(status),
        }
    }

    fn prefetch(&mut self, handle: u32, indexes: &[Index]) {
        if let Ok(grid) = self.handles.get(handle) {
            grid.prefetch(indexes);
        }
    }

    fn put(&mut self, handle: u32, ask: &PutAsk, payload: &[u8], flags: u16) -> Stored {
        match self.handles.get(handle) {
            Ok(grid) => grid.put(self.id, ask, payload, flags),
            Err(status) => Stored::refused(status),
        }
    }

    fn list(
        &mut self,
        handle: u32,
        from: Index,
        limit: usize,
        detail: bool,
        out: &mut Vec<Listed>,
    ) -> Result<bool, Status> {
        self.handles.get(handle)?.list(from, limit, detail, out)
    }

    fn runs(&mut self, handle: u32, from: Index, limit: usize, out: &mut Vec<Run>) -> Result<bool, Status> {
        self.handles.get(handle)?.runs(from, limit, out)
    }

    fn control(&mut self, ask: &Frame<'_>, reply: &mut Reply<'_>) -> Control {
        match self.carry_out(ask, reply.body) {
            Ok(control) => control,
            Err(End::Refused(refusal)) => {
                *reply.text = refusal.text;
                Control::Done(refusal.status)
            }
            Err(End::Last(refusal)) => {
                *reply.text = refusal.text;
                Control::Last(refusal.status)
            }
        }
    }
}

impl Backend for PatientVisitor {
    type Payload = Payload;

    fn grid(&mut self, handle: u32) -> Result<BlockSize, Status> {
        self.ready?;
        self.handles.with(handle, Right::Read, &self.host).map(|grid| grid.definition.shape.block_size)
    }

    fn words(&mut self, ask: &Header, status: Status) -> Option<String> {
        Some(words(&self.host, self.node, &self.handles, ask.grid, Right::Read, status).text)
    }

    fn get(&mut self, handle: u32, index: Index) -> Fetched<Payload> {
        match self.handles.get(handle) {
            Ok(grid) => grid.get(index, Patience::Waiting),
            Err(status) => Fetched::Failed(status),
        }
    }

    fn put(&mut self, _: u32, _: &PutAsk, _: &[u8], _: u16) -> Stored {
        Stored::refused(Status::Unsupported)
    }

    fn list(
        &mut self,
        handle: u32,
        from: Index,
        limit: usize,
        detail: bool,
        out: &mut Vec<Listed>,
    ) -> Result<bool, Status> {
        self.handles.get(handle)?.list(from, limit, detail, out)
    }

    fn runs(&mut self, handle: u32, from: Index, limit: usize, out: &mut Vec<Run>) -> Result<bool, Status> {
        self.handles.get(handle)?.runs(from, limit, out)
    }

    fn control(&mut self, _: &Frame<'_>, _: &mut Reply<'_>) -> Control {
        Control::Done(Status::Unsupported)
    }
}

/// Why a control ask was not done, and whether the connection goes on.
enum End {
    Refused(Refusal),
    Last(Refusal),
}

impl<E: Into<Refusal>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}
