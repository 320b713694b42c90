//! Heavy work that was given out, and what it was for.

use super::Peer;
use super::hold::Offer;
use crate::machine::{Blob, Done, Output, Work};
use alloc::boxed::Box;
use okapi_base::{Digest, NodeId, SegmentName, Shape};
use okapi_wire::peer::shard::{Deed, ShardId};

/// What a piece of work is for.
#[derive(Debug)]
pub(crate) enum Job {
    /// The placement for a shape.
    Map(Shape, Digest),
    /// The shards of a plan.
    Code(SegmentName),
    /// One's own shard, into one's own server half, by this draft.
    StoreOwn(ShardId, Deed),
    /// A shard that was offered.
    Store(Box<Offer>),
    /// Giving back room.
    Drop(ShardId),
    /// A shard someone fetches.
    Serve(NodeId, ShardId),
    /// A proof someone asked for.
    Prove(NodeId, ShardId, u64),
    /// A shard of one's own server half that is gathered.
    GatherOwn(ShardId),
    /// A shard that came, to be gathered.
    GatherCheck(ShardId, NodeId, Blob),
    /// Missing shards of a gathered segment.
    Rebuild(NodeId, SegmentName),
    /// A segment of one's own that comes back.
    BringBack(SegmentName),
}

impl Peer {
    /// Gives work out.
    pub(super) fn work(&mut self, job: Job, work: Work) {
        self.last_work += 1;
        self.jobs.insert(self.last_work, job);
        self.outputs.push_back(Output::Work { ticket: self.last_work, work });
    }

    /// Work is done. A ticket that was never given, or by an earlier run, is ignored.
    pub(super) fn worked(&mut self, ticket: u64, done: Done) {
        let Some(job) = self.jobs.remove(&ticket) else { return };
        match job {
            Job::Map(shape, list) => self.mapped(shape, list, &done),
            Job::Code(name) => self.coded(name, done),
            Job::StoreOwn(shard, draft) => self.stored_own(shard, &draft, &done),
            Job::Store(offer) => self.stored(&offer, &done),
            Job::Drop(shard) => self.dropped(shard),
            Job::Serve(to, shard) => self.serve(to, shard, done),
            Job::Prove(to, shard, number) => self.proved(to, shard, number, done),
            Job::GatherOwn(shard) => self.gathered_own(shard, done),
            Job::GatherCheck(shard, from, bytes) => self.gathered(shard, from, bytes, &done),
            Job::Rebuild(owner, segment) => self.rebuilt(owner, segment, done),
            Job::BringBack(segment) => self.brought_back(segment, &done),
        }
    }
}
