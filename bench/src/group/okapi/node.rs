//! One node of the group: a process, its data directory, and the words that bring it back.

use crate::Fault;
use crate::group::pool::said;
use crate::server::Server;
use okapi_client::group::{GroupStatus, NodeId};
use okapi_client::{Client, Settings, Target};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A node.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) client: Client,
    data: PathBuf,
    /// Nothing once it has been lost.
    server: Option<Server>,
}

impl Node {
    /// Makes a node with a member of its own, and runs it.
    pub(super) fn found(program: &Path, data: &Path, give: u64) -> Result<Self, Fault> {
        let mut init = okapi(program, data);
        init.arg("init").args(identity(data, give));
        // Quiet, it prints the words and nothing else.
        std::fs::write(words_of(data), said(&mut init)?)?;
        private(&words_of(data))?;
        Self::run_in(program, data)
    }

    fn run_in(program: &Path, data: &Path) -> Result<Self, Fault> {
        let target = Target::Unix(data.join("okapi.sock"));
        let log = File::create(data.with_extension("log"))?;
        let reach = || Client::connect(&target, Settings::default()).map_err(std::io::Error::other);
        let server = Server::start(okapi(program, data).arg("up").stderr(log), reach)?;
        let client = Client::connect(&target, Settings::default())?;
        let id = client.group_status()?.node;
        Ok(Self { id, client, data: data.to_owned(), server: Some(server) })
    }

    /// How it stands in its group.
    pub(super) fn status(&self) -> Result<GroupStatus, Fault> {
        Ok(self.client.group_status()?)
    }

    /// Its process.
    pub(super) fn process(&self) -> Option<u32> {
        self.server.as_ref().map(Server::id)
    }

    /// Where it listens for members.
    pub(super) fn member_address(&self) -> Result<String, Fault> {
        let ticket = self.client.invite(Duration::from_secs(3600))?.ticket;
        let ticket = okapi_client::group::Ticket::parse(&ticket)?;
        let address = ticket.addresses.first().ok_or("a node listens nowhere")?;
        Ok(address.trim_start_matches("tcp://").to_owned())
    }

    /// Runs a command at it.
    pub(super) fn run(&self, program: &Path, words: impl FnOnce(&mut Command) -> &mut Command) -> Result<(), Fault> {
        said(words(&mut okapi(program, &self.data))).map(drop)
    }

    /// Kills it and removes its disk.
    pub(super) fn burn(&mut self) -> Result<(), Fault> {
        // Dropped, it is killed and waited for.
        self.server = None;
        Ok(std::fs::remove_dir_all(&self.data)?)
    }

    /// Brings it back from the words on paper, and tells after how long what it had could be read. It does not run
    /// afterwards.
    pub(super) fn restore(&mut self, program: &Path, via: &str, give: u64) -> Result<Option<Duration>, Fault> {
        let mut restore = Command::new(program);
        restore.arg("--data").arg(&self.data).args(["--json", "restore", via, "--exit", "--phrase-file"]);
        restore.arg(words_of(&self.data)).args(identity(&self.data, give));
        let started = Instant::now();
        let mut running = restore.stdout(Stdio::piped()).spawn()?;
        let mut readable = None;
        for line in BufReader::new(running.stdout.take().expect("it is piped")).lines() {
            if line?.contains("\"readable\"") {
                readable.get_or_insert_with(|| started.elapsed());
            }
        }
        match running.wait()? {
            status if status.success() => Ok(readable),
            status => Err(format!("{restore:?}: {status}").into()),
        }
    }

    /// Runs it again.
    pub(super) fn run_again(&mut self, program: &Path) -> Result<(), Fault> {
        *self = Self::run_in(program, &self.data)?;
        Ok(())
    }
}

fn okapi(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--data").arg(data).arg("--quiet");
    command
}

/// What a node is told when it begins.
fn identity(data: &Path, give: u64) -> [String; 7] {
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    let give = give.to_string();
    ["--give", &give, "--listen", "127.0.0.1:0", "--name", &name, "--no-passphrase"].map(str::to_owned)
}

/// The file with the words, beside the disk that may burn.
fn words_of(data: &Path) -> PathBuf {
    data.with_extension("words")
}

fn private(path: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?)
}
