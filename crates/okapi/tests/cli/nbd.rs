//! Disks served to virtual machines, by the program itself.

use crate::house::{House, Running, noise};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

const READ: u8 = 0;
const WRITE: u8 = 1;
const FLUSH: u8 = 3;
const ZERO: u8 = 6;

pub(crate) fn serve(house: &House, args: &[&str]) -> Running {
    let mut command = house.command([&["nbd"], args].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    Running::new(child)
}

/// A guest's end of an NBD connection.
pub(crate) struct Guest(UnixStream);

impl Guest {
    pub(crate) fn enter(house: &House, export: &str) -> Self {
        let mut stream = UnixStream::connect(house.path("data/nbd.sock")).unwrap();
        let mut said = 3u32.to_be_bytes().to_vec();
        said.extend(b"IHAVEOPT\0\0\0\x01");
        said.extend((export.len() as u32).to_be_bytes());
        said.extend(export.as_bytes());
        stream.write_all(&said).unwrap();
        stream.read_exact(&mut [0; 18 + 10]).unwrap();
        Self(stream)
    }

    /// Does something and gives the error and what was read.
    fn ask(&mut self, command: u8, offset: u64, data: &mut [u8]) -> u32 {
        let mut said = b"\x25\x60\x95\x13\0\0\0".to_vec();
        said.push(command);
        said.extend(7u64.to_be_bytes());
        said.extend(offset.to_be_bytes());
        said.extend((data.len() as u32).to_be_bytes());
        if command == WRITE {
            said.extend(&*data);
        }
        self.0.write_all(&said).unwrap();
        let mut head = [0; 16];
        self.0.read_exact(&mut head).unwrap();
        let error = u32::from_be_bytes(head[4..8].try_into().unwrap());
        if command == READ && error == 0 {
            self.0.read_exact(data).unwrap();
        }
        error
    }
}

#[test]
fn disks_are_served_until_the_signal_and_let_go() {
    let house = House::new();
    let _node = house.up(&[]);
    let content = noise(1 << 20);
    let file = house.file("a.raw", &content);
    house.ok(&format!("image import {file} -q"));
    house.ok("image clone a b -q");
    let mut server = serve(&house, &[]);
    let socket = house.path("data/nbd.sock");
    assert_eq!(server.line().unwrap(), format!("serving 2 disks at unix:{}", socket.display()));
    assert_eq!(server.line().unwrap(), format!("  nbd+unix:///a?socket={}", socket.display()));
    let mut guest = Guest::enter(&house, "b");
    assert_eq!(guest.ask(WRITE, 4096, &mut [7; 512]), 0);
    assert_eq!(guest.ask(FLUSH, 0, &mut []), 0);
    let busy = house.run("image snapshot b c");
    assert!(busy.code == 1 && busy.err.contains("error: disk `b` is in use by process "), "{busy:?}");
    // Killed without warning it is in nobody's way.
    server.end(Signal::KILL);
    house.ok("image snapshot b c -q");
    let mut server = serve(&house, &["b"]);
    server.line().unwrap();
    let mut guest = Guest::enter(&house, "b");
    let mut found = vec![0; 8192];
    assert_eq!(guest.ask(READ, 0, &mut found), 0);
    assert_eq!(
        (&found[..4096], &found[4096..4608], &found[4608..]),
        (&content[..4096], &[7; 512][..], &content[4608..8192])
    );
    let (status, _, errors) = server.end(Signal::TERM);
    assert!(status.success() && errors.is_empty(), "{status} {errors}");
    assert!(!socket.exists());
    house.ok("image snapshot b d -q");
}

#[test]
fn a_guest_does_not_notice_that_the_node_was_killed() {
    let house = House::new();
    let node = house.up(&[]);
    house.ok("image create a 1M -q");
    let mut server = serve(&house, &[]);
    server.line().unwrap();
    let mut guest = Guest::enter(&house, "a");
    assert_eq!(guest.ask(WRITE, 0, &mut [1; 4096]), 0);
    assert_eq!(guest.ask(FLUSH, 0, &mut []), 0);
    assert_eq!(guest.ask(WRITE, 8192, &mut [2; 4096]), 0);
    assert_eq!(guest.ask(ZERO, 0, &mut [0; 4096]), 0);
    // Whoever asks what is there has all of it put: the node has it, and forgets it.
    let uri = format!("nbd+unix:///a?socket={}", house.path("data/nbd.sock").display());
    let map = Command::new("nbdinfo").args(["--map", "--totals", &uri]).output().unwrap();
    assert!(map.status.success(), "{map:?}");
    node.end(Signal::KILL);
    let node = house.up(&[]);
    assert_eq!(guest.ask(FLUSH, 0, &mut []), 0);
    node.end(Signal::KILL);
    let _node = house.up(&[]);
    assert!(server.end(Signal::TERM).0.success());
    let mut server = serve(&house, &[]);
    server.line().unwrap();
    let mut found = [0xAA; 12_288];
    assert_eq!(Guest::enter(&house, "a").ask(READ, 0, &mut found), 0);
    assert!(found[..8192] == [0; 8192] && found[8192..] == [2; 4096]);
}

/// What fio does to a disk: writes of one page each, a flush now and then, and each page says what it must be.
fn fio(house: &House, more: &[&str]) -> Command {
    let uri = format!("nbd+unix:///a?socket={}", house.path("data/nbd.sock").display());
    let mut command = Command::new("fio");
    command.args(["--name=v", "--ioengine=nbd", &format!("--uri={uri}"), "--rw=randwrite", "--bs=4k"]);
    command.args(["--iodepth=16", "--fsync=64", "--verify=crc32c", "--verify_fatal=1"]).args(more);
    command.current_dir(house.path(""));
    command
}

#[test]
fn fio_finds_all_it_wrote_while_the_node_was_killed_again_and_again() {
    let house = House::new();
    let mut node = house.up(&[]);
    house.ok("image create a 48M -q");
    let mut server = serve(&house, &[]);
    server.line().unwrap();
    // Slow enough that the node is killed a few times.
    let mut writes = fio(&house, &["--rate=16m"]);
    let mut writing = writes.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut kills = 0;
    while writing.try_wait().unwrap().is_none() {
        // Each time it has been given something that it may not have on its disk yet.
        let status: Value = serde_json::from_str(&house.ok("status --json")).unwrap();
        let put: u64 = status["facts"]["log.put_bytes"].as_str().unwrap().parse().unwrap();
        if put > 1 << 20 {
            node.end(Signal::KILL);
            node = house.up(&[]);
            kills += 1;
        }
    }
    let output = writing.wait_with_output().unwrap();
    assert!(output.status.success() && kills > 1, "{kills} kills, {output:?}");
    // From the node, by a server that has nothing in memory.
    assert!(server.end(Signal::TERM).0.success());
    let mut server = serve(&house, &[]);
    server.line().unwrap();
    let output = fio(&house, &["--verify_only"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    drop(node);
}

#[test]
fn over_tcp_disks_are_served_by_tls_if_there_is_a_certificate() {
    let house = House::new();
    let _node = house.up(&[]);
    house.ok("image create a 1M -q");
    house.openssl(
        "req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost",
        &["-keyout", "key.pem", "-out", "ca-cert.pem"],
    );
    let path = |name: &str| house.path(name).display().to_string();
    let tls = format!("--tls-cert {} --tls-key {}", path("ca-cert.pem"), path("key.pem"));
    let refused = |line: &str, code: i32, why: &str| {
        let ended = house.run(line);
        assert!(ended.code == code && ended.err.starts_with(why), "{line}: {ended:?}");
    };
    refused(&format!("nbd {tls}"), 2, "error: TLS is for TCP; name an address of this machine with --listen ");
    refused("nbd --tls-cert c.pem", 2, "error: the following required arguments were not provided:");
    refused(&format!("nbd {tls} --tls-client-ca {}", path("none")), 3, &format!("error: {}: ", path("none")));
    let swapped = format!("nbd --tls-cert {} --tls-key {}", path("key.pem"), path("ca-cert.pem"));
    refused(&swapped, 1, "error: no certificate of the server can be read: there is none; ");
    let outside = "error: tcp://0.0.0.0:0 can be reached from other machines, and ";
    refused("nbd --listen tcp://0.0.0.0:0", 1, &format!("{outside}NBD proves nobody"));
    refused(&format!("nbd --listen tcp://0.0.0.0:0 {tls}"), 1, &format!("{outside}whoever comes from there"));
    let args: Vec<&str> = ["--listen", "tcp://localhost:0"].into_iter().chain(tls.split(' ')).collect();
    let mut server = serve(&house, &args);
    server.line().unwrap();
    let uri = server.line().unwrap().trim().to_owned();
    assert!(uri.starts_with("nbds://localhost:") && uri.ends_with("/a"), "{uri}");
    let size = Command::new("nbdinfo").args(["--size", &format!("{uri}?tls-certificates={}", path(""))]).output();
    assert_eq!(String::from_utf8_lossy(&size.unwrap().stdout), "1048576\n");
    assert!(server.end(Signal::TERM).0.success());
}

#[test]
fn a_node_serves_its_disks_by_itself_if_it_is_told_to() {
    let house = House::new();
    let node = house.up(&["--nbd"]);
    let socket = house.path("data/nbd.sock");
    assert!(node.said.contains(&format!("  disks at     unix:{}", socket.display())), "{:?}", node.said);
    house.ok("image create a 1M -q");
    let mut guest = Guest::enter(&house, "a");
    assert_eq!(guest.ask(WRITE, 4096, &mut [7; 4096]), 0);
    // Nobody asked for a flush, and the guest is still there.
    let (status, _, errors) = node.end(Signal::TERM);
    assert!(status.success() && errors == "stopping; Ctrl-C again to end at once\n", "{status} {errors}");
    assert!(!socket.exists());
    let node = house.up(&["--nbd"]);
    let mut found = [0; 4096];
    assert_eq!(Guest::enter(&house, "a").ask(READ, 4096, &mut found), 0);
    assert!(found == [7; 4096]);
    node.end(Signal::TERM);
    let refused = house.run("up --nbd tcp://0.0.0.0:0");
    assert!(refused.code == 1 && refused.err.contains("can be reached from other machines"), "{refused:?}");
    let node = house.up(&[]);
    assert!(!socket.exists() && !node.said.iter().any(|line| line.contains("disks at")), "{:?}", node.said);
}
