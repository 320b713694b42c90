//! Size classes: the sizes of slots.
//!
//! 64 bytes to 512 in steps of 64, then four sizes to each doubling, up to the largest block: at most a fifth of a
//! slot lies idle beyond 512 bytes.

use super::arena::{RUN, UNIT_BYTES};
use okapi_base::limits::BLOCK_SIZE_MAX;
use okapi_base::map::UNIT;

/// How many classes there are.
pub(super) const CLASSES: usize = 52;

const _: () = assert!(Class::of(BLOCK_SIZE_MAX).0 as usize == CLASSES - 1);
const _: () = assert!(Class::of(BLOCK_SIZE_MAX).bytes() == BLOCK_SIZE_MAX);

/// The class of slots of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class(pub(super) u8);

impl Class {
    /// The smallest class whose slots hold `length` bytes, 1 to [`BLOCK_SIZE_MAX`].
    pub(super) const fn of(length: u32) -> Self {
        assert!(length >= 1 && length <= BLOCK_SIZE_MAX);
        let last = (length - 1) / UNIT;
        if last < 8 {
            return Self(last as u8);
        }
        let doubling = last.ilog2();
        let quarter = (last >> (doubling - 2)) & 3;
        Self((8 + (doubling - 3) * 4 + quarter) as u8)
    }

    /// Bytes of each slot.
    pub(super) const fn bytes(self) -> u32 {
        let class = self.0 as u32;
        if class < 8 {
            return (class + 1) * UNIT;
        }
        let (doubling, quarter) = ((class - 8) / 4 + 3, (class - 8) % 4);
        ((1 << doubling) + ((quarter + 1) << (doubling - 2))) * UNIT
    }

    /// Whether its pages are a whole run long, or a unit.
    pub(super) const fn wants_run(self) -> bool {
        self.bytes() > UNIT_BYTES / 4
    }

    /// Slots in a page.
    pub(super) const fn slots(self) -> u32 {
        let page = if self.wants_run() { UNIT_BYTES * RUN } else { UNIT_BYTES };
        page / self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_fits_its_class_and_no_smaller_one() {
        for length in 1..=BLOCK_SIZE_MAX {
            let class = Class::of(length);
            assert!(class.bytes() >= length, "{length}");
            assert!(class.0 == 0 || Class(class.0 - 1).bytes() < length, "{length}");
            assert!(class.bytes() - length <= (length / 4).max(UNIT), "{length}");
        }
    }

    #[test]
    fn blocks_of_a_power_of_two_waste_nothing() {
        for shift in 9..=20 {
            assert_eq!(Class::of(1 << shift).bytes(), 1 << shift);
        }
    }
}
