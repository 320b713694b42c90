//! A story: everything that a seed decides. Who takes part, with what, when; and what goes wrong.

use crate::dice::Dice;
use crate::disk::Honesty;
use crate::network::{Conditions, Line};
use okapi_peers::Care;
use std::time::Duration;

/// An hour and a day.
pub const HOUR: Duration = Duration::from_secs(3600);
/// A day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// When every story begins: 2026-01-01, a Thursday.
pub const BEGIN: Duration = Duration::from_secs(1_767_225_600);

/// When a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Always.
    Always,
    /// Every day, from an hour on, for so many hours.
    Daily {
        /// The hour.
        from: u64,
        /// How many hours.
        hours: u64,
    },
    /// The same, but not at weekends.
    Workdays {
        /// The hour.
        from: u64,
        /// How many hours.
        hours: u64,
    },
}

/// One host of a story.
#[derive(Debug, Clone)]
pub struct Cast {
    /// Whose it is.
    pub member: u64,
    /// Which of its member's nodes.
    pub number: u32,
    /// Where it stands.
    pub site: u64,
    /// Bytes for its own segments.
    pub user_half: u64,
    /// Bytes it offers.
    pub server_half: u64,
    /// When it runs.
    pub habit: Habit,
    /// How it treats what it holds.
    pub honesty: Honesty,
    /// By how much its clock is ahead, in milliseconds.
    pub skew_ms: i64,
    /// Its line.
    pub line: Line,
    /// When it joins.
    pub joins: Duration,
    /// Segments it has from the beginning.
    pub first: u64,
    /// Time between two segments it writes, on average.
    pub writes_every: Duration,
    /// How often it gives an old segment up when it writes a new one, in a million.
    pub deletes_ppm: u64,
}

/// Something that goes wrong, or that a user does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A host loses power, for a while.
    Crash(usize, Duration),
    /// A host loses its disk. A new one comes after a while, or never.
    Lose(usize, Option<Duration>),
    /// A bit of something flips on a host's disk.
    Rot(usize),
    /// Hosts of this set and the others do not hear each other for a while.
    Partition(Vec<usize>, Duration),
    /// One does not hear another for a while.
    Deaf(usize, usize, Duration),
    /// A host is set back to what its disk was a while ago.
    Revert(usize, Duration),
    /// A host leaves the group.
    Leave(usize),
}

/// What kinds of things happen, and how often in the whole of the story.
#[derive(Debug, Clone, Copy)]
struct Mix {
    crashes: u64,
    losses: u64,
    returns_ppm: u64,
    rots: u64,
    partitions: u64,
    deafs: u64,
    reverts: u64,
    leaves: u64,
    liars: u64,
    sleepers_ppm: u64,
    noise: u64,
}

/// What is asked of a story.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// So many nodes, or as the seed has it.
    pub nodes: Option<usize>,
    /// So many days before everything is left in peace, or as the seed has it.
    pub days: Option<u64>,
    /// With which precautions the peers run.
    pub care: Care,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { nodes: None, days: None, care: Care::FULL }
    }
}

/// A story.
#[derive(Debug, Clone)]
pub struct Story {
    /// Its seed.
    pub seed: u64,
    /// What it is mostly about.
    pub theme: &'static str,
    /// How long things go wrong.
    pub days: u64,
    /// Who takes part; the first begins the group.
    pub cast: Vec<Cast>,
    /// What goes wrong, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// How the network is.
    pub conditions: Conditions,
    /// With which precautions the peers run.
    pub care: Care,
    /// Letters that liars send twice, late or with a bit flipped, in a million.
    pub mangled_ppm: u64,
}

const NONE: Mix = Mix {
    crashes: 0,
    losses: 0,
    returns_ppm: 0,
    rots: 0,
    partitions: 0,
    deafs: 0,
    reverts: 0,
    leaves: 0,
    liars: 0,
    sleepers_ppm: 0,
    noise: 0,
};

const THEMES: [(&str, Mix); 10] = [
    ("growth", Mix { crashes: 2, ..NONE }),
    ("crashes", Mix { crashes: 40, sleepers_ppm: 100_000, noise: 1, ..NONE }),
    ("lost disks", Mix { crashes: 4, losses: 3, returns_ppm: 500_000, sleepers_ppm: 100_000, noise: 1, ..NONE }),
    ("rot", Mix { crashes: 3, rots: 30, sleepers_ppm: 100_000, noise: 1, ..NONE }),
    ("bad network", Mix { crashes: 3, partitions: 3, deafs: 12, noise: 3, ..NONE }),
    (
        "sleepers",
        Mix { crashes: 3, losses: 1, returns_ppm: 1_000_000, rots: 1, sleepers_ppm: 700_000, noise: 1, ..NONE },
    ),
    ("liars", Mix { crashes: 3, losses: 1, returns_ppm: 1_000_000, liars: 1, noise: 1, ..NONE }),
    ("leaving", Mix { crashes: 3, leaves: 2, sleepers_ppm: 100_000, noise: 1, ..NONE }),
    ("old backups", Mix { crashes: 3, reverts: 2, noise: 1, ..NONE }),
    (
        "everything",
        Mix {
            crashes: 10,
            losses: 2,
            returns_ppm: 700_000,
            rots: 6,
            partitions: 1,
            deafs: 4,
            reverts: 1,
            leaves: 1,
            liars: 1,
            sleepers_ppm: 200_000,
            noise: 2,
        },
    ),
];

impl Story {
    /// The story of a seed.
    #[must_use]
    pub fn of(seed: u64, wishes: Wishes) -> Self {
        let dice = Dice::new(seed);
        let mut throw = dice.fork(1);
        let (theme, mix) = THEMES[(seed % THEMES.len() as u64) as usize];
        let drawn_nodes = match throw.below(10) {
            0..5 => throw.between(2, 5),
            5..8 => throw.between(6, 10),
            _ => throw.between(11, 16),
        } as usize;
        let nodes = wishes.nodes.unwrap_or(drawn_nodes).max(1);
        let drawn_days = if nodes <= 5 { throw.between(6, 14) } else { throw.between(3, 6) };
        let days = wishes.days.unwrap_or(drawn_days).max(1);
        let mut cast = cast(&mut dice.fork(2), nodes, days, mix);
        if theme == "liars" || theme == "everything" {
            lie(&mut dice.fork(3), &mut cast, mix);
        }
        let faults = faults(&mut dice.fork(4), &cast, days, mix);
        let conditions = conditions(&mut dice.fork(5), mix.noise);
        let mangled_ppm = if cast.iter().any(|cast| cast.honesty != Honesty::Honest) { 20_000 } else { 0 };
        Self { seed, theme, days, cast, faults, conditions, care: wishes.care, mangled_ppm }
    }

    /// When things stop going wrong.
    #[must_use]
    pub fn peace(&self) -> Duration {
        BEGIN + DAY * self.days as u32
    }
}

fn cast(throw: &mut Dice, nodes: usize, days: u64, mix: Mix) -> Vec<Cast> {
    let mut cast: Vec<Cast> = Vec::with_capacity(nodes);
    // Everyone is there in the first half of the story.
    let between = DAY * days as u32 / (2 * nodes as u32);
    for at in 0..nodes {
        // Some members have a second machine; it stands beside the first.
        let again = at > 3 && throw.happens(100_000);
        let (member, number, site) = match cast.last().filter(|last| again && last.number == 0) {
            Some(first) => (first.member, 1, first.site),
            None => (at as u64, 0, at as u64),
        };
        let server_half = throw.between(1, 8) << 20;
        let sleeps = at > 0 && throw.happens(mix.sleepers_ppm);
        let (from, hours) = (throw.below(24), throw.between(5, 14));
        let habit = match throw.below(3) {
            _ if !sleeps => Habit::Always,
            0 => Habit::Workdays { from, hours },
            _ => Habit::Daily { from, hours },
        };
        cast.push(Cast {
            member,
            number,
            site,
            user_half: server_half,
            server_half,
            habit,
            honesty: Honesty::Honest,
            skew_ms: throw.below(120_000) as i64 - 60_000,
            line: Line::new(throw.between(50_000, 5_000_000), Duration::from_millis(throw.between(1, 60))),
            joins: BEGIN + between * at as u32 + throw.time(Duration::ZERO, between),
            first: throw.between(1, 8),
            writes_every: DAY / throw.between(1, 8) as u32,
            deletes_ppm: throw.below(600_000),
        });
    }
    cast
}

/// Makes some of them liars: fewer than a third, so that others can see to what is lost with them.
fn lie(throw: &mut Dice, cast: &mut [Cast], mix: Mix) {
    for _ in 0..mix.liars {
        let at = throw.below(cast.len() as u64) as usize;
        let kind = *throw.pick(&[Honesty::Discards, Honesty::Halves, Honesty::Silent]);
        // Whoever lies does so with all its machines: members are judged, not nodes.
        let member = cast[at].member;
        if member > 0 && cast.len() >= 5 {
            for one in cast.iter_mut().filter(|one| one.member == member) {
                one.honesty = kind;
                one.habit = Habit::Always;
            }
        }
    }
}

fn faults(throw: &mut Dice, cast: &[Cast], days: u64, mix: Mix) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    let length = DAY * days as u32;
    let nodes = cast.len() as u64;
    let mut add = |throw: &mut Dice, times: u64, fault: &dyn Fn(&mut Dice) -> Fault| {
        for _ in 0..times {
            let at = BEGIN + throw.time(Duration::ZERO, length);
            faults.push((at, fault(throw)));
        }
    };
    let host = |throw: &mut Dice| throw.below(nodes) as usize;
    add(throw, mix.crashes, &|throw| Fault::Crash(host(throw), throw.wait(HOUR)));
    add(throw, mix.losses, &|throw| {
        let back = throw.happens(mix.returns_ppm).then(|| throw.time(HOUR, DAY * 2));
        Fault::Lose(host(throw), back)
    });
    add(throw, mix.rots, &|throw| Fault::Rot(host(throw)));
    add(throw, mix.partitions, &|throw| {
        let side = (0..nodes as usize).filter(|_| throw.happens(400_000)).collect();
        Fault::Partition(side, throw.wait(HOUR * 6))
    });
    add(throw, mix.deafs, &|throw| Fault::Deaf(host(throw), host(throw), throw.wait(HOUR * 6)));
    add(throw, mix.reverts, &|throw| Fault::Revert(host(throw), throw.time(HOUR, DAY * 2)));
    add(throw, mix.leaves, &|throw| Fault::Leave(host(throw)));
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn conditions(throw: &mut Dice, noise: u64) -> Conditions {
    Conditions {
        loss_ppm: throw.below(noise * 30_000 + 1),
        double_ppm: throw.below(noise * 30_000 + 1),
        late_ppm: throw.below(noise * 10_000 + 1),
        latency: (Duration::from_millis(1), Duration::from_millis(throw.between(5, 60 + noise * 300))),
    }
}
