//! Paths: headers of one log that follow one another. They are most of what authors and witnesses send each other, so
//! what the header before tells already is left out: 47 bytes a header instead of 159.

use super::{ENTRY_BODY_MAX, EntryHeader, HEADER_BYTES, PATH_MAX};
use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use crate::peer::member::Version;
use alloc::vec::Vec;
use okapi_base::Digest;

/// Bytes of a header in a path whose member list is another than that of the header before.
pub const STEP_BYTES_MAX: usize = 87;
/// Bytes of the longest path.
pub const PATH_BYTES_MAX: usize = HEADER_BYTES + 4 + (PATH_MAX - 1) * STEP_BYTES_MAX;

/// Headers of one log, in order and without gaps: the first in full, of the others what does not follow from the one
/// before. Each is chained to the one before by its form alone: there is no way to write a path that is not a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The first header.
    pub first: EntryHeader,
    /// Those that follow: fewer than [`PATH_MAX`].
    pub rest: Vec<Step>,
}

/// A header in a path: log, sequence and previous hash follow from the header before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// The member list as its author knew it.
    pub list: Version,
    /// When, in milliseconds since 1970.
    pub stamp: u64,
    /// What the body means.
    pub kind: u16,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// The BLAKE3 hash of the body.
    pub body: Digest,
}

impl Step {
    /// What of `header` does not follow from the one before.
    #[must_use]
    pub const fn of(header: &EntryHeader) -> Self {
        let EntryHeader { list, stamp, kind, body_bytes, body, .. } = *header;
        Self { list, stamp, kind, body_bytes, body }
    }

    /// The header behind `before`, whose hash is `hash`. Nothing behind the last sequence there is.
    #[must_use]
    pub fn after(&self, before: &EntryHeader, hash: Digest) -> Option<EntryHeader> {
        let Self { list, stamp, kind, body_bytes, body } = *self;
        let sequence = before.sequence.checked_add(1).filter(|sequence| *sequence != u64::MAX)?;
        Some(EntryHeader { log: before.log, sequence, previous: hash, list, stamp, kind, body_bytes, body })
    }

    fn encode(&self, before: &Version, body: &mut BodyWriter<'_>) {
        body.u8(u8::from(self.list != *before));
        if self.list != *before {
            self.list.encode(body);
        }
        body.u64(self.stamp);
        body.u16(self.kind);
        body.u32(self.body_bytes);
        body.bytes(&self.body.0);
    }

    fn decode(before: &Version, body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let list = match body.u8()? {
            0 => *before,
            1 => Some(Version::decode(body)?)
                .filter(|list| list != before)
                .ok_or(BodyError::BadValue { field: "member list of a step" })?,
            _ => return Err(BodyError::BadValue { field: "step" }),
        };
        let step =
            Self { list, stamp: body.u64()?, kind: body.u16()?, body_bytes: body.u32()?, body: Digest(body.array()?) };
        if step.body_bytes as usize > ENTRY_BODY_MAX {
            return Err(BodyError::TooLong { length: step.body_bytes as usize, most: ENTRY_BODY_MAX });
        }
        Ok(step)
    }
}

impl Message for Path {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        assert!(self.rest.len() < PATH_MAX, "a path has at most {PATH_MAX} headers");
        self.first.encode(body);
        body.u32(self.rest.len() as u32);
        let mut list = &self.first.list;
        for step in &self.rest {
            step.encode(list, body);
            list = &step.list;
        }
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let first = EntryHeader::decode(body)?;
        let length = body.u32()? as usize;
        if length >= PATH_MAX {
            return Err(BodyError::TooLong { length, most: PATH_MAX - 1 });
        }
        let mut rest: Vec<Step> = Vec::new();
        for _ in 0..length {
            let before = rest.last().map_or(first.list, |step| step.list);
            rest.push(Step::decode(&before, body)?);
        }
        Ok(Self { first, rest })
    }
}
