//! Reading what a member granted while its node is away: from the shards that others hold of it.
//!
//! `asker` asks another member's node, `holders` which of them have what, `far` reads ranges of segments from them and
//! `engine` makes of that the engine of a [`Host`] like any other, which answers programs through reactors of its own.

mod asker;
mod engine;
mod far;
#[cfg(test)]
mod tests;

pub(crate) use asker::{AskError, Asker, Pool};
pub(crate) use far::{Far, Neighbours};

use crate::group::{Onward, Way};
use crate::host::{Host, HostSettings, OpenError, Opened};
use crate::mailbox::Letter;
use crate::node::Serving;
use crate::refusal::Refusal;
use crate::settings::NodeSettings;
use crate::stores::Stores;
use engine::AwayEngine;
use okapi_base::{GridId, NodeId};
use okapi_link::{Facts, Interest, Link, Peer};
use okapi_seal::GridKey;
use okapi_store::Engine;
use okapi_store::log::GrantedGrid;
use okapi_store::memory::{self, Memory};
use okapi_wire::message::KeyGiven;
use okapi_wire::{Status, Token};
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For how long what was found is taken for all there is.
const FRESH: Duration = Duration::from_secs(30);
/// Members whose data can be read at once.
const VIEWS_MAX: usize = 8;
/// Threads that wait for other members on behalf of the programs of one view.
const WAITERS: usize = 8;
/// Bytes of grids in memory, of which such a view makes none.
const MEMORY_BYTES: u64 = 1 << 20;

/// Reads for programs what is with others.
pub(crate) struct Away {
    neighbours: Arc<dyn Neighbours>,
    settings: NodeSettings,
    views: Mutex<Views>,
}

#[derive(Default)]
struct Views {
    open: Vec<View>,
    stopped: bool,
}

/// What could be found of one member's grids.
struct View {
    owner: NodeId,
    serving: Serving<Host>,
    as_of: u64,
    opened: Instant,
}

impl Away {
    pub(crate) fn new(neighbours: Arc<dyn Neighbours>, settings: &NodeSettings) -> Self {
        let settings = NodeSettings { threads: 1, disk_threads: WAITERS, spin: Duration::ZERO, ..settings.clone() };
        Self { neighbours, settings, views: Mutex::default() }
    }

    /// The way to what others hold of a node's grids, by the keys that it gave. Asks the other members, and waits.
    pub(crate) fn way(&self, owner: NodeId, keys: &[KeyGiven]) -> Result<Way, Refusal> {
        // One at a time: the second to ask finds what the first has opened.
        let mut views = self.views.lock();
        if views.stopped {
            return Err(Status::Stopping.into());
        }
        let fresh = |view: &View| view.owner == owner && view.opened.elapsed() < FRESH;
        if !views.open.iter().any(fresh) {
            self.reap(&mut views);
            if views.open.len() >= VIEWS_MAX {
                let text = format!("data of {VIEWS_MAX} members that are away is being read, and that is the limit");
                return Err(Refusal::new(Status::Busy, text));
            }
            let opened = View::open(&self.neighbours, owner, keys, &self.settings)?;
            views.open.push(opened);
        }
        let view = views.open.iter().rev().find(|view| fresh(view)).expect("it is there now");
        let busy = || Refusal::new(Status::Busy, "as many programs read from this member as may");
        let seat = view.serving.shared.seats.take().ok_or_else(busy)?;
        let mailbox = Arc::clone(&view.serving.mailboxes[0]);
        let onward: Onward = Box::new(move |link, early, held| {
            let facts = Facts { peer: Peer::Same, ..link.facts().clone() };
            mailbox.post(Letter::Link(Box::new(Continued { link, early, facts, _held: held }), seat));
        });
        Ok(Way { onward, as_of: Some(view.as_of) })
    }

    /// Ends everything, in good order.
    pub(crate) fn stop(&self) {
        let open = {
            let mut views = self.views.lock();
            views.stopped = true;
            std::mem::take(&mut views.open)
        };
        open.into_iter().for_each(View::close);
        self.neighbours.rest();
    }

    /// Ends views that nobody looks through any more and that are not new.
    fn reap(&self, views: &mut Views) {
        let is_old = |view: &View| view.serving.shared.seats.taken() == 0 && view.opened.elapsed() >= FRESH;
        let (old, open): (Vec<View>, Vec<View>) = std::mem::take(&mut views.open).into_iter().partition(is_old);
        views.open = open;
        old.into_iter().for_each(View::close);
        if views.open.is_empty() {
            self.neighbours.rest();
        }
    }
}

impl View {
    fn open(
        neighbours: &Arc<dyn Neighbours>,
        owner: NodeId,
        keys: &[KeyGiven],
        settings: &NodeSettings,
    ) -> Result<Self, Refusal> {
        let far = Arc::new(Far::find(neighbours, owner)?);
        let lengths = far.lengths();
        let (mut found, mut wrong, mut as_of) = (Vec::new(), Vec::new(), u64::MAX);
        for given in keys {
            let key = GridKey::from_bytes(given.number, &given.key).expect("it was looked at when it was kept");
            match GrantedGrid::open(far.clone(), &lengths, GridId(given.grid), key) {
                Ok(grid) => {
                    as_of = as_of.min(far.stamp(grid.as_of()));
                    found.push((given, grid));
                }
                Err(error) => {
                    let text = format!("grid {} cannot be read from what others hold of it: {error}", given.name);
                    wrong.push((given.name.clone(), Refusal::new(Status::Away, far.with_unheard(text))));
                }
            }
        }
        if found.is_empty() {
            return Err(wrong.into_iter().next().map_or_else(|| Status::UnknownGrid.into(), |(_, refusal)| refusal));
        }
        let failed = |why: String| Refusal::new(Status::Failed, why);
        let host = host(found).map_err(|error| failed(error.to_string()))?;
        host.absence.set_grids(wrong);
        let serving = Serving::start(&Arc::new(host), settings, Vec::new());
        let serving = serving.map_err(|error| failed(format!("threads cannot be started: {error}")))?;
        Ok(Self { owner, serving, as_of, opened: Instant::now() })
    }

    fn close(self) {
        let host = Arc::clone(&self.serving.shared.host);
        if !self.serving.stop() {
            tracing::error!("a thread that reads for another member's programs had panicked");
        }
        // It has nothing that could fail to be written.
        let _ = host.close();
    }
}

fn host(found: Vec<(&KeyGiven, GrantedGrid)>) -> Result<Host, OpenError> {
    let mut token = Token::NONE;
    okapi_seal::random(&mut token.0);
    Ok(host_over(Arc::new(AwayEngine::new(found)), token)?.0)
}

/// A host without any grid.
pub(crate) fn bare_host(token: Token) -> Result<Host, OpenError> {
    Ok(host_over(Arc::new(AwayEngine::new(Vec::new())), token)?.0)
}

/// A host over grids that are elsewhere. Of those that were in memory, or in another engine, nothing is.
pub(crate) fn host_over(engine: Arc<dyn Engine>, token: Token) -> Result<(Host, Opened), OpenError> {
    let memory: Arc<dyn Engine> = Arc::new(Memory::new(memory::Settings { limit_bytes: MEMORY_BYTES, shared: false }));
    let settings = HostSettings { shared_maps: false, ..HostSettings::new(PathBuf::new()) };
    let other = Arc::clone(&memory);
    Host::over(Stores::new(engine, memory, Some(Box::new(move || Ok(Arc::clone(&other))))), token, &settings)
}

/// A program's link, with what came from it before it was handed over.
struct Continued {
    link: Box<dyn Link>,
    early: Vec<u8>,
    facts: Facts,
    _held: Box<dyn Send>,
}

impl Link for Continued {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.early.is_empty() {
            return self.link.receive(into);
        }
        let count = self.early.len().min(into.len());
        into[..count].copy_from_slice(&self.early[..count]);
        self.early.drain(..count);
        Ok(count)
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.link.send(parts)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    fn about_to_wait(&mut self, interest: Interest) -> bool {
        self.early.is_empty() && self.link.about_to_wait(interest)
    }

    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<bool> {
        if self.early.is_empty() { self.link.wait(interest, timeout) } else { Ok(true) }
    }

    fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.link.take_fds()
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn close(&mut self) {
        self.link.close();
    }
}
