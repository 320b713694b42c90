//! Two processes with one identity: the later one hears of it, whichever way they meet.

use super::raw::{Raw, RawListener};
use super::*;
use okapi_wire::Message;
use okapi_wire::peer::link::{Farewell, Kind, Presence, Reason};

/// A process of node 1 that started so many milliseconds after the epoch of its own.
fn process(started: u64) -> Node {
    Node::with(1, |settings, tuning| {
        let (clock, first) = (settings.clock.clone(), AtomicUsize::new(0));
        // The clock is first read for the start.
        settings.clock = Arc::new(move || if first.fetch_add(1, Ordering::Relaxed) == 0 { started } else { clock() });
        tuning.prove = Duration::from_millis(500);
    })
}

#[test]
fn the_second_is_told_by_whom_it_dials_and_the_first_goes_on() {
    let (first, second, other) = (process(1000), process(2000), Node::new(2));
    first.knows(&other);
    second.knows(&other);
    first.say(&other, b"first");
    other.letter(&first);
    second.say(&other, b"second");
    assert!(second.host.twin().contains("this identity"));
    first.say(&other, b"again");
    assert_eq!(other.letter(&first).0, b"again");
    assert!(!first.host.has(|event| matches!(event, Event::Twin { .. } | Event::Down { .. })));
    assert!(!other.host.has(|event| matches!(event, Event::Letter { letter, .. } if letter == b"second")));
}

#[test]
fn the_second_is_told_even_where_it_came_first() {
    let (first, second, other) = (process(1000), process(2000), Node::new(2));
    first.knows(&other);
    second.knows(&other);
    second.say(&other, b"second");
    other.letter(&second);
    first.say(&other, b"first");
    assert_eq!(other.letter(&first).0, b"first");
    second.host.twin();
    assert!(!first.host.has(|event| matches!(event, Event::Twin { .. })));
}

#[test]
fn the_second_is_told_by_the_first_itself() {
    let (first, second, other) = (process(1000), process(2000), Node::new(2));
    // The first one's address is taken for another node's: the key that answers is one's own.
    second.links.hint(other.id(), &[first.address()]);
    second.say(&other, b"hello");
    second.host.twin();
    assert!(!first.host.has(|event| matches!(event, Event::Twin { .. })));
}

#[test]
fn a_node_that_dials_itself_is_no_twin() {
    let (one, other) = (process(1000), Node::new(2));
    one.links.hint(other.id(), &[one.address()]);
    assert_eq!(one.links.probe(&one.address()).unwrap().0, one.id());
    one.say(&other, b"hello");
    one.links.hint(other.id(), &[other.address()]);
    other.letter(&one);
    assert!(!one.host.has(|event| matches!(event, Event::Twin { .. } | Event::Refused { .. })));
}

#[test]
fn a_process_that_is_gone_does_not_keep_the_next_one_out() {
    let other = Node::with(2, |_, tuning| tuning.prove = Duration::from_millis(100));
    // It says nothing more and does not close: its machine lost power.
    let mut gone = Raw::dial(1, &other);
    gone.enter();
    let next = process(u64::MAX >> 20);
    next.knows(&other);
    next.say(&other, b"back again");
    assert_eq!(other.letter(&next).0, b"back again");
    assert!(!next.host.has(|event| matches!(event, Event::Twin { .. })));
}

#[test]
fn a_twin_without_proof_is_not_believed() {
    let one = process(1000);
    let listener = RawListener::new(2);
    one.links.hint(listener.id(), &[listener.address()]);
    one.links.send(listener.id(), b"hello".to_vec(), Arc::default());
    let mut raw = listener.accept();
    raw.greet();
    let twin = Some(Box::new(Presence { run: [1; 16], started: 1, signature: [7; 64] }));
    let farewell = Farewell { reason: Reason::Twin, words: "stop".to_owned(), twin };
    raw.say(Kind::Farewell, |body| farewell.encode(body));
    raw.closed();
    assert!(!one.host.has(|event| matches!(event, Event::Twin { .. })));
}
