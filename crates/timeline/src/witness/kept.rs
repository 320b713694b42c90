//! The records of a witness: a head of each log (`h`, log), entries (`e`, log, sequence big endian so that they sort),
//! and proofs of forks (`f`, log).

use super::{Log, Witness};
use crate::act::{Act, BadRecord};
use crate::chain::{Chain, entry_hash, path_of};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use okapi_base::NodeId;
use okapi_wire::peer::entry::{Entry, ForkProof, Path};
use okapi_wire::{BodyReader, BodyWriter, Message};

const HEAD: u8 = b'h';
const ENTRY: u8 = b'e';
const FORK: u8 = b'f';
const VERSION: u8 = 1;

fn key(kind: u8, log: NodeId, rest: &[u8]) -> Vec<u8> {
    [&[kind], &log.0[..], rest].concat()
}

fn entry_key(entry: &Entry) -> Vec<u8> {
    key(ENTRY, entry.head.header.log, &entry.head.header.sequence.to_be_bytes())
}

/// Version u8, the last headers as a path, the signature of the last one.
pub(super) fn head(log: &Log) -> Act {
    let mut bytes = Vec::from([VERSION]);
    path_of(log.tail.iter().copied()).expect("the tail is short").encode(&mut BodyWriter::new(&mut bytes));
    bytes.extend_from_slice(&log.head.signature);
    Act::Keep(key(HEAD, log.head.header.log, &[]), Some(bytes))
}

pub(super) fn entry(entry: &Entry) -> Act {
    let mut bytes = Vec::new();
    entry.encode(&mut BodyWriter::new(&mut bytes));
    Act::Keep(entry_key(entry), Some(bytes))
}

pub(super) fn without_entry(entry: &Entry) -> Act {
    Act::Keep(entry_key(entry), None)
}

pub(super) fn fork(proof: &ForkProof) -> Act {
    let mut bytes = Vec::new();
    proof.encode(&mut BodyWriter::new(&mut bytes));
    Act::Keep(key(FORK, proof.one.header.log, &[]), Some(bytes))
}

pub(super) fn open<'a>(records: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Witness, BadRecord> {
    let mut witness = Witness::default();
    let mut entries = Vec::new();
    for (key, value) in records {
        match key.first() {
            Some(&HEAD) => {
                let log = parse_head(value).ok_or(BadRecord)?;
                witness.logs.insert(log.head.header.log, log);
            }
            Some(&ENTRY) => entries.push(Entry::parse(value).map_err(|_| BadRecord)?),
            Some(&FORK) => {
                let proof = ForkProof::parse(value).map_err(|_| BadRecord)?;
                witness.forks.insert(proof.one.header.log, proof);
            }
            _ => return Err(BadRecord),
        }
    }
    for entry in entries {
        let log = witness.logs.get_mut(&entry.head.header.log).ok_or(BadRecord)?;
        witness.bytes += entry.body.len();
        log.bytes += entry.body.len();
        log.entries.insert(entry.head.header.sequence, entry);
    }
    Ok(witness)
}

fn parse_head(value: &[u8]) -> Option<Log> {
    let mut body = BodyReader::new(value);
    if body.u8().ok()? != VERSION {
        return None;
    }
    let chain = Chain::of(&Path::decode(&mut body).ok()?)?;
    let signature = body.array().ok()?;
    body.end().ok()?;
    let header = chain.last().0;
    Some(Log {
        head: okapi_wire::peer::entry::SignedHeader { header, signature },
        hash: entry_hash(&header),
        tail: chain.iter().map(|(header, _)| *header).collect(),
        entries: BTreeMap::new(),
        bytes: 0,
    })
}
