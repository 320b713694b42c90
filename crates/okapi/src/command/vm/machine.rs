//! A machine as it is known on this computer: a directory of its own below the data directory's `vm`.
//!
//! Whoever serves a machine holds a lock in there for as long as it lives, so nobody has to believe a process number. What
//! is left where nobody holds the lock is of a server that was killed, and goes when somebody looks next.

use crate::failure::Failure;
use crate::session::Session;
use crate::settings::Effective;
use crate::view::shown;
use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

/// Bytes that the path of a unix socket may have.
const SOCKET_PATH_MAX: usize = 107;
/// How often, and how many times, is looked whether a machine is free.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS: usize = 20;

/// Where machines are known.
#[derive(Debug, Clone)]
pub(super) struct Machines {
    folder: PathBuf,
}

/// One machine's directory.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// Its name.
    pub(super) name: String,
    folder: PathBuf,
}

/// A machine that this process serves; it is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    machine: Machine,
    _lock: File,
}

/// What is known of a machine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Its name.
    pub(super) name: String,
    /// Its disk.
    pub(super) image: String,
    /// The process of qemu.
    pub(super) qemu: Process,
    /// The process that serves its disk.
    pub(super) server: Process,
    /// When it was started, in milliseconds since 1970-01-01 UTC.
    pub(super) since: u64,
    /// What runs its instructions: kvm or tcg.
    pub(super) accelerator: String,
    /// The address of its network card.
    pub(super) mac: String,
}

/// A process that is told from another of the same number by when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    began: u64,
}

impl Machines {
    /// Those of the data directory in use.
    pub(super) fn of(session: &Session) -> Result<Self, Failure> {
        let data = Effective::for_clients(&session.global)?.data;
        let data = std::path::absolute(&data).map_err(|error| Failure::io(data.display(), &error))?;
        Ok(Self { folder: data.join("vm") })
    }

    /// The machine of this name, whether it runs or not.
    pub(super) fn machine(&self, name: &str) -> Machine {
        // A name may be longer than a socket's path, and may have slashes in it.
        let folder = blake3::hash(name.as_bytes()).to_hex();
        Machine { name: name.to_owned(), folder: self.folder.join(&folder[..12]) }
    }

    /// Those that run, by name. What servers that were killed have left is removed.
    pub(super) fn running(&self) -> Result<Vec<(Machine, Record)>, Failure> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::io(self.folder.display(), &error)),
        };
        let mut running = Vec::new();
        for entry in entries.flatten() {
            let mut machine = Machine { name: String::new(), folder: entry.path() };
            let Some(record) = machine.record() else { continue };
            machine.name.clone_from(&record.name);
            match machine.lock() {
                Ok(None) => running.push((machine, record)),
                // Held meanwhile, so that nobody begins to run it.
                Ok(Some(_lock)) => machine.sweep(),
                Err(error) => return Err(Failure::io(machine.folder.display(), &error)),
            }
        }
        running.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        Ok(running)
    }

    /// One that runs.
    pub(super) fn one(&self, name: &str) -> Result<(Machine, Record), Failure> {
        let found = self.running()?.into_iter().find(|(machine, _)| machine.name == name);
        found.ok_or_else(|| {
            Failure::not_found(format!("no machine `{}` runs; `okapi vm ls` shows those that do", shown(name)))
        })
    }
}

impl Machine {
    /// Where the disk is served.
    pub(super) fn nbd(&self) -> PathBuf {
        self.folder.join("nbd.sock")
    }

    /// Where qemu takes orders.
    pub(super) fn qmp(&self) -> PathBuf {
        self.folder.join("qmp.sock")
    }

    /// Where the console takes what is typed.
    pub(super) fn serial(&self) -> PathBuf {
        self.folder.join("serial.sock")
    }

    /// What the console has shown.
    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// What qemu and the server have to say.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log.txt")
    }

    fn record_file(&self) -> PathBuf {
        self.folder.join("machine.json")
    }

    /// What is known of it, if it runs or was left by a server that was killed.
    pub(super) fn record(&self) -> Option<Record> {
        Record::from_json(&serde_json::from_slice(&fs::read(self.record_file()).ok()?).ok()?)
    }

    /// It cannot be run a second time.
    pub(super) fn runs_already(&self) -> Failure {
        Failure::of("in-use", format!("machine `{}` runs already; `okapi vm ls` shows it", shown(&self.name)))
    }

    /// Makes its directory.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        if self.serial().as_os_str().len() > SOCKET_PATH_MAX {
            let text = "is too long a path for sockets; name a shorter data directory with --data";
            return Err(Failure::usage(format!("{} {text}", self.folder.display())));
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|error| Failure::io(self.folder.display(), &error))
    }

    /// Whether somebody serves it.
    pub(super) fn is_served(&self) -> bool {
        matches!(self.lock(), Ok(None))
    }

    /// Takes it, to run it.
    pub(super) fn claim(&self) -> Result<Claim, Failure> {
        let failed = |error: io::Error| Failure::io(self.folder.display(), &error);
        self.prepare()?;
        // Whoever only looks has it for a moment.
        let mut lock = self.lock().map_err(failed)?;
        for _ in 0..LOOKS {
            if lock.is_none() {
                std::thread::sleep(LOOK);
                lock = self.lock().map_err(failed)?;
            }
        }
        let lock = lock.ok_or_else(|| self.runs_already())?;
        self.sweep();
        for old in [self.console(), self.log()] {
            File::create(old).map_err(failed)?;
        }
        Ok(Claim { machine: self.clone(), _lock: lock })
    }

    /// The lock, if nobody has it.
    fn lock(&self) -> io::Result<Option<File>> {
        let path = self.folder.join("lock");
        loop {
            let file = File::options().create(true).append(true).open(&path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                locked => locked?,
            }
            // Somebody may have removed it between the two.
            if fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino())) {
                return Ok(Some(file));
            }
        }
    }

    /// Ends and removes what there is of it but its logs.
    fn sweep(&self) {
        if let Some(record) = self.record() {
            record.qemu.kill();
        }
        for path in [self.record_file(), self.nbd(), self.qmp(), self.serial()] {
            // Most are not there.
            let _ = fs::remove_file(path);
        }
    }
}

impl Claim {
    /// The machine.
    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Lets others know that it runs.
    pub(super) fn tell(&self, record: &Record) -> Result<(), Failure> {
        let (path, new) = (self.machine.record_file(), self.machine.folder.join("machine.new"));
        let written = fs::write(&new, record.json().to_string()).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| Failure::io(path.display(), &error))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.machine.sweep();
    }
}

impl Record {
    /// As it lies in its file, and as scripts see it.
    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "image": self.image,
            "pid": self.qemu.pid,
            "began": self.qemu.began,
            "server": self.server.pid,
            "server_began": self.server.began,
            "since": self.since,
            "accelerator": self.accelerator,
            "mac": self.mac,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let process = |pid: &str, began: &str| {
            Some(Process { pid: value[pid].as_u64()?.try_into().ok()?, began: value[began].as_u64()? })
        };
        Some(Self {
            name: text("name")?,
            image: text("image")?,
            qemu: process("pid", "began")?,
            server: process("server", "server_began")?,
            since: value["since"].as_u64()?,
            accelerator: text("accelerator")?,
            mac: text("mac")?,
        })
    }
}

impl Process {
    /// A process that runs now.
    pub(super) fn of(pid: u32) -> Self {
        Self { pid, began: stat(pid).and_then(|fields| fields.get(19)?.parse().ok()).unwrap_or(0) }
    }

    /// Whether it runs still.
    pub(super) fn is_there(self) -> bool {
        let is_left_over = |state: &String| matches!(state.as_str(), "Z" | "X");
        stat(self.pid).is_some_and(|fields| !fields.first().is_some_and(is_left_over)) && Self::of(self.pid) == self
    }

    /// Ends it at once.
    pub(super) fn kill(self) {
        if let Some(pid) = Pid::from_raw(self.pid.cast_signed()).filter(|_| self.is_there()) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Seconds of a processor that it has used, and bytes of memory that it has.
    pub(super) fn used(self) -> Option<(f64, u64)> {
        let fields = stat(self.pid).filter(|_| self.is_there())?;
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let pages: u64 = fields.get(21)?.parse().ok()?;
        let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        Some((seconds, pages * rustix::param::page_size() as u64))
    }
}

/// What the system says of a process, from its state on: the name before may have anything in it.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines() -> (tempfile::TempDir, Machines) {
        let dir = tempfile::tempdir().unwrap();
        let machines = Machines { folder: dir.path().join("vm") };
        (dir, machines)
    }

    fn record(name: &str, qemu: Process) -> Record {
        let server = Process::of(std::process::id());
        let text = |text: &str| text.to_owned();
        Record { name: text(name), image: text("i"), qemu, server, since: 7, accelerator: text("tcg"), mac: text("02") }
    }

    #[test]
    fn a_machine_is_known_as_long_as_it_is_served() {
        let (_dir, machines) = machines();
        assert!(machines.running().unwrap().is_empty());
        let name = format!("a/{}", "long".repeat(30));
        let claim = machines.machine(&name).claim().unwrap();
        assert!(machines.running().unwrap().is_empty(), "it is not there yet");
        let told = record(&name, Process::of(std::process::id()));
        // Not to be killed when it is given up.
        let told = Record { qemu: Process { began: 1, ..told.qemu }, ..told };
        claim.tell(&told).unwrap();
        let running = machines.running().unwrap();
        assert_eq!((running[0].0.name.as_str(), &running[0].1), (name.as_str(), &told));
        let twice = machines.machine(&name).claim().unwrap_err();
        assert_eq!(twice.kind, "in-use");
        drop(claim);
        assert!(machines.running().unwrap().is_empty());
        assert!(machines.one(&name).unwrap_err().to_string().contains("runs; `okapi vm ls`"));
        machines.machine(&name).claim().unwrap();
    }

    #[test]
    fn what_the_dead_have_left_is_ended_and_removed() {
        let (_dir, machines) = machines();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let machine = machines.machine("a");
        let claim = machine.claim().unwrap();
        claim.tell(&record("a", Process::of(child.id()))).unwrap();
        // As if it were killed: the lock goes, and nothing else.
        let Claim { _lock, .. } = &claim;
        rustix::fs::flock(_lock, FlockOperation::Unlock).unwrap();
        assert!(machines.running().unwrap().is_empty());
        assert!(!child.wait().unwrap().success());
        assert!(!machine.record_file().exists());
    }

    #[test]
    fn another_process_of_the_same_number_is_left_alone() {
        let ours = Process::of(std::process::id());
        assert!(ours.is_there() && ours.used().unwrap().1 > 1 << 20);
        let other = Process { began: ours.began + 1, ..ours };
        assert!(!other.is_there() && other.used().is_none());
        other.kill();
    }
}
