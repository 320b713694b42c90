//! A node's part in its group while it runs: its threads, and the door through which its owner asks of it.

mod door;

use super::carrier::Carrier;
use super::clock::Clock;
use super::driver::{Driver, Event, KeyFound, Parts};
use super::founding::{self, Gift, IDENTITY_FILE, KEY_FILE};
use super::pace::Pace;
use super::records::{Records, RecordsError};
use super::roster::Roster;
use super::segments::{AttachError, Segments};
use super::tend::{self, Ending, Tended};
use super::workers::Workers;
use super::yard::Shards;
use crate::group::{COMING_BACK, GroupDoor, RestoreVia, Way};
use crate::refusal::Refusal;
use crate::settings::GroupSettings;
use okapi_base::{GridId, GroupId, Index, MemberId, NodeId, SegmentName};
use okapi_peers::{Blob, Identity, Input, Order, Peer};
use okapi_seal::{KeyError, NodeIdentity, NodeKey, RecipientKey};
use okapi_store::log::{Log, RealDisk, RestoreError};
use okapi_wire::Status;
use okapi_wire::message::group::RISK_RECORDS_MAX;
use okapi_wire::message::{GroupRestore, GroupRisk, GroupState, GroupStatus};
use okapi_wire::peer::ticket::{ADDRESSES_MAX, Ticket, is_address};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The directory of the shards of others, and the database of records.
const SHARDS_FOLDER: &str = "shards";
const RECORDS_FILE: &str = "group.redb";
/// The directory of the log.
const LOG_FOLDER: &str = "log";
/// Segments at risk whose records are named.
const NAMED_MAX: usize = 16;
/// How often is told how far a restore is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// How long the driver may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// The longest life of a ticket.
const TICKET_LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Who the node of a data directory is, and what it gives.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) data: PathBuf,
    pub(crate) identity: NodeIdentity,
    pub(crate) gift: Gift,
    pub(crate) settings: GroupSettings,
}

/// A running part in a group.
pub(crate) struct Group {
    data: PathBuf,
    node: NodeId,
    member: MemberId,
    number: u32,
    gift: Mutex<Gift>,
    events: Sender<Event>,
    segments: Arc<Segments>,
    shards: Arc<Shards>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) roster: Arc<Roster>,
    carrier: Arc<dyn Carrier>,
    log: RwLock<Option<Arc<Log>>>,
    names: RwLock<Option<Names>>,
    away: RwLock<Option<Arc<WayAway>>>,
    mind_battery: bool,
    ending: Arc<Ending>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Tells which records some blocks belong to: at most so many.
pub(crate) type Names = Box<dyn Fn(&[(GridId, Index)], usize) -> Vec<String> + Send + Sync>;

/// Finds a way to what others hold of a node that is away, on a thread that may wait; nothing if the node gave no keys.
pub(crate) type WayAway = Box<dyn Fn(NodeId) -> Option<Result<Way, Refusal>> + Send + Sync>;

/// Why the group's part could not be started.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The identity or key of the node.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What it gives.
    #[error(transparent)]
    Gift(#[from] founding::GiftError),
    /// The records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// What the peer kept.
    #[error(transparent)]
    Peer(#[from] okapi_peers::peer::OpenError),
    /// The segments.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The links.
    #[error("the links to members could not be started: {0}")]
    Links(String),
    /// The operating system.
    #[error("{what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// Its own words.
        source: io::Error,
    },
    /// The restore was interrupted.
    #[error("the restore was interrupted; run `okapi restore` to go on with it")]
    Interrupted,
    /// The directory is in no group.
    #[error("this data directory is in no group: `okapi init` or `okapi restore` makes it ready for one")]
    NotFounded,
    /// Nothing is to be restored.
    #[error("nothing of this node is to be restored; `okapi up` starts it")]
    NothingToRestore,
    /// What came back is no store.
    #[error("what came back cannot be opened: {0}")]
    Restore(#[from] RestoreError),
    /// A restore waits to be gone on with.
    #[error("the data of this node is still coming back; run `okapi restore` to go on with it")]
    Restoring,
}

impl GroupError {
    pub(crate) fn reading_restore(source: io::Error) -> Self {
        Self::System { what: "the file that says what is to be restored", source }
    }
}

/// What carriers call when something happens, and what they may ask.
pub(crate) struct Hook {
    /// The group that the node is in at its start.
    pub(crate) group: GroupId,
    pub(crate) events: Sender<Event>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) records: Arc<Records>,
}

/// How a restoring node gets its key: what opens it, and who is told.
pub(crate) struct Return {
    pub(crate) key: RecipientKey,
    pub(crate) found: KeyFound,
    pub(crate) restored: Box<dyn FnOnce() + Send>,
}

/// Is told how far a restore is, and ends it by breaking.
pub(crate) type Progress<'p> = dyn FnMut(&GroupStatus, Option<&NodeKey>) -> ControlFlow<()> + 'p;

/// A part in a group whose node's data comes back.
pub(crate) struct Returning {
    group: Arc<Group>,
    keys: Receiver<NodeKey>,
    done: Receiver<()>,
    without_silent: bool,
}

impl Returning {
    pub(crate) fn begin(
        seat: &Seat,
        via: &RestoreVia,
        key: RecipientKey,
        carrier: impl FnOnce(Hook) -> Result<Arc<dyn Carrier>, String>,
    ) -> Result<Self, GroupError> {
        let ((found, keys), (restored, done)) = (channel(), channel());
        let back = Return {
            key,
            found: Box::new(move |key| drop(found.send(key))),
            restored: Box::new(move || {
                let _ = restored.send(());
            }),
        };
        let without_silent = seat.settings.without_silent;
        Ok(Self { group: Group::start_restore(seat, via, back, carrier)?, keys, done, without_silent })
    }

    /// The part that is on its way.
    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// Waits until everything is back and the log can be opened. `progress` is told how far it is, and the node's key once
    /// that is known.
    pub(crate) fn wait(self, progress: &mut Progress<'_>) -> Result<Arc<Group>, GroupError> {
        let waited = self.watch(progress);
        if waited.is_err() {
            self.group.stop();
        }
        waited.map(|()| self.group)
    }

    fn watch(&self, progress: &mut Progress<'_>) -> Result<(), GroupError> {
        let path = self.group.data.join(KEY_FILE);
        let mut key = if path.exists() { Some(NodeKey::load(&path)?) } else { None };
        let mut done = false;
        loop {
            match self.done.recv_timeout(PROGRESS_EVERY) {
                Ok(()) => done = true,
                // It says so once.
                Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(PROGRESS_EVERY),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if key.is_none()
                && let Ok(found) = self.keys.try_recv()
            {
                found.keep(&path)?;
                key = Some(found);
            }
            let status = self.group.status();
            if progress(&status, key.as_ref()).is_break() {
                return Err(GroupError::Interrupted);
            }
            // Enough who have not answered may know of segments that nobody else does. Once the log is in use they cannot
            // come back any more, so it is for people to say that it is to go on without.
            let is_whole = status.restore.members_silent <= GroupRestore::SILENT_MAX || self.without_silent;
            let is_back = done && is_whole && status.state != GroupState::Restoring;
            if let Some(key) = key.as_ref().filter(|_| is_back) {
                let system = |source| GroupError::System { what: "opening the directory of the log", source };
                let disk = RealDisk::new(&self.group.data.join(LOG_FOLDER)).map_err(system)?;
                return Ok(Log::finish_restore(&disk, key)?);
            }
        }
    }
}

impl Seat {
    /// The seat of a data directory; none if it is in no group.
    pub(crate) fn load(data: &Path, settings: &GroupSettings) -> Result<Option<Self>, GroupError> {
        let path = data.join(IDENTITY_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let identity = NodeIdentity::load(&path)?;
        let gift = Gift::read(data)?;
        Ok(Some(Self { data: data.to_owned(), identity, gift, settings: settings.clone() }))
    }

    fn peer_identity(&self) -> Identity {
        Identity {
            signing: self.identity.signing_key(),
            member: self.identity.member,
            recipient: self.identity.recipient,
            number: self.identity.number,
            member_signature: self.identity.member_signature,
            site: self.identity.site,
        }
    }
}

impl Group {
    /// Starts the part of a node whose log is open.
    pub(crate) fn start(
        seat: &Seat,
        key: &NodeKey,
        log: &Arc<Log>,
        carrier: impl FnOnce(Hook) -> Result<Arc<dyn Carrier>, String>,
    ) -> Result<Arc<Self>, GroupError> {
        let sealed = key.seal_to(seat.identity.recipient, seat.identity.node());
        let (group, mut driver, receive) = Self::make(seat, Blob::from(sealed), carrier)?;
        let found = group.segments.attach(log)?;
        driver.attach_later(found);
        *group.log.write() = Some(Arc::clone(log));
        group.run(driver, receive)?;
        group.tend(log)?;
        Ok(group)
    }

    /// Starts the part of a node whose data is to come back. Its log is opened, and [`Group::attach`]ed, once it is there.
    pub(crate) fn start_restore(
        seat: &Seat,
        via: &RestoreVia,
        back: Return,
        carrier: impl FnOnce(Hook) -> Result<Arc<dyn Carrier>, String>,
    ) -> Result<Arc<Self>, GroupError> {
        let (group, mut driver, receive) = Self::make(seat, Blob::from([]), carrier)?;
        let via = match via {
            RestoreVia::Ticket(ticket) => {
                group.carrier.hint(ticket.via, &ticket.addresses);
                Ok(ticket.via)
            }
            RestoreVia::Address(address) => group.carrier.probe(address).inspect(|node| {
                group.carrier.hint(*node, std::slice::from_ref(address));
            }),
        };
        let via = via.map_err(GroupError::Links)?;
        driver.restoring(via, back);
        group.run(driver, receive)?;
        Ok(group)
    }

    /// The log of a restored node is open.
    pub(crate) fn attach(&self, log: &Arc<Log>) -> Result<(), GroupError> {
        let found = self.segments.attach(log)?;
        *self.log.write() = Some(Arc::clone(log));
        let _ = self.events.send(Event::Ask(Box::new(|driver| driver.attach(found))));
        self.tend(log)
    }

    fn make(
        seat: &Seat,
        sealed: Blob,
        carrier: impl FnOnce(Hook) -> Result<Arc<dyn Carrier>, String>,
    ) -> Result<(Arc<Self>, Driver, Receiver<Event>), GroupError> {
        let system = |what| move |source| GroupError::System { what, source };
        let data = &seat.data;
        let (events, receive) = channel();
        let records = Arc::new(Records::open(&data.join(RECORDS_FILE))?);
        let segments = Segments::open(Arc::clone(&records), &data.join(LOG_FOLDER), events.clone())?;
        let shards = Shards::open(&data.join(SHARDS_FOLDER)).map_err(system("making the directory of shards"))?;
        let shards = Arc::new(shards);
        let mut entropy = [0; 32];
        okapi_seal::random(&mut entropy);
        let kept = records.peer()?;
        let now = Clock::start().now();
        let peer = Peer::open(seat.peer_identity(), seat.gift.peer_settings(), entropy, now, &kept)?;
        let roster = Arc::new(Roster::new(seat.identity.member));
        roster.update(peer.members());
        let hook = Hook {
            group: peer.group(),
            events: events.clone(),
            roster: Arc::clone(&roster),
            records: Arc::clone(&records),
        };
        let carrier = carrier(hook).map_err(GroupError::Links)?;
        let pace = Arc::new(Pace::new());
        let (keeper, keeping) = super::keeper::start(Arc::clone(&records), events.clone())
            .map_err(system("starting a thread of the group"))?;
        let workers = Workers::start(&segments, &shards, &pace, &events);
        let workers = workers.map_err(system("starting a thread of the group"))?;
        let node = peer.node();
        let driver = Driver::new(Parts {
            peer,
            segments: Arc::clone(&segments),
            shards: Arc::clone(&shards),
            pace: Arc::clone(&pace),
            sealed_key: sealed,
            records,
            keeper,
            workers,
            roster: Arc::clone(&roster),
            carrier: Arc::clone(&carrier),
        });
        let group = Self {
            data: data.clone(),
            node,
            member: seat.identity.member,
            number: seat.identity.number,
            gift: Mutex::new(seat.gift.clone()),
            events,
            segments,
            shards,
            pace,
            roster,
            carrier,
            log: RwLock::new(None),
            names: RwLock::new(None),
            away: RwLock::new(None),
            mind_battery: seat.settings.pause_on_battery,
            ending: Arc::default(),
            threads: Mutex::new(vec![keeping]),
        };
        Ok((Arc::new(group), driver, receive))
    }

    fn run(&self, driver: Driver, receive: Receiver<Event>) -> Result<(), GroupError> {
        let thread = std::thread::Builder::new().name("okapi-peer".to_owned());
        let thread = thread.spawn(move || driver.run(&receive));
        let thread = thread.map_err(|source| GroupError::System { what: "starting a thread of the group", source })?;
        self.threads.lock().insert(0, thread);
        Ok(())
    }

    fn tend(&self, log: &Arc<Log>) -> Result<(), GroupError> {
        let tended = Tended {
            log: Arc::clone(log),
            segments: Arc::clone(&self.segments),
            shards: Arc::clone(&self.shards),
            pace: Arc::clone(&self.pace),
            events: self.events.clone(),
            mind_battery: self.mind_battery,
        };
        let ending = Arc::clone(&self.ending);
        let thread = std::thread::Builder::new().name("okapi-tend".to_owned());
        let thread = thread.spawn(move || tend::run(&tended, &ending));
        let thread = thread.map_err(|source| GroupError::System { what: "starting a thread of the group", source })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Sets who tells what blocks are called.
    pub(crate) fn set_names(&self, names: Names) {
        *self.names.write() = Some(names);
    }

    /// Says by name what lies in the first segments at risk.
    fn name_risks(&self, risks: &mut [GroupRisk]) {
        let (log, names) = (self.log.read().clone(), self.names.read());
        let (Some(log), Some(names)) = (log, &*names) else { return };
        for risk in risks.iter_mut().take(NAMED_MAX) {
            if let Some(number) = self.segments.number(risk.segment) {
                risk.records = names(&log.blocks_in(number), RISK_RECORDS_MAX);
            }
        }
    }

    /// Under which addresses it is reached.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.carrier.addresses()
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// The group it is in now.
    pub(crate) fn group(&self) -> okapi_base::GroupId {
        self.ask(|driver| driver.peer.group()).unwrap_or(okapi_base::GroupId([0; 32]))
    }

    /// The nodes to which there is a connection.
    pub(crate) fn linked(&self) -> Vec<NodeId> {
        let links = self.carrier.links();
        links.into_iter().filter(|(node, link)| link.connected && *node != self.node).map(|(node, _)| node).collect()
    }

    /// A stream to a node, on which it can be asked.
    pub(crate) fn open(&self, node: NodeId) -> Result<Box<dyn okapi_link::Link>, String> {
        self.carrier.open(node)
    }

    /// The segments that are here, and their bytes.
    pub(crate) fn came_back(&self) -> Vec<(SegmentName, u64)> {
        self.segments.lengths()
    }

    /// Reads a part of a segment that is here; false if it is not.
    pub(crate) fn read_back(&self, name: SegmentName, offset: u64, into: &mut [u8]) -> bool {
        self.segments.read_part(name, offset, into)
    }

    /// Whether the node's own data is here: before, it takes no part that it could not be held to.
    fn settled(&self) -> Result<(), Refusal> {
        if self.log.read().is_some() {
            return Ok(());
        }
        Err(Refusal::new(Status::ReadOnly, format!("{COMING_BACK}; wait until the restore is done")))
    }

    /// Sets who finds a way to what others hold of a node that is away.
    pub(crate) fn set_away(&self, away: WayAway) {
        *self.away.write() = Some(Arc::new(away));
    }

    /// Ends the part: nothing more is sent, received or made durable for it.
    pub(crate) fn stop(&self) {
        self.ending.end();
        self.carrier.stop();
        self.segments.stop();
        let _ = self.events.send(Event::Stop);
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the group had panicked");
            }
        }
        *self.log.write() = None;
        *self.names.write() = None;
        *self.away.write() = None;
    }

    /// Asks the driver, and waits for its answer.
    fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&mut Driver) -> T + Send + 'static) -> Result<T, Refusal> {
        let (answer, answered) = channel();
        let asked = Event::Ask(Box::new(move |driver| {
            let _ = answer.send(ask(driver));
        }));
        let stopping = || Refusal::new(Status::Stopping, "the node's part in its group is ending");
        self.events.send(asked).map_err(|_| stopping())?;
        answered.recv_timeout(ANSWER_PATIENCE).map_err(|_| stopping())
    }

    /// The same; what the driver does is durable when this returns.
    fn ask_durably<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Driver) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, answered) = channel();
        self.ask(move |driver| {
            let told = ask(driver);
            driver.answer_when_kept(Box::new(move || {
                let _ = answer.send(told);
            }));
        })?;
        let stopping = || Refusal::new(Status::Stopping, "the node's part in its group is ending");
        answered.recv_timeout(ANSWER_PATIENCE).map_err(|_| stopping())
    }

    /// Has the peer carry out an order, unless the node takes no part any more.
    fn order(&self, order: Order) -> Result<(), Refusal> {
        self.ask_durably(move |driver| match &driver.halted {
            Some(why) => Err(Refusal::new(Status::Failed, why.clone())),
            None => {
                driver.input(Input::Order(order));
                Ok(())
            }
        })?
    }

    fn ticket(&self, secret: [u8; 32], expires: u64, group: okapi_base::GroupId) -> String {
        let addresses = self.carrier.addresses().into_iter().filter(|address| is_address(address));
        let addresses = addresses.take(ADDRESSES_MAX).collect();
        Ticket { group, via: self.node, secret, expires, addresses }.to_text()
    }
}
