//! What all connections of a node share.

use crate::visitor::Visitor;
use okapi_base::Ticket;
use okapi_store::{Broken, WriteError};
use okapi_wire::Token;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a host is opened with.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// The directory of everything the node keeps; locked by the caller.
    pub data: PathBuf,
    /// The engine of grids that were made without naming one.
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
    pub records: usize,
    /// Blocks of records that were begun and never finished, deleted now.
    pub recovered: u64,
}

/// What all connections of a node share: engines, catalog, records, changes.
pub struct Host {}

/// Why a host could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {}

impl Host {
    /// Opens the engines and the catalog in the data directory, which the caller has locked.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: &HostSettings) -> Result<(Self, Opened), OpenError> {
        let _ = settings;
        let opened = Opened { node: [0; 16], token: Token::NONE, grids: 0, records: 0, recovered: 0 };
        Ok((Self {}, opened))
    }

    /// A visitor for one new connection. `wake` may be called from any thread to have the connection pumped.
    #[must_use]
    pub fn visitor(self: &Arc<Self>, facts: &okapi_link::Facts, wake: Arc<dyn Fn() + Send + Sync>) -> Visitor {
        let _ = (facts, wake);
        Visitor {}
    }

    /// Up to which ticket an engine (by number) is durable.
    ///
    /// # Errors
    /// [`Broken`] once the engine has failed.
    pub fn durable(&self, engine: u8) -> Result<Ticket, Broken> {
        let _ = engine;
        Ok(Ticket::NOW)
    }

    /// Sets what is called, from any thread, when some engine's durability has moved on or broken.
    pub fn watch(&self, watcher: okapi_store::Watcher) {
        drop(watcher);
    }

    /// How many engines there are: their numbers are 0 up to this.
    #[must_use]
    pub fn engines(&self) -> u8 {
        3
    }

    /// What the node is and holds, as names and values.
    #[must_use]
    pub fn status(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Sets where further facts of [`Host::status`] come from.
    pub fn set_facts(&self, facts: Arc<dyn Fn() -> Vec<(String, String)> + Send + Sync>) {
        drop(facts);
    }

    /// Makes everything durable and stops the work in the background. Visitors refuse further asks with
    /// `Stopping` from the moment this is called.
    ///
    /// # Errors
    /// The first engine's [`WriteError`].
    pub fn close(&self) -> Result<(), WriteError> {
        Ok(())
    }
}
