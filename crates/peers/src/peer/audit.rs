//! Audit: challenges holders to prove leaves of shards that nobody could foresee, and tells the group what was proven.

use super::Peer;
use super::refusal::Refusal;
use super::work::Job;
use crate::limits::{
    ATTEST_EVERY, AUDIT_AGAIN, AUDIT_ASKS, AUDIT_EVERY, AUDIT_LEAVES, AUDIT_PATIENCE, AUDITS_UNANSWERED, DISTRUST_DOUBLED_MAX,
    DISTRUST_FIRST, FORGIVEN_AFTER,
};
use crate::machine::{Blob, Done, Event, Work};
use crate::stamp::stamp;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, NodeId};
use okapi_seal::proof::{self, Proof};
use okapi_timeline::members;
use okapi_wire::peer::letter::{Body, LEAVES_MAX, No};
use okapi_wire::peer::member::Attestation;
use okapi_wire::peer::shard::ShardId;

/// How far the audit of a holder is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Audit {
    /// The next one is due then.
    Due(Moment),
    /// It was asked so often, and then is asked again or has not answered.
    Asked(Challenge, u32, Moment),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    shard: ShardId,
    root: Digest,
    bytes: u64,
    number: u64,
    leaves: Vec<u32>,
}

/// What audits of one holder have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Audited {
    audit: Audit,
    answered: u32,
    failed: u32,
    unanswered: u32,
    /// When it was last attested to the holder, and how many bytes.
    attested: Option<(Moment, u64)>,
}

/// All audits of those who hold this node's shards.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    holders: BTreeMap<NodeId, Audited>,
    last: u64,
    distrusted: BTreeMap<NodeId, Distrust>,
}

/// What is left of trust in a node that was caught.
#[derive(Debug, Clone, Copy, Default)]
struct Distrust {
    times: u32,
    /// Until when it is given nothing at all; the beginning of time once that is over.
    until: Moment,
    /// Audits it has answered since.
    answered: u32,
}

impl Audits {
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        let next = |audited: &Audited| match &audited.audit {
            Audit::Due(at) | Audit::Asked(_, _, at) => *at,
        };
        let trusted = self.distrusted.values().map(|it| it.until).filter(|until| *until != Moment::default());
        self.holders.values().map(next).chain(trusted).min()
    }

    /// Probes answered and failed by a holder.
    #[must_use]
    pub(crate) fn of(&self, holder: NodeId) -> (u32, u32) {
        self.holders.get(&holder).map_or((0, 0), |audited| (audited.answered, audited.failed))
    }
}

impl Peer {
    /// Begins to audit a holder; the first time after it had its first shard for a while.
    pub(super) fn audit_from_now(&mut self, holder: NodeId) {
        if holder == self.node || !self.settings.care.audit {
            return;
        }
        let every = AUDIT_EVERY.as_secs();
        if !self.audits.holders.contains_key(&holder) {
            let first = self.now.0 + core::time::Duration::from_secs(self.dice.below(every));
            let audit = Audit::Due(Moment(first));
            self.audits.holders.insert(holder, Audited { audit, answered: 0, failed: 0, unanswered: 0, attested: None });
        }
    }

    /// After a restart: whoever holds shards is audited as before.
    pub(super) fn audit_all_from_now(&mut self) {
        let deeds = self.mine.segments.values().filter_map(|segment| segment.deed.as_ref());
        let holders: BTreeSet<NodeId> = deeds.flat_map(|deed| &deed.slots).filter_map(|slot| slot.holder).collect();
        holders.into_iter().for_each(|holder| self.audit_from_now(holder));
    }

    /// Whether a node was caught lately: what it threw away is not given to it again and again.
    pub(super) fn is_distrusted(&self, node: NodeId) -> bool {
        self.audits.distrusted.get(&node).is_some_and(|it| it.until > self.now)
    }

    /// Whether a node was caught and has not yet answered enough audits since.
    pub(super) fn was_caught(&self, node: NodeId) -> bool {
        self.audits.distrusted.contains_key(&node)
    }

    fn distrust(&mut self, node: NodeId) {
        let it = self.audits.distrusted.entry(node).or_default();
        it.answered = 0;
        if it.until <= self.now {
            it.until = Moment(self.now.0 + DISTRUST_FIRST * 2u32.pow(it.times.min(DISTRUST_DOUBLED_MAX)));
            it.times += 1;
        }
    }

    fn forgive(&mut self, node: NodeId) {
        let Some(it) = self.audits.distrusted.get_mut(&node) else { return };
        it.answered += 1;
        if it.answered >= FORGIVEN_AFTER && it.until <= self.now {
            self.audits.distrusted.remove(&node);
            self.mine.dirty_for(node);
        }
    }

    /// Those whose time is over may be given shards again.
    fn trust_again(&mut self) {
        let now = self.now;
        let over = |(node, it): (&NodeId, &mut Distrust)| {
            (it.until <= now && core::mem::take(&mut it.until) != Moment::default()).then_some(*node)
        };
        let again: Vec<NodeId> = self.audits.distrusted.iter_mut().filter_map(over).collect();
        again.into_iter().for_each(|node| self.mine.dirty_for(node));
    }

    /// Asks those who are due, and judges those who did not answer.
    pub(super) fn audit(&mut self) {
        self.trust_again();
        let now = self.now;
        let due = |audited: &Audited| match &audited.audit {
            Audit::Due(at) | Audit::Asked(_, _, at) => *at <= now,
        };
        let holders: Vec<NodeId> =
            self.audits.holders.iter().filter(|(_, audited)| due(audited)).map(|(node, _)| *node).collect();
        for holder in holders {
            match self.audits.holders[&holder].audit.clone() {
                Audit::Due(_) => self.challenge(holder),
                // Letters are lost without anybody's fault.
                Audit::Asked(challenge, asked, _) if asked < AUDIT_ASKS => self.ask(holder, challenge, asked + 1),
                Audit::Asked(challenge, ..) => self.unanswered(holder, challenge.shard),
            }
        }
    }

    fn challenge(&mut self, holder: NodeId) {
        if self.has_parted(holder) {
            self.audits.holders.remove(&holder);
            return;
        }
        let shards = self.shards_at(holder);
        let next = self.now.0 + AUDIT_EVERY;
        if shards.is_empty() || !self.is_here(holder) {
            self.audits.holders.get_mut(&holder).expect("it is audited").audit = Audit::Due(Moment(next));
            return;
        }
        let (shard, root, bytes) = shards[self.dice.below(shards.len() as u64) as usize];
        let leaves = proof::leaves(&Digest(self.dice.seed()), bytes, AUDIT_LEAVES);
        self.audits.last += 1;
        let number = self.audits.last;
        self.ask(holder, Challenge { shard, root, bytes, number, leaves }, 1);
    }

    fn ask(&mut self, holder: NodeId, challenge: Challenge, times: u32) {
        let body = Body::Challenge(challenge.shard, challenge.number, challenge.leaves.clone());
        let audit = Audit::Asked(challenge, times, Moment(self.now.0 + AUDIT_PATIENCE));
        self.audits.holders.get_mut(&holder).expect("it is audited").audit = audit;
        self.send(holder, body);
    }

    /// The shards that a holder should have by the deeds in force, with their roots and lengths.
    fn shards_at(&self, holder: NodeId) -> Vec<(ShardId, Digest, u64)> {
        let mut shards = Vec::new();
        for segment in self.mine.segments.values().filter(|segment| segment.release.is_none()) {
            let Some(deed) = &segment.deed else { continue };
            for (index, slot) in (0..).zip(&deed.slots) {
                if slot.holder == Some(holder) && !segment.lost.contains(&index) {
                    let shard = super::hold::shard_of(deed, index);
                    shards.push((shard, slot.root, deed.shape.shard_bytes(deed.bytes)));
                }
            }
        }
        shards
    }

    /// A holder did not answer in time. One that fell silent is away; one that is here and is silent about this hides
    /// something.
    fn unanswered(&mut self, holder: NodeId, shard: ShardId) {
        let here = self.is_here(holder);
        let audited = self.audits.holders.get_mut(&holder).expect("it is audited");
        audited.unanswered = if here { audited.unanswered + 1 } else { 0 };
        let caught = audited.unanswered >= AUDITS_UNANSWERED;
        let wait = if here { AUDIT_AGAIN } else { AUDIT_EVERY };
        audited.audit = Audit::Due(Moment(self.now.0 + wait));
        if caught {
            self.failed_audit(holder, shard);
        }
    }

    /// Someone wants a proof.
    pub(super) fn challenged(&mut self, from: NodeId, shard: ShardId, number: u64, leaves: Vec<u32>) {
        if from != shard.owner {
            return self.refuse(Refusal::NotYours);
        }
        match self.theirs.shards.get(&shard) {
            Some(held) if leaves.iter().any(|leaf| u64::from(*leaf) >= proof::leaf_count(held.bytes)) => {
                self.refuse(Refusal::Malformed);
            }
            Some(_) => self.work(Job::Prove(from, shard, number), Work::Prove { shard, leaves }),
            None => {
                self.send(from, Body::Proof(shard, number));
            }
        }
    }

    pub(super) fn proved(&mut self, to: NodeId, shard: ShardId, number: u64, done: Done) {
        match done {
            Done::Proofs(bytes) => {
                self.send_with(to, Body::Proof(shard, number), bytes);
            }
            _ => {
                self.send(to, Body::Proof(shard, number));
                self.lost_here(shard);
            }
        }
    }

    /// A proof came.
    pub(super) fn proof_came(&mut self, from: NodeId, shard: ShardId, number: u64, bytes: &Blob) {
        let Some(audited) = self.audits.holders.get_mut(&from) else { return self.refuse(Refusal::Unasked) };
        let Audit::Asked(challenge, ..) = &audited.audit else { return self.refuse(Refusal::Unasked) };
        if challenge.number != number || challenge.shard != shard {
            return self.refuse(Refusal::Unasked);
        }
        audited.unanswered = 0;
        if proves(challenge, bytes) {
            audited.answered += 1;
            audited.audit = Audit::Due(Moment(self.now.0 + AUDIT_EVERY));
            self.attest(from);
            self.forgive(from);
        } else if self.shards_at(from).iter().any(|(held, ..)| *held == shard) {
            self.failed_audit(from, shard);
        } else {
            // It was released meanwhile.
            self.audits.holders.get_mut(&from).expect("it is audited").audit = Audit::Due(Moment(self.now.0 + AUDIT_EVERY));
        }
    }

    /// A holder does not have what it signed for: the shard counts as lost, and the next audit comes soon.
    fn failed_audit(&mut self, holder: NodeId, shard: ShardId) {
        let again = Moment(self.now.0 + AUDIT_AGAIN);
        let audited = self.audits.holders.get_mut(&holder).expect("it is audited");
        audited.failed += 1;
        audited.unanswered = 0;
        audited.audit = Audit::Due(again);
        self.caught(holder, shard);
        self.attest(holder);
    }

    /// A node gave wrong bytes, no proof, or none at all.
    pub(super) fn caught(&mut self, node: NodeId, shard: ShardId) {
        self.tell_user(Event::Caught { node, shard });
        self.distrust(node);
        if shard.owner == self.node {
            self.not_held(node, shard, No::Missing);
        }
    }

    /// Signs for a holder what it has proven, now and then and when it has changed much.
    fn attest(&mut self, holder: NodeId) {
        let bytes = self.books.pair(&holder).map_or(0, |pair| pair.sums().confirmed);
        let now = self.now;
        let audited = self.audits.holders.get_mut(&holder).expect("it is audited");
        let is_due = audited.attested.is_none_or(|(at, before)| {
            now.0.saturating_sub(at.0) >= ATTEST_EVERY || before.checked_ilog2() != bytes.checked_ilog2()
        });
        if !is_due && audited.failed == 0 {
            return;
        }
        audited.attested = Some((now, bytes));
        let probes = (audited.answered, audited.failed);
        let attestation =
            members::attest(&self.identity.signing, &self.group, holder, bytes, probes, stamp(now));
        self.send(holder, Body::Attest(attestation));
    }

    /// An owner attests what this node holds for it.
    pub(super) fn attested(&mut self, from: NodeId, attestation: Attestation) {
        if attestation.subject != self.node || attestation.by != from {
            return self.refuse(Refusal::NotYours);
        }
        if !members::is_attestation_good(&attestation, &self.group) {
            return self.refuse(Refusal::BadSignature);
        }
        if self.attested.get(&from).is_some_and(|known| known.stamp >= attestation.stamp) {
            return self.refuse(Refusal::Outdated);
        }
        self.keeper.put(
            super::kept::node_key(super::kept::kind::ATTESTED, from),
            super::kept::encode(&attestation),
        );
        self.attested.insert(from, attestation);
        self.revise_if_proven();
    }

    /// Revises one's own record when what is proven has doubled or halved since.
    pub(super) fn revise_if_proven(&mut self) {
        let Some(record) = self.members.get(self.node) else { return };
        let active = |by: &NodeId| self.is_active(*by) && self.owner_of(*by) != self.identity.member;
        let proven: u64 = self.attested.iter().filter(|(by, _)| active(by)).map(|(_, word)| word.bytes).sum();
        // Beyond what its promise needs, more proof changes nothing.
        let enough = |bytes: u64| bytes.min(record.promise).checked_ilog2();
        if enough(proven) != enough(record.proven) {
            self.revise_own();
        }
    }
}

/// Proofs as they travel: for each leaf its length u32 and its bytes.
#[must_use]
pub fn join_proofs(proofs: &[Proof]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for proof in proofs {
        let one = proof.to_bytes();
        bytes.extend_from_slice(&(one.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&one);
    }
    bytes
}

fn split_proofs(mut bytes: &[u8]) -> Option<Vec<Proof>> {
    let mut proofs = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (one, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        proofs.push(Proof::from_bytes(one).ok()?);
        bytes = rest;
        if proofs.len() > LEAVES_MAX {
            return None;
        }
    }
    bytes.is_empty().then_some(proofs)
}

fn proves(challenge: &Challenge, bytes: &[u8]) -> bool {
    let Some(proofs) = split_proofs(bytes) else { return false };
    proofs.len() == challenge.leaves.len()
        && proofs
            .iter()
            .zip(&challenge.leaves)
            .all(|(proof, leaf)| proof.verify(&challenge.root, challenge.bytes, *leaf).is_ok())
}
