//! What only unix sockets do: a file with a mode, and file descriptors on their way.
#![allow(missing_docs, reason = "tests")]

use okapi_link::{Interest, Link, UnixBindError, UnixLink, UnixListen};
use rustix::fd::OwnedFd;
use rustix::io::FdFlags;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    (directory, path)
}

#[test]
fn the_mode_is_the_one_asked_for() {
    // The umask belongs to the whole process: this is the one test that sets it, and the others ask for no more
    // than either umask leaves or chmod restores.
    for umask in [0o000, 0o077, 0o777] {
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
        for wanted in [0o600, 0o660, 0o666, 0o000] {
            let directory = Path::new("/tmp").join(format!("okapi-link-{}", std::process::id()));
            let _ = std::fs::create_dir(&directory);
            let _ = std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700));
            let path = directory.join(format!("{umask:o}-{wanted:o}"));
            let listen = UnixListen::bind(&path, wanted).unwrap();
            let found = mode(&path);
            drop(listen);
            let _ = std::fs::remove_dir(&directory);
            assert_eq!(found, wanted, "umask {umask:o}");
        }
        rustix::process::umask(before);
    }
}

#[test]
fn dropping_removes_its_own_file_and_no_other() {
    let (_directory, path) = place();
    let first = UnixListen::bind(&path, 0o600).unwrap();
    assert_eq!(first.path(), path);
    drop(first);
    assert!(!path.exists());

    let first = UnixListen::bind(&path, 0o600).unwrap();
    std::fs::rename(&path, path.with_extension("old")).unwrap();
    let second = UnixListen::bind(&path, 0o600).unwrap();
    drop(first);
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    UnixLink::connect(&path, SOON).unwrap();
    drop(second);
    assert!(!path.exists());
}

#[test]
fn only_a_socket_without_an_answer_is_replaced() {
    let (_directory, path) = place();
    let mut listen = UnixListen::bind(&path, 0o600).unwrap();
    let error = UnixListen::bind(&path, 0o600).unwrap_err();
    assert!(matches!(error, UnixBindError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("somebody answers"), "{error}");
    // The probe was one connection, closed at once.
    assert_eq!(listen.accept().unwrap().receive(&mut [0; 1]).unwrap(), 0);
    UnixLink::connect(&path, SOON).unwrap();
    drop(listen);

    // As a killed node leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let stale = std::fs::symlink_metadata(&path).unwrap();
    let listen = UnixListen::bind(&path, 0o600).unwrap();
    let made = std::fs::symlink_metadata(&path).unwrap();
    assert!((stale.ino(), stale.ctime_nsec()) != (made.ino(), made.ctime_nsec()));
    UnixLink::connect(&path, SOON).unwrap();
    drop(listen);

    std::fs::write(&path, b"precious").unwrap();
    let link = path.with_extension("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let dangling = path.with_extension("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    for path in [&path, &link, &dangling] {
        let error = UnixListen::bind(path, 0o600).unwrap_err();
        assert!(matches!(error, UnixBindError::NotASocket { .. }), "{error}");
        assert!(std::fs::symlink_metadata(path).is_ok());
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();
    let _datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    assert!(matches!(UnixListen::bind(&path, 0o600).unwrap_err(), UnixBindError::NotASocket { .. }));
}

#[test]
fn of_many_that_start_at_once_on_a_stale_socket_one_listens() {
    for _ in 0..20 {
        let (_directory, path) = place();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let start = std::sync::Barrier::new(4);
        let bound: Vec<_> = std::thread::scope(|scope| {
            let bind = || {
                start.wait();
                UnixListen::bind(&path, 0o600)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1, "{bound:?}");
        UnixLink::connect(&path, SOON).unwrap();
    }
}

#[test]
fn paths_that_cannot_be_are_refused_in_words() {
    let (directory, _) = place();
    let room = 107 - directory.path().as_os_str().len() - 1;
    let longest = directory.path().join("x".repeat(room));
    let listen = UnixListen::bind(&longest, 0o600).unwrap();
    UnixLink::connect(&longest, SOON).unwrap();
    drop(listen);
    let longer = directory.path().join("x".repeat(room + 1));
    let error = UnixListen::bind(&longer, 0o600).unwrap_err();
    assert!(matches!(error, UnixBindError::BadPath { bytes: 108, .. }), "{error}");
    assert!(error.to_string().contains("108 bytes"), "{error}");
    assert_eq!(UnixLink::connect(&longer, SOON).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(matches!(UnixListen::bind(Path::new(""), 0o600).unwrap_err(), UnixBindError::BadPath { .. }));
    let error = UnixListen::bind(&directory.path().join("no/such"), 0o600).unwrap_err();
    assert!(matches!(&error, UnixBindError::Io { source, .. } if source.kind() == ErrorKind::NotFound), "{error}");
}

#[test]
fn accepting_never_blocks() {
    let (_directory, path) = place();
    let mut listen = UnixListen::bind(&path, 0o600).unwrap();
    assert_eq!(listen.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let _one = UnixLink::connect(&path, SOON).unwrap();
    let accepted = listen.accept().unwrap();
    assert!(accepted.facts().name.contains(path.to_str().unwrap()));
    assert!(rustix::io::fcntl_getfd(accepted.fd()).unwrap().contains(FdFlags::CLOEXEC));
    assert_eq!(listen.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn pair() -> (UnixLink, UnixLink) {
    UnixLink::pair().unwrap()
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe().unwrap()
}

/// Sends the writing ends of `count` new pipes; their reading ends.
fn send_pipes(link: &mut UnixLink, count: usize) -> Vec<std::fs::File> {
    let pipes: Vec<_> = (0..count).map(|_| pipe()).collect();
    let fds: Vec<BorrowedFd<'_>> = pipes.iter().map(|(_, write)| write.as_fd()).collect();
    assert_eq!(link.send_with_fds(&[IoSlice::new(b"ab")], &fds).unwrap(), 2);
    pipes.into_iter().map(|(read, _)| read.into()).collect()
}

fn receive(link: &mut UnixLink) {
    let mut into = [0; 2];
    assert!(link.wait(Interest::Receive, Some(SOON)).unwrap());
    assert_eq!(link.receive(&mut into).unwrap(), 2);
    assert_eq!(&into, b"ab");
}

/// Reads to the end, which comes only once every writing end is closed.
fn rest(mut pipe: std::fs::File) -> Vec<u8> {
    let mut rest = Vec::new();
    pipe.read_to_end(&mut rest).unwrap();
    rest
}

#[test]
fn descriptors_come_in_order_and_close_on_exec() {
    let (mut one, mut other) = pair();
    other.expect_fds(true);
    let mut pipes = send_pipes(&mut one, 3);
    receive(&mut other);
    pipes.extend(send_pipes(&mut one, 2));
    assert_eq!(one.send(&[IoSlice::new(b"ab")]).unwrap(), 2);
    receive(&mut other);
    receive(&mut other);
    let fds = other.take_fds();
    assert_eq!(fds.len(), 5);
    assert!(other.take_fds().is_empty());
    for (number, fd) in fds.into_iter().enumerate() {
        assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(FdFlags::CLOEXEC));
        std::fs::File::from(fd).write_all(&[number as u8]).unwrap();
    }
    for (number, pipe) in pipes.into_iter().enumerate() {
        assert_eq!(rest(pipe), [number as u8]);
    }
}

#[test]
fn descriptors_that_nobody_expects_are_closed() {
    let (mut one, mut other) = pair();
    let pipes = send_pipes(&mut one, 4);
    receive(&mut other);
    assert!(other.take_fds().is_empty());
    for pipe in pipes {
        assert_eq!(rest(pipe), b"");
    }
    other.expect_fds(true);
    let kept = send_pipes(&mut one, 1);
    receive(&mut other);
    // Those not taken are closed with the link.
    drop(other);
    assert_eq!(kept.into_iter().flat_map(rest).count(), 0);
}

#[test]
fn descriptors_beyond_sixteen_are_closed() {
    let (mut one, mut other) = pair();
    other.expect_fds(true);
    let mut pipes = Vec::new();
    for count in [10, 10, 16] {
        pipes.extend(send_pipes(&mut one, count));
        receive(&mut other);
    }
    let beyond = pipes.split_off(16);
    assert_eq!(beyond.len(), 20);
    for pipe in beyond {
        assert_eq!(rest(pipe), b"");
    }
    let fds = other.take_fds();
    assert_eq!(fds.len(), 16);
    drop(fds);
    for pipe in pipes {
        assert_eq!(rest(pipe), b"");
    }
}

#[test]
fn a_peer_that_sends_too_many_at_once_does_no_harm() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let (one, mut other) = pair();
    other.expect_fds(true);
    let pipes: Vec<_> = (0..40).map(|_| pipe()).collect();
    let fds: Vec<BorrowedFd<'_>> = pipes.iter().map(|(_, write)| write.as_fd()).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(40))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(one.fd(), &[IoSlice::new(b"ab")], &mut control, SendFlags::empty()).unwrap();
    receive(&mut other);
    assert_eq!(other.take_fds().len(), 16);
    for (read, write) in pipes {
        drop(write);
        assert_eq!(rest(read.into()), b"");
    }
}

#[test]
fn descriptors_are_refused_where_they_could_not_travel() {
    let (mut one, mut other) = pair();
    other.expect_fds(true);
    let (read, _write) = pipe();
    let refused = |sent: std::io::Result<usize>| assert_eq!(sent.unwrap_err().kind(), ErrorKind::InvalidInput);
    refused(one.send_with_fds(&[], &[read.as_fd()]));
    refused(one.send_with_fds(&[IoSlice::new(b"")], &[read.as_fd()]));
    refused(one.send_with_fds(&[IoSlice::new(b"ab")], &[read.as_fd(); 17]));
    assert_eq!(one.send_with_fds(&[IoSlice::new(b"ab")], &[]).unwrap(), 2);
    receive(&mut other);
    assert!(other.take_fds().is_empty());
}

#[test]
fn an_address_of_this_machine_alone_is_told() {
    for (address, loopback) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("10.0.0.1:1", false),
        ("[::ffff:10.0.0.1]:1", false),
        ("[fe80::1]:1", false),
    ] {
        assert_eq!(okapi_link::is_loopback_only(&address.parse().unwrap()), loopback, "{address}");
    }
}
