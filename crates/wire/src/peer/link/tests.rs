use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use okapi_base::NodeId;

fn announcement() -> Announcement {
    Announcement {
        node: NodeId([0x11; 32]),
        stamp: 1_800_000_000_000,
        name: "ada".to_string(),
        addresses: vec!["tcp://a:1".to_string()],
        signature: [0x22; 64],
    }
}

fn hello() -> Hello {
    Hello {
        oldest: 1,
        newest: 3,
        purpose: Purpose::Look,
        run: [0x33; 16],
        started: 0x0102_0304_0506_0708,
        stamp: 1_800_000_000_000,
        announcement: announcement(),
    }
}

fn presence() -> Presence {
    Presence { run: [0x44; 16], started: 5, signature: [0x55; 64] }
}

fn bytes_of(message: &impl Message) -> Vec<u8> {
    encoded(|body| message.encode(body))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes() {
    let letter = Head { kind: Kind::Letter, length: 0x0001_0203, payload: 0x0010_2030 };
    assert_eq!(hex(&letter.to_bytes()), "03000000030201003020100000000000");
    let announcement = hex(&bytes_of(&announcement()));
    let hello = hex(&bytes_of(&hello()));
    assert_eq!(hello, format!("0100030002000000{}080706050403020100505c18a3010000{announcement}", "33".repeat(16)));
    let presence_hex = format!("{}0500000000000000{}", "44".repeat(16), "55".repeat(64));
    assert_eq!(hex(&bytes_of(&presence())), presence_hex);
    let signed = format!("{}{}0500000000000000", "66".repeat(16), "44".repeat(16));
    assert_eq!(hex(&presence().signed_bytes(&[0x66; 16])), signed);
    let farewell = |reason, twin| bytes_of(&Farewell { reason, words: "why".to_string(), twin });
    assert_eq!(hex(&farewell(Reason::Parted, None)), "050300776879");
    assert_eq!(hex(&farewell(Reason::Twin, Some(Box::new(presence())))), format!("030300776879{presence_hex}"));
}

#[test]
fn codes_do_not_move() {
    let kinds = Kind::ALL.map(|kind| (kind.code(), kind.lengths()));
    assert_eq!(
        kinds,
        [
            (1, (40, 1252)),
            (2, (0, 0)),
            (3, (0, 262_144)),
            (4, (0, 0)),
            (5, (1, 1_048_576)),
            (6, (8, 8)),
            (7, (8, 8)),
            (8, (4, 65_536)),
            (9, (16, 16)),
            (10, (88, 88)),
            (11, (3, 603)),
        ]
    );
    assert_eq!(Reason::ALL.map(Reason::code), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn all_comes_back() {
    for kind in Kind::ALL {
        let (least, most) = kind.lengths();
        for length in [least, most] {
            let head = Head { kind, length: length as u32, payload: 0 };
            assert_eq!(Head::from_bytes(&head.to_bytes()), Ok(head));
        }
    }
    assert_eq!(Hello::parse(&bytes_of(&hello())), Ok(hello()));
    assert_eq!(Presence::parse(&bytes_of(&presence())), Ok(presence()));
    for reason in Reason::ALL {
        let twin = (reason == Reason::Twin).then(|| Box::new(presence()));
        let farewell = Farewell { reason, words: "w".repeat(WORDS_MAX), twin };
        let bytes = bytes_of(&farewell);
        assert!(bytes.len() <= FAREWELL_BYTES_MAX);
        assert_eq!(Farewell::parse(&bytes), Ok(farewell));
    }
}

#[test]
fn heads_that_break_a_limit_are_refused() {
    let good = Head { kind: Kind::Letter, length: LETTER_MAX as u32, payload: PAYLOAD_MAX as u32 }.to_bytes();
    assert!(Head::from_bytes(&good).is_ok());
    let with = |at: usize, byte: u8| {
        let mut bytes = good;
        bytes[at] = byte;
        Head::from_bytes(&bytes)
    };
    for kind in [0, 12, 255] {
        assert_eq!(with(0, kind), Err(BodyError::BadValue { field: "frame kind" }));
    }
    for at in [1, 2, 3, 12, 13, 14, 15] {
        assert!(matches!(with(at, 1), Err(BodyError::BadValue { .. })), "byte {at}");
    }
    assert_eq!(with(4, 1), Err(BodyError::TooLong { length: LETTER_MAX + 1, most: LETTER_MAX }));
    assert_eq!(with(8, 1), Err(BodyError::TooLong { length: PAYLOAD_MAX + 1, most: PAYLOAD_MAX }));
    for kind in Kind::ALL {
        let (least, most) = kind.lengths();
        let head = |length: usize, payload| Head { kind, length: length as u32, payload }.to_bytes();
        assert!(Head::from_bytes(&head(most + 1, 0)).is_err(), "{kind:?}");
        if least > 0 {
            assert_eq!(Head::from_bytes(&head(least - 1, 0)), Err(BodyError::Short), "{kind:?}");
        }
        assert_eq!(Head::from_bytes(&head(least, 1)).is_ok(), kind == Kind::Letter, "{kind:?}");
    }
}

#[test]
fn cut_or_changed_bytes_are_errors_and_never_panics() {
    let twin = Farewell { reason: Reason::Twin, words: "w".to_string(), twin: Some(Box::new(presence())) };
    let (hello_bytes, twin_bytes) = (bytes_of(&hello()), bytes_of(&twin));
    for length in 0..hello_bytes.len() {
        assert_eq!(Hello::parse(&hello_bytes[..length]), Err(BodyError::Short), "{length} bytes");
    }
    for length in 0..twin_bytes.len() {
        assert_eq!(Farewell::parse(&twin_bytes[..length]), Err(BodyError::Short), "{length} bytes");
    }
    for at in 0..hello_bytes.len() {
        let mut bytes = hello_bytes.clone();
        bytes[at] ^= 0xff;
        // Whatever it now means, it means it exactly: what was read is written again as the same bytes, but for the
        // three that nobody looks at.
        if let Ok(read) = Hello::parse(&bytes) {
            let mut again = bytes_of(&read);
            again[5..8].copy_from_slice(&bytes[5..8]);
            assert_eq!(again, bytes, "byte {at}");
        }
    }
}
