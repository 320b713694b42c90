//! The durable form of the books: one key and value for each line. `docs/format/contract.md` describes the bytes.

use super::{Agreement, Books, Caps, Held, HeldState, Piece, Placed, PlacedState, check};
use alloc::vec::Vec;
use okapi_base::{GroupId, NodeId, SegmentName, Shape};
use okapi_wire::peer::contract::{Contract, Ending, Side};
use okapi_wire::{BodyError, BodyReader, BodyWriter, Message};

/// The first byte of every value.
const VERSION: u8 = 1;

// The first byte of every key.
const PLACED: u8 = 1;
const HELD: u8 = 2;
const LENT: u8 = 3;
const GRANTED: u8 = 4;
const OWN: u8 = 5;

/// One line of the books to be made durable: a value put under a key, or a key taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key: unique in the books, 33 or 67 bytes.
    pub key: Vec<u8>,
    /// The value, or nothing if the line is struck out.
    pub value: Option<Vec<u8>>,
}

/// Why kept lines are not books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// A line has a kind that this version does not know.
    #[error("line {at} of the books is of the unknown kind {kind}; they may come from a newer version")]
    Kind {
        /// Which line, counted from 0.
        at: usize,
        /// The kind found.
        kind: u8,
    },
    /// A line cannot be read.
    #[error("line {at} of the books cannot be read: {why}; rebuild them from deeds and the other sides' books")]
    Line {
        /// Which line, counted from 0.
        at: usize,
        /// Why.
        why: BodyError,
    },
}

impl Entry {
    pub(super) fn placed(holder: NodeId, piece: Piece, to: Option<Placed>) -> Self {
        let value = to.map(|it| line(it.state as u8 + 1, it.bytes, it.since));
        Self { key: piece_key(PLACED, holder, piece), value }
    }

    pub(super) fn held(owner: NodeId, piece: Piece, to: Option<Held>) -> Self {
        let value = to.map(|it| line(it.state as u8 + 1, it.bytes, it.since));
        Self { key: piece_key(HELD, owner, piece), value }
    }

    pub(super) fn agreement(other: NodeId, side: Side, to: Option<&Agreement>) -> Self {
        let kind = match side {
            Side::Owner => LENT,
            Side::Holder => GRANTED,
        };
        let value = to.map(|it| {
            let mut bytes = Vec::new();
            let mut body = BodyWriter::new(&mut bytes);
            body.u8(VERSION);
            it.contract.encode(&mut body);
            body.u8(u8::from(it.ending.is_some()));
            if let Some(ending) = &it.ending {
                ending.encode(&mut body);
            }
            bytes
        });
        Self { key: key(kind, &other.0), value }
    }

    pub(super) fn own(segment: SegmentName, bytes: Option<u64>) -> Self {
        let value = bytes.map(|bytes| {
            let mut value = Vec::with_capacity(9);
            value.push(VERSION);
            value.extend_from_slice(&bytes.to_le_bytes());
            value
        });
        Self { key: key(OWN, &segment.0), value }
    }
}

impl Books {
    /// The books that kept lines (key, value) make, in any order.
    ///
    /// Caps may be smaller than what the lines say: that is a node whose owner has made them smaller since.
    ///
    /// # Errors
    /// [`EntryError`] for the first line that is not one.
    pub fn open<'a>(
        me: NodeId,
        group: GroupId,
        caps: Caps,
        lines: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Self, EntryError> {
        let mut books = Self::new(me, group, caps);
        for (at, (key, value)) in lines.into_iter().enumerate() {
            match key.first() {
                None | Some(PLACED..=OWN) => {}
                Some(&kind) => return Err(EntryError::Kind { at, kind }),
            }
            books.read_line(key, value).map_err(|why| EntryError::Line { at, why })?;
        }
        Ok(books)
    }

    /// All lines, in the order of their keys: the books as a copy.
    #[must_use]
    pub fn lines(&self) -> Vec<Entry> {
        let mut lines: Vec<Entry> = self.own.iter().map(|(name, bytes)| Entry::own(*name, Some(*bytes))).collect();
        for (other, pair) in &self.pairs {
            lines.extend(pair.placed().map(|(piece, it)| Entry::placed(*other, *piece, Some(*it))));
            lines.extend(pair.held().map(|(piece, it)| Entry::held(*other, *piece, Some(*it))));
            for side in [Side::Owner, Side::Holder] {
                lines.extend(pair.agreement(side).map(|it| Entry::agreement(*other, side, Some(it))));
            }
        }
        lines.sort_by(|a, b| a.key.cmp(&b.key));
        lines
    }

    fn read_line(&mut self, key: &[u8], value: &[u8]) -> Result<(), BodyError> {
        let (mut key, mut value) = (BodyReader::new(key), BodyReader::new(value));
        let kind = key.u8()?;
        let name = key.array()?;
        if value.u8()? != VERSION {
            return Err(BodyError::BadValue { field: "version" });
        }
        match kind {
            PLACED | HELD => self.read_piece(kind, NodeId(name), &mut key, &mut value)?,
            OWN => {
                let bytes = value.u64()?;
                let sum = self.own_bytes.checked_add(bytes).ok_or(BodyError::BadValue { field: "bytes" })?;
                if self.own.insert(SegmentName(name), bytes).is_some() {
                    return Err(BodyError::BadValue { field: "segment" });
                }
                self.own_bytes = sum;
            }
            _ => self.read_agreement(kind, NodeId(name), &mut value)?,
        }
        key.end()?;
        value.end()
    }

    fn read_piece(
        &mut self,
        kind: u8,
        other: NodeId,
        key: &mut BodyReader<'_>,
        value: &mut BodyReader<'_>,
    ) -> Result<(), BodyError> {
        let segment = SegmentName(key.array()?);
        let shape = Shape::from_code(key.u8()?).ok_or(BodyError::BadValue { field: "shape" })?;
        let piece = Piece { segment, shape, index: key.u8()? };
        let (state, bytes, since) = (value.u8()?, value.u64()?, value.u64()?);
        check(piece, bytes).map_err(|_| BodyError::BadValue { field: "piece" })?;
        if kind == PLACED {
            let state = match state {
                1 => PlacedState::Sent,
                2 => PlacedState::Confirmed,
                3 => PlacedState::Released,
                _ => return Err(BodyError::BadValue { field: "state" }),
            };
            self.change(other, |pair| pair.set_placed(piece, Some(Placed { bytes, state, since })));
        } else {
            let state = match state {
                1 => HeldState::Reserved,
                2 => HeldState::Stored,
                3 => HeldState::Dropped,
                _ => return Err(BodyError::BadValue { field: "state" }),
            };
            self.change(other, |pair| pair.set_held(piece, Some(Held { bytes, state, since })));
        }
        Ok(())
    }

    fn read_agreement(&mut self, kind: u8, other: NodeId, value: &mut BodyReader<'_>) -> Result<(), BodyError> {
        let contract = Contract::decode(value)?;
        let ending = match value.u8()? {
            0 => None,
            1 => Some(Ending::decode(value)?),
            _ => return Err(BodyError::BadValue { field: "ending" }),
        };
        let side = if kind == LENT { Side::Owner } else { Side::Holder };
        let (owner, holder) = if kind == LENT { (self.me, other) } else { (other, self.me) };
        if (contract.terms.owner, contract.terms.holder) != (owner, holder) || contract.terms.group != self.group {
            return Err(BodyError::BadValue { field: "contract" });
        }
        if ending.is_some_and(|it| (it.owner, it.holder) != (owner, holder)) {
            return Err(BodyError::BadValue { field: "ending" });
        }
        self.change(other, |pair| pair.set_agreement(side, Some(Agreement { contract, ending })));
        Ok(())
    }
}

fn key(kind: u8, name: &[u8; 32]) -> Vec<u8> {
    let mut key = Vec::with_capacity(67);
    key.push(kind);
    key.extend_from_slice(name);
    key
}

fn piece_key(kind: u8, other: NodeId, piece: Piece) -> Vec<u8> {
    let mut key = key(kind, &other.0);
    key.extend_from_slice(&piece.segment.0);
    key.extend_from_slice(&[piece.shape.code(), piece.index]);
    key
}

fn line(state: u8, bytes: u64, since: u64) -> Vec<u8> {
    let mut value = Vec::with_capacity(18);
    let mut body = BodyWriter::new(&mut value);
    body.u8(VERSION);
    body.u8(state);
    body.u64(bytes);
    body.u64(since);
    value
}
