//! What has come and was not taken yet.

use std::io::{self, Read};

/// A stream's bytes in a buffer that never grows.
#[derive(Debug)]
pub(crate) struct Input<R> {
    from: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read> Input<R> {
    /// With room for `room` bytes.
    pub(crate) fn new(from: R, room: usize) -> Self {
        Self { from, buffer: vec![0; room].into(), start: 0, end: 0 }
    }

    /// The stream, where nothing has come that was not taken.
    pub(crate) fn into_stream(self) -> R {
        assert_eq!(self.here(), 0, "what has come would be lost");
        self.from
    }

    /// How many bytes are here.
    pub(crate) fn here(&self) -> usize {
        self.end - self.start
    }

    /// The next `count` bytes, which are here.
    pub(crate) fn take(&mut self, count: usize) -> &[u8] {
        let from = self.start;
        self.start += count;
        &self.buffer[from..self.start]
    }

    /// Waits until `count` bytes, for which there is room, are here.
    ///
    /// # Errors
    /// The stream's; `UnexpectedEof` if it ends before.
    pub(crate) fn wait_for(&mut self, count: usize) -> io::Result<()> {
        assert!(count <= self.buffer.len(), "nobody waits for more than there is room for");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start + count > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.here() < count {
            match self.from.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes `count` bytes, however many they are, in pieces of at most `piece`.
    ///
    /// # Errors
    /// The stream's.
    pub(crate) fn each(&mut self, mut count: usize, piece: usize, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        while count > 0 {
            let now = count.min(piece);
            self.wait_for(now)?;
            take(self.take(now));
            count -= now;
        }
        Ok(())
    }
}
