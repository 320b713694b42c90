//! What may be looked at from outside: for the user's status, and for the simulator's checkers.

use super::{Contact, Peer, Refusals};
use crate::books::Books;
use crate::placement::{Map, Place};
use alloc::vec::Vec;
use okapi_base::{Digest, GroupId, NodeId, SegmentName, Shape};
use okapi_timeline::author::LineView;
use okapi_timeline::{MemberList, Rosters};
use okapi_wire::peer::entry::{Entry, ForkProof};
use okapi_wire::peer::shard::{Deed, ShardId};

/// One segment of the node's own, as it lies.
#[derive(Debug, Clone, Copy)]
pub struct SegmentView<'a> {
    /// Its name.
    pub name: SegmentName,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whether the live segment is in the local store.
    pub live: bool,
    /// Whether it was reported safe.
    pub safe: bool,
    /// The deed in force.
    pub deed: Option<&'a Deed>,
    /// Whether it is being given back.
    pub released: bool,
    /// Whether a plan for it is being carried out.
    pub busy: bool,
    /// How many more losses it survives; nothing before there is a deed.
    pub survives: Option<usize>,
}

/// How a node's own log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogView {
    /// Sequence and hash of the last durable entry; 0 and zeros without one.
    pub head: (u64, Digest),
    /// Entries that not all of their witnesses have confirmed.
    pub unwitnessed: usize,
    /// Entries that are not written yet, because the end of the log is not known.
    pub drafts: usize,
    /// Whether the end of the log is being looked for.
    pub seeking: bool,
    /// Whether the log was forked: nothing is written any more.
    pub forked: bool,
}

impl Peer {
    /// The node's name.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The group it is in.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.group
    }

    /// Who is in the group.
    #[must_use]
    pub const fn members(&self) -> &MemberList {
        &self.members
    }

    /// What it owes and is owed.
    #[must_use]
    pub const fn books(&self) -> &Books {
        &self.books
    }

    /// What was refused since it was opened.
    #[must_use]
    pub const fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// How another node is doing.
    #[must_use]
    pub fn contact(&self, node: NodeId) -> Contact {
        self.pulses.contact(node)
    }

    /// Its own segments.
    pub fn segments(&self) -> impl Iterator<Item = SegmentView<'_>> {
        self.mine.segments.iter().map(|(name, segment)| SegmentView {
            name: *name,
            bytes: segment.bytes,
            live: segment.live,
            safe: segment.safe,
            deed: segment.deed.as_ref(),
            released: segment.release.is_some(),
            busy: segment.plan.is_some(),
            survives: segment.deed.as_ref().map(|deed| self.survives(segment, deed)),
        })
    }

    /// The shards it holds, its own included, with their lengths in bytes.
    pub fn held(&self) -> impl Iterator<Item = (ShardId, u64)> + '_ {
        self.theirs.shards.iter().map(|(shard, held)| (*shard, held.bytes))
    }

    /// The placement of a shape that it goes by, and the digest of the member list it is of.
    #[must_use]
    pub fn map(&self, shape: Shape) -> Option<(&Map, Digest)> {
        self.maps.of(shape).map(|map| &**map).zip(self.maps.list_of(shape))
    }

    /// As which shape its segments should lie now.
    #[must_use]
    pub fn wanted_shape(&self) -> Shape {
        self.target_shape()
    }

    /// The places of its present member list.
    #[must_use]
    pub fn present_places(&self) -> Vec<Place> {
        self.places()
    }

    /// Whether nothing is under way: no plan, no fetch, nothing to tell those who are here.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let fetches = self.gathers.values().any(super::gather::Gather::is_busy);
        self.mine.planned.is_empty() && self.mine.dirty.is_empty() && self.ready.is_empty() && !fetches
    }

    /// Its own log: its end, and what waits for whom.
    #[must_use]
    pub fn log(&self) -> LogView {
        let author = &self.logs.author;
        LogView {
            head: author.head(),
            unwitnessed: author.unwitnessed(),
            drafts: author.drafts(),
            seeking: author.is_seeking(),
            forked: author.is_forked(),
        }
    }

    /// The entries of its own log, as far back as they are kept, with who confirmed them.
    pub fn log_lines(&self) -> impl DoubleEndedIterator<Item = LineView<'_>> {
        self.logs.author.lines()
    }

    /// The logs of others that it keeps something of, with the last entry it knows of each.
    pub fn watched(&self) -> impl Iterator<Item = (NodeId, u64, Digest)> + '_ {
        let witness = &self.logs.witness;
        witness.logs().filter_map(|log| witness.head_hash(log).map(|(sequence, hash)| (log, sequence, hash)))
    }

    /// The entries it keeps as a witness of a log.
    pub fn watched_entries(&self, log: NodeId) -> impl Iterator<Item = &Entry> {
        self.logs.witness.entries(log)
    }

    /// The logs of others that are proven to be forked.
    pub fn forks(&self) -> impl Iterator<Item = (NodeId, &ForkProof)> {
        self.logs.witness.forks()
    }

    /// The member lists of late: with them anyone draws the witnesses of an entry anew.
    #[must_use]
    pub const fn rosters(&self) -> &Rosters {
        &self.logs.rosters
    }

    /// Probes that a holder of its shards has answered and failed.
    #[must_use]
    pub fn probes(&self, holder: NodeId) -> (u32, u32) {
        self.audits.of(holder)
    }
}
