use super::*;
use alloc::format;
use alloc::string::String;
use alloc::vec;

pub(crate) fn shard() -> ShardId {
    ShardId { owner: NodeId([0x22; 32]), segment: SegmentName([0x33; 32]), k: 2, index: 5 }
}

pub(crate) fn deed() -> Deed {
    let slot = |at: u8| Slot { root: Digest([0x40 + at; 32]), holder: (at != 1).then_some(NodeId([0x50 + at; 32])) };
    Deed {
        group: GroupId([0x11; 32]),
        owner: NodeId([0x22; 32]),
        segment: SegmentName([0x33; 32]),
        bytes: 0x0807,
        shape: Shape::OneOfTwo,
        revision: 9,
        stamp: 10,
        key: vec![0xaa, 0xbb],
        slots: vec![slot(0), slot(1)],
        signature: [0x99; 64],
    }
}

pub(crate) fn release() -> Release {
    let (group, owner, segment) = (GroupId([0x11; 32]), NodeId([0x22; 32]), SegmentName([0x33; 32]));
    Release { group, owner, segment, stamp: 10, signature: [0x99; 64] }
}

pub(crate) fn amendment() -> Amendment {
    Amendment {
        group: GroupId([0x11; 32]),
        owner: NodeId([0x22; 32]),
        segment: SegmentName([0x33; 32]),
        revision: 9,
        index: 5,
        holder: NodeId([0x66; 32]),
        mender: NodeId([0x77; 32]),
        stamp: 10,
        signature: [0x99; 64],
    }
}

pub(crate) fn receipt() -> Receipt {
    let (group, holder, root) = (GroupId([0x11; 32]), NodeId([0x66; 32]), Digest([0x44; 32]));
    Receipt { group, shard: shard(), root, holder, stamp: 10, signature: [0x99; 64] }
}

pub(crate) fn amended() -> AmendedDeed {
    AmendedDeed { deed: deed(), amendments: vec![amendment()] }
}

pub(crate) fn bytes_of(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut BodyWriter::new(&mut bytes));
    bytes
}

fn hex(message: &impl Message) -> String {
    bytes_of(message).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn n(byte: &str, count: usize) -> String {
    byte.repeat(count)
}

#[test]
fn golden_bytes() {
    let names = format!("{}{}{}", n("11", 32), n("22", 32), n("33", 32));
    let (stamp, signature) = ("0a00000000000000", n("99", 64));
    assert_eq!(hex(&shard()), format!("{}{}0205", n("22", 32), n("33", 32)));
    let slots = [n("40", 32), n("50", 32), n("41", 32), n("00", 32)].concat();
    let golden = format!("0102000009000000{names}0708000000000000{stamp}0200aabb{slots}{signature}");
    assert_eq!(hex(&deed()), golden);
    assert_eq!(hex(&release()), format!("0100000000000000{names}{stamp}{signature}"));
    let amended_by = format!("0105000009000000{names}{}{}{stamp}{signature}", n("66", 32), n("77", 32));
    assert_eq!(hex(&amendment()), amended_by);
    let held = format!("{}{}0205{}{}", n("22", 32), n("33", 32), n("44", 32), n("66", 32));
    assert_eq!(hex(&receipt()), format!("0100000000000000{}{held}{stamp}{signature}", n("11", 32)));
    assert_eq!(hex(&amended()), format!("{golden}0100{amended_by}"));
}

/// Cut or flipped anywhere a record is an error, or another record whose bytes are the very same.
fn is_strict<T: Message + PartialEq + core::fmt::Debug>(record: &T) {
    let good = bytes_of(record);
    assert_eq!(T::parse(&good).as_ref(), Ok(record));
    for cut in 0..good.len() {
        assert!(T::parse(&good[..cut]).is_err());
    }
    assert_eq!(T::parse(&[&good[..], &[0]].concat()), Err(BodyError::Trailing { left: 1 }));
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            if let Ok(other) = T::parse(&bad) {
                assert_ne!(other, *record);
                assert_eq!(bytes_of(&other), bad, "one record has one form");
            }
        }
    }
}

#[test]
fn changed_bytes_are_refused_or_mean_something_else() {
    is_strict(&shard());
    is_strict(&deed());
    is_strict(&release());
    is_strict(&amendment());
    is_strict(&receipt());
    is_strict(&amended());
}

#[test]
fn what_means_nothing_is_refused_by_its_field() {
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut bytes = bytes_of(&deed());
        change(&mut bytes);
        Deed::parse(&bytes)
    };
    assert_eq!(refused(|bytes| bytes[0] = 2), Err(BodyError::BadValue { field: "version" }));
    assert_eq!(refused(|bytes| bytes[1] = 7), Err(BodyError::BadValue { field: "shape" }));
    assert_eq!(refused(|bytes| bytes[3] = 1), Err(BodyError::BadValue { field: "zero" }));
    assert_eq!(refused(|bytes| bytes[4] = 0), Err(BodyError::BadValue { field: "bytes or revision" }));
    assert_eq!(refused(|bytes| bytes[104..112].fill(0)), Err(BodyError::BadValue { field: "bytes or revision" }));
    assert_eq!(refused(|bytes| bytes[121] = 5), Err(BodyError::BadValue { field: "key" }));
    for (k, index) in [(0, 0), (3, 0), (1, 3), (2, 6), (8, 24)] {
        let mut bytes = bytes_of(&shard());
        (bytes[64], bytes[65]) = (k, index);
        assert_eq!(ShardId::parse(&bytes), Err(BodyError::BadValue { field: "shard" }));
    }
}

#[test]
fn a_signature_covers_all_but_itself() {
    let unsigned = deed().unsigned();
    assert_eq!(unsigned[..], bytes_of(&deed())[..unsigned.len()]);
    assert_eq!(unsigned.len() + 64, bytes_of(&deed()).len());
    let contexts = [Deed::CONTEXT, Release::CONTEXT, Amendment::CONTEXT, Receipt::CONTEXT];
    assert!((1..4).all(|at| !contexts[..at].contains(&contexts[at])), "each has a context of its own");
}
