//! The durable form of histories.

use super::Histories;
use super::spells::{LENGTHS, Spells, WEEKS};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::NodeId;
use okapi_wire::{BodyError, BodyReader, BodyWriter, Message};

/// The first byte.
const VERSION: u8 = 1;
/// Nodes in one node's histories.
const NODES_MAX: usize = 1 << 16;
/// The latest stamp that is taken, in milliseconds: the year 10,000. It keeps damaged bytes from overflowing sums.
const STAMP_MAX: u64 = 253_402_300_800_000;
/// The most absences of one length that are taken; more are never written.
const COUNT_MAX: u16 = 1024;

/// One node. Body: node (32 bytes), first, last, blind, up, away u64 each, week u32, longest absence in hours u16 x 26,
/// absences by length u16 x 12, lost u8.
struct Line(NodeId, Spells);

impl Message for Line {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        let Self(node, spells) = self;
        body.bytes(&node.0);
        for value in [spells.first, spells.last, spells.blind, spells.up_ms, spells.away_ms] {
            body.u64(value);
        }
        body.u32(spells.week);
        spells.weeks.iter().chain(&spells.lengths).for_each(|value| body.u16(*value));
        body.u8(u8::from(spells.lost));
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let node = NodeId(body.array()?);
        let mut spells = Spells::new(stamp(body)?);
        spells.last = stamp(body)?;
        spells.blind = stamp(body)?;
        spells.up_ms = stamp(body)?;
        spells.away_ms = stamp(body)?;
        if spells.last < spells.first {
            return Err(BodyError::BadValue { field: "last" });
        }
        let (week, last_week) = (body.u32()?, Spells::new(spells.last).week);
        if week != last_week {
            return Err(BodyError::BadValue { field: "week" });
        }
        spells.week = week;
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
        Ok(Self(node, spells))
    }
}

/// Body: version u8, last heard anybody u64, lived u64 (ms), lost u32, list of nodes in the order of their ids.
impl Message for Histories {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(VERSION);
        body.u64(self.last_any);
        body.u64(self.lived_ms);
        body.u32(u32::try_from(self.lost).unwrap_or(u32::MAX));
        let lines: Vec<Line> = self.nodes.iter().map(|(node, it)| Line(*node, it.clone())).collect();
        body.list(&lines);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != VERSION {
            return Err(BodyError::BadValue { field: "version" });
        }
        let (last_any, lived_ms, lost) = (stamp(body)?, body.u64()?, u64::from(body.u32()?));
        let mut nodes = BTreeMap::new();
        let mut before = None;
        for Line(node, spells) in body.list::<Line>(NODES_MAX)? {
            if before >= Some(node) {
                return Err(BodyError::BadValue { field: "node" });
            }
            before = Some(node);
            nodes.insert(node, spells);
        }
        // Those that were forgotten since are counted too.
        if lost < nodes.values().filter(|spells| spells.lost).count() as u64 {
            return Err(BodyError::BadValue { field: "lost" });
        }
        Ok(Self { nodes, last_any, lost, lived_ms })
    }
}

fn stamp(body: &mut BodyReader<'_>) -> Result<u64, BodyError> {
    let value = body.u64()?;
    if value > STAMP_MAX { Err(BodyError::BadValue { field: "stamp" }) } else { Ok(value) }
}
