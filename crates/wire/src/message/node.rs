//! Messages about the node and its stores.

use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::string::String;
use alloc::vec::Vec;

/// Names and values that a node tells of itself: readable by people, stable enough for scripts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeStatus {
    /// In the order in which they are shown, for example `("log.segments", "12")`.
    pub facts: Vec<(String, String)>,
}

/// What a verification has seen. Body: five u64 (segments, records, blocks, bytes, damages), list of
/// [`DamageReport`] (the first ones).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Live blocks verified.
    pub blocks: u64,
    /// Bytes of payload verified.
    pub bytes: u64,
    /// Damages found, listed or not.
    pub damages: u64,
    /// The first of them.
    pub list: Vec<DamageReport>,
}

/// One damage. Body: has block u8, grid id u32, index u64, grid name text, place text, what text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamageReport {
    /// The live block lost by it: the grid's id and name, the index.
    pub block: Option<(u32, String, u64)>,
    /// Where it lies.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// What a compaction gained. Body: four u64 (segments, moved, held before, held after; all but the first in bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompactReport {
    /// Segments read and removed.
    pub segments: u64,
    /// Bytes of live records moved.
    pub moved_bytes: u64,
    /// Bytes held before.
    pub held_before: u64,
    /// Bytes held after.
    pub held_after: u64,
}

/// Bytes of one name or value.
const FACT_MAX: usize = 1024;
/// Facts in a status.
const FACTS_MAX: usize = 4096;
/// Damages listed in one report.
pub const DAMAGES_LISTED_MAX: usize = 1024;

struct Fact(String, String);

impl Message for Fact {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.text(&self.0);
        body.text(&self.1);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self(body.text(FACT_MAX)?, body.text(FACT_MAX)?))
    }
}

impl Message for NodeStatus {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u32(u32::try_from(self.facts.len()).expect("a node tells few facts"));
        for (name, value) in &self.facts {
            body.text(name);
            body.text(value);
        }
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let facts: Vec<Fact> = body.list(FACTS_MAX)?;
        Ok(Self { facts: facts.into_iter().map(|Fact(name, value)| (name, value)).collect() })
    }
}

impl Message for DamageReport {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(u8::from(self.block.is_some()));
        let (id, name, index) = self.block.as_ref().map_or((0, "", 0), |(id, name, index)| (*id, name, *index));
        body.u32(id);
        body.u64(index);
        body.text(name);
        body.text(&self.place);
        body.text(&self.what);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (has, id, index) = (body.u8()?, body.u32()?, body.u64()?);
        let (name, place, what) = (body.text(FACT_MAX)?, body.text(FACT_MAX)?, body.text(FACT_MAX)?);
        Ok(Self { block: (has == 1).then_some((id, name, index)), place, what })
    }
}

impl Message for VerifyReport {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        for value in [self.segments, self.records, self.blocks, self.bytes, self.damages] {
            body.u64(value);
        }
        body.list(&self.list);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (segments, records, blocks) = (body.u64()?, body.u64()?, body.u64()?);
        let (bytes, damages) = (body.u64()?, body.u64()?);
        Ok(Self { segments, records, blocks, bytes, damages, list: body.list(DAMAGES_LISTED_MAX)? })
    }
}

impl Message for CompactReport {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        for value in [self.segments, self.moved_bytes, self.held_before, self.held_after] {
            body.u64(value);
        }
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let (segments, moved_bytes) = (body.u64()?, body.u64()?);
        Ok(Self { segments, moved_bytes, held_before: body.u64()?, held_after: body.u64()? })
    }
}
