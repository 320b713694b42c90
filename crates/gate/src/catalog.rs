//! What is served, by name.

use crate::device::{Behind, Device};
use okapi_volume::{Access, Buffered, Disk, Disks, DisksError};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
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
    asked: Mutex<Asked>,
}

/// Who waits for a disk. The first opens what all have asked for meanwhile: a host starts its machines together, and many
/// disks are opened in hardly more asks than one.
#[derive(Default)]
struct Asked {
    waiting: Vec<(String, Sender<Opened>)>,
    /// Somebody is opening.
    busy: bool,
}

type Opened = Result<Arc<dyn Device>, DisksError>;

impl DiskCatalog {
    /// Serves these of `disks`, or all. What has clones or is read-only is read whatever `access` says.
    #[must_use]
    pub fn new(disks: Disks, names: Option<Vec<String>>, access: Access) -> Self {
        Self { disks, names, access, write_back: false, open: Mutex::default(), asked: Mutex::default() }
    }

    /// Leaves what is written in this process's memory until a flush, rather than with the node at once. That is faster,
    /// and whoever kills this process takes it from machines that go on.
    #[must_use]
    pub fn with_write_back(self, write_back: bool) -> Self {
        Self { write_back, ..self }
    }

    fn disk(&self, name: &str) -> Opened {
        let (answer, answered) = channel();
        {
            let mut asked = self.asked.lock();
            asked.waiting.push((name.to_owned(), answer));
            if std::mem::replace(&mut asked.busy, true) {
                drop(asked);
                return answered.recv().expect("whoever opens answers all");
            }
        }
        loop {
            let all = {
                let mut asked = self.asked.lock();
                asked.busy = !asked.waiting.is_empty();
                std::mem::take(&mut asked.waiting)
            };
            if all.is_empty() {
                return answered.recv().expect("it has been answered");
            }
            self.open_all(all);
        }
    }

    fn open_all(&self, all: Vec<(String, Sender<Opened>)>) {
        let mut open = self.open.lock();
        let mut names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        names.retain(|name| open.get(*name).is_none_or(|disk| disk.strong_count() == 0));
        names.sort_unstable();
        names.dedup();
        let together = match (&names[..], self.access) {
            // All or none; who it was that was refused is seen by asking for each.
            ([_, _, ..], Access::Write) => self.disks.disks(&names, Access::Write).unwrap_or_default(),
            _ => Vec::new(),
        };
        let mut together: HashMap<String, Disk> =
            together.into_iter().map(|disk| (disk.name().to_owned(), disk)).collect();
        for (name, answer) in all {
            let known = open.get(&name).and_then(Weak::upgrade).map(Ok);
            let disk = known.unwrap_or_else(|| {
                let opened = together.remove(&name).map_or_else(|| self.alone(&name, open.contains_key(&name)), Ok);
                let disk = self.behind(opened?)?;
                open.insert(name, Arc::downgrade(&disk));
                Ok(disk)
            });
            // It may have been taken from the one who opens too.
            let _ = answer.send(disk);
        }
        open.retain(|_, disk| disk.strong_count() > 0);
    }

    /// Opens one disk. `was_open`: it was here before.
    fn alone(&self, name: &str, was_open: bool) -> Result<Disk, DisksError> {
        let begun = Instant::now();
        loop {
            match self.disks.disk(name, self.access) {
                Err(DisksError::HasChildren { .. } | DisksError::ReadOnly { .. }) => {
                    return self.disks.disk(name, Access::Read);
                }
                // Whoever had it here has gone, and it is being let go this very moment.
                Err(DisksError::InUse { .. }) if was_open && begun.elapsed() < LETTING_GO => {
                    std::thread::park_timeout(LOOK_EVERY);
                }
                opened => return opened,
            }
        }
    }

    /// What is served of a disk.
    fn behind(&self, disk: Disk) -> Opened {
        if disk.is_writable() {
            return Ok(Arc::new(Behind { disk: Buffered::new(disk)?, write_back: self.write_back }));
        }
        Ok(Arc::new(disk))
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
