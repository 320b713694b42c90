use super::*;
use alloc::format;
use alloc::string::String;
use alloc::vec;

fn record() -> MemberRecord {
    MemberRecord {
        binding: Binding {
            group: GroupId([0x11; 32]),
            node: NodeId([0x22; 32]),
            member: MemberId([0x33; 32]),
            recipient: [0x44; 32],
            number: 5,
        },
        site: 6,
        promise: 7,
        proven: 8,
        state: State::Leaving,
        signer: Signer::Member,
        revision: 9,
        stamp: 10,
        vouch: Vouch { by: NodeId([0x55; 32]), serial: 11, stamp: 12, signature: [0x66; 64] },
        vouches_honoured: 13,
        attestations: vec![attestation()],
        member_signature: [0x77; 64],
        node_signature: [0x88; 64],
        signature: [0x99; 64],
    }
}

fn attestation() -> Attestation {
    Attestation {
        subject: NodeId([0xaa; 32]),
        by: NodeId([0xbb; 32]),
        bytes: 14,
        answered: 15,
        failed: 16,
        stamp: 17,
        signature: [0xcc; 64],
    }
}

fn summary() -> Summary {
    Summary {
        group: GroupId([1; 32]),
        version: Version { number: 2, digest: Digest([3; 32]) },
        marks: vec![Mark { node: NodeId([4; 32]), hash: [5; 8] }],
    }
}

fn hex(message: &impl Message) -> String {
    encoded(|body| message.encode(body)).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn n(byte: &str, count: usize) -> String {
    byte.repeat(count)
}

#[test]
fn golden_bytes() {
    let attested =
        format!("01{}{}0e000000000000000f000000100000001100000000000000{}", n("aa", 32), n("bb", 32), n("cc", 64));
    assert_eq!(hex(&attestation()), attested);
    let numbers = "06000000000000000700000000000000080000000000000009000000\
        0a00000000000000";
    let expected = [
        "010202".into(),
        n("11", 32),
        n("22", 32),
        n("33", 32),
        n("44", 32),
        "05000000".into(),
        numbers.into(),
        n("55", 32),
        "0b000000000000000c00000000000000".into(),
        n("66", 64),
        "0d0000000000000001000000".into(),
        attested,
        n("77", 64),
        n("88", 64),
        n("99", 64),
    ];
    assert_eq!(hex(&record()), expected.concat());
    assert_eq!(
        hex(&summary()),
        format!("{}0200000000000000{}01000000{}{}", n("01", 32), n("03", 32), n("04", 32), n("05", 8))
    );
}

#[test]
fn what_is_signed_is_all_but_the_signature() {
    let mut other = record();
    other.signature = [0; 64];
    assert_eq!(record().signed_bytes(), other.signed_bytes());
    other.vouches_honoured += 1;
    assert_ne!(record().signed_bytes(), other.signed_bytes());
    let mut bytes = record().signed_bytes();
    bytes.extend([0x99; 64]);
    assert_eq!(MemberRecord::parse(&bytes), Ok(record()));
    assert_ne!(attestation().signed_bytes(&GroupId([1; 32])), attestation().signed_bytes(&GroupId([2; 32])));
    let mut elsewhere = record().binding;
    elsewhere.group = GroupId([0; 32]);
    assert_ne!(elsewhere.signed_bytes(), record().binding.signed_bytes());
    assert_eq!(elsewhere.member_signed_bytes(), record().binding.member_signed_bytes());
    let pledge = record().pledge();
    assert_eq!(Pledge::parse(&encoded(|body| pledge.encode(body))), Ok(pledge));
    let vouch = record().vouch;
    let mut another = record().binding;
    another.member = MemberId([0; 32]);
    assert_ne!(vouch.signed_bytes(&another), vouch.signed_bytes(&record().binding));
}

#[test]
fn lengths_are_as_named() {
    let mut record = record();
    assert_eq!(encoded(|body| record.encode(body)).len(), RECORD_BYTES + ATTESTATION_BYTES);
    record.attestations = vec![attestation(); ATTESTATIONS_MAX];
    assert_eq!(encoded(|body| record.encode(body)).len(), RECORD_BYTES_MAX);
    let mut summary = summary();
    summary.marks = vec![summary.marks[0]; 200];
    assert!(encoded(|body| summary.encode(body)).len() <= 40 << 10);
}

#[test]
fn changed_bytes_are_refused_or_mean_something_else() {
    let good = encoded(|body| record().encode(body));
    for cut in 0..good.len() {
        assert!(MemberRecord::parse(&good[..cut]).is_err());
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            if let Ok(other) = MemberRecord::parse(&bad) {
                assert_ne!(other, record());
                assert_eq!(encoded(|body| other.encode(body)), bad, "one record has one form");
            }
        }
    }
    let good = encoded(|body| summary().encode(body));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x81;
        assert_ne!(Summary::parse(&bad), Ok(summary()));
    }
}
