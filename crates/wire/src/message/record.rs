//! Messages about records: named runs of blocks.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use crate::descriptor::Run;
use alloc::string::String;
use alloc::vec::Vec;
use okapi_base::limits::{CONTENT_TYPE_MAX, DESCRIPTORS_MAX, EXTENTS_MAX, RECORD_NAME_MAX};
use okapi_base::{Generation, Index};

/// A record. Body: length u64, modified u64, generation u64, BLAKE3 32 bytes, name text, content type text, list of
/// extents (start u64, count u64).
///
/// Byte `b` of the record lies in the `b / block size`-th block of its extents, taken in order. Every block but the
/// last is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordInfo {
    /// Its name: UTF-8, no control characters, may look like a path.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// When it was bound, in milliseconds since 1970-01-01 UTC.
    pub modified: u64,
    /// Which binding made it; 0 in a bind.
    pub generation: Generation,
    /// BLAKE3 of the content as its writer computed it; zeros if unknown (after a slice was changed).
    pub blake3: [u8; 32],
    /// Its media type, or empty.
    pub content_type: String,
    /// Where its blocks are.
    pub extents: Vec<Run>,
}

/// Finds a record. Body: name text. Answered by a [`RecordInfo`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFind {
    /// Its name.
    pub name: String,
}

/// Lists records in the order of their names' bytes. Body: limit u32, prefix text, after text. Answered by a
/// [`RecordPage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordList {
    /// How many at most (never more than 1,024).
    pub limit: u32,
    /// Only names that begin so.
    pub prefix: String,
    /// Only names after this one; empty from the start.
    pub after: String,
}

/// A page of records. Body: more u8, list of [`RecordInfo`] (with at most one extent each: the first).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPage {
    /// Whether there are more after the last.
    pub more: bool,
    /// The records.
    pub records: Vec<RecordInfo>,
}

/// Sets blocks aside. Body: lease u64, blocks u64, from u64 (an index, or all ones). Answered by a [`Reserved`].
///
/// The blocks belong to the connection that reserved them until they are bound, released, or the connection ends;
/// then those not bound are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordReserve {
    /// The lease to add to, or 0 for a new one.
    pub lease: u64,
    /// How many blocks.
    pub blocks: u64,
    /// Exactly the blocks from this index on, or nothing for the node's own choice.
    pub from: Option<Index>,
}

/// Blocks set aside. Body: lease u64, list of extents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// The lease they belong to.
    pub lease: u64,
    /// The blocks just added.
    pub extents: Vec<Run>,
}

/// A lease (to release it). Body: lease u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub lease: u64,
}

/// Gives a name to blocks. Body: lease u64 (0: blocks that are there already and belong to no record), checked u8,
/// expected generation u64, then a [`RecordInfo`]. Answered by a [`RecordBound`] once durable.
///
/// A record that had the name before is replaced: its blocks are deleted unless the new one has them too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBind {
    /// The lease whose blocks these are.
    pub lease: u64,
    /// Only if the record of this name is at this generation (0: only if there is none).
    pub expect: Option<Generation>,
    /// The record.
    pub record: RecordInfo,
}

/// A record bound. Body: generation u64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordBound {
    /// Its generation.
    pub generation: Generation,
}

/// Removes a record and its blocks. Body: checked u8, expected generation u64, name text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRemove {
    /// Only at this generation.
    pub expect: Option<Generation>,
    /// Its name.
    pub name: String,
}

/// Gives a record another name, which must be free. Body: from text, to text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRename {
    /// Its name now.
    pub from: String,
    /// Its name then.
    pub to: String,
}

fn encode_expect(expect: Option<Generation>, body: &mut BodyWriter<'_>) {
    body.u8(u8::from(expect.is_some()));
    body.u64(expect.unwrap_or_default().0);
}

fn decode_expect(body: &mut BodyReader<'_>) -> Result<Option<Generation>, BodyError> {
    let (checked, generation) = (body.u8()?, Generation(body.u64()?));
    match checked {
        0 => Ok(None),
        1 => Ok(Some(generation)),
        _ => Err(BodyError::BadValue { field: "checked" }),
    }
}

impl Message for Run {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.bytes(&Run::encode(self));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Run::decode(&body.array()?).map_err(|_| BodyError::BadValue { field: "extent" })
    }
}

impl Message for RecordInfo {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.length);
        body.u64(self.modified);
        body.u64(self.generation.0);
        body.bytes(&self.blake3);
        body.text(&self.name);
        body.text(&self.content_type);
        body.list(&self.extents);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (length, modified, generation, blake3) = (body.u64()?, body.u64()?, Generation(body.u64()?), body.array()?);
        let (name, content_type) = (body.text(RECORD_NAME_MAX)?, body.text(CONTENT_TYPE_MAX)?);
        Ok(Self { name, length, modified, generation, blake3, content_type, extents: body.list(EXTENTS_MAX)? })
    }
}

impl Message for RecordFind {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.text(&self.name);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { name: body.text(RECORD_NAME_MAX)? })
    }
}

impl Message for RecordList {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u32(self.limit);
        body.text(&self.prefix);
        body.text(&self.after);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { limit: body.u32()?, prefix: body.text(RECORD_NAME_MAX)?, after: body.text(RECORD_NAME_MAX)? })
    }
}

impl Message for RecordPage {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(u8::from(self.more));
        body.list(&self.records);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let more = match body.u8()? {
            0 => false,
            1 => true,
            _ => return Err(BodyError::BadValue { field: "more" }),
        };
        Ok(Self { more, records: body.list(usize::from(DESCRIPTORS_MAX))? })
    }
}

impl Message for RecordReserve {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.lease);
        body.u64(self.blocks);
        body.u64(self.from.map_or(u64::MAX, Index::get));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (lease, blocks, from) = (body.u64()?, body.u64()?, body.u64()?);
        let from = match from {
            u64::MAX => None,
            value => Some(Index::new(value).ok_or(BodyError::BadValue { field: "from" })?),
        };
        Ok(Self { lease, blocks, from })
    }
}

impl Message for Reserved {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.lease);
        body.list(&self.extents);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { lease: body.u64()?, extents: body.list(EXTENTS_MAX)? })
    }
}

impl Message for Lease {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.lease);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { lease: body.u64()? })
    }
}

impl Message for RecordBind {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.lease);
        encode_expect(self.expect, body);
        self.record.encode(body);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { lease: body.u64()?, expect: decode_expect(body)?, record: RecordInfo::decode(body)? })
    }
}

impl Message for RecordBound {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u64(self.generation.0);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { generation: Generation(body.u64()?) })
    }
}

impl Message for RecordRemove {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        encode_expect(self.expect, body);
        body.text(&self.name);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { expect: decode_expect(body)?, name: body.text(RECORD_NAME_MAX)? })
    }
}

impl Message for RecordRename {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.text(&self.from);
        body.text(&self.to);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { from: body.text(RECORD_NAME_MAX)?, to: body.text(RECORD_NAME_MAX)? })
    }
}
