//! Repair of one's own segments: only the missing shards, from the live segment when it is there.
//!
//! Lazily, once a holder is away for longer than is usual for it; at once where the days of safety are few. A holder that
//! comes back after all has a shard too many, and drops it when it is told of the deed: a return moves nothing.

use super::plan::{Need, Why};
use super::review::View;
use okapi_wire::peer::shard::Deed;

/// The missing shards, if there is anybody to give one to.
pub(super) fn missing(view: &View<'_>, deed: &Deed) -> Option<Need> {
    let good = |index: usize| view.is_good(deed, index);
    let complete = (0..deed.slots.len()).all(good);
    (!complete && view.has_candidate(deed)).then(|| Need {
        why: Why::Repair,
        shape: deed.shape,
        steps: view.steps(deed, good),
    })
}
