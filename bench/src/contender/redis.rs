//! redis: one server, without persistence, on a unix socket and on loopback. It serves with one thread, as it does
//! out of the box.

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

/// A running redis.
#[derive(Debug)]
pub(crate) struct Redis {
    server: Server,
    unix: Place,
    tcp: Place,
}

impl Redis {
    /// Starts redis with its files in `dir`.
    pub(crate) fn start(dir: &std::path::Path) -> Result<Self, Fault> {
        let (socket, port) = (dir.join("redis.sock"), server::free_port()?);
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"]);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(dir);
        let (unix, tcp) = (Place::Unix(socket), Place::Tcp(port));
        let server = Server::start(&mut command, || unix.connect().and_then(|_| tcp.connect()))?;
        Ok(Self { server, unix, tcp })
    }
}

impl Contender for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn takes(&self, scenario: &Scenario) -> bool {
        scenario.path != Path::SharedMap
    }

    fn prepare(&mut self, scenario: &Scenario) -> Result<(), Fault> {
        socket::prepare(&self.unix, &Resp, scenario)
    }

    fn run(&mut self, scenario: &Scenario, time: Duration) -> Result<Sample, Fault> {
        let place = Place::of(scenario.path, &self.unix, &self.tcp)?;
        socket::run(place, &self.server, &Resp, scenario, time)
    }
}

/// RESP2: GET and SET for one block, MGET and MSET for several.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resp;

impl Dialect for Resp {
    type Grammar = RespReplies;

    fn get(&self, size: usize, indexes: &[u64], out: &mut Vec<u8>) {
        begin(if indexes.len() == 1 { "GET" } else { "MGET" }, indexes.len(), out);
        for index in indexes {
            bulk(key(size, *index).as_bytes(), out);
        }
    }

    fn put(&self, size: usize, indexes: &[u64], out: &mut Vec<u8>) {
        begin(if indexes.len() == 1 { "SET" } else { "MSET" }, indexes.len() * 2, out);
        let mut payload = vec![0; size];
        for index in indexes {
            random::fill(*index, &mut payload);
            bulk(key(size, *index).as_bytes(), out);
            bulk(&payload, out);
        }
    }

    fn grammar(&self, deed: Deed, size: usize, batch: usize) -> RespReplies {
        RespReplies { deed, size, batch, left: 0 }
    }
}

fn begin(command: &str, arguments: usize, out: &mut Vec<u8>) {
    write!(out, "*{}\r\n", arguments + 1).expect("a vector takes every byte");
    bulk(command.as_bytes(), out);
}

fn bulk(bytes: &[u8], out: &mut Vec<u8>) {
    write!(out, "${}\r\n", bytes.len()).expect("a vector takes every byte");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Replies of redis: `+OK` to a put, `$n` with a payload to GET, `*n` and then those to MGET.
#[derive(Debug)]
pub(crate) struct RespReplies {
    deed: Deed,
    size: usize,
    batch: usize,
    /// Payloads still to come in this reply.
    left: usize,
}

impl Grammar for RespReplies {
    #[inline]
    fn line(&mut self, line: &[u8]) -> Result<Step, Fault> {
        let length = line.split_first().and_then(|(_, digits)| number(digits));
        match (self.deed, line.first(), length) {
            (Deed::Put, ..) if line == b"+OK\r" => Ok(Step { skip: 0, ends: true }),
            (Deed::Get, Some(b'*'), Some(count)) if self.left == 0 && self.batch > 1 && count == self.batch => {
                self.left = count;
                Ok(Step { skip: 0, ends: false })
            }
            (Deed::Get, Some(b'$'), Some(length)) if length == self.size && (self.left > 0 || self.batch == 1) => {
                self.left = self.left.saturating_sub(1);
                Ok(Step { skip: length + 2, ends: self.left == 0 })
            }
            _ => Err(unexpected(line)),
        }
    }
}
