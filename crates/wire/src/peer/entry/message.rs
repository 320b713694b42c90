//! What authors, witnesses and those who look for a log say to each other.

use super::{CONFIRMATIONS_MAX, Confirmation, ENTRIES_MAX, Entry, ForkProof, Path, SignedHeader};
use crate::body::{BodyError, BodyReader, BodyWriter, Message};
use crate::peer::SignatureBytes;
use crate::peer::member::Version;
use alloc::boxed::Box;
use alloc::vec::Vec;
use okapi_base::{Digest, NodeId};

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
    /// Author to witness: keep and confirm these entries. `path` runs through all of them and through the last entry
    /// that the witness told it knows, whether that is before, between or behind them; through them alone if nothing
    /// was told.
    Submit {
        /// The member list under which the witness was drawn.
        list: Version,
        /// The headers between.
        path: Path,
        /// The entries, in order: at least one, at most [`ENTRIES_MAX`].
        entries: Vec<Entry>,
    },
    /// Author to witness: a piece of a path that is too long for one message, from the last entry that the witness told
    /// it knows. Witness to author, beside [`LogMessage::Entries`]: the last headers it knows.
    Advance {
        /// The headers.
        path: Path,
        /// The author's signature of the last header's hash.
        signature: SignatureBytes,
    },
    /// Witness to author: all this is kept and confirmed. At most [`CONFIRMATIONS_MAX`].
    Confirmed(Vec<Confirmation>),
    /// Witness to author: this is the last entry it knows of the log; show how what you sent connects with it.
    Known {
        /// Whose log.
        log: NodeId,
        /// The last entry that was to be confirmed, or the end of the piece of a path.
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
        /// Which entry; the last of several.
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
            Self::Submit { list, path, entries } => {
                list.encode(body);
                path.encode(body);
                body.list(entries);
            }
            Self::Advance { path, signature } => {
                path.encode(body);
                body.bytes(signature);
            }
            Self::Confirmed(confirmations) => body.list(confirmations),
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
                path: Path::decode(body)?,
                entries: body.list(ENTRIES_MAX)?,
            },
            2 => Self::Advance { path: Path::decode(body)?, signature: body.array()? },
            3 => Self::Confirmed(body.list(CONFIRMATIONS_MAX)?),
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
