//! What this node holds for others: takes shards in turn, one owner after the other, and keeps each deed beside them.

use super::keep::Then;
use super::post::{Mail, nothing};
use super::refusal::Refusal;
use super::work::Job;
use super::{Peer, kept};
use crate::limits::{AMENDMENTS_MAX, INBOUND_EACH, INBOUND_MAX, INBOUND_PATIENCE, OFFERS_MAX};
use crate::machine::{Blob, Done, Work};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{NodeId, SegmentName};
use okapi_wire::peer::letter::{Body, No};
use okapi_wire::peer::shard::{AmendedDeed, Amendment, Deed, Receipt, Release, ShardId};

/// A shard that someone wants this node to hold.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// Who sends it: its owner, or a mender.
    pub(crate) from: NodeId,
    pub(crate) deed: Deed,
    pub(crate) index: u8,
    pub(crate) amendment: Option<Amendment>,
}

impl Offer {
    fn shard(&self) -> ShardId {
        shard_of(&self.deed, self.index)
    }
}

/// A shard this node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldShard {
    pub(crate) root: okapi_base::Digest,
    pub(crate) bytes: u64,
}

/// What is known of a segment of another node, of which this one holds shards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Foreign {
    /// The deed in force, and what menders added to it.
    pub(crate) amended: Option<AmendedDeed>,
    /// A deed under which shards were offered that is not in force yet, and may never be.
    pub(crate) draft: Option<Deed>,
    /// The session in which its owner made it: one that was started anew has no plans.
    drafted_in: Option<u64>,
    /// Nodes that should hold a shard of it and, by their own word, do not.
    pub(crate) absent: BTreeSet<NodeId>,
}

impl Foreign {
    /// Those holders who have not said that they hold nothing.
    pub(crate) fn present(&self) -> impl Iterator<Item = (u8, NodeId)> + '_ {
        self.holders().filter(|(_, node)| !self.absent.contains(node))
    }

    /// The highest revision known.
    fn revision(&self) -> u32 {
        let draft = self.draft.as_ref().map_or(0, |deed| deed.revision);
        self.in_force().map_or(0, |deed| deed.revision).max(draft)
    }

    /// The deed in force.
    pub(crate) fn in_force(&self) -> Option<&Deed> {
        self.amended.as_ref().map(|amended| &amended.deed)
    }

    /// Everyone who holds a shard of the deed in force, by index: those it names and those whom menders gave one.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (u8, NodeId)> + '_ {
        let named = self.in_force().into_iter().flat_map(|deed| (0..).zip(&deed.slots));
        let named = named.filter_map(|(index, slot)| slot.holder.map(|node| (index, node)));
        named.chain(self.amended.iter().flat_map(|amended| &amended.amendments).map(|a| (a.index, a.holder)))
    }
}

/// Everything held for others, and for oneself in one's own server half.
#[derive(Debug, Default)]
pub(crate) struct Theirs {
    pub(crate) shards: BTreeMap<ShardId, HeldShard>,
    pub(crate) deeds: BTreeMap<(NodeId, SegmentName), Foreign>,
    /// Offers that wait for their turn, by owner.
    offers: BTreeMap<NodeId, VecDeque<Offer>>,
    /// The owner whose turn was last.
    turn: Option<NodeId>,
    /// Shards that are on their way here, and until when they are waited for.
    inbound: BTreeMap<ShardId, (Offer, Moment)>,
    /// Shards that are being written, by the deed of which revision.
    pub(crate) storing: BTreeMap<ShardId, u32>,
    /// Those among them that a newer deed does not want any more.
    void: BTreeSet<ShardId>,
    /// Shards that are being dropped, with their bytes: they lie there until that is done.
    pub(crate) dropping: BTreeMap<ShardId, u64>,
}

/// The shard of a deed at an index.
pub(crate) fn shard_of(deed: &Deed, index: u8) -> ShardId {
    ShardId { owner: deed.owner, segment: deed.segment, k: deed.shape.k() as u8, index }
}

/// Whether a deed gives a shard of its segment to a node.
pub(crate) fn gives(deed: &Deed, shard: ShardId, node: NodeId) -> bool {
    deed.shape.k() == usize::from(shard.k)
        && deed.slots.get(usize::from(shard.index)).is_some_and(|slot| slot.holder == Some(node))
}

impl Theirs {
    /// When the next shard that does not come is given up.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        self.inbound.values().map(|(_, until)| *until).min()
    }

    /// The indexes of a segment's shards that this node holds.
    pub(crate) fn held(&self, owner: NodeId, segment: SegmentName) -> impl Iterator<Item = (ShardId, HeldShard)> + '_ {
        let first = ShardId { owner, segment, k: 0, index: 0 };
        let last = ShardId { owner, segment, k: u8::MAX, index: u8::MAX };
        self.shards.range(first..=last).map(|(shard, held)| (*shard, *held))
    }
}

impl Peer {
    /// A shard is offered.
    pub(super) fn offered(&mut self, offer: Offer) {
        if let Err(refusal) = self.check_offer(&offer) {
            self.refuse(refusal);
            if matches!(refusal, Refusal::Outdated | Refusal::BadSignature) {
                self.say_no(&offer, No::BadDeed);
            }
            return;
        }
        let shard = offer.shard();
        let root = offer.deed.slots[usize::from(offer.index)].root;
        if self.theirs.shards.get(&shard).is_some_and(|held| held.root == root) {
            self.learn_offer(&offer);
            return self.give_receipt(offer.from, shard);
        }
        if self.theirs.storing.contains_key(&shard) {
            return;
        }
        if self.theirs.dropping.contains_key(&shard) {
            return self.say_no(&offer, No::Busy);
        }
        if let Some((known, _)) = self.theirs.inbound.get(&shard) {
            if known.from == offer.from {
                self.send(offer.from, Body::Want(shard));
            }
            return;
        }
        let waiting = self.theirs.offers.get(&offer.deed.owner);
        let full = waiting.is_some_and(|queue| queue.len() >= OFFERS_MAX && queue.iter().all(|o| o.shard() != shard));
        let may = if full { Err(No::Busy) } else { self.may_hold(&offer) };
        if let Err(no) = may {
            return self.say_no(&offer, no);
        }
        let queue = self.theirs.offers.entry(offer.deed.owner).or_default();
        match queue.iter_mut().find(|other| other.shard() == shard) {
            Some(same) => *same = offer,
            None => queue.push_back(offer),
        }
        self.next_inbound();
    }

    fn say_no(&mut self, offer: &Offer, no: No) {
        self.send(offer.from, Body::Refuse(offer.shard(), no));
    }

    /// Whether an offer is one that its sender may make.
    fn check_offer(&self, offer: &Offer) -> Result<(), Refusal> {
        let deed = &offer.deed;
        self.check_deed(deed)?;
        let known = self.theirs.deeds.get(&(deed.owner, deed.segment));
        if known.and_then(Foreign::in_force).is_some_and(|known| known.revision > deed.revision) {
            return Err(Refusal::Outdated);
        }
        match &offer.amendment {
            None if offer.from != deed.owner => Err(Refusal::NotYours),
            None => Ok(()),
            Some(amendment) => {
                self.check_amendment(deed, amendment)?;
                let fits =
                    amendment.mender == offer.from && amendment.holder == self.node && amendment.index == offer.index;
                if fits { Ok(()) } else { Err(Refusal::NotYours) }
            }
        }
    }

    /// Whether a deed is its owner's, and the owner is in the group.
    pub(super) fn check_deed(&self, deed: &Deed) -> Result<(), Refusal> {
        if deed.group != self.group {
            return Err(Refusal::WrongGroup);
        }
        self.check_signer(deed.owner)?;
        if self.knows_deed(deed) || self.verified(deed.owner, deed) { Ok(()) } else { Err(Refusal::BadSignature) }
    }

    /// Whether exactly this deed was checked before.
    fn knows_deed(&self, deed: &Deed) -> bool {
        let known = self.theirs.deeds.get(&(deed.owner, deed.segment));
        known.is_some_and(|known| known.in_force() == Some(deed) || known.draft.as_ref() == Some(deed))
    }

    /// Whether an amendment belongs to this deed and was made by one of its holders.
    pub(super) fn check_amendment(&self, deed: &Deed, amendment: &Amendment) -> Result<(), Refusal> {
        let fits = amendment.group == deed.group
            && amendment.owner == deed.owner
            && amendment.segment == deed.segment
            && usize::from(amendment.index) < deed.slots.len();
        if !fits {
            return Err(Refusal::Malformed);
        }
        if amendment.revision != deed.revision {
            return Err(Refusal::Outdated);
        }
        self.check_signer(amendment.mender)?;
        let known = self.theirs.deeds.get(&(deed.owner, deed.segment));
        let named = deed.slots.iter().any(|slot| slot.holder == Some(amendment.mender));
        // A mender may hold its shard by an earlier amendment, of which this node has not heard if the segment is new to
        // it; then its word as a member must do, as does any holder's.
        let is_holder = |known: &Foreign| known.holders().any(|(_, node)| node == amendment.mender);
        if !named && known.is_some_and(|known| !is_holder(known)) {
            return Err(Refusal::NotYours);
        }
        if self.verified(amendment.mender, amendment) { Ok(()) } else { Err(Refusal::BadSignature) }
    }

    /// Whether there is room for it: in the owner's contract, or in the group's trust when a mender sends it.
    fn may_hold(&mut self, offer: &Offer) -> Result<(), No> {
        let bytes = offer.deed.shape.shard_bytes(offer.deed.bytes);
        // Whoever wanted to leave and is gone instead may still come back for what it had.
        if self.is_leaving() || (offer.amendment.is_none() && self.is_leaving_node(offer.deed.owner)) {
            return Err(No::Leaving);
        }
        if self.logs.is_forked(offer.deed.owner) {
            return Err(No::Allowance);
        }
        self.reserve(offer.shard(), bytes, offer.amendment.is_some())
    }

    /// Lets the next shards come, owner by owner: in equal portions from all who have something to send.
    pub(super) fn next_inbound(&mut self) {
        let each = if self.others().nth(1).is_some() { INBOUND_EACH } else { INBOUND_MAX };
        while self.theirs.inbound.len() < INBOUND_MAX {
            let inbound = |owner: &NodeId| self.theirs.inbound.keys().filter(|shard| shard.owner == *owner).count();
            let may_send = |(owner, queue): &(&NodeId, &VecDeque<Offer>)| !queue.is_empty() && inbound(owner) < each;
            let offers = &self.theirs.offers;
            let after = self.theirs.turn.and_then(|turn| {
                offers.range((core::ops::Bound::Excluded(turn), core::ops::Bound::Unbounded)).find(may_send)
            });
            let Some((&owner, _)) = after.or_else(|| offers.iter().find(may_send)) else { break };
            self.theirs.turn = Some(owner);
            let queue = self.theirs.offers.get_mut(&owner).expect("it has an offer");
            let offer = queue.pop_front().expect("it is not empty");
            if queue.is_empty() {
                self.theirs.offers.remove(&owner);
            }
            let (shard, from) = (offer.shard(), offer.from);
            self.theirs.inbound.insert(shard, (offer, Moment(self.now.0 + INBOUND_PATIENCE)));
            self.send(from, Body::Want(shard));
        }
    }

    /// A node that was about to send shards went away, or was started anew: others get their turn.
    pub(super) fn inbound_lost(&mut self, from: NodeId) {
        let all = self.theirs.inbound.iter().filter(|(_, (offer, _))| offer.from == from);
        let lost: Vec<ShardId> = all.map(|(shard, _)| *shard).collect();
        for shard in lost {
            self.theirs.inbound.remove(&shard);
            self.books_drop(shard);
        }
        self.next_inbound();
    }

    /// Gives up shards that did not come.
    pub(super) fn expire_inbound(&mut self) {
        let now = self.now;
        let late: Vec<ShardId> =
            self.theirs.inbound.iter().filter(|(_, (_, until))| *until <= now).map(|(shard, _)| *shard).collect();
        for shard in late {
            self.theirs.inbound.remove(&shard);
            self.books_drop(shard);
        }
        self.next_inbound();
    }

    /// A shard's bytes came.
    pub(super) fn came(&mut self, from: NodeId, shard: ShardId, bytes: Blob) {
        let known = self.theirs.inbound.get(&shard).map(|(offer, _)| offer.from);
        if known != Some(from) {
            if known.is_none() && !self.theirs.shards.contains_key(&shard) && !self.is_moving(&shard) {
                // It was waited for until its sender seemed to be away.
                self.send(from, Body::Refuse(shard, No::Busy));
            }
            return self.refuse(Refusal::Unasked);
        }
        let (offer, _) = self.theirs.inbound.remove(&shard).expect("it was just seen");
        let root = offer.deed.slots[usize::from(shard.index)].root;
        if bytes.len() as u64 != offer.deed.shape.shard_bytes(offer.deed.bytes) {
            self.books_drop(shard);
            self.refuse(Refusal::Malformed);
            self.say_no(&offer, No::BadBytes);
        } else {
            self.theirs.storing.insert(shard, offer.deed.revision);
            self.work(Job::Store(Box::new(offer)), Work::StoreShard { shard, root, bytes });
        }
        self.next_inbound();
    }

    /// A shard was written, or could not be.
    pub(super) fn stored(&mut self, offer: &Offer, done: &Done) {
        let shard = offer.shard();
        self.theirs.storing.remove(&shard);
        if self.theirs.void.remove(&shard) {
            self.books_drop(shard);
            return self.drop_bytes(shard, offer.deed.shape.shard_bytes(offer.deed.bytes));
        }
        match done {
            Done::Well => {}
            Done::Full => {
                self.books_drop(shard);
                return self.say_no(offer, No::Full);
            }
            _ => {
                self.books_drop(shard);
                self.refuse(Refusal::Malformed);
                return self.say_no(offer, No::BadBytes);
            }
        }
        let root = offer.deed.slots[usize::from(shard.index)].root;
        let bytes = offer.deed.shape.shard_bytes(offer.deed.bytes);
        self.hold(shard, HeldShard { root, bytes });
        self.learn_offer(offer);
        let known = self.theirs.deeds[&(shard.owner, shard.segment)].revision();
        if known > offer.deed.revision && !self.is_named(shard) {
            // A newer deed came while it was written.
            return self.drop_shard(shard);
        }
        self.give_receipt(offer.from, shard);
    }

    /// Keeps the record of a shard that lies here.
    pub(super) fn hold(&mut self, shard: ShardId, held: HeldShard) {
        self.theirs.shards.insert(shard, held);
        self.keeper.put(kept::held_key(&shard), kept::held_value(&held));
        self.books_hold(shard);
    }

    /// Says, once it is durable, that a shard lies here.
    pub(super) fn give_receipt(&mut self, to: NodeId, shard: ShardId) {
        let held = self.theirs.shards[&shard];
        let mut receipt = Receipt {
            group: self.group,
            shard,
            root: held.root,
            holder: self.node,
            stamp: self.stamp(),
            signature: [0; 64],
        };
        receipt.signature = self.identity.sign(&receipt);
        self.keeper.then(Then::Send(Mail { to, body: Body::Receipt(receipt), payload: nothing() }));
    }

    /// Takes note of the deed of an offer: a draft of the owner's, or the deed in force with a mender's amendment.
    fn learn_offer(&mut self, offer: &Offer) {
        let at = (offer.deed.owner, offer.deed.segment);
        if let Some(amendment) = offer.amendment {
            self.learn_deed(&offer.deed);
            return self.learn_amendment(amendment);
        }
        let session = self.post.session_of(offer.deed.owner);
        let foreign = self.theirs.deeds.entry(at).or_default();
        if foreign.revision() < offer.deed.revision {
            foreign.draft = Some(offer.deed.clone());
            foreign.drafted_in = session;
            self.keeper.put(kept::draft_key(at.0, at.1), kept::encode(&offer.deed));
        }
    }

    /// Takes note of a deed in force that was checked.
    pub(super) fn learn_deed(&mut self, deed: &Deed) {
        let at = (deed.owner, deed.segment);
        let foreign = self.theirs.deeds.entry(at).or_default();
        if foreign.in_force().is_some_and(|known| known.revision >= deed.revision) {
            return;
        }
        let amended = AmendedDeed { deed: deed.clone(), amendments: Vec::new() };
        self.keeper.put(kept::deed_key(at.0, at.1), kept::encode(&amended));
        foreign.amended = Some(amended);
        if foreign.draft.as_ref().is_some_and(|draft| draft.revision <= deed.revision) {
            foreign.draft = None;
            self.keeper.remove(kept::draft_key(at.0, at.1));
        }
    }

    /// Takes note of an amendment that was checked, if it amends the deed in force.
    pub(super) fn learn_amendment(&mut self, amendment: Amendment) {
        let at = (amendment.owner, amendment.segment);
        let Some(amended) = self.theirs.deeds.get_mut(&at).and_then(|foreign| foreign.amended.as_mut()) else { return };
        let all = &mut amended.amendments;
        let is_known = all.iter().any(|old| old.index == amendment.index && old.holder == amendment.holder);
        if is_known || amendment.revision != amended.deed.revision || all.len() >= AMENDMENTS_MAX {
            return;
        }
        all.push(amendment);
        self.keeper.put(kept::deed_key(at.0, at.1), kept::encode(amended));
    }

    /// The owner says how its segment lies now.
    pub(super) fn revised(&mut self, from: NodeId, deed: &Deed) {
        if from != deed.owner {
            return self.refuse(Refusal::NotYours);
        }
        if let Err(refusal) = self.check_deed(deed) {
            return self.refuse(refusal);
        }
        let at = (deed.owner, deed.segment);
        let newest = self.theirs.deeds.get(&at).and_then(Foreign::in_force).map_or(0, |known| known.revision);
        if newest > deed.revision {
            self.refuse(Refusal::Outdated);
            return;
        }
        let holds_any = self.theirs.held(deed.owner, deed.segment).next().is_some();
        self.forget_offers(deed.owner, deed.segment, deed.revision);
        if holds_any {
            self.learn_deed(deed);
            let held: Vec<ShardId> = self.theirs.held(deed.owner, deed.segment).map(|(shard, _)| shard).collect();
            for shard in held {
                if !self.is_named(shard) && !self.is_drafted(shard) {
                    self.drop_shard(shard);
                }
            }
        }
        for (index, slot) in (0..).zip(&deed.slots) {
            let shard = shard_of(deed, index);
            if slot.holder == Some(self.node) && !self.theirs.shards.contains_key(&shard) {
                self.send(from, Body::Refuse(shard, No::Missing));
            }
        }
        let said = Body::Revised(deed.segment, deed.revision);
        self.keeper.then(Then::Send(Mail { to: from, body: said, payload: nothing() }));
    }

    /// Offers under drafts older than the deed that came are void.
    fn forget_offers(&mut self, owner: NodeId, segment: SegmentName, revision: u32) {
        let is_old = |offer: &Offer| offer.deed.segment == segment && offer.deed.revision < revision;
        let mut gone: Vec<ShardId> = Vec::new();
        if let Some(queue) = self.theirs.offers.get_mut(&owner) {
            gone.extend(queue.iter().filter(|offer| is_old(offer)).map(Offer::shard));
            queue.retain(|offer| !is_old(offer));
        }
        let inbound = self.theirs.inbound.iter().filter(|(shard, (offer, _))| shard.owner == owner && is_old(offer));
        gone.extend(inbound.map(|(shard, _)| *shard));
        for shard in gone {
            self.theirs.inbound.remove(&shard);
            self.books_drop(shard);
        }
        let is_old =
            |(shard, by): &(&ShardId, &u32)| shard.owner == owner && shard.segment == segment && **by < revision;
        self.theirs.void.extend(self.theirs.storing.iter().filter(is_old).map(|(shard, _)| *shard));
    }

    /// The owner no longer needs a segment.
    pub(super) fn released(&mut self, from: NodeId, release: &Release) {
        if from != release.owner {
            return self.refuse(Refusal::NotYours);
        }
        if release.group != self.group {
            return self.refuse(Refusal::WrongGroup);
        }
        if !self.verified(from, release) {
            return self.refuse(Refusal::BadSignature);
        }
        self.forget_offers(release.owner, release.segment, u32::MAX);
        let held: Vec<ShardId> = self.theirs.held(release.owner, release.segment).map(|(shard, _)| shard).collect();
        for shard in held {
            self.drop_shard(shard);
        }
        let said = Body::Revised(release.segment, u32::MAX);
        self.keeper.then(Then::Send(Mail { to: from, body: said, payload: nothing() }));
    }

    /// Whether the newest deed, or an amendment of it, gives this node the shard.
    pub(super) fn is_named(&self, shard: ShardId) -> bool {
        let Some(known) = self.theirs.deeds.get(&(shard.owner, shard.segment)) else { return false };
        let is_it = |(index, node): (u8, NodeId)| index == shard.index && node == self.node;
        known.in_force().is_some_and(|deed| deed.shape.k() == usize::from(shard.k)) && known.holders().any(is_it)
    }

    /// Whether the shard may have come by a draft of its owner's that is newer than the deed in force. What becomes of it,
    /// the deed after the draft will say; an older one that was slow to arrive cannot.
    fn is_drafted(&self, shard: ShardId) -> bool {
        let Some(known) = self.theirs.deeds.get(&(shard.owner, shard.segment)) else { return false };
        let of_this_shape = |deed: &&Deed| deed.shape.k() == usize::from(shard.k);
        let slot = known.draft.as_ref().filter(of_this_shape).and_then(|deed| deed.slots.get(usize::from(shard.index)));
        let goes_on = known.drafted_in.is_some() && known.drafted_in == self.post.session_of(shard.owner);
        goes_on && slot.is_some_and(|slot| slot.holder.is_none())
    }

    /// Gives back the room of a shard.
    pub(super) fn drop_shard(&mut self, shard: ShardId) {
        let Some(held) = self.theirs.shards.remove(&shard) else { return };
        self.keeper.remove(kept::held_key(&shard));
        self.books_drop(shard);
        if self.theirs.held(shard.owner, shard.segment).next().is_none() {
            self.theirs.deeds.remove(&(shard.owner, shard.segment));
            self.keeper.remove(kept::deed_key(shard.owner, shard.segment));
            self.keeper.remove(kept::draft_key(shard.owner, shard.segment));
        }
        self.drop_bytes(shard, held.bytes);
    }

    /// Has the bytes of a shard removed once no record of it is left: what is there without one is no harm, what is
    /// missing would be.
    fn drop_bytes(&mut self, shard: ShardId, bytes: u64) {
        self.theirs.dropping.insert(shard, bytes);
        self.keeper.then(Then::Drop(shard));
    }

    /// The bytes of a shard are gone.
    pub(super) fn dropped(&mut self, shard: ShardId) {
        self.theirs.dropping.remove(&shard);
        self.part_if_drained();
    }

    /// Whether a shard is being written or removed just now.
    pub(super) fn is_moving(&self, shard: &ShardId) -> bool {
        self.theirs.storing.contains_key(shard) || self.theirs.dropping.contains_key(shard)
    }

    /// A shard that should be here is not, or is damaged.
    pub(super) fn lost_here(&mut self, shard: ShardId) {
        if !self.theirs.shards.contains_key(&shard) {
            return;
        }
        self.drop_shard(shard);
        if shard.owner == self.node {
            self.not_held(self.node, shard, No::Missing);
        } else {
            self.send(shard.owner, Body::Refuse(shard, No::Missing));
        }
    }
}
