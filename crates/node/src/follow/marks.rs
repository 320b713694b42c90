//! Marks, and the ranges they tell of.

use super::{Phase, Sent, Step, Stream, Sweep, next};
use crate::owners::{run, without};
use okapi_base::Index;
use okapi_grid::{Outbox, ask};
use okapi_store::Payload;
use okapi_wire::Op;
use okapi_wire::message::Mark;

impl Stream {
    /// Says how far the stream has come.
    pub(super) fn send_mark(
        &mut self,
        swept: Option<(Index, Index, u64)>,
        outbox: &mut Outbox<Payload>,
        requests: &mut u32,
    ) {
        let sequence = match self.phase {
            Phase::Live if self.steps.is_empty() => self.position,
            Phase::Live => self.marked,
            Phase::Sweep(_) | Phase::Names(_) => 0,
        };
        let (epoch, head) = (self.grid.changes.epoch, self.grid.changes.head());
        let unreadable = std::mem::take(&mut self.unreadable);
        if let Some((from, to, until)) = swept {
            let range = run(from.get(), to.get() + 1);
            // The follower keeps what it has in place of what cannot be read, and what comes with a later change: then
            // the range is gone through again in the pieces between.
            if !unreadable.is_empty() || !self.grid.changes.newer(&range, until).is_empty() {
                return self.ranges(from, to, until, &unreadable);
            }
        }
        let swept = swept.map(|(from, to, _)| (from, to));
        (self.marked, self.unmarked) = (sequence, 0);
        let held = self.grid.blocks.usage().blocks;
        let behind = if sequence == 0 { held.saturating_sub(self.sent_blocks) } else { 0 };
        let request = next(requests);
        ask::message(outbox, Op::Mark, request, self.handle, &Mark { epoch, sequence, head, swept, behind });
        self.note(request, okapi_wire::HEADER_BYTES, Sent::Mark);
    }

    /// Puts a range before all other steps, in pieces without blocks that cannot be read or have changed later.
    pub(super) fn ranges(&mut self, from: Index, to: Index, sequence: u64, unreadable: &[Index]) {
        let range = run(from.get(), to.get() + 1);
        let mut gaps = self.grid.changes.newer(&range, sequence);
        gaps.extend(unreadable.iter().map(|index| run(index.get(), index.get() + 1)));
        for piece in without(&[range], &gaps).into_iter().rev() {
            let (next, last) = (Some(piece.start), piece.last());
            self.steps.push_front(Step::Range(Sweep { next, last, unmarked: piece.start, sequence }));
        }
    }
}
