//! The whole node as one machine: it thinks, and never acts.
//!
//! One input, then drain. Each flow has its own file: [`join`], [`spatter`], [`reshape`], [`repair`] (of one's own
//! segments) and [`mend`] (of those whose owner is gone), [`audit`], [`restore`], [`part`]; what they share is below
//! them: the plan of a segment, what is held for others, contracts and books, the pulse of the group, letters.

mod audit;
mod days;
mod dice;
mod entries;
mod gather;
mod hold;
mod identity;
mod join;
mod keep;
mod kept;
mod log;
mod maps;
mod mend;
mod open;
mod own;
mod pact;
mod part;
mod plan;
mod post;
mod pulse;
mod refusal;
mod repair;
mod reshape;
mod restore;
mod review;
mod seen;
mod segment;
mod spatter;
mod standing;
mod tell;
mod view;
mod work;

pub use self::audit::join_proofs;
pub use self::identity::Identity;
pub use self::open::OpenError;
pub use self::pulse::Contact;
pub use self::refusal::{Refusal, Refusals};
pub use self::view::{MemberView, Phase, RestoreView, SegmentView};

use self::audit::Audits;
use self::dice::Dice;
use self::gather::Gather;
use self::hold::{Offer, Theirs};
use self::join::{Join, Ticket};
use self::keep::{Keeper, Then};
use self::log::Logs;
use self::maps::Maps;
use self::mend::Mends;
use self::pact::Pacts;
use self::part::Part;
use self::post::{Mail, Post, nothing};
use self::pulse::Pulses;
use self::restore::Restore;
use self::review::Urgency;
use self::segment::Mine;
use self::standing::Standings;
use self::work::Job;
use crate::books::Books;
use crate::history::Histories;
use crate::machine::{Blob, Event, Input, Order, Output, Work};
use crate::measure::Speeds;
use crate::safety::Pace;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use okapi_base::machine::{Machine, Moment};
use okapi_base::{GroupId, NodeId, SegmentName};
use okapi_timeline::MemberList;
use okapi_wire::peer::letter::{Body, Letter};
use okapi_wire::peer::member::Attestation;

/// What a node is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of its own live segments.
    pub user_half: u64,
    /// Bytes it offers to others.
    pub server_half: u64,
    /// What the real network does and a naive one would not: only the simulator turns these off, to prove that its
    /// checkers notice.
    pub care: Care,
}

/// The precautions whose worth the simulator proves by leaving one out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Care {
    /// Wait for a node's usual absence to pass before repairing what it holds.
    pub grace: bool,
    /// Draw witnesses from the log and sequence, never from what is written.
    pub draw_by_place: bool,
    /// Keep the old shards until all new ones are confirmed.
    pub place_before_release: bool,
    /// Ask for the last head of one's own log before appending.
    pub ask_head: bool,
    /// Challenge holders to prove what they hold.
    pub audit: bool,
}

impl Care {
    /// All of them: what every real node takes.
    pub const FULL: Self =
        Self { grace: true, draw_by_place: true, place_before_release: true, ask_head: true, audit: true };
}

/// A node.
#[derive(Debug)]
pub struct Peer {
    identity: Identity,
    node: NodeId,
    settings: Settings,
    now: Moment,
    outputs: VecDeque<Output>,
    dice: Dice,
    keeper: Keeper,
    post: Post,
    refusals: Refusals,
    jobs: BTreeMap<u64, Job>,
    last_work: u64,

    group: GroupId,
    members: MemberList,
    list_changed_at: Moment,
    join: Join,
    tickets: BTreeMap<[u8; 32], Ticket>,
    last_serial: u64,
    part: Part,
    pulses: Pulses,
    histories: Histories,
    /// When it was last kept until when this node has listened.
    listening_kept: Moment,
    speeds: Speeds,
    pace: Pace,

    mine: Mine,
    /// Segments that need something, the most urgent first.
    ready: BTreeSet<(Urgency, SegmentName)>,
    resting: BTreeSet<(Moment, SegmentName)>,
    awaiting_map: BTreeSet<SegmentName>,
    safe_when_kept: BTreeSet<SegmentName>,
    maps: Maps,
    theirs: Theirs,
    gathers: BTreeMap<(NodeId, SegmentName), Gather>,
    mends: Mends,
    restore: Restore,
    audits: Audits,

    books: Books,
    pacts: Pacts,
    standings: Standings,
    attested: BTreeMap<NodeId, Attestation>,

    logs: Logs,
}

impl Machine for Peer {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, now: Moment, input: Input) {
        assert!(self.outputs.is_empty(), "a peer is drained before its next input");
        self.now = now.max(self.now);
        self.forgive_own_absence();
        match input {
            Input::Wake => {}
            Input::Received { from, letter, payload } => self.received(from, &letter, payload),
            Input::Kept { ticket } => {
                for then in self.keeper.kept(ticket) {
                    self.then(then);
                }
            }
            Input::Worked { ticket, done } => self.worked(ticket, done),
            Input::Closed { segment, bytes, key } => self.closed(segment, bytes, key),
            Input::Released { segment } => self.release(segment),
            Input::Damaged(thing) => self.damaged(thing),
            Input::Unreached { node } => self.unreached(node),
            Input::Relinked { node } => self.relinked(node),
            Input::Order(order) => self.ordered(&order),
        }
        self.go_on();
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn wake_at(&self) -> Option<Moment> {
        let plans = self.mine.planned.iter().filter_map(|name| self.plan(*name)).filter_map(plan::Plan::wake_at).min();
        [
            self.pulses.wake_at(),
            self.join_at(),
            self.restore_at(),
            self.review_at(),
            self.mine.tell_next.first().map(|(at, _)| *at),
            self.theirs.wake_at(),
            self.gathers.values().filter_map(Gather::wake_at).min(),
            self.mends.wake_at(),
            self.audits.wake_at(),
            self.pacts.wake_at(),
            self.maps_at(),
            self.logs_at(),
            plans,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl Peer {
    /// Does whatever time, or what just happened, has made due.
    fn go_on(&mut self) {
        self.beat();
        self.go_on_joining();
        self.go_on_restoring();
        self.compute_maps();
        self.expire_inbound();
        self.expire_gathers();
        let planned: Vec<SegmentName> = self.mine.planned.iter().copied().collect();
        for name in planned {
            if self.plan(name).and_then(plan::Plan::wake_at).is_some_and(|at| at <= self.now) {
                self.pump(name);
            }
        }
        self.review();
        self.tell();
        self.mend();
        self.restore_more();
        self.audit();
        self.upkeep();
        self.go_on_logging();
        self.outputs.extend(self.keeper.flush());
    }

    fn ordered(&mut self, order: &Order) {
        match *order {
            Order::Invite { secret, expires } => self.invite(secret, expires),
            Order::Join { via, group, secret } => self.join(via, group, secret),
            Order::Restore { via } => self.restore(via),
            Order::Promise { bytes } => {
                self.settings.server_half = bytes;
                self.books.set_caps(self.caps());
                self.revise_own();
            }
            Order::Leave => self.leave(),
            Order::LeaveNow => self.leave_now(),
            Order::Lost { node } => self.count_as_gone(node),
        }
    }

    fn then(&mut self, then: Then) {
        match then {
            Then::Send(mail) => {
                self.post_mail(mail);
            }
            Then::Committed(name) => self.committed(name),
            Then::Logged(sequence) => self.logged(sequence),
            Then::Drop(shard) => self.work(Job::Drop(shard), Work::DropShard { shard }),
        }
    }

    fn received(&mut self, from: NodeId, letter: &[u8], payload: Blob) {
        if from == self.node {
            return self.refuse(Refusal::NotYours);
        }
        let (letter, anew) = match self.post.open(self.now, from, letter, &payload) {
            Ok(opened) => opened,
            Err(refusal) => return self.refuse(refusal),
        };
        match self.may_speak(from, &letter.body) {
            Ok(()) => {
                self.heard(from);
                if anew {
                    self.started_anew(from);
                }
                self.read(from, letter, payload);
            }
            Err(refusal) => self.refuse(refusal),
        }
        if self.members.get(from).is_none() && !self.is_asked(from) {
            self.post.forget(from);
        }
    }

    /// Whether a node that is no member here was asked to let this one in, or back in.
    fn is_asked(&self, node: NodeId) -> bool {
        match &self.join {
            Join::Asking(asking) | Join::Vouched(asking, ..) => asking.via == node,
            Join::Settled => self.is_restoring_from(node),
        }
    }

    /// Strangers may only ask to join and show who they are; and a node on its way into a group listens to whom it asked.
    fn may_speak(&self, from: NodeId, body: &Body) -> Result<(), Refusal> {
        let may = match body {
            Body::JoinAsk(..) => true,
            Body::JoinYes(_) | Body::JoinNo(_) => self.is_asked(from),
            Body::Records(_) => self.is_asked(from) || self.check_signer(from) != Err(Refusal::Parted),
            _ => self.is_active(from),
        };
        if may { Ok(()) } else { Err(self.check_signer(from).err().unwrap_or(Refusal::Unasked)) }
    }

    fn read(&mut self, from: NodeId, letter: Letter, payload: Blob) {
        match letter.body {
            Body::Ping(ping) => self.pinged(from, letter.number, &ping),
            Body::Pong(number, ping) => self.ponged(from, number, &ping),
            Body::Summary(summary) => self.summarised(from, &summary),
            Body::Records(records) => self.learned(from, records),
            Body::Log(message) => self.log_said(from, message),
            Body::JoinAsk(secret, pledge) => self.asked_to_join(from, secret, &pledge),
            Body::JoinYes(vouch) => self.vouched(from, vouch),
            Body::JoinNo(why) => self.turned_away(from, why),
            Body::Offer(deed, index, amendment) => self.offered(Offer { from, deed, index, amendment }),
            Body::Want(shard) => self.wanted(from, shard),
            Body::Place(shard) => self.came(from, shard, payload),
            Body::Receipt(receipt) => self.receipted(from, &receipt),
            Body::Refuse(shard, why) => self.refused(from, shard, why),
            Body::Revise(deed) => self.revised(from, &deed),
            Body::Release(release) => self.released(from, &release),
            Body::Revised(segment, revision) => self.knows(from, segment, revision),
            Body::Fetch(shard) => self.fetched(from, shard),
            Body::Shard(shard) => self.fetch_came(from, shard, payload),
            Body::FetchNo(shard, why) => self.fetch_refused(from, shard, why),
            Body::Challenge(shard, number, leaves) => self.challenged(from, shard, number, leaves),
            Body::Proof(shard, number) => self.proof_came(from, shard, number, &payload),
            Body::DeedsAsk(owner, after) => self.asked_for_deeds(from, owner, after),
            Body::Deeds(owner, more, deeds) => self.deeds_came(from, owner, more, deeds),
            Body::InventoryAsk(after) => self.asked_for_inventory(from, after),
            Body::Inventory(after, more, lines) => self.inventory_came(from, after, more, &lines),
            Body::Amended(amendment) => self.amended(amendment),
            Body::Attest(attestation) => self.attested(from, attestation),
            Body::Propose(proposal) => self.proposed(from, &proposal),
            Body::Agree(contract) => self.agreed(from, contract),
            Body::Decline(revision, most) => self.declined(from, revision, most),
            Body::End(ending) => self.ended(from, ending),
        }
    }

    /// Sends a letter; tells its number.
    fn send(&mut self, to: NodeId, body: Body) -> u64 {
        self.send_with(to, body, nothing())
    }

    fn send_with(&mut self, to: NodeId, body: Body, payload: Blob) -> u64 {
        self.post_mail(Mail { to, body, payload })
    }

    fn post_mail(&mut self, mail: Mail) -> u64 {
        let (number, output) = self.post.send(self.now, mail);
        self.outputs.push_back(output);
        number
    }

    /// Sends a letter that promises what is being kept: not before that is durable.
    fn send_when_kept(&mut self, mail: Mail) {
        if self.keeper.is_durable() {
            self.post_mail(mail);
        } else {
            self.keeper.then(Then::Send(mail));
        }
    }

    fn tell_user(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Milliseconds since 1970.
    fn stamp(&self) -> u64 {
        post::stamp(self.now)
    }

    /// Some of `all`, drawn at random, each at most once.
    fn draw(&mut self, all: &[NodeId], most: usize) -> Vec<NodeId> {
        let mut left = all.to_vec();
        let mut drawn = Vec::new();
        while drawn.len() < most && !left.is_empty() {
            let at = self.dice.below(left.len() as u64) as usize;
            drawn.push(left.swap_remove(at));
        }
        drawn
    }
}
