//! The bytes of a block on their way out of a store, without a copy and without an allocation.

use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// A block's bytes, wherever they lie. Dropping it gives the place back.
pub enum Payload {
    /// A range of a buffer that goes back to its pool.
    Lent(Lent),
    /// A place in the arena of the memory engine.
    Slot(crate::memory::Slot),
    /// Bytes of their own.
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for Payload {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Lent(lent) => lent.as_ref(),
            Self::Slot(slot) => slot.as_ref(),
            Self::Owned(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.as_ref().len())
    }
}

/// A pool of buffers of one size, so that a steady stream of gets neither allocates nor touches fresh pages.
#[derive(Debug)]
pub struct Buffers {
    size: usize,
    keep: usize,
    free: Mutex<Vec<Box<[u8]>>>,
}

impl Buffers {
    /// A pool of buffers of `size` bytes that keeps at most `keep` unused ones.
    #[must_use]
    pub fn new(size: usize, keep: usize) -> Arc<Self> {
        Arc::new(Self { size, keep, free: Mutex::new(Vec::with_capacity(keep)) })
    }

    /// Lends a buffer. Its bytes are whatever was last in it; the range handed out is set with [`Lent::keep_range`].
    #[must_use]
    pub fn lend(self: &Arc<Self>) -> Lent {
        let bytes = self.free.lock().pop().unwrap_or_else(|| vec![0; self.size].into_boxed_slice());
        Lent { range: 0..bytes.len(), bytes: Some(bytes), home: Arc::downgrade(self) }
    }
}

/// A buffer lent by [`Buffers`].
#[derive(Debug)]
pub struct Lent {
    bytes: Option<Box<[u8]>>,
    range: std::ops::Range<usize>,
    home: Weak<Buffers>,
}

impl Lent {
    /// The whole buffer, to be filled.
    #[inline]
    pub fn buffer(&mut self) -> &mut [u8] {
        self.bytes.as_mut().expect("a lent buffer is there until it is dropped")
    }

    /// From now on `as_ref` is just this range of the buffer.
    pub fn keep_range(&mut self, range: std::ops::Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.buffer().len());
        self.range = range;
    }
}

impl AsRef<[u8]> for Lent {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.bytes.as_ref().expect("a lent buffer is there until it is dropped")[self.range.clone()]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(bytes), Some(home)) = (self.bytes.take(), self.home.upgrade()) {
            let mut free = home.free.lock();
            if free.len() < home.keep {
                free.push(bytes);
            }
        }
    }
}
