//! What is served, by name.

use crate::device::{Behind, Device};
use okapi_volume::{Access, Buffered, Disks, DisksError};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long is waited for a disk that the last of its clients has just left.
const LETTING_GO: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What is served, by name.
pub trait Catalog: Send + Sync {
    /// The names there are.
    ///
    /// # Errors
    /// [`Refused`].
    fn list(&self) -> Result<Vec<String>, Refused>;

    /// Opens what has this name, and its name in full: none at all stands for the only one there is.
    ///
    /// # Errors
    /// [`Refused`].
    fn open(&self, name: &str) -> Result<(String, Arc<dyn Device>), Refused>;
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such export.
    Unknown(String),
    /// There is one, and it cannot be had.
    Denied(String),
}

/// Disks, opened when somebody asks for them and let go when nobody is left.
pub struct DiskCatalog {
    disks: Disks,
    /// Those served; nothing: all there are.
    names: Option<Vec<String>>,
    access: Access,
    write_back: bool,
    open: Mutex<HashMap<String, Weak<dyn Device>>>,
}

impl DiskCatalog {
    /// Serves these of `disks`, or all. What has clones or is read-only is read whatever `access` says.
    #[must_use]
    pub fn new(disks: Disks, names: Option<Vec<String>>, access: Access) -> Self {
        Self { disks, names, access, write_back: false, open: Mutex::default() }
    }

    /// Leaves what is written in this process's memory until a flush, rather than with the node at once. That is faster,
    /// and whoever kills this process takes it from machines that go on.
    #[must_use]
    pub fn with_write_back(self, write_back: bool) -> Self {
        Self { write_back, ..self }
    }

    fn disk(&self, name: &str) -> Result<Arc<dyn Device>, DisksError> {
        let mut open = self.open.lock();
        if let Some(disk) = open.get(name).and_then(Weak::upgrade) {
            return Ok(disk);
        }
        let was_open = open.contains_key(name);
        let begun = Instant::now();
        let disk = loop {
            match self.disks.disk(name, self.access) {
                Err(DisksError::HasChildren { .. } | DisksError::ReadOnly { .. }) => {
                    break self.disks.disk(name, Access::Read)?;
                }
                // Whoever had it here has gone, and it is being let go this very moment.
                Err(DisksError::InUse { .. }) if was_open && begun.elapsed() < LETTING_GO => {
                    std::thread::park_timeout(LOOK_EVERY);
                }
                opened => break opened?,
            }
        };
        open.retain(|_, disk| disk.strong_count() > 0);
        let disk: Arc<dyn Device> = if disk.is_writable() {
            Arc::new(Behind { disk: Buffered::new(disk)?, write_back: self.write_back })
        } else {
            Arc::new(disk)
        };
        open.insert(name.to_owned(), Arc::downgrade(&disk));
        Ok(disk)
    }
}

impl Catalog for DiskCatalog {
    fn list(&self) -> Result<Vec<String>, Refused> {
        if let Some(names) = &self.names {
            return Ok(names.clone());
        }
        self.disks.names().map_err(|error| Refused::Denied(error.to_string()))
    }

    fn open(&self, name: &str) -> Result<(String, Arc<dyn Device>), Refused> {
        let unknown = || Refused::Unknown(format!("there is no export `{}`", name.escape_default()));
        let name = match (name, &self.names) {
            ("", _) => match self.list()?.as_slice() {
                [only] => only.clone(),
                _ => return Err(unknown()),
            },
            (name, Some(names)) if !names.iter().any(|known| known == name) => return Err(unknown()),
            (name, _) => name.to_owned(),
        };
        match self.disk(&name) {
            Ok(disk) => Ok((name, disk)),
            Err(error @ DisksError::Unknown { .. }) => Err(Refused::Unknown(error.to_string())),
            Err(error) => Err(Refused::Denied(error.to_string())),
        }
    }
}
