//! The ledger: what a member is good for.
//!
//! Two things count, and both come from what *others* say of it, signed, after audits. How it has behaved is its
//! [`Standing`], judged over windows of 30 days ([`Conduct`]). How much it holds is its credit ([`accounts`]). From
//! both follows what it may place ([`Allowance`]): `line + proven`, less what it has placed already. One account per
//! member, not per node: machines of one person vouch for nobody's good conduct but that person's.
//!
//! **A probe fails** if its answer is wrong or says that the shard is gone. A node that is away fails nothing: absence
//! is a matter of [`crate::history`], and never of guilt.

use crate::contract::SKEW_MAX_MS;
use crate::stamp::{DAY_MS, stamp};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use okapi_base::MemberId;
use okapi_base::machine::Moment;

mod conduct;

pub use conduct::{Conduct, NoteError, PROBES_MIN, VOICES_MAX, WINDOW_MS, WINDOWS_OPEN};

/// The most that an attestation may be old to count, in milliseconds: two windows.
pub const ATTESTED_FOR_MS: u64 = 60 * DAY_MS;
/// The line of the best standing, in bytes, however much is promised. A promise is a claim; this bounds what a claim
/// alone can ever take: a quarter of it by a newcomer, all of it by one who has answered probes for months.
pub const LINE_MAX: u64 = 4 << 40;
/// Standing is counted in 256ths.
pub const PART_WHOLE: u16 = 256;
/// The part with which a member starts, and to which one who was in disgrace returns: a quarter.
pub const PART_START: u16 = 64;
/// By how much a good window raises it: three windows from the start to the whole.
pub const PART_STEP: u16 = 64;

/// How far a member's failures have brought it. Each is one step; each good window goes one step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// All is well.
    Full,
    /// It places nothing more, and nothing more is placed with it.
    NoNewData,
    /// Its contracts are not renewed, and what it holds moves elsewhere.
    Drain,
    /// It has no part in placement; it is told, and may start again by holding and answering.
    Out,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::NoNewData => "no new data",
            Self::Drain => "drain",
            Self::Out => "out",
        })
    }
}

/// How a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What it may do.
    pub grade: Grade,
    /// How much of its promise is its line, in 256ths.
    pub part: u16,
}

impl Standing {
    /// A newcomer's.
    pub const NEW: Self = Self { grade: Grade::Full, part: PART_START };

    /// The worse of two, each way: of what the group says and what one has seen oneself.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        Self { grade: self.grade.max(other.grade), part: self.part.min(other.part) }
    }

    /// The bytes that a member who promises `promise` may place beyond what it holds.
    #[must_use]
    pub const fn line(self, promise: u64) -> u64 {
        let most = if promise < LINE_MAX { promise } else { LINE_MAX };
        most / PART_WHOLE as u64 * self.part as u64
    }
}

/// What an owner may place with one holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// What it may place beyond what it holds, in bytes.
    pub line: u64,
    /// What it holds for others by their word, in bytes.
    pub proven: u64,
    /// What it has placed with others than this holder by its own word, in bytes.
    pub elsewhere: u64,
    /// What it may do at all.
    pub grade: Grade,
}

impl Allowance {
    /// The most that it may have with this holder, in bytes.
    #[must_use]
    pub const fn most(&self) -> u64 {
        self.line.saturating_add(self.proven).saturating_sub(self.elsewhere)
    }
}

/// One member as the member list has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pledge {
    /// Who.
    pub member: MemberId,
    /// Bytes of all its nodes' server halves that it promises.
    pub promise: u64,
    /// How it stands.
    pub standing: Standing,
}

/// The word of owner `by` that `subject` holds `bytes` for it: of a verified attestation, nodes replaced by their
/// members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attested {
    /// Who holds.
    pub subject: MemberId,
    /// Who says so.
    pub by: MemberId,
    /// How much.
    pub bytes: u64,
    /// When it was said: milliseconds since 1970-01-01 UTC.
    pub stamp: u64,
}

/// A member's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What it may place beyond what it holds, in bytes.
    pub line: u64,
    /// What it may do.
    pub grade: Grade,
    /// What it holds for others, by their word so far as that counts, in bytes.
    pub proven: u64,
    /// What it has placed with whom, by its own word so far as that counts, in bytes.
    pub placed: BTreeMap<MemberId, u64>,
}

impl Account {
    /// What it may place with `holder`.
    #[must_use]
    pub fn allowance(&self, holder: &MemberId) -> Allowance {
        let elsewhere = self.placed.iter().filter(|(member, _)| *member != holder);
        let elsewhere = elsewhere.fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        Allowance { line: self.line, proven: self.proven, elsewhere, grade: self.grade }
    }

    fn out(&self) -> u64 {
        self.placed.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    fn budget(&self) -> u64 {
        self.line.saturating_add(self.proven)
    }
}

/// Rounds after which what is still overdrawn is struck out whole. Honest books need none.
const ROUNDS_MAX: usize = 32;

/// The accounts of all members.
///
/// An attestation moves credit: the subject may place so much more, and the owner who signed it so much less, for by
/// its own word it has placed that much. No owner's words count for more, in all, than it could have placed itself
/// (its line and what it holds for others); beyond that, all of them are cut in proportion. So however members
/// collude, and however high they attest each other, together they may place with the rest no more than their lines
/// and what the rest says they hold. (Considered instead: believing each attestation up to the contract between the
/// two. But both of them sign that contract, so two friends could sign any; only the books of *everybody* bound them.)
///
/// Words of a member about itself, of or about strangers, older than [`ATTESTED_FOR_MS`], or from the future, do not
/// count; of several about the same pair (one for each pair of nodes) the sum does.
#[must_use]
pub fn accounts(now: Moment, pledges: &[Pledge], attested: &[Attested]) -> BTreeMap<MemberId, Account> {
    let mut accounts: BTreeMap<MemberId, Account> =
        pledges.iter().map(|pledge| (pledge.member, open(pledge))).collect();
    let at = stamp(now);
    for word in attested {
        let fresh = word.stamp <= at.saturating_add(SKEW_MAX_MS) && at.saturating_sub(word.stamp) <= ATTESTED_FOR_MS;
        if !fresh || word.subject == word.by || !accounts.contains_key(&word.subject) {
            continue;
        }
        if let Some(account) = accounts.get_mut(&word.by) {
            let sum = account.placed.entry(word.subject).or_default();
            *sum = sum.saturating_add(word.bytes);
        }
    }
    credit(&mut accounts);
    for round in 0.. {
        let overdrawn: Vec<MemberId> =
            accounts.iter().filter(|(_, account)| account.out() > account.budget()).map(|(name, _)| *name).collect();
        if overdrawn.is_empty() {
            break;
        }
        // Striking out at least one account whole in each further round, this ends.
        for name in overdrawn {
            let account = accounts.get_mut(&name).expect("it was listed just now");
            let (budget, out) = if round < ROUNDS_MAX { (account.budget(), account.out()) } else { (0, 1) };
            for bytes in account.placed.values_mut() {
                *bytes = (u128::from(*bytes) * u128::from(budget) / u128::from(out)) as u64;
            }
        }
        credit(&mut accounts);
    }
    accounts
}

/// The figure that a node puts into its member record: rounded down to a power of two, so that records, and with them
/// the placement of everything, do not change with every audit.
#[must_use]
pub const fn proven_in_record(bytes: u64) -> u64 {
    match bytes.checked_ilog2() {
        Some(log) => 1 << log,
        None => 0,
    }
}

fn open(pledge: &Pledge) -> Account {
    let Standing { grade, .. } = pledge.standing;
    Account { line: pledge.standing.line(pledge.promise), grade, proven: 0, placed: BTreeMap::new() }
}

/// Sums up what all say of each.
fn credit(accounts: &mut BTreeMap<MemberId, Account>) {
    let mut proven: BTreeMap<MemberId, u64> = BTreeMap::new();
    for account in accounts.values() {
        for (subject, bytes) in &account.placed {
            let sum = proven.entry(*subject).or_default();
            *sum = sum.saturating_add(*bytes);
        }
    }
    for (name, account) in accounts {
        account.proven = proven.get(name).copied().unwrap_or(0);
    }
}

#[cfg(test)]
mod tests;
