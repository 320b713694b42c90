//! Peers in one process, with one clock that only moves when nothing is left to do, disks in memory and letters that
//! come in order after a fixed delay, unless a test says otherwise. The real pretend world is the simulator's; this one
//! is small, so that each step can be seen.

use crate::yard::Heap;
use okapi_base::machine::{Machine, Moment};
use okapi_base::{Digest, GroupId, MemberId, NodeId, SegmentName, Shape};
use okapi_peers::books::{Exactness, Matter, compare};
use okapi_peers::placement::{Map, Place};
use okapi_peers::{Blob, Care, Done, Event, Identity, Input, Order, Output, Peer, Settings, ShardId, Thing, Work};
use okapi_seal::{Secret, SigningKey, hash};
use okapi_timeline::members;
use okapi_wire::peer::letter::{Body, Letter};
use okapi_wire::peer::shard::Deed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a letter is under way.
const DELAY: Duration = Duration::from_millis(20);
/// Inputs at one moment after which a peer is said to spin.
const SPIN: u32 = 20_000;
/// Bytes of both halves of a node, if a test does not say otherwise.
const HALF: u64 = 1 << 30;

/// A letter as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) letter: Vec<u8>,
    pub(crate) payload: Blob,
}

impl Sent {
    pub(crate) fn body(&self) -> Body {
        Letter::parse(&self.letter).expect("peers send letters").body
    }
}

/// What becomes of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives,
    Lost,
    Late(Duration),
    Doubled,
}

enum Due {
    Letter(Sent),
    Work(usize, u64, Work),
    /// A batch becomes durable.
    Keep(usize, u64, Vec<(Vec<u8>, Option<Vec<u8>>)>),
}

/// One node: its peer while it runs, and what outlives it.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) peer: Option<Peer>,
    pub(crate) disk: Heap,
    pub(crate) kept: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) events: Vec<Event>,
    pub(crate) settings: Settings,
    pub(crate) keys: BTreeMap<SegmentName, Blob>,
    /// Batches do not become durable.
    pub(crate) held_back: bool,
    /// How long a piece of work takes.
    pub(crate) pace: fn(&Work) -> Duration,
    seed: u8,
    runs: u64,
    spin: (Moment, u32),
}

pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) nodes: Vec<Node>,
    pub(crate) fate: Box<dyn FnMut(&Sent) -> Fate>,
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Every letter that was sent, if a test wants to see them.
    pub(crate) sent: Option<Vec<Sent>>,
    /// Letters sent and bytes of their payloads, by kind.
    pub(crate) traffic: BTreeMap<u8, (u64, u64)>,
    /// Nodes whose contracts burnt with their disks: the other sides' come to light when they are needed.
    burnt: BTreeSet<usize>,
    /// Inputs handed to peers so far.
    pub(crate) steps: u64,
    agenda: BTreeMap<(Moment, u64), (u64, Due)>,
    noted: u64,
    /// Placements, which all nodes compute alike: once is enough here.
    maps: BTreeMap<(Vec<Place>, Shape), Arc<Map>>,
}

/// Bytes that differ from seed to seed.
pub(crate) fn bytes(seed: u64, count: usize) -> Blob {
    let mut dice = Dice(seed);
    (0..count).map(|_| dice.throw() as u8).collect()
}

/// Seeded dice (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, below: usize) -> usize {
        (self.throw() % below as u64) as usize
    }
}

/// Who the member of a seed is, with one node.
pub(crate) fn identity(seed: u8) -> Identity {
    let key = |what| SigningKey::from_secret(&Secret::from_bytes([seed; 32]).derive(what, b""));
    let (member, signing) = (key("okapi test: member"), key("okapi test: node"));
    let recipient = [seed; 32];
    let member_signature = members::bind(&member, NodeId(signing.public()), recipient, 0);
    let site = u64::from(seed);
    Identity { member: MemberId(member.public()), signing, recipient, number: 0, member_signature, site }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: Moment(Duration::from_secs(1_800_000_000)),
            nodes: Vec::new(),
            fate: Box::new(|_| Fate::Arrives),
            cut: BTreeSet::new(),
            sent: None,
            traffic: BTreeMap::new(),
            burnt: BTreeSet::new(),
            steps: 0,
            agenda: BTreeMap::new(),
            noted: 0,
            maps: BTreeMap::new(),
        }
    }

    /// A world with so many nodes in one group.
    pub(crate) fn group(count: usize) -> Self {
        let mut world = Self::new();
        world.add();
        for _ in 1..count {
            world.welcome();
        }
        // The list rests, and the placement is of all of them.
        world.run(10 * MINUTE);
        world
    }

    /// Adds a node that is alone, with the usual halves.
    pub(crate) fn add(&mut self) -> usize {
        self.add_with(HALF, HALF)
    }

    pub(crate) fn add_with(&mut self, user_half: u64, server_half: u64) -> usize {
        let seed = self.nodes.len() as u8 + 1;
        self.nodes.push(Node {
            id: NodeId(identity(seed).signing.public()),
            peer: None,
            disk: Heap::new(server_half),
            kept: BTreeMap::new(),
            events: Vec::new(),
            settings: Settings { user_half, server_half, care: Care::FULL },
            keys: BTreeMap::new(),
            held_back: false,
            pace: |_| Duration::ZERO,
            seed,
            runs: 0,
            spin: (Moment::default(), 0),
        });
        self.open(self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Adds a node that joins the group of the first.
    pub(crate) fn welcome(&mut self) -> usize {
        let newcomer = self.add();
        self.join(newcomer, 0);
        newcomer
    }

    /// Has a node join by a ticket of another, and waits until it has.
    pub(crate) fn join(&mut self, newcomer: usize, via: usize) {
        let order = self.ticket(via, 100 + newcomer as u8);
        self.order(newcomer, order);
        let others = self.active();
        let all_know = |world: &Self| {
            let digest = |at: &usize| world.peer(*at).members().version().digest;
            let joined = world.peer(newcomer).group() == world.peer(via).group();
            joined && others.iter().all(|at| digest(at) == digest(&newcomer))
        };
        assert!(self.run_until(HOUR, all_know), "node {newcomer} joins: {:?}", self.nodes[newcomer].events);
    }

    /// The order by which a ticket of `via` lets a node in.
    pub(crate) fn ticket(&mut self, via: usize, secret: u8) -> Order {
        let secret = [secret; 32];
        let expires = (self.now.0 + DAY).as_millis() as u64;
        self.order(via, Order::Invite { secret, expires });
        Order::Join { via: self.nodes[via].id, group: self.peer(via).group(), secret }
    }

    pub(crate) fn peer(&self, at: usize) -> &Peer {
        self.nodes[at].peer.as_ref().expect("the node runs")
    }

    /// The nodes that run and take part in the first one's group.
    pub(crate) fn active(&self) -> Vec<usize> {
        let group = self.nodes.iter().find_map(|node| node.peer.as_ref()).map(Peer::group);
        let takes_part = |at: &usize| {
            let peer = self.nodes[*at].peer.as_ref();
            peer.is_some_and(|peer| Some(peer.group()) == group && peer.members().is_active(peer.node()))
        };
        (0..self.nodes.len()).filter(takes_part).collect()
    }

    pub(crate) fn at(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).expect("nodes have names")
    }

    /// Opens a node from what it kept.
    pub(crate) fn open(&mut self, at: usize) {
        // A later run is a later session.
        self.now = Moment(self.now.0 + Duration::from_millis(1));
        let node = &mut self.nodes[at];
        node.runs += 1;
        let records: Vec<_> = node.kept.clone().into_iter().collect();
        let mut entropy = [node.seed; 32];
        entropy[..8].copy_from_slice(&node.runs.to_le_bytes());
        let opened = Peer::open(identity(node.seed), node.settings.clone(), entropy, self.now, &records);
        let peer = opened.expect("what was kept can be read");
        node.disk.sweep(&peer.held().map(|(shard, _)| shard).collect());
        let closed: Vec<_> = node.disk.segments.iter().map(|(name, bytes)| (*name, bytes.len() as u64)).collect();
        node.peer = Some(peer);
        self.drain(at);
        for (segment, bytes) in closed {
            let key = self.nodes[at].keys[&segment].clone();
            self.input(at, Input::Closed { segment, bytes, key });
        }
    }

    /// Stops a node; what was not durable is lost.
    pub(crate) fn crash(&mut self, at: usize) {
        self.nodes[at].peer = None;
        self.nodes[at].runs += 1;
        self.nodes[at].held_back = false;
    }

    /// A node's machine burns: what it kept is lost, and its peer starts anew with its old keys.
    pub(crate) fn burn(&mut self, at: usize) {
        self.crash(at);
        self.burnt.insert(at);
        let node = &mut self.nodes[at];
        node.kept.clear();
        node.disk = Heap::new(node.disk.room);
        node.keys.clear();
        node.events.clear();
        self.open(at);
    }

    /// A node closes a segment of so many bytes.
    pub(crate) fn put(&mut self, at: usize, count: usize) -> SegmentName {
        self.noted += 1;
        let content = bytes(self.noted, count);
        let name = SegmentName(hash(&content).0);
        let key: Blob = bytes(self.noted ^ 0xff00, 48);
        self.nodes[at].disk.segments.insert(name, content);
        self.nodes[at].keys.insert(name, key.clone());
        self.input(at, Input::Closed { segment: name, bytes: count as u64, key });
        name
    }

    pub(crate) fn order(&mut self, at: usize, order: Order) {
        self.input(at, Input::Order(order));
    }

    /// Hands a node an input now.
    pub(crate) fn input(&mut self, at: usize, input: Input) {
        self.steps += 1;
        let now = self.now;
        let Some(peer) = self.nodes[at].peer.as_mut() else { return };
        peer.handle(now, input);
        self.drain(at);
    }

    fn note(&mut self, after: Duration, run: u64, due: Due) {
        self.noted += 1;
        self.agenda.insert((Moment(self.now.0 + after), self.noted), (run, due));
    }

    fn drain(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].peer.as_mut().and_then(Peer::poll) {
            let node = &mut self.nodes[at];
            let run = node.runs;
            match output {
                Output::Send { to, letter, payload } => {
                    let Some(to) = self.nodes.iter().position(|node| node.id == to) else {
                        // A record that was signed in another run tells of a node that is not in this one.
                        let is_member = self.peer(at).members().get(to).is_some();
                        assert!(is_member, "node {at} writes to {to:?}, which is no member");
                        continue;
                    };
                    self.send(Sent { from: at, to, letter, payload });
                }
                Output::Keep { .. } if node.held_back => {}
                Output::Keep { ticket, writes } => self.note(Duration::ZERO, run, Due::Keep(at, ticket, writes)),
                Output::Work { ticket, work } => {
                    let pace = (node.pace)(&work);
                    self.note(pace, run, Due::Work(at, ticket, work));
                }
                Output::Event(event) => node.events.push(event),
            }
        }
    }

    /// Puts a letter on its way.
    pub(crate) fn send(&mut self, sent: Sent) {
        let (letters, bytes) = self.traffic.entry(sent.letter[1]).or_default();
        (*letters, *bytes) = (*letters + 1, *bytes + sent.payload.len() as u64);
        if let Some(all) = &mut self.sent {
            all.push(sent.clone());
        }
        if self.cut.contains(&(sent.from, sent.to)) {
            return;
        }
        match (self.fate)(&sent) {
            Fate::Lost => {}
            Fate::Arrives => self.note(DELAY, 0, Due::Letter(sent)),
            Fate::Late(more) => self.note(DELAY + more, 0, Due::Letter(sent)),
            Fate::Doubled => {
                self.note(DELAY, 0, Due::Letter(sent.clone()));
                self.note(DELAY * 3, 0, Due::Letter(sent));
            }
        }
    }

    /// Does the next thing that is due before `until`; tells which node had an input, or nothing if the time is over.
    pub(crate) fn step(&mut self, until: Moment) -> Option<usize> {
        loop {
            let wake = |at: usize| self.nodes[at].peer.as_ref()?.wake_at().map(|due| (due.max(self.now), at));
            let wake = (0..self.nodes.len()).filter_map(wake).min();
            let first = self.agenda.first_key_value().map(|(key, _)| *key);
            let (due, node) = match (first, wake) {
                (Some((due, _)), Some((at, _))) if due <= at => (due, None),
                (_, Some((at, node))) => (at, Some(node)),
                (Some((due, _)), None) => (due, None),
                (None, None) => (until, None),
            };
            if due > until || (first.is_none() && node.is_none()) {
                self.now = until;
                return None;
            }
            self.now = self.now.max(due);
            let at = match node {
                Some(node) => {
                    self.spun(node);
                    self.input(node, Input::Wake);
                    Some(node)
                }
                None => self.next_due(),
            };
            if at.is_some() {
                return at;
            }
        }
    }

    fn next_due(&mut self) -> Option<usize> {
        let (_, (run, due)) = self.agenda.pop_first().expect("it was just seen");
        let is_this_run = |at: usize| self.nodes[at].runs == run;
        let (at, input) = match due {
            Due::Letter(Sent { from, to, letter, payload }) => {
                (to, Input::Received { from: self.nodes[from].id, letter, payload })
            }
            Due::Work(at, ticket, work) if is_this_run(at) => {
                let done = match work {
                    Work::Place { places, seed, shape } => Done::Placed(self.map(&places, seed, shape)),
                    work => self.nodes[at].disk.work(work),
                };
                (at, Input::Worked { ticket, done })
            }
            Due::Keep(at, ticket, writes) if is_this_run(at) => {
                for (key, value) in writes {
                    match value {
                        Some(value) => self.nodes[at].kept.insert(key, value),
                        None => self.nodes[at].kept.remove(&key),
                    };
                }
                (at, Input::Kept { ticket })
            }
            _ => return None,
        };
        self.nodes[at].peer.as_ref()?;
        self.input(at, input);
        Some(at)
    }

    fn map(&mut self, places: &[Place], seed: Digest, shape: Shape) -> Arc<Map> {
        let map = self.maps.entry((places.to_vec(), shape));
        map.or_insert_with(|| Arc::new(Map::new(places, &seed, shape))).clone()
    }

    /// A peer that wants to be woken again and again at one moment is broken.
    fn spun(&mut self, at: usize) {
        let spin = &mut self.nodes[at].spin;
        *spin = if spin.0 == self.now { (self.now, spin.1 + 1) } else { (self.now, 0) };
        assert!(spin.1 < SPIN, "node {at} spins");
    }

    /// Runs until `is_it`, looked at after every input, or for `limit`; tells whether it is.
    pub(crate) fn run_until(&mut self, limit: Duration, mut is_it: impl FnMut(&Self) -> bool) -> bool {
        let until = Moment(self.now.0 + limit);
        while !is_it(self) {
            if self.step(until).is_none() {
                return is_it(self);
            }
        }
        true
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Whether a node was told that a segment of its own is safe, as which shape last.
    pub(crate) fn safe(&self, at: usize, name: SegmentName) -> Option<Shape> {
        self.nodes[at].events.iter().rev().find_map(|event| match event {
            Event::Safe { segment, shape } if *segment == name => Some(*shape),
            _ => None,
        })
    }

    /// How many more nodes can be lost until a segment is, by what really lies on the disks of nodes that take part,
    /// the live segment left out; nothing if it is lost already.
    pub(crate) fn survives(&self, owner: usize, name: SegmentName) -> Option<usize> {
        let owner = self.nodes[owner].id;
        let mut by_k: BTreeMap<u8, (BTreeSet<u8>, BTreeSet<usize>)> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let first = ShardId { owner, segment: name, k: 0, index: 0 };
            let last = ShardId { owner, segment: name, k: u8::MAX, index: u8::MAX };
            for shard in node.disk.shards.range(first..=last).map(|(shard, _)| shard) {
                let (indexes, nodes) = by_k.entry(shard.k).or_default();
                indexes.insert(shard.index);
                nodes.insert(at);
            }
        }
        // No plan gives one node two shards of a segment for long, so that the fewer of both is what counts.
        let spare = |(k, (indexes, nodes)): (&u8, &(BTreeSet<u8>, BTreeSet<usize>))| {
            if *k == 1 {
                nodes.len().checked_sub(1)
            } else {
                indexes.len().min(nodes.len()).checked_sub(usize::from(*k))
            }
        };
        by_k.iter().filter_map(spare).max()
    }

    /// The owner's deed of a segment: who holds which index.
    pub(crate) fn holders(&self, owner: usize, name: SegmentName) -> Vec<Option<usize>> {
        let segment = self.peer(owner).segments().find(|segment| segment.name == name).expect("it is there");
        let slots = segment.deed.map_or(Vec::new(), |deed| deed.slots.clone());
        slots.iter().map(|slot| slot.holder.map(|node| self.at(node))).collect()
    }

    /// Whether a segment lies as its present shape wants it, and nothing is under way.
    pub(crate) fn is_complete(&self, owner: usize, name: SegmentName, shape: Shape) -> bool {
        self.peer(owner).segments().find(|segment| segment.name == name).is_some_and(|segment| {
            let whole = |deed: &Deed| deed.shape == shape && deed.slots.iter().all(|slot| slot.holder.is_some());
            segment.deed.is_some_and(whole) && !segment.busy
        })
    }

    /// Whether no peer has anything under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.nodes.iter().filter_map(|node| node.peer.as_ref()).all(Peer::is_quiet)
    }

    /// What is wrong between the running nodes of one group once everything has arrived: books that differ, shards that
    /// nobody named, deeds that name what is not there.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let active = self.active();
        for &owner in &active {
            self.peer(owner).books().recount();
            for &holder in active.iter().filter(|holder| **holder != owner) {
                let (one, other) = (self.peer(owner).books(), self.peer(holder).books());
                let burnt = self.burnt.contains(&owner) || self.burnt.contains(&holder);
                for difference in compare(one, other, Exactness::Settled) {
                    if burnt && matches!(difference.matter, Matter::Contract(..)) {
                        continue;
                    }
                    faults
                        .push(format!("books of {owner} with {holder}: {} ({:?})", difference.what, difference.matter));
                }
            }
        }
        for &at in &active {
            let held: BTreeMap<ShardId, u64> = self.peer(at).held().collect();
            let lies: BTreeMap<ShardId, u64> =
                self.nodes[at].disk.shards.iter().map(|(shard, bytes)| (*shard, bytes.len() as u64)).collect();
            if held != lies {
                faults.push(format!("node {at} knows of {} shards and has {}", held.len(), lies.len()));
            }
            for shard in held.keys() {
                let owner = self.at(shard.owner);
                let named = active.contains(&owner) && self.names(owner, *shard, at);
                if active.contains(&owner) && !named {
                    faults.push(format!(
                        "node {at} holds shard {}.{} that {owner} does not give it",
                        shard.k, shard.index
                    ));
                }
            }
            for segment in self.peer(at).segments() {
                let Some(deed) = segment.deed else { continue };
                for (index, slot) in (0..).zip(&deed.slots) {
                    let Some(holder) = slot.holder.map(|node| self.at(node)).filter(|node| active.contains(node))
                    else {
                        continue;
                    };
                    let shard = ShardId { owner: deed.owner, segment: deed.segment, k: deed.shape.k() as u8, index };
                    if !self.nodes[holder].disk.shards.contains_key(&shard) {
                        faults.push(format!("{at}'s deed names {holder} for index {index}, which does not have it"));
                    }
                }
            }
        }
        faults
    }

    fn names(&self, owner: usize, shard: ShardId, holder: usize) -> bool {
        let segment = self.peer(owner).segments().find(|segment| segment.name == shard.segment);
        let deed = segment.and_then(|segment| segment.deed);
        deed.is_some_and(|deed| {
            deed.shape.k() == usize::from(shard.k)
                && deed.slots.get(usize::from(shard.index)).and_then(|slot| slot.holder) == Some(self.nodes[holder].id)
        })
    }

    /// Runs until nothing is wrong and nothing is under way; tells whether that came about.
    pub(crate) fn settles(&mut self, limit: Duration) -> bool {
        let mut looked = self.now;
        self.run_until(limit, |world| {
            // It is looked at now and then: it costs too much after every input.
            if world.now.0 < looked.0 + SECOND {
                return false;
            }
            looked = world.now;
            world.is_quiet() && world.faults().is_empty()
        })
    }

    pub(crate) fn settle(&mut self, limit: Duration) {
        assert!(self.settles(limit), "quiet: {}, {:#?}", self.is_quiet(), self.faults());
    }

    pub(crate) fn group_name(&self) -> GroupId {
        self.peer(0).group()
    }

    /// Damages a shard on a node's disk, and has its scrub find it.
    pub(crate) fn damage(&mut self, at: usize, shard: ShardId) {
        use okapi_peers::labour::Yard;
        self.nodes[at].disk.drop_shard(shard);
        self.input(at, Input::Damaged(Thing::Shard(shard)));
    }
}
