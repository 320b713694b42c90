//! Records: names for runs of blocks, read and written like files.

use crate::client::stub;
use crate::fault::RecordError;
use crate::grid::Grid;
use crate::list::Records;
use okapi_base::Generation;
use okapi_wire::message::RecordInfo;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

impl Grid {
    pub(crate) fn record_error(&self, name: &str, what: &'static str, fault: crate::fault::Fault) -> RecordError {
        let (address, grid) = (self.address().clone(), self.key().name.clone());
        RecordError { address, grid, name: name.to_owned(), what, fault }
    }

    /// A record, or nothing if there is none of that name.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn find(&self, name: &str) -> Result<Option<RecordInfo>, RecordError> {
        stub(name)
    }

    /// The records whose names begin with `prefix`, in the order of their names' bytes.
    #[must_use]
    pub fn records(&self, prefix: &str) -> Records {
        Records::new(self, prefix)
    }

    /// Removes a record and its blocks, if `expect` is nothing or its generation; says whether there was one.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn remove(&self, name: &str, expect: Option<Generation>) -> Result<bool, RecordError> {
        stub((name, expect))
    }

    /// Gives a record another name, which must be free.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn rename(&self, from: &str, to: &str) -> Result<(), RecordError> {
        stub((from, to))
    }

    /// Begins to write a record. `length` is how many bytes will come, if that is known: the blocks are then set aside
    /// in one piece if there is one. The name is bound only by [`RecordWriter::finish`].
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn write(&self, name: &str, length: Option<u64>) -> Result<RecordWriter, RecordError> {
        stub((name, length))
    }

    /// Opens a record to read it.
    ///
    /// # Errors
    /// [`RecordError`], with [`okapi_wire::Status::UnknownRecord`] if there is none of that name.
    pub fn read(&self, name: &str) -> Result<RecordReader, RecordError> {
        stub(name)
    }

    /// Changes bytes in the middle of a record, durably. Its length stays, so they must lie within it; its BLAKE3 is
    /// unknown from then on.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn patch(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), RecordError> {
        stub((name, offset, bytes))
    }

    /// Writes a record from `from` to its end. `progress` is told the bytes taken so far.
    ///
    /// # Errors
    /// [`RecordError`]; the record of that name, if there was one, is then unchanged.
    pub fn write_record(
        &self,
        name: &str,
        content_type: &str,
        length: Option<u64>,
        from: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<RecordInfo, RecordError> {
        stub((name, content_type, length, std::ptr::from_mut(from), progress(0)))
    }

    /// Reads a record, or the bytes of `range` of it (cut at its end), into `to`; a whole one is checked against its
    /// BLAKE3, if that is known. `progress` is told the bytes written so far. Returns the record and the bytes written.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read_record(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        to: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(RecordInfo, u64), RecordError> {
        stub((name, range, std::ptr::from_mut(to), progress(0)))
    }
}

/// Writes a record as a stream. Dropped without [`RecordWriter::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct RecordWriter(());

impl RecordWriter {
    /// Bytes taken so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        stub(())
    }

    /// Binds the name to what was written, replacing a record that had it. When this returns it is durable.
    ///
    /// # Errors
    /// [`RecordError`]; nothing is bound then (after [`crate::Fault::Interrupted`]: perhaps).
    pub fn finish(self, content_type: &str) -> Result<RecordInfo, RecordError> {
        stub(content_type)
    }

    /// As [`RecordWriter::finish`], but only if the record of that name is at `expect`
    /// ([`Generation::ABSENT`]: if there is none).
    ///
    /// # Errors
    /// [`RecordError`], with [`okapi_wire::Status::Stale`] if it is not.
    pub fn finish_if(self, content_type: &str, expect: Generation) -> Result<RecordInfo, RecordError> {
        stub((content_type, expect))
    }
}

/// Errors are [`RecordError`]s within [`io::Error`]s. `flush` sends what is buffered of whole blocks; only `finish`
/// makes anything durable.
impl Write for RecordWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        stub(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        stub(())
    }
}

/// Reads a record as a stream, with several frames in flight ahead of the reader.
#[derive(Debug)]
pub struct RecordReader(());

impl RecordReader {
    /// The record.
    #[must_use]
    pub fn info(&self) -> &RecordInfo {
        stub(())
    }

    /// Reads only these bytes from here on, cut at the record's end; positions stay those of the record.
    pub fn limit(&mut self, range: Range<u64>) {
        stub(range)
    }

    /// Checks what was read from the first byte to the last, in order, against the record's BLAKE3: true if they
    /// match, nothing if not all was read in order or the record's BLAKE3 is unknown.
    #[must_use]
    pub fn verify(&self) -> Option<bool> {
        stub(())
    }
}

/// Errors are [`RecordError`]s within [`io::Error`]s.
impl Read for RecordReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        stub(into)
    }
}

impl Seek for RecordReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        stub(to)
    }
}
