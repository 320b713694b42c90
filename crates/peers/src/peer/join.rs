//! Join: how a node comes into a group, how others learn of it, and how all member lists become the same.

use super::keep::Then;
use super::post::{Mail, nothing};
use super::refusal::Refusal;
use super::{Peer, kept};
use crate::limits::{LETTER_MAX, LIST_REST, TICKETS_MAX, retry_after};
use crate::machine::Event;
use alloc::string::ToString;
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, GroupId, MemberId, NodeId};
use okapi_timeline::members::{self, MemberList, MemberRefusal, Merged};
use okapi_wire::Message;
use okapi_wire::peer::letter::{Body, RECORDS_MAX};
use okapi_wire::peer::member::{
    ATTESTATION_BYTES, Binding, MemberRecord, NODES_MAX, Pledge, RECORD_BYTES, State, Summary, Vouch,
};

/// How far a node is with joining a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Join {
    /// It wants nowhere.
    #[default]
    Settled,
    /// It asks to be vouched for.
    Asking(Asking),
    /// It has been vouched for, and waits for the list it belongs to; so much of that has come.
    Vouched(Asking, Vouch, Vec<MemberRecord>),
}

/// Where a node wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) via: NodeId,
    pub(crate) group: GroupId,
    secret: [u8; 32],
    next: Moment,
    tries: u32,
}

/// A ticket that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Milliseconds since 1970.
    pub(crate) expires: u64,
    /// Who used it.
    pub(crate) used_by: Option<NodeId>,
}

/// Why a newcomer is turned away.
const NO_SUCH_TICKET: u8 = 1;
const EXPIRED: u8 = 2;
const USED: u8 = 3;

impl Peer {
    pub(super) fn binding(&self, group: GroupId) -> Binding {
        let identity = &self.identity;
        Binding {
            group,
            node: self.node,
            member: identity.member,
            recipient: identity.recipient,
            number: identity.number,
        }
    }

    fn standing(&self) -> members::Standing {
        members::Standing {
            site: self.identity.site,
            promise: self.settings.server_half,
            leaving: self.is_leaving(),
            attestations: self.attested.values().cloned().collect(),
        }
    }

    /// Begins a group of its own.
    pub(super) fn found_group(&mut self) {
        let stamp = self.stamp();
        let binding = self.binding(GroupId([0; 32]));
        let signature = self.identity.member_signature;
        let record = members::found(&self.identity.signing, binding, signature, self.standing(), stamp);
        self.enter_group(record.binding.group);
        self.merge(&record).expect("a founder's record is valid in its own group");
    }

    /// Begins with an empty list of a group.
    pub(super) fn enter_group(&mut self, group: GroupId) {
        let old: Vec<NodeId> = self.members.iter().map(|record| record.binding.node).collect();
        old.into_iter().for_each(|node| self.keeper.remove(kept::node_key(kept::kind::MEMBER, node)));
        self.group = group;
        self.members = MemberList::new(group);
        self.books_enter(group);
        self.maps.forget();
        self.keeper.put(kept::prefixed(kept::kind::GROUP, &[]), group.0.to_vec());
    }

    pub(super) fn invite(&mut self, secret: [u8; 32], expires: u64) {
        let now = self.stamp();
        let over: Vec<[u8; 32]> =
            self.tickets.iter().filter(|(_, t)| t.expires < now).map(|(secret, _)| *secret).collect();
        for secret in over {
            self.tickets.remove(&secret);
            self.keeper.remove(kept::ticket_key(&secret));
        }
        if self.tickets.len() < TICKETS_MAX {
            self.set_ticket(secret, Ticket { expires, used_by: None });
            self.tell_user(Event::Invited { secret, group: self.group });
        }
    }

    fn set_ticket(&mut self, secret: [u8; 32], ticket: Ticket) {
        self.keeper.put(kept::ticket_key(&secret), ticket_value(&ticket));
        self.tickets.insert(secret, ticket);
    }

    pub(super) fn join(&mut self, via: NodeId, group: GroupId, secret: [u8; 32]) {
        self.join = Join::Asking(Asking { via, group, secret, next: self.now, tries: 0 });
        self.go_on_joining();
    }

    /// Asks again if it is time.
    pub(super) fn go_on_joining(&mut self) {
        // The list may be lost on its way even if the vouch is not: both are asked for until they are here.
        let (Join::Asking(asking) | Join::Vouched(asking, ..)) = &mut self.join else { return };
        if asking.next > self.now {
            return;
        }
        let wait = retry_after(asking.tries);
        asking.next = Moment(self.now.0 + wait);
        asking.tries = (asking.tries + 1).min(16);
        let (via, group, secret) = (asking.via, asking.group, asking.secret);
        let pledge = members::pledge(&self.identity.signing, self.binding(group), self.identity.member_signature);
        self.send(via, Body::JoinAsk(secret, pledge));
    }

    pub(super) fn join_at(&self) -> Option<Moment> {
        match &self.join {
            Join::Asking(asking) | Join::Vouched(asking, ..) => Some(asking.next),
            Join::Settled => None,
        }
    }

    /// A newcomer shows a ticket.
    pub(super) fn asked_to_join(&mut self, from: NodeId, secret: [u8; 32], pledge: &Pledge) {
        if pledge.binding.node != from || !members::is_pledge_good(pledge) {
            return self.refuse(Refusal::BadSignature);
        }
        if pledge.binding.group != self.group {
            return self.refuse(Refusal::WrongGroup);
        }
        let Some(ticket) = self.tickets.get(&secret).copied() else {
            self.send(from, Body::JoinNo(NO_SUCH_TICKET));
            return;
        };
        if ticket.used_by.is_some_and(|node| node != from) {
            self.send(from, Body::JoinNo(USED));
            return;
        }
        if ticket.expires < self.stamp() {
            self.send(from, Body::JoinNo(EXPIRED));
            return;
        }
        let vouch = match self.members.get(from) {
            Some(record) if record.vouch.by == self.node => record.vouch,
            _ => {
                let serial = self.members.next_serial(self.node).max(self.last_serial + 1);
                self.last_serial = serial;
                // The vouch may be used long after a restart, and its number must not be given twice.
                self.keeper.put(kept::prefixed(kept::kind::SERIAL, &[]), serial.to_le_bytes().to_vec());
                members::vouch(&self.identity.signing, serial, &pledge.binding, self.stamp())
            }
        };
        self.set_ticket(secret, Ticket { used_by: Some(from), ..ticket });
        for body in [Body::JoinYes(vouch)].into_iter().chain(self.list_letters()) {
            self.keeper.then(Then::Send(Mail { to: from, body, payload: nothing() }));
        }
    }

    /// The whole list in letters, vouchers first.
    pub(super) fn list_letters(&self) -> Vec<Body> {
        let mut letters: Vec<Vec<MemberRecord>> = Vec::new();
        let mut bytes = 0;
        for record in self.members.missing_from(&Summary::nothing(self.group), usize::MAX) {
            bytes += RECORD_BYTES + record.attestations.len() * ATTESTATION_BYTES;
            match letters.last_mut().filter(|last| bytes <= LETTER_MAX / 2 && last.len() < RECORDS_MAX) {
                Some(last) => last.push((*record).clone()),
                None => {
                    bytes = RECORD_BYTES + record.attestations.len() * ATTESTATION_BYTES;
                    letters.push(Vec::from([(*record).clone()]));
                }
            }
        }
        letters.into_iter().map(Body::Records).collect()
    }

    pub(super) fn turned_away(&mut self, from: NodeId, why: u8) {
        if !matches!(&self.join, Join::Asking(asking) if asking.via == from) {
            return self.refuse(Refusal::Unasked);
        }
        self.join = Join::Settled;
        let why = match why {
            NO_SUCH_TICKET => "there is no such ticket; ask for a new one",
            EXPIRED => "the ticket has expired; ask for a new one",
            USED => "the ticket was used by another node; ask for a new one",
            _ => "the node that invited says no",
        };
        self.tell_user(Event::JoinFailed { why: why.to_string() });
    }

    pub(super) fn vouched(&mut self, from: NodeId, vouch: Vouch) {
        match &self.join {
            Join::Asking(asking) | Join::Vouched(asking, ..) if asking.via == from && vouch.by == from => {
                self.join = Join::Vouched(asking.clone(), vouch, Vec::new());
            }
            _ => self.refuse(Refusal::Unasked),
        }
    }

    /// Member records came.
    pub(super) fn learned(&mut self, from: NodeId, records: Vec<MemberRecord>) {
        if let Join::Vouched(asking, _, known) = &mut self.join
            && asking.via == from
        {
            known.extend(records.into_iter().take(NODES_MAX.saturating_sub(known.len())));
            return self.arrive();
        }
        if self.is_restoring_from(from) {
            self.restore_learned(records);
        } else if self.members.is_active(from) {
            self.merge_all(records);
        } else {
            self.introduced(from, records);
        }
    }

    /// A stranger may say only who it is, and who vouched for it.
    fn introduced(&mut self, from: NodeId, records: Vec<MemberRecord>) {
        let own = records.into_iter().find(|record| record.binding.node == from);
        match own.map(|record| self.merge(&record)) {
            Some(Ok(_)) => {}
            Some(Err(refusal)) => self.refuse(refusal),
            None => self.refuse(Refusal::Stranger),
        }
    }

    pub(super) fn merge_all(&mut self, records: Vec<MemberRecord>) {
        for record in records {
            if let Err(refusal) = self.merge(&record) {
                self.refuse(refusal);
            }
        }
    }

    /// Takes on the list of the group that let this node in, with its own record in it, once enough of it has come.
    fn arrive(&mut self) {
        let Join::Vouched(asking, vouch, records) = &self.join else { return };
        let (group, vouch) = (asking.group, *vouch);
        let mut list = MemberList::new(group);
        for record in records {
            let _ = list.merge(self.now, record.clone());
        }
        let pledge = members::pledge(&self.identity.signing, self.binding(group), self.identity.member_signature);
        let own = members::join(&self.identity.signing, &pledge, vouch, self.standing(), self.stamp());
        match list.merge(self.now, own.clone()) {
            Ok(_) => {}
            Err(MemberRefusal::UnknownVoucher) => return,
            Err(why) => {
                self.join = Join::Settled;
                return self.tell_user(Event::JoinFailed { why: why.to_string() });
            }
        }
        let Join::Vouched(_, _, records) = core::mem::take(&mut self.join) else { unreachable!("it was just seen") };
        self.enter_group(group);
        self.merge_all(records);
        self.merge(&own).expect("it was merged into the same list before");
        self.deeds_enter_group();
        self.log_joined();
        self.tell_user(Event::Joined);
    }

    /// Takes a record into the list.
    pub(super) fn merge(&mut self, record: &MemberRecord) -> Result<Merged, Refusal> {
        let (node, member) = (record.binding.node, record.binding.member);
        let parted_before = self.has_parted(node);
        let promised = self.members.get(node).map_or(0, |known| known.promise);
        let merged = self.members.merge(self.now, record.clone()).map_err(refusal_of)?;
        if merged == Merged::Known {
            return Ok(merged);
        }
        self.keeper.put(kept::node_key(kept::kind::MEMBER, node), kept::encode(record));
        self.list_changed_at = self.now;
        self.note_conduct(member, record);
        self.follow_members();
        self.maps.outdated();
        if merged == Merged::New || record.state != State::Active {
            self.mine.all_dirty();
        }
        if record.promise > promised {
            self.ask_contract_anew(node);
            self.mine.end_rests(self.now, |_| true);
        }
        if record.state == State::Parted && !parted_before {
            self.node_parted(node);
        }
        // What one learns, all learn: the record goes on at once, and pings find what was lost.
        self.spread(record, Some(node));
        Ok(merged)
    }

    /// Sends a record to those who are here.
    fn spread(&mut self, record: &MemberRecord, but: Option<NodeId>) {
        let here: Vec<NodeId> = self.others().filter(|node| Some(*node) != but && self.is_here(*node)).collect();
        // In a large group a few are enough: they pass it on.
        let few = self.draw(&here, SPREAD_TO);
        for node in few {
            self.send(node, Body::Records(Vec::from([record.clone()])));
        }
    }

    /// Revises this node's own record, if it says anything new.
    pub(super) fn revise_own(&mut self) {
        let Some(last) = self.members.get(self.node).filter(|last| last.state != State::Parted) else { return };
        let record = members::revise(&self.identity.signing, last, self.standing(), self.stamp());
        if let Err(refusal) = self.merge(&record) {
            self.refuse(refusal);
        }
    }

    /// The other side has another list: says what this one has, and learns what it lacks.
    pub(super) fn compare_lists(&mut self, from: NodeId, _number: u64, digest: Digest) {
        if digest != self.members.version().digest {
            self.send(from, Body::Summary(self.members.summary()));
        }
    }

    pub(super) fn summarised(&mut self, from: NodeId, summary: &Summary) {
        let knows_own = self.members.is_active(from);
        let is_mine = summary.group == self.group || (knows_own && summary.marks.is_empty());
        if !is_mine {
            return self.refuse(Refusal::WrongGroup);
        }
        if summary.marks.is_empty() {
            // It has nothing yet: a restored node.
            let letters = self.list_letters();
            return letters.into_iter().for_each(|body| {
                self.send(from, body);
            });
        }
        let records = self.members.missing_from(summary, LETTER_MAX / 2);
        if !records.is_empty() {
            self.send(from, Body::Records(records.iter().map(|record| (**record).clone()).collect()));
        }
        let lacks = |mark: &okapi_wire::peer::member::Mark| self.members.get(mark.node).is_none();
        if summary.marks.iter().any(lacks) || (records.is_empty() && summary.version != self.members.version()) {
            self.send(from, Body::Summary(self.members.summary()));
        }
    }

    /// All other nodes that take part.
    pub(super) fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.active().map(|record| record.binding.node).filter(|node| *node != self.node)
    }

    pub(super) fn is_active(&self, node: NodeId) -> bool {
        self.members.is_active(node)
    }

    pub(super) fn has_parted(&self, node: NodeId) -> bool {
        !self.members.is_active(node)
    }

    pub(super) fn owner_of(&self, node: NodeId) -> MemberId {
        self.members.owner(node).unwrap_or(MemberId(node.0))
    }

    /// Whether the member list has rested long enough to move shards for it. Two nodes need not wait: they have
    /// everything to gain.
    pub(super) fn list_rested(&self) -> bool {
        self.members.active().count() <= 4 || self.now.0.saturating_sub(self.list_changed_at.0) >= LIST_REST
    }

    /// Whether a record in a letter may be by this node.
    pub(super) fn check_signer(&self, node: NodeId) -> Result<(), Refusal> {
        match self.members.get(node) {
            None => Err(Refusal::Stranger),
            Some(record) if record.state == State::Parted => Err(Refusal::Parted),
            Some(_) => Ok(()),
        }
    }
}

/// How many nodes a changed record is sent to at once.
const SPREAD_TO: usize = 8;

fn refusal_of(why: MemberRefusal) -> Refusal {
    match why {
        MemberRefusal::WrongGroup => Refusal::WrongGroup,
        MemberRefusal::Malformed(_) => Refusal::Malformed,
        MemberRefusal::FromTheFuture => Refusal::FromTheFuture,
        MemberRefusal::Parted => Refusal::Parted,
        MemberRefusal::UnknownVoucher => Refusal::Stranger,
        _ => Refusal::BadSignature,
    }
}

/// A summary of a list that is empty.
trait Nothing {
    fn nothing(group: GroupId) -> Self;
}

impl Nothing for Summary {
    fn nothing(group: GroupId) -> Self {
        MemberList::new(group).summary()
    }
}

/// A ticket: expires u64, who used it 32 (zeros: nobody).
fn ticket_value(ticket: &Ticket) -> Vec<u8> {
    let mut value = ticket.expires.to_le_bytes().to_vec();
    value.extend_from_slice(&ticket.used_by.map_or([0; 32], |node| node.0));
    value
}

pub(super) fn parse_ticket(value: &[u8]) -> Option<Ticket> {
    let (expires, used_by) = value.split_first_chunk::<8>()?;
    let used_by = <[u8; 32]>::try_from(used_by).ok()?;
    Some(Ticket { expires: u64::from_le_bytes(*expires), used_by: (used_by != [0; 32]).then_some(NodeId(used_by)) })
}

pub(super) fn parse_record(value: &[u8]) -> Option<MemberRecord> {
    MemberRecord::parse(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_tickets() {
        let used = Ticket { expires: 0x0102, used_by: Some(NodeId([5; 32])) };
        let mut value = Vec::from([2, 1, 0, 0, 0, 0, 0, 0]);
        value.extend_from_slice(&[5; 32]);
        assert_eq!(ticket_value(&used), value);
        let new = Ticket { used_by: None, ..used };
        assert_eq!(ticket_value(&new)[8..], [0; 32]);
        for ticket in [used, new] {
            assert_eq!(parse_ticket(&ticket_value(&ticket)), Some(ticket));
        }
        assert_eq!(parse_ticket(&value[..39]), None);
    }
}
