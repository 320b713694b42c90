//! What may be looked at from outside: for the user's status, and for the simulator's checkers.

use super::part::Part;
use super::{Contact, Peer, Refusals};
use crate::books::{Books, Sums};
use crate::history::Histories;
use crate::ledger::{Account, Standing};
use crate::measure::Speeds;
use crate::placement::{Map, Place};
use crate::safety::{Days, Spread};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::{Digest, GroupId, MemberId, NodeId, SegmentName, Shape};
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

/// One member, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub member: MemberId,
    /// How it has behaved.
    pub standing: Standing,
    /// What it may place, what it has placed with whom and what it holds for others, by signed word.
    pub account: Account,
    /// What lies between it and this node, by this node's books.
    pub sums: Sums,
}

/// Where a node is with its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is in it.
    Settled,
    /// It asks to be let into one.
    Joining,
    /// It gets its own data back from it.
    Restoring,
    /// What it holds for others moves away.
    Leaving,
    /// It has left.
    Parted,
}

/// How far a node is with getting its own segments back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestoreView {
    /// Its segments, as far as the others have told.
    pub segments: u64,
    /// Those that are here.
    pub live: u64,
    /// Bytes of all.
    pub bytes: u64,
    /// Bytes of those that are here.
    pub live_bytes: u64,
    /// How many more members must be here before every segment can come back.
    pub needed: u32,
    /// Members that take part and have not told yet what they know of them: segments that only they know of are not
    /// counted here.
    pub silent: u32,
}

impl Peer {
    /// Where the node is with its group.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.part {
            Part::Parted => Phase::Parted,
            Part::Draining => Phase::Leaving,
            Part::Staying if self.join_at().is_some() => Phase::Joining,
            Part::Staying if self.is_restoring() => Phase::Restoring,
            Part::Staying => Phase::Settled,
        }
    }

    /// How far it is with getting its own segments back.
    #[must_use]
    pub fn restore_view(&self) -> RestoreView {
        let mut view = RestoreView { silent: self.restore_silent(), ..RestoreView::default() };
        for segment in self.mine.segments.values().filter(|segment| segment.release.is_none()) {
            view.segments += 1;
            view.bytes += segment.bytes;
            if segment.live {
                view.live += 1;
                view.live_bytes += segment.bytes;
            } else if let Some(deed) = &segment.deed {
                let here = deed.slots.iter().filter(|slot| slot.holder.is_some_and(|node| self.is_here(node))).count();
                view.needed = view.needed.max(deed.shape.k().saturating_sub(here) as u32);
            }
        }
        view
    }

    /// Segments of others whose missing shards it makes anew just now.
    #[must_use]
    pub fn mending(&self) -> usize {
        self.mends.under_way()
    }

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

    /// The days of safety of a segment of its own: nothing before there is a deed.
    #[must_use]
    pub fn days_of(&self, segment: SegmentName) -> Option<Days> {
        let segment = self.mine.segments.get(&segment)?;
        segment.deed.as_ref().map(|deed| self.days_of_deed(segment, deed))
    }

    /// The days of safety of each member's segments, as far as this node knows of them: its own, and those of which it
    /// holds shards. A segment of its own that has no deed yet has none.
    #[must_use]
    pub fn days_by_member(&self) -> BTreeMap<MemberId, Spread> {
        let mut members: BTreeMap<MemberId, Spread> = BTreeMap::new();
        let own = members.entry(self.identity.member).or_insert(Spread::EMPTY);
        for (name, _) in self.mine.segments.iter().filter(|(_, segment)| segment.release.is_none()) {
            own.add(self.days_of(*name).unwrap_or(Days::NONE));
        }
        for ((owner, _), foreign) in self.theirs.deeds.iter().filter(|((owner, _), _)| *owner != self.node) {
            let days = self.days_of_foreign(foreign);
            members.entry(self.owner_of(*owner)).or_insert(Spread::EMPTY).add(days);
        }
        members
    }

    /// The same of all members together.
    #[must_use]
    pub fn days_of_group(&self) -> Spread {
        let mut all = Spread::EMPTY;
        self.days_by_member().values().for_each(|spread| all.merge(spread));
        all
    }

    /// What it has seen of the others' comings and goings.
    #[must_use]
    pub const fn histories(&self) -> &Histories {
        &self.histories
    }

    /// How quick the others were.
    #[must_use]
    pub const fn speeds(&self) -> &Speeds {
        &self.speeds
    }

    /// How each member stands with this node and with the group.
    #[must_use]
    pub fn standings(&self) -> Vec<MemberView> {
        let mut sums: BTreeMap<MemberId, Sums> = BTreeMap::new();
        for (node, pair) in self.books.pairs() {
            let of_member = sums.entry(self.owner_of(*node)).or_default();
            *of_member = of_member.plus(pair.sums());
        }
        let view = |(member, account): (MemberId, Account)| MemberView {
            member,
            standing: self.standing_of(member),
            sums: sums.get(&member).copied().unwrap_or_default(),
            account,
        };
        self.accounts().into_iter().map(view).collect()
    }

    /// Probes that a holder of its shards has answered and failed.
    #[must_use]
    pub fn probes(&self, holder: NodeId) -> (u32, u32) {
        self.audits.of(holder)
    }
}
