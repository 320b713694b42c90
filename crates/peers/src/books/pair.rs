//! What there is between this node and one other.

use super::Piece;
use crate::contract::{Phase, phase};
use alloc::collections::BTreeMap;
use okapi_base::NodeId;
use okapi_base::machine::Moment;
use okapi_wire::peer::contract::{Contract, Ending, Side};

/// A contract as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The contract.
    pub contract: Contract,
    /// The end that a side has put to it.
    pub ending: Option<Ending>,
}

impl Agreement {
    /// The highest revision of which it is proof.
    #[must_use]
    pub fn revision(&self) -> u32 {
        let ended = self.ending.map_or(0, |ending| ending.revision);
        self.contract.terms.revision.max(ended)
    }
}

/// Where an own piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlacedState {
    /// On its way; the holder may have it or not.
    Sent,
    /// The holder has said that it has it durably.
    Confirmed,
    /// The holder need not keep it; it may still have it.
    Released,
}

/// An own piece with a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its bytes.
    pub bytes: u64,
    /// Where it is.
    pub state: PlacedState,
    /// Since when: milliseconds since 1970-01-01 UTC.
    pub since: u64,
}

/// How a piece of an owner is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldState {
    /// There is room for it; its bytes may be arriving.
    Reserved,
    /// It is here durably.
    Stored,
    /// It is gone; the owner may not know yet.
    Dropped,
}

/// A piece of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its bytes.
    pub bytes: u64,
    /// How it is here.
    pub state: HeldState,
    /// Since when: milliseconds since 1970-01-01 UTC. Reservations that are old by this are given up.
    pub since: u64,
}

/// Bytes by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sums {
    /// Own pieces on their way.
    pub sent: u64,
    /// Own pieces that holders have.
    pub confirmed: u64,
    /// Own pieces that holders may drop.
    pub released: u64,
    /// Pieces of owners for which there is room.
    pub reserved: u64,
    /// Pieces of owners that are here.
    pub stored: u64,
}

impl Sums {
    /// Nothing.
    pub const ZERO: Self = Self { sent: 0, confirmed: 0, released: 0, reserved: 0, stored: 0 };

    /// Bytes that count against contracts of which this node is the owner.
    #[must_use]
    pub const fn placed(self) -> u64 {
        self.sent + self.confirmed + self.released
    }

    /// Bytes that count against the server half and the contracts of which this node is the holder.
    #[must_use]
    pub const fn held(self) -> u64 {
        self.reserved + self.stored
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        let sum = |a: u64, b: u64| a.checked_add(b).expect("a disk has fewer than 2^64 bytes");
        self.each(more, sum)
    }

    pub(super) fn minus(self, less: Self) -> Self {
        let difference = |a: u64, b: u64| a.checked_sub(b).expect("what is taken out was entered before");
        self.each(less, difference)
    }

    fn each(self, other: Self, how: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            sent: how(self.sent, other.sent),
            confirmed: how(self.confirmed, other.confirmed),
            released: how(self.released, other.released),
            reserved: how(self.reserved, other.reserved),
            stored: how(self.stored, other.stored),
        }
    }
}

impl Placed {
    fn sums(self) -> Sums {
        match self.state {
            PlacedState::Sent => Sums { sent: self.bytes, ..Sums::ZERO },
            PlacedState::Confirmed => Sums { confirmed: self.bytes, ..Sums::ZERO },
            PlacedState::Released => Sums { released: self.bytes, ..Sums::ZERO },
        }
    }
}

impl Held {
    fn sums(self) -> Sums {
        match self.state {
            HeldState::Reserved => Sums { reserved: self.bytes, ..Sums::ZERO },
            HeldState::Stored => Sums { stored: self.bytes, ..Sums::ZERO },
            HeldState::Dropped => Sums::ZERO,
        }
    }
}

/// What there is between this node and one other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pair {
    /// The contract under which the other keeps this node's shards.
    lent: Option<Agreement>,
    /// The contract under which this node keeps the other's shards.
    granted: Option<Agreement>,
    placed: BTreeMap<Piece, Placed>,
    held: BTreeMap<Piece, Held>,
    sums: Sums,
}

impl Pair {
    /// The contract of which this node is the owner.
    #[must_use]
    pub const fn lent(&self) -> Option<&Agreement> {
        self.lent.as_ref()
    }

    /// The contract of which this node is the holder.
    #[must_use]
    pub const fn granted(&self) -> Option<&Agreement> {
        self.granted.as_ref()
    }

    /// The contract in which this node is `side`.
    #[must_use]
    pub const fn agreement(&self, side: Side) -> Option<&Agreement> {
        match side {
            Side::Owner => self.lent(),
            Side::Holder => self.granted(),
        }
    }

    /// Own pieces that the other has or is to have, or may still have.
    pub fn placed(&self) -> impl Iterator<Item = (&Piece, &Placed)> {
        self.placed.iter()
    }

    /// Pieces of the other that are or were here.
    pub fn held(&self) -> impl Iterator<Item = (&Piece, &Held)> {
        self.held.iter()
    }

    /// An own piece with the other.
    #[must_use]
    pub fn placed_piece(&self, piece: &Piece) -> Option<Placed> {
        self.placed.get(piece).copied()
    }

    /// A piece of the other.
    #[must_use]
    pub fn held_piece(&self, piece: &Piece) -> Option<Held> {
        self.held.get(piece).copied()
    }

    /// Bytes by state.
    #[must_use]
    pub const fn sums(&self) -> Sums {
        self.sums
    }

    /// Bytes that the other still takes, if the contract takes data at all.
    #[must_use]
    pub fn left_of_lent(&self, now: Moment) -> Option<u64> {
        left(now, self.lent.as_ref(), self.sums.placed())
    }

    /// Bytes that the other may still send, if the contract takes data at all.
    #[must_use]
    pub fn left_of_granted(&self, now: Moment) -> Option<u64> {
        left(now, self.granted.as_ref(), self.sums.held())
    }

    /// Bytes of the server half that are the other's: what it was promised, or what lies here if that is more.
    #[must_use]
    pub fn committed(&self, now: Moment) -> u64 {
        let promised = match &self.granted {
            Some(it) if matches!(phase(now, it), Phase::Active { .. }) => it.contract.terms.bytes,
            _ => 0,
        };
        promised.max(self.sums.held())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lent.is_none() && self.granted.is_none() && self.placed.is_empty() && self.held.is_empty()
    }

    pub(super) fn set_placed(&mut self, piece: Piece, to: Option<Placed>) {
        let before = match to {
            Some(to) => self.placed.insert(piece, to),
            None => self.placed.remove(&piece),
        };
        self.settle(before.map(Placed::sums), to.map(Placed::sums));
    }

    pub(super) fn set_held(&mut self, piece: Piece, to: Option<Held>) {
        let before = match to {
            Some(to) => self.held.insert(piece, to),
            None => self.held.remove(&piece),
        };
        self.settle(before.map(Held::sums), to.map(Held::sums));
    }

    pub(super) fn set_agreement(&mut self, side: Side, to: Option<Agreement>) {
        match side {
            Side::Owner => self.lent = to,
            Side::Holder => self.granted = to,
        }
    }

    fn settle(&mut self, before: Option<Sums>, after: Option<Sums>) {
        self.sums = self.sums.minus(before.unwrap_or_default()).plus(after.unwrap_or_default());
    }

    pub(super) fn recount(&self, other: &NodeId) {
        let placed = self.placed.values().map(|it| it.sums());
        let all = placed.chain(self.held.values().map(|it| it.sums())).fold(Sums::ZERO, Sums::plus);
        assert_eq!(all, self.sums, "the sums with {other}");
    }
}

fn left(now: Moment, agreement: Option<&Agreement>, used: u64) -> Option<u64> {
    let agreement = agreement?;
    match phase(now, agreement) {
        Phase::Active { .. } => Some(agreement.contract.terms.bytes.saturating_sub(used)),
        _ => None,
    }
}
