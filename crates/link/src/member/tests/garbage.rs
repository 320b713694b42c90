//! Bytes that are no frames: the connection ends, and nothing else does.

use super::raw::Raw;
use super::*;
use crate::member::frames::{Broken, FrameReader, frame};
use crate::member::live::Traffic;
use crate::member::rate::Rate;
use okapi_wire::Message;
use okapi_wire::peer::link::{Farewell, HEAD_BYTES, Head, Hello, Kind, Reason};

/// Numbers that a seed makes: splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }
}

#[test]
fn a_hello_cut_anywhere_gets_no_answer_and_harms_nobody() {
    let one = Node::with(1, |_, tuning| tuning.handshake = Duration::from_secs(2));
    let other = Node::new(9);
    let hello = {
        let raw = Raw::dial(2, &one);
        let mut bytes = Vec::new();
        frame(&mut bytes, Kind::Hello, |body| raw.hello().encode(body));
        bytes
    };
    // Every length is tried in one thread of four, so that handshakes do not wait for each other.
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (one, hello) = (&one, &hello);
            scope.spawn(move || {
                for length in (part..hello.len()).step_by(4) {
                    let mut raw = Raw::dial(2, one);
                    raw.send(&hello[..length]);
                    raw.shut();
                    raw.closed();
                }
            });
        }
    });
    assert!(!one.host.has(|event| matches!(event, Event::Up { .. })));
    other.knows(&one);
    other.say(&one, b"still there?");
    assert_eq!(one.letter(&other).0, b"still there?");
}

#[test]
fn hellos_with_changed_bytes_are_refused_or_mean_the_same() {
    let one = Node::new(1);
    let mut dice = Dice(7);
    for _ in 0..60 {
        let mut raw = Raw::dial(2, &one);
        let mut bytes = Vec::new();
        frame(&mut bytes, Kind::Hello, |body| raw.hello().encode(body));
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
        raw.send(&bytes);
        raw.shut();
        if let Some((head, bytes)) = raw.frame() {
            assert_eq!(head.kind, Kind::Hello);
            Hello::parse(&bytes).unwrap();
        }
    }
}

#[test]
fn random_frames_after_a_good_hello_never_do_more_than_end_the_connection() {
    let one = Node::new(1);
    let other = Node::new(9);
    other.knows(&one);
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut raw = Raw::dial(2, &one);
        raw.enter();
        let mut bytes = Vec::new();
        for _ in 0..dice.below(20) {
            match dice.below(3) {
                // A good head, and whatever behind it.
                0 | 1 => {
                    let kinds = [Kind::Letter, Kind::Piece, Kind::Ping, Kind::Pong, Kind::Announcements, Kind::Prove];
                    let kind =
                        [&kinds[..], &[Kind::Go, Kind::Presence, Kind::Farewell, Kind::Hello]].concat()[dice.below(10)];
                    let (least, most) = kind.lengths();
                    let length = least + dice.below((most - least + 1).min(3000));
                    let payload = if kind == Kind::Letter { dice.below(100_000) as u32 } else { 0 };
                    bytes.extend_from_slice(&Head { kind, length: length as u32, payload }.to_bytes());
                    bytes.extend((0..length).map(|_| dice.next() as u8));
                }
                _ => bytes.extend((0..dice.below(100)).map(|_| dice.next() as u8)),
            }
        }
        raw.send(&bytes);
        raw.shut();
        raw.closed();
        other.say(&one, &seed.to_le_bytes());
        assert_eq!(one.letter(&other).0, seed.to_le_bytes(), "seed {seed}");
    }
}

#[test]
fn nonsense_is_answered_in_words() {
    let one = Node::new(1);
    let mut raw = Raw::dial(2, &one);
    raw.enter();
    raw.send(&[0xff; HEAD_BYTES]);
    let farewell: Farewell = raw.farewell();
    assert_eq!(farewell.reason, Reason::Malformed);
    assert!(farewell.words.contains("frame kind"), "{}", farewell.words);
    assert!(one.host.down(raw.id()).contains("frame kind"));
}

#[test]
fn memory_is_made_for_bytes_that_came() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rate = || Arc::new(Rate::new(0, tokio::time::Instant::now()));
    let traffic = Arc::new(Traffic::new(rate(), rate(), PATIENCE));
    let mut reader = FrameReader::new(&[1; 100][..], traffic);
    // What cannot be seen from here is that it never asked for a gigabyte; it would have taken its time.
    let read = runtime.block_on(reader.bytes(1 << 30));
    assert!(matches!(read, Err(Broken::Cut)));
}
