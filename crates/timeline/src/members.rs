//! The list of members: one signed record for each node, merged in any order to the same list.
//!
//! A record is in the list if its signatures hold and its voucher is in the list. So that the result never depends on
//! who came first, every conflict has a rule that looks at the records alone:
//!
//! - Of records of one node with the same vouch, the later wins: parted before not parted, signed by the member's key
//!   before the node's, then the higher revision, then the higher hash.
//! - Of two vouches for one node, or two uses of one serial number by one voucher, that nearer the founder wins, then
//!   the lower (voucher, serial, stamp, node). The loser is not in the list, nor is whoever hangs on it alone.
//! - A voucher that parted says how many of its vouches count; those with a higher serial do not.
//! - Beyond [`NODES_MAX`] nodes those farthest from the founder are left out.
//!
//! What is not in the list is not kept, and may be offered again: repeated until nothing changes, any order of the same
//! records gives the same list. (Considered: keeping refused records too. Strangers could then fill the memory.)

mod build;
mod check;
mod settle;

pub use build::{Standing, attest, bind, found, group_of_founder, join, part, pledge, revise, vouch};
pub use check::{is_attestation_good, is_pledge_good};

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use okapi_base::machine::Moment;
use okapi_base::{Digest, GroupId, MemberId, NodeId};
use okapi_seal::Hasher;
use okapi_wire::peer::member::{Binding, Mark, MemberRecord, NODES_MAX, Signer, State, Summary, Version};

/// How far ahead of one's own clock the stamp of a record may be.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(10 * 60);

/// Who belongs to a group. A clone costs nothing and stays as it is.
#[derive(Debug, Clone)]
pub struct MemberList {
    group: GroupId,
    most: usize,
    held: Arc<BTreeMap<NodeId, Held>>,
    version: Version,
}

#[derive(Debug, Clone)]
struct Held {
    record: Arc<MemberRecord>,
    hash: Digest,
    /// Vouches between the founder and this node.
    depth: u32,
}

/// What a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// The node was not in the list.
    New,
    /// The node's record was replaced.
    Newer,
    /// The list has this record, or one that wins over it.
    Known,
}

/// Why a record is not taken into the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum MemberRefusal {
    /// It is of another group.
    #[error("the record is of another group")]
    WrongGroup,
    /// A field has a value it never has.
    #[error("the record's field `{0}` has a value that means nothing")]
    Malformed(&'static str),
    /// A signature does not hold.
    #[error("the record's signature `{0}` does not hold")]
    BadSignature(&'static str),
    /// It claims to be the founder's, and the group's name says otherwise.
    #[error("the record is not that of the group's founder")]
    NotTheFounder,
    /// Its voucher is not in the list. It may be, once more records have come: try again then.
    #[error("the voucher of the record is not known yet")]
    UnknownVoucher,
    /// Its voucher parted, and the vouch is not among those that count.
    #[error("the record's voucher parted before that vouch")]
    VoucherParted,
    /// Its voucher used the serial number of the vouch for another node, which wins.
    #[error("the serial number of the record's vouch is another node's")]
    SerialTaken,
    /// The node is in the list by another vouch, which wins.
    #[error("the node is in the list by another vouch")]
    AnotherVouch,
    /// It was signed later than now.
    #[error("the record is from the future")]
    FromTheFuture,
    /// The node parted, and the record says otherwise.
    #[error("the node has parted, and that is final")]
    Parted,
    /// The list is full of nodes nearer the founder.
    #[error("the group has as many nodes as it can have ({NODES_MAX})")]
    TooMany,
}

impl MemberList {
    /// The list of a group of which nothing is known yet but its name, which only its founder's record fits.
    #[must_use]
    pub fn new(group: GroupId) -> Self {
        Self::with_most(group, NODES_MAX)
    }

    fn with_most(group: GroupId, most: usize) -> Self {
        let held = Arc::default();
        let version = version_of(&held);
        Self { group, most, held, version }
    }

    /// The list as records kept by oneself leave it, in any order. Their signatures were checked before they were
    /// kept, and are not checked again.
    #[must_use]
    pub fn open(group: GroupId, records: impl IntoIterator<Item = MemberRecord>) -> Self {
        let mut list = Self::new(group);
        let mut candidates: Vec<(Arc<MemberRecord>, Digest)> = Vec::new();
        for record in records.into_iter().filter(|record| record.binding.group == group) {
            let hash = check::record_hash(&record);
            candidates.push((Arc::new(record), hash));
        }
        list.held = Arc::new(settle::settle(candidates, list.most));
        list.version = version_of(&list.held);
        list
    }

    /// Takes a record in. A record of the founder must have come first, and a voucher's before that of whom it
    /// vouches for; what is refused may be offered again.
    ///
    /// # Errors
    /// [`MemberRefusal`] if it is not to be in the list; the list is as before then.
    pub fn merge(&mut self, now: Moment, record: MemberRecord) -> Result<Merged, MemberRefusal> {
        if record.binding.group != self.group {
            return Err(MemberRefusal::WrongGroup);
        }
        let hash = check::record_hash(&record);
        let held = self.held.get(&record.binding.node);
        if held.is_some_and(|held| held.hash == hash) {
            return Ok(Merged::Known);
        }
        check::well_formed(&record)?;
        if Duration::from_millis(record.stamp) > now.0 + FUTURE_TOLERANCE {
            return Err(MemberRefusal::FromTheFuture);
        }
        self.check_vouch(&record)?;
        let same_vouch = held.filter(|held| same_vouch(&held.record, &record));
        if let Some(held) = same_vouch
            && rank(&held.record, &held.hash) > rank(&record, &hash)
        {
            let undone = held.record.state == State::Parted && record.state != State::Parted;
            return if undone { Err(MemberRefusal::Parted) } else { Ok(Merged::Known) };
        }
        check::signatures(&record, held.map(|held| &*held.record))?;
        let merged = if held.is_some() { Merged::Newer } else { Merged::New };
        match same_vouch {
            // Nobody else's place depends on a record that replaces one with the same vouch, unless it parts.
            Some(held) if record.state != State::Parted => {
                let new = Held { hash, depth: held.depth, record: Arc::new(record) };
                Arc::make_mut(&mut self.held).insert(new.record.binding.node, new);
            }
            _ => self.settle_with(record, hash)?,
        }
        self.version = version_of(&self.held);
        Ok(merged)
    }

    fn check_vouch(&self, record: &MemberRecord) -> Result<(), MemberRefusal> {
        if record.vouch.by == record.binding.node {
            return Ok(());
        }
        let voucher = self.held.get(&record.vouch.by).ok_or(MemberRefusal::UnknownVoucher)?;
        if settle::honours(&voucher.record, record.vouch.serial) { Ok(()) } else { Err(MemberRefusal::VoucherParted) }
    }

    fn settle_with(&mut self, record: MemberRecord, hash: Digest) -> Result<(), MemberRefusal> {
        let node = record.binding.node;
        let vouch = record.vouch;
        let taken = self.held.values().find(|held| {
            let other = &held.record;
            other.vouch.by == vouch.by && other.vouch.serial == vouch.serial && other.binding.node != node
        });
        let refusal = match (self.held.get(&node), taken) {
            (Some(held), _) if !same_vouch(&held.record, &record) => MemberRefusal::AnotherVouch,
            (_, Some(_)) => MemberRefusal::SerialTaken,
            _ => MemberRefusal::TooMany,
        };
        if let (None, None, Some(voucher)) = (self.held.get(&node), taken, self.held.get(&vouch.by))
            && self.held.len() < self.most
        {
            // Nobody's place is contested: the new node hangs on its voucher and changes nothing else.
            let new = Held { hash, depth: voucher.depth + 1, record: Arc::new(record) };
            Arc::make_mut(&mut self.held).insert(node, new);
            return Ok(());
        }
        let mut candidates: Vec<_> = self.held.values().map(|held| (held.record.clone(), held.hash)).collect();
        candidates.push((Arc::new(record), hash));
        let settled = settle::settle(candidates, self.most);
        if settled.get(&node).is_none_or(|held| held.hash != hash) {
            return Err(refusal);
        }
        self.held = Arc::new(settled);
        Ok(())
    }

    /// The group it is the list of.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.group
    }

    /// Which state of the list this is. The number mostly grows, but falls when a vouch ceases to count; two lists
    /// are the same if their digests are.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// How many nodes are in it, the parted ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is known of the group yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The record of a node.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&MemberRecord> {
        self.held.get(&node).map(|held| &*held.record)
    }

    /// All records, in the order of their nodes, the parted ones included.
    pub fn iter(&self) -> impl Iterator<Item = &MemberRecord> {
        self.held.values().map(|held| &*held.record)
    }

    /// The records of nodes that take part (active and leaving ones), in the order of their nodes.
    pub fn active(&self) -> impl Iterator<Item = &MemberRecord> {
        self.iter().filter(|record| record.state != State::Parted)
    }

    /// Whether a node takes part.
    #[must_use]
    pub fn is_active(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|record| record.state != State::Parted)
    }

    /// Whose node it is.
    #[must_use]
    pub fn owner(&self, node: NodeId) -> Option<MemberId> {
        self.get(node).map(|record| record.binding.member)
    }

    /// Bytes that may be placed with a node: min(promise, max(promise / 8, 4 x proven)), where proven is what nodes
    /// of other members who still take part attest, rounded down to a power of two. Nothing for one that parted or is
    /// unknown.
    #[must_use]
    pub fn capacity(&self, node: NodeId) -> u64 {
        let Some(record) = self.get(node).filter(|record| record.state != State::Parted) else { return 0 };
        let counts = |by: NodeId| self.is_active(by) && self.owner(by) != Some(record.binding.member);
        let counted = record.attestations.iter().filter(|attestation| counts(attestation.by));
        let proven = check::proven(counted);
        record.promise.min((record.promise / 8).max(proven.saturating_mul(4)))
    }

    /// The serial number for the next vouch of a node: above all of its vouches in the list. The node must itself
    /// remember those it gave that are not in the list yet.
    #[must_use]
    pub fn next_serial(&self, voucher: NodeId) -> u64 {
        let serials = self.iter().filter(|record| record.vouch.by == voucher).map(|record| record.vouch.serial);
        serials.max().unwrap_or(0).saturating_add(1)
    }

    /// What the list holds, in short, to be sent to another.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let marks = self.held.iter().map(|(node, held)| Mark { node: *node, hash: mark(&held.hash) });
        Summary { group: self.group, version: self.version, marks: marks.collect() }
    }

    /// The records that whoever sent `summary` lacks or has otherwise, vouchers first, up to `most_bytes` in all but
    /// at least one. Nothing if it is of another group.
    #[must_use]
    pub fn missing_from(&self, summary: &Summary, most_bytes: usize) -> Vec<Arc<MemberRecord>> {
        if summary.group != self.group || summary.version == self.version {
            return Vec::new();
        }
        let theirs: BTreeMap<NodeId, [u8; 8]> = summary.marks.iter().map(|mark| (mark.node, mark.hash)).collect();
        let mut missing: Vec<&Held> = self
            .held
            .iter()
            .filter(|(node, held)| theirs.get(*node) != Some(&mark(&held.hash)))
            .map(|(_, h)| h)
            .collect();
        missing.sort_by_key(|held| held.depth);
        let mut bytes = 0;
        let mut fits = |record: &MemberRecord| {
            bytes += check::record_bytes(record);
            bytes <= most_bytes || bytes == check::record_bytes(record)
        };
        missing.into_iter().take_while(|held| fits(&held.record)).map(|held| held.record.clone()).collect()
    }
}

fn mark(hash: &Digest) -> [u8; 8] {
    hash.0[..8].try_into().expect("a hash has 32 bytes")
}

/// What decides between two vouches for one node; the part after the voucher's distance from the founder.
type VouchKey = (NodeId, u64, u64, Binding);

fn vouch_key(record: &MemberRecord) -> VouchKey {
    (record.vouch.by, record.vouch.serial, record.vouch.stamp, record.binding)
}

fn same_vouch(one: &MemberRecord, other: &MemberRecord) -> bool {
    vouch_key(one) == vouch_key(other)
}

/// What decides between records of one node with the same vouch: the highest wins.
fn rank<'a>(record: &MemberRecord, hash: &'a Digest) -> (bool, bool, u32, &'a Digest) {
    (record.state == State::Parted, record.signer == Signer::Member, record.revision, hash)
}

fn version_of(held: &BTreeMap<NodeId, Held>) -> Version {
    let number = held.values().map(|held| u64::from(held.record.revision)).sum();
    let hasher = Hasher::new("okapi 2026 member list: version");
    Version { number, digest: held.values().fold(hasher, |hasher, held| hasher.add(&held.hash.0)).digest() }
}

#[cfg(test)]
mod tests;
