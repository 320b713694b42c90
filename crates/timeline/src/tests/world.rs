//! A pretend world of authors and witnesses, from a seed.

use crate::act::{Act, World};
use crate::author::Author;
use crate::chain::tests::key;
use crate::draw::{Roster, Rosters};
use crate::limits::HEAD_PATIENCE_MAX;
use crate::witness::Witness;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use okapi_base::machine::Moment;
use okapi_base::{Digest, MemberId, NodeId};
use okapi_seal::{Hasher, SigningKey};
use okapi_wire::peer::entry::{LOG_MESSAGE_MAX, LogMessage};
use okapi_wire::peer::member::Version;
use okapi_wire::{BodyWriter, Message};

/// Numbers from a seed.
pub(super) struct Dice(Hasher, u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Hasher::new("okapi test: dice").add(&seed.to_le_bytes()), 0)
    }

    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.1 += 1;
        let digest = self.0.clone().add(&self.1.to_le_bytes()).digest();
        u64::from_le_bytes(digest.0[..8].try_into().unwrap()) % below
    }

    pub(super) fn one_in(&mut self, of: u64) -> bool {
        of > 0 && self.below(of) == 0
    }
}

/// Kept records, by the machine they are of and their key.
pub(super) type Disk = BTreeMap<Key, Vec<u8>>;
pub(super) type Key = (char, Vec<u8>);

/// Writes that become durable together, and what may be done then.
#[derive(Default)]
struct Batch {
    writes: Vec<(Key, Option<Vec<u8>>)>,
    thens: Vec<Act>,
}

pub(super) struct Node {
    key: SigningKey,
    pub(super) id: NodeId,
    pub(super) author: Author,
    pub(super) witness: Witness,
    rosters: Rosters,
    up: bool,
    pub(super) disk: Disk,
    batches: VecDeque<Batch>,
    /// What it wanted to say, in order, and how much of that was durable at one time or another.
    pub(super) said: Vec<Vec<u8>>,
}

/// How unkind the world is: once in so many times, never if 0.
#[derive(Clone, Copy, Default)]
pub(super) struct Trouble {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) late: u64,
    pub(super) crash: u64,
}

pub(super) struct Tale {
    pub(super) now: Moment,
    pub(super) dice: Dice,
    pub(super) nodes: Vec<Node>,
    mail: BTreeMap<(Moment, u64), (usize, usize, LogMessage)>,
    pub(super) sent: u64,
    pub(super) trouble: Trouble,
    pub(super) ask_head: bool,
    by_place: bool,
    list: u64,
    /// Every confirmation that was ever sent: by log and sequence, the hash.
    pub(super) confirmed: BTreeMap<(NodeId, u64), BTreeSet<Digest>>,
    pub(super) forked: BTreeSet<NodeId>,
    /// Messages and bytes by kind.
    pub(super) traffic: BTreeMap<&'static str, (u64, u64)>,
}

fn version(number: u64) -> Version {
    Version { number, digest: okapi_seal::hash(&number.to_le_bytes()) }
}

fn kind_of(message: &LogMessage) -> &'static str {
    match message {
        LogMessage::Submit { .. } => "submit",
        LogMessage::Confirmed(_) => "confirmed",
        LogMessage::Known { .. } | LogMessage::Advance { .. } | LogMessage::Refused { .. } => "corrections",
        LogMessage::Forked(_) => "forks",
        _ => "questions",
    }
}

impl Tale {
    pub(super) fn new(seed: u64, count: u8) -> Self {
        let mut tale = Self {
            now: Moment(Duration::from_secs(1_800_000_000)),
            dice: Dice::new(seed),
            nodes: Vec::new(),
            mail: BTreeMap::new(),
            sent: 0,
            trouble: Trouble::default(),
            ask_head: true,
            by_place: true,
            list: 0,
            confirmed: BTreeMap::new(),
            forked: BTreeSet::new(),
            traffic: BTreeMap::new(),
        };
        for number in 0..count {
            let key = key(number);
            let id = NodeId(key.public());
            let author = Author::open(id, [], true, tale.now).unwrap();
            let witness = Witness::default();
            let rosters = Rosters::default();
            let (disk, batches, said) = (Disk::new(), VecDeque::new(), Vec::new());
            tale.nodes.push(Node { key, id, author, witness, rosters, up: true, disk, batches, said });
        }
        tale.new_list();
        tale
    }

    /// The member list changes: all learn of it now.
    pub(super) fn new_list(&mut self) {
        self.list += 1;
        for at in 0..self.nodes.len() {
            self.learn_list(at);
        }
    }

    fn learn_list(&mut self, at: usize) {
        let seats = self.nodes.iter().map(|node| (node.id, MemberId(node.id.0)));
        let roster = Arc::new(Roster::new(seats));
        self.nodes[at].rosters.push(version(self.list), roster);
    }

    /// Calls one node, and does what it asks for.
    pub(super) fn with<R>(&mut self, at: usize, call: impl FnOnce(&mut Author, &mut Witness, &World<'_>) -> R) -> R {
        let up: BTreeSet<NodeId> = self.nodes.iter().filter(|node| node.up).map(|node| node.id).collect();
        let node = &mut self.nodes[at];
        let world = World {
            now: self.now,
            key: &node.key,
            rosters: &node.rosters,
            is_here: &|id| up.contains(&id),
            is_counted_on: &|_| true,
            by_place: self.by_place,
        };
        let answer = call(&mut node.author, &mut node.witness, &world);
        let mut batch = Batch::default();
        let mut now = Vec::new();
        let acts = core::iter::from_fn(|| node.author.poll()).map(|act| ('a', act)).collect::<Vec<_>>();
        let theirs = core::iter::from_fn(|| node.witness.poll()).map(|act| ('w', act));
        for (machine, act) in acts.into_iter().chain(theirs) {
            match act {
                Act::Keep(key, value) => batch.writes.push(((machine, key), value)),
                Act::SendWhenKept(..) | Act::TellWhenKept(_) => batch.thens.push(act),
                Act::Send(to, message) => now.push((to, message)),
                Act::Behind => {}
                Act::Forked(proof) => {
                    let log = crate::fork::verify(&proof).expect("a machine shows only proofs that hold");
                    self.forked.insert(log);
                }
            }
        }
        if !batch.writes.is_empty() || !batch.thens.is_empty() {
            node.batches.push_back(batch);
        }
        now.into_iter().for_each(|(to, message)| self.send(at, to, &message));
        answer
    }

    fn send(&mut self, from: usize, to: NodeId, message: &LogMessage) {
        let mut bytes = Vec::new();
        message.encode(&mut BodyWriter::new(&mut bytes));
        assert!(bytes.len() <= LOG_MESSAGE_MAX, "a message of {} bytes", bytes.len());
        let traffic = self.traffic.entry(kind_of(message)).or_default();
        *traffic = (traffic.0 + 1, traffic.1 + bytes.len() as u64);
        if let LogMessage::Confirmed(all) = message {
            for one in all {
                self.confirmed.entry((one.log, one.sequence)).or_default().insert(one.hash);
            }
        }
        let Some(to) = self.nodes.iter().position(|node| node.id == to) else { return };
        let parsed = LogMessage::parse(&bytes).expect("what is sent can be read");
        if self.dice.one_in(self.trouble.lost) {
            return;
        }
        let copies = 1 + u64::from(self.dice.one_in(self.trouble.doubled));
        for _ in 0..copies {
            let mut millis = 20 + self.dice.below(60);
            if self.dice.one_in(self.trouble.late) {
                millis += self.dice.below(60_000);
            }
            self.sent += 1;
            self.mail
                .insert((Moment(self.now.0 + Duration::from_millis(millis)), self.sent), (from, to, parsed.clone()));
        }
    }

    fn deliver(&mut self, from: usize, to: usize, message: LogMessage) {
        if !self.nodes[to].up || !self.nodes[from].up {
            return;
        }
        let (from, own) = (self.nodes[from].id, self.nodes[to].id);
        self.with(to, |author, witness, world| hear(author, witness, world, own, from, message));
    }

    /// The oldest batch of a node becomes durable.
    fn durable(&mut self, at: usize) {
        let Some(batch) = self.nodes[at].batches.pop_front() else { return };
        for (key, value) in batch.writes {
            match value {
                Some(value) => self.nodes[at].disk.insert(key, value),
                None => self.nodes[at].disk.remove(&key),
            };
        }
        for then in batch.thens {
            match then {
                Act::SendWhenKept(to, message) => self.send(at, to, &message),
                Act::TellWhenKept(sequence) => self.with(at, |author, _, world| author.kept(world, sequence)),
                _ => unreachable!("nothing else waits"),
            }
        }
    }

    pub(super) fn say(&mut self, at: usize, body: &str) {
        if self.nodes[at].up {
            let body = body.as_bytes().to_vec();
            self.nodes[at].said.push(body.clone());
            let written = self.with(at, |author, _, world| author.append(world, 9, body));
            assert!(written.is_ok() || self.nodes[at].author.is_forked(), "{written:?}");
        }
    }

    pub(super) fn crash(&mut self, at: usize) {
        self.nodes[at].up = false;
        // Some of what was under way may have become durable, in order.
        for _ in 0..self.dice.below(3) {
            if let Some(batch) = self.nodes[at].batches.pop_front() {
                for (key, value) in batch.writes {
                    match value {
                        Some(value) => self.nodes[at].disk.insert(key, value),
                        None => self.nodes[at].disk.remove(&key),
                    };
                }
            }
        }
        self.nodes[at].batches.clear();
    }

    pub(super) fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let of = |machine: char| {
            let records = node.disk.iter().filter(move |((of, _), _)| *of == machine);
            records.map(|((_, key), value)| (&key[..], &value[..]))
        };
        node.author = Author::open(node.id, of('a'), self.ask_head, self.now).expect("its own records");
        node.witness = Witness::open(of('w')).expect("its own records");
        node.rosters = Rosters::default();
        node.up = true;
        self.learn_list(at);
        let id = self.nodes[at].id;
        for other in 0..self.nodes.len() {
            if other != at && self.nodes[other].up {
                let theirs = self.nodes[other].id;
                self.with(other, |author, _, world| author.came_back(world, id));
                self.with(at, |author, _, world| author.came_back(world, theirs));
            }
        }
        self.with(at, |author, _, world| author.go_on(world));
    }

    /// One step: time goes to whatever comes next.
    fn step(&mut self, until: Moment) -> bool {
        if self.dice.one_in(self.trouble.crash) {
            let at = self.dice.below(self.nodes.len() as u64) as usize;
            if self.nodes[at].up { self.crash(at) } else { self.start(at) }
        }
        let wakes = self.nodes.iter().enumerate().filter(|(_, node)| node.up);
        let wake = wakes.filter_map(|(at, node)| node.author.wake_at().map(|moment| (moment, at))).min();
        let mail = self.mail.first_key_value().map(|((at, _), _)| *at);
        let next = [wake.map(|(at, _)| at), mail].into_iter().flatten().min();
        let busy: Vec<usize> = (0..self.nodes.len()).filter(|at| !self.nodes[*at].batches.is_empty()).collect();
        // A disk takes its time, but less than a tenth of a second.
        let disk =
            self.dice.one_in(2) || next.is_none_or(|next| next > Moment(self.now.0 + Duration::from_millis(100)));
        if disk && !busy.is_empty() {
            let at = busy[self.dice.below(busy.len() as u64) as usize];
            self.durable(at);
            return true;
        }
        match next.filter(|next| *next <= until) {
            None => {
                self.now = until;
                return false;
            }
            Some(next) if mail == Some(next) => {
                self.now = self.now.max(next);
                let (_, (from, to, message)) = self.mail.pop_first().expect("there is mail");
                self.deliver(from, to, message);
            }
            Some(next) => {
                self.now = self.now.max(next);
                let at = wake.expect("someone wakes").1;
                self.with(at, |author, _, world| author.go_on(world));
            }
        }
        true
    }

    pub(super) fn run(&mut self, long: Duration) {
        let until = Moment(self.now.0 + long);
        let mut steps = 0_u64;
        while self.step(until) {
            steps += 1;
            assert!(steps < 2_000_000, "they never come to rest");
        }
    }

    /// The trouble is over: everyone is up, and has time.
    pub(super) fn rest(&mut self) {
        self.trouble = Trouble::default();
        for at in 0..self.nodes.len() {
            if !self.nodes[at].up {
                self.start(at);
            }
        }
        self.new_list();
        self.run(HEAD_PATIENCE_MAX * 2);
    }

    pub(super) fn bodies(&self, at: usize) -> Vec<Vec<u8>> {
        self.nodes[at].author.lines().map(|line| line.body.unwrap_or_default().to_vec()).collect()
    }

    /// What must hold in every honest story.
    pub(super) fn check(&self, seed: u64) {
        assert!(self.forked.is_empty(), "seed {seed}: {:?} forked, and nobody lied", self.forked);
        for ((log, sequence), hashes) in &self.confirmed {
            assert_eq!(hashes.len(), 1, "seed {seed}: two entries confirmed at {sequence} of {log:?}");
        }
    }

    /// What must hold when the trouble is over.
    pub(super) fn check_at_rest(&self, seed: u64) {
        self.check(seed);
        for (at, node) in self.nodes.iter().enumerate() {
            assert!(!node.author.is_seeking() && node.author.drafts() == 0, "seed {seed}: node {at} still seeks");
            assert_eq!(node.author.unwitnessed(), 0, "seed {seed}: node {at} has unwitnessed entries");
            for line in node.author.lines() {
                let header = &line.head.header;
                for hash in self.confirmed.get(&(node.id, header.sequence)).into_iter().flatten() {
                    assert_eq!(*hash, line.hash, "seed {seed}: node {at} lost a confirmed entry");
                }
            }
            let sequences = node.author.lines().map(|line| line.head.header.sequence);
            assert!(sequences.eq(1..=node.author.head().0), "seed {seed}: the log of {at} has gaps");
        }
    }
}

/// What a node does with what it is told, as its owner machine does it.
fn hear(author: &mut Author, witness: &mut Witness, world: &World<'_>, own: NodeId, from: NodeId, message: LogMessage) {
    match message {
        LogMessage::Submit { list, path, entries } => {
            witness.submitted(world, from, list, &path, entries);
        }
        LogMessage::Advance { path, signature } if path.first.log == own => {
            author.told_path(world, &path, signature);
        }
        LogMessage::Advance { path, signature } => {
            witness.advanced(from, &path, signature);
        }
        LogMessage::Confirmed(all) => {
            author.confirmed(world, &all);
        }
        LogMessage::Known { known, hash, .. } => author.told_known(world, from, known, hash),
        LogMessage::Refused { sequence, why, .. } => author.refused(world, from, sequence, why),
        LogMessage::Forked(proof) if proof.one.header.log == own => author.shown_fork(&proof),
        LogMessage::Forked(proof) => {
            let _ = witness.shown(*proof);
        }
        LogMessage::AskHead { log, nonce } if log == own => author.asked_head(from, nonce),
        LogMessage::AskHead { log, nonce } => witness.asked_head(from, log, nonce),
        LogMessage::Head { log, nonce, head } if log == own => {
            author.told_head(world, from, nonce, head.as_deref());
        }
        LogMessage::Head { head, .. } => head.iter().for_each(|head| witness.saw(head)),
        LogMessage::AskEntries { log, nonce, from: first, to } if log == own => author.asked(from, nonce, first, to),
        LogMessage::AskEntries { log, nonce, from: first, to } => witness.asked(from, log, nonce, first, to),
        LogMessage::Entries { log, nonce, to, entries } if log == own => {
            author.told_entries(world, from, nonce, to, entries);
        }
        LogMessage::Entries { .. } => {}
    }
}
