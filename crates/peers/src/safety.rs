//! Days of safety: how long a segment is expected to last.
//!
//! `docs/notes/safety.md` explains the model: a birth-death chain over how many more owners a segment can lose, in
//! integers alone, so that every node computes the same number from the same facts.

use alloc::vec::Vec;
use core::fmt;
use okapi_base::{MemberId, Shape};

/// The most days of safety that are told apart: 10^18.
pub const DAYS_MAX: u64 = 1_000_000_000_000_000_000;
/// What a segment that is lost already by some chance counts in that chance, in days: one.
pub const LOST_DAYS: u64 = 1;
/// Below this a segment is mended at once, in spite of everybody's grace, in days: ten years. That is what is left, at
/// home churn, when one or two more losses would be the end.
pub const DANGER_DAYS: u64 = 3650;
/// Least time from a loss to its mending, in milliseconds: a minute. It keeps the sums within 128 bits.
pub const PACE_MIN_MS: u64 = 60_000;

const DAY_MS: u128 = crate::stamp::DAY_MS as u128;
/// Inner times are in micro-days and inner rates in 10^-9 a day.
const MICRO: u128 = 1_000_000;
const NANO: u128 = 1_000_000_000;
/// One, for probabilities.
const ONE: u128 = 1_000_000_000_000_000_000;

/// Days of safety: the expected days to the loss of a segment if it were always mended back to the state in which it
/// is now, and no further. So the number of a healthy segment is its expected life, and that of a damaged one says
/// what its *present* redundancy is worth. 0 is a lost segment; [`DAYS_MAX`] means that or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Days(pub u64);

/// One shard that somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Whose node holds it: shards of one member are lost together.
    pub member: MemberId,
    /// How likely it is lost as of now: parts in a million ([`crate::history::Histories::lost_ppm`]).
    pub lost_ppm: u32,
    /// The rate at which such nodes are lost: 10^-9 a day ([`crate::history::Histories::loss_rate_of`]).
    pub loss_rate: u64,
}

/// How quickly losses are mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the loss to its being noticed, in milliseconds: the grace.
    pub notice_ms: u64,
    /// From then to its being mended, in milliseconds.
    pub repair_ms: u64,
}

impl Days {
    /// Lost.
    pub const NONE: Self = Self(0);
    /// As many as are told apart.
    pub const MAX: Self = Self(DAYS_MAX);

    /// Whether to mend at once, in spite of everybody's grace.
    #[must_use]
    pub const fn danger(self) -> bool {
        self.0 < DANGER_DAYS
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DAYS_MAX.. => f.write_str("10^18 days or more"),
            1 => f.write_str("1 day"),
            days if days < 10_000_000 => write!(f, "{days} days"),
            days => {
                let log = days.ilog10();
                write!(f, "{}e{log} days", days / 10_u64.pow(log))
            }
        }
    }
}

/// The days of safety of a segment of `shape` whose remaining shards, each listed once, are with `holders`.
///
/// Holders that are gone may be listed with `lost_ppm` = 1,000,000 or left out.
#[must_use]
pub fn days(shape: Shape, holders: &[Holder], pace: Pace) -> Days {
    let owners = owners(holders);
    let slack = slack(shape.k(), &owners);
    if slack == 0 {
        return Days::NONE;
    }
    let rates: u128 = owners.iter().map(|owner| u128::from(owner.loss_rate)).sum();
    let rate = rates.div_ceil(owners.len() as u128).max(1);
    // One over the number of days is a rate of loss; the rates of what may be true now are averaged by how likely
    // each is. So a chance of one in a hundred that the segment is lost already makes it a hundred days, and no
    // splendid rest can hide that.
    let mut risk = 0;
    for (lost, chance) in chances(&owners).into_iter().enumerate() {
        if chance > 0 {
            let left = slack.saturating_sub(lost);
            let life = chain(left, owners.len() - lost, rate, pace).max(u128::from(LOST_DAYS) * MICRO);
            risk += chance * ONE / life;
        }
    }
    let micro_days = (ONE * ONE).checked_div(risk).unwrap_or(u128::MAX);
    Days((micro_days / MICRO).min(u128::from(DAYS_MAX)) as u64)
}

/// The days of safety of a healthy segment of `shape` with each shard with another member, all of whom are lost at
/// `loss_rate` x 10^-9 a day.
#[must_use]
pub fn days_of_shape(shape: Shape, loss_rate: u64, pace: Pace) -> Days {
    let slack = shape.n() - shape.k() + 1;
    let micro_days = chain(slack, shape.n(), u128::from(loss_rate.max(1)), pace);
    Days((micro_days / MICRO).min(u128::from(DAYS_MAX)) as u64)
}

/// What one member holds of a segment.
struct Owner {
    member: MemberId,
    shards: usize,
    lost_ppm: u32,
    loss_rate: u64,
}

/// Shards by member, most first. Of one member's nodes the worst figures count.
fn owners(holders: &[Holder]) -> Vec<Owner> {
    let mut owners: Vec<Owner> = Vec::with_capacity(holders.len());
    for holder in holders.iter().filter(|holder| holder.lost_ppm < 1_000_000) {
        match owners.iter_mut().find(|owner| owner.member == holder.member) {
            Some(owner) => {
                owner.shards += 1;
                owner.lost_ppm = owner.lost_ppm.max(holder.lost_ppm);
                owner.loss_rate = owner.loss_rate.max(holder.loss_rate);
            }
            None => owners.push(Owner {
                member: holder.member,
                shards: 1,
                lost_ppm: holder.lost_ppm,
                loss_rate: holder.loss_rate,
            }),
        }
    }
    owners.sort_by_key(|owner| core::cmp::Reverse(owner.shards));
    owners
}

/// How many owners can be lost, at the worst, until fewer than `k` shards are left; 0 if that is so now.
fn slack(k: usize, owners: &[Owner]) -> usize {
    let mut shards: usize = owners.iter().map(|owner| owner.shards).sum();
    let mut slack = 0;
    for owner in owners {
        if shards < k {
            break;
        }
        shards -= owner.shards;
        slack += 1;
    }
    slack
}

/// How likely 0, 1, 2, .. of the owners are lost as of now.
fn chances(owners: &[Owner]) -> Vec<u128> {
    let mut chances = Vec::from([ONE]);
    for owner in owners.iter().filter(|owner| owner.lost_ppm > 0) {
        let lost = u128::from(owner.lost_ppm);
        chances.push(0);
        for at in (0..chances.len()).rev() {
            let one_more = if at == 0 { 0 } else { chances[at - 1] * lost / MICRO };
            chances[at] = chances[at] * (MICRO - lost) / MICRO + one_more;
        }
    }
    chances
}

/// The expected micro-days to loss from state `slack`, which mending comes back to but not beyond, when `owners` are
/// there now, each lost at `rate`.
///
/// With d(s) the rate of losses and b(s) that of mendings in state s, the time from s to s - 1 is
/// t(s) = (1 + b(s) t(s + 1)) / d(s); the sum of all is the answer.
fn chain(slack: usize, owners: usize, rate: u128, pace: Pace) -> u128 {
    let mending_ms = u128::from(pace.notice_ms.saturating_add(pace.repair_ms).max(PACE_MIN_MS));
    let most = u128::from(DAYS_MAX) * MICRO;
    let (mut sum, mut step) = (0_u128, 0_u128);
    for state in (1..=slack).rev() {
        let missing = (slack - state) as u128;
        let losses = (owners - (slack - state)) as u128 * rate;
        let mendings = missing * DAY_MS * NANO / mending_ms;
        step = ((MICRO * NANO).saturating_add(mendings.saturating_mul(step)) / losses).min(most);
        sum = (sum + step).min(most);
    }
    sum
}

/// The days of safety of many segments: of a record, a member, a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// The least: a whole is as safe as its least safe part.
    pub least: Days,
    /// How many segments have less than 10^c days, and not less than 10^(c-1), for c = 0 to 18; the last has all from
    /// 10^18 on.
    pub segments: [u64; 20],
}

impl Spread {
    /// Of no segments: nothing can be lost.
    pub const EMPTY: Self = Self { least: Days::MAX, segments: [0; 20] };

    /// Counts one more segment.
    pub fn add(&mut self, days: Days) {
        self.least = self.least.min(days);
        self.segments[days.0.checked_ilog10().map_or(0, |log| log as usize + 1).min(19)] += 1;
    }

    /// Takes in another spread.
    pub fn merge(&mut self, other: &Self) {
        self.least = self.least.min(other.least);
        for (mine, theirs) in self.segments.iter_mut().zip(other.segments) {
            *mine += theirs;
        }
    }

    /// How many segments are in danger of less than `days`: 10^c for whole c.
    #[must_use]
    pub fn below(&self, days: u64) -> u64 {
        let classes = days.checked_ilog10().map_or(0, |log| log as usize + 1);
        self.segments[..classes].iter().sum()
    }
}

#[cfg(test)]
mod tests;
