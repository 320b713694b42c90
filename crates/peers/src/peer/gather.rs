//! Gather: fetches any k shards of a segment from those who hold them, to bring the segment back or to mend it.
//!
//! A source that fails costs one more fetch, never those that came already.

use super::Peer;
use super::post::nothing;
use super::refusal::Refusal;
use super::work::Job;
use crate::limits::{GATHER_REST, GATHER_REST_DOUBLINGS};
use crate::machine::{Blob, Done, Event, Work};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{NodeId, SegmentName};
use okapi_wire::peer::letter::{Body, No};
use okapi_wire::peer::shard::{Deed, ShardId};

/// What the shards are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// The segment is one's own and not there.
    BringBack,
    /// Others' shards are missing while the owner is away.
    Mend,
}

/// Shards of one segment on their way here.
#[derive(Debug)]
pub(crate) struct Gather {
    pub(crate) purpose: For,
    pub(crate) deed: Deed,
    /// Who is known to hold which index.
    pub(crate) sources: BTreeSet<(u8, NodeId)>,
    pub(crate) have: BTreeMap<u8, Blob>,
    /// Shards that were asked for.
    asked: BTreeMap<u8, Asked>,
    tried: BTreeSet<(u8, NodeId)>,
    /// When to try those again that failed.
    rest_until: Option<Moment>,
    /// How often there was nobody left to ask.
    rests: u32,
    /// Bytes that came from others.
    pub(crate) read: u64,
}

/// A shard that was asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    of: NodeId,
    since: Moment,
    /// Until when it is waited for.
    until: Moment,
}

impl Gather {
    pub(crate) fn new(purpose: For, deed: Deed, sources: BTreeSet<(u8, NodeId)>) -> Self {
        Self {
            purpose,
            deed,
            sources,
            have: BTreeMap::new(),
            asked: BTreeMap::new(),
            tried: BTreeSet::new(),
            rest_until: None,
            rests: 0,
            read: 0,
        }
    }

    fn shard(&self, index: u8) -> ShardId {
        super::hold::shard_of(&self.deed, index)
    }

    /// Whether shards are on their way, rather than nobody being there to ask.
    pub(crate) fn is_busy(&self) -> bool {
        self.rest_until.is_none()
    }

    pub(crate) fn wake_at(&self) -> Option<Moment> {
        self.asked.values().map(|asked| asked.until).chain(self.rest_until).min()
    }
}

impl Peer {
    /// Brings a segment of one's own back from its shards.
    pub(super) fn bring_back(&mut self, name: SegmentName) {
        let Some(segment) = self.mine.segments.get(&name) else { return };
        let Some(deed) = segment.deed.clone().filter(|_| segment.release.is_none()) else { return };
        let named = (0..).zip(&deed.slots).filter_map(|(index, slot)| slot.holder.map(|node| (index, node)));
        let mended = segment.mended.iter().map(|(index, node)| (*index, *node));
        let sources = named.chain(mended).collect();
        self.gather(Gather::new(For::BringBack, deed, sources));
    }

    pub(super) fn gather(&mut self, gather: Gather) {
        let at = (gather.deed.owner, gather.deed.segment);
        if let Some(old) = self.gathers.get_mut(&at) {
            old.sources.extend(gather.sources);
            old.rest_until = None;
            old.tried.clear();
        } else {
            self.gathers.insert(at, gather);
        }
        self.pump_gather(at);
    }

    /// Asks for as many shards as are still needed.
    pub(super) fn pump_gather(&mut self, at: (NodeId, SegmentName)) {
        let now = self.now;
        while let Some(gather) = self.gathers.get(&at) {
            if gather.have.len() + gather.asked.len() >= gather.deed.shape.k() {
                break;
            }
            let is_open = |(index, node): &&(u8, NodeId)| {
                !gather.have.contains_key(index)
                    && !gather.asked.contains_key(index)
                    && !gather.tried.contains(&(*index, *node))
                    && self.is_here(*node)
            };
            // One's own shard first, then the quickest.
            let bytes = gather.deed.shape.shard_bytes(gather.deed.bytes);
            let best = gather
                .sources
                .iter()
                .filter(is_open)
                .min_by_key(|(_, node)| (*node != self.node, self.speeds.expected(node, bytes), *node));
            let Some(&(index, node)) = best else {
                let gather = self.gathers.get_mut(&at).expect("it is there");
                if gather.asked.is_empty() && gather.rest_until.is_none() {
                    gather.rest_until = Some(Moment(now.0 + GATHER_REST * 2u32.pow(gather.rests)));
                    gather.rests = (gather.rests + 1).min(GATHER_REST_DOUBLINGS);
                    self.restore_went_on();
                }
                return;
            };
            let shard = gather.shard(index);
            let root = gather.deed.slots[usize::from(index)].root;
            let until = Moment(now.0 + self.fetch_patience(node, bytes));
            let gather = self.gathers.get_mut(&at).expect("it is there");
            gather.rest_until = None;
            gather.asked.insert(index, Asked { of: node, since: now, until });
            if node == self.node {
                self.work(Job::GatherOwn(shard), Work::ReadShard { shard, root });
            } else {
                self.send(node, Body::Fetch(shard));
            }
        }
        if self.gathers.get(&at).is_some_and(|gather| gather.have.len() >= gather.deed.shape.k()) {
            self.all_gathered(at);
        }
    }

    /// Gives up sources that do not answer, and tries again those that failed long ago.
    pub(super) fn expire_gathers(&mut self) {
        let now = self.now;
        let due = |gather: &Gather| gather.wake_at().is_some_and(|at| at <= now);
        let late: Vec<_> = self.gathers.iter().filter(|(_, gather)| due(gather)).map(|(at, _)| *at).collect();
        for at in late {
            let gather = self.gathers.get_mut(&at).expect("it was just seen");
            if gather.rest_until.is_some_and(|until| until <= now) {
                gather.tried.clear();
                gather.rest_until = None;
            }
            let late = |(index, asked): (&u8, &Asked)| (asked.until <= now).then_some((*index, asked.of));
            let silent: Vec<_> = gather.asked.iter().filter_map(late).collect();
            for (index, node) in silent {
                gather.asked.remove(&index);
                gather.tried.insert((index, node));
                self.speeds.late(node);
            }
            self.pump_gather(at);
        }
    }

    /// A source went away: what it was asked for is asked of another.
    pub(super) fn gather_lost(&mut self, node: NodeId) {
        let all: Vec<_> = self.gathers.keys().copied().collect();
        for at in all {
            let gather = self.gathers.get_mut(&at).expect("it is there");
            let before = gather.asked.len();
            gather.asked.retain(|_, asked| asked.of != node);
            if gather.asked.len() < before {
                self.pump_gather(at);
            }
        }
    }

    /// A source is here again: what rests because there was nobody to ask need not any more.
    pub(super) fn gather_back(&mut self, node: NodeId) {
        let waits = |gather: &Gather| !gather.is_busy() && gather.sources.iter().any(|(_, of)| *of == node);
        let waiting: Vec<_> = self.gathers.iter().filter(|(_, gather)| waits(gather)).map(|(at, _)| *at).collect();
        for at in waiting {
            // A restore may have many of them, and begins but a few at a time.
            if at.0 == self.node && self.restore_anew(at.1) {
                continue;
            }
            let gather = self.gathers.get_mut(&at).expect("it was just seen");
            gather.tried.retain(|(_, of)| *of != node);
            gather.rest_until = None;
            self.pump_gather(at);
        }
    }

    /// Someone wants a shard's bytes.
    pub(super) fn fetched(&mut self, from: NodeId, shard: ShardId) {
        let known = self.theirs.deeds.get(&(shard.owner, shard.segment));
        let is_concerned = from == shard.owner || known.is_some_and(|known| known.holders().any(|(_, n)| n == from));
        match self.theirs.shards.get(&shard) {
            _ if !is_concerned => self.refuse(Refusal::NotYours),
            Some(held) => self.work(Job::Serve(from, shard), Work::ReadShard { shard, root: held.root }),
            None => {
                self.send(from, Body::FetchNo(shard, No::Missing));
            }
        }
    }

    pub(super) fn serve(&mut self, to: NodeId, shard: ShardId, done: Done) {
        if let Done::Bytes(bytes) = done {
            self.send_with(to, Body::Shard(shard), bytes);
        } else {
            self.send(to, Body::FetchNo(shard, No::Missing));
            self.lost_here(shard);
        }
    }

    /// A shard's bytes came from a source: they are checked before they count.
    pub(super) fn fetch_came(&mut self, from: NodeId, shard: ShardId, bytes: Blob) {
        let at = (shard.owner, shard.segment);
        let Some(gather) = self.gathers.get(&at) else { return self.refuse(Refusal::Unasked) };
        let asked = gather.asked.get(&shard.index).filter(|asked| asked.of == from).copied();
        let Some(asked) = asked.filter(|_| usize::from(shard.k) == gather.deed.shape.k()) else {
            return self.refuse(Refusal::Unasked);
        };
        let root = gather.deed.slots[usize::from(shard.index)].root;
        self.measured(from, bytes.len(), asked.since);
        self.work(Job::GatherCheck(shard, from, bytes.clone()), Work::Check { root, bytes });
    }

    pub(super) fn fetch_refused(&mut self, from: NodeId, shard: ShardId, why: No) {
        let at = (shard.owner, shard.segment);
        if let Some(gather) = self.gathers.get_mut(&at)
            && gather.asked.get(&shard.index).is_some_and(|asked| asked.of == from)
        {
            gather.asked.remove(&shard.index);
            gather.tried.insert((shard.index, from));
            self.pump_gather(at);
        }
        if shard.owner == self.node {
            self.not_held(from, shard, why);
        }
    }

    pub(super) fn gathered_own(&mut self, shard: ShardId, done: Done) {
        match done {
            Done::Bytes(bytes) => self.gathered(shard, self.node, bytes, &Done::Well),
            _ => {
                self.gathered(shard, self.node, nothing(), &Done::Lost);
                self.lost_here(shard);
            }
        }
    }

    /// A shard was checked.
    pub(super) fn gathered(&mut self, shard: ShardId, from: NodeId, bytes: Blob, done: &Done) {
        let at = (shard.owner, shard.segment);
        let own = from == self.node;
        let Some(gather) = self.gathers.get_mut(&at) else { return };
        if gather.asked.get(&shard.index).is_none_or(|asked| asked.of != from) {
            return;
        }
        gather.asked.remove(&shard.index);
        if matches!(done, Done::Well) {
            if !own {
                gather.read += bytes.len() as u64;
            }
            gather.have.insert(shard.index, bytes);
        } else {
            gather.tried.insert((shard.index, from));
            if !own {
                self.caught(from, shard);
            }
        }
        self.pump_gather(at);
    }

    fn all_gathered(&mut self, at: (NodeId, SegmentName)) {
        let gather = &self.gathers[&at];
        match gather.purpose {
            For::BringBack => {
                let have = gather.have.iter().map(|(index, bytes)| (*index, bytes.clone())).collect();
                let (bytes, shape) = (gather.deed.bytes, gather.deed.shape);
                self.work(Job::BringBack(at.1), Work::Restore { segment: at.1, bytes, shape, have });
            }
            For::Mend => self.mend_gathered(at),
        }
    }

    /// A segment was joined and put into the local store, or could not be.
    pub(super) fn brought_back(&mut self, name: SegmentName, done: &Done) {
        let Some(gather) = self.gathers.remove(&(self.node, name)) else { return };
        let Some(segment) = self.mine.segments.get_mut(&name) else { return };
        if matches!(done, Done::Well) {
            segment.live = true;
            let key = segment.key.clone();
            self.keep_segment(name);
            self.mine.dirty.insert(name);
            self.tell_user(Event::Restored { segment: name, key });
        } else {
            // The roots fit and yet the whole does not, or there is no room: it is tried again later, from others.
            let mut again = Gather::new(For::BringBack, gather.deed, gather.sources);
            again.rest_until = Some(Moment(self.now.0 + GATHER_REST));
            self.gathers.insert((self.node, name), again);
        }
        self.restore_went_on();
    }
}
