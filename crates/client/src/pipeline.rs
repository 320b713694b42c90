//! Many frames in flight on one connection: for streams and for measuring.

use crate::connection::Deadline;
use crate::fault::{BlockError, Fault};
use crate::grid::{Grid, check_got};
use crate::pool::Lease;
use okapi_base::limits::{DESCRIPTORS_MAX, FRAMES_IN_FLIGHT_MAX};
use okapi_grid::ask::{self, ReplyError};
use okapi_wire::{Frame, GetAsk, Op, Outcome, PutAsk, flags};
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
    /// [`okapi_wire::Status::NoCredit`].
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
        self.lease.flush(&self.grid.deadline())?;
        let mut kept = self.spare.pop().unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(asks);
        Ok(self.took_off(Flying { request, op: Op::Get, count: asks.len(), asks: kept, coming }))
    }

    /// Asks for changes of blocks, each with its payload: at most 1,024, and at most 16 MiB with their descriptors of
    /// 32 bytes. Sent before this returns, without a copy of large payloads.
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

    /// Waits for the answer to a frame and calls `each` for each of its descriptors, in order.
    ///
    /// # Errors
    /// [`BlockError`].
    ///
    /// # Panics
    /// If the ticket is not of a frame of this pipeline that is in flight.
    pub fn wait(&mut self, ticket: Ticket, mut each: impl FnMut(usize, Outcome, &[u8])) -> Result<(), BlockError> {
        let at = self.flying.iter().position(|flying| flying.request == ticket.0);
        let flying = self.land(at.expect("a ticket is waited for once, at the pipeline that gave it"));
        let deadline = self.grid.deadline();
        let landed = self.lease.reply(flying.request, &deadline, |frame| hand_over(frame, &flying, &mut each));
        self.recycle(flying, landed)
    }

    /// Waits for whichever answer comes first; nothing if no frame is in flight.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn wait_any(&mut self, mut each: impl FnMut(usize, Outcome, &[u8])) -> Result<Option<Ticket>, BlockError> {
        if self.flying.is_empty() {
            return Ok(None);
        }
        let deadline: Deadline = self.grid.deadline();
        let all = &self.flying;
        let mut landed_at = 0;
        let landed = self.lease.any_reply(&deadline, |request, frame| {
            landed_at = all.iter().position(|flying| flying.request == request).expect("every ask is in the list");
            hand_over(frame, &all[landed_at], &mut each)
        });
        let flying = self.land(landed_at);
        let ticket = Ticket(flying.request);
        self.recycle(flying, landed).map(|()| Some(ticket))
    }

    /// Frames in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }

    fn land(&mut self, at: usize) -> Flying {
        let flying = self.flying.remove(at).expect("the place is within the list");
        self.coming -= flying.coming;
        flying
    }

    fn recycle(&mut self, flying: Flying, landed: Result<(), Fault>) -> Result<(), BlockError> {
        let first = flying.asks.first().and_then(|ask| ask.index).unwrap_or_default();
        let what = if flying.op == Op::Get { "a get" } else { "a put" };
        let mut asks = flying.asks;
        asks.clear();
        self.spare.push(asks);
        landed.map_err(|fault| self.grid.block_error(first, what, fault))
    }
}

fn hand_over(
    frame: &Frame<'_>,
    flying: &Flying,
    each: &mut impl FnMut(usize, Outcome, &[u8]),
) -> Result<(), ReplyError> {
    for (number, (outcome, payload)) in ask::outcomes(frame, flying.op, flying.count)?.enumerate() {
        if let Some(ask) = flying.asks.get(number) {
            check_got(ask, &outcome, payload)?;
        }
        each(number, outcome, if outcome.status.is_ok() { payload } else { &[] });
    }
    Ok(())
}
