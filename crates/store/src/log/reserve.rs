//! Room kept for those who make room: files of a segment's size that only deletions and compaction may use.
//!
//! On a disk that is full to the last block a deletion still needs a place for its record, and compaction for what it
//! copies. One file is for either, the other for compaction alone. They are never written to under their own names.

use super::disk::{Disk, DiskFile};
use super::writer::{Purpose, Writer};
use super::{Inner, disk};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const NAMES: [&str; 2] = ["reserve-1", "reserve-2"];

/// Which of the files are there. Its lock comes after the writer's.
#[derive(Default)]
pub(super) struct Reserve(Mutex<[bool; NAMES.len()]>);

/// Removes what an earlier process kept: perhaps it had begun to be a segment when the power went.
pub(super) fn remove_old(disk: &dyn Disk) -> io::Result<()> {
    for name in NAMES {
        match disk.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Inner {
    /// Makes the files that are not there, as far as there is room: without them all works but for a full disk.
    pub(super) fn refill_reserve(&self) {
        let held = self.writer.lock().held;
        let segment_bytes = u64::from(self.settings.segment_bytes);
        let mut there = self.reserve.0.lock();
        for (slot, name) in NAMES.into_iter().enumerate() {
            let count = there.iter().filter(|there| **there).count() as u64;
            let limit = self.limit.load(Relaxed);
            if there[slot] || (limit > 0 && held + segment_bytes * (count + 1) > limit) {
                continue;
            }
            match self.disk.create(name, segment_bytes) {
                Ok(_) => there[slot] = true,
                Err(error) if disk::no_room(&error) => return,
                Err(error) => {
                    tracing::warn!("no room could be kept for deletions on a full disk: {error}");
                    return;
                }
            }
        }
    }

    /// Makes the file of the next segment, from the reserve if there is no room beside it.
    pub(super) fn make_segment(&self, w: &Writer, name: &str, purpose: Purpose) -> io::Result<Arc<dyn DiskFile>> {
        let segment_bytes = u64::from(self.settings.segment_bytes);
        let mut there = self.reserve.0.lock();
        let kept = there.iter().filter(|there| **there).count() as u64;
        let limit = self.limit.load(Relaxed);
        let refusal = if limit > 0 && w.held + segment_bytes * (1 + kept) > limit {
            io::ErrorKind::StorageFull.into()
        } else {
            match self.disk.create(name, segment_bytes) {
                Err(error) if disk::no_room(&error) => error,
                made => return made,
            }
        };
        match there.iter().rposition(|there| *there) {
            Some(slot) if kept > purpose.leaves() => {
                there[slot] = false;
                self.disk.rename(NAMES[slot], name)?;
                self.disk.open(name)
            }
            _ => Err(refusal),
        }
    }
}
