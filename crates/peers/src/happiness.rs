//! Is a write safe? Not when enough requests returned, but when enough different owners hold enough different shards:
//! the size of the largest matching of shards to owners (Tahoe's "servers of happiness").

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use okapi_base::{MemberId, NodeId, Shape};

/// A node's word that it keeps a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt {
    /// Which of the segment's shards.
    pub index: u8,
    /// To whom the node belongs.
    pub owner: MemberId,
    /// Which node.
    pub node: NodeId,
}

/// How many holders an owner could have at the very most, its own half counted if it holds a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Distinct owners.
    pub owners: usize,
    /// Distinct nodes.
    pub nodes: usize,
}

/// How many distinct owners make a write of this shape safe: all that there are shards up to three copies, and beyond
/// that k and two thirds of the others, so that a write need not wait for the slowest few, which are mended later.
#[must_use]
pub const fn needed(shape: Shape) -> usize {
    let (k, n) = (shape.k(), shape.n());
    if n <= 3 { n } else { k + ((n - k) * 2).div_ceil(3) }
}

/// Is a segment of this shape safe with the holders that gave these receipts? As many distinct owners as [`needed`]
/// must hold distinct shards or, where the owner reaches fewer, all of them; the same goes for distinct nodes, and
/// these must rebuild the segment in any case.
#[must_use]
pub fn is_safe(shape: Shape, receipts: &[Receipt], reach: Reach) -> bool {
    let needed = needed(shape);
    happiness(receipts) >= needed.min(reach.owners)
        && matching(receipts.iter().map(|receipt| (receipt.index, receipt.node)))
            >= needed.min(reach.nodes).max(shape.k())
}

/// The largest number of distinct shards held by as many distinct owners, each counted once.
#[must_use]
pub fn happiness(receipts: &[Receipt]) -> usize {
    matching(receipts.iter().map(|receipt| (receipt.index, receipt.owner)))
}

/// The size of a maximum matching between shards and holders.
fn matching<H: Ord>(pairs: impl Iterator<Item = (u8, H)>) -> usize {
    let mut numbers = BTreeMap::new();
    let mut held: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (index, holder) in pairs {
        let next = numbers.len();
        held.entry(index).or_default().push(*numbers.entry(holder).or_insert(next));
    }
    let mut matched = BTreeMap::new();
    held.keys().filter(|&&index| augment(&held, index, &mut matched, &mut BTreeSet::new())).count()
}

/// Finds a holder for one more shard, moving others to another of their holders where that makes room.
fn augment(
    held: &BTreeMap<u8, Vec<usize>>,
    index: u8,
    matched: &mut BTreeMap<usize, u8>,
    seen: &mut BTreeSet<usize>,
) -> bool {
    for &holder in &held[&index] {
        if seen.insert(holder) {
            let before = matched.get(&holder).copied();
            if before.is_none_or(|other| augment(held, other, matched, seen)) {
                matched.insert(holder, index);
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn receipt(index: u8, owner: u8, node: u8) -> Receipt {
        Receipt { index, owner: MemberId([owner; 32]), node: NodeId([node; 32]) }
    }

    /// The largest matching by trying every holder, or none, for every receipt in turn.
    fn by_force(receipts: &[Receipt], indexes: &mut Vec<u8>, owners: &mut Vec<MemberId>) -> usize {
        let Some((first, rest)) = receipts.split_first() else {
            return indexes.len();
        };
        let without = by_force(rest, indexes, owners);
        if indexes.contains(&first.index) || owners.contains(&first.owner) {
            return without;
        }
        indexes.push(first.index);
        owners.push(first.owner);
        let with = by_force(rest, indexes, owners);
        indexes.pop();
        owners.pop();
        with.max(without)
    }

    #[test]
    fn happiness_equals_brute_force() {
        let mut state = 1_u64;
        let mut dice = |sides: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % sides) as u8
        };
        let mut seen = BTreeSet::new();
        for _ in 0..3000 {
            let (count, indexes, owners) = (dice(12), 1 + u64::from(dice(6)), 1 + u64::from(dice(6)));
            let receipts: Vec<Receipt> = (0..count).map(|at| receipt(dice(indexes), dice(owners), at)).collect();
            let force = by_force(&receipts, &mut Vec::new(), &mut Vec::new());
            assert_eq!(happiness(&receipts), force, "{receipts:?}");
            seen.insert(force);
        }
        assert!(seen.len() >= 6, "only {seen:?} were tried");
    }

    #[test]
    fn a_greedy_matching_is_improved() {
        // Shard 0 is matched to owner 1 first, and must give way to shard 1, which has nobody else.
        let receipts = [receipt(0, 1, 1), receipt(0, 2, 2), receipt(1, 1, 1)];
        assert_eq!(happiness(&receipts), 2);
    }

    #[test]
    fn many_shards_with_one_owner_are_not_safe() {
        let reach = Reach { owners: 7, nodes: 9 };
        let one: Vec<Receipt> = (0..6).map(|index| receipt(index, 1, index)).collect();
        assert!(!is_safe(Shape::TwoOfSix, &one, reach));
        let all: Vec<Receipt> = (0..6).map(|index| receipt(index, index, index)).collect();
        assert!(is_safe(Shape::TwoOfSix, &all, reach));
        assert!(is_safe(Shape::TwoOfSix, &all[1..], reach));
        assert!(!is_safe(Shape::TwoOfSix, &all[2..], reach));
        let same: Vec<Receipt> = (0..6).map(|owner| receipt(3, owner, owner)).collect();
        assert!(!is_safe(Shape::TwoOfSix, &same, reach));
    }

    #[test]
    fn where_there_is_one_owner_its_machines_count() {
        let reach = Reach { owners: 1, nodes: 8 };
        let four: Vec<Receipt> = (0..4).map(|index| receipt(index, 1, index)).collect();
        assert!(!is_safe(Shape::TwoOfSix, &four, reach));
        let five: Vec<Receipt> = (0..5).map(|index| receipt(index, 1, index)).collect();
        assert!(is_safe(Shape::TwoOfSix, &five, reach));
        let one_machine: Vec<Receipt> = (0..6).map(|index| receipt(index, 1, 1)).collect();
        assert!(!is_safe(Shape::TwoOfSix, &one_machine, reach));
    }

    #[test]
    fn what_cannot_be_rebuilt_is_never_safe() {
        let reach = Reach { owners: 1, nodes: 1 };
        assert!(!is_safe(Shape::TwoOfSix, &[receipt(0, 1, 1)], reach));
        assert!(!is_safe(Shape::OneOfOne, &[], Reach { owners: 0, nodes: 0 }));
        assert!(is_safe(Shape::OneOfOne, &[receipt(0, 1, 1)], reach));
    }

    #[test]
    fn thresholds_of_all_shapes() {
        let all: Vec<usize> = Shape::ALL.into_iter().map(needed).collect();
        assert_eq!(all, vec![1, 2, 3, 5, 10, 19]);
    }
}
