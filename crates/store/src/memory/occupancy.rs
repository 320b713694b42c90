//! Which blocks of a grid there are, in order.

use okapi_base::Index;
use std::collections::BTreeMap;

/// A set of blocks: one bit each, in words of 64 neighbours.
#[derive(Debug, Default)]
pub(super) struct Occupancy {
    words: BTreeMap<u64, u64>,
}

impl Occupancy {
    pub(super) fn insert(&mut self, index: Index) {
        *self.words.entry(index.get() / 64).or_default() |= 1 << (index.get() % 64);
    }

    pub(super) fn remove(&mut self, index: Index) {
        let word = index.get() / 64;
        if let Some(bits) = self.words.get_mut(&word) {
            *bits &= !(1 << (index.get() % 64));
            if *bits == 0 {
                self.words.remove(&word);
            }
        }
    }

    /// The members from `from` on, ascending.
    pub(super) fn iter_from(&self, from: Index) -> impl Iterator<Item = Index> + '_ {
        let first = from.get() / 64;
        self.words.range(first..).flat_map(move |(word, bits)| {
            let cut = if *word == first { u64::MAX << (from.get() % 64) } else { u64::MAX };
            Bits(bits & cut).map(move |bit| Index::new(word * 64 + bit).expect("only indexes are inserted"))
        })
    }
}

/// The numbers of the bits set, ascending.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(bit.into())
    }
}
