//! The books of one node: what it has placed with whom, and what it holds for whom.
//!
//! Double entry: for every piece the owner's books say where it is ([`Placed`]) and the holder's books say for whom
//! it is there ([`Held`]). Each side writes its own before it acts, so either can be rebuilt from what was persisted,
//! and [`compare`] lists where two sides' books differ.
//!
//! **Caps are hard.** A piece is *reserved* before any of its bytes arrive, and counts from then on. So however many
//! pieces arrive at once, neither half can overshoot.
//!
//! Every change returns the [`Entry`] by which it is made durable: key and value for any ordered store. From all
//! entries kept, [`Books::open`] builds the same books again.

use crate::contract::{Phase, phase};
use crate::stamp::stamp;
use alloc::collections::BTreeMap;
use okapi_base::machine::Moment;
use okapi_base::{GroupId, NodeId, SegmentName, Shape};
use okapi_wire::peer::contract::{Contract, Ending, Side};

mod compare;
mod entry;
mod pair;

pub use compare::{Difference, Exactness, Matter, compare};
pub use entry::{Entry, EntryError};
pub use pair::{Agreement, Held, HeldState, Pair, Placed, PlacedState, Sums};

/// Bytes of one shard, at most. Segments are far smaller; it keeps damaged lines from overflowing the sums.
pub const PIECE_BYTES_MAX: u64 = u32::MAX as u64;

/// One shard of one segment. The shape is part of its name: while a segment is being re-shaped, shards of both shapes
/// may lie with the same holder, and the third of six is not the third of twelve. The deed's revision is not: a newer
/// deed names the same shard again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Piece {
    /// The segment.
    pub segment: SegmentName,
    /// How it is coded.
    pub shape: Shape,
    /// Which shard: below the shape's `n`.
    pub index: u8,
}

/// The halves of a node's disk, in bytes. Both are hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// For the owner's own segments.
    pub user: u64,
    /// For shards that it holds: others' by contract, and its own while the group is small.
    pub server: u64,
}

/// What a holder reserves room under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The owner's contract.
    Contract,
    /// The owner is away and cannot sign: somebody mends its segment. Takes only room that no contract was promised.
    Mend {
        /// What the owner may have here in all, in bytes: [`crate::ledger::Allowance::most`].
        most: u64,
    },
}

/// Why a change is not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The user half would overflow.
    #[error("the user half has {left} bytes left; delete something or make it larger")]
    UserHalf {
        /// Bytes left.
        left: u64,
    },
    /// The server half would overflow.
    #[error("the server half has {left} bytes left for this; place elsewhere")]
    ServerHalf {
        /// Bytes left.
        left: u64,
    },
    /// The contract would overflow.
    #[error("the contract has {left} bytes left; propose a larger one")]
    Contract {
        /// Bytes left.
        left: u64,
    },
    /// There is no contract that takes new data.
    #[error("there is no contract that takes new data; propose one")]
    NoContract,
    /// The piece has no entry, or none in a state from which this follows.
    #[error("the books have no such entry in a fitting state; compare books with the other side")]
    NoEntry,
    /// The piece is in the books with another length.
    #[error("the piece is in the books with {entered} bytes")]
    OtherLength {
        /// The length entered.
        entered: u64,
    },
    /// The index is not one of the shape, or the length is 0 or more than [`PIECE_BYTES_MAX`].
    #[error("the piece has an impossible length, or an index that its shape does not have")]
    BadPiece,
    /// A contract or ending of a lower revision, or between others.
    #[error("the contract is not this node's, or a newer one is known (revision {known})")]
    Stale {
        /// The highest revision known.
        known: u32,
    },
}

/// What was entered: the durable form, or nothing if the books said so already.
pub type Entered = Result<Option<Entry>, Refused>;

/// The books of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    me: NodeId,
    group: GroupId,
    caps: Caps,
    draining: bool,
    pairs: BTreeMap<NodeId, Pair>,
    own: BTreeMap<SegmentName, u64>,
    own_bytes: u64,
    sums: Sums,
}

impl Books {
    /// Empty books of node `me`.
    #[must_use]
    pub const fn new(me: NodeId, group: GroupId, caps: Caps) -> Self {
        Self {
            me,
            group,
            caps,
            draining: false,
            pairs: BTreeMap::new(),
            own: BTreeMap::new(),
            own_bytes: 0,
            sums: Sums::ZERO,
        }
    }

    /// Whose books these are.
    #[must_use]
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// The group.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.group
    }

    /// The halves.
    #[must_use]
    pub const fn caps(&self) -> Caps {
        self.caps
    }

    /// Changes the halves. If they are smaller than what they hold, nothing more goes in until they have drained.
    pub fn set_caps(&mut self, caps: Caps) {
        self.caps = caps;
    }

    /// Whether this node takes no new data from others: it is leaving, or was told to drain.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Begins or stops to refuse new data of others. Not durable: it follows from the node's own member record.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// What there is between this node and `other`.
    #[must_use]
    pub fn pair(&self, other: &NodeId) -> Option<&Pair> {
        self.pairs.get(other)
    }

    /// All pairs, by the other side. This node itself is among them if it holds shards of its own.
    pub fn pairs(&self) -> impl Iterator<Item = (&NodeId, &Pair)> {
        self.pairs.iter()
    }

    /// Bytes over all pairs.
    #[must_use]
    pub const fn sums(&self) -> Sums {
        self.sums
    }

    /// Bytes of own segments in the user half.
    #[must_use]
    pub const fn own_bytes(&self) -> u64 {
        self.own_bytes
    }

    /// The most bytes that a contract with `owner` may have in all, so that all contracts together, and what lies
    /// here beyond them, fit the server half. Contracts are never overbooked.
    #[must_use]
    pub fn room_for(&self, now: Moment, owner: &NodeId) -> u64 {
        let others = self.pairs.iter().filter(|(node, _)| *node != owner);
        let committed = others.fold(0_u64, |sum, (_, pair)| sum.saturating_add(pair.committed(now)));
        self.caps.server.saturating_sub(committed)
    }

    /// Bytes of the server half that are neither promised by a contract nor taken.
    #[must_use]
    pub fn unpromised(&self, now: Moment) -> u64 {
        let committed = self.pairs.values().fold(0_u64, |sum, pair| sum.saturating_add(pair.committed(now)));
        self.caps.server.saturating_sub(committed)
    }

    /// Recounts everything.
    ///
    /// # Panics
    /// If the totals kept along the way are not the sums of the entries. For tests and checkers.
    pub fn recount(&self) {
        let mut sums = Sums::ZERO;
        for (node, pair) in &self.pairs {
            pair.recount(node);
            sums = sums.plus(pair.sums());
        }
        assert_eq!(sums, self.sums, "the totals of the books");
        assert_eq!(self.own.values().sum::<u64>(), self.own_bytes, "the user half");
    }
}

/// The owner's side.
impl Books {
    /// Enters an own segment of `bytes` into the user half, before its bytes are written.
    ///
    /// # Errors
    /// [`Refused::UserHalf`] if it does not fit, [`Refused::OtherLength`] if it is there with another length.
    pub fn keep(&mut self, segment: SegmentName, bytes: u64) -> Entered {
        if let Some(&entered) = self.own.get(&segment) {
            return if entered == bytes { Ok(None) } else { Err(Refused::OtherLength { entered }) };
        }
        let left = self.caps.user.saturating_sub(self.own_bytes);
        if bytes > left {
            return Err(Refused::UserHalf { left });
        }
        self.own.insert(segment, bytes);
        self.own_bytes += bytes;
        Ok(Some(Entry::own(segment, Some(bytes))))
    }

    /// Takes an own segment out of the user half.
    pub fn unkeep(&mut self, segment: SegmentName) -> Option<Entry> {
        self.own_bytes -= self.own.remove(&segment)?;
        Some(Entry::own(segment, None))
    }

    /// Enters that `piece` is going to `holder`, before it is sent. To itself a node sends without a contract.
    ///
    /// # Errors
    /// [`Refused`] if no contract takes it.
    pub fn send(&mut self, now: Moment, holder: NodeId, piece: Piece, bytes: u64) -> Entered {
        check(piece, bytes)?;
        let pair = self.pairs.get(&holder);
        if let Some(there) = pair.and_then(|pair| pair.placed_piece(&piece)) {
            return match there.state {
                PlacedState::Released => Err(Refused::NoEntry),
                _ if there.bytes == bytes => Ok(None),
                _ => Err(Refused::OtherLength { entered: there.bytes }),
            };
        }
        if holder != self.me {
            let left = pair.and_then(|pair| pair.left_of_lent(now)).ok_or(Refused::NoContract)?;
            if bytes > left {
                return Err(Refused::Contract { left });
            }
        }
        self.enter_placed(holder, piece, Some(Placed { bytes, state: PlacedState::Sent, since: stamp(now) }))
    }

    /// Enters that the holder has `piece` durably.
    ///
    /// # Errors
    /// [`Refused::NoEntry`] if it was not sent, or is released.
    pub fn confirm(&mut self, now: Moment, holder: NodeId, piece: Piece) -> Entered {
        self.placed_to(now, holder, piece, PlacedState::Sent, PlacedState::Confirmed)
    }

    /// Enters that the holder need not keep `piece` any more. It counts until the holder has dropped it.
    ///
    /// # Errors
    /// [`Refused::NoEntry`] if there is no such piece.
    pub fn release(&mut self, now: Moment, holder: NodeId, piece: Piece) -> Entered {
        let there = self.pairs.get(&holder).and_then(|pair| pair.placed_piece(&piece)).ok_or(Refused::NoEntry)?;
        self.placed_to(now, holder, piece, there.state, PlacedState::Released)
    }

    /// Strikes out a piece of which `holder` has said that it does not have it: it dropped what was released, refused
    /// what was sent, or lost it. What was sent and never answered is released instead, for it may have arrived.
    ///
    /// # Errors
    /// Never; it is fine if there is no such piece.
    pub fn strike(&mut self, holder: NodeId, piece: Piece) -> Entered {
        match self.pairs.get(&holder).and_then(|pair| pair.placed_piece(&piece)) {
            Some(_) => self.enter_placed(holder, piece, None),
            None => Ok(None),
        }
    }

    /// Enters a piece that others have placed with `holder` while this node was away: a mended one. No contract is
    /// asked for, since the fact is there already.
    ///
    /// # Errors
    /// [`Refused::OtherLength`] if it is there with another length, [`Refused::BadPiece`].
    pub fn adopt(&mut self, now: Moment, holder: NodeId, piece: Piece, bytes: u64) -> Entered {
        check(piece, bytes)?;
        match self.pairs.get(&holder).and_then(|pair| pair.placed_piece(&piece)) {
            Some(there) if there.bytes != bytes => Err(Refused::OtherLength { entered: there.bytes }),
            Some(there) if there.state == PlacedState::Confirmed => Ok(None),
            _ => self.enter_placed(
                holder,
                piece,
                Some(Placed { bytes, state: PlacedState::Confirmed, since: stamp(now) }),
            ),
        }
    }

    fn placed_to(&mut self, now: Moment, holder: NodeId, piece: Piece, from: PlacedState, to: PlacedState) -> Entered {
        let there = self.pairs.get(&holder).and_then(|pair| pair.placed_piece(&piece)).ok_or(Refused::NoEntry)?;
        if there.state == to {
            return Ok(None);
        }
        if there.state != from {
            return Err(Refused::NoEntry);
        }
        self.enter_placed(holder, piece, Some(Placed { state: to, since: stamp(now), ..there }))
    }

    fn enter_placed(&mut self, holder: NodeId, piece: Piece, to: Option<Placed>) -> Entered {
        self.change(holder, |pair| pair.set_placed(piece, to));
        Ok(Some(Entry::placed(holder, piece, to)))
    }
}

/// The holder's side.
impl Books {
    /// Reserves room for `piece` of `owner`, before any of its bytes arrive. A repeated reservation is fine.
    ///
    /// # Errors
    /// [`Refused`] if the contract or the server half has no room for it.
    pub fn reserve(&mut self, now: Moment, owner: NodeId, piece: Piece, bytes: u64, basis: Basis) -> Entered {
        check(piece, bytes)?;
        let pair = self.pairs.get(&owner);
        match pair.and_then(|pair| pair.held_piece(&piece)) {
            Some(there) if there.bytes != bytes => return Err(Refused::OtherLength { entered: there.bytes }),
            Some(there) if there.state != HeldState::Dropped => return Ok(None),
            _ => {}
        }
        let (held, granted) = pair.map_or((0, None), |pair| (pair.sums().held(), pair.left_of_granted(now)));
        match (basis, granted) {
            _ if owner == self.me => self.within_unpromised(now, bytes)?,
            (Basis::Contract, None) => return Err(Refused::NoContract),
            (Basis::Contract, Some(left)) if bytes > left => return Err(Refused::Contract { left }),
            (_, Some(left)) if bytes <= left => {}
            (Basis::Contract, Some(_)) => unreachable!("the arms above say so"),
            (Basis::Mend { most }, _) => {
                let left = most.saturating_sub(held);
                if bytes > left {
                    return Err(Refused::Contract { left });
                }
                self.within_unpromised(now, bytes)?;
            }
        }
        let left = self.caps.server.saturating_sub(self.sums.held());
        if bytes > left {
            return Err(Refused::ServerHalf { left });
        }
        self.enter_held(owner, piece, Some(Held { bytes, state: HeldState::Reserved, since: stamp(now) }))
    }

    /// Enters that `piece` is here durably, before the owner is told.
    ///
    /// # Errors
    /// [`Refused::NoEntry`] if no room was reserved for it.
    pub fn store(&mut self, now: Moment, owner: NodeId, piece: Piece) -> Entered {
        let there = self.pairs.get(&owner).and_then(|pair| pair.held_piece(&piece)).ok_or(Refused::NoEntry)?;
        match there.state {
            HeldState::Stored => Ok(None),
            HeldState::Dropped => Err(Refused::NoEntry),
            HeldState::Reserved => {
                self.enter_held(owner, piece, Some(Held { state: HeldState::Stored, since: stamp(now), ..there }))
            }
        }
    }

    /// Enters that `piece` is not here any more, after its bytes are gone. The entry stays until the owner knows.
    ///
    /// # Errors
    /// [`Refused::NoEntry`] if there is no such piece.
    pub fn drop(&mut self, now: Moment, owner: NodeId, piece: Piece) -> Entered {
        let there = self.pairs.get(&owner).and_then(|pair| pair.held_piece(&piece)).ok_or(Refused::NoEntry)?;
        match there.state {
            HeldState::Dropped => Ok(None),
            _ => self.enter_held(owner, piece, Some(Held { state: HeldState::Dropped, since: stamp(now), ..there })),
        }
    }

    /// Strikes out a dropped piece: its owner knows.
    ///
    /// # Errors
    /// [`Refused::NoEntry`] if the piece is still here. It is fine if there is no such piece.
    pub fn clear(&mut self, owner: NodeId, piece: Piece) -> Entered {
        match self.pairs.get(&owner).and_then(|pair| pair.held_piece(&piece)) {
            None => Ok(None),
            Some(there) if there.state == HeldState::Dropped => self.enter_held(owner, piece, None),
            Some(_) => Err(Refused::NoEntry),
        }
    }

    /// Bytes that may be taken without touching what contracts were promised.
    fn within_unpromised(&self, now: Moment, bytes: u64) -> Result<(), Refused> {
        let left = self.unpromised(now);
        if bytes > left { Err(Refused::ServerHalf { left }) } else { Ok(()) }
    }

    fn enter_held(&mut self, owner: NodeId, piece: Piece, to: Option<Held>) -> Entered {
        self.change(owner, |pair| pair.set_held(piece, to));
        Ok(Some(Entry::held(owner, piece, to)))
    }
}

/// Contracts.
impl Books {
    /// Enters a contract that both sides have signed, verified by the caller.
    ///
    /// # Errors
    /// [`Refused::Stale`] if it is not this node's, or a newer one is entered or ended.
    pub fn enter_contract(&mut self, contract: Contract) -> Entered {
        let (other, side) = self.other_side(contract.terms.owner, contract.terms.holder)?;
        let known = self.pairs.get(&other).and_then(|pair| pair.agreement(side));
        if known.is_some_and(|it| it.contract == contract) {
            return Ok(None);
        }
        let known = known.map_or(0, Agreement::revision);
        if contract.terms.group != self.group || contract.terms.revision <= known {
            return Err(Refused::Stale { known });
        }
        self.enter_agreement(other, side, Some(Agreement { contract, ending: None }))
    }

    /// Enters an ending, verified by the caller ([`crate::contract::verify_ending`]).
    ///
    /// # Errors
    /// [`Refused::Stale`] if it ends another contract than the present one.
    pub fn enter_ending(&mut self, ending: Ending) -> Entered {
        let (other, side) = self.other_side(ending.owner, ending.holder)?;
        let known = self.pairs.get(&other).and_then(|pair| pair.agreement(side));
        let Some(agreement) = known.copied() else { return Err(Refused::NoContract) };
        if ending.group != self.group || ending.revision < agreement.contract.terms.revision {
            return Err(Refused::Stale { known: agreement.revision() });
        }
        // The first word counts: a second one would only move the date.
        if agreement.ending.is_some() {
            return Ok(None);
        }
        self.enter_agreement(other, side, Some(Agreement { ending: Some(ending), ..agreement }))
    }

    /// Strikes out the contract of a pair when it is over and empty: `side` is what this node is in it.
    ///
    /// # Errors
    /// [`Refused::NoEntry`] if it is not over yet, or pieces are entered under it.
    pub fn strike_contract(&mut self, now: Moment, other: NodeId, side: Side) -> Entered {
        let Some(pair) = self.pairs.get(&other) else { return Ok(None) };
        let Some(agreement) = pair.agreement(side) else { return Ok(None) };
        let empty = match side {
            Side::Owner => pair.placed().next().is_none(),
            Side::Holder => pair.held().next().is_none(),
        };
        if !empty || phase(now, agreement) != Phase::Over {
            return Err(Refused::NoEntry);
        }
        self.enter_agreement(other, side, None)
    }

    /// The other node of a pair, and what this node is in it.
    fn other_side(&self, owner: NodeId, holder: NodeId) -> Result<(NodeId, Side), Refused> {
        match (owner == self.me, holder == self.me) {
            (true, false) => Ok((holder, Side::Owner)),
            (false, true) => Ok((owner, Side::Holder)),
            _ => Err(Refused::Stale { known: 0 }),
        }
    }

    fn enter_agreement(&mut self, other: NodeId, side: Side, to: Option<Agreement>) -> Entered {
        self.change(other, |pair| pair.set_agreement(side, to));
        Ok(Some(Entry::agreement(other, side, to.as_ref())))
    }

    /// Changes a pair and carries the difference into the totals. A pair without anything is forgotten.
    fn change(&mut self, other: NodeId, how: impl FnOnce(&mut Pair)) {
        let pair = self.pairs.entry(other).or_default();
        let before = pair.sums();
        how(pair);
        self.sums = self.sums.minus(before).plus(pair.sums());
        if pair.is_empty() {
            self.pairs.remove(&other);
        }
    }
}

fn check(piece: Piece, bytes: u64) -> Result<(), Refused> {
    let good = (1..=PIECE_BYTES_MAX).contains(&bytes) && usize::from(piece.index) < piece.shape.n();
    if good { Ok(()) } else { Err(Refused::BadPiece) }
}

#[cfg(test)]
mod tests;
