//! The keeper: a thread that compacts and writes checkpoints in the background.

use super::Inner;
use super::compact::Goal;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

/// How often it looks whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often, once there was nothing to do and until something is appended: a disk gets room, and others give back what
/// they hold, without that.
const DOZE: Duration = Duration::from_secs(10);
/// Looks between two attempts to keep room for deletions.
const REFILL_EVERY: u32 = 32;
/// Looks without a put after which the store counts as idle.
const IDLE_LOOKS: u32 = 5;

impl Inner {
    /// The keeper's thread.
    pub(super) fn keep_until_stopped(&self) {
        let mut put_bytes = 0;
        let (mut quiet, mut looks) = (0, 0u32);
        let mut dozing = None;
        loop {
            if self.wait_for_look(dozing) {
                return;
            }
            let now = self.put_bytes.load(Relaxed);
            quiet = if now == put_bytes { (quiet + 1).min(IDLE_LOOKS) } else { 0 };
            put_bytes = now;
            looks = looks.wrapping_add(1);
            if dozing.is_some() || looks.is_multiple_of(REFILL_EVERY) {
                self.refill_reserve();
            }
            let (idle, appended) = (quiet >= IDLE_LOOKS, self.appended.load(SeqCst));
            let worked = self.keep(idle);
            dozing = (idle && !worked).then_some(appended);
        }
    }

    /// Waits until it is time to look; whether it is to stop. `dozing` is the newest record of when there was nothing to
    /// do: until there is a newer one, the time is long.
    fn wait_for_look(&self, dozing: Option<u64>) -> bool {
        let mut stopping = self.keeper_stopping.lock();
        if *stopping {
            return true;
        }
        self.keeper_dozes.store(dozing.is_some(), SeqCst);
        // Whoever appends from here on sees that it dozes; what came just before is seen here.
        let dozes = dozing.is_some_and(|newest| self.appended.load(SeqCst) == newest);
        self.keeper_wakes.wait_for(&mut stopping, if dozes { DOZE } else { LOOK_EVERY });
        self.keeper_dozes.store(false, SeqCst);
        *stopping
    }

    /// Does what is due; says whether anything was.
    pub(super) fn keep(&self, idle: bool) -> bool {
        if self.pipe.lock().broken.is_some() {
            return false;
        }
        let mut worked = false;
        if self.is_checkpoint_due() {
            worked = true;
            if let Err(error) = self.checkpoint() {
                tracing::warn!("no checkpoint could be written: {error}");
            }
        }
        worked |= self.keep_given();
        let round = self.compact_round(if idle { Goal::IDLE } else { Goal::BUSY }, false);
        let round = round.and_then(|round| if round.is_none() { self.merge_short() } else { Ok(round) });
        match round {
            Ok(round) => worked || round.is_some_and(|round| round.segments > 0),
            Err(error) => {
                tracing::warn!("compaction stopped: {error}");
                worked
            }
        }
    }
}
