//! Entries of timelines, what proves their order, and what authors and witnesses say to each other.
//!
//! `docs/format/timeline.md` describes the same byte by byte.

use super::member::Version;
use super::{SignatureBytes, encoded};
use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use alloc::boxed::Box;
use alloc::vec::Vec;
use okapi_base::{Digest, NodeId};

/// Bytes of an entry's body.
pub const ENTRY_BODY_MAX: usize = 64 << 10;
/// Headers that show, in one message, that one entry comes before another.
pub const PATH_MAX: usize = 1024;
/// Entries in one message.
pub const ENTRIES_MAX: usize = 256;
/// Bytes of the longest message: an entry with the longest body behind the longest path.
pub const LOG_MESSAGE_MAX: usize = 1 + 40 + 4 + PATH_MAX * HEADER_BYTES + HEADER_BYTES + 64 + ENTRY_BODY_MAX;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 159;

const ENTRY_VERSION: u8 = 1;
const CONFIRMATION_VERSION: u8 = 1;

/// All of an entry but its body: its hash is the entry's, so headers alone prove a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryHeader {
    /// Whose log: the only one who writes it.
    pub log: NodeId,
    /// From 1, without gaps.
    pub sequence: u64,
    /// The hash of the entry before; zeros for the first.
    pub previous: Digest,
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

impl EntryHeader {
    /// What is hashed to name the entry.
    #[must_use]
    pub fn hashed_bytes(&self) -> Vec<u8> {
        encoded(|body| self.encode(body))
    }
}

impl Message for EntryHeader {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(ENTRY_VERSION);
        body.bytes(&self.log.0);
        body.u64(self.sequence);
        body.bytes(&self.previous.0);
        self.list.encode(body);
        body.u64(self.stamp);
        body.u16(self.kind);
        body.u32(self.body_bytes);
        body.bytes(&self.body.0);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != ENTRY_VERSION {
            return Err(BodyError::BadValue { field: "entry version" });
        }
        let header = Self {
            log: NodeId(body.array()?),
            sequence: body.u64()?,
            previous: Digest(body.array()?),
            list: Version::decode(body)?,
            stamp: body.u64()?,
            kind: body.u16()?,
            body_bytes: body.u32()?,
            body: Digest(body.array()?),
        };
        if header.sequence == 0 || header.sequence == u64::MAX {
            return Err(BodyError::BadValue { field: "sequence" });
        }
        if header.body_bytes as usize > ENTRY_BODY_MAX {
            return Err(BodyError::TooLong { length: header.body_bytes as usize, most: ENTRY_BODY_MAX });
        }
        Ok(header)
    }
}

/// A header with its author's signature of its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedHeader {
    /// The header.
    pub header: EntryHeader,
    /// By the log's node key, of the header's hash.
    pub signature: SignatureBytes,
}

impl Message for SignedHeader {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.header.encode(body);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self { header: EntryHeader::decode(body)?, signature: body.array()? })
    }
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its header, signed.
    pub head: SignedHeader,
    /// Its body: as long as the header says.
    pub body: Vec<u8>,
}

impl Message for Entry {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        assert_eq!(self.body.len(), self.head.header.body_bytes as usize, "the header tells the body's length");
        self.head.encode(body);
        body.bytes(&self.body);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let head = SignedHeader::decode(body)?;
        Ok(Self { body: body.take(head.header.body_bytes as usize)?.to_vec(), head })
    }
}

/// A witness's word that it keeps an entry, and will never keep another in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Confirmation {
    /// Whose log.
    pub log: NodeId,
    /// Which entry.
    pub sequence: u64,
    /// The entry's hash.
    pub hash: Digest,
    /// The member list under which the witness was drawn.
    pub list: Version,
    /// The witness.
    pub witness: NodeId,
    /// By the node key of `witness`.
    pub signature: SignatureBytes,
}

impl Confirmation {
    /// What `signature` covers: all but itself.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        encoded(|body| self.encode_unsigned(body))
    }

    fn encode_unsigned(&self, body: &mut BodyWriter<'_>) {
        body.u8(CONFIRMATION_VERSION);
        body.bytes(&self.log.0);
        body.u64(self.sequence);
        body.bytes(&self.hash.0);
        self.list.encode(body);
        body.bytes(&self.witness.0);
    }
}

impl Message for Confirmation {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.encode_unsigned(body);
        body.bytes(&self.signature);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        if body.u8()? != CONFIRMATION_VERSION {
            return Err(BodyError::BadValue { field: "confirmation version" });
        }
        Ok(Self {
            log: NodeId(body.array()?),
            sequence: body.u64()?,
            hash: Digest(body.array()?),
            list: Version::decode(body)?,
            witness: NodeId(body.array()?),
            signature: body.array()?,
        })
    }
}

/// Proof that the author of a log wrote two entries in one place: two entries it signed, the later of which does not
/// come after the earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkProof {
    /// The earlier entry, or either of two with the same sequence.
    pub earlier: SignedHeader,
    /// The later entry.
    pub later: SignedHeader,
    /// The headers through which `later` comes from another entry in the place of `earlier`: in order, without gaps,
    /// from the sequence of `earlier` to the one before `later`. None if both have the same sequence. At most
    /// [`PATH_MAX`].
    pub path: Vec<EntryHeader>,
}

impl Message for ForkProof {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        self.earlier.encode(body);
        self.later.encode(body);
        body.list(&self.path);
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(Self {
            earlier: SignedHeader::decode(body)?,
            later: SignedHeader::decode(body)?,
            path: body.list(PATH_MAX)?,
        })
    }
}

/// Why a witness does not confirm, if not for a fork or a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum No {
    /// It does not know the author as a member, or knows that it parted.
    NotAMember,
    /// It does not know the member list under which it was asked.
    UnknownList,
    /// It was not drawn for this entry under that list.
    NotDrawn,
    /// It keeps as many logs, or has as much to write, as it can.
    Busy,
    /// What it was sent makes no sense: a bad signature, a broken path.
    Bad,
}

impl No {
    const ALL: [Self; 5] = [Self::NotAMember, Self::UnknownList, Self::NotDrawn, Self::Busy, Self::Bad];

    const fn code(self) -> u8 {
        match self {
            Self::NotAMember => 1,
            Self::UnknownList => 2,
            Self::NotDrawn => 3,
            Self::Busy => 4,
            Self::Bad => 5,
        }
    }
}

/// What authors, witnesses and those who look for a log say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogMessage {
    /// Author to witness: keep and confirm this entry. `path` connects it with the last entry that the witness told
    /// it knows: the headers from that one's sequence to the one before this entry; or, if the witness knows a later
    /// one, the headers from behind this entry to that one. Empty if they are neighbours or nothing was told.
    Submit {
        /// The member list under which the witness was drawn.
        list: Version,
        /// The headers between.
        path: Vec<EntryHeader>,
        /// The entry.
        entry: Box<Entry>,
    },
    /// Author to witness: a piece of a path that is too long for one message, from the last entry the witness told it
    /// knows to one that is signed.
    Advance {
        /// The headers between, from the sequence of the entry the witness knows.
        path: Vec<EntryHeader>,
        /// Where the piece ends.
        end: SignedHeader,
    },
    /// Witness to author: kept and confirmed.
    Confirmed(Confirmation),
    /// Witness to author: this is the last entry it knows of the log; show how what you sent connects with it.
    Known {
        /// Whose log.
        log: NodeId,
        /// The entry that was to be confirmed, or the end of the piece of a path.
        sequence: u64,
        /// Sequence of the last known entry.
        known: u64,
        /// Its hash.
        hash: Digest,
    },
    /// Witness to author: not confirmed.
    Refused {
        /// Whose log.
        log: NodeId,
        /// Which entry.
        sequence: u64,
        /// Why.
        why: No,
    },
    /// Anyone to anyone: the author of a log forked it.
    Forked(Box<ForkProof>),
    /// Anyone to a member: which is the last entry of this log you know?
    AskHead {
        /// Whose log.
        log: NodeId,
        /// Comes back in the answer.
        nonce: u64,
    },
    /// The answer.
    Head {
        /// Whose log.
        log: NodeId,
        /// That of the question.
        nonce: u64,
        /// The last known entry, if any.
        head: Option<Box<SignedHeader>>,
    },
    /// Anyone to a member: which of these entries have you?
    AskEntries {
        /// Whose log.
        log: NodeId,
        /// Comes back in the answer.
        nonce: u64,
        /// From this sequence.
        from: u64,
        /// Up to and including this one.
        to: u64,
    },
    /// The answer.
    Entries {
        /// Whose log.
        log: NodeId,
        /// That of the question.
        nonce: u64,
        /// As far as this answer goes: everything the member has from `from` up to and including this is in it.
        to: u64,
        /// The entries, in order; at most [`ENTRIES_MAX`].
        entries: Vec<Entry>,
    },
}

impl LogMessage {
    const fn code(&self) -> u8 {
        match self {
            Self::Submit { .. } => 1,
            Self::Advance { .. } => 2,
            Self::Confirmed(_) => 3,
            Self::Known { .. } => 4,
            Self::Refused { .. } => 5,
            Self::Forked(_) => 6,
            Self::AskHead { .. } => 7,
            Self::Head { .. } => 8,
            Self::AskEntries { .. } => 9,
            Self::Entries { .. } => 10,
        }
    }

    fn encode_question(&self, body: &mut BodyWriter<'_>) {
        match self {
            Self::AskHead { log, nonce } => {
                body.bytes(&log.0);
                body.u64(*nonce);
            }
            Self::Head { log, nonce, head } => {
                body.bytes(&log.0);
                body.u64(*nonce);
                body.u8(u8::from(head.is_some()));
                if let Some(head) = head {
                    head.encode(body);
                }
            }
            Self::AskEntries { log, nonce, from, to } => {
                body.bytes(&log.0);
                body.u64(*nonce);
                body.u64(*from);
                body.u64(*to);
            }
            Self::Entries { log, nonce, to, entries } => {
                body.bytes(&log.0);
                body.u64(*nonce);
                body.u64(*to);
                body.list(entries);
            }
            _ => unreachable!("the others are encoded by `encode`"),
        }
    }

    fn decode_question(code: u8, body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        let log = NodeId(body.array()?);
        let nonce = body.u64()?;
        Ok(match code {
            7 => Self::AskHead { log, nonce },
            8 => Self::Head {
                log,
                nonce,
                head: match body.u8()? {
                    0 => None,
                    1 => Some(Box::new(SignedHeader::decode(body)?)),
                    _ => return Err(BodyError::BadValue { field: "head" }),
                },
            },
            9 => Self::AskEntries { log, nonce, from: body.u64()?, to: body.u64()? },
            _ => Self::Entries { log, nonce, to: body.u64()?, entries: body.list(ENTRIES_MAX)? },
        })
    }
}

impl Message for LogMessage {
    fn encode(&self, body: &mut BodyWriter<'_>) {
        body.u8(self.code());
        match self {
            Self::Submit { list, path, entry } => {
                list.encode(body);
                body.list(path);
                entry.encode(body);
            }
            Self::Advance { path, end } => {
                body.list(path);
                end.encode(body);
            }
            Self::Confirmed(confirmation) => confirmation.encode(body),
            Self::Known { log, sequence, known, hash } => {
                body.bytes(&log.0);
                body.u64(*sequence);
                body.u64(*known);
                body.bytes(&hash.0);
            }
            Self::Refused { log, sequence, why } => {
                body.bytes(&log.0);
                body.u64(*sequence);
                body.u8(why.code());
            }
            Self::Forked(proof) => proof.encode(body),
            Self::AskHead { .. } | Self::Head { .. } | Self::AskEntries { .. } | Self::Entries { .. } => {
                self.encode_question(body);
            }
        }
    }

    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError> {
        Ok(match body.u8()? {
            1 => Self::Submit {
                list: Version::decode(body)?,
                path: body.list(PATH_MAX)?,
                entry: Box::new(Entry::decode(body)?),
            },
            2 => Self::Advance { path: body.list(PATH_MAX)?, end: SignedHeader::decode(body)? },
            3 => Self::Confirmed(Confirmation::decode(body)?),
            4 => Self::Known {
                log: NodeId(body.array()?),
                sequence: body.u64()?,
                known: body.u64()?,
                hash: Digest(body.array()?),
            },
            5 => {
                let (log, sequence, why) = (NodeId(body.array()?), body.u64()?, body.u8()?);
                let why = No::ALL.into_iter().find(|no| no.code() == why);
                Self::Refused { log, sequence, why: why.ok_or(BodyError::BadValue { field: "why" })? }
            }
            6 => Self::Forked(Box::new(ForkProof::decode(body)?)),
            code @ 7..=10 => Self::decode_question(code, body)?,
            _ => return Err(BodyError::BadValue { field: "log message" }),
        })
    }
}

#[cfg(test)]
mod tests;
