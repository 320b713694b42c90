//! What was in memory of disks that nobody has open now, for when somebody opens them again.

use super::units::Units;
use crate::place::Number;
use okapi_client::Generation;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Disks of which it is kept.
const DISKS_MAX: usize = 1024;

/// Blocks of disks as they were when they were closed, and when that was: whoever writes to a disk after that puts its
/// head, and then they are out of date.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<VecDeque<(Number, Generation, Arc<Units>)>>);

impl Kept {
    /// What is kept of a disk whose head is still at this generation. It is not kept any more.
    pub(super) fn take(&self, number: Number, at: Generation) -> Option<Arc<Units>> {
        let mut all = self.0.lock();
        let place = all.iter().position(|(its, _, _)| *its == number)?;
        let (_, generation, units) = all.remove(place)?;
        (generation == at).then_some(units)
    }

    pub(super) fn keep(&self, number: Number, at: Generation, units: Arc<Units>) {
        let mut all = self.0.lock();
        all.retain(|(its, _, _)| *its != number);
        if all.len() >= DISKS_MAX {
            all.pop_front();
        }
        all.push_back((number, at, units));
    }
}
