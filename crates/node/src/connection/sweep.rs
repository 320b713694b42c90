//! What time alone decides: who dawdles, who stalls, who is idle.

use super::{Connection, Ending};
use crate::seam::{Hosting, Visiting};
use crate::shared::Shared;
use okapi_wire::Status;
use std::time::{Duration, Instant};

/// How long a connection may read nothing while others wait for the memory of its replies.
const STALL: Duration = Duration::from_secs(3);
/// Bytes a second a frame must come with at least, once the time for its first bytes is over.
const SLOWEST: u64 = 16 << 10;
/// Quiet time after which a connection gives its memory back.
const QUIET: Duration = Duration::from_secs(5);

/// What a look at a connection from time to time says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Look again.
    Warm,
    /// Nothing to look after until something happens.
    Cold,
    /// It must be driven now.
    Drive,
}

impl<V: Visiting> Connection<V> {
    /// Looks at what time alone decides.
    pub(crate) fn sweep<H: Hosting<Visitor = V>>(&mut self, shared: &Shared<H>, now: Instant) -> Sweep {
        let patience = shared.patience;
        let secs = patience.as_secs_f32();
        if let Some(since) = self.clock.ending {
            if now >= since + patience {
                self.ending = Ending::Now;
                return Sweep::Drive;
            }
            return Sweep::Warm;
        }
        if let Some((since, bytes)) = self.clock.partial
            && self.inbox.is_partial()
            && now >= since + patience + Duration::from_secs(bytes / SLOWEST)
        {
            let text = format!("part of a frame came and the rest did not within {secs} s");
            self.end(Status::Failed, text);
            return Sweep::Drive;
        }
        if !self.visitor.has_said_hello() && now >= self.clock.opened + patience {
            self.end(Status::NoHello, format!("no hello came within {secs} s"));
            return Sweep::Drive;
        }
        let stalled = !self.outbox.is_idle() && !self.writable && now >= self.clock.moved + patience.min(STALL);
        if stalled && self.reply_charge.budget().anyone_waits() {
            tracing::info!("{}: reads nothing while others wait for the memory; closed", self.link.facts().name);
            self.ending = Ending::Now;
            return Sweep::Drive;
        }
        if now < self.clock.moved + QUIET {
            return Sweep::Warm;
        }
        self.inbox.relax();
        self.outbox.relax();
        self.settle();
        self.inbox_charge.settle(self.inbox.memory());
        let idle = self.inbox.memory() == 0 && self.outbox.waiting() == 0 && self.at_workers == 0;
        if idle && self.visitor.has_said_hello() { Sweep::Cold } else { Sweep::Warm }
    }
}
