use super::*;
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

fn messages() -> Vec<LogMessage> {
    let log = NodeId([0x11; 32]);
    vec![
        LogMessage::Submit { list: header().list, path: vec![header()], entry: Box::new(entry()) },
        LogMessage::Advance { path: vec![header(), header()], end: signed() },
        LogMessage::Confirmed(confirmation()),
        LogMessage::Known { log, sequence: 2, known: 1, hash: Digest([0x22; 32]) },
        LogMessage::Refused { log, sequence: 2, why: No::NotDrawn },
        LogMessage::Forked(Box::new(ForkProof { earlier: signed(), later: signed(), path: vec![header()] })),
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
    let expected = [
        format!("01{list}01000000{header}{entry}"),
        format!("0202000000{header}{header}{signed}"),
        format!("0301{log}{two}{hash}{list}{}{}", "44".repeat(32), "66".repeat(64)),
        format!("04{log}{two}0100000000000000{hash}"),
        format!("05{log}{two}03"),
        format!("06{signed}{signed}01000000{header}"),
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
    let mut entry = entry();
    entry.body = vec![0; ENTRY_BODY_MAX];
    entry.head.header.body_bytes = ENTRY_BODY_MAX as u32;
    let longest = LogMessage::Submit { list: header().list, path: vec![header(); PATH_MAX], entry: Box::new(entry) };
    assert_eq!(bytes_of(&longest).len(), LOG_MESSAGE_MAX);
    assert!(LOG_MESSAGE_MAX < 256 << 10);
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
    let path = LogMessage::Advance { path: vec![header(); PATH_MAX + 1], end: signed() };
    assert!(matches!(LogMessage::parse(&bytes_of(&path)), Err(BodyError::TooLong { .. })));
}
