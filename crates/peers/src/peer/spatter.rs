//! Spatter: carries out the plan of a segment. Codes it, offers each shard to a node, sends it when it is wanted, waits
//! for the receipt, takes another node when one will not, and signs the deed when every index is settled.

use super::Peer;
use super::keep::Then;
use super::plan::{Ask, Plan, Step, Why};
use super::refusal::Refusal;
use super::work::Job;
use crate::happiness;
use crate::limits::{FRUITLESS_MAX, HOLDER_PATIENCE, REST_FIRST, RETRY_FIRST, RETRY_MAX, retry_after};
use crate::machine::{Blob, Done, Event, Work};
use crate::placement::group_of;
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{Digest, NodeId, SegmentName, Shape};
use okapi_wire::peer::letter::{Body, No};
use okapi_wire::peer::shard::{Deed, Receipt, ShardId, Slot};

impl Peer {
    /// Asks for the bytes of shards. They are made from the live segment; one that is lost comes back first.
    pub(super) fn source(&mut self, name: SegmentName, shape: Shape, wanted: Vec<u8>) {
        if self.mine.segments[&name].live {
            self.work(Job::Code(name), Work::Code { segment: name, shape, wanted });
        } else {
            self.abandon(name);
            self.bring_back(name);
        }
    }

    /// The segment was coded, or is lost here.
    pub(super) fn coded(&mut self, name: SegmentName, done: Done) {
        match done {
            Done::Shards { shards, roots } => self.shards_came(name, shards, &roots),
            Done::Lost => {
                let Some(segment) = self.mine.segments.get_mut(&name) else { return };
                segment.live = false;
                self.keep_segment(name);
                self.abandon(name);
                self.bring_back(name);
            }
            other => unreachable!("coding is answered by shards or their loss, not {other:?}"),
        }
    }

    fn shards_came(&mut self, name: SegmentName, shards: Vec<(u8, Blob)>, roots: &[Digest]) {
        let (group, owner, stamp) = (self.group, self.node, self.stamp());
        let Some(segment) = self.mine.segments.get_mut(&name) else { return };
        let Some(plan) = segment.plan.as_mut() else { return };
        assert_eq!(roots.len(), plan.shape.n(), "coding tells all roots");
        let same = |deed: &&Deed| deed.shape.k() == plan.shape.k();
        if let Some(deed) = segment.deed.as_ref().filter(same) {
            let agrees = deed.slots.iter().zip(roots).all(|(slot, root)| slot.root == *root);
            assert!(agrees, "a segment always has the same shards");
        }
        let held = |step: &Step| if let Step::Held(node) = step { Some(*node) } else { None };
        let slots = roots.iter().zip(&plan.steps).map(|(root, step)| Slot { root: *root, holder: held(step) });
        let mut draft = Deed {
            group,
            owner,
            segment: name,
            bytes: segment.bytes,
            shape: plan.shape,
            revision: plan.revision,
            stamp,
            key: segment.key.to_vec(),
            slots: slots.collect(),
            signature: [0; 64],
        };
        draft.signature = self.identity.sign(&draft);
        plan.draft = Some(draft);
        plan.shards = shards.into_iter().collect();
        self.pump(name);
    }

    /// Goes on with a plan as far as it can now.
    pub(super) fn pump(&mut self, name: SegmentName) {
        let Some(plan) = self.plan(name) else { return };
        if plan.draft.is_none() {
            return;
        }
        for index in 0..plan.steps.len() as u8 {
            let Some(plan) = self.plan(name) else { return };
            match plan.steps[usize::from(index)] {
                Step::Open(old) => self.choose(name, index, old),
                Step::Asking(ask) if ask.next <= self.now => self.ask_again(name, index, ask),
                _ => {}
            }
        }
        if self.plan(name).is_some_and(Plan::is_settled) {
            self.finish(name);
        }
    }

    pub(super) fn plan(&self, name: SegmentName) -> Option<&Plan> {
        self.mine.segments.get(&name)?.plan.as_ref()
    }

    fn plan_mut(&mut self, name: SegmentName) -> Option<&mut Plan> {
        self.mine.segments.get_mut(&name)?.plan.as_mut()
    }

    fn set_step(&mut self, name: SegmentName, index: u8, step: Step) {
        self.plan_mut(name).expect("the plan is there").steps[usize::from(index)] = step;
    }

    /// Finds a node for an index and asks it.
    fn choose(&mut self, name: SegmentName, index: u8, old: Option<NodeId>) {
        let segment = &self.mine.segments[&name];
        let plan = segment.plan.as_ref().expect("it is being carried out");
        let mut taken = plan.taken();
        taken.extend(old);
        let is_free = |node: &NodeId| !taken.contains(node) && !plan.tried.contains(node) && self.may_ask(*node);
        // Who has it already need not be willing to take any more.
        let is_there = |node: &NodeId| !taken.contains(node) && !plan.tried.contains(node) && self.is_here(*node);
        let mended = segment.mended.get(&index).copied().filter(is_there);
        let map = self.maps.of(plan.shape);
        let desired = map.map(|map| map.holders(group_of(&name), &self.identity.member, &self.node));
        let wished = || desired.into_iter().flatten().find(is_free);
        let next = || self.candidates(name, plan.shape, &taken).find(is_free);
        let own = || Some(self.node).filter(|node| self.keeps_own_shard() && is_free(node));
        let Some(node) = mended.or_else(wished).or_else(next).or_else(own) else {
            return self.set_step(name, index, Step::Nobody(old));
        };
        let ask = Ask { node, old, since: self.now, next: self.now, tries: 0, sent: None };
        self.set_step(name, index, Step::Asking(ask));
        self.ask_again(name, index, ask);
    }

    /// Asks a node, for the first time or once more, or gives it up.
    fn ask_again(&mut self, name: SegmentName, index: u8, ask: Ask) {
        let silent = self.now.0.saturating_sub(ask.since.0) >= HOLDER_PATIENCE;
        if silent || !self.is_counted_on(ask.node) {
            return self.give_up_on(name, index, ask);
        }
        let next = Moment(self.now.0 + retry_after(ask.tries));
        self.set_step(name, index, Step::Asking(Ask { next, tries: ask.tries + 1, ..ask }));
        let plan = self.plan(name).expect("it is being carried out");
        let draft = plan.draft.as_ref().expect("shards are offered by a draft");
        let bytes = plan.shape.shard_bytes(draft.bytes);
        let shard = ShardId { owner: self.node, segment: name, k: plan.shape.k() as u8, index };
        if ask.node == self.node {
            if !self.is_moving(&shard) {
                self.store_own(name, index, bytes);
            }
        } else {
            let offer = Body::Offer(draft.clone(), index, None);
            if self.may_send(ask.node, shard, bytes) {
                self.send(ask.node, offer);
            }
        }
    }

    /// The next time a node is asked will be the first.
    fn ask_anew(&mut self, name: SegmentName, index: u8) {
        let next = Moment(self.now.0 + RETRY_FIRST);
        if let Some(Step::Asking(ask)) = self.plan_mut(name).map(|plan| &mut plan.steps[usize::from(index)]) {
            (ask.tries, ask.next, ask.sent) = (0, next, None);
        }
    }

    fn give_up_on(&mut self, name: SegmentName, index: u8, ask: Ask) {
        if let Some(plan) = self.plan(name) {
            let shard = ShardId { owner: self.node, segment: name, k: plan.shape.k() as u8, index };
            // It may have it all the same, until it has said that it knows the next deed.
            self.released_at(ask.node, shard);
        }
        let plan = self.plan_mut(name).expect("it is being carried out");
        plan.tried.insert(ask.node);
        plan.steps[usize::from(index)] = Step::Open(ask.old);
        self.choose(name, index, ask.old);
    }

    /// A node went away: what it was asked to hold another one is asked to. What only moves can wait for it.
    pub(super) fn ask_others_than(&mut self, node: NodeId) {
        for (name, index) in self.asks_at(node) {
            let Some(plan) = self.plan(name).filter(|plan| plan.why != Why::Reshape) else { continue };
            if let Step::Asking(ask) = plan.steps[usize::from(index)]
                && ask.node == node
            {
                self.give_up_on(name, index, ask);
                self.pump(name);
            }
        }
    }

    /// Puts a shard into this node's own server half.
    fn store_own(&mut self, name: SegmentName, index: u8, bytes: u64) {
        let plan = self.plan(name).expect("it is being carried out");
        let draft = plan.draft.as_ref().expect("shards are placed by a draft");
        let shard = ShardId { owner: self.node, segment: name, k: plan.shape.k() as u8, index };
        let (root, content) = (draft.slots[usize::from(index)].root, plan.shards.get(&index).cloned());
        let draft = draft.clone();
        match content.map(|content| (self.reserve_own(shard, bytes), content)) {
            Some((Ok(()), content)) => {
                self.theirs.storing.insert(shard, draft.revision);
                self.work(Job::StoreOwn(shard, draft), Work::StoreShard { shard, root, bytes: content });
            }
            // It is being dropped there just now.
            Some((Err(No::Busy), _)) => self.ask_anew(name, index),
            _ => self.refused(self.node, shard, No::Full),
        }
    }

    /// A holder wants the shard now.
    pub(super) fn wanted(&mut self, from: NodeId, shard: ShardId) {
        let Some(plan) = self.mine_planned(shard) else { return self.mend_wanted(from, shard) };
        let asked = matches!(plan.steps[usize::from(shard.index)], Step::Asking(ask) if ask.node == from);
        let Some(bytes) = plan.shards.get(&shard.index).cloned().filter(|_| asked) else {
            return self.refuse(Refusal::Unasked);
        };
        let now = self.now;
        let plan = self.plan_mut(shard.segment).expect("it is there");
        plan.sent += bytes.len() as u64;
        if let Step::Asking(ask) = &mut plan.steps[usize::from(shard.index)] {
            // It is being sent: patience begins anew.
            ask.since = now;
            ask.sent = ask.sent.or(Some(now));
            ask.next = Moment(now.0 + RETRY_MAX / 2);
        }
        self.send_with(from, Body::Place(shard), bytes);
    }

    /// A holder has the shard, durably.
    pub(super) fn receipted(&mut self, from: NodeId, receipt: &Receipt) {
        let shard = receipt.shard;
        if receipt.holder != from || receipt.group != self.group || !self.verified(from, receipt) {
            return self.refuse(Refusal::BadSignature);
        }
        let Some(plan) = self.mine_planned(shard) else { return self.mend_receipted(from, receipt) };
        let root = plan.draft.as_ref().map(|draft| draft.slots[usize::from(shard.index)].root);
        let Step::Asking(ask) = plan.steps[usize::from(shard.index)] else { return self.refuse(Refusal::Unasked) };
        if ask.node != from || root != Some(receipt.root) {
            return self.refuse(Refusal::Unasked);
        }
        let bytes = plan.shards.get(&shard.index).map_or(0, |bytes| bytes.len() as u64);
        if let Some(sent) = ask.sent {
            self.measured(from, bytes as usize, sent);
        }
        self.placed_at(from, shard, bytes);
        self.audit_from_now(from);
        self.set_step(shard.segment, shard.index, Step::Done(from));
        self.pump(shard.segment);
    }

    /// One's own half has the shard.
    pub(super) fn placed_own(&mut self, shard: ShardId) {
        let asked =
            |plan: &Plan| matches!(plan.steps[usize::from(shard.index)], Step::Asking(ask) if ask.node == shard.owner);
        if self.mine_planned(shard).is_some_and(asked) {
            self.set_step(shard.segment, shard.index, Step::Done(self.node));
            self.pump(shard.segment);
        }
    }

    /// A holder will not have the shard.
    pub(super) fn refused(&mut self, from: NodeId, shard: ShardId, why: No) {
        if self.mine_planned(shard).is_none() {
            return self.not_held(from, shard, why);
        }
        let Some(Step::Asking(ask)) = self.plan(shard.segment).map(|plan| plan.steps[usize::from(shard.index)]) else {
            return;
        };
        if ask.node != from {
            return;
        }
        match why {
            // It will have room later, or no longer waited for what was sent.
            No::Busy if ask.sent.is_some() => self.ask_anew(shard.segment, shard.index),
            No::Busy => {}
            No::NoContract => {
                // Its books say otherwise than ours: a contract of the next revision settles it.
                let bytes =
                    self.plan(shard.segment).and_then(|plan| plan.shards.get(&shard.index)).map_or(1, |b| b.len());
                self.struck(from, shard);
                self.insist_on_contract(from, bytes as u64);
            }
            _ => {
                self.give_up_on(shard.segment, shard.index, ask);
                self.pump(shard.segment);
            }
        }
    }

    /// The plan of one's own segment to which a shard belongs.
    fn mine_planned(&self, shard: ShardId) -> Option<&Plan> {
        let plan = self.plan(shard.segment)?;
        (shard.owner == self.node
            && usize::from(shard.k) == plan.shape.k()
            && usize::from(shard.index) < plan.steps.len())
        .then_some(plan)
    }

    /// Every index is settled: signs the deed, if that is no step back.
    fn finish(&mut self, name: SegmentName) {
        let segment = &self.mine.segments[&name];
        let plan = segment.plan.as_ref().expect("it is settled");
        let spare = plan.confirmed().saturating_sub(plan.shape.k());
        let reshapes = segment.deed.as_ref().is_some_and(|deed| deed.shape != plan.shape);
        // What lies with those who want to leave does not count for long.
        let leaves = |deed: &Deed, index: usize| {
            plan.why == Why::Drain && deed.slots[index].holder.is_some_and(|node| self.wants_out(node))
        };
        let was = segment.deed.as_ref().map_or(0, |deed| {
            let counts = |index: &usize| self.is_good(segment, deed, *index) && !leaves(deed, *index);
            (0..deed.slots.len()).filter(counts).count().saturating_sub(deed.shape.k())
        });
        let lets_go = |deed: &Deed| {
            let gone = |(index, holder): (usize, Option<NodeId>)| holder.is_none() && leaves(deed, index);
            !reshapes && plan.holders().into_iter().enumerate().any(gone)
        };
        let is_change = plan.done() > 0 || segment.deed.as_ref().is_some_and(lets_go);
        let is_step_back = reshapes && (spare < was || plan.confirmed() < plan.shape.n());
        let too_few = plan.confirmed() < plan.shape.k();
        if !is_change || is_step_back || too_few {
            return self.abandon(name);
        }
        self.commit(name);
    }

    fn commit(&mut self, name: SegmentName) {
        let version = self.members.version().digest;
        let mut waiting = self.waiting_mends(name);
        let segment = self.mine.segments.get_mut(&name).expect("it is planned");
        let plan = segment.plan.take().expect("it is settled");
        waiting.retain(|index, _| matches!(plan.steps.get(usize::from(*index)), Some(Step::Held(_))));
        self.mine.planned.remove(&name);
        let mut deed = plan.draft.clone().expect("a settled plan has a draft");
        deed.revision += 1;
        for (slot, holder) in deed.slots.iter_mut().zip(plan.holders()) {
            slot.holder = holder;
        }
        deed.signature = self.identity.sign(&deed);
        let before = segment.deed.iter().flat_map(|deed| &deed.slots).filter_map(|slot| slot.holder);
        let after = deed.slots.iter().filter_map(|slot| slot.holder);
        let settled = segment.mended.iter().filter(|(index, _)| !waiting.contains_key(index)).map(|(_, node)| node);
        let mended = settled.chain(&segment.asked).copied();
        let concerned: Vec<NodeId> = before
            .chain(after)
            .chain(mended)
            .chain(plan.tried.iter().copied())
            .filter(|node| *node != self.node)
            .collect();
        segment.asked.clear();
        for (index, step) in (0..).zip(&plan.steps) {
            if matches!(step, Step::Done(_)) {
                segment.lost.remove(&index);
            }
        }
        segment.lost.retain(|index| usize::from(*index) < deed.slots.len());
        segment.resettle = !waiting.is_empty();
        segment.mended = waiting;
        segment.placed_under = Some(version);
        segment.fruitless = 0;
        segment.rest_until = Moment::default();
        let old = segment.deed.replace(deed.clone());
        self.deed_signed(name, &deed, &concerned);
        self.log_deed(name, &deed);
        self.report(name, &plan, old.as_ref(), &deed);
        self.mine.dirty.insert(name);
    }

    fn report(&mut self, name: SegmentName, plan: &Plan, old: Option<&Deed>, deed: &Deed) {
        if plan.why == Why::Repair {
            let shards = plan.done() as u32;
            let event = Event::Repaired { owner: self.node, segment: name, shards, read: plan.read, sent: plan.sent };
            self.tell_user(event);
        }
        self.note_safety(name, old.is_none_or(|old| old.shape != deed.shape));
    }

    /// Tells the user when a segment has become safe, and, with `anew`, that it still is.
    pub(super) fn note_safety(&mut self, name: SegmentName, anew: bool) {
        let segment = &self.mine.segments[&name];
        let Some(deed) = &segment.deed else { return };
        let good = |(index, _): &(usize, NodeId)| self.is_good(segment, deed, *index);
        let named = deed.slots.iter().enumerate().filter_map(|(index, slot)| slot.holder.map(|node| (index, node)));
        let confirmed: Vec<(usize, NodeId)> = named.filter(good).collect();
        // Copies in a group that has become smaller are as good as fewer copies.
        let target = self.target_shape();
        let copies = target.k() == deed.shape.k() && target.n() < deed.shape.n();
        let is_safe = self.is_safe(if copies { target } else { deed.shape }, &confirmed);
        if is_safe && (anew || !segment.safe) {
            self.mine.segments.get_mut(&name).expect("it is there").safe = true;
            self.keep_segment(name);
            self.safe_when_kept.insert(name);
            self.keeper.then(Then::Committed(name));
        }
    }

    fn is_safe(&self, shape: Shape, confirmed: &[(usize, NodeId)]) -> bool {
        let reach = self.reach();
        let receipts: Vec<happiness::Receipt> = confirmed
            .iter()
            .map(|&(index, node)| happiness::Receipt { index: index as u8, owner: self.owner_of(node), node })
            .collect();
        happiness::is_safe(shape, &receipts, reach)
    }

    /// Gives a plan up; the deed in force stays, under a revision that outranks the draft, so that whoever took a shard
    /// by the draft drops it.
    pub(super) fn abandon(&mut self, name: SegmentName) {
        let (now, stamp) = (self.now, self.stamp());
        let segment = self.mine.segments.get_mut(&name).expect("it is planned");
        let Some(plan) = segment.plan.take() else { return };
        self.mine.planned.remove(&name);
        segment.fruitless = (segment.fruitless + 1).min(FRUITLESS_MAX);
        segment.rest_until = Moment(now.0 + REST_FIRST * 2u32.pow(segment.fruitless - 1));
        self.resting.insert((segment.rest_until, name));
        let took = |step: &Step| match *step {
            Step::Done(node) => Some(node),
            Step::Asking(ask) => Some(ask.node),
            _ => None,
        };
        let mut concerned: Vec<NodeId> = plan.steps.iter().filter_map(took).collect();
        concerned.extend(&plan.tried);
        concerned.retain(|node| *node != self.node);
        let held_here = plan.steps.iter().any(|step| took(step) == Some(self.node));
        let Some(mut deed) = segment.deed.clone() else {
            // Nothing was confirmed; the next plan's deed will tell them.
            segment.asked.extend(concerned);
            return self.keep_segment(name);
        };
        if plan.draft.is_none() || (concerned.is_empty() && !held_here) {
            return;
        }
        deed.revision = plan.revision + 1;
        deed.stamp = stamp;
        deed.signature = self.identity.sign(&deed);
        segment.deed = Some(deed.clone());
        self.deed_signed(name, &deed, &concerned);
        self.keeper.then(Then::Committed(name));
    }
}
