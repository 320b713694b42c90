//! A grid of a node, and its blocks.

use crate::client::Client;
use crate::connection::{Connection, Deadline};
use crate::fault::{BlockError, Fault, GridError};
use crate::list::{Blocks, Runs};
use crate::pool::{Lease, Use};
use okapi_base::{BlockSize, Generation, Index, Slice, crc32c, limits};
use okapi_grid::ask::{self, ReplyError};
use okapi_wire::message::GridInfo;
use okapi_wire::{GetAsk, Op, Outcome, PutAsk, PutKind, Status, Token};
use std::sync::{Arc, OnceLock};

mod many;

/// An open grid. Clones are the same grid. It is opened again by itself on every connection that needs it.
#[derive(Debug, Clone)]
pub struct Grid {
    client: Client,
    key: Arc<Key>,
}

/// What opens a grid on a connection, and which one it must turn out to be.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: Arc<str>,
    pub(crate) token: Token,
    /// As it was when first opened.
    pub(crate) info: OnceLock<GridInfo>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let id = |key: &Self| key.info.get().map(|info| info.id);
        self.name == other.name && self.token == other.token && id(self).is_some() && id(self) == id(other)
    }
}

/// A block, or the part of it that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its bytes, checked against their checksum.
    pub bytes: Vec<u8>,
    /// Bytes the whole block has.
    pub length: u32,
    /// Which put made it.
    pub generation: Generation,
    /// CRC-32C of `bytes`.
    pub crc: u32,
}

/// What [`Grid::get_into`] got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Got {
    /// Bytes written to the front of the caller's buffer.
    pub filled: usize,
    /// Bytes the whole block has.
    pub length: u32,
    /// Which put made it.
    pub generation: Generation,
}

/// What a put has made of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The block's generation now.
    pub generation: Generation,
    /// Bytes the block has now.
    pub length: u32,
}

impl Grid {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// The node it is on.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the node said of it when it was opened.
    #[must_use]
    pub fn info(&self) -> &GridInfo {
        self.key.info.get().expect("a grid is opened before it is handed out")
    }

    /// The capacity of its blocks.
    #[must_use]
    pub fn block_size(&self) -> BlockSize {
        self.info().block_size
    }

    /// What it holds now.
    ///
    /// # Errors
    /// [`GridError`].
    pub fn stat(&self) -> Result<GridInfo, GridError> {
        let stat = self.ask(Op::GridStat, true, |connection, handle, deadline| {
            let request = connection.bare(Op::GridStat, handle);
            connection.read(request, Op::GridStat, deadline)
        });
        stat.map_err(|fault| self.error("asking what it holds", fault))
    }

    /// Waits until everything put before, relaxed or not, is durable.
    ///
    /// # Errors
    /// [`GridError`]; [`crate::Fault::Interrupted`] if a connection that carried relaxed puts broke since the last
    /// sync: they may be lost.
    pub fn sync(&self) -> Result<(), GridError> {
        let synced = self.client.pool.synced(|| {
            self.ask(Op::Sync, true, |connection, handle, deadline| {
                let request = connection.bare(Op::Sync, handle);
                connection.accept(request, Op::Sync, deadline)
            })
        });
        synced.map_err(|fault| self.error("a sync", fault))
    }

    /// A block, or nothing if it is absent.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn get(&self, index: Index) -> Result<Option<Block>, BlockError> {
        self.get_slice(index, Slice::WHOLE)
    }

    /// Part of a block, cut at its end, or nothing if it is absent.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn get_slice(&self, index: Index, slice: Slice) -> Result<Option<Block>, BlockError> {
        self.get_one(GetAsk { index: Some(index), slice }, |outcome, payload| Block {
            bytes: payload.to_vec(),
            length: outcome.length,
            generation: outcome.generation,
            crc: outcome.crc,
        })
    }

    /// Gets part of a block into the front of `into`, or nothing if it is absent. A slice longer than `into` is cut to
    /// it.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn get_into(&self, index: Index, slice: Slice, into: &mut [u8]) -> Result<Option<Got>, BlockError> {
        let most = u32::try_from(into.len()).unwrap_or(u32::MAX);
        let slice = Slice { length: slice.length.min(most), ..slice };
        self.get_one(GetAsk { index: Some(index), slice }, |outcome, payload| {
            into[..payload.len()].copy_from_slice(payload);
            Got { filled: payload.len(), length: outcome.length, generation: outcome.generation }
        })
    }

    /// Gets any number of slices of blocks. `each` is called once for each ask, with its number, how it ended
    /// ([`okapi_wire::Status::Absent`] is one way) and its bytes, which are checked; mostly, but not always, in order.
    ///
    /// # Errors
    /// [`BlockError`] if the asks as a whole failed; `each` may have been called for some.
    pub fn get_many(&self, asks: &[GetAsk], each: impl FnMut(usize, Outcome, &[u8])) -> Result<(), BlockError> {
        self.get_all(asks, each)
    }

    /// Replaces a block. No bytes at all delete it.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn put(&self, index: Index, bytes: &[u8]) -> Result<Placed, BlockError> {
        self.put_one("a put", PutAsk::whole(index, bytes, crc32c(bytes)), bytes)
    }

    /// Changes part of a block, which grows if need be.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn put_slice(&self, index: Index, offset: u32, bytes: &[u8]) -> Result<Placed, BlockError> {
        self.put_one("a put", PutAsk::slice(index, offset, bytes, crc32c(bytes)), bytes)
    }

    /// Replaces a block if it still is at `expect` ([`Generation::ABSENT`]: if there is none).
    ///
    /// # Errors
    /// [`BlockError`], with [`okapi_wire::Status::Stale`] if it is not.
    pub fn put_if(&self, index: Index, bytes: &[u8], expect: Generation) -> Result<Placed, BlockError> {
        let ask = PutAsk { expect: Some(expect), ..PutAsk::whole(index, bytes, crc32c(bytes)) };
        self.put_one("a put", ask, bytes)
    }

    /// Writes `length` zeros into a block at `offset`.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn put_zeroes(&self, index: Index, offset: u32, length: u32) -> Result<Placed, BlockError> {
        let ask = PutAsk { kind: PutKind::Zeroes, offset, length, ..PutAsk::delete(index) };
        self.put_one("writing zeros", ask, &[])
    }

    /// Cuts a block to `length` bytes, or extends it with zeros. To 0 deletes it.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn truncate(&self, index: Index, length: u32) -> Result<Placed, BlockError> {
        self.put_one("a truncate", PutAsk { kind: PutKind::Truncate, length, ..PutAsk::delete(index) }, &[])
    }

    /// Deletes a block; one that is absent already is no error.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn delete(&self, index: Index) -> Result<(), BlockError> {
        match self.put_one("a delete", PutAsk::delete(index), &[]) {
            Err(error) if error.status() != Some(Status::Absent) => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes any number of changes, each descriptor with its payload, in order. `put_flags` are those of
    /// [`okapi_wire::flags`]. `each` is called once for each with its number and how it ended, in order.
    ///
    /// # Errors
    /// [`BlockError`] if the puts as a whole failed; those `each` was called for are done.
    pub fn put_many(
        &self,
        puts: &[(PutAsk, &[u8])],
        put_flags: u16,
        each: impl FnMut(usize, Outcome),
    ) -> Result<(), BlockError> {
        self.put_all(puts, put_flags, each)
    }

    /// The occupied blocks from `from` on, ascending. `detail` fills in lengths, checksums and generations.
    #[must_use]
    pub fn list(&self, from: Index, detail: bool) -> Blocks {
        Blocks::new(self, from, detail)
    }

    /// The runs of occupied blocks from `from` on, ascending.
    #[must_use]
    pub fn runs(&self, from: Index) -> Runs {
        Runs::new(self, from)
    }
}

impl Grid {
    pub(crate) fn open(client: &Client, name: &str, token: Token) -> Result<Self, GridError> {
        let key = Arc::new(Key { name: name.into(), token, info: OnceLock::new() });
        let this = Self { client: client.clone(), key };
        let named = if name.len() > limits::GRID_NAME_MAX { Err(Fault::refused(Status::BadName)) } else { Ok(()) };
        named
            .and_then(|()| this.ask(Op::GridOpen, true, |_, _, _| Ok(())))
            .map_err(|fault| this.error("opening it", fault))?;
        Ok(this)
    }

    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        self.client.pool.address()
    }

    /// Time for one ask.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.client.pool.settings().answer_timeout)
    }

    /// Runs one ask on a connection on which the grid is open.
    pub(crate) fn ask<T>(
        &self,
        op: Op,
        again: bool,
        mut run: impl FnMut(&mut Connection, u32, &Deadline) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let deadline = self.deadline();
        self.client.pool.ask(op, again, &deadline, |connection| {
            let handle = connection.handle(&self.key, &deadline)?;
            run(connection, handle, &deadline)
        })
    }

    /// A connection of one's own on which the grid is open, and its handle there.
    pub(crate) fn stream(&self, deadline: &Deadline) -> Result<(Lease, u32), Fault> {
        let pool = &self.client.pool;
        let mut backoff = None;
        loop {
            let mut lease = pool.take(Use::Stream, deadline)?;
            let why = match lease.handle(&self.key, deadline) {
                Ok(handle) => return Ok((lease, handle)),
                Err(Fault::Broken { why }) => why,
                Err(fault) => return Err(fault),
            };
            drop(lease);
            let delay = backoff.get_or_insert_with(|| pool.backoff()).delay();
            if !pool.reconnects() || deadline.left() <= delay {
                return Err(Fault::Broken { why });
            }
            std::thread::sleep(delay);
        }
    }

    pub(crate) fn error(&self, what: &'static str, fault: Fault) -> GridError {
        GridError { address: self.address().clone(), grid: self.key.name.to_string(), what, fault }
    }

    pub(crate) fn block_error(&self, index: Index, what: &'static str, fault: Fault) -> BlockError {
        BlockError::One { address: self.address().clone(), grid: self.key.name.clone(), index, what, fault }
    }

    fn get_one<T>(&self, ask: GetAsk, read: impl FnOnce(&Outcome, &[u8]) -> T) -> Result<Option<T>, BlockError> {
        let mut read = Some(read);
        let got = self.ask(Op::Get, true, |connection, handle, deadline| {
            let request = connection.get(handle, &[ask]);
            connection.reply(request, deadline, |frame| {
                let (outcome, payload) = ask::outcomes(frame, Op::Get, 1)?.next().expect("there is one outcome");
                check_got(&ask, &outcome, payload)?;
                Ok(match outcome.status {
                    Status::Ok => Ok(Some(read.take().expect("a reply is read once")(&outcome, payload))),
                    Status::Absent => Ok(None),
                    status => Err(Fault::refused(status)),
                })
            })?
        });
        got.map_err(|fault| self.block_error(ask.index.unwrap_or_default(), "a get", fault))
    }

    fn put_one(&self, what: &'static str, ask: PutAsk, bytes: &[u8]) -> Result<Placed, BlockError> {
        let placed = self.check_put(&ask).and_then(|()| {
            self.ask(Op::Put, is_harmless_twice(&ask), |connection, handle, deadline| {
                let request = connection.put(handle, 0, &[(ask, bytes)], deadline)?;
                let outcome = connection.reply(request, deadline, |frame| {
                    Ok(ask::outcomes(frame, Op::Put, 1)?.next().expect("there is one outcome").0)
                })?;
                match outcome.status {
                    Status::Ok => Ok(Placed { generation: outcome.generation, length: outcome.length }),
                    status => Err(Fault::refused(status)),
                }
            })
        });
        placed.map_err(|fault| self.block_error(ask.index, what, fault))
    }

    /// Refuses what the node would refuse, before it is sent.
    fn check_put(&self, ask: &PutAsk) -> Result<(), Fault> {
        let most = u64::from(self.block_size().bytes());
        if u64::from(ask.offset) + u64::from(ask.length) > most {
            return Err(Fault::refused(Status::PastBlock));
        }
        Ok(())
    }
}

/// Whether doing this put twice is as good as doing it once.
fn is_harmless_twice(ask: &PutAsk) -> bool {
    ask.kind == PutKind::Whole && ask.expect.is_none()
}

/// Makes sure that a get brought as many bytes as it says.
pub(crate) fn check_got(ask: &GetAsk, outcome: &Outcome, payload: &[u8]) -> Result<(), ReplyError> {
    if outcome.status.is_ok() && payload.len() != ask.slice.within(outcome.length).len() {
        return Err(ReplyError::Malformed("it brings another part of a block than was asked for"));
    }
    Ok(())
}
