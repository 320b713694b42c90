//! Part: a node that leaves first gives away what it holds for others, then says so for good.

use super::plan::{Need, Step, Why};
use super::review::View;
use super::{Peer, reshape};
use crate::machine::Event;
use alloc::vec::Vec;
use okapi_base::{NodeId, SegmentName};
use okapi_timeline::members;
use okapi_wire::peer::member::State;
use okapi_wire::peer::shard::{Deed, ShardId};

/// How far a node is with leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Part {
    /// It stays.
    #[default]
    Staying,
    /// The others move away what it holds for them.
    Draining,
    /// It has left.
    Parted,
}

/// The shards that lie with a node that wants to be rid of them go elsewhere. Where everyone else has one already they are let go,
/// as long as what stays survives as much as a segment that is placed now; else the segment gets the narrower shape.
pub(super) fn drained(view: &View<'_>, deed: &Deed) -> Option<Need> {
    let leaves = |index: usize| deed.slots[index].holder.is_some_and(|node| view.peer.wants_out(node));
    if !(0..deed.slots.len()).any(leaves) {
        return None;
    }
    let stays = |index: usize| view.peer.is_good(view.segment, deed, index) && !leaves(index);
    let need = |steps| Some(Need { why: Why::Drain, shape: deed.shape, steps });
    if view.has_candidate(deed) {
        return need(view.steps(deed, stays));
    }
    if view.has_place(deed) {
        // Somebody is away or full now, and may take it later.
        return None;
    }
    let left = (0..deed.slots.len()).filter(|index| stays(*index)).count().saturating_sub(deed.shape.k());
    if left >= view.target.n() - view.target.k() {
        let let_go = |(index, step)| if leaves(index) { Step::Nobody(None) } else { closed(step) };
        return need(view.steps(deed, stays).into_iter().enumerate().map(let_go).collect());
    }
    let narrower = view.target.n() < deed.shape.n() && view.desired.len() == view.target.n();
    narrower.then(|| Need { why: Why::Drain, ..reshape::narrowed(view, deed) })
}

/// A step for which nobody is looked for.
const fn closed(step: Step) -> Step {
    match step {
        Step::Open(old) => Step::Nobody(old),
        step => step,
    }
}

impl Peer {
    pub(super) fn leave(&mut self) {
        if self.part != Part::Staying {
            return;
        }
        self.part = Part::Draining;
        self.books.set_draining(true);
        self.revise_own();
        self.part_if_drained();
    }

    /// Whether this node is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        self.part != Part::Staying
    }

    /// Whether a node has said that it wants to leave.
    pub(super) fn is_leaving_node(&self, node: NodeId) -> bool {
        self.members.get(node).is_some_and(|record| record.state == State::Leaving)
    }

    /// Whether a node keeps what it has only until it lies elsewhere.
    pub(super) fn wants_out(&self, node: NodeId) -> bool {
        self.is_leaving_node(node) || self.has_ended(node)
    }

    /// Parts once nothing of others is here.
    pub(super) fn part_if_drained(&mut self) {
        let held = self.theirs.shards.keys().chain(self.theirs.dropping.keys()).any(|shard| shard.owner != self.node);
        if self.part == Part::Draining && !held {
            self.say_parted();
        }
    }

    /// Parts with what is held for others still here.
    pub(super) fn leave_now(&mut self) {
        if self.part != Part::Parted {
            self.say_parted();
        }
    }

    fn say_parted(&mut self) {
        let Some(last) = self.members.get(self.node) else { return };
        let honoured = self.members.next_serial(self.node).max(self.last_serial + 1);
        let record = members::part(&self.identity.signing, last, honoured, self.stamp());
        self.part = Part::Parted;
        if let Err(refusal) = self.merge(&record) {
            self.refuse(refusal);
        }
        self.tell_user(Event::Parted);
    }

    /// A node has left: what it had here may go, and what it held is elsewhere by now or lost.
    pub(super) fn node_parted(&mut self, node: NodeId) {
        self.mine.dirty_for(node);
        let told: Vec<SegmentName> = self.mine.telling.keys().copied().collect();
        for name in told {
            let segment = self.mine.segments.get_mut(&name).expect("what is told of is there");
            if segment.untold.remove(&node).is_some() {
                self.told(name);
            }
        }
        // What it had placed here it has left behind: it drained first, or its person gave it up.
        let held: Vec<ShardId> = self.theirs.shards.keys().copied().filter(|shard| shard.owner == node).collect();
        for shard in held {
            self.drop_shard(shard);
        }
    }
}
