//! Streams of the block protocol.

use super::raw::Raw;
use super::*;
use crate::link::{Interest, Kind, Link, Peer};
use std::io::{ErrorKind, IoSlice};

/// Waits for the next grid stream.
pub(super) fn accepted(host: &Recorder) -> (NodeId, Box<dyn Link>) {
    let until = Instant::now() + PATIENCE;
    let mut events = host.events.lock();
    loop {
        if let Some(at) = events.iter().position(|event| matches!(event, Event::Grid { .. })) {
            let Some(Event::Grid { from, link }) = events.remove(at) else { unreachable!() };
            return (from, Box::new(link));
        }
        assert!(!host.came.wait_until(&mut events, until).timed_out());
    }
}

pub(super) fn send(link: &mut dyn Link, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match link.send(&[IoSlice::new(bytes)]) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(link.wait(Interest::Send, Some(PATIENCE)).unwrap());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub(super) fn receive(link: &mut dyn Link, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let mut came = 0;
    while came < count {
        match link.receive(&mut bytes[came..]) {
            Ok(0) => return bytes[..came].to_vec(),
            Ok(count) => came += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(link.wait(Interest::Receive, Some(PATIENCE)).unwrap());
            }
            Err(error) => panic!("{error}"),
        }
    }
    bytes
}

#[test]
fn a_grid_stream_is_an_ordinary_link_at_both_ends() {
    let (one, other) = (Node::new(1), Node::new(2));
    one.knows(&other);
    let mut near = one.links.open_grid(other.id()).unwrap();
    let (from, mut far) = accepted(&other.host);
    assert_eq!((from, near.facts().kind, near.facts().peer), (one.id(), Kind::Tls, Peer::Member(other.id())));
    assert_eq!((far.facts().kind, far.facts().peer), (Kind::Tls, Peer::Member(one.id())));
    assert_eq!(near.facts().name, other.address());
    let bytes = pattern(3_000_000);
    std::thread::scope(|scope| {
        scope.spawn(|| send(&mut *near, &bytes));
        assert_eq!(receive(&mut *far, bytes.len()), bytes[..]);
        send(&mut *far, b"answer");
    });
    assert_eq!(receive(&mut *near, 6), b"answer");
    near.close();
    assert_eq!(receive(&mut *far, 1), b"");
}

#[test]
fn strangers_have_no_grid_and_nobody_is_nowhere() {
    let one = Node::among(1, Standing::Stranger, |_, _| {});
    let mut raw = Raw::dial_as(2, &one, Protocol::Grid);
    raw.closed();
    assert!(!one.host.has(|event| matches!(event, Event::Grid { .. })));
    let Err(error) = one.links.open_grid(NodeId([9; 32])) else { panic!("there is nobody") };
    assert!(matches!(error, DialError::Nowhere(_)), "{error}");
}
