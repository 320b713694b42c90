//! The durable form of histories: a head, and a line for each node. `docs/format/history.md` describes the bytes.

use super::Histories;
use super::UP_GAP_MS;
use super::spells::{LENGTHS, Spells, WEEKS};
use crate::stamp::stamp as stamp_of;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::NodeId;
use okapi_base::machine::Moment;
use okapi_wire::{BodyError, BodyReader, BodyWriter, Message};

/// The first byte of the head and of every line.
const VERSION: u8 = 1;
/// The latest stamp that is taken, in milliseconds: the year 10,000. It keeps damaged bytes from overflowing sums.
const STAMP_MAX: u64 = 253_402_300_800_000;
/// The most absences of one length that are taken; more are never written.
const COUNT_MAX: u16 = 1024;

impl Histories {
    /// The head: what is not of one node. All lines are said to be kept with it if `with_lines`.
    #[must_use]
    pub fn head(&mut self, now: Moment, with_lines: bool) -> Vec<u8> {
        if with_lines {
            self.kept = stamp_of(now);
        }
        let mut bytes = Vec::new();
        let mut body = BodyWriter::new(&mut bytes);
        body.u8(VERSION);
        [self.last_any, self.kept, self.lived_ms].into_iter().for_each(|value| body.u64(value));
        body.u32(u32::try_from(self.lost).unwrap_or(u32::MAX));
        bytes
    }

    /// The line of a node; nothing if it is not watched.
    #[must_use]
    pub fn line(&self, node: &NodeId) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.nodes.get(node)?.encode(&mut BodyWriter::new(&mut bytes));
        Some(bytes)
    }

    /// The histories that a kept head and lines, in any order, make. Without a head they begin anew.
    ///
    /// # Errors
    /// [`BodyError`] if something is not as it was written.
    pub fn read<'a>(
        now: Moment,
        head: Option<&[u8]>,
        lines: impl IntoIterator<Item = (NodeId, &'a [u8])>,
    ) -> Result<Self, BodyError> {
        let Some(head) = head else { return Ok(Self::new(now)) };
        let mut body = BodyReader::new(head);
        if body.u8()? != VERSION {
            return Err(BodyError::BadValue { field: "version" });
        }
        let (last_any, kept) = (stamp(&mut body)?, stamp(&mut body)?);
        let (lived_ms, lost) = (body.u64()?, u64::from(body.u32()?));
        body.end()?;
        let mut nodes = BTreeMap::new();
        for (node, line) in lines {
            nodes.insert(node, Spells::parse(line)?);
        }
        // Those that were forgotten since are counted too, and a line may be newer than the head.
        let lost = lost.max(nodes.values().filter(|spells| spells.lost).count() as u64);
        Ok(Self { nodes, gap_ms: UP_GAP_MS, last_any, kept, lost, lived_ms })
    }
}

/// One node. Body: version u8, first, last, blind, up, away u64 each, week u32, longest absence in hours u16 x 26,
/// absences by length u16 x 12, lost u8.
impl Message for Spells {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(VERSION);
        for value in [self.first, self.last, self.blind, self.up_ms, self.away_ms] {
            body.u64(value);
        }
        body.u32(self.week);
        self.weeks.iter().chain(&self.lengths).for_each(|value| body.u16(*value));
        body.u8(u8::from(self.lost));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != VERSION {
            return Err(BodyError::BadValue { field: "version" });
        }
        let mut spells = Self::new(stamp(body)?);
        spells.last = stamp(body)?;
        spells.blind = stamp(body)?;
        spells.up_ms = stamp(body)?;
        spells.away_ms = stamp(body)?;
        if spells.last < spells.first {
            return Err(BodyError::BadValue { field: "last" });
        }
        spells.week = body.u32()?;
        if spells.week != Self::new(spells.last).week {
            return Err(BodyError::BadValue { field: "week" });
        }
        for at in 0..WEEKS {
            spells.weeks[at] = body.u16()?;
        }
        for at in 0..LENGTHS {
            spells.lengths[at] = body.u16()?;
            if spells.lengths[at] > COUNT_MAX {
                return Err(BodyError::BadValue { field: "lengths" });
            }
        }
        spells.lost = match body.u8()? {
            0 => false,
            1 => true,
            _ => return Err(BodyError::BadValue { field: "lost" }),
        };
        Ok(spells)
    }
}

fn stamp(body: &mut BodyReader<'_>) -> Result<u64, BodyError> {
    let value = body.u64()?;
    if value > STAMP_MAX { Err(BodyError::BadValue { field: "stamp" }) } else { Ok(value) }
}
