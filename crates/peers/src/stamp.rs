//! Stamps: moments as the records carry them.

use okapi_base::machine::Moment;

/// Milliseconds in an hour.
pub const HOUR_MS: u64 = 3_600_000;
/// Milliseconds in a day.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// Milliseconds since 1970-01-01 UTC.
#[must_use]
pub fn stamp(now: Moment) -> u64 {
    u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX)
}
