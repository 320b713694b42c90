//! The engines of a node, by their numbers.

use crate::catalog::Home;
use okapi_base::Ticket;
use okapi_store::{Broken, Engine, Watcher, WriteError};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// Opens an engine the first time it is needed.
pub type Opener = Box<dyn Fn() -> Result<Arc<dyn Engine>, Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// The engines of a node: the log, which also holds the catalog; memory; and fjall, opened when a grid is in it.
pub struct Stores {
    log: Arc<dyn Engine>,
    memory: Arc<dyn Engine>,
    fjall: OnceLock<Arc<dyn Engine>>,
    open_fjall: Mutex<Option<Opener>>,
    watcher: Mutex<Option<Watcher>>,
}

impl Stores {
    /// Engines that are open, and how to open fjall if it is to be had.
    #[must_use]
    pub fn new(log: Arc<dyn Engine>, memory: Arc<dyn Engine>, open_fjall: Option<Opener>) -> Self {
        let (fjall, watcher) = (OnceLock::new(), Mutex::new(None));
        Self { log, memory, fjall, open_fjall: Mutex::new(open_fjall), watcher }
    }

    /// An engine; it is opened if it is not yet.
    pub(crate) fn engine(&self, home: Home) -> Result<&Arc<dyn Engine>, String> {
        match home {
            Home::Log => Ok(&self.log),
            Home::Memory => Ok(&self.memory),
            Home::Fjall => self.fjall(),
        }
    }

    fn fjall(&self) -> Result<&Arc<dyn Engine>, String> {
        let opener = self.open_fjall.lock();
        if self.fjall.get().is_none() {
            let open = opener.as_ref().ok_or("this node has no engine `fjall`")?;
            let engine = open().map_err(|error| format!("the engine `fjall` cannot be opened: {error}"))?;
            if let Some(watcher) = &*self.watcher.lock() {
                engine.watch(Arc::clone(watcher));
            }
            let _ = self.fjall.set(engine);
        }
        Ok(self.fjall.get().expect("it was set just now"))
    }

    /// The engines that are open, with their numbers.
    pub(crate) fn open(&self) -> impl Iterator<Item = (Home, &Arc<dyn Engine>)> {
        let all = [(Home::Log, Some(&self.log)), (Home::Memory, Some(&self.memory)), (Home::Fjall, self.fjall.get())];
        all.into_iter().filter_map(|(home, engine)| engine.map(|engine| (home, engine)))
    }

    /// Up to where the engine with this number is durable.
    pub(crate) fn durable(&self, number: u8) -> Result<Ticket, Broken> {
        match self.open().find(|(home, _)| *home as u8 == number) {
            Some((_, engine)) => engine.durable(),
            None => Ok(Ticket::NOW),
        }
    }

    /// Sets what is called when durability moves on.
    pub(crate) fn watch(&self, watcher: Watcher) {
        let mut kept = self.watcher.lock();
        self.open().for_each(|(_, engine)| engine.watch(Arc::clone(&watcher)));
        *kept = Some(watcher);
    }

    /// Makes all engines durable, and says what the first failure was.
    pub(crate) fn flush(&self) -> Result<(), WriteError> {
        self.open().map(|(_, engine)| engine.flush()).fold(Ok(()), Result::and)
    }
}
