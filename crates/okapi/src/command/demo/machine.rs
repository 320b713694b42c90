//! One of the demo's machines: a process of this very program, with a disk and an identity of its own.

use crate::failure::Failure;
use okapi_client::group::{GroupState, GroupStatus};
use okapi_client::{Client, Settings, Target};
use okapi_node::group::pending_restore;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The file that makes a directory a demo's.
pub(super) const MARK: &str = "demo";
/// The file with the process of a machine.
const PROCESS_FILE: &str = "process";
/// Disk that each machine gives, in bytes, at least; and how many times the file's bytes. Nobody places much with
/// newcomers, however much they offer.
const GIVES_MIN: u64 = 8 << 30;
const GIVES_TIMES: u64 = 40;
/// How long a machine may take to be there.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long one may take to end in good order.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A machine.
pub(super) struct Machine {
    /// What it is called.
    pub(super) name: &'static str,
    /// Its directory.
    folder: PathBuf,
    gives: String,
    child: Option<Child>,
    client: Option<Client>,
}

impl Machine {
    /// A machine that is not there yet, in a directory below `place`, for a file of so many bytes.
    pub(super) fn new(place: &Path, name: &'static str, file_bytes: u64) -> Self {
        let gives = file_bytes.saturating_mul(GIVES_TIMES).max(GIVES_MIN).to_string();
        Self { name, folder: place.join(name), gives, child: None, client: None }
    }

    /// Its data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Gives it an identity; gives its recovery phrase.
    pub(super) fn init(&self) -> Result<String, Failure> {
        self.new_disk()?;
        let line = [
            "init",
            "--give",
            &self.gives,
            "--listen",
            "127.0.0.1:0",
            "--no-passphrase",
            "--json",
            "--name",
            self.name,
        ];
        let said: serde_json::Value = serde_json::from_slice(&self.run(&line)?)
            .map_err(|error| Failure::new(format!("`okapi init` said what is no JSON: {error}")))?;
        Ok(said["phrase"].as_str().unwrap_or_default().to_owned())
    }

    /// Starts it with its data; it outlives this process.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        self.spawn(&["up"], None)
    }

    /// Starts it with an empty disk, to get everything back by its words and a ticket.
    pub(super) fn start_restore(&mut self, phrase: &str, ticket: &str) -> Result<(), Failure> {
        let gives = self.gives.clone();
        let line =
            ["restore", ticket, "--give", &gives, "--listen", "127.0.0.1:0", "--no-passphrase", "--name", self.name];
        self.spawn(&line, Some(phrase))
    }

    fn spawn(&mut self, line: &[&str], input: Option<&str>) -> Result<(), Failure> {
        let log = self.folder.join("log.txt");
        let wrong = |error: std::io::Error| Failure::io(log.display(), &error);
        let said = File::options().create(true).append(true).open(&log).map_err(wrong)?;
        let mut command = self.command(line)?;
        command.stdout(said.try_clone().map_err(wrong)?).stderr(said);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        // Not in this program's group of processes: Ctrl-C is for the demo alone.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| Failure::io("starting a node", &error))?;
        if let (Some(text), Some(mut to)) = (input, child.stdin.take()) {
            to.write_all(text.as_bytes()).map_err(|error| Failure::io("the recovery phrase", &error))?;
        }
        fs::write(self.folder.join(PROCESS_FILE), child.id().to_string()).map_err(wrong)?;
        self.child = Some(child);
        self.client = None;
        Ok(())
    }

    /// Waits until it answers.
    pub(super) fn wait(&mut self, give_up: &dyn Fn() -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            if self.client().is_ok() {
                return Ok(());
            }
            if let Some(Ok(Some(_))) = self.child.as_mut().map(Child::try_wait) {
                let said = fs::read_to_string(self.folder.join("log.txt")).unwrap_or_default();
                let last = said.trim_end().lines().last().unwrap_or("it said nothing").to_owned();
                return Err(Failure::new(format!("{} ended: {last}", self.name)));
            }
            if begun.elapsed() > START_PATIENCE || give_up() {
                return Err(Failure::new(format!("{} did not start", self.name)));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A connection to it.
    pub(super) fn client(&mut self) -> Result<Client, Failure> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let target = Target::Unix(self.data().join("okapi.sock"));
        let client = Client::connect(&target, Settings::default())?;
        self.client = Some(client.clone());
        Ok(client)
    }

    /// How it stands in its group; nothing if it does not answer.
    pub(super) fn status(&mut self) -> Option<GroupStatus> {
        let status = self.client().ok()?.group_status();
        if status.is_err() {
            self.client = None;
        }
        status.ok()
    }

    /// Whether its restore is done: it answers before that, too, for others hold what it had.
    pub(super) fn is_back(&mut self) -> bool {
        let over = pending_restore(&self.data()).is_ok_and(|via| via.is_none());
        over && self.status().is_some_and(|status| status.state != GroupState::Restoring)
    }

    /// Kills it without any warning, and wipes its disk.
    pub(super) fn burn(&mut self) -> Result<(), Failure> {
        self.client = None;
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).map_err(|error| Failure::io("killing a node", &error))?;
        }
        fs::remove_dir_all(&self.folder).map_err(|error| Failure::io(self.folder.display(), &error))?;
        Ok(())
    }

    /// An empty disk.
    pub(super) fn new_disk(&self) -> Result<(), Failure> {
        let wrong = |error: std::io::Error| Failure::io(self.folder.display(), &error);
        fs::create_dir_all(&self.folder).map_err(wrong)?;
        fs::write(self.config(), "# A machine of the demo: all is as it is by default.\n").map_err(wrong)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("okapi.toml")
    }

    /// Runs a command of its own against it.
    pub(super) fn run(&self, line: &[&str]) -> Result<Vec<u8>, Failure> {
        let done = self.command(line)?.stdin(Stdio::null()).output();
        let done = done.map_err(|error| Failure::io("running okapi", &error))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(Failure::new(format!("{}: `okapi {}`: {}", self.name, line.join(" "), said.trim())));
        }
        Ok(done.stdout)
    }

    fn command(&self, line: &[&str]) -> Result<Command, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::io("this program", &error))?;
        let mut command = Command::new(program);
        command.args(line).current_dir("/");
        // What the user has set for a node of their own is none of its business.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("OKAPI_")) {
                command.env_remove(name);
            }
        }
        command.env("OKAPI_DATA", self.data()).env("OKAPI_CONFIG", self.config());
        Ok(command)
    }

    /// Ends all machines of a demo; tells how many ran.
    pub(super) fn end_all(place: &Path) -> Result<usize, Failure> {
        let mut ended = 0;
        let folders = fs::read_dir(place).map_err(|error| Failure::io(place.display(), &error))?;
        for folder in folders.flatten() {
            let Ok(text) = fs::read_to_string(folder.path().join(PROCESS_FILE)) else { continue };
            let Some(process) = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw) else { continue };
            if is_ours(process, &folder.path()) {
                end(process);
                ended += 1;
            }
        }
        Ok(ended)
    }
}

/// Whether a process still is the machine that it was: numbers are used again.
fn is_ours(process: rustix::process::Pid, folder: &Path) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", process.as_raw_nonzero())).unwrap_or_default();
    let wanted = format!("OKAPI_DATA={}", folder.join("data").display());
    environment.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes())
}

/// As a person would: asks it to end, and insists if it does not.
fn end(process: rustix::process::Pid) {
    use rustix::process::{Signal, kill_process, test_kill_process};
    let _ = kill_process(process, Signal::TERM);
    let begun = Instant::now();
    while test_kill_process(process).is_ok() {
        if begun.elapsed() > END_PATIENCE {
            let _ = kill_process(process, Signal::KILL);
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
