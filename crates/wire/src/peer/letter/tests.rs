use super::*;
use crate::peer::contract::{Side, Terms, tests::dice};
use crate::peer::member::{Binding, Mark, Signer, State, Version};
use crate::peer::shard::tests::{amended, amendment, bytes_of, deed, receipt, release, shard};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use okapi_base::{GroupId, MemberId};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn n(byte: &str, count: usize) -> String {
    byte.repeat(count)
}

fn ping() -> Ping {
    Ping {
        list_number: 1,
        list_digest: Digest([2; 32]),
        head_sequence: 3,
        head: Digest([4; 32]),
        balance: Balance { held: 5, placed: 6 },
    }
}

fn binding() -> Binding {
    let (group, node, member) = (GroupId([1; 32]), NodeId([2; 32]), MemberId([3; 32]));
    Binding { group, node, member, recipient: [4; 32], number: 5 }
}

fn vouch() -> Vouch {
    Vouch { by: NodeId([6; 32]), serial: 7, stamp: 8, signature: [9; 64] }
}

fn pledge() -> Pledge {
    Pledge { binding: binding(), member_signature: [7; 64], node_signature: [8; 64] }
}

fn record() -> MemberRecord {
    MemberRecord {
        binding: binding(),
        site: 1,
        promise: 2,
        proven: 0,
        state: State::Active,
        signer: Signer::Node,
        revision: 1,
        stamp: 8,
        vouch: vouch(),
        vouches_honoured: 0,
        attestations: vec![],
        member_signature: [7; 64],
        node_signature: [8; 64],
        signature: [9; 64],
    }
}

fn attestation() -> Attestation {
    let (subject, by) = (NodeId([1; 32]), NodeId([2; 32]));
    Attestation { subject, by, bytes: 3, answered: 4, failed: 5, stamp: 6, signature: [7; 64] }
}

fn summary() -> Summary {
    let (version, mark) =
        (Version { number: 2, digest: Digest([3; 32]) }, Mark { node: NodeId([4; 32]), hash: [5; 8] });
    Summary { group: GroupId([1; 32]), version, marks: vec![mark] }
}

fn contract() -> Contract {
    let (group, owner, holder) = (GroupId([1; 32]), NodeId([2; 32]), NodeId([3; 32]));
    let terms = Terms { group, owner, holder, bytes: 4, from: 5, until: 6, revision: 7 };
    Contract { terms, owner_signature: [8; 64], holder_signature: [9; 64] }
}

fn ending() -> Ending {
    let Terms { group, owner, holder, revision, .. } = contract().terms;
    Ending { group, owner, holder, revision, side: Side::Owner, stamp: 8, signature: [9; 64] }
}

fn held() -> Held {
    Held { segment: SegmentName([0x33; 32]), revision: 4, k: 2, index: 5 }
}

/// One of each kind, with its kind and body in hexadecimal. What is a record of its own has golden bytes of its own.
fn letters() -> Vec<(Body, u8, String)> {
    let (owner, segment) = (NodeId([0x22; 32]), SegmentName([0x33; 32]));
    let ping_hex =
        format!("0100000000000000{}0300000000000000{}05000000000000000600000000000000", n("02", 32), n("04", 32));
    let shard_hex = format!("{}{}0205", n("22", 32), n("33", 32));
    let of = |bytes: Vec<u8>| hex(&bytes);
    vec![
        (Body::Ping(ping()), 1, ping_hex.clone()),
        (Body::Pong(9, ping()), 2, format!("0900000000000000{ping_hex}")),
        (Body::Summary(summary()), 3, of(bytes_of(&summary()))),
        (Body::Records(vec![record()]), 4, format!("0100{}", of(bytes_of(&record())))),
        (Body::JoinAsk([0xab; 32], pledge()), 6, format!("{}{}", n("ab", 32), of(bytes_of(&pledge())))),
        (Body::JoinYes(vouch()), 7, of(bytes_of(&vouch()))),
        (Body::JoinNo(2), 8, "02".into()),
        (Body::Offer(deed(), 1, None), 10, format!("0100{}", of(bytes_of(&deed())))),
        (
            Body::Offer(deed(), 1, Some(amendment())),
            10,
            format!("0101{}{}", of(bytes_of(&deed())), of(bytes_of(&amendment()))),
        ),
        (Body::Want(shard()), 11, shard_hex.clone()),
        (Body::Place(shard()), 12, shard_hex.clone()),
        (Body::Receipt(receipt()), 13, of(bytes_of(&receipt()))),
        (Body::Refuse(shard(), No::Full), 14, format!("{shard_hex}01")),
        (Body::Revise(deed()), 15, of(bytes_of(&deed()))),
        (Body::Release(release()), 16, of(bytes_of(&release()))),
        (Body::Revised(segment, u32::MAX), 17, format!("{}ffffffff", n("33", 32))),
        (Body::Fetch(shard()), 18, shard_hex.clone()),
        (Body::Shard(shard()), 19, shard_hex.clone()),
        (Body::FetchNo(shard(), No::Missing), 20, format!("{shard_hex}08")),
        (Body::Challenge(shard(), 3, vec![1, 0x0201]), 21, format!("{shard_hex}0300000000000000020100000001020000")),
        (Body::Proof(shard(), 3), 22, format!("{shard_hex}0300000000000000")),
        (Body::DeedsAsk(owner, None), 23, format!("{}00{}", n("22", 32), n("00", 32))),
        (Body::DeedsAsk(owner, Some(segment)), 23, format!("{}01{}", n("22", 32), n("33", 32))),
        (Body::Deeds(owner, true, vec![amended()]), 24, format!("{}010100{}", n("22", 32), of(bytes_of(&amended())))),
        (Body::InventoryAsk(Some(segment)), 25, format!("01{}", n("33", 32))),
        (
            Body::Inventory(Some(segment), false, vec![held()]),
            26,
            format!("01{}000100{}040000000205", n("33", 32), n("33", 32)),
        ),
        (Body::Amended(amendment()), 27, of(bytes_of(&amendment()))),
        (Body::Attest(attestation()), 28, of(bytes_of(&attestation()))),
        (Body::Propose(contract().proposal()), 30, of(bytes_of(&contract().proposal()))),
        (Body::Agree(contract()), 31, of(bytes_of(&contract()))),
        (Body::Decline(7, 8), 32, "070000000800000000000000".into()),
        (Body::End(ending()), 33, of(bytes_of(&ending()))),
    ]
}

fn letter(body: Body) -> Letter {
    Letter { session: 0x0102, number: 0x0304, stamp: 0x0506, body }
}

#[test]
fn golden_bytes() {
    for (body, kind, golden) in letters() {
        let head = format!("01{kind:02x}000000000000020100000000000004030000000000000605000000000000");
        let bytes = letter(body.clone()).to_bytes();
        assert_eq!(hex(&bytes), format!("{head}{golden}"), "kind {kind}");
        assert_eq!(Letter::parse(&bytes), Ok(letter(body)));
    }
    let kinds: Vec<u8> = letters().iter().map(|(_, kind, _)| *kind).collect();
    // Messages about logs, kind 5, are told by themselves in `entry`.
    let all = (1..=4).chain(6..=8).chain(10..=28).chain(30..=33);
    assert!(all.clone().all(|kind| kinds.contains(&kind)), "there is one of each kind");
}

#[test]
fn reasons_have_their_bytes() {
    let all: Vec<u8> = No::ALL.iter().map(|no| no.code()).collect();
    assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((No::from_code(0), No::from_code(9)), (None, None));
}

#[test]
fn cut_or_flipped_anywhere_a_letter_is_an_error_or_what_its_bytes_say() {
    for (body, kind, _) in letters() {
        let good = letter(body).to_bytes();
        for cut in 0..good.len() {
            assert!(Letter::parse(&good[..cut]).is_err(), "kind {kind} cut to {cut}");
        }
        assert_eq!(Letter::parse(&[&good[..], &[0]].concat()), Err(BodyError::Trailing { left: 1 }));
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Ok(other) = Letter::parse(&bad) {
                    assert_eq!(other.to_bytes(), bad, "kind {kind}: one letter has one form");
                }
            }
        }
    }
}

#[test]
fn any_bytes_are_an_error_or_a_letter() {
    let mut dice = dice();
    let all: Vec<Vec<u8>> = letters().into_iter().map(|(body, ..)| letter(body).to_bytes()).collect();
    let (mut good, mut bad) = (0, 0);
    for round in 0..40_000 {
        let mut bytes = all[round % all.len()].clone();
        // Any kind's body behind any kind's head, too.
        if dice().is_multiple_of(4) {
            bytes[1] = (dice() % 40) as u8;
        }
        for _ in 0..dice() % 3 {
            let at = dice() as usize % bytes.len();
            bytes[at] = dice() as u8;
        }
        match dice() % 8 {
            0 => bytes.truncate(dice() as usize % bytes.len()),
            1 => bytes.push(dice() as u8),
            _ => {}
        }
        match Letter::parse(&bytes) {
            Ok(read) => {
                assert_eq!(read.to_bytes(), bytes);
                good += 1;
            }
            Err(_) => bad += 1,
        }
    }
    assert!(good > 1000 && bad > 1000, "{good} parsed, {bad} refused");
}

#[test]
fn announced_counts_are_not_believed() {
    let mut bytes = letter(Body::Records(vec![])).to_bytes();
    let at = bytes.len() - 2;
    bytes[at..].copy_from_slice(&u16::MAX.to_le_bytes());
    assert_eq!(Letter::parse(&bytes), Err(BodyError::TooLong { length: 65_535, most: RECORDS_MAX }));
    bytes[at..].copy_from_slice(&5_u16.to_le_bytes());
    assert_eq!(Letter::parse(&bytes), Err(BodyError::Short));
    let mut bytes = letter(Body::Challenge(shard(), 1, vec![])).to_bytes();
    *bytes.last_mut().unwrap() = 17;
    assert_eq!(Letter::parse(&bytes), Err(BodyError::TooLong { length: 17, most: LEAVES_MAX }));
}
