//! Links by iroh alone, over sockets of this machine.

use super::grid::{accepted, receive, send};
use super::*;
use crate::link::Peer;

fn loopback() -> Wan {
    Wan { bind: vec!["127.0.0.1:0".parse().unwrap()], relay: None }
}

/// A node that can only be reached by iroh.
fn node(seed: u8) -> Node {
    Node::with(seed, |settings, _| {
        settings.listen.clear();
        settings.wan = Some(loopback());
    })
}

#[test]
fn letters_and_payloads_pass_as_on_any_carrier() {
    let (one, other) = (node(1), node(2));
    one.knows(&other);
    one.links.send(other.id(), b"large".to_vec(), pattern(3 << 20));
    assert_eq!(other.letter(&one).1, pattern(3 << 20));
    other.links.send(one.id(), b"back".to_vec(), pattern(1 << 20));
    assert_eq!(one.letter(&other).0, b"back");
    assert!(one.host.up(other.id()).starts_with("iroh://127.0.0.1:"));
    let view = one.links.views().remove(0);
    assert_eq!(view.connection.unwrap().kind, "iroh");
    one.links.stop();
    assert_eq!(other.host.down(one.id()), "the other node stops");
}

#[test]
fn a_grid_stream_is_an_ordinary_link_here_too() {
    let (one, other) = (node(1), node(2));
    one.knows(&other);
    let mut near = one.links.open_grid(other.id()).unwrap();
    send(&mut *near, b"hello");
    let (from, mut far) = accepted(&other.host);
    assert_eq!((from, far.facts().peer), (one.id(), Peer::Member(one.id())));
    assert_eq!(receive(&mut *far, 5), b"hello");
    send(&mut *far, b"answer");
    assert_eq!(receive(&mut *near, 6), b"answer");
    near.close();
    assert_eq!(receive(&mut *far, 1), b"");
}

#[test]
fn another_node_at_the_address_will_not_do() {
    let (one, other, wanted) = (node(1), node(2), node(3));
    let address = other.links.announcement().addresses[0].clone();
    one.links.hint(wanted.id(), std::slice::from_ref(&address));
    let Err(refused) = one.links.open_grid(wanted.id()) else { panic!("somebody else will do") };
    assert!(matches!(&refused, DialError::Unreachable { address: at, .. } if *at == address), "{refused}");
    one.say(&wanted, b"for your eyes only");
    one.knows(&other);
    one.say(&other, b"and for yours");
    assert_eq!(other.letter(&one).0, b"and for yours");
    assert!(!other.host.has(|event| matches!(event, Event::Letter { .. } | Event::Grid { .. })));
}

#[test]
fn who_has_parted_is_turned_away_in_words() {
    let (one, other) = (node(1), node(2));
    other.host.set(one.id(), Standing::Parted);
    one.knows(&other);
    one.say(&other, b"hello");
    assert!(one.host.refused(other.id()).contains("parted"));
}

#[test]
fn strangers_are_few_here_too() {
    let other = Node::among(2, Standing::Stranger, |settings, tuning| {
        settings.listen.clear();
        settings.wan = Some(loopback());
        tuning.strangers = 1;
    });
    let (one, third) = (node(1), node(3));
    one.knows(&other);
    one.say(&other, b"let me in");
    assert_eq!(other.letter(&one).0, b"let me in");
    third.knows(&other);
    third.say(&other, b"me too");
    let until = Instant::now() + PATIENCE;
    let refused = || third.links.views().remove(0).failure.is_some_and(|why| why.contains("too many strangers"));
    while !refused() {
        assert!(Instant::now() < until, "{:?}", third.links.views());
        std::thread::yield_now();
    }
    // And one who is in sends no payloads.
    one.links.send(other.id(), Vec::new(), pattern(1 << 20));
    one.host.down(other.id());
}
