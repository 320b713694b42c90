//! memcached: one server on a unix socket and one on loopback (it listens on one or the other), with its usual four
//! threads, room for every block, and items of up to 2 MiB.

use super::Contender;
use crate::Fault;
use crate::random;
use crate::sample::Sample;
use crate::scenario::{Deed, Path, Scenario};
use crate::server::{self, Server};
use crate::socket::replies::{Grammar, Step, number, unexpected};
use crate::socket::{self, Dialect, Place, key};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

/// Two running memcached.
#[derive(Debug)]
pub(crate) struct Memcached {
    unix: (Place, Server),
    tcp: (Place, Server),
}

impl Memcached {
    /// Starts both with the socket in `dir`.
    pub(crate) fn start(dir: &std::path::Path) -> Result<Self, Fault> {
        let (socket, port) = (dir.join("memcached.sock"), server::free_port()?);
        let start = |place: Place, words: &[&std::ffi::OsStr]| {
            let mut command = Command::new("memcached");
            command.args(["-m", "2048", "-I", "2m", "-U", "0", "-t", "4"]).args(words);
            if rustix::process::geteuid().is_root() {
                command.args(["-u", "root"]);
            }
            let server = Server::start(&mut command, || place.connect())?;
            Ok::<_, Fault>((place, server))
        };
        let port_word = port.to_string();
        let unix = start(Place::Unix(socket.clone()), &["-s".as_ref(), socket.as_os_str()])?;
        let tcp = start(Place::Tcp(port), &["-l".as_ref(), "127.0.0.1".as_ref(), "-p".as_ref(), port_word.as_ref()])?;
        Ok(Self { unix, tcp })
    }

    fn of(&self, path: Path) -> &(Place, Server) {
        if path == Path::Tcp { &self.tcp } else { &self.unix }
    }
}

impl Contender for Memcached {
    fn name(&self) -> &'static str {
        "memcached"
    }

    fn takes(&self, scenario: &Scenario) -> bool {
        scenario.path != Path::SharedMap
    }

    fn prepare(&mut self, scenario: &Scenario) -> Result<(), Fault> {
        socket::prepare(&self.of(scenario.path).0, &Text, scenario)
    }

    fn run(&mut self, scenario: &Scenario, time: Duration) -> Result<Sample, Fault> {
        let (place, server) = self.of(scenario.path);
        socket::run(place, server, &Text, scenario, time)
    }
}

/// The text protocol. Its multi-get answers in one piece; the meta commands would be one request a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text;

impl Dialect for Text {
    type Grammar = TextReplies;

    fn get(&self, size: usize, indexes: &[u64], out: &mut Vec<u8>) {
        out.extend_from_slice(b"get");
        for index in indexes {
            write!(out, " {}", key(size, *index)).expect("a vector takes every byte");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn put(&self, size: usize, indexes: &[u64], out: &mut Vec<u8>) {
        let mut payload = vec![0; size];
        for index in indexes {
            random::fill(*index, &mut payload);
            write!(out, "set {} 0 0 {size}\r\n", key(size, *index)).expect("a vector takes every byte");
            out.extend_from_slice(&payload);
            out.extend_from_slice(b"\r\n");
        }
    }

    fn grammar(&self, deed: Deed, size: usize, batch: usize) -> TextReplies {
        TextReplies { deed, size, batch, seen: 0 }
    }
}

/// Replies of memcached: `STORED` to each put, `VALUE key flags n` with a payload to each key of a get, then `END`.
#[derive(Debug)]
pub(crate) struct TextReplies {
    deed: Deed,
    size: usize,
    batch: usize,
    /// Blocks of the present frame that were answered.
    seen: usize,
}

impl Grammar for TextReplies {
    #[inline]
    fn line(&mut self, line: &[u8]) -> Result<Step, Fault> {
        if self.deed == Deed::Put && line == b"STORED\r" {
            self.seen = (self.seen + 1) % self.batch;
            return Ok(Step { skip: 0, ends: self.seen == 0 });
        }
        if self.deed == Deed::Get && line == b"END\r" && self.seen == self.batch {
            self.seen = 0;
            return Ok(Step { skip: 0, ends: true });
        }
        if self.deed == Deed::Get && line.starts_with(b"VALUE ") {
            let length = line.rsplit(|&byte| byte == b' ').next().and_then(number);
            if length == Some(self.size) && self.seen < self.batch {
                self.seen += 1;
                return Ok(Step { skip: self.size + 2, ends: false });
            }
        }
        Err(unexpected(line))
    }
}
