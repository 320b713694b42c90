//! The pretend world: runs a story until all is well again, or does not get well.

mod faults;
mod happen;
mod outputs;
mod users;

use crate::check::{Breach, Checks};
use crate::dice::Dice;
use crate::disk::Disk;
use crate::host::{Fate, Host};
use crate::network::Network;
use crate::sealing::Marks;
use crate::story::{BEGIN, DAY, HOUR, Habit, Story};
use crate::tally::Tally;
use crate::trace::Trace;
use crate::truth::Truth;
use okapi_base::{Digest, NodeId, Shape};
use okapi_peers::placement::{Map, Place};
use okapi_peers::{Blob, Input, Work};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the world is given to get well once it is left in peace.
pub const PEACE_MAX: Duration = Duration::from_secs(60 * 24 * 3600);
/// How long it must stay well.
const WELL_FOR: u32 = 6;
/// A host that is woken so often within an hour spins.
const WAKES_MAX: u32 = 50_000;

/// A placement that was asked for: it is computed once for all.
type Asked = (Shape, Digest, Arc<[Place]>);

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A host is woken, if it still is the run that asked for it.
    Wake(usize, u64),
    /// A letter arrives.
    Arrive { from: usize, to: usize, letter: Vec<u8>, payload: Blob },
    /// A batch is durable.
    Kept(usize, u64, u64),
    /// Work is done.
    Worked(usize, u64, u64, Work),
    /// A host joins, or tries again.
    Join(usize),
    /// A host writes a segment.
    Write(usize),
    /// A host goes on or off by its habit, or after a fault.
    Turn(usize),
    /// A fault of the story, by number.
    Fault(usize),
    /// What a fault did is over.
    Over(usize),
    /// A host's disk is copied, to be set back to it later.
    Backup(usize),
    /// A host whose disk was lost gets a new one.
    Reborn(usize),
    /// The disks are scrubbed.
    Scrub(usize),
    /// Everything is looked at.
    Tick,
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// What it is about.
    pub story: Story,
    /// The time.
    pub now: Duration,
    /// All hosts.
    pub hosts: Vec<Host>,
    /// What joins them.
    pub network: Network,
    /// What really is so.
    pub truth: Truth,
    /// What must not leave a host in clear.
    pub marks: Marks,
    /// What has happened.
    pub trace: Trace,
    /// Figures.
    pub tally: Tally,
    /// Whether things no longer go wrong.
    pub peace: bool,
    numbers: BTreeMap<NodeId, usize>,
    queue: BTreeMap<(Duration, u64), Happening>,
    queued: u64,
    dice: Dice,
    /// The last backup of each, and whether it was in the group then.
    backups: BTreeMap<usize, (Disk, bool)>,
    maps: BTreeMap<Asked, Arc<Map>>,
    checks: Checks,
    wakes: Vec<u32>,
    well: u32,
}

impl World {
    /// The world of a story, at its beginning. `lines` are kept for people.
    #[must_use]
    pub fn new(story: Story, lines: bool) -> Self {
        let dice = Dice::new(story.seed).fork(100);
        let secrets = |member: u64| dice.fork(1000 + member).seed();
        let casts = story.cast.iter().cloned().enumerate();
        let hosts: Vec<Host> = casts
            .map(|(at, cast)| Host::new(cast.clone(), dice.fork(5000 + at as u64), secrets(cast.member)))
            .collect();
        let lines_of = story.cast.iter().map(|cast| cast.line).collect();
        let mut world = Self {
            now: BEGIN,
            network: Network::new(story.conditions, lines_of, dice.fork(1)),
            numbers: hosts.iter().enumerate().map(|(at, host)| (host.node, at)).collect(),
            wakes: vec![0; hosts.len()],
            hosts,
            truth: Truth::default(),
            marks: Marks::new(&mut dice.fork(2)),
            trace: Trace::new(lines),
            tally: Tally::default(),
            peace: false,
            queue: BTreeMap::new(),
            queued: 0,
            dice: dice.fork(3),
            backups: BTreeMap::new(),
            maps: BTreeMap::new(),
            checks: Checks::default(),
            well: 0,
            story,
        };
        world.plan();
        world
    }

    /// Everything that is known from the beginning.
    fn plan(&mut self) {
        for at in 0..self.hosts.len() {
            let joins = self.hosts[at].cast.joins;
            self.at(if at == 0 { BEGIN } else { joins }, Happening::Join(at));
        }
        for (number, (at, fault)) in self.story.faults.clone().into_iter().enumerate() {
            if let crate::story::Fault::Revert(host, ago) = &fault {
                self.at(at.saturating_sub(*ago).max(BEGIN), Happening::Backup(*host));
            }
            self.at(at, Happening::Fault(number));
        }
        self.at(BEGIN + HOUR, Happening::Tick);
    }

    pub(crate) fn at(&mut self, at: Duration, happening: Happening) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), happening);
    }

    /// Runs to the end, or to the first breach.
    pub fn run(&mut self) -> Result<(), Breach> {
        while self.now < self.story.peace() + PEACE_MAX {
            let Some(((now, _), happening)) = self.queue.pop_first() else { unreachable!("there is always a tick") };
            self.now = now;
            if matches!(happening, Happening::Tick) {
                if self.tick()? {
                    return self.last_look();
                }
            } else {
                self.happen(happening)?;
            }
        }
        let ill = self.checks.ill(self).unwrap_or_else(|| "it works on and on".to_owned());
        Err(Breach::new("peace", self.now, format!("after {} days of peace: {ill}", PEACE_MAX.as_secs() / 86_400)))
    }

    /// Once an hour: looks at everything. Whether the story is over.
    fn tick(&mut self) -> Result<bool, Breach> {
        self.at(self.now + HOUR, Happening::Tick);
        self.wakes.fill(0);
        let mut checks = std::mem::take(&mut self.checks);
        let looked = checks.look(self);
        self.checks = checks;
        looked?;
        if !self.peace && self.now >= self.story.peace() {
            self.make_peace();
        }
        let well = self.peace && self.checks.ill(self).is_none();
        self.well = if well { self.well + 1 } else { 0 };
        Ok(self.well >= WELL_FOR)
    }

    fn last_look(&mut self) -> Result<(), Breach> {
        let mut checks = std::mem::take(&mut self.checks);
        let looked = checks.last_look(self);
        self.checks = checks;
        looked
    }

    /// From now on nothing goes wrong, and everybody who is there runs.
    fn make_peace(&mut self) {
        self.peace = true;
        self.network.heal();
        for at in 0..self.hosts.len() {
            self.hosts[at].cast.habit = Habit::Always;
            self.hosts[at].off_until = Duration::ZERO;
            self.at(self.now, Happening::Turn(at));
        }
        self.trace.say(self.now, None, || "peace".to_owned());
    }

    /// The number of the host of a node.
    #[must_use]
    pub fn number(&self, node: NodeId) -> Option<usize> {
        self.numbers.get(&node).copied()
    }

    /// Hosts that run and have joined.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Host)> {
        self.hosts.iter().enumerate().filter(|(_, host)| host.is_up() && host.fate == Fate::There)
    }

    /// Bytes of all segments ever written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.truth.written()
    }

    /// The days that went by.
    #[must_use]
    pub fn days(&self) -> f64 {
        (self.now - BEGIN).as_secs_f64() / DAY.as_secs_f64()
    }

    pub(crate) fn input(&mut self, at: usize, input: Input) -> Result<(), Breach> {
        let outputs = self.hosts[at].handle(self.now, input);
        self.outputs(at, outputs)?;
        self.plan_wake(at);
        Ok(())
    }
}
