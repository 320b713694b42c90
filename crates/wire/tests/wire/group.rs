//! Messages about the group.

use crate::message;
use okapi_base::{GroupId, MemberId, NodeId, SegmentName, Shape};
use okapi_wire::message::group::STATUS_VERSION;
use okapi_wire::message::{
    GroupData, GroupEvent, GroupGive, GroupHalves, GroupInvite, GroupJoin, GroupLeave, GroupLost, GroupMember,
    GroupRestore, GroupRisk, GroupState, GroupStatus, GroupStatusAsk, GroupWork, Invited, MemberGrade, MemberPresence,
    MemberState,
};
use okapi_wire::{BodyError, Message, Op};

type Sample = (&'static str, Vec<u8>);

pub(crate) fn samples(ask: &dyn Fn(Op, Vec<u8>) -> Vec<u8>) -> Vec<Sample> {
    vec![
        ("group status ask", ask(Op::GroupStatus, message(&GroupStatusAsk::OURS))),
        ("group status", message(&status())),
        ("group invite", ask(Op::GroupInvite, message(&GroupInvite { lifetime: 86_400 }))),
        ("group invited", message(&invited())),
        ("group join", ask(Op::GroupJoin, message(&GroupJoin { ticket: "okapi-0".into() }))),
        ("group leave", ask(Op::GroupLeave, message(&GroupLeave { now: true }))),
        ("group give", ask(Op::GroupGive, message(&GroupGive { bytes: 2 << 40 }))),
        ("group safe", ask(Op::GroupSafe, vec![])),
        ("group lost", ask(Op::GroupLost, message(&GroupLost { node: NodeId([0x57; 32]) }))),
    ]
}

pub(crate) fn invited() -> Invited {
    Invited { ticket: "okapi-0".into(), expires: 1_800_000_000_000 }
}

/// A status in which every field has a value of its own.
pub(crate) fn status() -> GroupStatus {
    let own = GroupData {
        segments: 11,
        safe_segments: 12,
        bytes: 13,
        safe_bytes: 14,
        local_bytes: 15,
        least_days: 16,
        median_days: GroupData::MANY_DAYS,
        at_risk: 1,
    };
    let work = GroupWork {
        placing: 21,
        mending: 22,
        repaired_shards: 23,
        repaired_bytes: 24,
        sent_bytes: 25,
        received_bytes: 26,
        placed_bytes: 27,
        paused: "on battery".into(),
    };
    let restore = GroupRestore {
        segments: 31,
        restored: 32,
        bytes: 33,
        restored_bytes: 34,
        waiting: 35,
        members_needed: 36,
        members_silent: 37,
    };
    let risk = GroupRisk {
        segment: SegmentName([0x44; 32]),
        bytes: 41,
        survives: 42,
        days: 43,
        records: vec!["main:a".into(), "main:b".into()],
    };
    GroupStatus {
        state: GroupState::Leaving,
        note: "as asked".into(),
        number: 7,
        name: "attic".into(),
        shape: Shape::FourOfTwelve,
        halves: GroupHalves { user: 1, user_used: 2, server: 3, server_used: 4 },
        own,
        risks: vec![risk],
        work,
        restore,
        members: vec![member()],
        events: vec![GroupEvent { stamp: 61, text: "joined".into() }],
        ..GroupStatus::alone(GroupId([0x11; 32]), NodeId([0x22; 32]), MemberId([0x33; 32]))
    }
}

pub(crate) fn member() -> GroupMember {
    GroupMember {
        member: MemberId([0x55; 32]),
        node: NodeId([0x56; 32]),
        number: 50,
        name: "cellar".into(),
        site: 51,
        state: MemberState::Leaving,
        presence: MemberPresence::Away,
        heard_ms_ago: 52,
        promise: 53,
        proven: 54,
        holds_for_us: 55,
        held_for_it: 56,
        grade: MemberGrade::NoNewData,
        link: "10.0.0.2:7072".into(),
        round_trip_us: 57,
        upload: 58,
        download: 59,
    }
}

#[test]
fn every_state_has_its_byte() {
    let bytes = message(&status());
    assert_eq!(bytes[0], STATUS_VERSION);
    for (code, state) in (0..).zip(GroupState::ALL) {
        let mut bytes = bytes.clone();
        bytes[1] = code;
        assert_eq!(GroupStatus::parse(&bytes).unwrap().state, *state);
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        GroupStatus::parse(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 2), BodyError::BadValue { field: "version" });
    assert_eq!(with(1, 7), BodyError::BadValue { field: "state" });
    assert_eq!(GroupLeave::parse(&[2]), Err(BodyError::BadValue { field: "now" }));
    assert_eq!(GroupStatusAsk::parse(&[0]), Err(BodyError::BadValue { field: "newest" }));
    assert_eq!(GroupStatusAsk::parse(&[9]), Ok(GroupStatusAsk { newest: 9 }));
}

#[test]
fn lists_have_their_limits() {
    let risks = vec![status().risks[0].clone(); 257];
    let long = GroupStatus { risks, ..status() };
    assert_eq!(GroupStatus::parse(&message(&long)), Err(BodyError::TooLong { length: 257, most: 256 }));
    let mut long = status();
    long.risks[0].records = vec!["main:a".into(); 9];
    assert_eq!(GroupStatus::parse(&message(&long)), Err(BodyError::TooLong { length: 9, most: 8 }));
}

#[test]
fn a_ticket_never_shows() {
    assert_eq!(format!("{:?}", invited()), "Invited(… until 1800000000000)");
    assert_eq!(format!("{:?}", GroupJoin { ticket: "okapi-0".into() }), "GroupJoin(…)");
}
