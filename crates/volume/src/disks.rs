//! The directory of disks in a grid: the door.

use crate::buffer::kept::Kept;
use crate::buffer::pool::Pool;
use crate::cache::Cache;
use crate::directory::Directory;
use crate::disk::Disk;
use crate::fault::{DiskError, DisksError};
use crate::head::Head;
use crate::holding::Held;
use crate::lease::{Lease, now};
use crate::limits::{BASE_BLOCK, BLOCK_BITS, GRID_BLOCK, VIEWS_KEPT};
use crate::place::Number;
use crate::puts::Puts;
use crate::view::{Layer, View};
use okapi_client::{Client, Durability, Fault, Generation, Grid, GridCreate, GridError, Status, Token};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;

/// The disks in a grid. Clones are the same directory, and share what is kept in memory.
#[derive(Debug, Clone)]
pub struct Disks(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) grid: Grid,
    /// Who we are, in leases.
    pub(crate) holder: [u8; 16],
    pub(crate) directory: Mutex<Directory>,
    /// What is held for writing.
    pub(crate) held: Mutex<BTreeMap<Number, Weak<Held>>>,
    /// What parents show, as long as somebody looks. A head is put whenever its disk may be written to, so that what was
    /// seen under one generation cannot change.
    views: Mutex<HashMap<(Number, Generation), Weak<View>>>,
    /// Those looked through lately: whoever opens a disk again shortly after finds what is in memory.
    recent: Mutex<VecDeque<Arc<View>>>,
    pub(crate) cache: Arc<Cache>,
    /// What disks that are written to have in memory.
    pub(crate) buffers: Arc<Pool>,
    /// What was in memory of those that are closed.
    pub(crate) kept: Kept,
    /// How often the node went away with puts that no sync had covered.
    losses: AtomicU64,
    /// The thread that renews leases.
    pub(crate) keeper: Mutex<Option<Thread>>,
}

/// What a disk is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading. Somebody else may write to it, and what is read is of the moment it was opened or later.
    Read,
    /// Writing: nobody else can do so meanwhile.
    Write,
}

/// A disk as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub head: Head,
    /// The name of its parent.
    pub parent: Option<String>,
    /// The names of those built on it.
    pub children: Vec<String>,
    /// Who writes to it.
    pub in_use: Option<Lease>,
    /// Blocks of its own.
    pub blocks: u64,
}

impl Disks {
    /// Opens the directory of a grid that is there, and removes what crashes have left. `cache`: bytes of memory for what
    /// parents show, and as many for the buffers of disks that are written to.
    ///
    /// # Errors
    /// [`DisksError`], [`okapi_client::Status::UnknownGrid`] among its reasons.
    pub fn open(client: &Client, grid: &str, token: Option<Token>, cache: usize) -> Result<Self, DisksError> {
        let grid = client.grid(grid, token)?;
        let info = grid.info();
        if info.block_size < BASE_BLOCK {
            let (has, needed) = (info.block_size.bytes(), BASE_BLOCK.bytes());
            return Err(DisksError::SmallBlocks { grid: grid.name().to_owned(), has, needed });
        }
        let records = grid.stat()?.records;
        if records > 0 {
            return Err(DisksError::Records { grid: grid.name().to_owned(), records });
        }
        let this = Self(Arc::new(Inner {
            grid,
            holder: dice()?,
            directory: Mutex::default(),
            held: Mutex::default(),
            views: Mutex::default(),
            cache: Arc::new(Cache::new(cache)),
            buffers: Arc::new(Pool::new(cache)),
            kept: Kept::default(),
            recent: Mutex::default(),
            losses: AtomicU64::new(0),
            keeper: Mutex::default(),
        }));
        this.0.directory.lock().look(&this.0.grid)?;
        this.0.sweep()?;
        Ok(this)
    }

    /// The same; the grid is made if it is not there.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn open_or_make(client: &Client, grid: &str, token: Option<Token>, cache: usize) -> Result<Self, DisksError> {
        match Self::open(client, grid, token, cache) {
            Err(DisksError::Grid(error)) if error.status() == Some(Status::UnknownGrid) => {}
            opened => return opened,
        }
        let create = GridCreate {
            name: grid.to_owned(),
            block_size: GRID_BLOCK,
            durability: Durability::Always,
            public: false,
            engine: String::new(),
        };
        match client.create_grid(&create) {
            // Somebody else was faster.
            Err(error) if error.status() != Some(Status::Exists) => return Err(error.into()),
            _ => {}
        }
        Self::open(client, grid, token, cache)
    }

    /// All disks, by name. `blocks`: count what is their own too, which asks for each.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn list(&self, blocks: bool) -> Result<Vec<Listed>, DisksError> {
        let mut directory = self.0.directory.lock();
        directory.look(&self.0.grid)?;
        let mut heads: Vec<&Head> = directory.heads().filter(|head| !head.partial).collect();
        heads.sort_by(|a, b| a.name.cmp(&b.name));
        let leases = self.0.leases(&heads)?;
        let mut children = directory.all_children();
        let mut listed = Vec::with_capacity(heads.len());
        for (head, (_, lease)) in heads.into_iter().zip(leases) {
            let parent = head.parent.and_then(|parent| directory.get(parent.number));
            listed.push(Listed {
                parent: parent.map(|(_, parent)| parent.name.clone()),
                children: children.remove(&head.number).unwrap_or_default(),
                in_use: lease.filter(|lease| lease.is_live(now())),
                blocks: if blocks { self.0.blocks_of(head.number)? } else { 0 },
                head: head.clone(),
            });
        }
        Ok(listed)
    }

    /// The names of all disks, in order: who writes to them, which [`Self::list`] asks for, is left out.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn names(&self) -> Result<Vec<String>, DisksError> {
        let mut directory = self.0.directory.lock();
        directory.look(&self.0.grid)?;
        let mut names: Vec<String> =
            directory.heads().filter(|head| !head.partial).map(|head| head.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// What a disk is.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn find(&self, name: &str) -> Result<Head, DisksError> {
        let mut directory = self.0.directory.lock();
        directory.look(&self.0.grid)?;
        directory.find(name).cloned()
    }

    /// Blocks of its own that a disk has.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn own_blocks(&self, name: &str) -> Result<u64, DisksError> {
        Ok(self.0.blocks_of(self.find(name)?.number)?)
    }

    /// Opens a disk.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn disk(&self, name: &str, access: Access) -> Result<Disk, DisksError> {
        let mut disks = self.disks(&[name], access)?;
        Ok(disks.pop().expect("one was asked for"))
    }

    /// Opens several disks in few asks: all or none.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn disks(&self, names: &[&str], access: Access) -> Result<Vec<Disk>, DisksError> {
        match access {
            Access::Read => names.iter().map(|name| Disk::open(&self.0, self.find(name)?)).collect(),
            Access::Write => {
                let held = self.0.hold(names)?;
                let layers = Layer::load_all(&self.0.grid, &held.iter().map(|(head, _)| head).collect::<Vec<_>>())?;
                let all = held.into_iter().zip(layers);
                all.map(|((head, held), top)| Disk::open_held(&self.0, head, top, held)).collect()
            }
        }
    }

    /// Renews the leases of all disks that are open for writing, as is done every quarter of a minute.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn renew_all(&self) -> Result<(), DisksError> {
        self.0.renew_all()
    }

    /// The grid they are in.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.0.grid
    }

    /// Bytes of memory that what parents show takes now.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.0.cache.bytes()
    }

    /// Bytes of memory that the buffers of disks take now.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.0.buffers.held()
    }
}

impl Inner {
    /// What shows through the disk `of` to those built on it.
    pub(crate) fn view(&self, of: &Head) -> Result<Arc<View>, DisksError> {
        let view = self.view_of(of)?;
        let mut recent = self.recent.lock();
        recent.retain(|other| !Arc::ptr_eq(other, &view));
        recent.push_front(view.clone());
        recent.truncate(VIEWS_KEPT);
        Ok(view)
    }

    fn view_of(&self, of: &Head) -> Result<Arc<View>, DisksError> {
        let key = (of.number, self.generation(of)?.0);
        if let Some(view) = self.views.lock().get(&key).and_then(Weak::upgrade) {
            return Ok(view);
        }
        let view = Arc::new(self.new_view(of, true)?);
        let mut views = self.views.lock();
        if let Some(faster) = views.get(&key).and_then(Weak::upgrade) {
            return Ok(faster);
        }
        views.retain(|_, view| view.strong_count() > 0);
        self.cache.forget_closed();
        views.insert(key, Arc::downgrade(&view));
        Ok(view)
    }

    /// What a disk and those below it show now. `keep`: they cannot change.
    pub(crate) fn new_view(&self, of: &Head, keep: bool) -> Result<View, DisksError> {
        let chain = self.directory.lock().chain(of)?;
        let mut visible = of.size;
        let mut layers = Vec::with_capacity(chain.len());
        for head in &chain {
            layers.push(Layer::load(&self.grid, head, visible)?);
            visible = head.parent.map_or(0, |parent| parent.through);
        }
        Ok(View::new(&of.name, &self.grid, layers, &self.cache, keep))
    }

    /// Puts heads, each if it is still at its generation, and notes them; the first that is not.
    pub(crate) fn put_heads(&self, heads: &[(Generation, Head)], flags: u16) -> Result<Option<usize>, DisksError> {
        let bytes: Vec<_> = heads.iter().map(|(_, head)| head.encode()).collect();
        let mut puts = Puts::default();
        for ((expect, head), bytes) in heads.iter().zip(&bytes) {
            puts.whole_if(head.number.head(), bytes, *expect);
        }
        let outcomes = puts.put_each(&self.grid, flags)?;
        let mut directory = self.directory.lock();
        let mut stale = None;
        for (at, (outcome, (_, head))) in outcomes.iter().zip(heads).enumerate() {
            match outcome.status {
                Status::Ok => directory.note(outcome.generation, head.clone()),
                // Changed since it was seen, or gone.
                Status::Stale | Status::Absent => stale = stale.or(Some(at)),
                status => {
                    return Err(DisksError::Refused { name: head.name.clone(), what: "writing its head", status });
                }
            }
        }
        Ok(stale)
    }

    /// Blocks of its own that a disk has.
    pub(crate) fn blocks_of(&self, number: Number) -> Result<u64, GridError> {
        let mut blocks = 0;
        for run in self.grid.runs(number.data(0)) {
            let run = run?;
            if run.start.get() >> BLOCK_BITS != u64::from(number.get()) {
                break;
            }
            // Runs of two disks may touch.
            let end = number.next().map_or(u64::MAX, |next| next.data(0).get());
            blocks += (run.start.get() + run.count).min(end) - run.start.get();
        }
        Ok(blocks)
    }

    /// How many losses there were so far.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// Waits until everything written before is durable. The node may have gone away with some of it: each disk that was
    /// open then, and knows so by `seen`, hears of it once.
    pub(crate) fn sync(&self, name: &str, seen: &AtomicU64) -> Result<(), DiskError> {
        match self.grid.sync() {
            Ok(()) => {}
            Err(GridError { fault: Fault::Interrupted { .. }, .. }) => {
                self.losses.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => return Err(DiskError::Grid { name: name.to_owned(), error: Box::new(error) }),
        }
        let losses = self.losses();
        if seen.swap(losses, Ordering::AcqRel) != losses {
            return Err(DiskError::Lost { name: name.to_owned() });
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.lock().take() {
            keeper.unpark();
        }
    }
}

/// Random bytes.
pub(crate) fn dice<const N: usize>() -> Result<[u8; N], DisksError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| DisksError::System { what: "random bytes", why: error.to_string() })?;
    Ok(bytes)
}
