//! Why something that came from another node was not believed, by name, and how often.

use alloc::collections::BTreeMap;

/// Why a letter, or a record in one, was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The letter or its payload is larger than any may be.
    Oversized,
    /// It is not a letter, or a record in it is not one.
    Malformed,
    /// It was read before, or is from an earlier session of its sender.
    Replayed,
    /// Its stamp is ahead of this node's clock by more than the tolerance.
    FromTheFuture,
    /// It was sent too long ago.
    TooOld,
    /// Its sender is not in the member list.
    Stranger,
    /// Its sender, or the signer of a record in it, has parted.
    Parted,
    /// A record in it belongs to another group.
    WrongGroup,
    /// A record in it is not signed by whom it names.
    BadSignature,
    /// It speaks of a member list that is not this one's.
    WrongVersion,
    /// It comes from a node that has no business saying it.
    NotYours,
    /// It answers nothing that was asked.
    Unasked,
    /// A record in it is older than what is known.
    Outdated,
}

impl Refusal {
    /// Its name, for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::Replayed => "replayed",
            Self::FromTheFuture => "from the future",
            Self::TooOld => "too old",
            Self::Stranger => "from a stranger",
            Self::Parted => "by a parted member",
            Self::WrongGroup => "of another group",
            Self::BadSignature => "badly signed",
            Self::WrongVersion => "for another member list",
            Self::NotYours => "not the sender's to say",
            Self::Unasked => "never asked for",
            Self::Outdated => "outdated",
        }
    }
}

/// How often each was refused since the peer was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals(BTreeMap<Refusal, u64>);

impl Refusals {
    pub(crate) fn count(&mut self, refusal: Refusal) {
        *self.0.entry(refusal).or_default() += 1;
    }

    /// How often for this reason.
    #[must_use]
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0.get(&refusal).copied().unwrap_or_default()
    }

    /// All reasons that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        self.0.iter().map(|(refusal, count)| (*refusal, *count))
    }
}
