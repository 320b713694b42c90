//! The absences of one node, in about a hundred bytes.

use crate::stamp::{DAY_MS, HOUR_MS};

/// Weeks for which the longest absence is kept: half a year.
pub const WEEKS: usize = 26;
/// Classes of absences by length: class c has those of 2^c to 2^(c+1) hours, the last all longer ones.
pub const LENGTHS: usize = 12;
/// Absences counted, and days over which, before both are halved: what was long ago counts less and less.
const COUNT_MAX: u32 = 128;
const DAYS_MAX: u64 = 180;
/// Absences up to this class (64 hours) surprise nobody, even of a node that was never away before.
const CLASS_PLAIN: usize = 5;
/// Days within which a node never seen to be away is taken to be away once.
const DAYS_PLAIN: u64 = 30;

/// What was seen of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spells {
    /// When it was first and last heard: milliseconds since 1970-01-01 UTC.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Since it was last heard the watcher was blind for so long, in milliseconds.
    pub(super) blind: u64,
    /// How long it was there and not there, in milliseconds; aged.
    pub(super) up_ms: u64,
    pub(super) away_ms: u64,
    /// The present week since 1970-01-01 UTC, and the longest absence that ended in each of the last weeks, in hours;
    /// that of week w at w mod [`WEEKS`].
    pub(super) week: u32,
    pub(super) weeks: [u16; WEEKS],
    /// Absences of an hour or more by length; aged.
    pub(super) lengths: [u16; LENGTHS],
    /// It is counted as lost for good.
    pub(super) lost: bool,
}

impl Spells {
    pub(super) const fn new(at: u64) -> Self {
        Self {
            first: at,
            last: at,
            blind: 0,
            up_ms: 0,
            away_ms: 0,
            week: week(at),
            weeks: [0; WEEKS],
            lengths: [0; LENGTHS],
            lost: false,
        }
    }

    /// When it was last heard: milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn last_heard(&self) -> u64 {
        self.last
    }

    /// From when it was first heard to when it was last heard, in milliseconds.
    #[must_use]
    pub const fn watched(&self) -> u64 {
        self.last - self.first
    }

    /// How long it has been silent at `at`, in milliseconds, as far as the watcher could hear.
    #[must_use]
    pub const fn away(&self, at: u64) -> u64 {
        at.saturating_sub(self.last).saturating_sub(self.blind)
    }

    /// The part of the time for which it is there: parts in a million. A newcomer is always there.
    #[must_use]
    pub fn availability_ppm(&self) -> u32 {
        let (up, all) = (u128::from(self.up_ms), u128::from(self.up_ms) + u128::from(self.away_ms));
        (up * 1_000_000).checked_div(all).unwrap_or(1_000_000) as u32
    }

    /// It was heard at `at`; silence below `gap` was none. Returns for how long it has lived since it was last heard. All
    /// in milliseconds.
    pub(super) fn heard(&mut self, at: u64, gap: u64) -> u64 {
        let (lived, away) = (at.saturating_sub(self.last), self.away(at));
        self.turn_to(week(at));
        if away < gap {
            self.up_ms += away;
        } else {
            self.away_ms += away;
            if away >= HOUR_MS {
                let hours = u16::try_from(away.div_ceil(HOUR_MS)).unwrap_or(u16::MAX);
                let slot = &mut self.weeks[self.week as usize % WEEKS];
                *slot = hours.max(*slot);
                self.lengths[class(away)] += 1;
            }
        }
        self.age();
        self.last = self.last.max(at);
        self.blind = 0;
        lived
    }

    /// The longest absence in hours that all but one week in ten stay within.
    pub(super) fn usual_worst_hours(&self) -> u16 {
        let known = (self.week - week(self.first)) as usize + 1;
        let mut weeks = self.weeks;
        weeks.sort_unstable_by(|a, b| b.cmp(a));
        weeks[known.min(WEEKS) / 10]
    }

    /// How likely an absence of `away` milliseconds is for good, at `rate` x 10^-9 losses a day: parts in a million.
    pub(super) fn lost_ppm(&self, away: u64, rate: u64) -> u32 {
        let count: u64 = self.lengths.iter().map(|count| u64::from(*count)).sum();
        let days = (self.up_ms + self.away_ms) / DAY_MS;
        // Losses against usual absences, at the beginning: rate : (count + 1) / (days + 30), both in 10^-9 a day.
        let losses = u128::from(rate) * u128::from(days + DAYS_PLAIN);
        let usual = u128::from(count + 1) * 1_000_000_000;
        // Of the usual ones so many last so long: (2 x longer + 1) : (2 x count + 2), and beyond the longest one
        // ever seen half as many for each doubling.
        let class = class(away);
        let longer: u64 = self.lengths[class..].iter().map(|count| u64::from(*count)).sum();
        let longest = self.lengths.iter().rposition(|count| *count > 0).unwrap_or(0).max(CLASS_PLAIN);
        let doublings = class.saturating_sub(longest);
        let losses = (losses * u128::from(2 * count + 2)) << doublings;
        let usual = usual * u128::from(2 * longer + 1);
        (losses * 1_000_000 / (losses + usual)) as u32
    }

    fn turn_to(&mut self, week: u32) {
        for passed in (self.week + 1..=week).take(WEEKS) {
            self.weeks[passed as usize % WEEKS] = 0;
        }
        self.week = self.week.max(week);
    }

    fn age(&mut self) {
        let count: u32 = self.lengths.iter().map(|count| u32::from(*count)).sum();
        if count <= COUNT_MAX && self.up_ms + self.away_ms <= DAYS_MAX * DAY_MS {
            return;
        }
        self.up_ms /= 2;
        self.away_ms /= 2;
        // Rounded up: a length that was ever seen stays possible.
        for count in &mut self.lengths {
            *count = count.div_ceil(2);
        }
    }
}

fn class(away: u64) -> usize {
    ((away / HOUR_MS).max(1).ilog2() as usize).min(LENGTHS - 1)
}

const fn week(at: u64) -> u32 {
    let weeks = at / (7 * DAY_MS);
    // One less than the most, so that the next one has a number.
    if weeks < u32::MAX as u64 { weeks as u32 } else { u32::MAX - 1 }
}
