//! A node whose data is still coming back, as its programs see it: they read what lies with the others, and are told that
//! nothing can be written yet.
//!
//! From the start somebody listens where the node will. Until the data can be read that is a host without any grid, which
//! knows of the group; then one over the node's whole log, opened with its key from the ends of its segments
//! (`okapi_store::log::Look`). A segment is read where it has come back to, or from the others by ranges. The restore waits
//! for nothing of all this, and goes on if it fails.

#[cfg(test)]
mod tests;

use crate::away::{Far, Neighbours, bare_host, host_over};
use crate::group::running::Group;
use crate::group::{COMING_BACK, GroupDoor};
use crate::host::{Host, OpenError};
use crate::listen::Listener;
use crate::node::Serving;
use crate::refusal::Refusal;
use crate::settings::NodeSettings;
use okapi_base::SegmentName;
use okapi_seal::{NodeKey, RecipientKey};
use okapi_store::Engine;
use okapi_store::log::{Distant, Look};
use okapi_wire::message::{GroupRestore, GroupStatus};
use okapi_wire::{Status, Token};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long is waited for members that have not answered yet, once nothing new is heard of the others.
const SETTLE: Duration = Duration::from_secs(2);
/// How long until it is tried again, if the data cannot be read.
const AGAIN: Duration = Duration::from_secs(5);
/// Threads that wait for other members on behalf of programs.
const WAITERS: usize = 8;

/// What can be read already, of a node whose data is coming back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readable {
    /// Grids.
    pub grids: usize,
    /// Named records in all of them.
    pub records: u64,
    /// Members that have not told what they know: the newest may be missing, where only they know of it.
    pub silent: u32,
}

/// See the module's text.
pub(crate) struct Preview {
    stage: Arc<Stage>,
}

struct Stage {
    group: Weak<Group>,
    neighbours: Arc<dyn Neighbours>,
    settings: NodeSettings,
    token: Token,
    recipient: RecipientKey,
    seen: Mutex<Seen>,
    changed: Condvar,
    /// What serves. Its lock is held while one follows another.
    serving: Mutex<Option<Serving<Host>>>,
    ended: AtomicBool,
}

/// How far the restore is.
#[derive(Default)]
struct Seen {
    key: Option<NodeKey>,
    known: Known,
    since: Option<Instant>,
    readable: Option<Readable>,
}

/// What the restore knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Known {
    segments: u64,
    silent: u32,
}

impl Preview {
    /// Listens.
    pub(crate) fn start(
        group: &Arc<Group>,
        neighbours: Arc<dyn Neighbours>,
        (token, recipient): (Token, RecipientKey),
        settings: &NodeSettings,
        listeners: Vec<Listener>,
    ) -> Result<Self, PreviewError> {
        let settings = NodeSettings { disk_threads: settings.disk_threads.max(WAITERS), ..settings.clone() };
        let (group, seen, changed) = (Arc::downgrade(group), Mutex::default(), Condvar::new());
        let (serving, ended) = (Mutex::default(), AtomicBool::new(false));
        let stage = Arc::new(Stage { group, neighbours, settings, token, recipient, seen, changed, serving, ended });
        let host = bare_host(token)?;
        host.absence.set_all(Refusal::new(Status::Away, format!("{COMING_BACK}; nothing of it can be read yet")));
        *stage.serving.lock() = Some(stage.serve(host, listeners)?);
        let this = Self { stage: Arc::clone(&stage) };
        std::thread::Builder::new().name("okapi-preview".to_owned()).spawn(move || stage.run())?;
        Ok(this)
    }

    /// Takes in how far the restore is.
    pub(crate) fn look(&self, status: &GroupStatus, key: Option<&NodeKey>) {
        let mut seen = self.stage.seen.lock();
        let (segments, silent) = (status.restore.segments, status.restore.members_silent);
        let known = Known { segments, silent };
        if seen.since.is_none() || seen.known != known {
            (seen.known, seen.since) = (known, Some(Instant::now()));
        }
        if seen.key.is_none() {
            seen.key = key.cloned();
        }
        self.stage.changed.notify_all();
    }

    /// What can be read now.
    pub(crate) fn readable(&self) -> Option<Readable> {
        self.stage.seen.lock().readable
    }

    /// Ends it in good order, and gives back what it listened on.
    pub(crate) fn end(self) -> Option<Vec<Listener>> {
        self.stage.end()
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        drop(self.stage.end());
    }
}

/// Why nothing is listening while the data comes back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreviewError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Threads(#[from] io::Error),
}

impl Stage {
    fn run(&self) {
        let mut tried = None;
        while let Some((key, known)) = self.wait(tried) {
            tried = Some((known, Instant::now()));
            match self.open(key, known) {
                Ok((host, readable)) => self.show(host, readable),
                Err(refusal) => self.excuse(&refusal),
            }
        }
    }

    /// Waits until it is time to open what there is; nothing once it is over.
    fn wait(&self, tried: Option<(Known, Instant)>) -> Option<(Option<NodeKey>, Known)> {
        let mut seen = self.seen.lock();
        while !self.ended.load(Ordering::SeqCst) {
            let is_new = tried.is_none_or(|(known, at)| match seen.readable {
                Some(_) => known != seen.known && at.elapsed() >= AGAIN,
                None => known != seen.known || at.elapsed() >= AGAIN,
            });
            // Everybody has told, or whoever has not takes long over it.
            let is_settled = seen.known.silent == 0 || seen.since.is_some_and(|since| since.elapsed() >= SETTLE);
            if is_new && is_settled && seen.known.segments > 0 {
                return Some((seen.key.clone(), seen.known));
            }
            // It is told several times a second how far the restore is.
            self.changed.wait(&mut seen);
        }
        None
    }

    fn open(&self, key: Option<NodeKey>, known: Known) -> Result<(Host, Readable), Refusal> {
        let refused = |why: String| Refusal::new(Status::Away, why);
        // The restore's own rule: so few can hide nothing that was told to be safe.
        if known.silent > GroupRestore::SILENT_MAX && !self.settings.group.without_silent {
            let text = format!("{} members have not answered, who may know of more than the others do", known.silent);
            return Err(refused(text));
        }
        let nearest = Nearest::find(&self.neighbours, &self.group, known)?;
        let key = key.or_else(|| nearest.key(&self.recipient));
        let key = key.ok_or_else(|| refused("nobody has its key in a form that its member can open".to_owned()))?;
        let unheard = |text: String| nearest.with_unheard(text);
        let distant: Arc<dyn Distant> = nearest.clone();
        let opened = Look::open(&distant, &nearest.lengths, &key);
        let (look, found) = opened.map_err(|error| refused(unheard(error.to_string())))?;
        for damage in &found.damages {
            tracing::debug!("among what lies with others: {}: {}", damage.place, damage.what);
        }
        let look = Arc::new(look);
        // What a node does when it opens its store it does here, too; it stays in memory.
        let opened = host_over(Arc::clone(&look) as Arc<dyn Engine>, self.token);
        let (host, opened) = opened.map_err(|error| refused(unheard(error.to_string())))?;
        look.shut(COMING_BACK);
        if opened.damaged > 0 {
            let text = format!("the names of {} records cannot be read; the node's own log says why", opened.damaged);
            return Err(refused(unheard(text)));
        }
        let silent = known.silent.max(nearest.unheard());
        Ok((host, Readable { grids: opened.grids, records: opened.records, silent }))
    }

    /// Serves what was opened from now on.
    fn show(&self, host: Host, readable: Readable) {
        let mut serving = self.serving.lock();
        let listeners = match serving.take() {
            Some(before) if !self.ended.load(Ordering::SeqCst) => retire(before),
            before => return *serving = before,
        };
        let Some(listeners) = listeners else { return };
        match self.serve(host, listeners) {
            Ok(now) => {
                *serving = Some(now);
                self.seen.lock().readable = Some(readable);
            }
            Err(error) => tracing::warn!("nothing can be read before the restore is done: {error}"),
        }
    }

    /// Says why nothing can be read yet, if nothing can.
    fn excuse(&self, why: &Refusal) {
        if self.seen.lock().readable.is_some() {
            return tracing::debug!("what has been heard of since cannot be read yet: {why}");
        }
        if let Some(serving) = &*self.serving.lock() {
            let text = format!("{COMING_BACK}; nothing of it can be read yet: {}", why.text);
            tracing::debug!("{text}");
            serving.shared.host.absence.set_all(Refusal::new(Status::Away, text));
        }
    }

    fn serve(&self, host: Host, listeners: Vec<Listener>) -> io::Result<Serving<Host>> {
        let host = Arc::new(host);
        let text = format!("{COMING_BACK}; it can be read, and written once the restore is done");
        host.absence.set_changes(Refusal::new(Status::ReadOnly, text));
        if let Some(group) = self.group.upgrade() {
            host.set_roster(&group.roster);
            host.set_group(group as Arc<dyn GroupDoor>);
        }
        Serving::start(&host, &self.settings, listeners)
    }

    fn end(&self) -> Option<Vec<Listener>> {
        self.ended.store(true, Ordering::SeqCst);
        {
            let _seen = self.seen.lock();
            self.changed.notify_all();
        }
        let serving = self.serving.lock().take();
        self.neighbours.rest();
        retire(serving?)
    }
}

fn retire(serving: Serving<Host>) -> Option<Vec<Listener>> {
    serving.retire(|host| {
        // It has nothing that could fail to be written.
        let _ = host.close();
    })
}

/// The node's segments, each read where it is nearest.
struct Nearest {
    group: Weak<Group>,
    /// Nothing where all that is known of is here.
    far: Option<Far>,
    /// How many others hold.
    with_others: usize,
    /// These, in their order, and then those that only lie here.
    names: Vec<SegmentName>,
    lengths: Vec<u64>,
}

impl Nearest {
    fn find(neighbours: &Arc<dyn Neighbours>, group: &Weak<Group>, known: Known) -> Result<Arc<Self>, Refusal> {
        let its = group.upgrade().ok_or(Status::Stopping)?;
        let (far, refusal) = match Far::find(neighbours, its.node()) {
            Ok(far) => (Some(far), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let mut lengths = far.as_ref().map_or_else(Vec::new, Far::lengths);
        let mut names = far.as_ref().map_or_else(Vec::new, Far::names);
        let with_others = names.len();
        let there: BTreeSet<SegmentName> = names.iter().copied().collect();
        for (name, bytes) in its.came_back().into_iter().filter(|(name, _)| !there.contains(name)) {
            names.push(name);
            lengths.push(bytes);
        }
        if (names.len() as u64) < known.segments {
            let text = format!("{} of {} segments are with members that can be reached", names.len(), known.segments);
            return Err(refusal.unwrap_or_else(|| Refusal::new(Status::Away, text)));
        }
        Ok(Arc::new(Self { group: Weak::clone(group), far, with_others, names, lengths }))
    }

    /// The node's key, from the deeds of those who hold something for it.
    fn key(&self, recipient: &RecipientKey) -> Option<NodeKey> {
        let node = self.group.upgrade()?.node();
        self.far.as_ref()?.sealed_keys().find_map(|sealed| NodeKey::open_sealed(sealed, recipient, node).ok())
    }

    fn unheard(&self) -> u32 {
        self.far.as_ref().map_or(0, Far::unheard).try_into().unwrap_or(u32::MAX)
    }

    fn with_unheard(&self, text: String) -> String {
        match &self.far {
            Some(far) => far.with_unheard(text),
            None => text,
        }
    }
}

impl Distant for Nearest {
    fn read(&self, segment: usize, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let group = self.group.upgrade().ok_or_else(|| io::Error::other("the node is stopping"))?;
        if group.read_back(self.names[segment], offset, into) {
            return Ok(());
        }
        drop(group);
        match &self.far {
            Some(far) if segment < self.with_others => far.read(segment, offset, into),
            _ => Err(io::Error::other("what came back of it is gone again, and nobody else holds it")),
        }
    }
}
