//! How the node stands in its group, for people and programs.

use super::carrier::{Carrier, LinkFacts};
use super::clock::stamp;
use super::driver::Driver;
use super::founding::Gift;
use okapi_base::{MemberId, NodeId};
use okapi_peers::ledger::Grade;
use okapi_peers::safety::{DANGER_DAYS, DAYS_MAX, Days};
use okapi_peers::{Contact, Peer, Phase, SegmentView};
use okapi_store::Engine as _;
use okapi_store::log::Log;
use okapi_wire::message::group::{EVENTS_MAX, MEMBERS_MAX, RISKS_MAX};
use okapi_wire::message::{
    GroupData, GroupEvent, GroupHalves, GroupMember, GroupRestore, GroupRisk, GroupState, GroupStatus, GroupWork,
    MemberGrade, MemberPresence, MemberState,
};
use okapi_wire::peer::member::State;
use std::collections::BTreeMap;

/// What the report is made of besides the driver.
pub(crate) struct Sources<'a> {
    pub(crate) gift: &'a Gift,
    pub(crate) number: u32,
    pub(crate) member: MemberId,
    pub(crate) log: Option<&'a Log>,
    pub(crate) carrier: &'a dyn Carrier,
}

/// The report.
pub(crate) fn report(driver: &Driver, from: &Sources<'_>) -> GroupStatus {
    let peer = &driver.peer;
    let mut status = GroupStatus::alone(peer.group(), peer.node(), from.member);
    (status.number, status.name) = (from.number, from.gift.name.clone());
    status.shape = peer.wanted_shape();
    status.state = state(driver);
    let (user, server) = from.gift.halves();
    let user_used = from.log.map_or(0, |log| log.usage().held_bytes);
    let server_used = peer.held().map(|(_, bytes)| bytes).sum();
    status.halves = GroupHalves { user, user_used, server, server_used };
    let open = from.log.map_or(0, Log::open_bytes);
    (status.own, status.risks) = own(peer, open);
    status.restore = restore(peer);
    let links = from.carrier.links();
    status.note = note(driver, &links);
    status.work = work(driver, &links);
    status.members = members(peer, &links, (&from.gift.name, &from.carrier.addresses().join(" and ")));
    let events = driver.events.iter().rev().take(EVENTS_MAX).rev();
    status.events = events.map(|(stamp, text)| GroupEvent { stamp: *stamp, text: text.clone() }).collect();
    status
}

fn state(driver: &Driver) -> GroupState {
    let peer = &driver.peer;
    match peer.phase() {
        _ if driver.halted.is_some() => GroupState::Halted,
        Phase::Joining => GroupState::Joining,
        Phase::Restoring => GroupState::Restoring,
        Phase::Leaving => GroupState::Leaving,
        Phase::Parted => GroupState::Parted,
        Phase::Settled if peer.members().iter().count() > 1 => GroupState::Member,
        Phase::Settled => GroupState::Alone,
    }
}

/// Why it has halted, did not join, or cannot reach whom it asked.
fn note(driver: &Driver, links: &BTreeMap<NodeId, LinkFacts>) -> String {
    let said = driver.halted.as_ref().or(Some(&driver.join_note)).filter(|said| !said.is_empty());
    let asks = matches!(driver.peer.phase(), Phase::Joining | Phase::Restoring);
    let link = driver.asked.or(driver.restores_via).filter(|_| asks).and_then(|node| links.get(&node));
    let unreached = link.filter(|link| !link.connected && link.failed).map(|link| &link.address);
    said.or(unreached).cloned().unwrap_or_default()
}

fn told(days: Days) -> u64 {
    if days.0 >= DAYS_MAX { GroupData::MANY_DAYS } else { days.0 }
}

fn own(peer: &Peer, open_bytes: u64) -> (GroupData, Vec<GroupRisk>) {
    let mut own = GroupData { local_bytes: open_bytes, ..GroupData::default() };
    let mut days: Vec<u64> = Vec::new();
    let mut risks = Vec::new();
    let is_alone = peer.members().iter().count() < 2;
    for view in peer.segments().filter(|view| !view.released) {
        own.segments += 1;
        own.bytes += view.bytes;
        if view.safe {
            own.safe_segments += 1;
            own.safe_bytes += view.bytes;
        } else {
            own.local_bytes += view.bytes;
        }
        let its = peer.days_of(view.name).unwrap_or(Days::NONE);
        days.push(its.0);
        if is_at_risk(&view, its) && !is_alone {
            own.at_risk += 1;
            risks.push(GroupRisk {
                segment: view.name,
                bytes: view.bytes,
                survives: u8::try_from(view.survives.unwrap_or(0)).unwrap_or(u8::MAX),
                days: told(its),
                records: Vec::new(),
            });
        }
    }
    days.sort_unstable();
    own.least_days = told(Days(days.first().copied().unwrap_or(DAYS_MAX)));
    own.median_days = told(Days(days.get(days.len() / 2).copied().unwrap_or(DAYS_MAX)));
    risks.sort_by_key(|risk: &GroupRisk| (risk.days, risk.segment));
    risks.truncate(RISKS_MAX);
    (own, risks)
}

/// What may soon be lost with this node, or with one more.
fn is_at_risk(view: &SegmentView<'_>, days: Days) -> bool {
    !view.safe || days.0 < DANGER_DAYS || !view.live
}

fn restore(peer: &Peer) -> GroupRestore {
    let view = peer.restore_view();
    let waiting = if peer.phase() == Phase::Restoring { view.segments - view.live } else { 0 };
    GroupRestore {
        segments: view.segments,
        restored: view.live,
        bytes: view.bytes,
        restored_bytes: view.live_bytes,
        waiting,
        members_needed: view.needed,
        members_silent: view.silent,
    }
}

fn work(driver: &Driver, links: &BTreeMap<NodeId, LinkFacts>) -> GroupWork {
    let placing = driver.peer.segments().filter(|view| view.busy).count();
    GroupWork {
        placing: u32::try_from(placing).unwrap_or(u32::MAX),
        mending: u32::try_from(driver.peer.mending()).unwrap_or(u32::MAX),
        repaired_shards: driver.tally.repaired_shards,
        repaired_bytes: driver.tally.repaired_bytes,
        sent_bytes: links.values().map(|link| link.sent).sum(),
        received_bytes: links.values().map(|link| link.received).sum(),
        placed_bytes: driver.tally.placed_bytes,
        paused: driver.pace.paused().unwrap_or_default(),
    }
}

/// The nodes of the group.
pub(crate) fn members(
    peer: &Peer,
    links: &BTreeMap<NodeId, LinkFacts>,
    (own_name, from_here): (&str, &str),
) -> Vec<GroupMember> {
    let standings: BTreeMap<MemberId, Grade> =
        peer.standings().into_iter().map(|view| (view.member, view.standing.grade)).collect();
    let now = stamp();
    let mut all = Vec::new();
    for record in peer.members().iter() {
        let binding = &record.binding;
        let node = binding.node;
        let link = links.get(&node).cloned().unwrap_or_default();
        let sums = peer.books().pair(&node).map(okapi_peers::books::Pair::sums).unwrap_or_default();
        let is_this = node == peer.node();
        let heard = peer.histories().of(&node).map(|spells| now.saturating_sub(spells.last_heard()));
        let upload = peer.speeds().of(&node).and_then(okapi_peers::measure::Speed::throughput);
        all.push(GroupMember {
            member: binding.member,
            node,
            number: binding.number,
            name: if is_this { own_name.to_owned() } else { link.name },
            site: record.site,
            state: match record.state {
                State::Active => MemberState::Active,
                State::Leaving => MemberState::Leaving,
                State::Parted => MemberState::Parted,
            },
            presence: match peer.contact(node) {
                _ if is_this => MemberPresence::This,
                Contact::Here => MemberPresence::Here,
                Contact::Away => MemberPresence::Away,
                Contact::Gone => MemberPresence::Gone,
            },
            heard_ms_ago: if is_this { 0 } else { heard.unwrap_or(u64::MAX) },
            promise: record.promise,
            proven: record.proven,
            holds_for_us: sums.confirmed,
            held_for_it: sums.stored,
            grade: match standings.get(&binding.member).copied().unwrap_or(Grade::Full) {
                Grade::Full => MemberGrade::Full,
                Grade::NoNewData => MemberGrade::NoNewData,
                Grade::Drain => MemberGrade::Drain,
                Grade::Out => MemberGrade::Out,
            },
            link: if is_this { from_here.to_owned() } else { link.address },
            round_trip_us: link.round_trip_us,
            upload: upload.unwrap_or(0),
            download: 0,
        });
    }
    all.truncate(MEMBERS_MAX);
    all
}
