//! The segments of this node's own: how each lies with the others, and what is to be done about it.

use super::plan::Plan;
use crate::machine::Blob;
use alloc::collections::{BTreeMap, BTreeSet};
use okapi_base::machine::Moment;
use okapi_base::{Digest, NodeId, SegmentName};
use okapi_wire::peer::shard::{Deed, Release};

/// One segment of this node's own.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its length in bytes.
    pub(crate) bytes: u64,
    /// Its wrapped data key.
    pub(crate) key: Blob,
    /// Whether the live segment is in the local store. If it is not, it is made from its shards.
    pub(crate) live: bool,
    /// How it lies with the others now, as far as that is confirmed.
    pub(crate) deed: Option<Deed>,
    /// The digest of the member list under which the deed was made: its places need no second look under the same.
    pub(crate) placed_under: Option<Digest>,
    /// Shards that their holders are known to have lost.
    pub(crate) lost: BTreeSet<u8>,
    /// Nodes that have a shard although no deed says so, by index: menders gave it to them while this node was away.
    pub(crate) mended: BTreeMap<u8, NodeId>,
    /// Nodes that were offered shards by plans that came to nothing: what they took by them they are to drop.
    pub(crate) asked: BTreeSet<NodeId>,
    /// Whether menders gave shards to nodes that are to be told to drop them.
    pub(crate) resettle: bool,
    /// Who has not yet said that it knows the deed or the release, and since when it is asked.
    pub(crate) untold: BTreeMap<NodeId, Telling>,
    /// What is being done.
    pub(crate) plan: Option<Plan>,
    /// No longer needed: all shards are to be given back.
    pub(crate) release: Option<Release>,
    /// Whether the deed was reported safe.
    pub(crate) safe: bool,
    /// Not before then is another plan made, after one that could not be carried out.
    pub(crate) rest_until: Moment,
    /// When it is looked at again because something is missing.
    pub(crate) look_at: Moment,
    /// A revision that was seen elsewhere; the next deed outranks it.
    pub(crate) floor: u32,
    /// How many plans in a row could do nothing.
    pub(crate) fruitless: u32,
}

/// A node that is being told of a deed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Telling {
    pub(crate) next: Moment,
    pub(crate) tries: u32,
}

impl Segment {
    pub(crate) fn new(bytes: u64, key: Blob) -> Self {
        Self {
            bytes,
            key,
            live: true,
            deed: None,
            placed_under: None,
            lost: BTreeSet::new(),
            mended: BTreeMap::new(),
            asked: BTreeSet::new(),
            resettle: false,
            untold: BTreeMap::new(),
            plan: None,
            release: None,
            safe: false,
            rest_until: Moment::default(),
            look_at: Moment::default(),
            floor: 0,
            fruitless: 0,
        }
    }

    /// These nodes are to be told of it, from now on, as if they were for the first time.
    pub(crate) fn will_tell(&mut self, nodes: impl IntoIterator<Item = NodeId>, now: Moment) {
        self.untold.extend(nodes.into_iter().map(|node| (node, Telling { next: now, tries: 0 })));
    }

    /// The highest revision any deed of it was signed with.
    pub(crate) fn revision(&self) -> u32 {
        let planned = self.plan.as_ref().map_or(0, |plan| plan.revision);
        self.deed.as_ref().map_or(0, |deed| deed.revision).max(planned).max(self.floor)
    }
}

/// All segments of this node's own.
#[derive(Debug, Default)]
pub(crate) struct Mine {
    pub(crate) segments: BTreeMap<SegmentName, Segment>,
    /// Those that need a look: something about them, or about a holder, changed.
    pub(crate) dirty: BTreeSet<SegmentName>,
    /// Those that have a plan.
    pub(crate) planned: BTreeSet<SegmentName>,
    /// Those whose deed or release is not known to everyone, and when the next one is to be told.
    pub(crate) telling: BTreeMap<SegmentName, Moment>,
    /// The same by time.
    pub(crate) tell_next: BTreeSet<(Moment, SegmentName)>,
}

impl Mine {
    /// Every segment needs a look.
    pub(crate) fn all_dirty(&mut self) {
        self.dirty = self.segments.keys().copied().collect();
    }

    /// Segments for which nothing could be done need a look now: there is somebody who may have room.
    pub(crate) fn end_rests(&mut self, now: Moment, which: impl Fn(&Segment) -> bool) {
        let resting = self.segments.iter_mut().filter(|(_, segment)| segment.rest_until > now && which(segment));
        for (name, segment) in resting {
            segment.rest_until = Moment::default();
            self.dirty.insert(*name);
        }
    }

    /// Someone is to be told of a segment at `at`, or nobody any more.
    pub(crate) fn tell_at(&mut self, name: SegmentName, at: Option<Moment>) {
        if let Some(old) = self.telling.remove(&name) {
            self.tell_next.remove(&(old, name));
        }
        if let Some(at) = at {
            self.telling.insert(name, at);
            self.tell_next.insert((at, name));
        }
    }

    /// The segments of which `node` should hold a shard need a look.
    pub(crate) fn dirty_for(&mut self, node: NodeId) {
        for (name, segment) in &self.segments {
            let holds = |deed: &Deed| deed.slots.iter().any(|slot| slot.holder == Some(node) || slot.holder.is_none());
            if segment.deed.as_ref().is_none_or(holds) {
                self.dirty.insert(*name);
            }
        }
    }
}
