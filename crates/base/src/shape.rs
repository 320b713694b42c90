//! Shapes: into how many shards a segment is coded, and how many of them rebuild it.

use core::fmt;

/// A segment is coded into `n` shards of which any `k` rebuild it. Every shape is three copies' worth of space in
/// all, counting, while there are fewer than three shards, the owner's own live copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// One copy, in the owner's own server half: there is nobody else yet.
    OneOfOne,
    /// Two copies: one's own server half and the only other node.
    OneOfTwo,
    /// Three copies.
    OneOfThree,
    /// Any two of six.
    TwoOfSix,
    /// Any four of twelve.
    FourOfTwelve,
    /// Any eight of twenty-four.
    EightOfTwentyFour,
}

/// The most shards a shape has.
pub const SHARDS_MAX: usize = 24;

impl Shape {
    /// All shapes, narrowest first.
    pub const ALL: [Self; 6] =
        [Self::OneOfOne, Self::OneOfTwo, Self::OneOfThree, Self::TwoOfSix, Self::FourOfTwelve, Self::EightOfTwentyFour];

    /// How many shards rebuild the segment.
    #[must_use]
    pub const fn k(self) -> usize {
        match self {
            Self::OneOfOne | Self::OneOfTwo | Self::OneOfThree => 1,
            Self::TwoOfSix => 2,
            Self::FourOfTwelve => 4,
            Self::EightOfTwentyFour => 8,
        }
    }

    /// How many shards there are.
    #[must_use]
    pub const fn n(self) -> usize {
        match self {
            Self::OneOfOne => 1,
            Self::OneOfTwo => 2,
            Self::OneOfThree => 3,
            Self::TwoOfSix => 6,
            Self::FourOfTwelve => 12,
            Self::EightOfTwentyFour => 24,
        }
    }

    /// The byte that stands for it on disk and on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::OneOfOne => 1,
            Self::OneOfTwo => 2,
            Self::OneOfThree => 3,
            Self::TwoOfSix => 4,
            Self::FourOfTwelve => 5,
            Self::EightOfTwentyFour => 6,
        }
    }

    /// The shape a byte stands for.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.code() == code)
    }

    /// Bytes of each shard of a segment of `bytes`: a k-th of it, rounded up.
    #[must_use]
    pub const fn shard_bytes(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.k() as u64)
    }

    /// The widest shape for an owner who has `others` other places to put shards.
    #[must_use]
    pub const fn for_others(others: usize) -> Self {
        match others {
            0 => Self::OneOfOne,
            1 => Self::OneOfTwo,
            2..6 => Self::OneOfThree,
            6..12 => Self::TwoOfSix,
            12..24 => Self::FourOfTwelve,
            _ => Self::EightOfTwentyFour,
        }
    }

    /// How many of the shards lie in the owner's own server half when it has `others` other places: none once there
    /// are three.
    #[must_use]
    pub const fn in_own_half(others: usize) -> usize {
        if others < 3 { 1 } else { 0 }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}of{}", self.k(), self.n())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn shapes_fit_their_codes_words_and_groups() {
        for shape in Shape::ALL {
            assert_eq!(Shape::from_code(shape.code()), Some(shape));
            assert!(shape.n() <= SHARDS_MAX);
        }
        assert_eq!(Shape::from_code(0), None);
        assert_eq!(Shape::from_code(7), None);
        assert_eq!(format!("{}", Shape::FourOfTwelve), "4of12");
        for others in 0..300 {
            let shape = Shape::for_others(others);
            assert!(shape.n() <= others + Shape::in_own_half(others), "{others} others can hold {shape}");
        }
    }

    #[test]
    fn a_shard_is_a_kth_rounded_up() {
        assert_eq!(Shape::FourOfTwelve.shard_bytes(4097), 1025);
        assert_eq!(Shape::OneOfThree.shard_bytes(4097), 4097);
        assert_eq!(Shape::EightOfTwentyFour.shard_bytes(0), 0);
    }
}
