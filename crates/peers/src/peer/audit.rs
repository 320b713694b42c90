//! Audit: challenges holders to prove leaves of shards that nobody could foresee, and tells the group what was proven.

use super::Peer;
use super::refusal::Refusal;
use super::work::Job;
use crate::ledger::WINDOW_MS;
use crate::limits::{
    ATTEST_EVERY, AUDIT_AGAIN, AUDIT_ASKS, AUDIT_EVERY, AUDIT_LEAVES, AUDIT_PATIENCE, AUDITS_MISSED, AUDITS_UNANSWERED,
    DISTRUST_DOUBLINGS, DISTRUST_FIRST,
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
    sent: Moment,
}

/// What audits of one holder have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Audited {
    audit: Audit,
    /// Probes of this window of the ledger.
    window: u64,
    answered: u32,
    failed: u32,
    /// Probes failed since one was last answered.
    failing: u32,
    unanswered: u32,
    /// Audits in a row for which it was away.
    missed: u32,
    /// Nothing more is placed there before then.
    distrusted: Moment,
    /// When it was last attested to the holder, and how many bytes.
    attested: Option<(Moment, u64)>,
}

impl Audited {
    const fn due(first: Moment) -> Self {
        Self {
            audit: Audit::Due(first),
            window: 0,
            answered: 0,
            failed: 0,
            failing: 0,
            unanswered: 0,
            missed: 0,
            distrusted: Moment(core::time::Duration::ZERO),
            attested: None,
        }
    }

    /// Counts a probe that was answered as it should be, or with a lie.
    fn count(&mut self, now: Moment, answered: bool) {
        let window = stamp(now) / WINDOW_MS;
        if window != self.window {
            (self.window, self.answered, self.failed) = (window, 0, 0);
        }
        if answered {
            self.answered += 1;
            (self.unanswered, self.missed, self.failing) = (0, 0, 0);
            self.distrusted = now;
        } else {
            self.failed += 1;
            self.lost(now);
        }
    }

    /// It does not have what it should. Whoever loses something again is left alone for longer each time.
    fn lost(&mut self, now: Moment) {
        self.unanswered = 0;
        if self.distrusted <= now {
            self.distrusted = Moment(now.0 + DISTRUST_FIRST * 2u32.pow(self.failing.min(DISTRUST_DOUBLINGS)));
            self.failing = self.failing.saturating_add(1);
        }
    }
}

/// All audits of those who hold this node's shards.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    holders: BTreeMap<NodeId, Audited>,
    last: u64,
}

impl Audits {
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        let next = |audited: &Audited| match &audited.audit {
            Audit::Due(at) | Audit::Asked(_, _, at) => *at,
        };
        self.holders.values().map(next).min()
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
            self.audits.holders.insert(holder, Audited::due(Moment(first)));
        }
    }

    /// After a restart: whoever holds shards is audited as before.
    pub(super) fn audit_all_from_now(&mut self) {
        let deeds = self.mine.segments.values().filter_map(|segment| segment.deed.as_ref());
        let holders: BTreeSet<NodeId> = deeds.flat_map(|deed| &deed.slots).filter_map(|slot| slot.holder).collect();
        holders.into_iter().for_each(|holder| self.audit_from_now(holder));
    }

    /// Asks those who are due, and judges those who did not answer.
    pub(super) fn audit(&mut self) {
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
                Audit::Asked(challenge, ..) => self.unanswered(holder, &challenge),
            }
        }
    }

    fn challenge(&mut self, holder: NodeId) {
        if self.has_parted(holder) {
            self.audits.holders.remove(&holder);
            return;
        }
        let shards = self.shards_at(holder);
        if shards.is_empty() {
            let next = Moment(self.now.0 + AUDIT_EVERY);
            self.audits.holders.get_mut(&holder).expect("it is audited").audit = Audit::Due(next);
            return;
        }
        if !self.is_here(holder) {
            return self.missed_audit(holder);
        }
        let (shard, root, bytes) = shards[self.dice.below(shards.len() as u64) as usize];
        let leaves = proof::leaves(&Digest(self.dice.seed()), bytes, AUDIT_LEAVES);
        self.audits.last += 1;
        let number = self.audits.last;
        let sent = self.now;
        self.ask(holder, Challenge { shard, root, bytes, number, leaves, sent }, 1);
    }

    fn ask(&mut self, holder: NodeId, challenge: Challenge, times: u32) {
        let body = Body::Challenge(challenge.shard, challenge.number, challenge.leaves.clone());
        let audit = Audit::Asked(challenge, times, Moment(self.now.0 + AUDIT_PATIENCE));
        self.audits.holders.get_mut(&holder).expect("it is audited").audit = audit;
        // An answer to this, and none to the challenge, is what tells silence from a cut link.
        self.ping(holder);
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
    fn unanswered(&mut self, holder: NodeId, challenge: &Challenge) {
        let here = self.hears_since(holder, challenge.sent);
        let audited = self.audits.holders.get_mut(&holder).expect("it is audited");
        if !here {
            audited.unanswered = 0;
            return self.missed_audit(holder);
        }
        audited.unanswered += 1;
        let caught = audited.unanswered >= AUDITS_UNANSWERED;
        audited.audit = Audit::Due(Moment(self.now.0 + AUDIT_AGAIN));
        if caught {
            self.failed_audit(holder, challenge.shard);
        }
    }

    /// A holder was away when it was to prove something. It may be heard often enough to be counted on, and yet never be
    /// here when it is asked; what nobody has proven for so long is placed anew, without a word against anyone.
    fn missed_audit(&mut self, holder: NodeId) {
        let now = self.now;
        let audited = self.audits.holders.get_mut(&holder).expect("it is audited");
        audited.audit = Audit::Due(Moment(now.0 + AUDIT_EVERY));
        audited.missed += 1;
        if audited.missed < AUDITS_MISSED {
            return;
        }
        audited.missed = 0;
        audited.lost(now);
        for (shard, ..) in self.shards_at(holder) {
            self.not_held(holder, shard, No::Missing);
        }
    }

    /// A holder is here again: if it was away when it was to be audited, it is now.
    pub(super) fn audit_back(&mut self, holder: NodeId) {
        let now = self.now;
        if let Some(audited) = self.audits.holders.get_mut(&holder).filter(|audited| audited.missed > 0)
            && let Audit::Due(at) = &mut audited.audit
        {
            *at = now;
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
            Some(held) => {
                let root = held.root;
                self.work(Job::Prove(from, shard, number), Work::Prove { shard, root, leaves });
            }
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
        let now = self.now;
        let asked_at = challenge.sent;
        if proves(challenge, bytes) {
            let was_failing = audited.failing > 0;
            audited.count(now, true);
            audited.audit = Audit::Due(Moment(now.0 + AUDIT_EVERY));
            self.note_probe(from);
            self.measured(from, bytes.len(), asked_at);
            self.attest(from);
            if was_failing {
                self.mine.dirty_for(from);
            }
        } else if self.shards_at(from).iter().any(|(held, ..)| *held == shard) {
            if bytes.is_empty() { self.admitted(from, shard) } else { self.failed_audit(from, shard) }
        } else {
            // It was released meanwhile.
            self.audits.holders.get_mut(&from).expect("it is audited").audit =
                Audit::Due(Moment(self.now.0 + AUDIT_EVERY));
        }
    }

    /// A holder says that it has lost a shard: it is no liar, and it may have lost more.
    fn admitted(&mut self, holder: NodeId, shard: ShardId) {
        let now = self.now;
        let audited = self.audits.holders.get_mut(&holder).expect("it is audited");
        audited.missed = 0;
        audited.lost(now);
        audited.audit = Audit::Due(Moment(now.0 + AUDIT_AGAIN));
        self.not_held(holder, shard, No::Missing);
        self.send(holder, Body::InventoryAsk(None));
    }

    /// A holder does not have what it signed for: the shard counts as lost, and the next audit comes soon.
    fn failed_audit(&mut self, holder: NodeId, shard: ShardId) {
        let now = self.now;
        let audited = self.audits.holders.get_mut(&holder).expect("it is audited");
        audited.count(now, false);
        audited.audit = Audit::Due(Moment(now.0 + AUDIT_AGAIN));
        self.note_probe(holder);
        self.caught(holder, shard);
        self.attest(holder);
    }

    /// Takes note of what the probes of a holder have shown so far, for one's own judgement of its member.
    fn note_probe(&mut self, holder: NodeId) {
        let (answered, failed) = self.audits.of(holder);
        self.note_own_probes(holder, answered, failed);
    }

    /// Whether a holder may be given more: it has not failed lately, by this node's own audits or the group's.
    pub(super) fn is_trusted(&self, holder: NodeId) -> bool {
        let failed = self.audits.holders.get(&holder).is_some_and(|audited| audited.distrusted > self.now);
        !failed && self.is_in_good_standing(holder)
    }

    /// A node gave wrong bytes, no proof, or none at all.
    pub(super) fn caught(&mut self, node: NodeId, shard: ShardId) {
        self.tell_user(Event::Caught { node, shard });
        if let Some(audited) = self.audits.holders.get_mut(&node) {
            audited.lost(self.now);
        }
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
        let attestation = members::attest(&self.identity.signing, &self.group, holder, bytes, probes, stamp(now));
        self.send(holder, Body::Attest(attestation));
        // The holder would not pass on what speaks against it. Each doubling is news enough for the others.
        if probes.1.is_power_of_two() {
            let others: Vec<NodeId> = self.others().filter(|node| *node != holder && self.is_here(*node)).collect();
            others.into_iter().for_each(|node| {
                self.send(node, Body::Attest(attestation));
            });
        }
    }

    /// An owner attests what this node holds for it.
    pub(super) fn attested(&mut self, from: NodeId, attestation: Attestation) {
        if attestation.by != from {
            return self.refuse(Refusal::NotYours);
        }
        if !members::is_attestation_good(&attestation, &self.group) {
            return self.refuse(Refusal::BadSignature);
        }
        if attestation.subject != self.node {
            // Of names that nobody vouched for there is no end.
            return match self.check_signer(attestation.subject) {
                Ok(()) => self.note_word(&attestation),
                Err(refusal) => self.refuse(refusal),
            };
        }
        if self.attested.get(&from).is_some_and(|known| known.stamp >= attestation.stamp) {
            return self.refuse(Refusal::Outdated);
        }
        self.keeper.put(super::kept::node_key(super::kept::kind::ATTESTED, from), super::kept::encode(&attestation));
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
