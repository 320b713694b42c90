//! Connections that are made twice, cut, or go silent.

use super::raw::Raw;
use super::relay::Relay;
use super::*;
use okapi_wire::peer::link::{Kind, Reason};

#[test]
fn two_that_dial_each_other_at_once_lose_nothing() {
    for round in 0..20 {
        let (one, other) = (Node::new(1), Node::new(2));
        one.knows(&other);
        other.knows(&one);
        let send = |from: &Node, to: &Node| {
            for letter in 0..50u8 {
                from.links.send(to.id(), vec![letter], pattern(if letter % 10 == 0 { 200_000 } else { 0 }));
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| send(&one, &other));
            scope.spawn(|| send(&other, &one));
        });
        for (from, to) in [(&one, &other), (&other, &one)] {
            let mut came: Vec<u8> = (0..50).map(|_| to.letter(from).0[0]).collect();
            came.sort_unstable();
            assert_eq!(came, (0..50).collect::<Vec<u8>>(), "round {round}");
        }
        assert!(!one.host.has(|event| matches!(event, Event::Twin { .. })), "round {round}");
    }
}

#[test]
fn the_newer_of_two_that_one_process_dialled_stays() {
    let one = Node::new(1);
    let mut old = Raw::dial(2, &one);
    old.enter();
    let mut new = Raw::dial(2, &one);
    new.enter();
    assert_eq!(old.farewell().reason, Reason::Replaced);
    one.links.send(new.id(), b"here".to_vec(), Arc::default());
    assert_eq!(new.frame_of(Kind::Letter), b"here");
    assert!(!one.host.has(|event| matches!(event, Event::Down { .. })));
    // What was sent on the old one may be lost, so that one is told of the new one too.
    assert_eq!(one.host.count(|event| matches!(event, Event::Up { .. })), 2);
}

#[test]
fn a_payload_cut_in_the_middle_comes_on_the_next_connection() {
    let (one, other) = (Node::new(1), Node::new(2));
    let relay = Relay::to(&other);
    one.links.hint(other.id(), &[relay.address()]);
    one.say(&other, b"hello");
    other.letter(&one);
    relay.cut_after(3 << 20);
    // More than the sockets on the way can hold.
    one.links.send(other.id(), b"large".to_vec(), pattern(PAYLOAD_MAX));
    let (letter, payload) = other.letter(&one);
    assert_eq!((&letter[..], payload), (&b"large"[..], pattern(PAYLOAD_MAX)));
    one.host.down(other.id());
    // The other one hears of the end, or the new connection is quicker and takes the old one's place.
    assert_eq!(other.host.count(|event| matches!(event, Event::Up { .. })), 2);
}

#[test]
fn a_node_that_comes_back_is_found_by_whoever_has_something_to_say() {
    let one = Node::new(1);
    let first = Node::new(2);
    let target = first.links.targets()[0];
    one.knows(&first);
    one.say(&first, b"hello");
    first.letter(&one);
    first.links.stop();
    one.host.down(first.id());
    let second = Node::with(2, |settings, _| settings.listen = vec![target]);
    one.say(&second, b"are you back?");
    assert_eq!(second.letter(&one).0, b"are you back?");
}

/// A wire between two that have spoken, on which nothing passes any more.
fn held(one: &Node, other: &Node) -> Relay {
    let relay = Relay::to(other);
    one.links.hint(other.id(), &[relay.address()]);
    one.say(other, b"hello");
    other.letter(one);
    relay.hold(true);
    relay
}

#[test]
fn an_end_that_goes_silent_is_left_and_dialled_anew() {
    // The other one has patience, and so is not the first to leave.
    let one = Node::with(1, |_, tuning| tuning.patience = Duration::from_millis(1500));
    let other = Node::new(2);
    let relay = held(&one, &other);
    // More than the sockets on the way can hold, so that it is still waiting when nothing is heard.
    for _ in 0..3 {
        one.links.send(other.id(), b"large".to_vec(), pattern(PAYLOAD_MAX));
    }
    assert!(one.host.down(other.id()).contains("nothing was heard"));
    relay.hold(false);
    for _ in 0..3 {
        assert_eq!(other.letter(&one).1.len(), PAYLOAD_MAX);
    }
}

#[test]
fn an_end_that_answers_nothing_is_left_even_if_all_was_sent() {
    // The system takes a letter at once, and says nothing of its not coming.
    let one = Node::with(1, |_, tuning| tuning.patience = Duration::from_millis(1500));
    let other = Node::new(2);
    let relay = held(&one, &other);
    one.say(&other, b"small");
    assert!(one.host.down(other.id()).contains("nothing was heard"));
    relay.hold(false);
    one.say(&other, b"again");
    assert_eq!(other.letter(&one).0, b"again");
}

#[test]
fn whoever_has_nothing_to_say_to_letters_still_answers_pings() {
    let one = Node::with(1, |_, tuning| tuning.patience = Duration::from_secs(3));
    let mut raw = Raw::dial(2, &one);
    raw.enter();
    // Answers pings until this frame comes; how many.
    let until = |raw: &mut Raw, kind: Kind, wanted: Option<&[u8]>| {
        let mut pings = 0;
        loop {
            let (head, body) = raw.frame().expect("nobody hangs up");
            if head.kind == Kind::Ping {
                raw.say(Kind::Pong, |out| out.bytes(&body));
                pings += 1;
            }
            if head.kind == kind && wanted.is_none_or(|wanted| wanted == body) {
                return pings;
            }
        }
    };
    for round in 1..4u64 {
        // Nothing of ours may be on its way that could be taken for an answer to the letter.
        loop {
            raw.say(Kind::Ping, |out| out.u64(round));
            if until(&mut raw, Kind::Pong, Some(&round.to_le_bytes())) == 0 {
                break;
            }
        }
        one.links.send(raw.id(), b"letter".to_vec(), Arc::default());
        until(&mut raw, Kind::Letter, None);
        until(&mut raw, Kind::Ping, None);
    }
    assert!(!one.host.has(|event| matches!(event, Event::Down { .. })));
}

#[test]
fn a_host_that_forgets_a_node_is_left_alone_by_it() {
    let (one, other) = (Node::new(1), Node::new(2));
    one.knows(&other);
    one.say(&other, b"hello");
    other.letter(&one);
    one.links.forget(other.id());
    other.host.down(one.id());
    assert!(one.links.views().is_empty());
}

#[test]
fn pings_are_answered_and_letters_wait_for_nobody() {
    let one = Node::new(1);
    let mut raw = Raw::dial(2, &one);
    raw.enter();
    raw.say(Kind::Ping, |body| body.u64(42));
    assert_eq!(raw.frame_of(Kind::Pong), 42u64.to_le_bytes());
    // A payload that has no go yet does not keep a letter from coming.
    one.links.send(raw.id(), b"large".to_vec(), pattern(1 << 20));
    one.links.send(raw.id(), b"small".to_vec(), Arc::default());
    let mut letters = [raw.frame_of(Kind::Letter), raw.frame_of(Kind::Letter)];
    letters.sort();
    assert_eq!(letters, [b"large", b"small"]);
    raw.say(Kind::Go, |_| {});
    let mut came = 0;
    while came < 1 << 20 {
        came += raw.frame_of(Kind::Piece).len();
    }
}
