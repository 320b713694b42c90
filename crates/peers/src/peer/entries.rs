//! The books as the flows enter them: room before a shard is offered or taken, what lies where once that is certain, and
//! what the other side says against it.

use super::hold::gives;
use super::{Peer, kept};
use crate::books::{Basis, Books, Caps, Entered, HeldState, Pair, Piece, PlacedState, Refused, Sums};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use okapi_base::{GroupId, NodeId, SegmentName, Shape};
use okapi_wire::peer::letter::{Balance, Body, No};
use okapi_wire::peer::shard::{Deed, ShardId};

/// How the books name a shard: copies are copies, however many there are.
pub(super) fn piece(shard: ShardId) -> Piece {
    let shape = match shard.k {
        1 => Shape::OneOfThree,
        2 => Shape::TwoOfSix,
        4 => Shape::FourOfTwelve,
        _ => Shape::EightOfTwentyFour,
    };
    Piece { segment: shard.segment, shape, index: shard.index }
}

/// The shard of an owner that the books name so.
fn shard_named(owner: NodeId, piece: Piece) -> ShardId {
    ShardId { owner, segment: piece.segment, k: piece.shape.k() as u8, index: piece.index }
}

impl Peer {
    pub(super) fn caps(&self) -> Caps {
        Caps { user: self.settings.user_half, server: self.settings.server_half }
    }

    /// The books of another group are worth nothing in this one, but what lies where is still so.
    pub(super) fn books_enter(&mut self, group: GroupId) {
        let new = Books::new(self.node, group, self.caps());
        let old = core::mem::replace(&mut self.books, new);
        for line in old.lines() {
            self.keeper.remove(kept::prefixed(kept::kind::LEDGER, &line.key));
        }
        let own: Vec<(SegmentName, u64)> = self.mine.segments.iter().map(|(name, s)| (*name, s.bytes)).collect();
        for (name, bytes) in own {
            let entered = self.books.keep(name, bytes);
            self.enter(entered);
        }
        let held: Vec<(ShardId, u64)> = self.theirs.shards.iter().map(|(shard, held)| (*shard, held.bytes)).collect();
        for (shard, bytes) in held {
            let reserved =
                self.books.reserve(self.now, shard.owner, piece(shard), bytes, Basis::Mend { most: u64::MAX });
            self.enter(reserved);
            let stored = self.books.store(self.now, shard.owner, piece(shard));
            self.enter(stored);
            if shard.owner == self.node {
                let adopted = self.books.adopt(self.now, self.node, piece(shard), bytes);
                self.enter(adopted);
            }
        }
    }

    /// Keeps what was entered. A refusal at a place where the books must agree is only worth a look, as the other
    /// side's letters may come in any order.
    pub(super) fn enter(&mut self, entered: Entered) -> bool {
        match entered {
            Ok(None) => true,
            Ok(Some(entry)) => {
                let key = kept::prefixed(kept::kind::LEDGER, &entry.key);
                match entry.value {
                    Some(value) => self.keeper.put(key, value),
                    None => self.keeper.remove(key),
                }
                true
            }
            Err(_) => false,
        }
    }

    /// After a restart: room that was reserved for shards on their way here is free again, and whoever was offered one
    /// of this node's is told how the segment really lies.
    pub(super) fn forget_what_was_under_way(&mut self) {
        let mut reserved = Vec::new();
        let mut sent = Vec::new();
        for (node, pair) in self.books.pairs() {
            let coming = pair.held().filter(|(_, held)| held.state != HeldState::Stored);
            reserved.extend(coming.map(|(piece, _)| (*node, *piece)));
            let going = pair.placed().filter(|(_, placed)| placed.state == PlacedState::Sent);
            sent.extend(going.map(|(piece, _)| (*node, *piece)));
        }
        for (owner, piece) in reserved {
            self.books_drop(shard_named(owner, piece));
        }
        for (holder, piece) in sent {
            if holder == self.node || !self.mine.segments.contains_key(&piece.segment) {
                let struck = self.books.strike(holder, piece);
                self.enter(struck);
                continue;
            }
            let released = self.books.release(self.now, holder, piece);
            self.enter(released);
            let segment = self.mine.segments.get_mut(&piece.segment).expect("it was just seen");
            // Above the draft by which it was offered, and above a deed that was signed and never kept.
            segment.floor = segment.floor.max(segment.deed.as_ref().map_or(0, |deed| deed.revision) + 2);
            segment.resettle = true;
            if segment.release.is_some() {
                segment.will_tell([holder], self.now);
            } else {
                segment.asked.insert(holder);
            }
            let told = segment.untold.is_empty();
            self.mine.tell_at(piece.segment, (!told).then_some(self.now));
        }
    }

    /// Enters that a shard is going to a node; if that needs a larger contract, asks for it.
    pub(super) fn may_send(&mut self, node: NodeId, shard: ShardId, bytes: u64) -> bool {
        match self.books.send(self.now, node, piece(shard), bytes) {
            Err(Refused::NoContract | Refused::Contract { .. }) => {
                self.ask_contract(node, bytes);
                false
            }
            Err(Refused::NoEntry) => {
                // It was released there before, and is wanted there again.
                let struck = self.books.strike(node, piece(shard));
                self.enter(struck);
                let sent = self.books.send(self.now, node, piece(shard), bytes);
                self.enter(sent)
            }
            entered => self.enter(entered),
        }
    }

    /// Enters that a node has a shard.
    pub(super) fn placed_at(&mut self, node: NodeId, shard: ShardId, bytes: u64) {
        let entered = match self.books.confirm(self.now, node, piece(shard)) {
            Err(_) => self.books.adopt(self.now, node, piece(shard), bytes),
            entered => entered,
        };
        self.enter(entered);
    }

    /// Enters that a node does not have a shard.
    pub(super) fn struck(&mut self, node: NodeId, shard: ShardId) {
        let entered = self.books.strike(node, piece(shard));
        self.enter(entered);
    }

    /// Enters that a node need not keep a shard any more; it counts until the node says that it knows.
    pub(super) fn released_at(&mut self, node: NodeId, shard: ShardId) {
        let entered = self.books.release(self.now, node, piece(shard));
        self.enter(entered);
    }

    /// Enters that whatever these nodes have of a segment beyond its deed is released.
    pub(super) fn settle_books(&mut self, name: SegmentName, nodes: &[NodeId], deed: &Deed) {
        for &node in nodes {
            for shard in self.placed_pieces(node, name) {
                if !gives(deed, shard, node) {
                    self.released_at(node, shard);
                }
            }
        }
    }

    /// Everything of a segment that is in the books as placed with a node.
    fn placed_pieces(&self, node: NodeId, name: SegmentName) -> Vec<ShardId> {
        let Some(pair) = self.books.pair(&node) else { return Vec::new() };
        let shapes = [Shape::OneOfThree, Shape::TwoOfSix, Shape::FourOfTwelve, Shape::EightOfTwentyFour];
        let pieces = |shape: Shape| (0..shape.n() as u8).map(move |index| Piece { segment: name, shape, index });
        let placed = shapes.into_iter().flat_map(pieces).filter(|piece| pair.placed_piece(piece).is_some());
        placed.map(|piece| shard_named(self.node, piece)).collect()
    }

    /// A node knows the newest deed: what was released there is gone.
    pub(super) fn strike_released(&mut self, node: NodeId, name: SegmentName) {
        for shard in self.placed_pieces(node, name) {
            let there = self.books.pair(&node).and_then(|pair| pair.placed_piece(&piece(shard)));
            if there.is_some_and(|there| there.state == PlacedState::Released) {
                self.struck(node, shard);
            }
        }
    }

    /// Everything of a segment is released wherever it is.
    pub(super) fn release_books(&mut self, name: SegmentName) {
        let nodes: Vec<NodeId> = self.books.pairs().map(|(node, _)| *node).collect();
        for node in nodes {
            for shard in self.placed_pieces(node, name) {
                self.released_at(node, shard);
            }
        }
        let _ = self.books.unkeep(name).map(|entry| self.enter(Ok(Some(entry))));
    }

    /// A segment is forgotten: what is left of it in the books was with nodes that have parted.
    pub(super) fn books_forget(&mut self, name: SegmentName) {
        let nodes: Vec<NodeId> = self.books.pairs().map(|(node, _)| *node).collect();
        for node in nodes {
            for shard in self.placed_pieces(node, name) {
                self.struck(node, shard);
            }
        }
    }

    /// Reserves room for a shard that is offered.
    pub(super) fn reserve(&mut self, shard: ShardId, bytes: u64, by_mender: bool) -> Result<(), No> {
        // What is being dropped still lies there, and two writes of one shard must not overtake each other.
        let dropping = &self.theirs.dropping;
        let taken = self.books.sums().held().saturating_add(dropping.values().sum());
        if dropping.contains_key(&shard) || (!dropping.is_empty() && taken.saturating_add(bytes) > self.caps().server) {
            return Err(No::Busy);
        }
        let basis = if by_mender { Basis::Mend { most: self.allowance_of(shard.owner) } } else { Basis::Contract };
        let entered = self.books.reserve(self.now, shard.owner, piece(shard), bytes, basis);
        let no = match &entered {
            Ok(_) => None,
            Err(Refused::NoContract | Refused::Contract { .. }) if !by_mender => Some(No::NoContract),
            Err(Refused::Contract { .. } | Refused::NoContract) => Some(No::Allowance),
            Err(_) => Some(No::Full),
        };
        self.enter(entered);
        no.map_or(Ok(()), Err)
    }

    pub(super) fn reserve_own(&mut self, shard: ShardId, bytes: u64) -> Result<(), No> {
        self.reserve(shard, bytes, false)?;
        let sent = self.books.send(self.now, self.node, piece(shard), bytes);
        if self.enter(sent) { Ok(()) } else { Err(No::Full) }
    }

    /// Enters that a shard for which there is room lies here.
    pub(super) fn books_hold(&mut self, shard: ShardId) {
        let entered = self.books.store(self.now, shard.owner, piece(shard));
        self.enter(entered);
    }

    /// Enters that a shard does not lie here, or will not come: its room is free.
    pub(super) fn books_drop(&mut self, shard: ShardId) {
        let entered = self.books.drop(self.now, shard.owner, piece(shard));
        self.enter(entered);
        let entered = self.books.clear(shard.owner, piece(shard));
        self.enter(entered);
        if shard.owner == self.node {
            self.struck(self.node, shard);
        }
    }

    /// How the books of this pair stand.
    pub(super) fn balance(&self, other: NodeId) -> Balance {
        let sums = self.books.pair(&other).map_or(Sums::ZERO, Pair::sums);
        Balance { held: sums.stored, placed: sums.confirmed }
    }

    /// The other side's books against one's own: if they differ for long, the owner asks for an inventory.
    pub(super) fn compare_balance(&mut self, other: NodeId, said: &Balance) {
        let own = self.balance(other);
        let differs = own.placed != said.held;
        let Some(pulse) = self.pulses.nodes.get_mut(&other) else { return };
        pulse.differs = if differs { pulse.differs + 1 } else { 0 };
        // Less and less often: what one inventory does not settle the next may not either.
        if pulse.differs.is_multiple_of(3) && (pulse.differs / 3).is_power_of_two() {
            self.send(other, Body::InventoryAsk(None));
        }
    }

    /// A holder said what it has: the books follow the facts.
    pub(super) fn books_follow(
        &mut self,
        holder: NodeId,
        there: &BTreeSet<(SegmentName, u8, u8)>,
        covered: impl Fn(&SegmentName) -> bool,
    ) {
        let entered: Vec<Piece> = self
            .books
            .pair(&holder)
            .map(|pair| pair.placed().map(|(piece, _)| *piece).filter(|piece| covered(&piece.segment)).collect())
            .unwrap_or_default();
        for piece in entered {
            let asked = self.plan(piece.segment).is_some_and(|plan| plan.asked(holder).is_some());
            if !asked && !there.contains(&(piece.segment, piece.shape.k() as u8, piece.index)) {
                let struck = self.books.strike(holder, piece);
                self.enter(struck);
            }
        }
        for &(name, k, index) in there {
            let Some(deed) = self.mine.segments.get(&name).and_then(|segment| segment.deed.as_ref()) else { continue };
            let shard = ShardId { owner: self.node, segment: name, k, index };
            if gives(deed, shard, holder) {
                let bytes = deed.shape.shard_bytes(deed.bytes);
                self.placed_at(holder, shard, bytes);
            }
        }
    }

    /// A segment was found with the others: its shards are in the books again.
    pub(super) fn adopt_books(&mut self, name: SegmentName, deed: &Deed) {
        let kept = self.books.keep(name, deed.bytes);
        self.enter(kept);
        let bytes = deed.shape.shard_bytes(deed.bytes);
        for (index, slot) in (0..).zip(&deed.slots) {
            if let Some(holder) = slot.holder.filter(|node| *node != self.node) {
                let shard = super::hold::shard_of(deed, index);
                self.placed_at(holder, shard, bytes);
                self.audit_from_now(holder);
            }
        }
    }
}
