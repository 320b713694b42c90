//! Answers the requests of one queue, in order.

use super::chain::{Chain, Outside};
use super::told::{RANGES_MAX, REQUEST_MAX, SECTOR};
use crate::device::{Device, Trouble};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use virtio_bindings::bindings::virtio_blk as blk;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory};

/// Bytes of a request that are moved at a time.
pub(super) const PIECE: usize = 1 << 20;
/// Writes that are settled together, and their bytes, if they have come: each time is a way to the node and back.
const OWED_MAX: usize = 256;
const OWED_BYTES_MAX: u64 = 1 << 20;
/// Bytes of what says what a request is.
const HEAD: usize = 16;
/// Bytes of a range that is to be discarded or to be zeros.
const RANGE: usize = 16;

/// A disk as all queues of a machine see it.
pub(super) struct Served {
    pub(super) device: Arc<dyn Device>,
    /// What the machine is told that it is called.
    pub(super) id: [u8; blk::VIRTIO_BLK_ID_BYTES as usize],
    /// Whether what is written has to be on the disk when it is answered: nobody will ask for a flush.
    pub(super) write_through: AtomicBool,
}

/// What answers requests. It keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(super) struct Worker {
    chain: Chain,
    /// Grows with the requests, up to a piece.
    buffer: Vec<u8>,
    /// Writes that are done but for being handed over, in order. None outlives a call.
    owed: Vec<Owed>,
    /// Bytes of these.
    owed_bytes: u64,
}

/// A write that is not answered yet.
#[derive(Debug, Clone, Copy)]
struct Owed {
    /// The first piece of its chain.
    head: u16,
    /// Where it is told how it went.
    status: GuestAddress,
}

/// Whether a request can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// It can.
    Now,
    /// Once what it has written is where it must be.
    Settled,
}

/// Why a queue stands still: the machine says of it what cannot be.
#[derive(Debug, thiserror::Error)]
#[error("the queue makes no sense: {0}")]
pub(super) struct Stopped(#[from] virtio_queue::Error);

/// Why a request failed.
enum Failed {
    Trouble(Trouble),
    Outside,
    Unknown,
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Outside> for Failed {
    fn from(_: Outside) -> Self {
        Self::Outside
    }
}

fn invalid(text: &str) -> Failed {
    Trouble::new(Trouble::INVALID, text).into()
}

impl Served {
    pub(super) fn new(device: Arc<dyn Device>, name: &str) -> Self {
        let mut id = [0; blk::VIRTIO_BLK_ID_BYTES as usize];
        for (to, from) in id.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Self { device, id, write_through: AtomicBool::new(true) }
    }

    fn durable(&self) -> bool {
        self.write_through.load(Ordering::Acquire)
    }
}

impl Worker {
    /// Answers the next request, and those before it that are writes; whether there were any. All that was taken is answered
    /// when this returns, in order: a machine that comes back after its server was killed asks for the rest.
    pub(super) fn next(
        &mut self,
        served: &Served,
        queue: &mut Queue,
        memory: &impl GuestMemory,
    ) -> Result<bool, Stopped> {
        let found = self.take(served, queue, memory);
        self.settle(served, queue, memory)?;
        found
    }

    fn take(&mut self, served: &Served, queue: &mut Queue, memory: &impl GuestMemory) -> Result<bool, Stopped> {
        let mut any = false;
        while self.owed.len() < OWED_MAX && self.owed_bytes < OWED_BYTES_MAX {
            if queue.avail_idx(memory, Ordering::Acquire)?.0 == queue.next_avail() {
                return Ok(any);
            }
            let Some(chain) = queue.iter(memory)?.next() else {
                return Err(virtio_queue::Error::InvalidAvailRingIndex.into());
            };
            any = true;
            let head = chain.head_index();
            let done = match self.chain.load(chain) {
                Ok(()) => Ok(self.carry_out(served, memory)),
                Err(broken) => Err(broken),
            };
            if matches!(done, Ok(Ok(Done::Settled))) {
                self.owed.push(Owed { head, status: self.chain.status() });
                continue;
            }
            self.settle(served, queue, memory)?;
            let written = match done {
                Ok(done) => self.answer(memory, &done),
                Err(broken) => {
                    tracing::debug!("a request was given back as it came: {broken}");
                    0
                }
            };
            queue.add_used(memory, head, written)?;
            return Ok(true);
        }
        Ok(any)
    }

    /// Answers the writes that are owed.
    fn settle(&mut self, served: &Served, queue: &mut Queue, memory: &impl GuestMemory) -> Result<(), Stopped> {
        // Those that failed have counted too.
        self.owed_bytes = 0;
        if self.owed.is_empty() {
            return Ok(());
        }
        let settled = if served.durable() { served.device.flush() } else { served.device.hand_over() };
        let status = match settled {
            Ok(()) => blk::VIRTIO_BLK_S_OK,
            Err(trouble) => {
                tracing::debug!("writes failed: {}", trouble.text);
                blk::VIRTIO_BLK_S_IOERR
            }
        };
        for owed in self.owed.drain(..) {
            let written = u32::from(memory.write_slice(&[status as u8], owed.status).is_ok());
            queue.add_used(memory, owed.head, written)?;
        }
        Ok(())
    }

    /// Answers the request that was loaded and carried out; how many bytes its answer has.
    fn answer(&self, memory: &impl GuestMemory, done: &Result<Done, Failed>) -> u32 {
        let (status, text) = match done {
            Ok(_) => (blk::VIRTIO_BLK_S_OK, ""),
            Err(Failed::Trouble(trouble)) => (blk::VIRTIO_BLK_S_IOERR, &*trouble.text),
            Err(Failed::Outside) => {
                (blk::VIRTIO_BLK_S_IOERR, "it names memory that is not the machine's, or too little")
            }
            Err(Failed::Unknown) => (blk::VIRTIO_BLK_S_UNSUPP, "it is of a kind that is not known here"),
        };
        if done.is_err() {
            tracing::debug!("a request failed: {text}");
        }
        match memory.write_slice(&[status as u8], self.chain.status()) {
            Ok(()) => u32::try_from(self.chain.answered() + 1).expect("a chain that is loaded has less than 4 GiB"),
            Err(_) => 0,
        }
    }

    fn carry_out(&mut self, served: &Served, memory: &impl GuestMemory) -> Result<Done, Failed> {
        let mut head = [0; HEAD];
        self.chain.hear(memory, &mut head)?;
        let kind = u32::from_le_bytes(*head.first_chunk().expect("it is longer"));
        let sector = u64::from_le_bytes(*head.last_chunk().expect("it is longer"));
        match kind {
            blk::VIRTIO_BLK_T_OUT => {
                self.write(served, memory, sector)?;
                return Ok(Done::Settled);
            }
            blk::VIRTIO_BLK_T_IN => self.read(served, memory, sector)?,
            blk::VIRTIO_BLK_T_FLUSH => served.device.flush()?,
            blk::VIRTIO_BLK_T_GET_ID => self.chain.answer(memory, &served.id)?,
            blk::VIRTIO_BLK_T_DISCARD => self.zero(served, memory, 0)?,
            blk::VIRTIO_BLK_T_WRITE_ZEROES => self.zero(served, memory, blk::VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)?,
            _ => return Err(Failed::Unknown),
        }
        Ok(Done::Now)
    }

    fn read(&mut self, served: &Served, memory: &impl GuestMemory, sector: u64) -> Result<(), Failed> {
        let mut at = check(served, sector, self.chain.room())?;
        while self.chain.room() > 0 {
            let now = self.piece(self.chain.room());
            served.device.read(at, &mut self.buffer[..now])?;
            self.chain.answer(memory, &self.buffer[..now])?;
            at += now as u64;
        }
        Ok(())
    }

    fn write(&mut self, served: &Served, memory: &impl GuestMemory, sector: u64) -> Result<(), Failed> {
        let mut at = check(served, sector, self.chain.said())?;
        writable(served)?;
        while self.chain.said() > 0 {
            let now = self.piece(self.chain.said());
            self.chain.hear(memory, &mut self.buffer[..now])?;
            served.device.write(at, &self.buffer[..now], false)?;
            at += now as u64;
            self.owed_bytes += now as u64;
        }
        Ok(())
    }

    /// Makes zeros of ranges, which may have these flags. Discarding is the same: what is not needed takes no room.
    fn zero(&mut self, served: &Served, memory: &impl GuestMemory, flags: u32) -> Result<(), Failed> {
        writable(served)?;
        let mut bytes = [0; RANGES_MAX as usize * RANGE];
        let length = usize::try_from(self.chain.said()).unwrap_or(usize::MAX);
        if length == 0 || !length.is_multiple_of(RANGE) || length > bytes.len() {
            return Err(invalid("it has no ranges, too many or a part of one"));
        }
        self.chain.hear(memory, &mut bytes[..length])?;
        let ranges = bytes[..length].as_chunks::<RANGE>().0.iter().map(|range| {
            let four = |at: usize| u32::from_le_bytes([range[at], range[at + 1], range[at + 2], range[at + 3]]);
            (u64::from(four(4)) << 32 | u64::from(four(0)), u64::from(four(8)) * SECTOR, four(12))
        });
        // Nothing is done of a request that is wrong somewhere.
        for (sector, length, has) in ranges.clone() {
            if has & !flags != 0 {
                return Err(Failed::Unknown);
            }
            check(served, sector, length)?;
        }
        for (sector, length, _) in ranges {
            served.device.zero(sector * SECTOR, length, served.durable())?;
        }
        Ok(())
    }

    /// How much is moved now of what is left, and room for it.
    fn piece(&mut self, left: u64) -> usize {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        if self.buffer.len() < now {
            self.buffer.resize(now, 0);
        }
        now
    }
}

/// Where a request begins, in bytes, if all of it is on the disk and it is not too long.
fn check(served: &Served, sector: u64, length: u64) -> Result<u64, Failed> {
    if !length.is_multiple_of(SECTOR) || length > REQUEST_MAX {
        return Err(invalid("it is no whole number of sectors, or longer than the machine was told"));
    }
    let at = sector.checked_mul(SECTOR);
    match at.and_then(|at| at.checked_add(length)) {
        Some(end) if end <= served.device.size() => Ok(end - length),
        _ => Err(invalid("it reaches past the end")),
    }
}

fn writable(served: &Served) -> Result<(), Failed> {
    match served.device.is_writable() {
        true => Ok(()),
        false => Err(Trouble::new(Trouble::NOT_PERMITTED, "it is served for reading only").into()),
    }
}
