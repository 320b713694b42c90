//! Messages about what is read while its owner is away.

use crate::message;
use okapi_base::{BlockSize, Digest, GroupId, NodeId, SegmentName, Shape};
use okapi_wire::message::away::SHARD_READ_MAX;
use okapi_wire::message::{DeedPage, DeedsOf, KeyGiven, KeysGive, RoutedAway, ShardPart, ShardRead};
use okapi_wire::peer::shard::{AmendedDeed, Deed, ShardId, Slot};
use okapi_wire::{BodyError, Message, Op};

pub(crate) fn samples(ask: &dyn Fn(Op, Vec<u8>) -> Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("keys give", ask(Op::KeysGive, message(&keys()))),
        ("deeds of", ask(Op::DeedsOf, message(&deeds_of()))),
        ("deed page", message(&page())),
        ("shard read", ask(Op::ShardRead, message(&shard_read()))),
        ("shard part", message(&part())),
        ("routed away", message(&RoutedAway { as_of: 1_800_000_000_000 })),
    ]
}

pub(crate) fn keys() -> KeysGive {
    let block_size = BlockSize::new(4096).unwrap();
    let key = KeyGiven { grid: 7, number: 2, block_size, made: 1_800_000_000_000, name: "photos".into(), key: [5; 32] };
    KeysGive { keys: vec![key.clone(), KeyGiven { grid: 9, ..key }] }
}

pub(crate) fn deeds_of() -> DeedsOf {
    DeedsOf { owner: NodeId([0x63; 32]), after: Some(SegmentName([0x64; 32])) }
}

pub(crate) fn page() -> DeedPage {
    let slot = Slot { root: Digest([3; 32]), holder: Some(NodeId([4; 32])) };
    let deed = Deed {
        group: GroupId([1; 32]),
        owner: NodeId([0x63; 32]),
        segment: SegmentName([2; 32]),
        bytes: 4096,
        shape: Shape::OneOfTwo,
        revision: 3,
        stamp: 1_800_000_000_000,
        key: vec![6; 10],
        slots: vec![slot, Slot { holder: None, ..slot }],
        signature: [7; 64],
    };
    DeedPage { more: true, deeds: vec![AmendedDeed { deed, amendments: Vec::new() }] }
}

pub(crate) fn shard_read() -> ShardRead {
    let shard = ShardId { owner: NodeId([0x63; 32]), segment: SegmentName([0x64; 32]), k: 4, index: 11 };
    ShardRead { shard, offset: 1 << 20, length: 16_384, tree: true }
}

pub(crate) fn part() -> ShardPart {
    ShardPart { tree: vec![Digest([8; 32]), Digest([9; 32])], bytes: b"bytes".to_vec() }
}

#[test]
fn a_part_that_is_too_long_is_not_asked_for() {
    let long = message(&ShardRead { length: SHARD_READ_MAX + 1, ..shard_read() });
    assert_eq!(ShardRead::parse(&long), Err(BodyError::BadValue { field: "length" }));
    let none = message(&DeedsOf { after: None, ..deeds_of() });
    assert_eq!(DeedsOf::parse(&none).unwrap().after, None);
    assert!(!format!("{:?}", keys()).contains("5, 5"), "keys are not shown");
}
