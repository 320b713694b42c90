//! Keeping one grid like another for as long as wanted.

use super::copy::{Report, delete_others, put_all, settle};
use super::records::settle_record;
use super::{ReplicateError, check};
use crate::connection::{Deadline, Nothing};
use crate::fault::Fault;
use crate::grid::Grid;
use okapi_base::{BlockSize, Generation, Index, Ticket};
use okapi_grid::{Backend, Control, Fetched, Hold, Reply, Stored};
use okapi_wire::message::{Follow, Followed, Mark, RecordBind, RecordRemove};
use okapi_wire::{Frame, Listed, Message, Op, PutAsk, Run, Status};
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

/// How often `stop` is asked while nothing comes.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of blocks made durable together.
const BATCH_BYTES: usize = 8 << 20;
/// Blocks remembered between two marks: the followed end says often how far it is.
const UNMARKED_MAX: usize = 1 << 20;
/// What all replies wait for: the next sync.
const HOLD: Hold = Hold { engine: 0, ticket: Ticket(1) };

/// Up to where a follower has everything: to be kept, and handed to [`follow`] to go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The epoch of the followed node; it changes when that starts anew.
    pub epoch: u64,
    /// The last change that arrived.
    pub sequence: u64,
}

/// Follows `from`: has it send everything (or what changed since `position`), and then what changes, into `to`, where
/// it is durable before it counts. Connects again when a link breaks, for ever, as the settings say. `on_mark` is told
/// every mark once it holds (lag: `head - sequence`; `behind`: blocks still missing); `stop` is asked about ten times a
/// second while the link is there and at each attempt to make it, and ends it with `true`. Returns where to go on from.
///
/// # Errors
/// [`ReplicateError`].
pub fn follow(
    from: &Grid,
    to: &Grid,
    position: Option<Position>,
    on_mark: &mut dyn FnMut(Position, &Mark),
    stop: &dyn Fn() -> bool,
) -> Result<Position, ReplicateError> {
    check(from, to)?;
    let mut position = position.unwrap_or_default();
    let pool = &from.client().pool;
    let mut backoff = pool.backoff();
    while !stop() {
        let mut marked = false;
        let mut on_mark = |position: Position, mark: &Mark| {
            marked = true;
            on_mark(position, mark);
        };
        let Err(error) = stream(from, to, &mut position, &mut on_mark, stop) else { break };
        if !error.fault().is_some_and(Fault::is_link) || !pool.reconnects() {
            return Err(error);
        }
        tracing::debug!(%error, "following begins again");
        if marked {
            backoff.reset();
        }
        let pause = Deadline::after(backoff.delay());
        while !pause.is_over() && !stop() {
            std::thread::sleep(pause.left().min(PATIENCE));
        }
    }
    Ok(position)
}

/// Follows over one connection, until told to stop.
fn stream(
    from: &Grid,
    to: &Grid,
    position: &mut Position,
    on_mark: &mut dyn FnMut(Position, &Mark),
    stop: &dyn Fn() -> bool,
) -> Result<(), ReplicateError> {
    let fail =
        |fault| ReplicateError::Follow { address: from.address().to_string(), grid: from.name().to_owned(), fault };
    let deadline = Deadline::after(from.client().pool.settings().connect_timeout);
    let (mut lease, handle) = from.stream(&deadline).map_err(fail)?;
    let ask = Follow { epoch: position.epoch, sequence: position.sequence };
    let request = lease.message(Op::Follow, handle, &ask);
    let followed: Followed = lease.read(request, Op::Follow, &from.deadline()).map_err(fail)?;
    let mut applier = Applier::new(from, to, handle, !followed.resumed);
    let done = loop {
        if stop() {
            break Ok(());
        }
        let patience = Deadline::after(PATIENCE);
        let served = lease.serve(&mut applier, &patience, |applier| applier.bytes.len() >= BATCH_BYTES);
        // What came before the link broke is worth keeping; only it cannot be answered any more.
        if let Err(error) = applier.commit() {
            break Err(error);
        }
        if let Err(fault) = served.and_then(|_| lease.release(&from.deadline())) {
            break Err(fail(fault));
        }
        for mark in applier.marks.drain(..) {
            if mark.sequence > 0 {
                *position = Position { epoch: mark.epoch, sequence: mark.sequence };
            }
            on_mark(*position, &mark);
        }
    };
    // The other end would go on asking.
    lease.end();
    done
}

/// What the followed end asks, applied to `to`: in batches, durable at each [`Applier::commit`].
struct Applier<'a> {
    from: &'a Grid,
    to: &'a Grid,
    handle: u32,
    /// Everything is being sent: at its end what was here before is compared once more.
    sweeping: bool,
    puts: Vec<(PutAsk, Range<usize>)>,
    bytes: Vec<u8>,
    /// Blocks that came since the last mark.
    came: BTreeSet<u64>,
    marks: Vec<Mark>,
    dirty: bool,
    failed: Option<ReplicateError>,
}

impl<'a> Applier<'a> {
    fn new(from: &'a Grid, to: &'a Grid, handle: u32, sweeping: bool) -> Self {
        Self {
            from,
            to,
            handle,
            sweeping,
            puts: Vec::new(),
            bytes: Vec::new(),
            came: BTreeSet::new(),
            marks: Vec::new(),
            dirty: false,
            failed: None,
        }
    }

    /// Makes durable all that has come.
    fn commit(&mut self) -> Result<(), ReplicateError> {
        let applied = self.apply();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        applied?;
        if std::mem::take(&mut self.dirty) {
            self.to.sync()?;
        }
        Ok(())
    }

    /// Writes the blocks that have come.
    fn apply(&mut self) -> Result<(), ReplicateError> {
        if self.puts.is_empty() {
            return Ok(());
        }
        let puts: Vec<(PutAsk, &[u8])> =
            self.puts.iter().map(|(ask, range)| (*ask, &self.bytes[range.clone()])).collect();
        // Records that stood in the way have taken blocks with them: all is compared at the next mark.
        self.sweeping |= put_all(self.to, &puts)? > 0;
        self.dirty = true;
        self.puts.clear();
        self.bytes.clear();
        Ok(())
    }

    fn bind(&mut self, bind: &RecordBind) -> Result<(), ReplicateError> {
        self.apply()?;
        self.dirty = true;
        settle_record(self.from, self.to, &bind.record, &mut Report::default())
    }

    fn remove(&mut self, remove: &RecordRemove) -> Result<(), ReplicateError> {
        self.apply()?;
        self.dirty = true;
        self.to.remove(&remove.name, None)?;
        Ok(())
    }

    fn mark(&mut self, mark: Mark) -> Result<(), ReplicateError> {
        self.apply()?;
        // Ranges are also swept while following, after a removal; only a mark without a sequence says that it is all.
        self.sweeping |= mark.sequence == 0;
        if let Some((first, last)) = mark.swept {
            self.dirty = true;
            // If not all that came is remembered, the comparison at the end of the sweep finds what must go.
            if self.came.len() < UNMARKED_MAX {
                delete_others(self.to, first, last, &self.came)?;
            }
        }
        self.came.clear();
        if self.sweeping && mark.sequence > 0 {
            // Records that were here before may have been in the way of blocks that came, or are gone at the source.
            settle(self.from, self.to, &mut Report::default(), &mut |_| ())?;
            (self.sweeping, self.dirty) = (false, true);
        }
        self.marks.push(mark);
        Ok(())
    }

    fn carry_out(&mut self, ask: &Frame<'_>) -> Result<Control, ReplicateError> {
        fn read<M: Message>(ask: &Frame<'_>) -> Result<M, Control> {
            M::parse(ask.descriptors).map_err(|_| Control::Done(Status::Malformed))
        }
        let done = match ask.header.operation() {
            Some(Op::Ping) => return Ok(Control::Done(Status::Ok)),
            Some(_) if ask.header.grid != self.handle => return Ok(Control::Done(Status::UnknownGrid)),
            Some(Op::RecordBind) => read(ask).map(|bind| self.bind(&bind)),
            Some(Op::RecordRemove) => read(ask).map(|remove| self.remove(&remove)),
            Some(Op::Mark) => read(ask).map(|mark| self.mark(mark)),
            _ => Err(Control::Done(Status::UnknownOp)),
        };
        match done {
            Ok(done) => done.map(|()| Control::Held(HOLD)),
            Err(refusal) => Ok(refusal),
        }
    }
}

impl Backend for Applier<'_> {
    type Payload = Nothing;

    fn grid(&mut self, handle: u32) -> Result<BlockSize, Status> {
        if handle == self.handle { Ok(self.to.block_size()) } else { Err(Status::UnknownGrid) }
    }

    fn get(&mut self, _: u32, _: Index) -> Fetched<Nothing> {
        Fetched::Failed(Status::Unsupported)
    }

    fn put(&mut self, _: u32, ask: &PutAsk, payload: &[u8], _: u16) -> Stored {
        if ask.expect.is_some() || self.failed.is_some() {
            return Stored::refused(Status::Unsupported);
        }
        if self.came.len() < UNMARKED_MAX {
            self.came.insert(ask.index.get());
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        self.puts.push((*ask, start..self.bytes.len()));
        // Held until it is so: if it fails the connection ends instead.
        Stored { status: Status::Ok, generation: Generation::ABSENT, length: ask.length, hold: Some(HOLD) }
    }

    fn list(&mut self, _: u32, _: Index, _: usize, _: bool, _: &mut Vec<Listed>) -> Result<bool, Status> {
        Err(Status::Unsupported)
    }

    fn runs(&mut self, _: u32, _: Index, _: usize, _: &mut Vec<Run>) -> Result<bool, Status> {
        Err(Status::Unsupported)
    }

    fn control(&mut self, ask: &Frame<'_>, _: &mut Reply<'_>) -> Control {
        // After a failure nothing more may be applied: something before it is missing.
        if self.failed.is_some() {
            return Control::Held(HOLD);
        }
        match self.carry_out(ask) {
            Ok(control) => control,
            Err(error) => {
                self.failed = Some(error);
                Control::Held(HOLD)
            }
        }
    }
}
