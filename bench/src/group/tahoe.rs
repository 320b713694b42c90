//! Tahoe-LAFS: an introducer, twelve storage servers and a gateway, coding four of twelve and encrypting, as Okapi does.
//! It does not sync what it stores.

use super::pool::{Figures, Payload, Pool, SMALL_BYTES, Step, said, until};
use super::processes;
use crate::sample::Latencies;
use crate::server::{Server, free_port};
use crate::{Fault, random};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SERVERS: usize = 12;
/// Servers that are lost.
const LOST: usize = 2;
/// How often a small file is put and got.
const SMALL_COUNT: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(1200);

/// Its log listener would be open to the whole network.
const ONLY_LOOPBACK: &str = "\
import socket
plain = socket.socket.bind
def bind(self, address):
    if isinstance(address, tuple) and address[0] in ('', '0.0.0.0'):
        address = ('127.0.0.1',) + address[1:]
    return plain(self, address)
socket.socket.bind = bind
";

/// A running grid.
pub(super) struct Tahoe {
    program: PathBuf,
    folder: PathBuf,
    web_port: u16,
    _others: [Server; 2],
    servers: Vec<Server>,
    /// How the file is found again.
    cap: String,
}

impl Tahoe {
    /// Makes and starts everything, and waits until the gateway knows all servers.
    pub(super) fn start(program: &Path, folder: &Path) -> Result<Self, Fault> {
        let (program, folder) = (program.to_owned(), folder.to_owned());
        std::fs::create_dir_all(folder.join("python"))?;
        std::fs::write(folder.join("python/sitecustomize.py"), ONLY_LOOPBACK)?;
        let tahoe = || command(&program, &folder);
        said(listening(tahoe().arg("create-introducer"), free_port()?).arg(folder.join("introducer")))?;
        let introducer = run(tahoe(), &folder.join("introducer"))?;
        let furl = folder.join("introducer/private/introducer.furl");
        until("the introducer", PATIENCE, || Ok(furl.exists()))?;
        let furl = std::fs::read_to_string(furl)?;
        let mut servers = Vec::new();
        for number in 0..SERVERS {
            let place = server_folder(&folder, number);
            let mut create = tahoe();
            listening(create.arg("create-node"), free_port()?).args(["-p", "none", "-i", furl.trim()]).arg(&place);
            said(&mut create)?;
            servers.push(run(tahoe(), &place)?);
        }
        let web_port = free_port()?;
        let mut create = tahoe();
        create.args(["create-node", "--no-storage", "--listen=none", "-i", furl.trim()]);
        create.args(["-p", &format!("tcp:{web_port}:interface=127.0.0.1")]);
        create.args(["--shares-needed=4", "--shares-happy=1", "--shares-total=12"]);
        said(create.arg(folder.join("gateway")))?;
        let gateway = run(tahoe(), &folder.join("gateway"))?;
        let tahoe = Self { program, folder, web_port, _others: [introducer, gateway], servers, cap: String::new() };
        until("the whole grid", PATIENCE, || Ok(tahoe.connected() == SERVERS))?;
        Ok(tahoe)
    }

    /// How many servers the gateway is connected to.
    fn connected(&self) -> usize {
        let told = self.ask("GET", "/?t=json", &[]).unwrap_or_default();
        String::from_utf8_lossy(&told).to_lowercase().matches("\"connection_status\": \"connected").count()
    }

    fn at_gateway(&self) -> Command {
        let mut command = command(&self.program, &self.folder);
        command.arg("-d").arg(self.folder.join("gateway"));
        command
    }

    /// Asks the gateway over HTTP, and returns the body of its answer.
    fn ask(&self, verb: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.web_port))?;
        stream.set_nodelay(true)?;
        let head = format!("{verb} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("an answer of tahoe has no end")?;
        let first = String::from_utf8_lossy(&answer[..answer.len().min(20)]).into_owned();
        if !first.contains(" 200 ") && !first.contains(" 201 ") {
            return Err(format!("tahoe answers {first}").into());
        }
        Ok(answer.split_off(end + 4))
    }

    fn small(&self) -> Result<Figures, Fault> {
        let (mut puts, mut gets) = (Latencies::when(true)?, Latencies::when(true)?);
        let mut bytes = vec![0; SMALL_BYTES];
        let mut caps = Vec::new();
        for number in 0..SMALL_COUNT {
            random::fill(number, &mut bytes);
            let start = Instant::now();
            caps.push(self.ask("PUT", "/uri", &bytes)?);
            puts.record(start.elapsed());
        }
        for (number, cap) in (0..).zip(&caps) {
            random::fill(number, &mut bytes);
            let path = format!("/uri/{}", String::from_utf8_lossy(cap).trim());
            let start = Instant::now();
            let found = self.ask("GET", &path, &[])?;
            gets.record(start.elapsed());
            if found != bytes {
                return Err("a small file came back different".into());
            }
        }
        Ok(Figures::from([("small.put".to_owned(), puts.p50()), ("small.get".to_owned(), gets.p50())]))
    }

    /// Kills servers, removes their disks, and waits until the gateway has noticed.
    fn lose(&mut self) -> Result<(), Fault> {
        let left = SERVERS - LOST;
        for number in left..SERVERS {
            // Dropped, it is killed.
            self.servers.truncate(left);
            std::fs::remove_dir_all(server_folder(&self.folder, number))?;
        }
        until("that servers are missed", PATIENCE, || Ok(self.connected() == left))
    }
}

impl Pool for Tahoe {
    fn name(&self) -> &'static str {
        super::TAHOE
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn prepare(&mut self, step: Step) -> Result<bool, Fault> {
        match step {
            Step::Repair => self.lose()?,
            Step::Restore => return Ok(false),
            Step::Put | Step::Get | Step::Small | Step::Idle => {}
        }
        Ok(true)
    }

    fn take(&mut self, step: Step, payload: &Payload) -> Result<Figures, Fault> {
        match step {
            Step::Put => self.cap = said(self.at_gateway().arg("put").arg(&payload.path))?.trim().to_owned(),
            Step::Get => drop(said(self.at_gateway().arg("get").arg(&self.cap).arg(&payload.back))?),
            Step::Small => return self.small(),
            Step::Repair => drop(said(self.at_gateway().args(["check", "--repair"]).arg(&self.cap))?),
            Step::Idle | Step::Restore => {}
        }
        Ok(Figures::new())
    }

    fn check(&mut self, step: Step, payload: &Payload) -> Result<(), Fault> {
        match step {
            Step::Get => payload.check(),
            Step::Repair => {
                let told = said(self.at_gateway().arg("check").arg(&self.cap))?;
                if told.contains("Summary: Healthy") { Ok(()) } else { Err(format!("not repaired: {told}").into()) }
            }
            _ => Ok(()),
        }
    }

    fn nodes(&self) -> Vec<u32> {
        processes::of_folder(&self.folder)
    }
}

fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("PYTHONPATH", folder.join("python"));
    command
}

fn listening(command: &mut Command, port: u16) -> &mut Command {
    command.args([
        "--listen=tcp",
        &format!("--port=tcp:{port}:interface=127.0.0.1"),
        &format!("--location=tcp:127.0.0.1:{port}"),
    ])
}

fn server_folder(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("server-{number}"))
}

fn run(mut tahoe: Command, place: &Path) -> Result<Server, Fault> {
    let log = File::create(place.with_extension("log"))?;
    Server::start(tahoe.args(["run", "--allow-stdin-close"]).arg(place).stderr(log), || Ok(()))
}
