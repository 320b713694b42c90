//! Tells holders how a segment lies now, or that it is released, until each has said that it knows.

use super::post::{Mail, nothing};
use super::segment::Telling;
use super::{Peer, kept};
use crate::limits::{RETRY_FIRST, TELL_AWAY};
use crate::machine::Event;
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{NodeId, SegmentName};
use okapi_wire::peer::letter::Body;
use okapi_wire::peer::shard::Release;

impl Peer {
    /// Keeps what is known of a segment of one's own.
    pub(super) fn keep_segment(&mut self, name: SegmentName) {
        let value = kept::segment_value(&self.mine.segments[&name]);
        self.keeper.put(kept::segment_key(name), value);
    }

    /// Tells everyone who does not know yet, is here and is due.
    pub(super) fn tell(&mut self) {
        while let Some((at, name)) = self.mine.tell_next.first().copied() {
            if at > self.now {
                break;
            }
            self.tell_of(name);
        }
    }

    fn tell_of(&mut self, name: SegmentName) {
        let now = self.now;
        let segment = self.mine.segments.get(&name).expect("what is told of is there");
        let body = match (&segment.release, &segment.deed) {
            (Some(release), _) => Some(Body::Release(*release)),
            (None, deed) => deed.clone().map(Body::Revise),
        };
        let (due, parted): (Vec<_>, Vec<_>) = segment
            .untold
            .iter()
            .filter(|(node, telling)| telling.next <= now || self.has_parted(**node))
            .map(|(node, _)| *node)
            .partition(|node| body.is_some() && !self.has_parted(*node));
        for node in due {
            let here = self.is_here(node);
            let segment = self.mine.segments.get_mut(&name).expect("it is there");
            let telling = segment.untold.get_mut(&node).expect("it was just seen");
            // One that is away is told when it comes back.
            let wait = if here { RETRY_FIRST * 2u32.saturating_pow(telling.tries) } else { TELL_AWAY };
            telling.next = Moment(now.0 + wait.min(TELL_AWAY));
            telling.tries = (telling.tries + 1).min(16);
            if let Some(body) = body.clone().filter(|_| here) {
                self.send_when_kept(Mail { to: node, body, payload: nothing() });
            }
        }
        let segment = self.mine.segments.get_mut(&name).expect("it is there");
        segment.untold.retain(|node, _| !parted.contains(node));
        self.told(name);
    }

    /// A node that was away is here again: it is told at once what it missed.
    pub(super) fn tell_anew(&mut self, node: NodeId) {
        let names: Vec<SegmentName> = self.mine.telling.keys().copied().collect();
        for name in names {
            let segment = self.mine.segments.get_mut(&name).expect("what is told of is there");
            if let Some(telling) = segment.untold.get_mut(&node) {
                *telling = Telling { next: self.now, tries: 0 };
                self.mine.tell_at(name, Some(self.now));
            }
        }
    }

    /// A node knows a deed, or has dropped a released segment.
    pub(super) fn knows(&mut self, from: NodeId, name: SegmentName, revision: u32) {
        let Some(segment) = self.mine.segments.get_mut(&name) else { return };
        let newest = match (&segment.release, &segment.deed) {
            (Some(_), _) => u32::MAX,
            (None, deed) => deed.as_ref().map_or(0, |deed| deed.revision),
        };
        if revision >= newest && segment.untold.remove(&from).is_some() {
            self.strike_released(from, name);
            self.told(name);
        }
    }

    /// Somebody fewer needs to be told; perhaps everyone knows.
    pub(super) fn told(&mut self, name: SegmentName) {
        let next = self.mine.segments[&name].untold.values().map(|telling| telling.next).min();
        self.mine.tell_at(name, next);
        if next.is_some() {
            return;
        }
        if self.mine.segments[&name].release.is_some() {
            self.mine.segments.remove(&name);
            self.mine.dirty.remove(&name);
            self.keeper.remove(kept::segment_key(name));
            self.books_forget(name);
            self.tell_user(Event::Gone { segment: name });
        } else {
            self.keep_segment(name);
        }
    }

    /// The local store no longer needs a segment: everyone who may hold a shard of it is told.
    pub(super) fn release(&mut self, name: SegmentName) {
        let (group, owner, stamp, now) = (self.group, self.node, self.stamp(), self.now);
        let Some(segment) = self.mine.segments.get_mut(&name) else { return };
        if segment.release.is_some() {
            return;
        }
        let mut concerned: Vec<NodeId> = segment.mended.values().chain(&segment.asked).copied().collect();
        concerned.extend(segment.deed.iter().flat_map(|deed| &deed.slots).filter_map(|slot| slot.holder));
        if let Some(plan) = segment.plan.take() {
            concerned.extend(plan.taken());
            concerned.extend(plan.tried);
            self.mine.planned.remove(&name);
        }
        concerned.retain(|node| *node != owner);
        segment.will_tell(concerned, now);
        let mut release = Release { group, owner, segment: name, stamp, signature: [0; 64] };
        release.signature = self.identity.sign(&release);
        segment.release = Some(release);
        self.mine.tell_at(name, Some(now));
        self.mine.dirty.remove(&name);
        self.keep_segment(name);
        self.log_release(name);
        self.release_books(name);
        let own: Vec<_> = self.theirs.held(self.node, name).map(|(shard, _)| shard).collect();
        own.into_iter().for_each(|shard| self.drop_shard(shard));
    }
}
