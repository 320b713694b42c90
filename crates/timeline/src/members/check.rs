//! Whether a record is what it says, looking at nothing but itself.

use super::MemberRefusal;
use alloc::vec::Vec;
use okapi_base::{Digest, GroupId};
use okapi_seal::{Hasher, Signature, verify};
use okapi_wire::body::{BodyWriter, Message};
use okapi_wire::peer::SignatureBytes;
use okapi_wire::peer::member::{
    ATTESTATION_BYTES, ATTESTATIONS_MAX, Attestation, Binding, MemberRecord, Pledge, RECORD_BYTES, Signer, State, Vouch,
};

pub(super) fn group_digest(founder: &Binding, stamp: u64) -> GroupId {
    GroupId(Hasher::new("okapi 2026 group: founder").add(&founder.founding_bytes(stamp)).digest().0)
}

pub(super) fn member_binding_digest(binding: &Binding) -> Digest {
    Hasher::new("okapi 2026 member list: node of a member").add(&binding.member_signed_bytes()).digest()
}

pub(super) fn node_binding_digest(binding: &Binding) -> Digest {
    Hasher::new("okapi 2026 member list: node in a group").add(&binding.signed_bytes()).digest()
}

pub(super) fn vouch_digest(vouch: &Vouch, newcomer: &Binding) -> Digest {
    Hasher::new("okapi 2026 member list: vouch").add(&vouch.signed_bytes(newcomer)).digest()
}

pub(super) fn attestation_digest(attestation: &Attestation, group: &GroupId) -> Digest {
    Hasher::new("okapi 2026 member list: attestation").add(&attestation.signed_bytes(group)).digest()
}

pub(super) fn record_digest(record: &MemberRecord) -> Digest {
    Hasher::new("okapi 2026 member list: record").add(&record.signed_bytes()).digest()
}

/// The name of a whole record, its signature included.
pub(super) fn record_hash(record: &MemberRecord) -> Digest {
    let mut bytes = Vec::with_capacity(record_bytes(record));
    record.encode(&mut BodyWriter::new(&mut bytes));
    Hasher::new("okapi 2026 member list: signed record").add(&bytes).digest()
}

pub(super) const fn record_bytes(record: &MemberRecord) -> usize {
    RECORD_BYTES + record.attestations.len() * ATTESTATION_BYTES
}

/// The sum of what is attested, rounded down to a power of two.
pub(super) fn proven<'a>(attestations: impl Iterator<Item = &'a Attestation>) -> u64 {
    let sum = attestations.fold(0_u64, |sum, attestation| sum.saturating_add(attestation.bytes));
    sum.checked_ilog2().map_or(0, |log| 1 << log)
}

/// Whether both keys of a newcomer stand behind what it says it is.
#[must_use]
pub fn is_pledge_good(pledge: &Pledge) -> bool {
    let binding = &pledge.binding;
    holds(&binding.member.0, &member_binding_digest(binding), &pledge.member_signature)
        && holds(&binding.node.0, &node_binding_digest(binding), &pledge.node_signature)
}

/// Whether an attestation is by whom it says, for a node of this group.
#[must_use]
pub fn is_attestation_good(attestation: &Attestation, group: &GroupId) -> bool {
    holds(&attestation.by.0, &attestation_digest(attestation, group), &attestation.signature)
}

fn holds(key: &[u8; 32], digest: &Digest, signature: &SignatureBytes) -> bool {
    verify(key, digest, &Signature(*signature))
}

/// Values that no honest node writes.
pub(super) fn well_formed(record: &MemberRecord) -> Result<(), MemberRefusal> {
    let malformed = |field| Err(MemberRefusal::Malformed(field));
    let (binding, vouch) = (&record.binding, &record.vouch);
    if record.revision == 0 {
        return malformed("revision");
    }
    if record.signer == Signer::Member && record.state != State::Parted {
        return malformed("signer");
    }
    if vouch.stamp > record.stamp {
        return malformed("stamp");
    }
    if (vouch.serial == 0) != (vouch.by == binding.node) {
        return malformed("serial");
    }
    let attestations = &record.attestations;
    let in_order = attestations.windows(2).all(|pair| pair[0].by < pair[1].by);
    let about_it = attestations.iter().all(|one| one.subject == binding.node && one.by != binding.node);
    if attestations.len() > ATTESTATIONS_MAX || !in_order || !about_it {
        return malformed("attestations");
    }
    if record.proven != proven(attestations.iter()) {
        return malformed("proven");
    }
    if vouch.by == binding.node && group_digest(binding, vouch.stamp) != binding.group {
        return Err(MemberRefusal::NotTheFounder);
    }
    Ok(())
}

/// All signatures of a record; those it shares with `held`, which was checked, are not checked again.
pub(super) fn signatures(record: &MemberRecord, held: Option<&MemberRecord>) -> Result<(), MemberRefusal> {
    let (binding, vouch) = (&record.binding, &record.vouch);
    let signer = match record.signer {
        Signer::Node => &binding.node.0,
        Signer::Member => &binding.member.0,
    };
    if !holds(signer, &record_digest(record), &record.signature) {
        return Err(MemberRefusal::BadSignature("record"));
    }
    if held.is_none_or(|held| held.pledge() != record.pledge()) && !is_pledge_good(&record.pledge()) {
        return Err(MemberRefusal::BadSignature("binding"));
    }
    let known_vouch = held.is_some_and(|held| held.vouch == *vouch && held.binding == *binding);
    if !known_vouch && !holds(&vouch.by.0, &vouch_digest(vouch, binding), &vouch.signature) {
        return Err(MemberRefusal::BadSignature("vouch"));
    }
    for attestation in &record.attestations {
        let known = held.is_some_and(|held| held.attestations.contains(attestation));
        if !known && !is_attestation_good(attestation, &binding.group) {
            return Err(MemberRefusal::BadSignature("attestation"));
        }
    }
    Ok(())
}
