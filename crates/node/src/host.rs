//! What all connections of a node share.

use crate::absence::Absence;
use crate::catalog::{Catalog, CatalogError, Definition, Head, Home, check_name};
use crate::chores::Chores;
use crate::grants::Grants;
use crate::grid::{Grid, companion_of};
use crate::group::pace::Pace;
use crate::group::{GroupDoor, Roster};
use crate::received::Received;
use crate::records::{Doom, now};
use crate::refusal::Refusal;
use crate::stores::Stores;
use crate::visitor::Visitor;
use okapi_base::limits::{GRIDS_MAX, RECORDS_MAX};
use okapi_base::{BlockSize, Durability, GridId, Index, Ticket};
use okapi_seal::KeyError;
use okapi_store::{Broken, Shape, WriteError};
use okapi_wire::message::{GridCreate, GridCreated};
use okapi_wire::{Status, Token};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The grid that is there from the start.
pub const DEFAULT_GRID: &str = "main";

/// What a host is opened with.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// The directory of everything the node keeps; locked by the caller.
    pub data: PathBuf,
    /// The engine of durable grids that were made without naming one.
    pub engine: EngineKind,
    /// How often grids of durability `interval` are made durable.
    pub interval: Duration,
    /// Bytes the memory engine may take.
    pub memory_max: u64,
    /// Bytes the durable log may take on disk; 0: as many as the disk has.
    pub store_max: u64,
    /// Bytes compaction may move in a second; 0: as fast as it can.
    pub compaction_rate: u64,
    /// Whether memory grids may be read by other processes of the same user through shared memory.
    pub shared_maps: bool,
    /// Named records one grid may have.
    pub records_max: usize,
    /// Changes kept of each followed grid, for followers that were away.
    pub changes_kept: usize,
}

impl HostSettings {
    /// The settings of a node that was told nothing but where to keep its data.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            engine: EngineKind::Log,
            interval: Duration::from_secs(1),
            memory_max: 1 << 30,
            store_max: 0,
            compaction_rate: 64 << 20,
            shared_maps: true,
            records_max: RECORDS_MAX,
            changes_kept: crate::changes::CHANGES_KEPT,
        }
    }
}

/// The durable engines a grid can be in by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// The segment log.
    #[default]
    Log,
    /// An LSM tree.
    Fjall,
}

/// What was found when a host was opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Which node this is: random, made at first start.
    pub node: [u8; 16],
    /// What makes a stranger the owner; also in the file `token`.
    pub token: Token,
    /// Grids in the catalog.
    pub grids: usize,
    /// Named records in all of them.
    pub records: u64,
    /// Blocks of records that were begun and never finished, deleted now.
    pub recovered: u64,
    /// Names of records that cannot be read; the log has said which.
    pub damaged: u64,
}

/// Where further facts of a node's status come from.
pub type Facts = Arc<dyn Fn() -> Vec<(String, String)> + Send + Sync>;

/// What all connections of a node share: engines, catalog, records, changes.
pub struct Host {
    pub(crate) stores: Stores,
    catalog: Mutex<(Catalog, Head)>,
    grids: RwLock<BTreeMap<String, Arc<Grid>>>,
    pub(crate) node: [u8; 16],
    pub(crate) token: Token,
    default_home: Home,
    pub(crate) records_max: usize,
    changes_kept: usize,
    pub(crate) shared_maps: bool,
    /// Short work: what makes the answer to one ask, and deleting.
    pub(crate) chores: Chores,
    /// Work that takes minutes: verifying and compacting.
    pub(crate) long_chores: Chores,
    /// Reading what followers are to be sent.
    pub(crate) reading: Chores,
    /// Asking about the group: whoever drives the peer may be busy for a moment.
    pub(crate) asking: Chores,
    group: RwLock<Option<Arc<dyn GroupDoor>>>,
    roster: OnceLock<Arc<Roster>>,
    pub(crate) grants: Grants,
    /// Keys of other members' grids.
    pub(crate) received: Received,
    /// Has members given what they may read.
    giver: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// What is refused because it is not here.
    pub(crate) absence: Absence,
    pace: OnceLock<Arc<Pace>>,
    visitors: AtomicU64,
    pub(crate) leases: AtomicU64,
    epoch: u64,
    stopping: AtomicBool,
    pub(crate) facts: Mutex<Option<Facts>>,
    /// What could not be deleted because the store was full.
    stuck: Mutex<Vec<(Arc<Grid>, Doom)>>,
}

/// Why a host could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The catalog of grids.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// One grid.
    #[error("grid `{grid}` cannot be opened: {why}")]
    Grid {
        /// Its name.
        grid: String,
        /// What failed.
        why: String,
    },
    /// An engine.
    #[error("the engine `{engine}` cannot be opened: {why}")]
    Engine {
        /// Its name.
        engine: &'static str,
        /// What failed.
        why: String,
    },
    /// The node's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file of the data directory.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system.
    #[error("{what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// Its own words.
        source: std::io::Error,
    },
}

impl Host {
    /// A host over engines that are open already.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn over(stores: Stores, token: Token, settings: &HostSettings) -> Result<(Self, Opened), OpenError> {
        let log = Arc::clone(stores.engine(Home::Log).expect("the log is always open"));
        let mut node = [0; 16];
        random(&mut node)?;
        let mut epoch = [0; 8];
        random(&mut epoch)?;
        let (catalog, found, definitions) = Catalog::open(&*log, node)?;
        let head = found.unwrap_or(Head { node, next: 1 });
        let live = |grid| definitions.iter().any(|its| its.id == grid && !its.dropping);
        let grants = Grants::open(&log, &live).map_err(|refusal| failed("grants", &refusal.text))?;
        let received = Received::open(&log).map_err(|refusal| failed("keys received", &refusal.text))?;
        let start = |name| {
            Chores::start(name).map_err(|source| OpenError::System { what: "a thread cannot be started", source })
        };
        let host = Self {
            stores,
            catalog: Mutex::new((catalog, head)),
            grids: RwLock::default(),
            node: head.node,
            token,
            default_home: match settings.engine {
                EngineKind::Log => Home::Log,
                EngineKind::Fjall => Home::Fjall,
            },
            records_max: settings.records_max,
            changes_kept: settings.changes_kept,
            shared_maps: settings.shared_maps,
            chores: start("okapi-chores")?,
            long_chores: start("okapi-care")?,
            reading: start("okapi-reading")?,
            asking: start("okapi-asking")?,
            group: RwLock::new(None),
            roster: OnceLock::new(),
            grants,
            received,
            giver: OnceLock::new(),
            absence: Absence::default(),
            pace: OnceLock::new(),
            visitors: AtomicU64::new(1),
            leases: AtomicU64::new(1),
            // Never 0, which stands for a follower that has nothing.
            epoch: u64::from_le_bytes(epoch) | 1,
            stopping: AtomicBool::new(false),
            facts: Mutex::new(None),
            stuck: Mutex::default(),
        };
        let mut opened = Opened { node: head.node, token, grids: 0, records: 0, recovered: 0, damaged: 0 };
        for definition in definitions {
            host.open_found(definition, &mut opened)?;
        }
        if found.is_none() {
            let main = GridCreate {
                name: DEFAULT_GRID.to_owned(),
                block_size: BlockSize::DEFAULT,
                durability: Durability::Always,
                public: false,
                engine: String::new(),
            };
            host.create_grid(&main).map_err(|refusal| failed(DEFAULT_GRID, &refusal.text))?;
        }
        opened.grids = host.grids.read().len();
        Ok((host, opened))
    }

    fn open_found(&self, definition: Definition, opened: &mut Opened) -> Result<(), OpenError> {
        let name = definition.name.clone();
        if definition.dropping {
            return self.finish_drop(&definition).map_err(|refusal| failed(&name, &refusal.text));
        }
        let grid = self.open_grid(definition).map_err(|refusal| failed(&name, &refusal.text))?;
        let loaded = grid.load_records().map_err(|refusal| failed(&name, &refusal.text))?;
        opened.records += loaded.records;
        opened.recovered += loaded.recovered;
        opened.damaged += loaded.damaged;
        match self.grids.write().insert(name.clone(), Arc::new(grid)) {
            Some(_) => Err(failed(&name, "two grids have this name")),
            None => Ok(()),
        }
    }

    fn open_grid(&self, definition: Definition) -> Result<Grid, Refusal> {
        let engine = self.stores.engine(definition.home).map_err(|why| Refusal::new(Status::Unsupported, why))?;
        let grid = Grid::open(definition, engine, self.epoch)?;
        grid.changes.limit(self.changes_kept);
        Ok(grid)
    }

    /// A visitor for one new connection. `wake` may be called from any thread to have the connection pumped.
    #[must_use]
    pub fn visitor(self: &Arc<Self>, facts: &okapi_link::Facts, wake: Arc<dyn Fn() + Send + Sync>) -> Visitor {
        let id = self.visitors.fetch_add(1, Ordering::Relaxed);
        Visitor::new(Arc::clone(self), id, facts, wake)
    }

    /// Up to which ticket an engine (by number) is durable.
    ///
    /// # Errors
    /// [`Broken`] once the engine has failed.
    pub fn durable(&self, engine: u8) -> Result<Ticket, Broken> {
        self.stores.durable(engine)
    }

    /// Sets what is called, from any thread, when some engine's durability has moved on or broken.
    pub fn watch(&self, watcher: okapi_store::Watcher) {
        self.stores.watch(watcher);
    }

    /// How many engines there are: their numbers are 0 up to this.
    #[must_use]
    pub fn engines(&self) -> u8 {
        Home::ALL.len() as u8
    }

    /// Sets where further facts of [`Host::status`] come from.
    pub fn set_facts(&self, facts: Facts) {
        *self.facts.lock() = Some(facts);
    }

    /// Sets who answers for the group. Until then the node is in none. Kept until [`Host::close`]: a door that holds the
    /// host must not keep it alive beyond that.
    pub fn set_group(&self, group: Arc<dyn GroupDoor>) {
        *self.group.write() = Some(group);
    }

    /// Sets who is in the group, once. Until then no member has any right here.
    pub fn set_roster(self: &Arc<Self>, roster: &Arc<Roster>) {
        let host = Arc::downgrade(self);
        roster.watch(Arc::new(move || {
            if let Some(host) = host.upgrade() {
                host.wake_followers();
            }
        }));
        let _ = self.roster.set(Arc::clone(roster));
    }

    /// Sets who gives members the keys of what they may read, once.
    pub(crate) fn set_giver(&self, giver: Box<dyn Fn() + Send + Sync>) {
        let _ = self.giver.set(giver);
    }

    /// What members may read has changed: they are told, in the background.
    pub(crate) fn give_keys(&self) {
        if let Some(giver) = self.giver.get() {
            giver();
        }
    }

    /// Who is in the group; nothing if the node is in none.
    pub(crate) fn roster(&self) -> Option<&Roster> {
        self.roster.get().map(|roster| &**roster)
    }

    /// The records that these blocks belong to, as `grid:name`: the first few of them in the order of the blocks.
    pub(crate) fn records_of(&self, blocks: &[(GridId, Index)], most: usize) -> Vec<String> {
        let grids: BTreeMap<GridId, Arc<Grid>> =
            self.all_grids().into_iter().map(|grid| (grid.definition.id, grid)).collect();
        let mut names: Vec<String> = Vec::new();
        for (id, index) in blocks {
            let Some(grid) = grids.get(id) else { continue };
            let Some(name) = grid.records.read().name_at(*index).cloned() else { continue };
            let text = format!("{}:{name}", grid.definition.name);
            if names.last() != Some(&text) && !names.contains(&text) {
                names.push(text);
            }
            if names.len() >= most {
                break;
            }
        }
        names
    }

    /// Sets what is told whenever programs are served.
    pub(crate) fn set_pace(&self, pace: Arc<Pace>) {
        let _ = self.pace.set(pace);
    }

    /// Programs are served just now: the background gives way.
    pub(crate) fn served(&self) {
        if let Some(pace) = self.pace.get() {
            pace.served();
        }
    }

    /// Who answers for the group.
    pub(crate) fn group(&self) -> Option<Arc<dyn GroupDoor>> {
        self.group.read().clone()
    }

    /// Waits until the work in the background that has been asked for is done.
    pub fn settle(&self) {
        self.chores.settle();
        self.long_chores.settle();
        self.reading.settle();
        self.asking.settle();
    }

    /// Stops the work in the background and makes everything durable. Visitors refuse further asks with `Stopping`
    /// from the moment this is called. What is left undone is done when the data is opened again.
    ///
    /// # Errors
    /// The first engine's [`WriteError`].
    pub fn close(&self) -> Result<(), WriteError> {
        self.stopping.store(true, Ordering::SeqCst);
        self.chores.stop();
        self.long_chores.stop();
        self.reading.stop();
        self.asking.stop();
        drop(self.group.write().take());
        self.stores.flush()
    }

    /// Whether [`Host::close`] has been called.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// A grid by name.
    pub(crate) fn grid(&self, name: &str) -> Option<Arc<Grid>> {
        self.grids.read().get(name).cloned()
    }

    /// All grids in the order of their names.
    pub(crate) fn all_grids(&self) -> Vec<Arc<Grid>> {
        self.grids.read().values().cloned().collect()
    }

    /// Makes a grid. It is durable when this returns, and its number will never be another's.
    pub(crate) fn create_grid(&self, ask: &GridCreate) -> Result<GridCreated, Refusal> {
        check_name(&ask.name)?;
        let home = self.home_for(ask)?;
        let mut catalog = self.catalog.lock();
        if self.grids.read().contains_key(&ask.name) {
            return Err(Refusal::new(Status::Exists, format!("there is a grid named `{}` already", ask.name)));
        }
        if self.grids.read().len() >= GRIDS_MAX {
            return Err(Refusal::new(Status::Full, "the node has 4,096 grids, and that is the limit"));
        }
        let (catalog, head) = &mut *catalog;
        let id = GridId(head.next);
        if head.next >= crate::catalog::COMPANION {
            return Err(Refusal::new(Status::Full, "the node has no numbers left for grids"));
        }
        let mut token = Token::NONE;
        random(&mut token.0).map_err(|error| Refusal::new(Status::Failed, error.to_string()))?;
        let definition = Definition {
            id,
            name: ask.name.clone(),
            shape: Shape { block_size: ask.block_size, durability: ask.durability },
            public: ask.public,
            home,
            token,
            made: now(),
            dropping: false,
        };
        // The number is used up before anything can carry it.
        head.next += 1;
        let log = self.stores.engine(Home::Log).expect("the log is always open");
        catalog.write_head(head)?;
        log.flush()?;
        let grid = Arc::new(self.open_grid(definition.clone())?);
        catalog.write_definition(&definition)?;
        log.flush()?;
        let info = grid.info(0);
        self.grids.write().insert(ask.name.clone(), grid);
        Ok(GridCreated { token, info })
    }

    fn home_for(&self, ask: &GridCreate) -> Result<Home, Refusal> {
        let in_memory = ask.durability == Durability::Memory;
        let home = match ask.engine.as_str() {
            "" if in_memory => Home::Memory,
            "" => self.default_home,
            word => Home::ALL.into_iter().find(|home| home.word() == word).ok_or_else(|| {
                Refusal::new(
                    Status::Unsupported,
                    format!("there is no engine `{word}`; there are log, memory and fjall"),
                )
            })?,
        };
        if in_memory != (home == Home::Memory) {
            let text = "the engine `memory` is for grids of durability `memory`, and no other engine is";
            return Err(Refusal::new(Status::Unsupported, text));
        }
        Ok(home)
    }

    /// Drops a grid and all that is in it. Durable when this returns.
    pub(crate) fn drop_grid(&self, name: &str) -> Result<(), Refusal> {
        let catalog = self.catalog.lock();
        let grid = self.grid(name).ok_or(Status::UnknownGrid)?;
        let definition = Definition { dropping: true, ..grid.definition.clone() };
        catalog.0.write_definition(&definition)?;
        self.stores.engine(Home::Log).expect("the log is always open").flush()?;
        grid.mark_dropped();
        grid.changes.wake();
        self.grids.write().remove(name);
        drop(catalog);
        self.finish_drop(&definition)
    }

    /// Frees what a grid held and forgets it, after the catalog says that it is being dropped.
    fn finish_drop(&self, definition: &Definition) -> Result<(), Refusal> {
        let engine = self.stores.engine(definition.home).map_err(|why| Refusal::new(Status::Unsupported, why))?;
        engine.drop_grid(definition.id)?;
        if definition.shape.durability != Durability::Memory {
            engine.drop_grid(companion_of(definition.id))?;
        }
        self.grants.forget(definition.id)?;
        self.catalog.lock().0.forget(definition.id)?;
        Ok(())
    }

    /// Has doomed blocks deleted in the background.
    pub(crate) fn doom(self: &Arc<Self>, grid: &Arc<Grid>, doom: Doom) {
        let (host, grid) = (Arc::downgrade(self), Arc::clone(grid));
        self.chores.add(move || {
            let Some(host) = host.upgrade() else { return };
            host.carry_out(grid, doom);
            // Something may have been deleted meanwhile: what was stuck is tried again.
            let stuck = std::mem::take(&mut *host.stuck.lock());
            stuck.into_iter().for_each(|(grid, doom)| host.carry_out(grid, doom));
        });
    }

    fn carry_out(&self, grid: Arc<Grid>, doom: Doom) {
        match grid.carry_out(&doom, &|| self.is_stopping() || grid.is_dropped()) {
            Ok(()) => {}
            Err(refusal) if refusal.status == Status::Full => {
                tracing::warn!(grid = %grid.definition.name, "blocks nobody has any more wait to be deleted: {refusal}");
                self.stuck.lock().push((grid, doom));
            }
            Err(refusal) => tracing::warn!(
                grid = %grid.definition.name,
                "blocks nobody has any more are deleted at the next start only: {refusal}"
            ),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}

fn failed(grid: &str, why: &str) -> OpenError {
    OpenError::Grid { grid: grid.to_owned(), why: why.to_owned() }
}

fn random(into: &mut [u8]) -> Result<(), OpenError> {
    getrandom::fill(into).map_err(|error| OpenError::System {
        what: "there is no randomness to be had",
        source: std::io::Error::other(error),
    })
}
