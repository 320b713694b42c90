//! Okapi itself: a real `okapi up` beside the other servers, driven through its client.

use super::Contender;
use crate::Fault;
use std::path::Path;

/// Starts `okapi up` with its data in `dir`; nothing as long as there is no client to drive it with.
pub(crate) fn start(dir: &Path) -> Result<Option<Box<dyn Contender>>, Fault> {
    let _ = dir;
    Ok(None)
}
