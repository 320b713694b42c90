//! Drives the real peer: one thread that hands it what happens, and has done what it asks for.

use super::carrier::Carrier;
use super::clock::{Clock, stamp};
use super::keeper::Batch;
use super::pace::Pace;
use super::records::Records;
use super::roster::Roster;
use super::running::Return;
use super::segments::{Found, Segments};
use super::workers::Workers;
use super::yard::{Shards, hex};
use crate::group::WhenSafe;
use crate::refusal::Refusal;
use okapi_base::machine::Machine as _;
use okapi_base::{NodeId, SegmentName};
use okapi_peers::{Blob, Event as Told, Input, Order, Output, Peer, Phase, ShardId, Thing};
use okapi_seal::{NodeKey, RecipientKey};
use okapi_wire::peer::announce::Announcement;
use okapi_wire::{BodyWriter, Message as _, Status};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// Events that are remembered for whoever asks.
const EVENTS_KEPT: usize = 64;
/// The longest sleep: the clock may have been set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(3600);
/// For how long a node must not be reached, with attempts to, before the peer is told.
pub(crate) const UNREACHED_AFTER: Duration = Duration::from_secs(3);
/// How often links are looked at while one to a member is missing.
const LINKS_EVERY: Duration = Duration::from_secs(1);

/// How a line about repairs begins.
const REPAIRED: &str = "repaired: ";

/// What happens to the driver.
pub(crate) enum Event {
    /// To the peer.
    Input(Input),
    /// A letter; what comes with it is held until the peer has read it.
    Letter { input: Input, room: Box<dyn Send> },
    /// The log closed a segment.
    Closed(SegmentName, u64),
    /// The log moved what lived in some segments.
    Moved,
    /// A link came up, to this node, or went down.
    Linked(Option<NodeId>),
    /// A node said how it is reached.
    Announced(Announcement),
    /// Something for people to know.
    Note(String),
    /// Nothing can be made durable any more, or this node must not run: it takes no further part.
    Halt(String),
    /// Somebody wants something of the driver.
    Ask(Box<dyn FnOnce(&mut Driver) + Send>),
    /// It ends.
    Stop,
}

/// A restore that waits for the node's key.
pub(crate) type KeyFound = Box<dyn FnOnce(NodeKey) + Send>;

/// Somebody who waits until all up to a segment is safe.
struct Waiter {
    until: u32,
    then: WhenSafe,
}

/// The thread's state.
pub(crate) struct Driver {
    pub(crate) peer: Peer,
    pub(crate) segments: Arc<Segments>,
    pub(crate) shards: Arc<Shards>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) sealed_key: Blob,
    pub(crate) halted: Option<String>,
    pub(crate) join_note: String,
    /// Whom it asked last to let it in.
    pub(crate) asked: Option<NodeId>,
    pub(crate) events: VecDeque<(u64, String)>,
    pub(crate) tally: Tally,
    clock: Clock,
    records: Arc<Records>,
    keeper: Option<Sender<Batch>>,
    workers: Workers,
    carrier: Arc<dyn Carrier>,
    waiters: Vec<Waiter>,
    /// The group of the ticket that was just made.
    pub(crate) invited: Option<okapi_base::GroupId>,
    roster: Arc<Roster>,
    /// What is to be told of the log as soon as the thread runs.
    found: Option<Found>,
    /// Nodes without a link: since when it was seen that it cannot be made, and whether the peer was told.
    missing: BTreeMap<NodeId, (Instant, bool)>,
    links_next: Option<Instant>,
    /// Shards that had been made anew before those that the last line is about.
    repaired_before: u64,
    /// How the node's key is opened, while it is not known.
    key: Option<(RecipientKey, KeyFound)>,
    /// Called once everything has come back.
    restored: Option<Box<dyn FnOnce() + Send>>,
    /// Whom a node that comes back asks first.
    pub(crate) restores_via: Option<NodeId>,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) peer: Peer,
    pub(crate) segments: Arc<Segments>,
    pub(crate) shards: Arc<Shards>,
    pub(crate) pace: Arc<Pace>,
    /// The node's key, sealed to its member.
    pub(crate) sealed_key: Blob,
    pub(crate) records: Arc<Records>,
    pub(crate) keeper: Sender<Batch>,
    pub(crate) workers: Workers,
    pub(crate) roster: Arc<Roster>,
    pub(crate) carrier: Arc<dyn Carrier>,
}

/// What was done since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) repaired_shards: u64,
    pub(crate) repaired_bytes: u64,
    pub(crate) placed_bytes: u64,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { peer, segments, shards, pace, sealed_key, records, keeper, workers, roster, carrier } = parts;
        Self {
            peer,
            segments,
            shards,
            pace,
            sealed_key,
            halted: None,
            join_note: String::new(),
            asked: None,
            events: VecDeque::new(),
            tally: Tally::default(),
            clock: Clock::start(),
            records,
            keeper: Some(keeper),
            workers,
            carrier,
            waiters: Vec::new(),
            invited: None,
            roster,
            found: None,
            missing: BTreeMap::new(),
            links_next: None,
            repaired_before: 0,
            key: None,
            restored: None,
            restores_via: None,
        }
    }

    /// A driver whose node comes back from what `via` and those it names hold.
    pub(crate) fn restoring(&mut self, via: NodeId, back: Return) {
        self.restores_via = Some(via);
        self.key = Some((back.key, back.found));
        self.restored = Some(back.restored);
    }

    /// The thread.
    pub(crate) fn run(mut self, events: &Receiver<Event>) {
        self.begin();
        loop {
            let wait = self.next_wake();
            match events.recv_timeout(wait) {
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(event) => {
                    self.happened(event);
                    // Whatever came meanwhile is looked at before anything slow.
                    for event in events.try_iter().take(256) {
                        if matches!(event, Event::Stop) {
                            return self.end();
                        }
                        self.happened(event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Also while so much happens that nothing is ever waited for.
            if self.peer.wake_at().is_some_and(|at| self.clock.until(at).is_zero()) {
                self.input(Input::Wake);
            }
            self.look();
        }
        self.end();
    }

    fn end(&mut self) {
        self.pace.stop();
        self.workers.stop();
        self.keeper = None;
    }

    /// What the peer asked for when it was opened, and what a scrub of the first hour would find.
    fn begin(&mut self) {
        self.look_at_links_soon();
        self.drain();
        // Before anything else: until it is told so, the peer of an interrupted restore takes what is here for all there
        // is. Told anew it begins with the list again.
        if let Some(via) = self.restores_via {
            self.input(Input::Order(Order::Restore { via }));
        }
        let held: BTreeSet<ShardId> = self.peer.held().map(|(shard, _)| shard).collect();
        let there = match self.shards.list() {
            Ok(there) => there,
            Err(error) => return self.halt(format!("the shards of others cannot be listed: {error}")),
        };
        let there: BTreeSet<ShardId> = there.into_iter().collect();
        there.difference(&held).for_each(|shard| self.shards.remove(*shard));
        for shard in held.difference(&there) {
            self.input(Input::Damaged(Thing::Shard(*shard)));
        }
        // The key came with segments that were back before this start.
        let sealed: Option<Vec<u8>> =
            self.peer.segments().find(|view| view.live).and_then(|view| view.deed.map(|deed| deed.key.clone()));
        if let Some(sealed) = sealed {
            self.came_back(&Blob::from(sealed));
        }
        if let Some(found) = self.found.take() {
            self.attach(found);
        }
    }

    /// The log is there: it is told of once the thread runs.
    pub(crate) fn attach_later(&mut self, found: Found) {
        self.found = Some(found);
    }

    /// The log is there: what it has, has given up and has lost.
    pub(crate) fn attach(&mut self, found: Found) {
        for (name, safe) in self.peer.segments().map(|view| (view.name, view.safe)).collect::<Vec<_>>() {
            self.segments.set_safe(name, safe);
        }
        for (segment, bytes) in found.closed {
            self.input(Input::Closed { segment, bytes, key: Arc::clone(&self.sealed_key) });
        }
        for name in found.lost {
            self.note(format!("segment {} is missing from the disk; it is fetched from the others", short(&name.0)));
            self.input(Input::Damaged(Thing::Segment(name)));
        }
        self.moved();
    }

    fn next_wake(&mut self) -> Duration {
        let peer = self.peer.wake_at().map(|at| self.clock.until(at));
        let links = self.links_next.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = [peer, links, Some(SLEEP_MAX)].into_iter().flatten().min().expect("there is at least one");
        if self.halted.is_some() { SLEEP_MAX } else { wait }
    }

    /// Tells the peer of members that cannot be reached. While there are such that it was not told of, they are looked at
    /// again.
    fn look_at_links(&mut self) {
        let links = self.carrier.links();
        let own = self.peer.node();
        let members: BTreeSet<NodeId> = self.peer.members().iter().map(|record| record.binding.node).collect();
        let has_link = |node: &NodeId| links.get(node).is_some_and(|link| link.connected);
        let without = members.iter().copied().filter(|node| *node != own && !has_link(node));
        let mut missing = BTreeMap::new();
        for node in without {
            // Where nothing was tried nothing has failed yet.
            let failed = links.get(&node).is_some_and(|link| link.failed);
            let (since, told) = self.missing.get(&node).copied().unwrap_or((Instant::now(), false));
            missing.insert(node, if failed { (since, told) } else { (Instant::now(), false) });
        }
        self.missing = missing;
        let over = |(since, told): &(Instant, bool)| !told && since.elapsed() >= UNREACHED_AFTER;
        let unreached: Vec<NodeId> = self.missing.iter().filter(|(_, of)| over(of)).map(|(node, _)| *node).collect();
        for node in unreached {
            self.missing.get_mut(&node).expect("it was just seen").1 = true;
            self.input(Input::Unreached { node });
        }
        let again = self.missing.values().any(|(_, told)| !told);
        self.links_next = again.then(|| Instant::now() + LINKS_EVERY);
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Input(input) => self.input(input),
            Event::Letter { input, room } => {
                self.input(input);
                drop(room);
            }
            Event::Closed(segment, bytes) => {
                self.input(Input::Closed { segment, bytes, key: Arc::clone(&self.sealed_key) });
            }
            Event::Moved => self.moved(),
            Event::Linked(node) => {
                self.look_at_links_soon();
                if let Some(node) = node {
                    self.input(Input::Relinked { node });
                }
            }
            Event::Announced(said) => self.announced(&said),
            Event::Note(text) => self.note(text),
            Event::Halt(why) => self.halt(why),
            Event::Ask(ask) => ask(self),
            Event::Stop => unreachable!("the loop ends with it"),
        }
    }

    fn look_at_links_soon(&mut self) {
        self.links_next.get_or_insert_with(|| Instant::now() + LINKS_EVERY);
    }

    /// Keeps how a member is reached; of strangers nothing is kept.
    fn announced(&mut self, said: &Announcement) {
        if self.peer.members().get(said.node).is_none() || said.node == self.peer.node() {
            return;
        }
        let mut bytes = Vec::new();
        said.encode(&mut BodyWriter::new(&mut bytes));
        if let Err(error) = self.records.set_book(said.node, Some(&bytes)) {
            self.halt(error.to_string());
        }
    }

    /// Hands the peer one input, and has done what it asks for.
    pub(crate) fn input(&mut self, input: Input) {
        if self.halted.is_some() {
            return;
        }
        let now = self.clock.now();
        self.peer.handle(now, input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut told = Vec::new();
        while let Some(output) = self.peer.poll() {
            match output {
                Output::Send { to, letter, payload } => self.carrier.send(to, letter, payload),
                Output::Keep { ticket, writes } => {
                    if let Some(keeper) = &self.keeper {
                        let _ = keeper.send((ticket, writes));
                    }
                }
                Output::Work { ticket, work } => self.workers.add(ticket, work),
                Output::Event(event) => told.push(event),
            }
        }
        if self.roster.update(self.peer.members()) {
            // What those who are members now have said before they were is known to the links alone.
            self.carrier.review().iter().for_each(|said| self.announced(said));
            self.look_at_links_soon();
        }
        told.into_iter().for_each(|event| self.told(event));
    }

    fn told(&mut self, event: Told) {
        match event {
            Told::Safe { segment, .. } => {
                self.segments.set_safe(segment, true);
                self.tally.placed_bytes += self.bytes_of(segment);
                self.moved();
            }
            Told::Gone { segment } => {
                if let Err(error) = self.segments.forget(segment) {
                    self.halt(error.to_string());
                }
            }
            Told::Repaired { shards, sent, .. } => {
                self.tally.repaired_shards += u64::from(shards);
                self.tally.repaired_bytes += sent;
                self.note_repairs(u64::from(shards));
            }
            Told::Invited { group, .. } => self.invited = Some(group),
            Told::Joined => {
                self.join_note.clear();
                self.note("joined the group".to_owned());
            }
            Told::JoinFailed { why } => {
                self.note(format!("could not join: {why}"));
                self.join_note = why;
            }
            Told::UserHalfFull { segment } => {
                self.note(format!("the half for own data is full: segment {} is only here", short(&segment.0)));
            }
            Told::Restored { key, .. } => self.came_back(&key),
            Told::RestoreDone { restored, waiting } => {
                let note = match waiting.len() {
                    0 => format!("all {restored} segments are back"),
                    more => format!("{restored} segments are back, {more} wait for more members"),
                };
                self.note(note);
            }
            Told::Caught { node, shard } => {
                let node = self.called(node);
                self.note(format!("{node} no longer holds a shard of segment {}", short(&shard.segment.0)));
            }
            Told::Forked { log } => {
                let log = self.called(log);
                self.note(format!("two logs are signed by {log}: its key was copied"));
            }
            Told::Missing { node } => {
                let node = self.called(node);
                self.note(format!("{node} counts as lost"));
            }
            Told::Parted => self.note("left the group".to_owned()),
        }
    }

    /// What people call a node.
    fn called(&self, node: NodeId) -> String {
        let name = self.carrier.links().remove(&node).map(|link| link.name).unwrap_or_default();
        if name.is_empty() { short(&node.0) } else { name }
    }

    /// Repairs come by the hundred: one line tells of all that follow each other.
    fn note_repairs(&mut self, shards: u64) {
        if self.events.back().is_some_and(|(_, text)| text.starts_with(REPAIRED)) {
            self.events.pop_back();
        } else {
            self.repaired_before = self.tally.repaired_shards - shards;
        }
        let shards = self.tally.repaired_shards - self.repaired_before;
        self.note(format!("{REPAIRED}{shards} shards made anew"));
    }

    fn bytes_of(&self, segment: SegmentName) -> u64 {
        self.peer.segments().find(|view| view.name == segment).map_or(0, |view| view.bytes)
    }

    fn came_back(&mut self, sealed: &Blob) {
        let Some((key, found)) = self.key.take() else { return };
        match NodeKey::open_sealed(sealed, &key, self.peer.node()) {
            Ok(node_key) => {
                self.sealed_key = Arc::clone(sealed);
                found(node_key);
            }
            Err(error) => {
                self.note(error.to_string());
                self.key = Some((key, found));
            }
        }
    }

    /// What is safe, or where what lives where, has changed.
    fn moved(&mut self) {
        for segment in self.segments.releasable() {
            self.input(Input::Released { segment });
        }
    }

    /// Looks at those who wait.
    fn look(&mut self) {
        if self.links_next.is_some_and(|at| at <= Instant::now()) {
            self.look_at_links();
        }
        if self.restored.is_some() && self.key.is_none() && self.peer.phase() == Phase::Settled {
            let restored = self.restored.take().expect("it was just seen");
            restored();
        }
        if self.waiters.is_empty() {
            return;
        }
        let mut waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters.extract_if(.., |waiter| self.segments.is_safe_until(waiter.until)) {
            self.pace.hurry(false);
            (waiter.then)(Ok(()));
        }
        self.waiters = waiters;
    }

    /// Calls `then` once all segments up to `until` are safe.
    pub(crate) fn wait_until_safe(&mut self, until: u32, then: WhenSafe) {
        if let Some(why) = &self.halted {
            return then(Err(Refusal::new(Status::Failed, why.clone())));
        }
        self.pace.hurry(true);
        self.waiters.push(Waiter { until, then });
    }

    pub(crate) fn note(&mut self, text: String) {
        tracing::info!("{text}");
        if self.events.len() >= EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back((stamp(), text));
    }

    /// The node takes no further part in its group; its own data stays served.
    pub(crate) fn halt(&mut self, why: String) {
        tracing::error!("this node takes no further part in its group: {why}");
        self.note(format!("halted: {why}"));
        for waiter in self.waiters.drain(..) {
            (waiter.then)(Err(Refusal::new(Status::Failed, why.clone())));
        }
        self.halted.get_or_insert(why);
    }
}

/// The first bytes of a name, as people are shown it.
pub(crate) fn short(bytes: &[u8; 32]) -> String {
    hex(&bytes[..4])
}
