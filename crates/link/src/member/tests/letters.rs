//! Letters and payloads, there and back.

use super::*;

#[test]
fn letters_and_payloads_of_every_size_come_whole() {
    let (one, other) = (Node::new(1), Node::new(2));
    one.knows(&other);
    let sizes = [0, 1, 255, 65_535, 65_536, 65_537, 1 << 20, (2 << 20) + 7, PAYLOAD_MAX];
    for (at, size) in sizes.into_iter().enumerate() {
        one.links.send(other.id(), vec![at as u8; at * 1000], pattern(size));
    }
    let mut missing: Vec<usize> = sizes.to_vec();
    while !missing.is_empty() {
        let (letter, payload) = other.letter(&one);
        assert_eq!(payload, pattern(payload.len()), "a payload of {} bytes", payload.len());
        missing.retain(|size| *size != payload.len());
        assert!(letter.iter().all(|byte| usize::from(*byte) * 1000 == letter.len()));
    }
    // The other one answers on the same connection: it was never told an address.
    other.links.send(one.id(), vec![7; LETTER_MAX], Arc::default());
    assert_eq!(one.letter(&other).0, vec![7; LETTER_MAX]);
    let view = &other.links.views()[0];
    assert!(!view.connection.as_ref().unwrap().dialled);
    assert_eq!(view.name.as_deref(), Some("node 1"));
}

#[test]
fn both_ways_at_once_over_ipv6() {
    let listen = |settings: &mut Settings, _: &mut Tuning| settings.listen = vec!["[::1]:0".parse().unwrap()];
    let (one, other) = (Node::with(1, listen), Node::with(2, listen));
    one.knows(&other);
    other.knows(&one);
    for round in 0..6 {
        one.links.send(other.id(), vec![round], pattern(3 << 20));
        other.links.send(one.id(), vec![round], pattern(5 << 20));
    }
    for _ in 0..6 {
        assert_eq!(other.letter(&one).1, pattern(3 << 20));
        assert_eq!(one.letter(&other).1, pattern(5 << 20));
    }
    assert!(one.host.up(other.id()).starts_with("tcp://[::1]:"));
}

#[test]
fn an_observer_sees_the_connection() {
    let (one, other) = (Node::new(1), Node::new(2));
    one.knows(&other);
    one.say(&other, b"a letter");
    other.letter(&one);
    other.say(&one, b"another");
    one.letter(&other);
    let views = one.links.views();
    let [view] = &views[..] else { panic!("{views:?}") };
    let connection = view.connection.as_ref().unwrap();
    assert_eq!((view.node, connection.kind, connection.dialled), (other.id(), "tls", true));
    assert_eq!((connection.address.clone(), view.queued, view.dropped), (other.address(), 0, 0));
    assert!(connection.received > 0 && connection.sent > 0, "{connection:?}");
    one.links.stop();
    assert_eq!(other.host.down(one.id()), "the other node stops");
}

#[test]
fn announcements_reach_everybody_and_the_newest_holds() {
    let (one, middle, other) = (Node::new(1), Node::new(2), Node::new(3));
    one.knows(&middle);
    other.knows(&middle);
    one.say(&middle, b"hello");
    middle.letter(&one);
    other.say(&middle, b"hello");
    // The middle passes on what it hears; from then on the two find each other by themselves.
    let about = |host: &Recorder, node: NodeId| {
        host.wait("an announcement", |event| match event {
            Event::Announced(announcement) if announcement.node == node => Some(announcement.clone()),
            _ => None,
        })
    };
    assert_eq!(about(&one.host, other.id()), other.links.announcement());
    one.say(&other, b"straight");
    assert_eq!(other.letter(&one).0, b"straight");

    let old = other.links.announcement();
    other.links.advertise(vec!["tcp://192.0.2.1:7".to_owned()]).unwrap();
    let new = about(&middle.host, other.id());
    // The first it heard when they met.
    let new = if new == old { about(&middle.host, other.id()) } else { new };
    assert_eq!((&new, new.stamp > old.stamp), (&other.links.announcement(), true));
    assert_eq!(middle.links.learn(old.clone()), Err(LearnError::Old));
    let forged = Announcement { stamp: new.stamp + 1, ..new };
    assert_eq!(middle.links.learn(forged), Err(LearnError::Forged));
}

#[test]
fn what_a_process_before_announced_does_not_outlive_it() {
    let (one, other) = (Node::new(1), Node::new(2));
    // The same node, when its clock was a year ahead, at another address.
    let ahead = |settings: &mut Settings, _: &mut Tuning| {
        let clock = settings.clock.clone();
        settings.clock = Arc::new(move || clock() + 365 * 24 * 3600 * 1000);
        settings.advertise = vec!["tcp://192.0.2.1:7".to_owned()];
    };
    let former = Node::with(1, ahead);
    other.links.learn(former.links.announcement()).unwrap();
    drop(former);
    one.knows(&other);
    one.say(&other, b"hello");
    other.letter(&one);
    let newest = other.host.wait("what the node announces now", |event| match event {
        Event::Announced(announcement) if announcement.node == one.id() => Some(announcement.clone()),
        _ => None,
    });
    assert_eq!(newest.addresses, [one.address()]);
}

#[test]
fn a_clock_that_is_off_is_told() {
    let behind = |settings: &mut Settings, _: &mut Tuning| {
        let clock = settings.clock.clone();
        settings.clock = Arc::new(move || clock() - 3_600_000);
    };
    let (one, other) = (Node::new(1), Node::with(2, behind));
    one.knows(&other);
    one.say(&other, b"hello");
    other.letter(&one);
    let off = |host: &Recorder| {
        host.wait("a clock", |event| match event {
            Event::ClockOff { milliseconds, .. } => Some(*milliseconds),
            _ => None,
        })
    };
    assert!((-3_700_000..=-3_600_000).contains(&off(&one.host)));
    assert!((3_500_000..=3_600_000).contains(&off(&other.host)));
}

#[test]
fn who_is_at_an_address_is_seen_without_a_key() {
    let (one, other) = (Node::new(1), Node::among(2, Standing::Stranger, |_, _| {}));
    let seen = one.links.probe(&other.address()).unwrap();
    assert_eq!(seen, (other.id(), "node 2".to_owned()));
    assert!(other.links.views().is_empty(), "nothing is kept of who looks");
    let error = one.links.probe("unix:/x").unwrap_err();
    assert!(error.to_string().contains("no address of a node"), "{error}");
}
