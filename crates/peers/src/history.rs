//! What one node has seen of the comings and goings of the others.
//!
//! Nobody's claims count, only when a node was last heard. From that follow how long it may be silent before its
//! shards are rebuilt (its *grace*), when it is gone for good, and how likely a silent one is lost.

use crate::stamp::{DAY_MS, HOUR_MS, stamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::NodeId;
use okapi_base::machine::Moment;

mod codec;
mod spells;

pub use spells::{LENGTHS, Spells, WEEKS};

/// Silence up to this is no absence, in milliseconds: 20 minutes. In a large group, where each is heard less often, it
/// is more ([`Histories::expect`]).
pub const UP_GAP_MS: u64 = 20 * 60_000;
/// The least grace, in milliseconds: three days. A weekend from Friday noon to Monday noon fits, anybody's.
pub const GRACE_MIN_MS: u64 = 3 * DAY_MS;
/// The most grace, in milliseconds: three weeks.
pub const GRACE_MAX_MS: u64 = 21 * DAY_MS;
/// The grace in a group that knows nothing yet, in milliseconds: a week.
pub const GRACE_DEFAULT_MS: u64 = 7 * DAY_MS;
/// Until it was watched for so long a node has at least the group's median grace, in milliseconds: two weekends.
pub const NEWCOMER_MS: u64 = 15 * DAY_MS;
/// Silence of so many graces is for good.
pub const GONE_GRACES: u64 = 4;
/// The least silence that is for good, in milliseconds: 30 days.
pub const GONE_MIN_MS: u64 = 30 * DAY_MS;
/// So many others falling silent at one moment means that it is this node that hears nothing.
pub const BLIND_OTHERS: usize = 3;

/// Nodes lost for good in the prior: as if this many had been seen to go in [`PRIOR_NODE_DAYS`].
pub const PRIOR_LOST: u64 = 2;
/// Node-days in the prior. 2 in 2,433 days is 30 % a year: homes.
pub const PRIOR_NODE_DAYS: u64 = 2433;

const _: () = assert!(GRACE_MIN_MS < GRACE_DEFAULT_MS && GRACE_DEFAULT_MS < GRACE_MAX_MS);
const _: () = assert!(GONE_MIN_MS > GRACE_MAX_MS);

/// Where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It was heard just now.
    Live,
    /// It is silent, as it often is.
    Away {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// It is silent for longer than its grace: its shards are rebuilt elsewhere.
    Missing {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// It is silent for so long that it will not come back.
    Gone {
        /// For how long, in milliseconds.
        ms: u64,
    },
}

/// The histories of all other nodes, as seen by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histories {
    nodes: BTreeMap<NodeId, Spells>,
    /// Silence up to this is no absence, in milliseconds.
    gap_ms: u64,
    /// When anybody was last heard.
    last_any: u64,
    /// When all nodes' lines were last kept.
    kept: u64,
    /// Nodes lost for good, and the time over which nodes were seen to live, in milliseconds.
    lost: u64,
    lived_ms: u64,
}

impl Histories {
    /// Begins to watch.
    #[must_use]
    pub const fn new(now: Moment) -> Self {
        let last_any = now.0.as_millis() as u64;
        Self { nodes: BTreeMap::new(), gap_ms: UP_GAP_MS, last_any, kept: last_any, lost: 0, lived_ms: 0 }
    }

    /// A node that is there is heard at least once in `gap_ms` milliseconds; never less than [`UP_GAP_MS`].
    pub fn expect(&mut self, gap_ms: u64) {
        self.gap_ms = gap_ms.max(UP_GAP_MS);
    }

    /// Begins to watch `node`, which counts as heard at `now`. Nothing happens if it is watched already.
    pub fn watch(&mut self, now: Moment, node: NodeId) {
        self.nodes.entry(node).or_insert_with(|| Spells::new(stamp(now)));
    }

    /// Forgets `node`, which has parted as it should.
    pub fn forget(&mut self, node: &NodeId) {
        self.nodes.remove(node);
    }

    /// Counts `node` as lost for good, once. It stays in the books of the histories: if it is heard after all, it
    /// was not lost.
    pub fn count_lost(&mut self, node: &NodeId) {
        if let Some(spells) = self.nodes.get_mut(node)
            && !spells.lost
        {
            spells.lost = true;
            self.lost += 1;
        }
    }

    /// `node` was heard. One that is not watched is from now on.
    pub fn heard(&mut self, now: Moment, node: NodeId) {
        let at = stamp(now);
        if self.is_blind(now) {
            self.blind_since(self.last_any, at);
        }
        self.last_any = self.last_any.max(at);
        self.watch(now, node);
        let spells = self.nodes.get_mut(&node).expect("it is watched");
        if spells.lost {
            spells.lost = false;
            self.lost -= 1;
        }
        self.lived_ms = self.lived_ms.saturating_add(spells.heard(at, self.gap_ms));
    }

    /// This node itself was down until `now`: nobody's silence since it last heard anybody counts.
    pub fn woke(&mut self, now: Moment) {
        self.blind_since(self.last_any, stamp(now));
        self.last_any = self.last_any.max(stamp(now));
    }

    /// This node begins anew at `now` with what it kept. Whoever was there when the lines were kept may have been heard
    /// ever since and is not to blame; whoever was silent has been so for as long as this node listened.
    pub fn resume(&mut self, now: Moment) {
        let (at, deaf_since, there_since) = (stamp(now), self.last_any, self.kept.saturating_sub(self.gap_ms));
        for spells in self.nodes.values_mut() {
            spells.blind = if spells.last >= there_since {
                at.saturating_sub(spells.last)
            } else {
                spells.blind.saturating_add(at.saturating_sub(deaf_since))
            };
        }
        self.last_any = self.last_any.max(at);
    }

    /// Whether it must be this node that hears nothing: at least [`BLIND_OTHERS`] others that were there lately are
    /// silent since the same moment. Then nobody is missing.
    #[must_use]
    pub fn is_blind(&self, now: Moment) -> bool {
        let lately = |spells: &&Spells| self.last_any.saturating_sub(spells.last) < self.gap_ms;
        stamp(now).saturating_sub(self.last_any) >= self.gap_ms
            && self.nodes.values().filter(lately).count() >= BLIND_OTHERS
    }

    fn blind_since(&mut self, from: u64, until: u64) {
        let blind = until.saturating_sub(from);
        for spells in self.nodes.values_mut() {
            spells.blind = spells.blind.saturating_add(blind);
        }
    }

    /// What was seen of a node.
    #[must_use]
    pub fn of(&self, node: &NodeId) -> Option<&Spells> {
        self.nodes.get(node)
    }

    /// All nodes watched.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &Spells)> {
        self.nodes.iter()
    }

    /// Where a node is; nothing if it is not watched.
    #[must_use]
    pub fn presence(&self, now: Moment, node: &NodeId) -> Option<Presence> {
        let ms = self.nodes.get(node)?.away(stamp(now));
        if ms < self.gap_ms {
            return Some(Presence::Live);
        }
        let grace = self.grace(node);
        Some(match ms {
            _ if ms < grace || self.is_blind(now) => Presence::Away { ms },
            _ if ms < gone_after(grace) => Presence::Missing { ms },
            _ => Presence::Gone { ms },
        })
    }

    /// How long `node` may be silent before its shards are rebuilt, in milliseconds: twice what it is silent for at
    /// most in nine weeks of ten, within [`GRACE_MIN_MS`] and [`GRACE_MAX_MS`]. A newcomer has the group's median if
    /// that is more.
    #[must_use]
    pub fn grace(&self, node: &NodeId) -> u64 {
        match self.nodes.get(node) {
            Some(spells) if spells.watched() >= NEWCOMER_MS => own_grace(spells),
            Some(spells) => own_grace(spells).max(self.median_grace()),
            None => self.median_grace(),
        }
    }

    /// The median grace of those who were watched for long enough, in milliseconds.
    #[must_use]
    pub fn median_grace(&self) -> u64 {
        let known = self.nodes.values().filter(|spells| spells.watched() >= NEWCOMER_MS);
        let mut graces: Vec<u64> = known.map(own_grace).collect();
        graces.sort_unstable();
        graces.get(graces.len() / 2).copied().unwrap_or(GRACE_DEFAULT_MS)
    }

    /// The rate at which nodes of this group are lost for good: 10^-9 a day, each. The prior ([`PRIOR_LOST`] in
    /// [`PRIOR_NODE_DAYS`]), and what was seen added to both: the mean of the Gamma posterior.
    #[must_use]
    pub const fn loss_rate(&self) -> u64 {
        (PRIOR_LOST + self.lost) * 1_000_000_000 / (PRIOR_NODE_DAYS + self.lived_ms / DAY_MS)
    }

    /// The rate at which `node` is lost for good: 10^-9 a day. The group's rate is its prior, as if learnt from
    /// [`PRIOR_LOST`] losses, and each day it has lived speaks for it.
    #[must_use]
    pub fn loss_rate_of(&self, node: &NodeId) -> u64 {
        let lived = self.nodes.get(node).map_or(0, |spells| spells.watched() / DAY_MS);
        let rate = self.loss_rate().max(1);
        let lost = PRIOR_LOST * 1_000_000_000;
        lost / (lost / rate + lived).max(1)
    }

    /// How likely `node` is lost for good as of now: parts in a million. 0 while it is live, a million once it is
    /// gone.
    ///
    /// By Bayes: an absence that begins is one for good in the proportion of the loss rate to the rate of its
    /// absences; and the longer it lasts, the fewer of its usual absences have lasted so long.
    #[must_use]
    pub fn lost_ppm(&self, now: Moment, node: &NodeId) -> u32 {
        let Some(spells) = self.nodes.get(node) else { return 1_000_000 };
        match self.presence(now, node) {
            None | Some(Presence::Gone { .. }) => 1_000_000,
            Some(Presence::Live) => 0,
            Some(Presence::Away { ms } | Presence::Missing { ms }) => spells.lost_ppm(ms, self.loss_rate_of(node)),
        }
    }
}

/// The silence that is for good, in milliseconds, of a node with that grace.
#[must_use]
pub const fn gone_after(grace: u64) -> u64 {
    let graces = grace * GONE_GRACES;
    if graces > GONE_MIN_MS { graces } else { GONE_MIN_MS }
}

fn own_grace(spells: &Spells) -> u64 {
    (2 * u64::from(spells.usual_worst_hours()) * HOUR_MS).clamp(GRACE_MIN_MS, GRACE_MAX_MS)
}

#[cfg(test)]
mod tests;
