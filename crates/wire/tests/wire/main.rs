//! Frames and messages against bytes that must never change, and against bytes that mean nothing.

mod away;
mod grant;
mod group;

use okapi_base::{BlockSize, Durability, Generation, Index, Slice, crc32c, limits};
use okapi_wire::frame::{VERSION, sign};
use okapi_wire::message::{
    CompactReport, DamageReport, DeedPage, DeedsOf, Follow, Followed, GrantList, GrantSet, GridCreate, GridCreated,
    GridInfo, GridList, GridOpen, GroupStatus, Invited, KeysGive, Lease, Mark, Named, NodeStatus, RecordBind,
    RecordBound, RecordFind, RecordInfo, RecordList, RecordPage, RecordRemove, RecordRename, RecordReserve, Reserved,
    Route, ShardPart, ShardRead, VerifyReport,
};
use okapi_wire::{
    BodyError, BodyWriter, Frame, FrameError, GetAsk, HEADER_BYTES, Header, Hello, Limits, ListAsk, Listed, Message,
    Op, Outcome, PutAsk, PutKind, Run, Status, Token, Welcome, flags,
};
use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;
use std::fmt::Debug;

const GOLDEN: &str = include_str!("../golden/frames.txt");

fn index(value: u64) -> Index {
    Index::new(value).unwrap()
}

fn message(value: &impl Message) -> Vec<u8> {
    let mut body = Vec::new();
    value.encode(&mut BodyWriter::new(&mut body));
    body
}

fn frame(header: Header, descriptors: &[u8], payload: &[u8]) -> Vec<u8> {
    let body = u32::try_from(descriptors.len() + payload.len()).unwrap();
    let mut bytes = Header { body, ..header }.encode().to_vec();
    bytes.extend_from_slice(descriptors);
    sign(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn info() -> GridInfo {
    GridInfo {
        handle: 1,
        id: 7,
        block_size: BlockSize::DEFAULT,
        durability: Durability::Interval,
        public: true,
        blocks: 3,
        bytes: 196_608,
        records: 2,
        name: "photos".into(),
        engine: "log".into(),
    }
}

fn record() -> RecordInfo {
    RecordInfo {
        name: "2026/käse.jpg".into(),
        length: 70_000,
        modified: 1_793_000_000_000,
        generation: Generation(12),
        blake3: [0xB3; 32],
        content_type: "image/jpeg".into(),
        extents: vec![Run { start: index(1 << 40), count: 2 }],
    }
}

/// Every frame and message of which the bytes are for ever, by name.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let reply = |op: Op, count| Header { op: op as u8 | Op::REPLY, count, ..Header::ask(op, 9, 1) };
    let payload = b"okapi";
    let crc = crc32c(payload);
    let put = PutAsk { expect: Some(Generation(4)), ..PutAsk::slice(index(0x0102_0304_0506), 16, payload, crc) };
    let zeroes = PutAsk { kind: PutKind::Zeroes, length: 32, payload: 0, crc: 0, expect: None, ..put };
    let truncate = PutAsk { kind: PutKind::Truncate, offset: 0, ..zeroes };
    let get = GetAsk { index: Some(index(5)), slice: Slice { offset: 1, length: 2 } };
    let got = Outcome { status: Status::Ok, payload: 5, length: 65_536, crc, generation: Generation(77) };
    let listed = Listed { index: Index::MAX, length: 5, crc, generation: Generation(77) };
    let run = Run { start: index(10), count: 3 };
    let hello = Hello { oldest: 1, newest: 1, limits: Limits::default(), token: Token([0xAB; 32]) };
    let welcome = Welcome { version: 1, owner: true, limits: Limits::default(), node: [0xCD; 16] };
    let create = GridCreate {
        name: "photos".into(),
        block_size: BlockSize::new(4096).unwrap(),
        durability: Durability::Always,
        public: false,
        engine: String::new(),
    };
    let mark = Mark { epoch: 1, sequence: 2, head: 3, swept: Some((Index::MIN, Index::MAX)), behind: 4 };
    let damage = DamageReport { block: Some((7, "photos".into(), 5)), place: "a".into(), what: "b".into() };
    let verify = VerifyReport { segments: 1, records: 2, blocks: 3, bytes: 4, damages: 1, list: vec![damage] };
    let ask = |op, body: Vec<u8>| frame(Header::ask(op, 9, 1), &body, b"");
    let puts = [put.encode(), zeroes.encode(), truncate.encode()].concat();
    let flagged = Header { flags: flags::RELAXED | flags::RECORD, count: 3, ..Header::ask(Op::Put, 9, 1) };
    let mut samples = vec![
        ("hello", ask(Op::Hello, message(&hello))),
        ("welcome", frame(reply(Op::Hello, 0), &message(&welcome), b"")),
        ("ping", ask(Op::Ping, vec![])),
        ("get", frame(Header { count: 1, credit: 1 << 20, ..Header::ask(Op::Get, 9, 1) }, &get.encode(), b"")),
        ("got", frame(reply(Op::Get, 1), &got.encode(), payload)),
        ("put", frame(flagged, &puts, payload)),
        ("placed", frame(reply(Op::Put, 1), &Outcome { payload: 0, crc: 0, ..got }.encode(), b"")),
        ("refused", {
            let header = Header { status: Status::UnknownGrid as u16, ..reply(Op::Get, 0) };
            frame(header, Status::UnknownGrid.text().as_bytes(), b"")
        }),
        (
            "list",
            frame(
                Header { count: 1, flags: flags::DETAIL, ..Header::ask(Op::List, 9, 1) },
                &ListAsk { from: Some(index(5)), limit: 100 }.encode(),
                b"",
            ),
        ),
        ("listed", frame(Header { flags: flags::MORE, ..reply(Op::List, 1) }, &listed.encode(), b"")),
        ("runs", frame(reply(Op::Runs, 1), &run.encode(), b"")),
        ("grid open", ask(Op::GridOpen, message(&GridOpen { token: Token([1; 32]), name: "photos".into() }))),
        ("grid create", ask(Op::GridCreate, message(&create))),
        ("grid created", message(&GridCreated { token: Token([2; 32]), info: info() })),
        ("grid drop", ask(Op::GridDrop, message(&Named { name: "photos".into() }))),
        ("grid list", message(&GridList { grids: vec![info()] })),
        ("record find", ask(Op::RecordFind, message(&RecordFind { name: "a/b".into() }))),
        ("record", message(&record())),
        ("record list", message(&RecordList { limit: 10, prefix: "a/".into(), after: "a/b".into() })),
        ("record page", message(&RecordPage { more: true, records: vec![record()] })),
        ("record reserve", message(&RecordReserve { lease: 3, blocks: 16, from: None })),
        ("record reserved", message(&Reserved { lease: 3, extents: vec![run] })),
        ("record release", message(&Lease { lease: 3 })),
        ("record bind", message(&RecordBind { lease: 3, expect: Some(Generation(0)), record: record() })),
        ("record bound", message(&RecordBound { generation: Generation(13) })),
        ("record remove", message(&RecordRemove { expect: None, name: "a/b".into() })),
        ("record rename", message(&RecordRename { from: "a".into(), to: "b".into() })),
        ("follow", message(&Follow { epoch: 1, sequence: 2 })),
        ("followed", message(&Followed { epoch: 1, sequence: 2, resumed: true })),
        ("mark", message(&mark)),
        ("node status", message(&NodeStatus { facts: vec![("a".into(), "b".into())] })),
        ("verify report", message(&verify)),
        ("compact report", message(&CompactReport { segments: 1, moved_bytes: 2, held_before: 3, held_after: 4 })),
    ];
    samples.extend(group::samples(&ask));
    samples.extend(grant::samples(&ask));
    samples.extend(away::samples(&ask));
    samples
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_are_for_ever() {
    let written: String = samples().iter().map(|(name, bytes)| format!("{name}: {}\n", hex(bytes))).collect();
    for (made, golden) in written.lines().zip(GOLDEN.lines()) {
        assert_eq!(made, golden);
    }
    assert_eq!(written.lines().count(), GOLDEN.lines().count(), "made:\n{written}");
}

#[test]
fn frames_come_back() {
    for (name, bytes) in samples().into_iter().filter(|(_, bytes)| bytes.starts_with(b"OKPI")) {
        let (frame, length) = Frame::parse(&bytes, limits::BODY_MAX).unwrap().unwrap();
        assert_eq!(length, bytes.len(), "{name}");
        let mut again = frame.header.encode().to_vec();
        again.extend_from_slice(frame.descriptors);
        sign(&mut again);
        again.extend_from_slice(frame.payload);
        assert_eq!(again, bytes, "{name}");
        for cut in 0..bytes.len() {
            assert!(Frame::parse(&bytes[..cut], limits::BODY_MAX).unwrap().is_none(), "{name} cut at {cut}");
        }
    }
}

fn comes_back<M: Message + PartialEq + Debug>(value: &M) {
    let bytes = message(value);
    assert_eq!(&M::parse(&bytes).unwrap(), value);
    for cut in 0..bytes.len() {
        assert!(M::parse(&bytes[..cut]).is_err(), "cut at {cut}: {value:?}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(M::parse(&longer).unwrap_err(), BodyError::Trailing { left: 1 });
}

#[test]
fn messages_come_back_and_cut_ones_do_not() {
    comes_back(&Hello { oldest: 1, newest: 3, limits: Limits::default(), token: Token([3; 32]) });
    comes_back(&Welcome { version: 1, owner: false, limits: Limits::default(), node: [9; 16] });
    comes_back(&GridOpen { token: Token::NONE, name: "x".into() });
    comes_back(&GridList { grids: vec![info(), info()] });
    comes_back(&GridCreated { token: Token([2; 32]), info: info() });
    comes_back(&record());
    comes_back(&RecordPage { more: false, records: vec![record(), record()] });
    comes_back(&RecordReserve { lease: 0, blocks: 9, from: Some(Index::MAX) });
    comes_back(&Reserved { lease: 3, extents: vec![Run { start: Index::MAX, count: 1 }] });
    comes_back(&RecordBind { lease: 0, expect: None, record: record() });
    comes_back(&RecordRemove { expect: Some(Generation(5)), name: "n".into() });
    comes_back(&RecordRename { from: "a".into(), to: "b".into() });
    comes_back(&RecordList { limit: 1, prefix: "p".into(), after: String::new() });
    comes_back(&Followed { epoch: 1, sequence: 2, resumed: false });
    comes_back(&Mark { epoch: 1, sequence: 2, head: 3, swept: None, behind: 0 });
    comes_back(&NodeStatus { facts: vec![("a".into(), "b".into()); 3] });
    comes_back(&VerifyReport { damages: 9, ..VerifyReport::default() });
    comes_back(&group::status());
    comes_back(&group::invited());
    comes_back(&grant::set());
    comes_back(&grant::list());
    comes_back(&grant::route());
    comes_back(&away::keys());
    comes_back(&away::deeds_of());
    comes_back(&away::page());
    comes_back(&away::shard_read());
    comes_back(&away::part());
}

#[test]
fn bad_headers_say_what_is_bad() {
    let good = Header { count: 1, body: 16, ..Header::ask(Op::Get, 1, 1) };
    let decode = |header: Header| Header::decode(&header.encode(), 1000);
    assert_eq!(decode(good), Ok(good));
    assert_eq!(decode(Header { version: 2, ..good }), Err(FrameError::BadVersion { version: 2 }));
    assert_eq!(decode(Header { body: 1001, ..good }), Err(FrameError::TooLong { body: 1001, most: 1000 }));
    assert_eq!(decode(Header { count: 1025, ..good }), Err(FrameError::TooMany { count: 1025 }));
    assert_eq!(decode(Header { count: 2, ..good }), Err(FrameError::Short { count: 2, body: 16 }));
    assert_eq!(Frame::parse(b"GET / HTTP/1.1\r\n", 1000).unwrap_err(), FrameError::BadMagic);
    assert_eq!(Frame::parse(b"OKx", 1000).unwrap_err(), FrameError::BadMagic);
    // A hello of any version is read, so that the ends can find a common one.
    let hello = Header { version: VERSION + 9, ..Header::ask(Op::Hello, 1, 0) };
    assert!(decode(hello).is_ok());
}

#[test]
fn indexes_past_the_last_are_seen() {
    let mut get = GetAsk::whole(Index::MAX).encode();
    assert_eq!(GetAsk::decode(&get).index, Some(Index::MAX));
    get[6] = 1;
    assert_eq!(GetAsk::decode(&get).index, None);
    let mut run = Run { start: Index::MAX, count: 1 }.encode();
    assert!(Run::decode(&run).is_ok());
    run[8] = 2;
    assert_eq!(Run::decode(&run), Err(Status::BadIndex));
    run[8] = 0;
    assert_eq!(Run::decode(&run), Err(Status::BadIndex));
    run[8..].fill(0xFF);
    assert_eq!(Run::decode(&run), Err(Status::BadIndex));
}

#[test]
fn lists_are_believed_only_as_far_as_they_go() {
    let mut body = u32::MAX.to_le_bytes().to_vec();
    assert!(matches!(GridList::parse(&body), Err(BodyError::TooLong { .. })));
    body = 4000u32.to_le_bytes().to_vec();
    assert_eq!(GridList::parse(&body), Err(BodyError::Short));
}

#[test]
fn tokens_match_only_themselves_and_never_show() {
    let token = Token([7; 32]);
    assert!(token.matches(&Token([7; 32])));
    for at in 0..32 {
        let mut other = token;
        other.0[at] ^= 1;
        assert!(!token.matches(&other));
    }
    assert_eq!(format!("{token:?}"), "Token(…)");
}

proptest! {
    #![proptest_config(Config { cases: 3000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn random_bodies_are_errors_or_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fn check<M: Message>(bytes: &[u8]) {
            if let Ok(value) = M::parse(bytes) {
                // Reserved bytes and booleans aside, what was understood is written again in as many bytes.
                assert_eq!(message(&value).len(), bytes.len());
            }
        }
        check::<Hello>(&bytes);
        check::<GridOpen>(&bytes);
        check::<GridCreate>(&bytes);
        check::<GridList>(&bytes);
        check::<RecordInfo>(&bytes);
        check::<RecordPage>(&bytes);
        check::<RecordBind>(&bytes);
        check::<Reserved>(&bytes);
        check::<Mark>(&bytes);
        check::<NodeStatus>(&bytes);
        check::<VerifyReport>(&bytes);
        check::<GroupStatus>(&bytes);
        check::<Invited>(&bytes);
        check::<KeysGive>(&bytes);
        check::<DeedsOf>(&bytes);
        check::<DeedPage>(&bytes);
        check::<ShardRead>(&bytes);
        check::<ShardPart>(&bytes);
        check::<GrantSet>(&bytes);
        check::<GrantList>(&bytes);
        check::<Route>(&bytes);
    }

    #[test]
    fn random_headers_never_panic(mut bytes in proptest::array::uniform32(any::<u8>()), op in any::<u8>()) {
        bytes[..4].copy_from_slice(b"OKPI");
        (bytes[8], bytes[9]) = (VERSION, op);
        if let Ok(header) = Header::decode(&bytes, limits::BODY_MAX) {
            proptest::prop_assert!(header.described() <= header.body as usize);
            let mut again = header.encode();
            again[4..8].copy_from_slice(&bytes[4..8]);
            proptest::prop_assert_eq!(again, bytes);
        }
        let _ = Frame::parse(&bytes, HEADER_BYTES as u32);
    }

    #[test]
    fn random_put_descriptors_come_back_or_are_refused(bytes in proptest::array::uniform32(any::<u8>())) {
        if let Ok(ask) = PutAsk::decode(&bytes) {
            let again = PutAsk::decode(&ask.encode());
            proptest::prop_assert_eq!(again, Ok(ask));
        }
    }
}
