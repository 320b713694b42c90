//! What tests pretend: moments, names, keys, dice.

use core::time::Duration;
use okapi_base::machine::Moment;
use okapi_base::{MemberId, NodeId, SegmentName};
use okapi_seal::{Secret, SigningKey};

/// A Thursday at noon, in milliseconds since 1970: the beginning of a 30-day window, and twelve hours.
pub(crate) const NOON: u64 = 700 * 30 * 24 * 3_600_000 + 12 * 3_600_000;

/// Milliseconds since 1970 as a moment.
pub(crate) const fn at(ms: u64) -> Moment {
    Moment(Duration::from_millis(ms))
}

pub(crate) const fn node(number: u8) -> NodeId {
    NodeId([number; 32])
}

pub(crate) const fn member(number: u8) -> MemberId {
    MemberId([number; 32])
}

pub(crate) const fn segment(number: u8) -> SegmentName {
    SegmentName([number; 32])
}

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_secret(&Secret::from_bytes([number; 32]))
}

/// Dice that always fall the same (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.throw() % sides
    }

    /// One of `all`.
    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// A number in (0, 1).
    pub(crate) fn part(&mut self) -> f64 {
        ((self.throw() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }
}
