//! Proofs that a holder has a shard: a challenge draws leaves by a seed, the holder answers each with the leaf's bytes
//! and the hashes beside its way up to the shard's root, and whoever knows root and length can check them.
//!
//! A shard's root is its plain BLAKE3 hash and a leaf one of BLAKE3's own chunks of 1024 bytes, so a proof needs nothing
//! that was made beforehand. The bytes, and how many leaves find what is missing, are in `docs/format/proof.md`.

use crate::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use okapi_base::Digest;
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a leaf; the last one of a shard has what is left.
pub const LEAF_BYTES: usize = blake3::CHUNK_LEN;

/// The most hashes a way up to the root passes: leaves have 32-bit numbers.
pub const SIBLINGS_MAX: usize = 32;

/// The most bytes of an encoded proof.
pub const PROOF_BYTES_MAX: usize = HEAD_BYTES + SIBLINGS_MAX * SIBLING_BYTES + LEAF_BYTES;

const HEAD_BYTES: usize = 4;
const SIBLING_BYTES: usize = blake3::OUT_LEN;
const VERSION: u8 = 1;

/// One leaf of a shard and the hashes that lead from it to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// At most [`LEAF_BYTES`].
    leaf: Vec<u8>,
    /// From the leaf upwards.
    siblings: Vec<ChainingValue>,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The encoded bytes have no form that is known.
    #[error("{bytes} bytes are no proof of a known form; the sender may be newer, or they were cut or changed")]
    Form {
        /// How many there were.
        bytes: usize,
    },
    /// The shard has no such leaf.
    #[error("a shard of {shard_bytes} bytes has no leaf {leaf}; draw leaves for this length")]
    NoSuchLeaf {
        /// Bytes of the shard.
        shard_bytes: u64,
        /// The leaf asked for.
        leaf: u32,
    },
    /// The leaf's length or the number of hashes is not that of this leaf of such a shard.
    #[error("leaf {leaf} has {bytes} bytes and {siblings} hashes instead of {} and {}", .expected.0, .expected.1)]
    Shape {
        /// The leaf asked for.
        leaf: u32,
        /// Bytes given.
        bytes: usize,
        /// Hashes given.
        siblings: usize,
        /// How many of each there should be.
        expected: (usize, usize),
    },
    /// The bytes do not lead to the root: they are not those of the shard.
    #[error("leaf {leaf} is not of this shard: it does not lead to its root; the holder has other bytes or none")]
    Wrong {
        /// The leaf asked for.
        leaf: u32,
    },
}

/// How many leaves a shard of `shard_bytes` has: at least one.
#[must_use]
pub const fn leaf_count(shard_bytes: u64) -> u64 {
    match shard_bytes.div_ceil(LEAF_BYTES as u64) {
        0 => 1,
        count => count,
    }
}

/// Bytes of a group of leaves: what is read of a shard at a time and checked for itself. The last one of a shard has
/// what is left.
pub const GROUP_BYTES: usize = 16 * LEAF_BYTES;

/// How many groups a shard of `shard_bytes` has: at least one.
#[must_use]
pub const fn group_count(shard_bytes: u64) -> u64 {
    match shard_bytes.div_ceil(GROUP_BYTES as u64) {
        0 => 1,
        count => count,
    }
}

/// The hashes of a shard's groups, in their order; of a shard that has but one its root. [`Groups::check`] takes them.
#[must_use]
pub fn group_hashes(shard: &[u8]) -> Vec<Digest> {
    if shard.len() <= GROUP_BYTES {
        return vec![crate::hash(shard)];
    }
    let groups = shard.chunks(GROUP_BYTES).enumerate();
    groups.map(|(at, group)| Digest(subtree(group, (at * GROUP_BYTES) as u64))).collect()
}

/// The hashes of a shard's groups, known to be those that lead to its root: by them each group can be checked when it
/// comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    hashes: Vec<Digest>,
    shard_bytes: u64,
}

impl Groups {
    /// These hashes, if they are those of the shard with this root and length.
    #[must_use]
    pub fn check(hashes: Vec<Digest>, root: &Digest, shard_bytes: u64) -> Option<Self> {
        if hashes.len() as u64 != group_count(shard_bytes) {
            return None;
        }
        let found = match &hashes[..] {
            [only] => *only,
            all => {
                let (left, right) = all.split_at(left_groups(all.len()));
                Digest(*merge_subtrees_root(&joined(left), &joined(right), Mode::Hash).as_bytes())
            }
        };
        (found == *root).then_some(Self { hashes, shard_bytes })
    }

    /// Whether `bytes` are those of the shard from `offset` on: whole groups.
    #[must_use]
    pub fn are_right(&self, offset: u64, bytes: &[u8]) -> bool {
        let first = (offset / GROUP_BYTES as u64) as usize;
        let ends = offset.checked_add(bytes.len() as u64);
        let whole = ends.is_some_and(|end| end == self.shard_bytes || end.is_multiple_of(GROUP_BYTES as u64));
        if !offset.is_multiple_of(GROUP_BYTES as u64) || !whole || ends > Some(self.shard_bytes) {
            return false;
        }
        if let [only] = &self.hashes[..] {
            return bytes.len() as u64 == self.shard_bytes && crate::hash(bytes) == *only;
        }
        let mut groups = (first..).zip(bytes.chunks(GROUP_BYTES));
        groups.all(|(at, group)| subtree(group, (at * GROUP_BYTES) as u64) == self.hashes[at].0)
    }
}

/// How many of some groups are in the left part of their tree.
const fn left_groups(groups: usize) -> usize {
    groups.next_power_of_two() / 2
}

/// The hash of the part of the tree above some groups, below the root.
fn joined(groups: &[Digest]) -> ChainingValue {
    match groups {
        [only] => only.0,
        all => {
            let (left, right) = all.split_at(left_groups(all.len()));
            merge_subtrees_non_root(&joined(left), &joined(right), Mode::Hash)
        }
    }
}

/// Proves that `shard` contains its leaf number `leaf`. The whole shard is hashed for it.
pub fn prove(shard: &[u8], leaf: u32) -> Result<Proof, ProofError> {
    Ok(prove_all(shard, &[leaf])?.remove(0))
}

/// Proves several leaves, in the order in which they are named, while the shard is hashed once.
pub fn prove_all(shard: &[u8], leaves: &[u32]) -> Result<Vec<Proof>, ProofError> {
    let shard_bytes = shard.len() as u64;
    leaves.iter().try_for_each(|leaf| check_leaf(shard_bytes, *leaf))?;
    let prove = |leaf: &u32| Proof { leaf: shard[bytes_of(*leaf, shard_bytes)].to_vec(), siblings: Vec::new() };
    let mut proofs: Vec<Proof> = leaves.iter().map(prove).collect();
    let mut asked: Vec<(u32, &mut Proof)> = leaves.iter().copied().zip(&mut proofs).collect();
    asked.sort_unstable_by_key(|(leaf, _)| *leaf);
    if shard.len() > LEAF_BYTES {
        let middle = left_bytes(shard_bytes) as usize;
        climb(shard, middle, 0, &mut asked);
    }
    Ok(proofs)
}

/// Gives the proofs of all leaves asked for below `bytes`, which stand at `offset` of the shard and are parted at
/// `middle`, the hashes beside their ways; gives the hashes of both parts.
fn climb(bytes: &[u8], middle: usize, offset: u64, asked: &mut [(u32, &mut Proof)]) -> (ChainingValue, ChainingValue) {
    let (left, right) = bytes.split_at(middle);
    let right_offset = offset + middle as u64;
    let parted = asked.partition_point(|(leaf, _)| u64::from(*leaf) * (LEAF_BYTES as u64) < right_offset);
    let (left_asked, right_asked) = asked.split_at_mut(parted);
    let left = below(left, offset, left_asked);
    let right = below(right, right_offset, right_asked);
    left_asked.iter_mut().for_each(|(_, proof)| proof.siblings.push(right));
    right_asked.iter_mut().for_each(|(_, proof)| proof.siblings.push(left));
    (left, right)
}

/// The hash of `bytes`, which are a whole subtree below the root; where nothing is asked, as fast as can be.
fn below(bytes: &[u8], offset: u64, asked: &mut [(u32, &mut Proof)]) -> ChainingValue {
    if asked.is_empty() || bytes.len() <= LEAF_BYTES {
        return subtree(bytes, offset);
    }
    let (left, right) = climb(bytes, left_bytes(bytes.len() as u64) as usize, offset, asked);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

fn subtree(bytes: &[u8], offset: u64) -> ChainingValue {
    blake3::Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

fn check_leaf(shard_bytes: u64, leaf: u32) -> Result<(), ProofError> {
    match u64::from(leaf) < leaf_count(shard_bytes) {
        true => Ok(()),
        false => Err(ProofError::NoSuchLeaf { shard_bytes, leaf }),
    }
}

/// Where a leaf that the shard has lies in it.
fn bytes_of(leaf: u32, shard_bytes: u64) -> Range<usize> {
    let from = u64::from(leaf) * LEAF_BYTES as u64;
    from as usize..(from + LEAF_BYTES as u64).min(shard_bytes) as usize
}

/// Bytes of the left part of a tree of more than one leaf: the greatest power of two of leaves that leaves something for
/// the right. `blake3::hazmat::left_subtree_len` says the same but overflows for lengths that only a liar names.
const fn left_bytes(bytes: u64) -> u64 {
    (LEAF_BYTES as u64) << (leaf_count(bytes) - 1).ilog2()
}

/// The way from the root down to a leaf: at each parting, whether it goes right.
fn way_down(shard_bytes: u64, leaf: u32) -> Vec<bool> {
    let (mut from, mut bytes, mut way) = (0, shard_bytes, Vec::new());
    while bytes > LEAF_BYTES as u64 {
        let left = left_bytes(bytes);
        let right = u64::from(leaf) * LEAF_BYTES as u64 >= from + left;
        (from, bytes) = if right { (from + left, bytes - left) } else { (from, left) };
        way.push(right);
    }
    way
}

impl Proof {
    /// The bytes of the leaf; worth something once they are verified.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// Whether this is leaf number `leaf` of the shard of `shard_bytes` whose BLAKE3 hash is `root`.
    pub fn verify(&self, root: &Digest, shard_bytes: u64, leaf: u32) -> Result<(), ProofError> {
        check_leaf(shard_bytes, leaf)?;
        let way = way_down(shard_bytes, leaf);
        let from = u64::from(leaf) * LEAF_BYTES as u64;
        let expected = ((shard_bytes - from).min(LEAF_BYTES as u64) as usize, way.len());
        if (self.leaf.len(), self.siblings.len()) != expected {
            let (bytes, siblings) = (self.leaf.len(), self.siblings.len());
            return Err(ProofError::Shape { leaf, bytes, siblings, expected });
        }
        match self.root(&way, from) == root.0 {
            true => Ok(()),
            false => Err(ProofError::Wrong { leaf }),
        }
    }

    /// The root to which the leaf at `offset` leads; there is a hash for each parting on the way.
    fn root(&self, way: &[bool], offset: u64) -> [u8; 32] {
        let Some((top, lower)) = way.split_first() else { return *blake3::hash(&self.leaf).as_bytes() };
        let (highest, siblings) = self.siblings.split_last().expect("as many as partings");
        let ordered = |right: bool, own, sibling| if right { (sibling, own) } else { (own, sibling) };
        let own = lower.iter().rev().zip(siblings).fold(subtree(&self.leaf, offset), |own, (right, sibling)| {
            let (left, right) = ordered(*right, own, *sibling);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        });
        let (left, right) = ordered(*top, own, *highest);
        *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
    }

    /// As it is sent: at most [`PROOF_BYTES_MAX`] bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let siblings = u8::try_from(self.siblings.len()).expect("at most 32");
        let leaf = u16::try_from(self.leaf.len()).expect("at most 1024");
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.siblings.len() * SIBLING_BYTES + self.leaf.len());
        bytes.extend_from_slice(&[VERSION, siblings]);
        bytes.extend_from_slice(&leaf.to_le_bytes());
        bytes.extend_from_slice(self.siblings.as_flattened());
        bytes.extend_from_slice(&self.leaf);
        bytes
    }

    /// Reads what [`Self::to_bytes`] has made, all of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        let parsed = || {
            let (&[version, siblings, low, high], rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
            let leaf_bytes = usize::from(u16::from_le_bytes([low, high]));
            let siblings = usize::from(siblings);
            let fits = version == VERSION
                && siblings <= SIBLINGS_MAX
                && leaf_bytes <= LEAF_BYTES
                && rest.len() == siblings * SIBLING_BYTES + leaf_bytes;
            let (siblings, leaf) = fits.then(|| rest.split_at(siblings * SIBLING_BYTES))?;
            Some(Self { leaf: leaf.to_vec(), siblings: siblings.as_chunks().0.to_vec() })
        };
        parsed().ok_or(ProofError::Form { bytes: bytes.len() })
    }
}

/// Draws `count` different leaves of a shard by a seed, or all it has if these are fewer. A shorter draw is the beginning
/// of a longer one with the same seed.
#[must_use]
pub fn leaves(seed: &Digest, shard_bytes: u64, count: usize) -> Vec<u32> {
    let there = leaf_count(shard_bytes).min(1 << 32);
    let count = usize::try_from(there).map_or(count, |there| count.min(there));
    let mut numbers = vec![[0; 8]; count];
    Hasher::new("okapi 2026 audit: leaves of a shard")
        .add(&seed.0)
        .add(&shard_bytes.to_le_bytes())
        .fill(numbers.as_flattened_mut());
    // The first steps of a Fisher-Yates shuffle of all leaves, of which only those that moved are remembered.
    let mut moved = BTreeMap::new();
    let draw = |(at, number): (u64, [u8; 8])| {
        // A 64-bit number scaled down: the most likely leaf is so by less than one part in 2^32.
        let left = u128::from(there - at);
        let taken = at + ((u128::from(u64::from_le_bytes(number)) * left) >> 64) as u64;
        let own = moved.remove(&at).unwrap_or(at);
        let leaf = if taken == at { own } else { moved.insert(taken, own).unwrap_or(taken) };
        u32::try_from(leaf).expect("leaves have 32-bit numbers")
    };
    (0..).zip(numbers).map(draw).collect()
}

/// How many leaves must be drawn until a holder that lacks this `fraction` of them (0 to 1) is found with this
/// `confidence` (0 to 1): ln(1 - confidence) / ln(1 - fraction), rounded up. Leaves drawn without replacement, or a
/// holder that lacks more, need fewer.
#[must_use]
pub fn audits_to_find(fraction: f64, confidence: f64) -> u64 {
    if fraction >= 1.0 {
        return 1;
    }
    // Nothing missing is never found: the quotient is infinite, and so the greatest number.
    ((-confidence).ln_1p() / (-fraction.max(0.0)).ln_1p()).abs().ceil() as u64
}

#[cfg(test)]
mod tests;
