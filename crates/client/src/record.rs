//! Records: names for runs of blocks, read and written like files.

mod extents;
mod read;
mod write;

use crate::fault::{Fault, RecordError};
use crate::grid::Grid;
use crate::list::Records;
use okapi_base::limits::{CONTENT_TYPE_MAX, RECORD_NAME_MAX};
use okapi_base::{Generation, crc32c};
use okapi_grid::ask;
use okapi_wire::message::{RecordBind, RecordBound, RecordFind, RecordInfo, RecordRemove, RecordRename};
use okapi_wire::{Op, PutAsk, Status, flags};
use std::io::{self, Read, Write};
use std::ops::Range;

pub(crate) use extents::Extents;
pub use read::RecordReader;
pub use write::RecordWriter;

/// Bytes copied from or to the caller's stream at a time.
const PIECE: usize = 256 << 10;

/// A record's BLAKE3 that is not known.
const UNKNOWN: [u8; 32] = [0; 32];

impl Grid {
    /// A record, or nothing if there is none of that name.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn find(&self, name: &str) -> Result<Option<RecordInfo>, RecordError> {
        match self.look_up(name) {
            Ok(record) => Ok(Some(record)),
            Err(Fault::Refused { status: Status::UnknownRecord, .. }) => Ok(None),
            Err(fault) => Err(self.record_error(name, "finding it", fault)),
        }
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
        let removed = check_name(name).and_then(|()| {
            let remove = RecordRemove { expect, name: name.to_owned() };
            self.ask(Op::RecordRemove, false, |connection, handle, deadline| {
                let request = connection.message(Op::RecordRemove, handle, &remove);
                connection.accept(request, Op::RecordRemove, deadline)
            })
        });
        match removed {
            Ok(()) => Ok(true),
            Err(Fault::Refused { status: Status::UnknownRecord, .. }) => Ok(false),
            Err(fault) => Err(self.record_error(name, "removing it", fault)),
        }
    }

    /// Gives a record another name, which must be free.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn rename(&self, from: &str, to: &str) -> Result<(), RecordError> {
        let renamed = check_name(from).and_then(|()| check_name(to)).and_then(|()| {
            let rename = RecordRename { from: from.to_owned(), to: to.to_owned() };
            self.ask(Op::RecordRename, false, |connection, handle, deadline| {
                let request = connection.message(Op::RecordRename, handle, &rename);
                connection.accept(request, Op::RecordRename, deadline)
            })
        });
        renamed.map_err(|fault| self.record_error(from, "renaming it", fault))
    }

    /// Begins to write a record. `length` is how many bytes will come, if that is known: the blocks are then set aside
    /// in one piece if there is one. The name is bound only by [`RecordWriter::finish`].
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn write(&self, name: &str, length: Option<u64>) -> Result<RecordWriter, RecordError> {
        check_name(name)
            .and_then(|()| RecordWriter::open(self, name, length))
            .map_err(|fault| self.record_error(name, "writing it", fault))
    }

    /// Opens a record to read it.
    ///
    /// # Errors
    /// [`RecordError`], with [`okapi_wire::Status::UnknownRecord`] if there is none of that name.
    pub fn read(&self, name: &str) -> Result<RecordReader, RecordError> {
        self.look_up(name)
            .and_then(|record| RecordReader::open(self, record))
            .map_err(|fault| self.record_error(name, "opening it", fault))
    }

    /// Changes bytes in the middle of a record, durably. Its length stays, so they must lie within it; its BLAKE3 is
    /// unknown from then on.
    ///
    /// # Errors
    /// [`RecordError`]; after most of them part of the bytes may have been changed.
    pub fn patch(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), RecordError> {
        self.change(name, offset, bytes).map_err(|fault| self.record_error(name, "changing it", fault))
    }

    fn change(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let record = self.look_up(name)?;
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= record.length);
        if end.is_none() {
            let (count, length) = (bytes.len(), record.length);
            return Err(Fault::Invalid(format!(
                "{count} bytes at {offset} reach past its {length} bytes; write the record anew to make it longer"
            )));
        }
        let block_size = self.block_size();
        let extents = Extents::new(&record, block_size)?;
        let mut puts: Vec<(PutAsk, &[u8])> = Vec::new();
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let (index, within) = extents.place(at);
            let room = (block_size.bytes() - within) as usize;
            let (piece, after) = rest.split_at(room.min(rest.len()));
            puts.push((PutAsk::slice(index, within, piece, crc32c(piece)), piece));
            (rest, at) = (after, at + piece.len() as u64);
        }
        let mut failed = None;
        let put = self.put_many(&puts, flags::RECORD, |_, outcome| {
            if !outcome.status.is_ok() {
                failed.get_or_insert(outcome.status);
            }
        });
        put.map_err(|error| error.fault().clone())?;
        failed.map_or(Ok(()), |status| Err(Fault::refused(status)))
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
        let what = "writing it";
        let fail = |fault| self.record_error(name, what, fault);
        check_content_type(content_type).map_err(fail)?;
        let mut writer = self.write(name, length)?;
        let mut piece = vec![0; PIECE];
        loop {
            let count = match from.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(fail(Fault::Local { what: "reading what is to be written", why: error.to_string() }));
                }
            };
            writer.take(&piece[..count]).map_err(fail)?;
            progress(writer.written());
        }
        writer.finish(content_type)
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
        let fail = |fault| self.record_error(name, "reading it", fault);
        let mut reader = self.read(name)?;
        if let Some(range) = range {
            reader.limit(range);
        }
        let mut written = 0;
        loop {
            let piece = reader.piece().map_err(fail)?;
            if piece.is_empty() {
                break;
            }
            to.write_all(piece)
                .map_err(|error| fail(Fault::Local { what: "writing what was read", why: error.to_string() }))?;
            let count = piece.len();
            reader.consume(count);
            written += count as u64;
            progress(written);
        }
        if reader.verify() == Some(false) {
            let text = "what was read does not match its BLAKE3; `okapi fsck` shows what is damaged".to_owned();
            return Err(fail(Fault::Refused { status: Status::Corrupted, text }));
        }
        Ok((reader.info().clone(), written))
    }

    pub(crate) fn record_error(&self, name: &str, what: &'static str, fault: Fault) -> RecordError {
        let (address, grid) = (self.address().clone(), self.key().name.clone());
        RecordError { address, grid, name: name.to_owned(), what, fault }
    }

    pub(crate) fn look_up(&self, name: &str) -> Result<RecordInfo, Fault> {
        check_name(name)?;
        let find = RecordFind { name: name.to_owned() };
        self.ask(Op::RecordFind, true, |connection, handle, deadline| {
            let request = connection.message(Op::RecordFind, handle, &find);
            connection.reply(request, deadline, |frame| {
                let record: RecordInfo = ask::read(frame, Op::RecordFind)?;
                if record.name != find.name {
                    return Err(ask::ReplyError::Malformed("it finds a record of another name"));
                }
                Ok(record)
            })
        })
    }

    /// Binds a name to blocks that are there already and belong to no record.
    pub(crate) fn bind(&self, record: &RecordInfo) -> Result<(), Fault> {
        let bind = RecordBind { lease: 0, expect: None, record: record.clone() };
        self.ask(Op::RecordBind, true, |connection, handle, deadline| {
            let request = connection.message(Op::RecordBind, handle, &bind);
            connection.read::<RecordBound>(request, Op::RecordBind, deadline).map(drop)
        })
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    if name.is_empty() || name.len() > RECORD_NAME_MAX || name.chars().any(char::is_control) {
        return Err(Fault::refused(Status::BadName));
    }
    Ok(())
}

fn check_content_type(content_type: &str) -> Result<(), Fault> {
    if content_type.len() > CONTENT_TYPE_MAX {
        return Err(Fault::Invalid(format!("a content type has at most {CONTENT_TYPE_MAX} bytes")));
    }
    Ok(())
}
