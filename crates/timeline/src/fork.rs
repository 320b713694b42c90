//! The proof that an author wrote two entries in one place. It holds by itself: whoever reads it needs no connection, no
//! member list and no trust in whoever shows it, only the log's name, which is the author's key.

use crate::chain::{Chain, entry_hash, is_by_author, is_signed};
use okapi_base::NodeId;
use okapi_wire::peer::SignatureBytes;
use okapi_wire::peer::entry::{ForkProof, SignedHeader};

/// Why something is no proof of a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAFork {
    /// The two are of different logs or have different sequences.
    #[error("the two entries are not of one place")]
    Elsewhere,
    /// The two are the same entry.
    #[error("the two entries are the same")]
    Same,
    /// A signature does not hold, or the path has no end.
    #[error("the author did not sign both entries")]
    Unsigned,
}

/// The proof that `one` and the header of the same sequence in `chain` are two entries in one place, where `signature`
/// is the author's of the header at `signed`, which is not before it. Nothing if they are not.
#[must_use]
pub fn prove(one: &SignedHeader, chain: &Chain, signed: u64, signature: SignatureBytes) -> Option<ForkProof> {
    let from = one.header.sequence;
    if signed < from || chain.at(from).is_none() || chain.at(signed).is_none() {
        return None;
    }
    let proof = ForkProof { one: *one, path: chain.path(from, signed), signature };
    verify(&proof).is_ok().then_some(proof)
}

/// Whose log a proof shows to be forked.
///
/// # Errors
/// [`NotAFork`] if it shows no such thing.
pub fn verify(proof: &ForkProof) -> Result<NodeId, NotAFork> {
    let (one, other) = (&proof.one.header, &proof.path.first);
    if one.log != other.log || one.sequence != other.sequence {
        return Err(NotAFork::Elsewhere);
    }
    if entry_hash(one) == entry_hash(other) {
        return Err(NotAFork::Same);
    }
    let chain = Chain::of(&proof.path).ok_or(NotAFork::Unsigned)?;
    if !is_signed(&proof.one) || !is_by_author(one.log, &chain.last().1, &proof.signature) {
        return Err(NotAFork::Unsigned);
    }
    Ok(one.log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::tests::{entries, key, path};
    use okapi_base::Digest;

    #[test]
    fn a_fork_is_proven_by_two_entries_or_by_what_comes_after_one() {
        let key = key(1);
        let log = NodeId(key.public());
        let trunk = entries(&key, Digest([0; 32]), 1, 5, 0);
        let fifth = entry_hash(&trunk[4].head.header);
        let left = entries(&key, fifth, 6, 9, 1);
        let right = entries(&key, fifth, 6, 9, 2);
        let chain = Chain::of(&path(&right)).unwrap();
        let beside = prove(&left[0].head, &chain, 6, right[0].head.signature).expect("two sixth entries");
        assert_eq!(verify(&beside), Ok(log));
        let later =
            prove(&left[1].head, &chain, 9, right[3].head.signature).expect("the ninth comes after another seventh");
        assert_eq!(verify(&later), Ok(log));
        assert_eq!(later.path.rest.len(), 2);
        // No author is accused of what it did not do.
        let same = Chain::of(&path(&left)).unwrap();
        assert_eq!(prove(&left[0].head, &same, 9, left[3].head.signature), None);
        assert_eq!(prove(&left[1].head, &chain, 6, right[0].head.signature), None, "an earlier one proves nothing");
        assert_eq!(prove(&trunk[0].head, &chain, 9, right[3].head.signature), None);
        assert_eq!(prove(&left[0].head, &chain, 9, right[2].head.signature), None, "the wrong signature");
    }

    #[test]
    fn a_changed_proof_proves_nothing() {
        let (author, other) = (key(1), key(2));
        let left = entries(&author, Digest([0; 32]), 1, 3, 1);
        let right = entries(&author, Digest([0; 32]), 1, 3, 2);
        let foreign = entries(&other, Digest([0; 32]), 1, 3, 2);
        let chain = Chain::of(&path(&right)).unwrap();
        let good = prove(&left[0].head, &chain, 3, right[2].head.signature).unwrap();
        let check = |change: &dyn Fn(&mut ForkProof)| {
            let mut proof = good.clone();
            change(&mut proof);
            verify(&proof)
        };
        assert_eq!(check(&|_| {}), Ok(NodeId(author.public())));
        assert_eq!(check(&|proof| proof.one.signature[5] ^= 1), Err(NotAFork::Unsigned));
        assert_eq!(check(&|proof| proof.signature[5] ^= 1), Err(NotAFork::Unsigned));
        assert_eq!(check(&|proof| proof.one.header.stamp += 1), Err(NotAFork::Unsigned));
        assert_eq!(check(&|proof| proof.path.rest[0].stamp += 1), Err(NotAFork::Unsigned));
        assert_eq!(check(&|proof| proof.path.first = left[0].head.header), Err(NotAFork::Same));
        assert_eq!(check(&|proof| proof.path.first.sequence = 2), Err(NotAFork::Elsewhere));
        assert_eq!(check(&|proof| proof.one = left[1].head), Err(NotAFork::Elsewhere));
        assert_eq!(check(&|proof| proof.path = path(&foreign)), Err(NotAFork::Elsewhere));
    }
}
