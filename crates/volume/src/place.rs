//! Which index of the grid is what.

use crate::limits::{BLOCK_BITS, BLOCKS_MAX, DISKS_MAX};
use okapi_client::Index;

/// Where leases begin among the blocks of disk 0.
const LEASES: u64 = 1 << 20;
/// Where batches begin.
const BATCHES: u64 = 1 << 21;

/// A disk's number: never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(u32);

impl Number {
    /// The number, if it may be a disk's.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number >= 1 && number <= DISKS_MAX { Some(Self(number)) } else { None }
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The next number, if there is one.
    pub(crate) const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// Where its head is.
    pub(crate) fn head(self) -> Index {
        index(u64::from(self.0))
    }

    /// Where its lease is.
    pub(crate) fn lease(self) -> Index {
        index(LEASES + u64::from(self.0))
    }

    /// Where the batch is that it is the first disk of.
    pub(crate) fn batch(self) -> Index {
        index(BATCHES + u64::from(self.0))
    }

    /// Where its block `block` is.
    pub(crate) fn data(self, block: u64) -> Index {
        assert!(block < BLOCKS_MAX, "blocks of a disk are below its limit");
        index(u64::from(self.0) << BLOCK_BITS | block)
    }

    /// The block that an index of its data stands for; nothing if it is past them.
    pub(crate) fn block_of(self, index: Index) -> Option<u64> {
        let first = self.data(0).get();
        index.get().checked_sub(first).filter(|block| *block < BLOCKS_MAX)
    }

    /// The number whose head, or whose batch, is at this index of disk 0.
    pub(crate) fn of_head(index: Index) -> Option<Self> {
        u32::try_from(index.get()).ok().and_then(Self::new)
    }

    /// As [`Self::of_head`], of batches.
    pub(crate) fn of_batch(index: Index) -> Option<Self> {
        index.get().checked_sub(BATCHES).and_then(|number| u32::try_from(number).ok()).and_then(Self::new)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the first batch is.
pub(crate) fn batches() -> Index {
    index(BATCHES)
}

fn index(index: u64) -> Index {
    Index::new(index).expect("disks and blocks have no more bits than an index")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_meet() {
        let last = Number::new(DISKS_MAX).unwrap();
        let first = Number::new(1).unwrap();
        assert_eq!((Number::new(0), Number::new(DISKS_MAX + 1), last.next()), (None, None, None));
        assert_eq!(last.data(BLOCKS_MAX - 1), Index::MAX);
        assert_eq!(first.data(0).get(), 1 << 28);
        assert!(last.head() < first.lease() && last.lease() < first.batch() && last.batch() < first.data(0));
        assert_eq!((Number::of_head(last.head()), Number::of_head(first.lease())), (Some(last), None));
        assert_eq!((Number::of_batch(last.batch()), Number::of_batch(first.head())), (Some(last), None));
        assert_eq!((first.block_of(first.data(7)), first.block_of(last.data(0))), (Some(7), None));
    }
}
