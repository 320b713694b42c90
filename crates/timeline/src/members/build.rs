//! Making records: what one's own keys sign.

use super::check;
use alloc::vec::Vec;
use okapi_base::{Digest, GroupId, MemberId, NodeId};
use okapi_seal::SigningKey;
use okapi_wire::peer::SignatureBytes;
use okapi_wire::peer::member::{ATTESTATIONS_MAX, Attestation, Binding, MemberRecord, Pledge, Signer, State, Vouch};

/// What may change about a node from record to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub site: u64,
    /// Bytes it offers to others.
    pub promise: u64,
    /// Whether it is leaving. [`part`] makes it parted.
    pub leaving: bool,
    /// What others attest it holds for them: those of the most bytes are taken, one of each signer.
    pub attestations: Vec<Attestation>,
}

fn signed(key: &SigningKey, digest: &Digest) -> SignatureBytes {
    key.sign(digest).0
}

/// The member's signature that a node is its own: made once, when the node is made. The node can then found or enter
/// any group without the member's secret.
#[must_use]
pub fn bind(member: &SigningKey, node: NodeId, recipient: [u8; 32], number: u32) -> SignatureBytes {
    let group = GroupId([0; 32]);
    let binding = Binding { group, node, member: MemberId(member.public()), recipient, number };
    signed(member, &check::member_binding_digest(&binding))
}

/// The name of the group that a node founds at `stamp` (milliseconds since 1970); the group in `binding` is not
/// looked at.
#[must_use]
pub fn group_of_founder(binding: &Binding, stamp: u64) -> GroupId {
    check::group_digest(binding, stamp)
}

/// A newcomer's request to be let into `binding.group`. `member_signature` is that of [`bind`].
#[must_use]
pub fn pledge(key: &SigningKey, binding: Binding, member_signature: SignatureBytes) -> Pledge {
    let node_signature = signed(key, &check::node_binding_digest(&binding));
    Pledge { binding, member_signature, node_signature }
}

/// A node's word for a newcomer. `serial` must never have been used by this node; see
/// [`next_serial`](super::MemberList::next_serial).
#[must_use]
pub fn vouch(key: &SigningKey, serial: u64, newcomer: &Binding, stamp: u64) -> Vouch {
    let mut vouch = Vouch { by: NodeId(key.public()), serial, stamp, signature: [0; 64] };
    vouch.signature = signed(key, &check::vouch_digest(&vouch, newcomer));
    vouch
}

/// The first record of a new group, by its founder. The group in `binding` is not looked at: the record names the
/// new one. `member_signature` is that of [`bind`].
#[must_use]
pub fn found(
    key: &SigningKey,
    mut binding: Binding,
    member_signature: SignatureBytes,
    standing: Standing,
    stamp: u64,
) -> MemberRecord {
    binding.group = check::group_digest(&binding, stamp);
    let own = vouch(key, 0, &binding, stamp);
    join(key, &pledge(key, binding, member_signature), own, standing, stamp)
}

/// The first record of a newcomer that was vouched for.
#[must_use]
pub fn join(key: &SigningKey, pledge: &Pledge, vouch: Vouch, standing: Standing, stamp: u64) -> MemberRecord {
    let mut record = MemberRecord {
        binding: pledge.binding,
        site: 0,
        promise: 0,
        proven: 0,
        state: State::Active,
        signer: Signer::Node,
        revision: 1,
        stamp: stamp.max(vouch.stamp),
        vouch,
        vouches_honoured: 0,
        attestations: Vec::new(),
        member_signature: pledge.member_signature,
        node_signature: pledge.node_signature,
        signature: [0; 64],
    };
    stand(&mut record, standing);
    record.signature = signed(key, &check::record_digest(&record));
    record
}

/// The next record of a node that takes part.
///
/// # Panics
/// If the node has parted: look first.
#[must_use]
pub fn revise(key: &SigningKey, last: &MemberRecord, standing: Standing, stamp: u64) -> MemberRecord {
    assert_ne!(last.state, State::Parted, "a node that parted makes no more records");
    let mut record = MemberRecord { revision: next_revision(last), stamp: stamp.max(last.stamp), ..last.clone() };
    stand(&mut record, standing);
    record.signature = signed(key, &check::record_digest(&record));
    record
}

/// The last record of a node, by its own key or, if the node is lost, by its member's. Of the vouches it gave, those
/// with serial numbers up to `honoured` count on.
///
/// # Panics
/// If the key is not the node's or the member's.
#[must_use]
pub fn part(key: &SigningKey, last: &MemberRecord, honoured: u64, stamp: u64) -> MemberRecord {
    let signer = if key.public() == last.binding.node.0 { Signer::Node } else { Signer::Member };
    assert!(signer == Signer::Node || key.public() == last.binding.member.0, "the node or its member parts it");
    let mut record = MemberRecord {
        state: State::Parted,
        signer,
        revision: next_revision(last),
        stamp: stamp.max(last.stamp),
        vouches_honoured: honoured,
        ..last.clone()
    };
    stand(&mut record, Standing { site: last.site, promise: 0, leaving: false, attestations: Vec::new() });
    record.state = State::Parted;
    record.signature = signed(key, &check::record_digest(&record));
    record
}

/// An owner's word that `subject` holds so many bytes for it.
#[must_use]
pub fn attest(
    key: &SigningKey,
    group: &GroupId,
    subject: NodeId,
    bytes: u64,
    (answered, failed): (u32, u32),
    stamp: u64,
) -> Attestation {
    let by = NodeId(key.public());
    let mut attestation = Attestation { subject, by, bytes, answered, failed, stamp, signature: [0; 64] };
    attestation.signature = signed(key, &check::attestation_digest(&attestation, group));
    attestation
}

/// Only a stolen key has reached the highest number. Records of that number are told apart by their hashes, and the
/// member's own key parts the node whatever the number.
const fn next_revision(last: &MemberRecord) -> u32 {
    last.revision.saturating_add(1)
}

fn stand(record: &mut MemberRecord, standing: Standing) {
    let Standing { site, promise, leaving, mut attestations } = standing;
    attestations.sort_by_key(|one| (one.by, core::cmp::Reverse(one.stamp)));
    attestations.dedup_by_key(|one| one.by);
    attestations.sort_by_key(|one| core::cmp::Reverse(one.bytes));
    attestations.truncate(ATTESTATIONS_MAX);
    attestations.sort_by_key(|one| one.by);
    record.site = site;
    record.promise = promise;
    record.state = if leaving { State::Leaving } else { State::Active };
    record.proven = check::proven(attestations.iter());
    record.attestations = attestations;
}
