//! One request as it lies in a machine's memory.

use super::told::SEGMENTS_MAX;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemory};

/// Pieces of a request that are taken: what lawful machines send, many times over.
const PIECES_MAX: usize = 8 * SEGMENTS_MAX as usize;

/// What a machine has to say and where it wants its answer, each in pieces: read and written from front to back.
#[derive(Debug, Default)]
pub(super) struct Chain {
    said: Pieces,
    room: Pieces,
    /// Where the last byte of the answer goes, which tells how it went.
    status: GuestAddress,
}

/// Pieces of memory, as they were named: nobody has looked yet whether they are there.
#[derive(Debug, Default)]
struct Pieces {
    all: Vec<(GuestAddress, u32)>,
    /// The piece that is next, and how much of it is done.
    at: usize,
    into: u32,
    left: u64,
    /// Bytes done of all pieces.
    done: u64,
}

/// Why a request cannot be answered at all: nobody knows where the answer belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("its pieces end nowhere, run in a circle or lie outside of the memory")]
    Endless,
    #[error("it has more than {PIECES_MAX} pieces")]
    Many,
    #[error("what is to be read comes after what is to be written")]
    Order,
    #[error("there is no room for an answer")]
    NoRoom,
}

/// A piece does not lie in the machine's memory, or there are too few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outside;

impl Chain {
    /// Takes the pieces of a request in place of those that were here.
    pub(super) fn load<M: GuestMemory>(&mut self, chain: DescriptorChain<&M>) -> Result<(), Broken> {
        self.said.clear();
        self.room.clear();
        let mut more = true;
        for piece in chain {
            more = piece.has_next();
            if self.said.all.len() + self.room.all.len() == PIECES_MAX {
                return Err(Broken::Many);
            }
            match piece.is_write_only() {
                true => self.room.push(piece.addr(), piece.len()),
                false if self.room.all.is_empty() => self.said.push(piece.addr(), piece.len()),
                false => return Err(Broken::Order),
            }
        }
        if more {
            return Err(Broken::Endless);
        }
        self.status = self.room.cut_last().ok_or(Broken::NoRoom)?;
        Ok(())
    }

    /// Bytes that were said and not yet heard.
    pub(super) fn said(&self) -> u64 {
        self.said.left
    }

    /// Bytes that there is still room for, besides the status.
    pub(super) fn room(&self) -> u64 {
        self.room.left
    }

    /// Hears what was said next.
    pub(super) fn hear(&mut self, memory: &impl GuestMemory, into: &mut [u8]) -> Result<(), Outside> {
        self.said.each(into.len(), |from, range| memory.read_slice(&mut into[range], from).is_ok())
    }

    /// Writes the next part of the answer.
    pub(super) fn answer(&mut self, memory: &impl GuestMemory, bytes: &[u8]) -> Result<(), Outside> {
        self.room.each(bytes.len(), |to, range| memory.write_slice(&bytes[range], to).is_ok())
    }

    /// Bytes of the answer that were written.
    pub(super) fn answered(&self) -> u64 {
        self.room.done
    }

    /// Where it is told how it went.
    pub(super) fn status(&self) -> GuestAddress {
        self.status
    }
}

impl Pieces {
    fn clear(&mut self) {
        self.all.clear();
        (self.at, self.into, self.left, self.done) = (0, 0, 0, 0);
    }

    fn push(&mut self, address: GuestAddress, length: u32) {
        if length > 0 {
            self.all.push((address, length));
            self.left += u64::from(length);
        }
    }

    /// Takes the last byte away; where it is.
    fn cut_last(&mut self) -> Option<GuestAddress> {
        let (address, length) = self.all.last_mut()?;
        *length -= 1;
        self.left -= 1;
        // What is past the end of all addresses is outside of the memory like so much else.
        Some(GuestAddress(address.0.saturating_add(u64::from(*length))))
    }

    /// Goes on by so many bytes, through memory that lies together at a time.
    fn each(
        &mut self,
        count: usize,
        mut go: impl FnMut(GuestAddress, std::ops::Range<usize>) -> bool,
    ) -> Result<(), Outside> {
        let mut done = 0;
        while done < count {
            let (address, length) = *self.all.get(self.at).ok_or(Outside)?;
            let now = ((length - self.into) as usize).min(count - done);
            let from = address.0.checked_add(u64::from(self.into)).ok_or(Outside)?;
            if now > 0 && !go(GuestAddress(from), done..done + now) {
                return Err(Outside);
            }
            done += now;
            self.left -= now as u64;
            self.done += now as u64;
            self.into += now as u32;
            if self.into == length {
                (self.at, self.into) = (self.at + 1, 0);
            }
        }
        Ok(())
    }
}
