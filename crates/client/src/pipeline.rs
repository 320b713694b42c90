//! Many frames in flight on one connection: for streams and for measuring.

use crate::connection::Deadline;
use crate::fault::{BlockError, Fault};
use crate::grid::{Grid, check_got};
use crate::pool::Lease;
use okapi_base::limits::{DESCRIPTORS_MAX, FRAMES_IN_FLIGHT_MAX};
use okapi_wire::{GetAsk, Op, Outcome, PutAsk, flags};
use std::cell::Cell;
use std::collections::VecDeque;

/// Bytes that may be on their way here at a time: what is not waited for in order is kept in memory.
const COMING_MAX: usize = 64 << 20;

/// A connection of one's own on which frames are asked without waiting for the answers to those before. Once warm it
/// allocates nothing. It does not connect again: after a broken link, make another.
#[derive(Debug)]
pub struct Pipeline {
    grid: Grid,
    lease: Lease,
    handle: u32,
    flying: VecDeque<Flying>,
    /// Emptied lists of asks, for the next frames.
    spare: Vec<Vec<GetAsk>>,
    coming: usize,
}

/// One frame asked by a [`Pipeline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) u32);

#[derive(Debug)]
struct Flying {
    request: u32,
    op: Op,
    count: usize,
    /// What was asked by a get.
    asks: Vec<GetAsk>,
    /// The most bytes that may come.
    coming: usize,
}

impl Grid {
    /// A pipeline on a connection of its own.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn pipeline(&self) -> Result<Pipeline, BlockError> {
        let deadline = self.deadline();
        let opened = self.stream(&deadline);
        let (lease, handle) = opened.map_err(|fault| self.block_error(okapi_base::Index::MIN, "a pipeline", fault))?;
        Ok(Pipeline { grid: self.clone(), lease, handle, flying: VecDeque::new(), spare: Vec::new(), coming: 0 })
    }
}

impl Pipeline {
    /// Asks for slices of blocks: at most 1,024, and what comes back must fit into one reply (8 MiB), or some end with
    /// [`okapi_wire::Status::NoCredit`]. Small frames are gathered and sent by the next wait, or by [`Pipeline::flush`].
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn submit_get(&mut self, asks: &[GetAsk]) -> Result<Ticket, BlockError> {
        let first = asks.first().and_then(|ask| ask.index).unwrap_or_default();
        self.get(asks).map_err(|fault| self.grid.block_error(first, "a get", fault))
    }

    fn get(&mut self, asks: &[GetAsk]) -> Result<Ticket, Fault> {
        let block = self.grid.block_size().bytes();
        let most: usize = asks.iter().map(|ask| ask.slice.within(block).len() + Outcome::BYTES).sum();
        let coming = most.min(self.lease.credit() as usize);
        self.check(asks.len(), 0, coming)?;
        let request = self.lease.get(self.handle, asks);
        self.lease.flush_if_much(&self.grid.deadline())?;
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(asks);
        Ok(self.took_off(Flying { request, op: Op::Get, count: asks.len(), asks: kept, coming }))
    }

    /// Asks for changes of blocks, each with its payload: at most 1,024, and at most 16 MiB with their descriptors of
    /// 32 bytes. Large payloads are sent before this returns, without a copy; small ones are gathered as gets are.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn submit_put(&mut self, puts: &[(PutAsk, &[u8])], put_flags: u16) -> Result<Ticket, BlockError> {
        let first = puts.first().map_or(okapi_base::Index::MIN, |(ask, _)| ask.index);
        self.put(puts, put_flags).map_err(|fault| self.grid.block_error(first, "a put", fault))
    }

    fn put(&mut self, puts: &[(PutAsk, &[u8])], put_flags: u16) -> Result<Ticket, Fault> {
        if puts.iter().any(|(ask, payload)| ask.payload as usize != payload.len()) {
            return Err(Fault::Invalid("a put's descriptor must count its payload".to_owned()));
        }
        let body = puts.iter().map(|(_, payload)| payload.len() + PutAsk::BYTES).sum();
        let coming = puts.len() * Outcome::BYTES;
        self.check(puts.len(), body, coming)?;
        if put_flags & flags::RELAXED != 0 {
            self.grid.client().pool.note_relaxed(&mut self.lease);
        }
        let request = self.lease.put(self.handle, put_flags, puts, &self.grid.deadline())?;
        let asks = self.spare.pop().unwrap_or_default();
        Ok(self.took_off(Flying { request, op: Op::Put, count: puts.len(), asks, coming }))
    }

    fn check(&self, count: usize, body: usize, coming: usize) -> Result<(), Fault> {
        let invalid = |why: String| Err(Fault::Invalid(why));
        if count == 0 || count > usize::from(DESCRIPTORS_MAX) {
            return invalid(format!("a frame has 1 to {DESCRIPTORS_MAX} descriptors, not {count}"));
        }
        if body > self.lease.body_max() {
            return invalid(format!("a frame has at most {} bytes, not {body}; cut it", self.lease.body_max()));
        }
        let flying = FRAMES_IN_FLIGHT_MAX.min(self.lease.welcome().limits.frames_in_flight.max(1)) as usize;
        if self.flying.len() >= flying || self.coming + coming > COMING_MAX {
            let flying = self.flying.len();
            return invalid(format!("{flying} frames with up to {} bytes fly already; wait for one", self.coming));
        }
        Ok(())
    }

    fn took_off(&mut self, flying: Flying) -> Ticket {
        let ticket = Ticket(flying.request);
        self.coming += flying.coming;
        self.flying.push_back(flying);
        ticket
    }

    /// Sends whatever has been gathered.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn flush(&mut self) -> Result<(), BlockError> {
        let flushed = self.lease.flush(&self.grid.deadline());
        flushed.map_err(|fault| self.grid.block_error(okapi_base::Index::MIN, "sending", fault))
    }

    /// Whether [`Pipeline::wait_any`] would find a whole answer without waiting: for those who drive many pipelines with
    /// one thread. Sends whatever has been gathered.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn is_ready(&mut self) -> Result<bool, BlockError> {
        if self.flying.is_empty() {
            return Ok(false);
        }
        let ready = self.lease.has_reply(&self.grid.deadline());
        ready.map_err(|fault| self.grid.block_error(okapi_base::Index::MIN, "an answer", fault))
    }

    /// Waits for the answer to a frame and calls `each` for each of its descriptors, in order.
    ///
    /// # Errors
    /// [`BlockError`].
    ///
    /// # Panics
    /// If the ticket is not of a frame of this pipeline that is in flight.
    pub fn wait(&mut self, ticket: Ticket, mut each: impl FnMut(usize, Outcome, &[u8])) -> Result<(), BlockError> {
        let flies = self.flying.iter().any(|flying| flying.request == ticket.0);
        assert!(flies, "a ticket is waited for once, at the pipeline that gave it");
        self.next(Some(ticket.0), &mut each).map(|_| ())
    }

    /// Waits for whichever answer comes first; nothing if no frame is in flight.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn wait_any(&mut self, mut each: impl FnMut(usize, Outcome, &[u8])) -> Result<Option<Ticket>, BlockError> {
        if self.flying.is_empty() {
            return Ok(None);
        }
        self.next(None, &mut each).map(|request| Some(Ticket(request)))
    }

    fn next(&mut self, wanted: Option<u32>, each: &mut impl FnMut(usize, Outcome, &[u8])) -> Result<u32, BlockError> {
        let deadline: Deadline = self.grid.deadline();
        let all = &self.flying;
        let find = |request| all.iter().find(|flying| flying.request == request);
        // Which answer it was, even if it turned out to be a refusal.
        let landed = Cell::new(None);
        let done = self.lease.outcomes(
            wanted,
            &deadline,
            |request| {
                landed.set(Some(request));
                find(request).map(|flying| (flying.op, flying.count))
            },
            |request, number, outcome, payload| {
                if let Some(ask) = find(request).and_then(|flying| flying.asks.get(number)) {
                    check_got(ask, &outcome, payload)?;
                }
                each(number, outcome, if outcome.status.is_ok() { payload } else { &[] });
                Ok(())
            },
        );
        let mut first = None;
        if let Some(at) = all.iter().position(|flying| Some(flying.request) == landed.get()) {
            let mut flying = self.flying.remove(at).expect("the place is within the list");
            self.coming -= flying.coming;
            first = flying.asks.first().and_then(|ask| ask.index);
            flying.asks.clear();
            self.spare.push(flying.asks);
        }
        done.map_err(|fault| self.grid.block_error(first.unwrap_or_default(), "an answer", fault))
    }

    /// Frames in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }
}
