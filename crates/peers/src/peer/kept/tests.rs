use super::*;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use okapi_base::machine::Moment;
use okapi_base::{GroupId, Shape};
use okapi_wire::peer::shard::Slot;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn n(byte: &str, count: usize) -> String {
    byte.repeat(count)
}

fn deed() -> Deed {
    Deed {
        group: GroupId([0x11; 32]),
        owner: NodeId([0x22; 32]),
        segment: SegmentName([0x33; 32]),
        bytes: 0x0807,
        shape: Shape::OneOfOne,
        revision: 9,
        stamp: 10,
        key: vec![0xaa, 0xbb],
        slots: vec![Slot { root: Digest([0x44; 32]), holder: None }],
        signature: [0x99; 64],
    }
}

fn release() -> Release {
    let (group, owner, segment) = (GroupId([0x11; 32]), NodeId([0x22; 32]), SegmentName([0x33; 32]));
    Release { group, owner, segment, stamp: 10, signature: [0x99; 64] }
}

fn segment() -> Segment {
    let mut segment = Segment::new(0x0807, Arc::from([0xaa, 0xbb]));
    segment.deed = Some(deed());
    segment.safe = true;
    segment.lost.extend([0, 2]);
    let telling = super::super::segment::Telling { next: Moment::default(), tries: 3 };
    segment.untold.insert(NodeId([0x55; 32]), telling);
    segment
}

#[test]
fn keys_begin_with_their_kind() {
    let (node, name) = (NodeId([0x22; 32]), SegmentName([0x33; 32]));
    let shard = ShardId { owner: node, segment: name, k: 2, index: 5 };
    assert_eq!(hex(&segment_key(name)), format!("73{}", n("33", 32)));
    assert_eq!(hex(&held_key(&shard)), format!("68{}{}0205", n("22", 32), n("33", 32)));
    assert_eq!(hex(&deed_key(node, name)), format!("64{}{}", n("22", 32), n("33", 32)));
    assert_eq!(hex(&draft_key(node, name)), format!("66{}{}", n("22", 32), n("33", 32)));
    assert_eq!(hex(&node_key(kind::MEMBER, node)), format!("6d{}", n("22", 32)));
    assert_eq!(hex(&node_key(kind::ATTESTED, node)), format!("76{}", n("22", 32)));
    assert_eq!(hex(&ticket_key(&[7; 32])), format!("74{}", n("07", 32)));
    assert_eq!(hex(&prefixed(kind::GROUP, &[])), "67");
    assert_eq!(hex(&prefixed(kind::SERIAL, &[])), "6e");
    assert_eq!(hex(&prefixed(kind::LEDGER, &[1, 2])), "6c0102");
}

#[test]
fn golden_bytes_of_segments_and_of_what_is_held() {
    let held = HeldShard { root: Digest([0x44; 32]), bytes: 0x0102 };
    let golden = format!("{}0201000000000000", n("44", 32));
    assert_eq!(hex(&held_value(&held)), golden);
    let mut new = Segment::new(0x0807, Arc::from([0xaa, 0xbb]));
    assert_eq!(hex(&segment_value(&new)), "0101000007080000000000000200aabb000000");
    new.live = false;
    assert_eq!(hex(&segment_value(&new)), "0100000007080000000000000200aabb000000");
    let whole = format!("010b000007080000000000000200aabb0200020100{}{}", n("55", 32), hex(&encode(&deed())));
    assert_eq!(hex(&segment_value(&segment())), whole);
    new.release = Some(release());
    let released = format!("0104000007080000000000000200aabb000000{}", hex(&encode(&release())));
    assert_eq!(hex(&segment_value(&new)), released);
}

#[test]
fn what_was_kept_comes_back() {
    let name = SegmentName([0x33; 32]);
    for mut segment in [segment(), Segment::new(1, Arc::from([])), Segment { release: Some(release()), ..segment() }] {
        let value = segment_value(&segment);
        let (read_name, mut read, untold) = parse_segment(&name.0, &value).unwrap();
        assert_eq!((read_name, untold), (name, segment.untold.keys().copied().collect()));
        segment.untold.clear();
        read.untold.clear();
        assert_eq!(format!("{read:?}"), format!("{segment:?}"));
        for cut in 0..value.len() {
            assert!(parse_segment(&name.0, &value[..cut]).is_err());
        }
    }
    let shard = ShardId { owner: NodeId([0x22; 32]), segment: name, k: 2, index: 5 };
    let held = HeldShard { root: Digest([0x44; 32]), bytes: 0x0102 };
    assert_eq!(parse_held(&held_key(&shard)[1..], &held_value(&held)), Ok((shard, held)));
}

#[test]
fn what_means_nothing_is_refused() {
    let refused = |at: usize, byte: u8| {
        let mut value = segment_value(&segment());
        value[at] = byte;
        parse_segment(&[0x33; 32], &value).map(|_| ())
    };
    assert_eq!(refused(0, 2), Err(BodyError::BadValue { field: "version" }));
    assert_eq!(refused(1, 0x1b), Err(BodyError::BadValue { field: "flags" }));
    assert_eq!(refused(17, 24), Err(BodyError::BadValue { field: "lost" }));
    let mut empty = segment_value(&segment());
    empty[4..12].fill(0);
    assert_eq!(parse_segment(&[0x33; 32], &empty).map(|_| ()), Err(BodyError::BadValue { field: "bytes" }));
    assert_eq!(
        parse_segment(&[0x33; 33], &segment_value(&segment())).map(|_| ()),
        Err(BodyError::Trailing { left: 1 })
    );
}
