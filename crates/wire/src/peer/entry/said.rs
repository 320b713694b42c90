//! What entries say: their kinds, each with the form of its body. Unknown kinds are kept and witnessed like any other,
//! so that a newer node can say more than an older one understands.

use crate::body::{BodyError, BodyReader, Message};
use crate::peer::encoded;
use crate::peer::member::Version;
use alloc::vec::Vec;
use okapi_base::{Digest, GroupId, SegmentName};

/// The kinds of entries: never given another meaning.
pub mod kind {
    /// The node entered a group.
    pub const JOINED: u16 = 1;
    /// The member list, as the author knows it, gained or lost nodes.
    pub const LIST: u16 = 2;
    /// The author signed a deed.
    pub const DEED: u16 = 3;
    /// The author gave a segment up.
    pub const RELEASE: u16 = 4;
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    /// Kind 1: group 32.
    Joined(GroupId),
    /// Kind 2: number u64, digest 32.
    List(Version),
    /// Kind 3: segment 32, revision u32, hash of the deed 32.
    Deed {
        /// The segment.
        segment: SegmentName,
        /// Revision of its deed.
        revision: u32,
        /// Hash of the deed as it is signed.
        deed: Digest,
    },
    /// Kind 4: segment 32.
    Release(SegmentName),
    /// A kind that this version does not know.
    Other(u16),
}

impl Said {
    /// Reads the body of an entry of this kind.
    ///
    /// # Errors
    /// [`BodyError`] if it is not such a body.
    pub fn parse(kind: u16, bytes: &[u8]) -> Result<Self, BodyError> {
        let mut body = BodyReader::new(bytes);
        let said = match kind {
            kind::JOINED => Self::Joined(GroupId(body.array()?)),
            kind::LIST => Self::List(Version::decode(&mut body)?),
            kind::DEED => {
                Self::Deed { segment: SegmentName(body.array()?), revision: body.u32()?, deed: Digest(body.array()?) }
            }
            kind::RELEASE => Self::Release(SegmentName(body.array()?)),
            other => return Ok(Self::Other(other)),
        };
        body.end()?;
        Ok(said)
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Joined(_) => kind::JOINED,
            Self::List(_) => kind::LIST,
            Self::Deed { .. } => kind::DEED,
            Self::Release(_) => kind::RELEASE,
            Self::Other(kind) => *kind,
        }
    }

    /// The body of the entry that says it; empty for one that this version does not know.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        encoded(|body| match self {
            Self::Joined(group) => body.bytes(&group.0),
            Self::List(version) => version.encode(body),
            Self::Deed { segment, revision, deed } => {
                body.bytes(&segment.0);
                body.u32(*revision);
                body.bytes(&deed.0);
            }
            Self::Release(segment) => body.bytes(&segment.0),
            Self::Other(_) => {}
        })
    }
}
