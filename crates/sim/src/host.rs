//! One pretend machine: a disk, a line, a clock of its own, and a peer while it runs.

use crate::dice::Dice;
use crate::disk::{Disk, Honesty, Lying, Writes};
use crate::story::{Cast, Habit};
use okapi_base::machine::{Machine as _, Moment};
use okapi_base::{MemberId, NodeId};
use okapi_peers::{Blob, Care, Identity, Input, Output, Peer, Settings, Thing, Work};
use okapi_seal::{MemberSecret, Secret};
use okapi_timeline::members;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What has become of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is not made yet.
    Unborn,
    /// It is there, running or not.
    There,
    /// Its disk is lost; a new one may come.
    Lost,
    /// It has left.
    Left,
}

/// One machine.
#[derive(Debug)]
pub struct Host {
    /// What the story says of it.
    pub cast: Cast,
    /// Its node.
    pub node: NodeId,
    /// Its member.
    pub member: MemberId,
    /// Its member's keys.
    pub keys: MemberSecret,
    /// What its data keys are wrapped with: the same secret, as envelopes would make each run of a seed another one.
    pub secret: Secret,
    /// What lies on it.
    pub disk: Disk,
    /// What runs on it.
    pub peer: Option<Peer>,
    /// What has become of it.
    pub fate: Fate,
    /// How often it was started.
    pub run: u64,
    /// Until then it stays off, whatever its habit.
    pub off_until: Duration,
    /// Whether it is in the group.
    pub joined: bool,
    /// Whether something on its disk was damaged, lost or set back, so that it may be caught without being a liar.
    pub damaged: bool,
    /// Whether it wants to leave.
    pub leaving: bool,
    /// Whether its peer has yet to be told to restore.
    pub restores: bool,
    /// Batches that are not durable yet.
    pub keeping: VecDeque<(u64, Writes)>,
    /// Work that is not done yet.
    pub working: BTreeMap<u64, Work>,
    /// When it is woken next.
    pub wake: Option<Duration>,
    last: Duration,
    dice: Dice,
}

impl Host {
    /// The machine that the story casts.
    #[must_use]
    pub fn new(cast: Cast, mut dice: Dice, member_secret: [u8; 32]) -> Self {
        let keys = MemberSecret::from_bytes(member_secret);
        dice.throw();
        Self {
            node: keys.node_id(cast.number),
            member: keys.id(),
            keys,
            secret: Secret::from_bytes(member_secret),
            disk: Disk::new(cast.user_half + cast.server_half, cast.honesty),
            cast,
            peer: None,
            fate: Fate::Unborn,
            run: 0,
            off_until: Duration::ZERO,
            joined: false,
            leaving: false,
            damaged: false,
            restores: false,
            keeping: VecDeque::new(),
            working: BTreeMap::new(),
            wake: None,
            last: Duration::ZERO,
            dice,
        }
    }

    fn identity(&self) -> Identity {
        let recipient = [self.node.0[0]; 32];
        Identity {
            signing: self.keys.node_signing_key(self.cast.number),
            member: self.member,
            recipient,
            number: self.cast.number,
            member_signature: members::bind(&self.keys.signing_key(), self.node, recipient, self.cast.number),
            site: self.cast.site,
        }
    }

    /// Its own clock at a time of the world.
    pub fn clock(&mut self, now: Duration) -> Moment {
        let own = if self.cast.skew_ms < 0 {
            now - Duration::from_millis(self.cast.skew_ms.unsigned_abs())
        } else {
            now + Duration::from_millis(self.cast.skew_ms.unsigned_abs())
        };
        self.last = self.last.max(own);
        Moment(self.last)
    }

    /// The world's time at a time of its own clock.
    #[must_use]
    pub fn world_time(&self, own: Moment) -> Duration {
        if self.cast.skew_ms < 0 {
            own.0 + Duration::from_millis(self.cast.skew_ms.unsigned_abs())
        } else {
            own.0.saturating_sub(Duration::from_millis(self.cast.skew_ms.unsigned_abs()))
        }
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.peer.is_some()
    }

    /// Whether what lies on it can be counted on.
    #[must_use]
    pub fn is_honest(&self) -> bool {
        self.cast.honesty == Honesty::Honest
    }

    /// Whether by its habit it runs at a time of the world.
    #[must_use]
    pub fn wants_to_run(&self, now: Duration) -> bool {
        now >= self.off_until && self.cast.habit.runs_at(now)
    }

    /// Starts its peer from what is durable. What the peer asks for first is returned, and what it is then to be told.
    ///
    /// # Panics
    /// If its records cannot be read: nothing here damages them.
    pub fn start(&mut self, now: Duration, care: Care) -> Vec<Input> {
        assert!(self.peer.is_none(), "it does not run yet");
        self.run += 1;
        self.wake = None;
        let records: Vec<_> = self.disk.records.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let settings = Settings { user_half: self.cast.user_half, server_half: self.cast.server_half, care };
        let moment = self.clock(now);
        let entropy = self.dice.seed();
        let peer = Peer::open(self.identity(), settings, entropy, moment, &records).expect("its records are whole");
        let told = self.told_at_start(&peer);
        self.peer = Some(peer);
        told
    }

    /// A store that starts tells what it has, what it gave up, and what its first scrub finds missing.
    fn told_at_start(&mut self, peer: &Peer) -> Vec<Input> {
        let held: BTreeMap<_, _> = peer.held().collect();
        self.disk.shards.retain(|shard, _| held.contains_key(shard));
        let known: BTreeMap<_, _> = peer.segments().map(|view| (view.name, view)).collect();
        self.disk.released.retain(|name| known.contains_key(name));
        let mut told = Vec::new();
        for (name, (bytes, _)) in &self.disk.segments {
            // The key of one that just came back may not be written yet; the peer knows that segment.
            let key = self.disk.keys.get(name).cloned().unwrap_or_else(|| Blob::from([]));
            told.push(Input::Closed { segment: *name, bytes: bytes.len() as u64, key });
        }
        told.extend(self.disk.released.iter().map(|name| Input::Released { segment: *name }));
        if self.is_honest() {
            let gone = held.keys().filter(|shard| !self.disk.shards.contains_key(shard));
            told.extend(gone.map(|shard| Input::Damaged(Thing::Shard(*shard))));
            let lost = known.values().filter(|view| view.live && !view.released);
            let lost = lost.filter(|view| !self.disk.segments.contains_key(&view.name));
            told.extend(lost.map(|view| Input::Damaged(Thing::Segment(view.name))));
        }
        told
    }

    /// Stops it at once. Of what was not durable, a first part is; of what was being written, some is torn.
    pub fn crash(&mut self) {
        self.peer = None;
        self.wake = None;
        let survive = self.dice.below(self.keeping.len() as u64 + 1) as usize;
        let kept: Vec<_> = self.keeping.drain(..).take(survive).collect();
        kept.into_iter().for_each(|(_, writes)| self.disk.keep(writes));
        for work in std::mem::take(&mut self.working).into_values() {
            self.tear(work);
        }
    }

    /// What becomes of work that a crash interrupts: nothing, a part, or all of it.
    fn tear(&mut self, work: Work) {
        match (self.dice.below(3), work) {
            (outcome @ 1.., Work::StoreShard { shard, root, bytes }) if self.is_honest() => {
                let torn = || [&bytes[..bytes.len() / 2], &vec![0; bytes.len().div_ceil(2)]].concat().into();
                let bytes = if outcome == 1 { bytes.clone() } else { torn() };
                let good = okapi_seal::hash(&bytes) == root;
                self.disk.shards.insert(shard, Lying { bytes, root, good });
            }
            (1.., Work::DropShard { shard }) => drop(self.disk.shards.remove(&shard)),
            _ => {}
        }
    }

    /// Hands its peer one input and drains it.
    ///
    /// # Panics
    /// If it does not run.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let moment = self.clock(now);
        let peer = self.peer.as_mut().expect("it runs");
        peer.handle(moment, input);
        self.drain()
    }

    /// What its peer asks for.
    pub fn drain(&mut self) -> Vec<Output> {
        let peer = self.peer.as_mut().expect("it runs");
        std::iter::from_fn(|| peer.poll()).collect()
    }

    /// When its peer wants to be woken, in the world's time.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.peer.as_ref().and_then(Peer::wake_at).map(|at| self.world_time(at))
    }
}

impl Habit {
    /// Whether a host of this habit runs at a time of the world.
    #[must_use]
    pub fn runs_at(self, now: Duration) -> bool {
        let hour = now.as_secs() / 3600;
        match self {
            Self::Always => true,
            Self::Daily { from, hours } => (hour + 24 - from) % 24 < hours,
            Self::Workdays { from, hours } => {
                // 1970-01-01 was a Thursday.
                (hour + 24 - from) % 24 < hours && (hour.saturating_sub(from) / 24 + 4) % 7 < 5
            }
        }
    }

    /// When that changes next after `now`: on the hour.
    #[must_use]
    pub fn next_change(self, now: Duration) -> Option<Duration> {
        let next = |hours: u64| Duration::from_secs((now.as_secs() / 3600 + hours) * 3600);
        (self != Self::Always).then(|| (1..24 * 8).map(next).find(|at| self.runs_at(*at) != self.runs_at(now)))?
    }
}
