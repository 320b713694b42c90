//! What a grid is known by, and how safely it keeps what it acknowledges.

/// A grid's number on one node. Numbers are never used again after a grid is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GridId(pub u32);

/// Which put made a block's present content. Grows with every put a store takes; 0 stands for "absent".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation of a block that is not there.
    pub const ABSENT: Self = Self(0);
}

/// A place in a store's order of writes: a write is durable once the store's durable ticket has reached its own.
/// Ticket 0 is durable from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Nothing to wait for.
    pub const NOW: Self = Self(0);
}

/// What an acknowledged put has survived. A choice per grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// Acknowledged means on the disk: fsynced, together with all that came in the meantime.
    #[default]
    Always,
    /// Acknowledged at once, fsynced at a fixed interval: a power cut may take the last interval.
    Interval,
    /// Acknowledged at once and never written to disk: gone when the node stops.
    Memory,
}

impl Durability {
    /// All choices, safest first.
    pub const ALL: [Self; 3] = [Self::Always, Self::Interval, Self::Memory];

    /// The byte that stands for this choice on disk and on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Always => 1,
            Self::Interval => 2,
            Self::Memory => 3,
        }
    }

    /// The choice a byte stands for.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Always),
            2 => Some(Self::Interval),
            3 => Some(Self::Memory),
            _ => None,
        }
    }

    /// The word people write for this choice.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval",
            Self::Memory => "memory",
        }
    }
}
