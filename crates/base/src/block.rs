//! Blocks and slices of blocks.

use crate::limits::{BLOCK_SIZE_DEFAULT, BLOCK_SIZE_MAX, BLOCK_SIZE_MIN};
use core::fmt;

/// The capacity of every block of one grid: a power of two from 512 B to 1 MiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize(u8);

impl BlockSize {
    /// 64 KiB.
    pub const DEFAULT: Self = Self(BLOCK_SIZE_DEFAULT.trailing_zeros() as u8);

    /// A block size of `bytes`, or nothing if that is not a power of two within the limits.
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= BLOCK_SIZE_MIN && bytes <= BLOCK_SIZE_MAX {
            Some(Self(bytes.trailing_zeros() as u8))
        } else {
            None
        }
    }

    /// The size in bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> u32 {
        1 << self.0
    }

    /// How many blocks a record of `length` bytes takes.
    #[must_use]
    pub const fn blocks_for(self, length: u64) -> u64 {
        length.div_ceil(self.bytes() as u64)
    }
}

impl fmt::Debug for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.bytes())
    }
}

/// A part of a block: `length` bytes from `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slice {
    /// Bytes before the slice.
    pub offset: u32,
    /// Bytes of the slice; [`Slice::TO_END`] means all that is left.
    pub length: u32,
}

impl Slice {
    /// The length that means "to the end of what is stored".
    pub const TO_END: u32 = u32::MAX;
    /// The whole block.
    pub const WHOLE: Self = Self { offset: 0, length: Self::TO_END };

    /// Whether this is the whole block.
    #[inline]
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.offset == 0 && self.length == Self::TO_END
    }

    /// The range of a stored block of `stored` bytes that this slice covers: cut at the block's end, empty past it.
    #[inline]
    #[must_use]
    pub fn within(self, stored: u32) -> core::ops::Range<usize> {
        let from = self.offset.min(stored);
        let to = if self.length == Self::TO_END { stored } else { from.saturating_add(self.length).min(stored) };
        from as usize..to as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_within_the_limits_are_block_sizes() {
        for bytes in [0, 1, 511, 513, 768, 65_535, BLOCK_SIZE_MAX + 1, BLOCK_SIZE_MAX * 2, u32::MAX] {
            assert!(BlockSize::new(bytes).is_none(), "{bytes}");
        }
        for shift in 9..=20 {
            assert_eq!(BlockSize::new(1 << shift).map(BlockSize::bytes), Some(1 << shift));
        }
        assert_eq!(BlockSize::DEFAULT.bytes(), BLOCK_SIZE_DEFAULT);
    }

    #[test]
    fn slices_are_cut_at_the_end_of_what_is_stored() {
        assert_eq!(Slice::WHOLE.within(10), 0..10);
        assert_eq!(Slice { offset: 4, length: 3 }.within(10), 4..7);
        assert_eq!(Slice { offset: 8, length: 30 }.within(10), 8..10);
        assert_eq!(Slice { offset: 11, length: 1 }.within(10), 10..10);
        assert_eq!(Slice { offset: u32::MAX, length: u32::MAX - 1 }.within(10), 10..10);
    }
}
