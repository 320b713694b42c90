//! Asks for many blocks: cut into frames, several of them in flight.

use super::{Grid, check_got, is_harmless_twice};
use crate::connection::Connection;
use crate::fault::{BlockError, Fault};
use okapi_base::limits::DESCRIPTORS_MAX;
use okapi_grid::ask;
use okapi_wire::{GetAsk, Op, Outcome, PutAsk, Status, flags};
use std::collections::VecDeque;
use std::ops::Range;

/// Bytes of payload one frame of many aims at: enough that a frame costs nothing, few enough to stay in a cache.
pub(crate) const FRAME_BYTES: usize = 1 << 20;
/// The least that puts are cut into.
const PART_BYTES: usize = 128 << 10;
/// Frames in flight.
pub(crate) const FLIGHT: usize = 4;

impl Grid {
    pub(super) fn get_all(
        &self,
        asks: &[GetAsk],
        mut each: impl FnMut(usize, Outcome, &[u8]),
    ) -> Result<(), BlockError> {
        let mut done = 0;
        // What did not fit into its reply, and how long it turned out to be.
        let mut over: Vec<(usize, usize)> = Vec::new();
        let most = FRAME_BYTES.max(self.block_size().bytes() as usize);
        let bytes = |ask: &GetAsk| ask.slice.within(self.block_size().bytes()).len();
        let mut run = |connection: &mut Connection, handle: u32, deadline: &_| {
            let mut flying: VecDeque<(u32, Range<usize>)> = VecDeque::with_capacity(FLIGHT);
            let mut next = done;
            while done < asks.len() {
                while flying.len() < FLIGHT && next < asks.len() {
                    let end = next + fitting(&asks[next..], most, bytes);
                    flying.push_back((connection.get(handle, &asks[next..end]), next..end));
                    next = end;
                }
                let (request, range) = flying.pop_front().expect("there is more to get, so something flies");
                connection.reply(request, deadline, |frame| {
                    for (number, (outcome, payload)) in range.clone().zip(ask::outcomes(frame, Op::Get, range.len())?) {
                        check_got(&asks[number], &outcome, payload)?;
                        if outcome.status == Status::NoCredit {
                            over.push((number, asks[number].slice.within(outcome.length).len()));
                        } else {
                            hand_over(&mut each, number, outcome, payload);
                        }
                        done = number + 1;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        };
        let got = self.ask(Op::Get, true, &mut run);
        let got = got.and_then(|()| self.get_over(asks, &mut over, &mut each));
        got.map_err(|fault| self.many_error(asks.first().and_then(|ask| ask.index), asks.len(), done, "a get", fault))
    }

    /// Gets what did not fit, in frames that fit.
    fn get_over(
        &self,
        asks: &[GetAsk],
        over: &mut Vec<(usize, usize)>,
        each: &mut impl FnMut(usize, Outcome, &[u8]),
    ) -> Result<(), Fault> {
        while !over.is_empty() {
            self.ask(Op::Get, true, |connection, handle, deadline| {
                let credit = connection.credit() as usize;
                let count = fitting(over, credit, |(_, bytes)| bytes + Outcome::BYTES);
                let these: Vec<GetAsk> = over[..count].iter().map(|(number, _)| asks[*number]).collect();
                let request = connection.get(handle, &these);
                let mut again = Vec::new();
                connection.reply(request, deadline, |frame| {
                    let outcomes = ask::outcomes(frame, Op::Get, count)?;
                    for ((number, _), (outcome, payload)) in over[..count].iter().copied().zip(outcomes) {
                        check_got(&asks[number], &outcome, payload)?;
                        if outcome.status == Status::NoCredit && count > 1 {
                            // It has grown meanwhile: now it gets a frame of its own.
                            again.push((number, credit));
                        } else {
                            hand_over(each, number, outcome, payload);
                        }
                    }
                    Ok(())
                })?;
                over.splice(..count, again);
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(super) fn put_all(
        &self,
        puts: &[(PutAsk, &[u8])],
        put_flags: u16,
        mut each: impl FnMut(usize, Outcome),
    ) -> Result<(), BlockError> {
        for (ask, payload) in puts {
            if ask.payload as usize != payload.len() {
                let fault = Fault::Invalid("a put's descriptor must count its payload".to_owned());
                return Err(self.block_error(ask.index, "a put", fault));
            }
            self.check_put(ask).map_err(|fault| self.block_error(ask.index, "a put", fault))?;
        }
        let mut done = 0;
        let harmless = puts.iter().all(|(ask, _)| is_harmless_twice(ask));
        let whole = FRAME_BYTES.max(self.block_size().bytes() as usize);
        let most = if put_flags & flags::RELAXED == 0 {
            whole
        } else {
            // The node works on the first while the others are on their way.
            let bytes: usize = puts.iter().map(|(_, payload)| payload.len()).sum();
            (bytes / FLIGHT).clamp(PART_BYTES.max(self.block_size().bytes() as usize), whole)
        };
        let put = self.ask(Op::Put, harmless, |connection, handle, deadline| {
            let mut flying: VecDeque<(u32, Range<usize>)> = VecDeque::with_capacity(FLIGHT);
            let mut next = done;
            while done < puts.len() {
                while flying.len() < FLIGHT && next < puts.len() {
                    let end = next + fitting(&puts[next..], most, |(_, payload)| payload.len());
                    if put_flags & flags::RELAXED != 0 {
                        self.client().pool.note_relaxed(connection);
                    }
                    let request = connection.put(handle, put_flags, &puts[next..end], deadline)?;
                    flying.push_back((request, next..end));
                    next = end;
                }
                let (request, range) = flying.pop_front().expect("there is more to put, so something flies");
                connection.reply(request, deadline, |frame| {
                    for (number, (outcome, _)) in range.clone().zip(ask::outcomes(frame, Op::Put, range.len())?) {
                        each(number, outcome);
                        done = number + 1;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        });
        put.map_err(|fault| self.many_error(puts.first().map(|(ask, _)| ask.index), puts.len(), done, "a put", fault))
    }

    fn many_error(
        &self,
        first: Option<okapi_base::Index>,
        count: usize,
        done: usize,
        what: &'static str,
        fault: Fault,
    ) -> BlockError {
        let (address, grid) = (self.address().clone(), self.key().name.clone());
        BlockError::Many { address, grid, first: first.unwrap_or_default(), count, done, what, fault }
    }
}

/// What is not there, or not whole, has no bytes.
fn hand_over(each: &mut impl FnMut(usize, Outcome, &[u8]), number: usize, outcome: Outcome, payload: &[u8]) {
    each(number, outcome, if outcome.status.is_ok() { payload } else { &[] });
}

/// How many of the first of `all` go into one frame of at most `most` bytes: at least one.
pub(crate) fn fitting<T>(all: &[T], most: usize, bytes: impl Fn(&T) -> usize) -> usize {
    let mut sum = 0;
    let fits = all.iter().take(usize::from(DESCRIPTORS_MAX)).take_while(|one| {
        sum += bytes(one);
        sum <= most
    });
    fits.count().max(1).min(all.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_hold_as_much_as_fits_and_at_least_one() {
        let fit = |all: &[usize], most| fitting(all, most, |bytes| *bytes);
        assert_eq!(fit(&[], 10), 0);
        assert_eq!(fit(&[11], 10), 1);
        assert_eq!(fit(&[5, 5, 1], 10), 2);
        assert_eq!(fit(&[11, 1], 10), 1);
        assert_eq!(fit(&[0; 2000], 10), 1024);
    }
}
