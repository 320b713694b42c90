//! The same for scripts.

use okapi_client::group::{
    GroupData, GroupMember, GroupRisk, GroupState, GroupStatus, MemberGrade, MemberPresence, MemberState,
};
use serde_json::{Value, json};

/// Everything a status says.
pub(crate) fn json(status: &GroupStatus) -> Value {
    let GroupStatus { halves, own, work, restore, .. } = status;
    json!({
        "state": state(status.state),
        "note": status.note,
        "group": status.group.to_string(),
        "node": status.node.to_string(),
        "member": status.member.to_string(),
        "number": status.number,
        "name": status.name,
        "shape": status.shape.to_string(),
        "user_half": {"bytes": halves.user, "used": halves.user_used},
        "server_half": {"bytes": halves.server, "used": halves.server_used},
        "own": {
            "segments": own.segments,
            "safe_segments": own.safe_segments,
            "bytes": own.bytes,
            "safe_bytes": own.safe_bytes,
            "local_bytes": own.local_bytes,
            "least_days": days(own.least_days),
            "median_days": days(own.median_days),
            "at_risk": own.at_risk,
        },
        "risks": status.risks.iter().map(risk_json).collect::<Vec<_>>(),
        "work": {
            "placing": work.placing,
            "mending": work.mending,
            "repaired_shards": work.repaired_shards,
            "repaired_bytes": work.repaired_bytes,
            "sent_bytes": work.sent_bytes,
            "received_bytes": work.received_bytes,
            "placed_bytes": work.placed_bytes,
            "paused": work.paused,
        },
        "restore": {
            "segments": restore.segments,
            "restored": restore.restored,
            "bytes": restore.bytes,
            "restored_bytes": restore.restored_bytes,
            "waiting": restore.waiting,
            "members_needed": restore.members_needed,
            "members_silent": restore.members_silent,
        },
        "members": status.members.iter().map(member_json).collect::<Vec<_>>(),
        "events": status.events.iter().map(|event| json!({"ms": event.stamp, "text": event.text})).collect::<Vec<_>>(),
    })
}

/// One node of the group.
pub(crate) fn member_json(member: &GroupMember) -> Value {
    let heard = Some(member.heard_ms_ago).filter(|ms| *ms != u64::MAX);
    json!({
        "member": member.member.to_string(),
        "node": member.node.to_string(),
        "number": member.number,
        "name": member.name,
        "site": member.site,
        "state": match member.state {
            MemberState::Active => "active",
            MemberState::Leaving => "leaving",
            MemberState::Parted => "parted",
        },
        "presence": match member.presence {
            MemberPresence::This => "this",
            MemberPresence::Here => "here",
            MemberPresence::Away => "away",
            MemberPresence::Gone => "gone",
        },
        "heard_ms_ago": heard,
        "gives": member.promise,
        "proven": member.proven,
        "holds_for_us": member.holds_for_us,
        "held_for_it": member.held_for_it,
        "standing": match member.grade {
            MemberGrade::Full => "ok",
            MemberGrade::NoNewData => "no-new-data",
            MemberGrade::Drain => "drain",
            MemberGrade::Out => "out",
        },
        "link": member.link,
        "round_trip_us": Some(member.round_trip_us).filter(|us| *us > 0),
        "upload": Some(member.upload).filter(|rate| *rate > 0),
        "download": Some(member.download).filter(|rate| *rate > 0),
    })
}

fn risk_json(risk: &GroupRisk) -> Value {
    json!({
        "segment": risk.segment.to_string(),
        "bytes": risk.bytes,
        "survives": risk.survives,
        "days": days(risk.days),
        "records": risk.records,
    })
}

/// Nothing: more than can be told.
fn days(days: u64) -> Option<u64> {
    Some(days).filter(|days| *days != GroupData::MANY_DAYS)
}

const fn state(state: GroupState) -> &'static str {
    match state {
        GroupState::Alone => "alone",
        GroupState::Joining => "joining",
        GroupState::Member => "member",
        GroupState::Leaving => "leaving",
        GroupState::Parted => "parted",
        GroupState::Restoring => "restoring",
        GroupState::Halted => "halted",
    }
}
