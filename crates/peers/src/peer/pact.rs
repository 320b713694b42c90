//! Contracts: asked for when there is none or it is too small, signed, renewed, and shown to whoever has lost its books.

use super::Peer;
use super::entries::piece;
use super::keep::Then;
use super::plan::Step;
use super::post::{Mail, nothing, stamp};
use super::refusal::Refusal;
use crate::books::PlacedState;
use crate::contract::{self, may_grant, next_terms};
use crate::limits::{CONTRACT_PART, DECLINED_REST, RETRY_MAX, UPKEEP_EVERY, retry_after};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{NodeId, SegmentName};
use okapi_wire::peer::contract::{Contract, Ending, Proposal, Side, Terms};
use okapi_wire::peer::letter::{Body, No};
use okapi_wire::peer::shard::{Release, ShardId};

/// A contract that is being asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    proposal: Proposal,
    /// For how many bytes beyond what lies there already.
    more: u64,
    next: Moment,
    tries: u32,
}

/// Contracts under way.
#[derive(Debug, Default)]
pub(crate) struct Pacts {
    asked: BTreeMap<NodeId, Asked>,
    /// Who said no, and until when it is not asked again.
    declined: BTreeMap<NodeId, Moment>,
    /// Who was asked for a contract although there was one, and until when that is not done again.
    insisted: BTreeMap<NodeId, Moment>,
    upkeep: Moment,
}

impl Pacts {
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        self.asked.values().map(|asked| asked.next).chain([self.upkeep]).min()
    }
}

impl Peer {
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
            asked.next = Moment(now.0 + retry_after(asked.tries));
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
    pub(super) fn asks_at(&self, node: NodeId) -> Vec<(SegmentName, u8)> {
        let asked = |name: &SegmentName| self.plan(*name).and_then(|plan| plan.asked(node)).map(|index| (*name, index));
        self.mine.planned.iter().filter_map(asked).collect()
    }

    /// Plans that wait for a node go on: there is a contract with it now, or it is here again.
    pub(super) fn ask_again_at(&mut self, node: NodeId) {
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

    /// Once a day: contracts are renewed, and those that are over are struck out.
    pub(super) fn upkeep(&mut self) {
        self.ask_contracts();
        if self.pacts.upkeep > self.now {
            return;
        }
        self.pacts.upkeep = Moment(self.now.0 + UPKEEP_EVERY);
        self.standings.forget_accounts();
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

    /// A holder that said no may be asked again: it was away since, or promises more now.
    pub(super) fn ask_contract_anew(&mut self, node: NodeId) {
        self.pacts.declined.remove(&node);
    }
}
