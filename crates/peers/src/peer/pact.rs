//! Contracts and books as the flows use them: room is entered before a shard is offered or taken, and a contract asked
//! for when there is none or it is too small.

use super::keep::Then;
use super::plan::Step;
use super::post::{Mail, nothing, stamp};
use super::refusal::Refusal;
use super::{Peer, kept};
use crate::books::{Basis, Books, Caps, Entered, HeldState, Piece, PlacedState, Refused};
use crate::contract::{self, may_grant, next_terms};
use crate::ledger::{Account, Attested, Conduct, Grade, Pledge, Standing, accounts};
use crate::limits::{CONTRACT_PART, DECLINED_REST, RETRY_FIRST, RETRY_MAX, UPKEEP_EVERY};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, GroupId, MemberId, NodeId, SegmentName, Shape};
use okapi_wire::peer::contract::{Contract, Ending, Proposal, Side, Terms};
use okapi_wire::peer::letter::{Balance, Body, No};
use okapi_wire::peer::member::{Attestation, MemberRecord};
use okapi_wire::peer::shard::{Deed, Release, ShardId};

/// A contract that is being asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    proposal: Proposal,
    /// For how many bytes beyond what lies there already.
    more: u64,
    next: Moment,
    tries: u32,
}

/// Contracts under way, and accounts as of a member list.
#[derive(Debug, Default)]
pub(crate) struct Pacts {
    asked: BTreeMap<NodeId, Asked>,
    /// Who said no, and until when it is not asked again.
    declined: BTreeMap<NodeId, Moment>,
    /// Who was asked for a contract although there was one, and until when that is not done again.
    insisted: BTreeMap<NodeId, Moment>,
    /// What the group says of each member, and what this node has seen itself.
    conducts: BTreeMap<MemberId, Conduct>,
    seen: BTreeMap<MemberId, Conduct>,
    accounts: Option<(Digest, BTreeMap<MemberId, Account>)>,
    upkeep: Moment,
}

impl Pacts {
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        self.asked.values().map(|asked| asked.next).chain([self.upkeep]).min()
    }
}

/// How the books name a shard: copies are copies, however many there are.
fn piece(shard: ShardId) -> Piece {
    let shape = match shard.k {
        1 => Shape::OneOfThree,
        2 => Shape::TwoOfSix,
        4 => Shape::FourOfTwelve,
        _ => Shape::EightOfTwentyFour,
    };
    Piece { segment: shard.segment, shape, index: shard.index }
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
            let dropped = self.books.drop(self.now, owner, piece);
            self.enter(dropped);
            let cleared = self.books.clear(owner, piece);
            self.enter(cleared);
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
                let telling = super::segment::Telling { next: self.now, tries: 0 };
                segment.untold.insert(holder, telling);
            } else {
                segment.asked.insert(holder);
            }
            let told = segment.untold.is_empty();
            self.mine.tell_at(piece.segment, (!told).then_some(self.now));
        }
    }

    // As owner.

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
                let named = usize::from(shard.k) == deed.shape.k()
                    && deed.slots.get(usize::from(shard.index)).is_some_and(|slot| slot.holder == Some(node));
                if !named {
                    self.released_at(node, shard);
                }
            }
        }
    }

    /// Everything of a segment that is in the books as placed with a node.
    fn placed_pieces(&self, node: NodeId, name: SegmentName) -> Vec<ShardId> {
        let Some(pair) = self.books.pair(&node) else { return Vec::new() };
        let shapes = [Shape::OneOfThree, Shape::TwoOfSix, Shape::FourOfTwelve, Shape::EightOfTwentyFour];
        let all = shapes.into_iter().flat_map(|shape| (0..shape.n() as u8).map(move |index| (shape, index)));
        all.filter(|(shape, index)| pair.placed_piece(&Piece { segment: name, shape: *shape, index: *index }).is_some())
            .map(|(shape, index)| ShardId { owner: self.node, segment: name, k: shape.k() as u8, index })
            .collect()
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

    /// Asks a holder for a contract with room for `more` bytes.
    pub(super) fn ask_contract(&mut self, node: NodeId, more: u64) {
        if self.pacts.asked.contains_key(&node) || !self.is_here(node) || self.has_ended(node) {
            return;
        }
        let Some(terms) = next_terms(self.now, &self.books, node, more) else { return };
        self.ask_terms(node, terms, more);
    }

    /// A holder says that there is no contract, or a smaller one than ours, as if it had lost its books: one of the next
    /// revision settles it.
    pub(super) fn insist_on_contract(&mut self, node: NodeId, more: u64) {
        let now = self.now;
        let current = self.books.pair(&node).and_then(|pair| pair.lent()).copied();
        let Some(current) = current.filter(|_| next_terms(now, &self.books, node, more).is_none()) else {
            return self.ask_contract(node, more);
        };
        let lately = self.pacts.insisted.get(&node).is_some_and(|until| *until > now);
        if lately || self.pacts.asked.contains_key(&node) {
            return;
        }
        self.pacts.insisted.insert(node, Moment(now.0 + RETRY_MAX));
        let Some(revision) = current.revision().checked_add(1) else { return };
        let from = stamp(now);
        let terms = Terms { from, until: from.saturating_add(contract::TERM_MS), revision, ..current.contract.terms };
        self.ask_terms(node, terms, more);
    }

    fn ask_terms(&mut self, node: NodeId, mut terms: Terms, more: u64) {
        let placed = self.books.pair(&node).map_or(0, |pair| pair.sums().placed());
        let promise = self.members.get(node).map_or(0, |record| record.promise);
        // A small node is not asked for more than a small part of it at a time, so that others find room there too.
        terms.bytes = terms.bytes.min((placed + more).saturating_add(promise / CONTRACT_PART));
        let proposal = contract::propose(terms, &self.identity.signing);
        self.pacts.asked.insert(node, Asked { proposal, more, next: self.now, tries: 0 });
        self.ask_contracts();
    }

    /// Sends the proposals that are due.
    fn ask_contracts(&mut self) {
        let now = self.now;
        let due: Vec<NodeId> =
            self.pacts.asked.iter().filter(|(_, asked)| asked.next <= now).map(|(node, _)| *node).collect();
        for node in due {
            let here = self.is_here(node);
            let asked = self.pacts.asked.get_mut(&node).expect("it was just seen");
            if !here || asked.tries >= 8 {
                self.pacts.asked.remove(&node);
                continue;
            }
            asked.next = Moment(now.0 + (RETRY_FIRST * 2u32.pow(asked.tries)).min(RETRY_MAX));
            asked.tries += 1;
            let proposal = asked.proposal;
            self.send(node, Body::Propose(proposal));
        }
    }

    /// A holder has signed; or an owner shows what this node signed and no longer knows of, because it lost its books.
    pub(super) fn agreed(&mut self, from: NodeId, agreed: Contract) {
        if agreed.terms.owner == from && agreed.terms.holder == self.node && agreed.terms.group == self.group {
            return self.reminded(agreed);
        }
        if agreed.terms.owner != self.node || agreed.terms.holder != from {
            return self.refuse(Refusal::NotYours);
        }
        if agreed.terms.group != self.group {
            return self.refuse(Refusal::WrongGroup);
        }
        if !contract::verify_contract(&agreed) {
            return self.refuse(Refusal::BadSignature);
        }
        self.pacts.asked.remove(&from);
        self.pacts.declined.remove(&from);
        let entered = self.books.enter_contract(agreed);
        if self.enter(entered) {
            self.ask_again_at(from);
        }
    }

    fn reminded(&mut self, agreed: Contract) {
        if !contract::verify_contract(&agreed) {
            return self.refuse(Refusal::BadSignature);
        }
        let room = self.books.room_for(self.now, &agreed.terms.owner);
        if agreed.terms.bytes <= room && !self.is_leaving() {
            let entered = self.books.enter_contract(agreed);
            self.enter(entered);
        }
    }

    /// Shows the other side of both contracts of a pair what it signed, as it may have lost its books.
    fn remind(&mut self, node: NodeId) {
        let Some(pair) = self.books.pair(&node) else { return };
        let both = [pair.lent(), pair.granted()].into_iter().flatten().filter(|agreement| agreement.ending.is_none());
        let contracts: Vec<Contract> = both.map(|agreement| agreement.contract).collect();
        contracts.into_iter().for_each(|contract| {
            self.send(node, Body::Agree(contract));
        });
    }

    /// A holder will not sign, or not for so much.
    pub(super) fn declined(&mut self, from: NodeId, revision: u32, most: u64) {
        let Some(asked) = self.pacts.asked.remove(&from).filter(|asked| asked.proposal.terms.revision == revision)
        else {
            return self.refuse(Refusal::Unasked);
        };
        let placed = self.books.pair(&from).map_or(0, |pair| pair.sums().placed());
        let mut terms = asked.proposal.terms;
        // A contract that has no room for what it is asked for would be signed, and asked for again, without end.
        if most >= placed.saturating_add(asked.more) && most > 0 && most < terms.bytes {
            terms.bytes = most;
            let proposal = contract::propose(terms, &self.identity.signing);
            self.pacts.asked.insert(from, Asked { proposal, next: self.now, ..asked });
            return self.ask_contracts();
        }
        self.pacts.declined.insert(from, Moment(self.now.0 + DECLINED_REST));
        for (name, index) in self.asks_at(from) {
            let shard =
                self.plan(name).map(|plan| ShardId { owner: self.node, segment: name, k: plan.shape.k() as u8, index });
            // What is on its way under the contract there is has its room.
            let there = shard.and_then(|shard| self.books.pair(&from)?.placed_piece(&piece(shard)));
            let on_its_way = there.is_some_and(|there| there.state == PlacedState::Sent);
            if let Some(shard) = shard.filter(|_| !on_its_way) {
                self.refused(from, shard, No::Allowance);
            }
        }
    }

    /// Whether a node said lately that it will not sign for more.
    pub(super) fn has_declined(&self, node: NodeId) -> bool {
        self.pacts.declined.get(&node).is_some_and(|until| *until > self.now)
    }

    /// Whether the contract with a node was ended by one of both: what lies there moves away, and nothing more goes there
    /// before it is empty and struck out.
    pub(super) fn has_ended(&self, node: NodeId) -> bool {
        self.books.pair(&node).and_then(|pair| pair.lent()).is_some_and(|lent| lent.ending.is_some())
    }

    /// The indexes for which plans ask a node.
    fn asks_at(&self, node: NodeId) -> Vec<(SegmentName, u8)> {
        let asked = |name: &SegmentName| self.plan(*name).and_then(|plan| plan.asked(node)).map(|index| (*name, index));
        self.mine.planned.iter().filter_map(asked).collect()
    }

    /// Plans that wait for a node's contract go on.
    fn ask_again_at(&mut self, node: NodeId) {
        let now = self.now;
        for (name, index) in self.asks_at(node) {
            let segment = self.mine.segments.get_mut(&name).expect("it is planned");
            let plan = segment.plan.as_mut().expect("it is planned");
            if let Step::Asking(ask) = &mut plan.steps[usize::from(index)] {
                ask.next = now;
                ask.tries = 0;
            }
            self.pump(name);
        }
    }

    // As holder.

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

    pub(super) fn unreserve(&mut self, shard: ShardId) {
        self.books_drop(shard);
    }

    pub(super) fn books_hold(&mut self, shard: ShardId, _bytes: u64) {
        let entered = self.books.store(self.now, shard.owner, piece(shard));
        self.enter(entered);
    }

    pub(super) fn books_drop(&mut self, shard: ShardId) {
        let entered = self.books.drop(self.now, shard.owner, piece(shard));
        self.enter(entered);
        let entered = self.books.clear(shard.owner, piece(shard));
        self.enter(entered);
        if shard.owner == self.node {
            self.struck(self.node, shard);
        }
    }

    /// An owner asks for a contract.
    pub(super) fn proposed(&mut self, from: NodeId, proposal: &Proposal) {
        if proposal.terms.owner != from || proposal.terms.holder != self.node {
            return self.refuse(Refusal::NotYours);
        }
        if proposal.terms.group != self.group {
            return self.refuse(Refusal::WrongGroup);
        }
        let allowance = {
            let holder = self.identity.member;
            self.account(from).allowance(&holder)
        };
        let revision = proposal.terms.revision;
        match may_grant(self.now, &self.books, &allowance, proposal) {
            Ok(()) if self.is_leaving() => {
                self.send(from, Body::Decline(revision, 0));
            }
            Ok(()) => {
                let contract = contract::grant(*proposal, &self.identity.signing);
                let entered = self.books.enter_contract(contract);
                if self.enter(entered) {
                    let mail = Mail { to: from, body: Body::Agree(contract), payload: nothing() };
                    self.keeper.then(Then::Send(mail));
                }
            }
            Err(contract::Refusal::Stale { .. }) => self.show_contract(from, revision),
            Err(contract::Refusal::Full { most } | contract::Refusal::Allowance { most }) => {
                self.send(from, Body::Decline(revision, most));
            }
            Err(contract::Refusal::Signature | contract::Refusal::NotMine) => self.refuse(Refusal::BadSignature),
            Err(_) => {
                self.send(from, Body::Decline(revision, 0));
            }
        }
    }

    /// The owner does not know of the contract there is: an answer was lost, or the owner has lost its books.
    fn show_contract(&mut self, owner: NodeId, revision: u32) {
        let known = self.books.pair(&owner).and_then(|pair| pair.granted()).map(|agreement| agreement.contract);
        match known {
            Some(contract) => self.send(owner, Body::Agree(contract)),
            None => self.send(owner, Body::Decline(revision, 0)),
        };
    }

    pub(super) fn ended(&mut self, from: NodeId, ending: Ending) {
        if ending.by() != from || ![ending.owner, ending.holder].contains(&self.node) {
            return self.refuse(Refusal::NotYours);
        }
        if ending.group != self.group {
            return self.refuse(Refusal::WrongGroup);
        }
        if !contract::verify_ending(self.now, self.group, &ending) {
            return self.refuse(Refusal::BadSignature);
        }
        let entered = self.books.enter_ending(ending);
        self.enter(entered);
        self.mine.dirty_for(from);
    }

    /// What an owner may place here in all.
    fn allowance_of(&mut self, owner: NodeId) -> u64 {
        let holder = self.identity.member;
        self.account(owner).allowance(&holder).most()
    }

    /// The account of a node's member, under the present member list.
    fn account(&mut self, node: NodeId) -> Account {
        let version = self.members.version().digest;
        let member = self.owner_of(node);
        if self.pacts.accounts.as_ref().is_none_or(|(of, _)| *of != version) {
            self.pacts.accounts = Some((version, self.accounts()));
        }
        let (_, accounts) = self.pacts.accounts.as_ref().expect("it was just made");
        accounts[&member].clone()
    }

    pub(super) fn accounts(&self) -> BTreeMap<MemberId, Account> {
        let mut pledges: BTreeMap<MemberId, Pledge> = BTreeMap::new();
        let mut attested = Vec::new();
        for record in self.members.active() {
            let member = record.binding.member;
            let standing = self.standing_of(member);
            let pledge = pledges.entry(member).or_insert(Pledge { member, promise: 0, standing });
            pledge.promise = pledge.promise.saturating_add(record.promise);
            attested.extend(record.attestations.iter().map(|word| Attested {
                subject: member,
                by: self.owner_of(word.by),
                bytes: word.bytes,
                stamp: word.stamp,
            }));
        }
        accounts(self.now, &pledges.into_values().collect::<Vec<_>>(), &attested)
    }

    /// How a member stands: by what the group says, or by what this node has seen, whichever is worse.
    pub(super) fn standing_of(&self, member: MemberId) -> Standing {
        let group = self.pacts.conducts.get(&member).map_or(Standing::NEW, |conduct| conduct.standing(self.now));
        self.pacts.seen.get(&member).map_or(group, |seen| {
            let own = seen.standing(self.now);
            Standing { grade: group.grade.max(own.grade), ..group }
        })
    }

    /// Whether a node's member is one with whom more may be placed.
    pub(super) fn is_in_good_standing(&self, node: NodeId) -> bool {
        self.standing_of(self.owner_of(node)).grade == Grade::Full
    }

    /// Takes note of what others attest of a member.
    pub(super) fn note_conduct(&mut self, member: MemberId, record: &MemberRecord) {
        for word in &record.attestations {
            self.note_of(member, word);
        }
    }

    /// Takes note of a single word about another.
    pub(super) fn note_word(&mut self, word: &Attestation) {
        let member = self.owner_of(word.subject);
        self.note_of(member, word);
        self.pacts.accounts = None;
    }

    fn note_of(&mut self, member: MemberId, word: &Attestation) {
        let (now, by) = (self.now, self.owner_of(word.by));
        if by == member {
            return;
        }
        let conduct = self.pacts.conducts.entry(member).or_insert_with(|| Conduct::new(now));
        // What is too old or too new says nothing of how it behaves now.
        let _ = conduct.note(now, by, word.stamp, word.answered, word.failed);
    }

    /// Takes note of what this node's own probes of a holder have shown in this window.
    pub(super) fn note_own_probes(&mut self, holder: NodeId, answered: u32, failed: u32) {
        let (now, member, own) = (self.now, self.owner_of(holder), self.identity.member);
        let seen = self.pacts.seen.entry(member).or_insert_with(|| Conduct::new(now));
        let _ = seen.note(now, own, stamp(now), answered, failed);
        self.pacts.accounts = None;
    }

    // Both.

    /// How the books of this pair stand.
    pub(super) fn balance(&self, other: NodeId) -> Balance {
        let sums = self.books.pair(&other).map_or(crate::books::Sums::ZERO, |pair| pair.sums());
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

    /// Once a day: contracts are renewed, and those that are over are struck out.
    pub(super) fn upkeep(&mut self) {
        self.ask_contracts();
        if self.pacts.upkeep > self.now {
            return;
        }
        self.pacts.upkeep = Moment(self.now.0 + UPKEEP_EVERY);
        self.pacts.accounts = None;
        let nodes: Vec<NodeId> = self.books.pairs().map(|(node, _)| *node).filter(|n| *n != self.node).collect();
        for node in nodes {
            // Also where there is no contract any more: a restored node has lost its books, not its shards.
            if self.is_here(node) {
                self.ask_contract(node, 0);
                self.remind(node);
            }
            for side in [Side::Owner, Side::Holder] {
                let struck = self.books.strike_contract(self.now, node, side);
                self.enter(struck);
            }
        }
        self.visit_orphans();
        self.keep_histories();
        self.look_at_absent();
        self.revise_if_proven();
    }

    /// A node holds something of a segment that this one does not know. What never was in force, or was given up by the
    /// log's own word, may go. Anything else was forgotten: this node was set back to a backup, and comes to know it
    /// again. (Considered: to give up whatever one does not know. The simulator found logs whose last entries nobody had
    /// confirmed yet, so that a backup could not know that it was one.)
    pub(super) fn meet_unknown(&mut self, holder: NodeId, name: SegmentName, was_in_force: bool) {
        if !was_in_force || self.log_says_released(name) {
            self.release_unknown(holder, name);
        } else {
            self.ask_what_was_forgotten(holder);
        }
    }

    /// Says that a segment which one does not know is not needed.
    fn release_unknown(&mut self, holder: NodeId, name: SegmentName) {
        let stamp = stamp(self.now);
        let mut release = Release { group: self.group, owner: self.node, segment: name, stamp, signature: [0; 64] };
        release.signature = self.identity.sign(&release);
        self.send(holder, Body::Release(release));
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
            let named = deed.shape.k() == usize::from(k)
                && deed.slots.get(usize::from(index)).is_some_and(|slot| slot.holder == Some(holder));
            if named {
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

    /// A holder that said no may be asked again: it was away since.
    pub(super) fn ask_contract_anew(&mut self, node: NodeId) {
        self.pacts.declined.remove(&node);
    }
}
