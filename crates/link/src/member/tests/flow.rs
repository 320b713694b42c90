//! Limits: what waits, what is received, how fast.

use super::raw::Raw;
use super::*;
use okapi_wire::peer::link::{Kind, Reason};

/// Takes the next letter out together with its room.
fn with_room(host: &Recorder) -> (usize, Room) {
    let until = Instant::now() + PATIENCE;
    let mut events = host.events.lock();
    loop {
        if let Some(at) = events.iter().position(|event| matches!(event, Event::Letter { .. })) {
            let Some(Event::Letter { payload, room, .. }) = events.remove(at) else { unreachable!() };
            return (payload.len(), room);
        }
        assert!(!host.came.wait_until(&mut events, until).timed_out());
    }
}

#[test]
fn a_host_that_keeps_what_it_got_is_sent_no_more_payloads_but_letters() {
    const SIZE: usize = 5 << 20;
    let one = Node::new(1);
    let other = Node::with(2, |settings, _| settings.received = 16 << 20);
    one.knows(&other);
    for _ in 0..8 {
        one.links.send(other.id(), b"payload".to_vec(), pattern(SIZE));
    }
    let mut rooms: Vec<Room> = (0..3).map(|_| with_room(&other.host).1).collect();
    assert!(rooms.iter().all(|room| (SIZE..SIZE + 1024).contains(&room.bytes())));
    // A letter comes still; when it has, the fourth payload would have as well.
    for _ in 0..3 {
        one.say(&other, b"letter");
        let (payload, room) = with_room(&other.host);
        assert_eq!(payload, 0);
        drop(room);
        other.say(&one, b"answer");
        one.letter(&other);
    }
    // Each that is let go makes room for the next.
    for _ in 3..8 {
        drop(rooms.remove(0));
        let (payload, room) = with_room(&other.host);
        assert_eq!(payload, SIZE);
        rooms.push(room);
    }
}

#[test]
fn a_host_that_keeps_letters_is_still_heard_of() {
    let one = Node::new(1);
    let other = Node::new(2);
    one.knows(&other);
    let count = settings::LETTERS_RECEIVED / LETTER_MAX;
    for _ in 0..count + 4 {
        one.links.send(other.id(), vec![1; LETTER_MAX], Arc::default());
    }
    let mut rooms: Vec<Room> = (0..count).map(|_| with_room(&other.host).1).collect();
    // There is no room for the next; what this end writes goes on meanwhile.
    other.say(&one, b"slow");
    one.letter(&other);
    assert!(!other.host.has(|event| matches!(event, Event::Letter { .. })));
    rooms.clear();
    (0..4).for_each(|_| drop(with_room(&other.host)));
}

#[test]
fn more_offers_than_are_allowed_end_the_connection() {
    let one = Node::new(1);
    let mut raw = Raw::dial(2, &one);
    raw.enter();
    for _ in 0..9 {
        raw.letter(b"offer", 16 << 20);
    }
    let farewell = raw.farewell();
    assert_eq!(farewell.reason, Reason::Malformed);
    assert!(farewell.words.contains("more payloads"), "{}", farewell.words);
}

#[test]
fn letters_beyond_the_limit_are_dropped_and_counted() {
    let one = Node::with(1, |settings, _| settings.queued_each = 1 << 20);
    let nobody = NodeId([7; 32]);
    for _ in 0..10 {
        one.links.send(nobody, vec![0; 200_000], Arc::default());
    }
    let view = &one.links.views()[0];
    assert_eq!((view.queued, view.dropped), (1_000_000, 5));
    // A payload larger than the limit finds room where nothing else waits.
    let other = NodeId([8; 32]);
    one.links.send(other, Vec::new(), pattern(PAYLOAD_MAX));
    one.links.send(other, Vec::new(), pattern(1));
    let views = one.links.views();
    assert_eq!((views[1].queued, views[1].dropped), (PAYLOAD_MAX, 1));
}

#[test]
fn uploads_and_downloads_keep_to_their_limits() {
    const RATE: u64 = 8 << 20;
    const SIZE: usize = 4 << 20;
    for upload in [true, false] {
        let limited = move |settings: &mut Settings, _: &mut Tuning| {
            if upload { settings.upload = RATE } else { settings.download = RATE }
        };
        let plain = |_: &mut Settings, _: &mut Tuning| {};
        let (one, other) = if upload {
            (Node::with(1, limited), Node::with(2, plain))
        } else {
            (Node::with(1, plain), Node::with(2, limited))
        };
        one.knows(&other);
        one.say(&other, b"hello");
        other.letter(&one);
        let begun = Instant::now();
        one.links.send(other.id(), Vec::new(), pattern(SIZE));
        other.letter(&one);
        // A quarter of a second's worth may pass at once.
        let least = Duration::from_secs_f64(SIZE as f64 / RATE as f64 - 0.25 - 0.05);
        assert!(begun.elapsed() >= least, "upload {upload}: {:?}", begun.elapsed());
    }
}

#[test]
fn an_end_that_reads_slowly_is_not_taken_for_gone() {
    let one = Node::with(1, |_, tuning| tuning.patience = Duration::from_millis(1500));
    let other = Node::with(2, |settings, tuning| {
        tuning.patience = Duration::from_millis(1500);
        settings.download = 1 << 20;
    });
    one.knows(&other);
    one.say(&other, b"hello");
    other.letter(&one);
    // It takes more than twice as long as anybody has patience, and pings wait on their way behind it.
    one.links.send(other.id(), Vec::new(), pattern(4 << 20));
    other.letter(&one);
    one.say(&other, b"still there");
    other.letter(&one);
    assert!(!one.host.has(|event| matches!(event, Event::Down { .. })));
    assert!(!other.host.has(|event| matches!(event, Event::Down { .. })));
}

#[test]
fn letters_for_a_node_that_is_nowhere_are_given_up_after_a_minute() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let identity = Identity::from_seed(&[1; 32]).unwrap();
        let settings = Settings::new(Zeroizing::new([1; 32]), [1; 16]);
        let host = Arc::new(Recorder::new(Standing::Member));
        let hub = Arc::new(Hub::new(identity, settings, Tuning::default(), host, Vec::new(), Vec::new()));
        let begun = tokio::time::Instant::now();
        let whom = hub.correspondent(NodeId([9; 32]));
        whom.post(queue::Letter { letter: b"hello".to_vec(), payload: Arc::default(), since: begun });
        dial::until_connected(hub.clone(), whom.clone()).await;
        let waited = begun.elapsed();
        assert!((60..=61).contains(&waited.as_secs()), "{waited:?}");
        let state = whom.state.lock();
        assert_eq!((state.dropped, state.queue.bytes()), (1, 0));
        assert!(state.failure.as_ref().unwrap().contains("no address"));
    });
}

#[test]
fn pieces_without_a_go_and_beyond_the_payload_end_the_connection() {
    let one = Node::new(1);
    for (offer, piece) in [(None, 10), (Some(100_000), 100_001)] {
        let mut raw = Raw::dial(2, &one);
        raw.enter();
        if let Some(bytes) = offer {
            raw.letter(b"offer", bytes);
            raw.frame_of(Kind::Go);
        }
        raw.say(Kind::Piece, |body| body.bytes(&vec![1; piece]));
        assert_eq!(raw.farewell().reason, Reason::Malformed);
    }
    let mut raw = Raw::dial(2, &one);
    raw.enter();
    raw.say(Kind::Go, |_| {});
    assert_eq!(raw.farewell().reason, Reason::Malformed);
}
