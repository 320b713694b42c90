//! The pretend network: letters are late, lost, doubled and overtaken; links are cut, one way or both.

use crate::dice::Dice;
use std::collections::BTreeMap;
use std::time::Duration;

/// How the network is.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// Letters lost, in a million.
    pub loss_ppm: u64,
    /// Letters that come twice, in a million.
    pub double_ppm: u64,
    /// Letters that take very long, so that later ones overtake them, in a million.
    pub late_ppm: u64,
    /// The shortest and the longest way.
    pub latency: (Duration, Duration),
}

impl Conditions {
    /// As good as a network is.
    pub const FINE: Self = Self {
        loss_ppm: 0,
        double_ppm: 0,
        late_ppm: 0,
        latency: (Duration::from_millis(2), Duration::from_millis(30)),
    };
}

/// The line of one host.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Bytes a second, each way.
    pub speed: u64,
    /// Time that it adds to every letter.
    pub latency: Duration,
    /// When what it sends now is through.
    free_at: Duration,
}

impl Line {
    /// A line of that speed in bytes a second.
    #[must_use]
    pub const fn new(speed: u64, latency: Duration) -> Self {
        Self { speed, latency, free_at: Duration::ZERO }
    }
}

/// What joins all hosts.
#[derive(Debug)]
pub struct Network {
    /// How it is now.
    pub conditions: Conditions,
    lines: Vec<Line>,
    /// How often each way between two hosts is cut now.
    cuts: BTreeMap<(usize, usize), u32>,
    dice: Dice,
    /// Letters and bytes sent, lost ones included.
    pub sent: (u64, u64),
}

impl Network {
    /// A network between hosts with these lines.
    #[must_use]
    pub fn new(conditions: Conditions, lines: Vec<Line>, dice: Dice) -> Self {
        Self { conditions, lines, cuts: BTreeMap::new(), dice, sent: (0, 0) }
    }

    /// When a letter of `bytes` that is sent at `now` arrives: not at all, once, or twice.
    pub fn send(&mut self, now: Duration, from: usize, to: usize, bytes: usize) -> Vec<Duration> {
        self.sent.0 += 1;
        self.sent.1 += bytes as u64;
        let slowest = self.lines[from].speed.min(self.lines[to].speed);
        let through = Duration::from_micros(bytes as u64 * 1_000_000 / slowest);
        let line = &mut self.lines[from];
        line.free_at = line.free_at.max(now) + through;
        let (leaves, own) = (line.free_at, line.latency + self.lines[to].latency);
        let Conditions { loss_ppm, double_ppm, late_ppm, latency } = self.conditions;
        if self.is_cut(from, to) || self.dice.happens(loss_ppm) {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.dice.happens(double_ppm));
        let mut way = || {
            let late = if self.dice.happens(late_ppm) {
                Duration::from_secs(self.dice.between(1, 120))
            } else {
                Duration::ZERO
            };
            leaves + own + self.dice.time(latency.0, latency.1) + late
        };
        (0..copies).map(|_| way()).collect()
    }

    /// Whether nothing comes through from one host to another.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    /// Cuts the way from one host to another; cuts add up.
    pub fn cut(&mut self, from: usize, to: usize) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    /// Takes one cut away.
    pub fn mend(&mut self, from: usize, to: usize) {
        let cuts = self.cuts.get_mut(&(from, to)).expect("it was cut");
        *cuts -= 1;
        if *cuts == 0 {
            self.cuts.remove(&(from, to));
        }
    }

    /// Everything is fine from now on.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.conditions = Conditions::FINE;
    }
}
