//! Words and bars.

use crate::size::{Count, Size, counted};
use crate::view::{Tone, shown};
use okapi_client::group::{GroupData, GroupMember, GroupState, GroupStatus, MemberGrade, MemberPresence, MemberState};
use std::time::Duration;

/// Days of which years are told too.
const YEARS_FROM: u64 = 3650;
/// Years that are counted; beyond, only how many digits they have.
const YEARS_MAX: u64 = 1_000_000;

/// Who is how in the group, counted in nodes that have not left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// All of them, the one that tells it among them.
    pub all: u64,
    /// Those that answer, that one among them.
    pub here: u64,
    /// Those not heard for a while.
    pub away: u64,
    /// Those not heard for so long that what they held is replaced.
    pub gone: u64,
}

impl Tally {
    /// Of the members of a status.
    pub(crate) fn of(status: &GroupStatus) -> Self {
        let mut tally = Self::default();
        for member in status.members.iter().filter(|member| member.state != MemberState::Parted) {
            tally.all += 1;
            match member.presence {
                MemberPresence::This | MemberPresence::Here => tally.here += 1,
                MemberPresence::Away => tally.away += 1,
                MemberPresence::Gone => tally.gone += 1,
            }
        }
        tally
    }

    /// `5 nodes: 3 here, 1 away, 1 gone`.
    pub(crate) fn words(self) -> String {
        let mut parts = vec![format!("{} here", self.here)];
        parts.extend((self.away > 0).then(|| format!("{} away", self.away)));
        parts.extend((self.gone > 0).then(|| format!("{} gone", self.gone)));
        let all = counted(self.all, "node");
        if self.here == self.all { format!("{all}, all here") } else { format!("{all}: {}", parts.join(", ")) }
    }
}

/// What a node is called: its name, or the beginning of its key.
pub(crate) fn title(name: &str, node: &[u8; 32]) -> String {
    if name.is_empty() { short(node) } else { shown(name) }
}

/// As much of a key as tells it from others at a glance.
pub(crate) fn short(key: &[u8; 32]) -> String {
    crate::view::hex(&key[..4])
}

/// Where the node stands, in a sentence's middle: `attic is ...`.
pub(crate) fn state(status: &GroupStatus) -> String {
    let of = || format!("a group of {}", Tally::of(status).words());
    match status.state {
        GroupState::Alone => "alone: nobody else is in its group".to_owned(),
        GroupState::Joining => "joining a group".to_owned(),
        GroupState::Member => format!("in {}", of()),
        GroupState::Leaving => format!("leaving {}", of()),
        GroupState::Parted => "parted: it has left its group".to_owned(),
        GroupState::Restoring => format!("restoring from {}", of()),
        GroupState::Halted => "halted: it takes no part in its group".to_owned(),
    }
}

/// Whether that is good news.
pub(crate) fn state_tone(state: GroupState) -> Tone {
    match state {
        GroupState::Member => Tone::Good,
        GroupState::Halted | GroupState::Parted => Tone::Bad,
        _ => Tone::Strong,
    }
}

/// Days of safety, as in [`GroupData`].
pub(crate) fn days(days: u64) -> String {
    let years = days / 365;
    match days {
        GroupData::MANY_DAYS => "longer than can be told".to_owned(),
        0 => "no day".to_owned(),
        1..YEARS_FROM => counted(days, "day"),
        _ if years < YEARS_MAX => format!("{} days ({} years)", Count(days), Count(years)),
        _ => format!("10^{} years", years.ilog10()),
    }
}

/// How many more losses something survives.
pub(crate) fn survives(losses: u8) -> String {
    match losses {
        0 => "survives no more loss".to_owned(),
        1 => "survives 1 more loss".to_owned(),
        _ => format!("survives {losses} more losses"),
    }
}

/// How long something is ago, in its largest unit: `3 s`, `5 min`, `4 h`, `12 days`.
pub(crate) fn ago(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How long something takes from now on, likewise; to the nearest unit of what is below.
pub(crate) fn when(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let half = match ms {
        0..60_000 => 500,
        60_000..3_600_000 => 30_000,
        _ => 60_000,
    };
    ago(ms.saturating_add(half))
}

/// Whether a node can be reached, and if not since when.
pub(crate) fn presence(member: &GroupMember) -> String {
    let heard = |word: &str| match member.heard_ms_ago {
        u64::MAX => format!("{word}, never heard"),
        ms => format!("{word} {}", ago(ms)),
    };
    match (member.state, member.presence) {
        (MemberState::Parted, _) => "-".to_owned(),
        (_, MemberPresence::This) => "this node".to_owned(),
        (_, MemberPresence::Here) => "here".to_owned(),
        (_, MemberPresence::Away) => heard("away"),
        (_, MemberPresence::Gone) => heard("gone"),
    }
}

/// How a member stands with the group; nothing while all is well.
pub(crate) fn grade(grade: MemberGrade) -> Option<&'static str> {
    match grade {
        MemberGrade::Full => None,
        MemberGrade::NoNewData => Some("no new data"),
        MemberGrade::Drain => Some("draining"),
        MemberGrade::Out => Some("out"),
    }
}

/// What goes to and comes from a node in a second; nothing if neither was measured.
pub(crate) fn rates(member: &GroupMember) -> String {
    let part = |arrow: &str, rate: u64| (rate > 0).then(|| format!("{arrow}{}/s", Size(rate)));
    let parts: Vec<String> = [part("↑", member.upload), part("↓", member.download)].into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

/// A bar of `wide` characters of which `part` of `whole` is filled, to an eighth of a character. Anything at all shows,
/// and only a whole looks full.
pub(crate) fn bar(part: u64, whole: u64, wide: usize) -> (String, String) {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let steps = wide * 8;
    let filled = match (part, whole) {
        (0, _) => 0,
        (part, whole) if part >= whole => steps,
        (part, whole) => {
            let filled = u128::from(part) * steps as u128 / u128::from(whole);
            usize::try_from(filled).expect("less than the bar").clamp(1, steps - 1)
        }
    };
    let full = "█".repeat(filled / 8) + EIGHTHS[filled % 8];
    let rest = "·".repeat(wide - filled.div_ceil(8));
    (full, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;

    #[test]
    fn days_are_told_as_long_as_they_mean_something() {
        assert_eq!(days(0), "no day");
        assert_eq!(days(1), "1 day");
        assert_eq!(days(3649), "3,649 days");
        assert_eq!(days(3650), "3,650 days (10 years)");
        assert_eq!(days(365 * 999_999), "364,999,635 days (999,999 years)");
        assert_eq!(days(365 * 1_000_000), "10^6 years");
        assert_eq!(days(1_000_000_000_000_000_000), "10^15 years");
        assert_eq!(days(GroupData::MANY_DAYS), "longer than can be told");
    }

    #[test]
    fn times_have_one_unit() {
        for (ms, words) in
            [(0, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (172_800_000, "2 days")]
        {
            assert_eq!(ago(ms), words);
        }
        assert_eq!(when(Duration::from_secs(86_400)), "24 h");
        assert_eq!(when(Duration::from_millis(86_399_900)), "24 h", "a moment has passed since");
        assert_eq!(when(Duration::from_secs(5399)), "1 h");
    }

    #[test]
    fn a_bar_is_as_wide_as_it_should_be() {
        let drawn = |part, whole| {
            let (full, rest) = bar(part, whole, 4);
            assert_eq!(full.chars().count() + rest.chars().count(), 4, "{part} of {whole}");
            full + &rest
        };
        assert_eq!(drawn(0, 100), "····");
        assert_eq!(drawn(1, u64::MAX), "▏···", "something is not nothing");
        assert_eq!(drawn(50, 100), "██··");
        assert_eq!(drawn(u64::MAX - 1, u64::MAX), "███▉", "nearly all is not all");
        assert_eq!(drawn(100, 100), "████");
        assert_eq!(drawn(200, 100), "████");
        assert_eq!(drawn(1, 0), "████");
        assert_eq!(drawn(0, 0), "····");
    }

    #[test]
    fn who_is_here_is_counted() {
        let status = pretend::member();
        assert_eq!(Tally::of(&status).words(), "5 nodes: 3 here, 1 away, 1 gone");
        assert_eq!(Tally { all: 2, here: 2, away: 0, gone: 0 }.words(), "2 nodes, all here");
        assert_eq!(presence(&status.members[2]), "away 3 h");
        assert_eq!(title("", &[0xAB; 32]), "abababab");
        assert_eq!(title("a\u{1b}[2J", &[0; 32]), "a\\u{1b}[2J");
    }
}
