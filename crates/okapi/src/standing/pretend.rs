//! Made-up groups, for the tests of what is shown of them.

use okapi_client::group::{
    GroupData, GroupEvent, GroupHalves, GroupId, GroupMember, GroupRestore, GroupRisk, GroupState, GroupStatus,
    GroupWork, MemberGrade, MemberId, MemberPresence, MemberState, NodeId, SegmentName, Shape,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A node that has just been made, with some data of its own.
pub(crate) fn alone() -> GroupStatus {
    let own = GroupData { local_bytes: 512 * MIB, segments: 60, bytes: 480 * MIB, ..GroupData::default() };
    GroupStatus {
        name: "attic".to_owned(),
        halves: GroupHalves { user: 100 * GIB, user_used: 512 * MIB, server: 100 * GIB, server_used: 0 },
        own,
        members: vec![one(1, "attic", MemberPresence::This)],
        ..GroupStatus::alone(GroupId([0x11; 32]), NodeId([1; 32]), MemberId([0x81; 32]))
    }
}

/// A node of a group of five, not all of them here, with segments at risk.
pub(crate) fn member() -> GroupStatus {
    let own = GroupData {
        segments: 1590,
        safe_segments: 1523,
        bytes: 12_700 * MIB,
        safe_bytes: 12_185 * MIB,
        local_bytes: 512 * MIB,
        least_days: 3,
        median_days: 52_000,
        at_risk: 3,
    };
    let risk = |byte: u8, survives, days, records: &[&str]| GroupRisk {
        segment: SegmentName([byte; 32]),
        bytes: 8 * MIB,
        survives,
        days,
        records: records.iter().map(|name| (*name).to_owned()).collect(),
    };
    let mut members = vec![
        one(1, "attic", MemberPresence::This),
        one(2, "cellar", MemberPresence::Here),
        one(3, "shed", MemberPresence::Away),
        one(4, "", MemberPresence::Gone),
        one(5, "a node with quite a long name of its own", MemberPresence::Here),
    ];
    members[2].heard_ms_ago = 3 * 3_600_000;
    members[2].link = "connection refused".to_owned();
    members[3].heard_ms_ago = 12 * 86_400_000;
    members[3].grade = MemberGrade::NoNewData;
    members[3].link = "no address known".to_owned();
    members[4].state = MemberState::Leaving;
    GroupStatus {
        state: GroupState::Member,
        shape: Shape::OneOfThree,
        halves: GroupHalves { user: 100 * GIB, user_used: 12_700 * MIB, server: 100 * GIB, server_used: 3 * GIB },
        own,
        risks: vec![
            risk(0x3F, 0, 3, &["main:films/a.mov", "main:b.jpg"]),
            risk(0x40, 1, 42, &["photos:2026/first.jpg"]),
            risk(0x41, 1, 99, &[]),
        ],
        work: GroupWork {
            placing: 2,
            mending: 1,
            repaired_shards: 12,
            repaired_bytes: 96 * MIB,
            sent_bytes: 1200 * MIB,
            received_bytes: 800 * MIB,
            placed_bytes: 1100 * MIB,
            paused: String::new(),
        },
        members,
        events: vec![
            GroupEvent { stamp: 1_795_251_780_000, text: "shed is away".to_owned() },
            GroupEvent { stamp: 1_795_251_786_000, text: "segment 3f3f3f3f is at risk".to_owned() },
        ],
        ..alone()
    }
}

/// The same on its way out.
pub(crate) fn leaving() -> GroupStatus {
    GroupStatus { state: GroupState::Leaving, ..member() }
}

/// A node that gets everything back, and has not found enough of the others.
pub(crate) fn restoring() -> GroupStatus {
    let restore = GroupRestore {
        segments: 1590,
        restored: 420,
        bytes: 12_700 * MIB,
        restored_bytes: 3300 * MIB,
        waiting: 12,
        members_needed: 2,
        members_silent: 3,
    };
    GroupStatus { state: GroupState::Restoring, restore, own: GroupData::default(), risks: vec![], ..member() }
}

/// A node that another one with its identity has put out of the way.
pub(crate) fn halted() -> GroupStatus {
    let note = "another node runs with this identity, at 10.0.0.9:7072; end one of the two".to_owned();
    GroupStatus { state: GroupState::Halted, note, ..member() }
}

fn one(byte: u8, name: &str, presence: MemberPresence) -> GroupMember {
    let here = presence == MemberPresence::Here;
    let measured = |bytes: u64| if here { bytes } else { 0 };
    GroupMember {
        member: MemberId([0x80 + byte; 32]),
        node: NodeId([byte; 32]),
        number: 0,
        name: name.to_owned(),
        site: u64::from(byte),
        state: MemberState::Active,
        presence,
        heard_ms_ago: 400,
        promise: 100 * GIB,
        proven: 64 * GIB,
        holds_for_us: if presence == MemberPresence::This { 0 } else { 4100 * MIB },
        held_for_it: if presence == MemberPresence::This { 0 } else { 768 * MIB },
        grade: MemberGrade::Full,
        link: format!("10.0.0.{byte}:7072"),
        round_trip_us: if here { 1200 } else { 0 },
        upload: measured(11 * MIB),
        download: measured(30 * MIB),
    }
}
