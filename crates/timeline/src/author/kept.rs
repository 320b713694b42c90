//! The records of an author: its entries (`e`, sequence big endian so that they sort), drafts (`q`, number big endian),
//! and the proof that its log was forked (`f`).

use super::{Author, Line, Stage};
use crate::act::{Act, BadRecord};
use crate::chain::entry_hash;
use crate::limits::CONFIRMATIONS_KEPT;
use crate::tally::Tally;
use alloc::vec::Vec;
use okapi_wire::peer::entry::{Confirmation, ForkProof, SignedHeader};
use okapi_wire::{BodyReader, BodyWriter, Message};

const LINE: u8 = b'e';
const DRAFT: u8 = b'q';
const FORK: u8 = b'f';
const VERSION: u8 = 1;
const HAS_BODY: u8 = 1;
const SETTLED: u8 = 2;

fn numbered(kind: u8, number: u64) -> Vec<u8> {
    [&[kind], &number.to_be_bytes()[..]].concat()
}

/// Version u8, flags u8 (1 has its body, 2 settled), count of confirmations u8, zero u8, signed header, confirmations,
/// body.
pub(super) fn line(line: &Line) -> Act {
    let mut bytes = Vec::new();
    let mut body = BodyWriter::new(&mut bytes);
    let flag = |is: bool, bit: u8| if is { bit } else { 0 };
    body.u8(VERSION);
    body.u8(flag(line.body.is_some(), HAS_BODY) | flag(line.settled, SETTLED));
    body.u8(line.tally.confirmations().len() as u8);
    body.u8(0);
    line.head.encode(&mut body);
    line.tally.confirmations().iter().for_each(|confirmation| confirmation.encode(&mut body));
    body.bytes(line.body.as_deref().unwrap_or_default());
    Act::Keep(numbered(LINE, line.head.header.sequence), Some(bytes))
}

pub(super) fn without_line(sequence: u64) -> Act {
    Act::Keep(numbered(LINE, sequence), None)
}

/// Version u8, zero u8, kind u16, body.
pub(super) fn draft(number: u64, kind: u16, said: &[u8]) -> Act {
    let mut bytes = Vec::from([VERSION, 0]);
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(said);
    Act::Keep(numbered(DRAFT, number), Some(bytes))
}

pub(super) fn without_draft(number: u64) -> Act {
    Act::Keep(numbered(DRAFT, number), None)
}

pub(super) fn fork(proof: &ForkProof) -> Act {
    let mut bytes = Vec::new();
    proof.encode(&mut BodyWriter::new(&mut bytes));
    Act::Keep(Vec::from([FORK]), Some(bytes))
}

pub(super) fn open<'a>(
    author: &mut Author,
    records: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), BadRecord> {
    for (key, value) in records {
        let (kind, rest) = key.split_first().ok_or(BadRecord)?;
        let number = || rest.try_into().map(u64::from_be_bytes).map_err(|_| BadRecord);
        match *kind {
            LINE => {
                let line = parse_line(value).ok_or(BadRecord)?;
                if number()? != line.head.header.sequence || line.head.header.log != author.log {
                    return Err(BadRecord);
                }
                author.lines.insert(number()?, line);
            }
            DRAFT => {
                let said = parse_draft(value).ok_or(BadRecord)?;
                author.drafts.insert(number()?, said);
            }
            FORK => author.stage = Stage::Forked,
            _ => return Err(BadRecord),
        }
    }
    Ok(())
}

fn parse_line(value: &[u8]) -> Option<Line> {
    let mut body = BodyReader::new(value);
    let [version, flags, count, _] = body.array().ok()?;
    if version != VERSION || usize::from(count) > CONFIRMATIONS_KEPT {
        return None;
    }
    let head = SignedHeader::decode(&mut body).ok()?;
    let confirmations: Vec<Confirmation> =
        (0..count).map(|_| Confirmation::decode(&mut body)).collect::<Result<_, _>>().ok()?;
    let said =
        if flags & HAS_BODY == 0 { None } else { Some(body.take(head.header.body_bytes as usize).ok()?.to_vec()) };
    body.end().ok()?;
    let hash = entry_hash(&head.header);
    Some(Line { head, hash, body: said, tally: Tally::open(confirmations), settled: flags & SETTLED != 0 })
}

fn parse_draft(value: &[u8]) -> Option<(u16, Vec<u8>)> {
    let (head, body) = value.split_first_chunk::<4>()?;
    (head[0] == VERSION).then(|| (u16::from_le_bytes([head[2], head[3]]), body.to_vec()))
}
