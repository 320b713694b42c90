//! Every kind of link keeps the same promises: one list of tests, run for each.
#![allow(missing_docs, clippy::print_stdout, reason = "tests print the seeds they fail with")]

use okapi_base::Crc;
use okapi_link::{Interest, Kind, Link, Peer};
use std::io::{ErrorKind, IoSlice};
use std::os::fd::AsRawFd;
use std::time::Duration;

type Pair = (Box<dyn Link>, Box<dyn Link>);

/// Long enough that only a lost wake-up ever waits it out.
const LOST: Option<Duration> = Some(Duration::from_secs(60));

fn unix() -> Pair {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mut listen = okapi_link::UnixListen::bind(&path, 0o600).unwrap();
    let one = okapi_link::UnixLink::connect(&path, Duration::from_secs(10)).unwrap();
    (Box::new(one), Box::new(listen.accept().unwrap()))
}

fn tcp() -> Pair {
    let mut listen = okapi_link::TcpListen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let one = okapi_link::TcpLink::connect(&listen.local_addr(), Duration::from_secs(10)).unwrap();
    (Box::new(one), Box::new(listen.accept().unwrap()))
}

fn memory() -> Pair {
    memory_of(okapi_link::memory::CAPACITY)
}

/// So narrow that it is full and empty all the time.
fn narrow_memory() -> Pair {
    memory_of(10_000)
}

fn memory_of(capacity: usize) -> Pair {
    let (one, other) = okapi_link::memory::pair(capacity).unwrap();
    (Box::new(one), Box::new(other))
}

macro_rules! for_each_link {
    ($($test:ident)*) => {
        for_each_link!(@ unix: $($test)*);
        for_each_link!(@ tcp: $($test)*);
        for_each_link!(@ memory: $($test)*);
        for_each_link!(@ narrow_memory: $($test)*);
    };
    (@ $kind:ident: $($test:ident)*) => {
        mod $kind {
            $(#[test] fn $test() { super::$test(&super::$kind); })*
        }
    };
}

for_each_link! {
    bytes_come_in_order
    both_directions_at_once
    hundred_megabytes_both_ways
    a_full_link_takes_part_and_loses_nothing
    an_idle_link_would_block_and_waiting_ends
    closing_is_seen_after_all_bytes
    closing_with_unread_bytes_loses_nothing_sent
    closing_wakes_a_waiting_receiver
    closing_wakes_a_waiting_sender
    a_closed_end_knows_it
    odd_arguments
    an_edge_triggered_driver_gets_everything
    facts_are_told
}

/// Splitmix64: tests need dice that fall the same way again.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Mostly small, sometimes large.
    fn size(&mut self, max: usize) -> usize {
        let shift = self.below(max.ilog2() as usize + 1);
        1 + self.below(1 << shift)
    }
}

/// Bytes that look different everywhere: a stream repeats them, and a period that is no power of two shows every slip.
fn pattern() -> Vec<u8> {
    let mut dice = Dice(7);
    (0..1_000_003).map(|_| dice.next() as u8).collect()
}

/// One end's half of a conversation: what it still has to send, what it has received.
struct Side<'a> {
    pattern: &'a [u8],
    dice: Dice,
    to_send: usize,
    to_receive: usize,
    sent: usize,
    received: usize,
    crc: Crc,
    into: Vec<u8>,
}

impl<'a> Side<'a> {
    fn new(pattern: &'a [u8], seed: u64, to_send: usize, to_receive: usize) -> Self {
        let into = vec![0; 256 << 10];
        Self { pattern, dice: Dice(seed), to_send, to_receive, sent: 0, received: 0, crc: Crc::new(), into }
    }

    fn done(&self) -> bool {
        self.sent == self.to_send && self.received == self.to_receive
    }

    fn interest(&self) -> Interest {
        match (self.received < self.to_receive, self.sent < self.to_send) {
            (true, true) => Interest::Both,
            (true, false) => Interest::Receive,
            (false, _) => Interest::Send,
        }
    }

    /// Tries each direction until it would block. False: no byte moved.
    fn step(&mut self, link: &mut dyn Link, part_max: usize) -> bool {
        let before = (self.sent, self.received);
        while self.sent < self.to_send {
            let mut parts = Vec::new();
            let mut at = self.sent;
            for _ in 0..1 + self.dice.below(5) {
                let from = at % self.pattern.len();
                let size = self.dice.size(part_max).min(self.to_send - at).min(self.pattern.len() - from);
                parts.push(IoSlice::new(&self.pattern[from..from + size]));
                at += size;
            }
            match link.send(&parts) {
                Ok(count) => {
                    assert!(count > 0 && count <= at - self.sent);
                    self.sent += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("sending: {error}"),
            }
        }
        while self.received < self.to_receive {
            let room = self.dice.size(part_max).min(self.into.len());
            match link.receive(&mut self.into[..room]) {
                Ok(0) => panic!("closed after {} of {} bytes", self.received, self.to_receive),
                Ok(count) => {
                    self.crc.update(&self.into[..count]);
                    self.received += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("receiving: {error}"),
            }
        }
        (self.sent, self.received) != before
    }

    fn run(mut self, link: &mut dyn Link, part_max: usize) {
        while !self.done() {
            if !self.step(link, part_max) {
                assert!(link.wait(self.interest(), LOST).unwrap(), "nothing came: a wake-up was lost");
            }
        }
        self.check();
    }

    fn check(&self) {
        let mut expected = Crc::new();
        let mut left = self.to_receive;
        while left > 0 {
            let count = left.min(self.pattern.len());
            expected.update(&self.pattern[..count]);
            left -= count;
        }
        assert_eq!(self.crc.finish(), expected.finish(), "other bytes came than were sent");
    }
}

fn converse((mut one, mut other): Pair, seed: u64, there: usize, back: usize, part_max: usize) {
    println!("seed {seed}");
    let pattern = &pattern();
    std::thread::scope(|scope| {
        scope.spawn(move || Side::new(pattern, seed ^ 1, back, there).run(&mut *other, part_max));
        Side::new(pattern, seed, there, back).run(&mut *one, part_max);
    });
}

fn bytes_come_in_order(pair: &dyn Fn() -> Pair) {
    for seed in 0..20 {
        converse(pair(), seed, 1_500_000, 0, 100_000);
        converse(pair(), seed, 20_000, 0, 64);
    }
}

fn both_directions_at_once(pair: &dyn Fn() -> Pair) {
    for seed in 0..20 {
        converse(pair(), seed, 1_200_000, 900_000, 50_000);
        converse(pair(), seed, 20_000, 30_000, 64);
    }
}

fn hundred_megabytes_both_ways(pair: &dyn Fn() -> Pair) {
    converse(pair(), 1, 100_000_000, 100_000_000, 256 << 10);
}

/// Sends until there is no room for good, and says how much that was.
fn fill(link: &mut dyn Link, pattern: &[u8]) -> usize {
    let mut sent = 0;
    // TCP may find more room a moment later.
    while link.wait(Interest::Send, Some(Duration::from_millis(20))).unwrap() {
        loop {
            let from = sent % pattern.len();
            match link.send(&[IoSlice::new(&pattern[from..])]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    sent
}

fn receive_all(link: &mut dyn Link, pattern: &[u8], count: usize) {
    let mut into = vec![0; 70_000];
    let mut received = 0;
    while received < count {
        match link.receive(&mut into) {
            Ok(0) => panic!("closed after {received} of {count} bytes"),
            Ok(got) => {
                for (at, byte) in into[..got].iter().enumerate() {
                    assert_eq!(*byte, pattern[(received + at) % pattern.len()], "byte {}", received + at);
                }
                received += got;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => assert!(link.wait(Interest::Receive, LOST).unwrap()),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(received, count);
}

fn a_full_link_takes_part_and_loses_nothing(pair: &dyn Fn() -> Pair) {
    let (mut one, mut other) = pair();
    let pattern = pattern();
    let sent = fill(&mut *one, &pattern);
    assert!(sent > 0);
    assert!(sent < 100 << 20, "a link that nobody reads takes {sent} bytes");
    receive_all(&mut *other, &pattern, sent);
    assert_eq!(other.receive(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(one.wait(Interest::Send, LOST).unwrap());
    assert_eq!(one.send(&[IoSlice::new(b"on")]).unwrap(), 2);
}

fn an_idle_link_would_block_and_waiting_ends(pair: &dyn Fn() -> Pair) {
    let (mut one, mut other) = pair();
    let short = Some(Duration::from_millis(1));
    for _ in 0..3 {
        assert_eq!(one.receive(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(!one.wait(Interest::Receive, short).unwrap());
        assert!(!one.wait(Interest::Receive, Some(Duration::ZERO)).unwrap());
        assert!(one.wait(Interest::Send, short).unwrap());
        assert!(one.wait(Interest::Both, short).unwrap());
        // A byte that came and went leaves nothing to wait for.
        assert_eq!(other.send(&[IoSlice::new(b"x")]).unwrap(), 1);
        assert!(one.wait(Interest::Receive, LOST).unwrap());
        assert_eq!(one.receive(&mut [0; 10]).unwrap(), 1);
    }
}

fn closing_is_seen_after_all_bytes(pair: &dyn Fn() -> Pair) {
    let pattern = pattern();
    for by_dropping in [false, true] {
        let (mut one, mut other) = pair();
        let mut sent = 0;
        while sent < 8000 {
            sent += one.send(&[IoSlice::new(&pattern[sent..8000])]).unwrap();
        }
        if by_dropping {
            drop(one);
        } else {
            one.close();
        }
        receive_all(&mut *other, &pattern, sent);
        for _ in 0..2 {
            assert!(other.wait(Interest::Receive, LOST).unwrap());
            assert_eq!(other.receive(&mut [0; 10]).unwrap(), 0);
        }
        // TCP learns it from the answer to the first bytes.
        let refused = (0..1000).find_map(|_| {
            let _ = other.wait(Interest::Receive, Some(Duration::from_millis(1)));
            other.send(&[IoSlice::new(b"too late")]).err()
        });
        let refused = refused.expect("sending to a closed end goes on and on").kind();
        assert!(matches!(refused, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{refused}");
    }
}

fn closing_with_unread_bytes_loses_nothing_sent(pair: &dyn Fn() -> Pair) {
    let pattern = pattern();
    for by_dropping in [false, true] {
        let (mut one, mut other) = pair();
        assert_eq!(other.send(&[IoSlice::new(b"never read")]).unwrap(), 10);
        assert!(one.wait(Interest::Receive, LOST).unwrap());
        assert_eq!(one.send(&[IoSlice::new(&pattern[..5000])]).unwrap(), 5000);
        if !by_dropping {
            one.close();
        }
        drop(one);
        receive_all(&mut *other, &pattern, 5000);
        assert!(other.wait(Interest::Receive, LOST).unwrap());
        assert_eq!(other.receive(&mut [0; 10]).unwrap(), 0);
    }
}

fn closing_wakes_a_waiting_receiver(pair: &dyn Fn() -> Pair) {
    for round in 0..100 {
        let (mut one, mut other) = pair();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if round % 2 == 0 {
                    one.close();
                } else {
                    drop(one);
                }
            });
            assert!(other.wait(Interest::Receive, LOST).unwrap());
            assert_eq!(other.receive(&mut [0; 10]).unwrap(), 0);
        });
    }
}

fn closing_wakes_a_waiting_sender(pair: &dyn Fn() -> Pair) {
    let pattern = pattern();
    for _ in 0..5 {
        let (mut one, mut other) = pair();
        fill(&mut *one, &pattern);
        std::thread::scope(|scope| {
            scope.spawn(move || other.close());
            let ended = (0..10_000).find_map(|_| {
                assert!(one.wait(Interest::Send, LOST).unwrap());
                match one.send(&[IoSlice::new(b"more")]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                    Err(error) => Some(error.kind()),
                    Ok(_) => None,
                }
            });
            let ended = ended.expect("sending to a closed end goes on and on");
            assert!(matches!(ended, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{ended}");
        });
    }
}

fn a_closed_end_knows_it(pair: &dyn Fn() -> Pair) {
    let (mut one, mut other) = pair();
    assert_eq!(other.send(&[IoSlice::new(b"unread")]).unwrap(), 6);
    assert!(one.wait(Interest::Receive, LOST).unwrap());
    for _ in 0..2 {
        one.close();
        for interest in [Interest::Receive, Interest::Send, Interest::Both] {
            assert!(one.wait(interest, LOST).unwrap());
        }
        assert_eq!(one.receive(&mut [0; 10]).unwrap(), 0);
        assert_eq!(one.send(&[IoSlice::new(b"x")]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

fn odd_arguments(pair: &dyn Fn() -> Pair) {
    let (mut one, mut other) = pair();
    assert_eq!(one.receive(&mut []).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(one.send(&[]).unwrap(), 0);
    assert_eq!(one.send(&[IoSlice::new(b""), IoSlice::new(b"")]).unwrap(), 0);
    assert_eq!(other.receive(&mut [0; 10]).unwrap_err().kind(), ErrorKind::WouldBlock);

    let bytes: Vec<u8> = (0..3000u32).map(|at| at as u8).collect();
    let mut sent = 0;
    while sent < bytes.len() {
        let parts: Vec<_> = bytes[sent..].chunks(1).map(IoSlice::new).collect();
        sent += one.send(&parts).unwrap();
    }
    let mut received = Vec::new();
    while received.len() < bytes.len() {
        assert!(other.wait(Interest::Receive, LOST).unwrap());
        let mut into = [0; 999];
        let count = other.receive(&mut into).unwrap();
        received.extend_from_slice(&into[..count]);
    }
    assert_eq!(received, bytes);
}

/// As a node drives it: mio's edge-triggered poll, and [`Link::about_to_wait`] before each wait.
fn drive_by_epoll(mut side: Side<'_>, link: &mut dyn Link) {
    let mut poll = mio::Poll::new().unwrap();
    let mut events = mio::Events::with_capacity(4);
    let both = mio::Interest::READABLE | mio::Interest::WRITABLE;
    let fd = link.fd().as_raw_fd();
    poll.registry().register(&mut mio::unix::SourceFd(&fd), mio::Token(0), both).unwrap();
    while !side.done() {
        side.step(link, 30_000);
        if !side.done() && link.about_to_wait(side.interest()) {
            poll.poll(&mut events, LOST).unwrap();
            assert!(!events.is_empty(), "nothing came: a wake-up was lost");
        }
    }
    side.check();
}

fn an_edge_triggered_driver_gets_everything(pair: &dyn Fn() -> Pair) {
    let pattern = &pattern();
    for seed in 0..10 {
        println!("seed {seed}");
        let (mut one, mut other) = pair();
        std::thread::scope(|scope| {
            scope.spawn(move || drive_by_epoll(Side::new(pattern, seed, 1_000_000, 2_000_000), &mut *other));
            drive_by_epoll(Side::new(pattern, seed + 100, 2_000_000, 1_000_000), &mut *one);
        });
    }
}

fn facts_are_told(pair: &dyn Fn() -> Pair) {
    let (mut one, mut other) = pair();
    for link in [&one, &other] {
        let facts = link.facts();
        assert!(!facts.name.is_empty());
        match facts.kind {
            Kind::Memory => assert_eq!(facts.peer, Peer::Same),
            Kind::Unix => assert_eq!(facts.peer, Peer::User(rustix::process::getuid().as_raw())),
            Kind::Tcp => assert_eq!(facts.peer, Peer::Unknown),
            Kind::Tls => unreachable!("links between members have tests of their own"),
        }
    }
    if one.facts().kind != Kind::Unix {
        one.expect_fds(true);
        let fd = std::fs::File::open("/dev/null").unwrap();
        let fds = [std::os::fd::AsFd::as_fd(&fd)];
        assert_eq!(one.send_with_fds(&[IoSlice::new(b"x")], &fds).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(other.take_fds().is_empty());
        assert_eq!(other.receive(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
