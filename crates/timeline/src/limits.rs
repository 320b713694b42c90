//! Every limit and span of time of timelines, with its unit.

use core::time::Duration;

/// Entries of its own log that an author keeps, with all they say; older ones are forgotten. Segments are of 8 MiB and
/// have about one entry each, so this is the history of 128 GiB; what lies where now is in the deeds, not here.
pub const OWN_ENTRIES_MAX: usize = 1 << 14;
/// Entries that wait to be chained while an author looks for its head.
pub const DRAFTS_MAX: usize = 1 << 14;
/// Confirmations kept of one entry: those of its last draws.
pub const CONFIRMATIONS_KEPT: usize = 6;

/// Logs one witness keeps entries of.
pub const LOGS_MAX: usize = okapi_wire::peer::member::NODES_MAX;
/// Entries of one log that a witness keeps: those it was drawn for last.
pub const LOG_ENTRIES_MAX: usize = 1024;
/// Bytes of the bodies of one log's entries that a witness keeps, the last one not counted.
pub const LOG_BYTES_MAX: usize = 512 << 10;
/// Bytes of bodies that a witness keeps of all logs; beyond, the log with the most forgets its oldest entry.
pub const WITNESS_BYTES_MAX: usize = 64 << 20;
/// Headers before its head that a witness keeps of a log: with them the author finds entries that nobody kept.
pub const TAIL_MAX: usize = 32;
/// Member lists that are remembered: an entry may be drawn under any of them.
pub const ROSTERS_MAX: usize = 64;

/// How long an author gathers entries before it submits them together.
pub const ROUND: Duration = Duration::from_secs(2);
/// The first wait for an answer; each further one is twice as long, up to [`RETRY_MAX`].
pub const RETRY_FIRST: Duration = Duration::from_secs(10);
/// The longest wait between two tries.
pub const RETRY_MAX: Duration = Duration::from_secs(30 * 60);

/// How long an answer is waited for after so many tries before it.
#[must_use]
pub fn retry_after(tries: u32) -> Duration {
    (RETRY_FIRST * 2u32.saturating_pow(tries)).min(RETRY_MAX)
}

/// When a witness that is away is looked at again, if it does not come back before.
pub const AWAY: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a witness may stay silent before the entry is drawn for anew, if the member list has changed since.
pub const REDRAW_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// After this time an author takes the word of all the others but one for where its log ends.
pub const HEAD_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// After this time it takes that of whoever answered.
pub const HEAD_PATIENCE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long an author waits for entries it lacks before it goes on behind the last one.
pub const FETCH_PATIENCE: Duration = Duration::from_secs(10 * 60);
