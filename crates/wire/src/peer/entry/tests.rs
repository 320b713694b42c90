use super::*;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;

fn header() -> EntryHeader {
    EntryHeader {
        log: NodeId([0x11; 32]),
        sequence: 2,
        previous: Digest([0x33; 32]),
        list: Version { number: 4, digest: Digest([0x55; 32]) },
        stamp: 6,
        kind: 7,
        body_bytes: 3,
        body: Digest([0x88; 32]),
    }
}

fn signed() -> SignedHeader {
    SignedHeader { header: header(), signature: [0x99; 64] }
}

fn entry() -> Entry {
    Entry { head: signed(), body: b"abc".to_vec() }
}

fn confirmation() -> Confirmation {
    Confirmation {
        log: NodeId([0x11; 32]),
        sequence: 2,
        hash: Digest([0x22; 32]),
        list: header().list,
        witness: NodeId([0x44; 32]),
        signature: [0x66; 64],
    }
}

fn step(list: Version) -> Step {
    Step { list, stamp: 9, kind: 7, body_bytes: 3, body: Digest([0x88; 32]) }
}

fn path() -> Path {
    Path { first: header(), rest: vec![step(header().list), step(Version { number: 5, digest: Digest([0x77; 32]) })] }
}

fn short() -> Path {
    Path { first: header(), rest: vec![] }
}

fn messages() -> Vec<LogMessage> {
    let log = NodeId([0x11; 32]);
    vec![
        LogMessage::Submit { list: header().list, path: path(), entries: vec![entry()] },
        LogMessage::Advance { path: short(), signature: [0x99; 64] },
        LogMessage::Confirmed(vec![confirmation()]),
        LogMessage::Known { log, sequence: 2, known: 1, hash: Digest([0x22; 32]) },
        LogMessage::Refused { log, sequence: 2, why: No::NotDrawn },
        LogMessage::Forked(Box::new(ForkProof { one: signed(), path: short(), signature: [0x99; 64] })),
        LogMessage::AskHead { log, nonce: 5 },
        LogMessage::Head { log, nonce: 5, head: Some(Box::new(signed())) },
        LogMessage::AskEntries { log, nonce: 5, from: 1, to: 2 },
        LogMessage::Entries { log, nonce: 5, to: 2, entries: vec![entry()] },
    ]
}

fn bytes_of(message: &impl Message) -> Vec<u8> {
    encoded(|body| message.encode(body))
}

fn hex(message: &impl Message) -> String {
    bytes_of(message).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes() {
    let (log, hash, list) = ("11".repeat(32), "22".repeat(32), format!("0400000000000000{}", "55".repeat(32)));
    let two = "0200000000000000";
    let five = "0500000000000000";
    let header = format!("01{log}{two}{}{list}0600000000000000070003000000{}", "33".repeat(32), "88".repeat(32));
    let signed = format!("{header}{}", "99".repeat(64));
    let entry = format!("{signed}616263");
    let said = format!("0900000000000000070003000000{}", "88".repeat(32));
    let path = format!("{header}0200000000{said}010500000000000000{}{said}", "77".repeat(32));
    let short = format!("{header}00000000{}", "99".repeat(64));
    let expected = [
        format!("01{list}{path}01000000{entry}"),
        format!("02{short}"),
        format!("030100000001{log}{two}{hash}{list}{}{}", "44".repeat(32), "66".repeat(64)),
        format!("04{log}{two}0100000000000000{hash}"),
        format!("05{log}{two}03"),
        format!("06{signed}{short}"),
        format!("07{log}{five}"),
        format!("08{log}{five}01{signed}"),
        format!("09{log}{five}0100000000000000{two}"),
        format!("0a{log}{five}{two}01000000{entry}"),
    ];
    for (message, expected) in messages().iter().zip(expected) {
        assert_eq!(hex(message), expected);
        assert_eq!(LogMessage::parse(&bytes_of(message)).as_ref(), Ok(message));
    }
}

#[test]
fn lengths_are_as_named() {
    assert_eq!(bytes_of(&header()).len(), HEADER_BYTES);
    assert_eq!(bytes_of(&signed()).len(), SIGNED_HEADER_BYTES);
    assert_eq!(bytes_of(&confirmation()).len(), CONFIRMATION_BYTES);
    let list = |number| Version { number, digest: Digest([0; 32]) };
    let longest = Path { first: header(), rest: (0..PATH_MAX as u64 - 1).map(|at| step(list(at))).collect() };
    assert_eq!(bytes_of(&longest).len(), PATH_BYTES_MAX);
    let bodies = ENTRIES_BYTES_MAX - 2 * SIGNED_HEADER_BYTES;
    let with_body = |bytes: usize| {
        let mut entry = entry();
        entry.body = vec![0; bytes];
        entry.head.header.body_bytes = bytes as u32;
        entry
    };
    let entries = vec![with_body(bodies / 2), with_body(bodies - bodies / 2)];
    let longest = LogMessage::Submit { list: header().list, path: longest, entries };
    assert_eq!(bytes_of(&longest).len(), LOG_MESSAGE_MAX);
    const { assert!(LOG_MESSAGE_MAX < 256 << 10) };
}

#[test]
fn what_entries_say_has_one_form() {
    let version = header().list;
    let (segment, deed) = (okapi_base::SegmentName([0x22; 32]), Digest([0x33; 32]));
    let golden = [
        (Said::Joined(okapi_base::GroupId([0x11; 32])), 1, "11".repeat(32)),
        (Said::List(version), 2, format!("0400000000000000{}", "55".repeat(32))),
        (Said::Deed { segment, revision: 6, deed }, 3, format!("{}06000000{}", "22".repeat(32), "33".repeat(32))),
        (Said::Release(segment), 4, "22".repeat(32)),
    ];
    for (said, kind, expected) in golden {
        let body = said.to_body();
        assert_eq!((said.kind(), body.iter().map(|byte| format!("{byte:02x}")).collect()), (kind, expected));
        assert_eq!(Said::parse(kind, &body), Ok(said));
        assert!(Said::parse(kind, &body[1..]).is_err());
        assert!(Said::parse(kind, &[&body[..], &[0]].concat()).is_err());
    }
    assert_eq!(Said::parse(9, b"later"), Ok(Said::Other(9)));
}

#[test]
fn changed_bytes_are_refused_or_mean_something_else() {
    for message in messages() {
        let good = bytes_of(&message);
        for cut in 0..good.len() {
            assert!(LogMessage::parse(&good[..cut]).is_err());
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Ok(other) = LogMessage::parse(&bad) {
                    assert_ne!(other, message);
                    assert_eq!(bytes_of(&other), bad, "one message has one form");
                }
            }
        }
    }
}

#[test]
fn limits_hold() {
    let mut bad = header();
    bad.sequence = 0;
    assert_eq!(EntryHeader::parse(&bytes_of(&bad)), Err(BodyError::BadValue { field: "sequence" }));
    bad = header();
    bad.body_bytes = ENTRY_BODY_MAX as u32 + 1;
    assert!(matches!(EntryHeader::parse(&bytes_of(&bad)), Err(BodyError::TooLong { .. })));
    let mut long = bytes_of(&short());
    long[HEADER_BYTES..].copy_from_slice(&(PATH_MAX as u32).to_le_bytes());
    long.extend(vec![0; PATH_MAX * STEP_BYTES_MAX]);
    assert_eq!(Path::parse(&long), Err(BodyError::TooLong { length: PATH_MAX, most: PATH_MAX - 1 }));
    let mut last = header();
    last.sequence = u64::MAX - 1;
    assert_eq!(step(last.list).after(&last, Digest([0; 32])), None);
}
