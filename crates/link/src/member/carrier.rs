//! What differs between the ways that bytes travel from member to member: how to dial, and how to be dialled.

use okapi_base::NodeId;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A way to carry streams between nodes. Whatever it hands over is encrypted, and both ends have proven their keys.
pub(crate) trait Carrier: Send + Sync {
    /// Whether it knows addresses like this one.
    fn takes(&self, address: &str) -> bool;

    /// Dials an address; with `wanted` only a node with that key will do.
    fn dial(&self, address: String, wanted: Option<NodeId>, protocol: Protocol) -> Dialling;

    /// Says goodbye to everybody before the runtime ends, where the carrier itself needs to.
    fn close(&self) -> Closing {
        Box::pin(std::future::ready(()))
    }

    /// From now on hands every stream that comes in to `taker`.
    fn serve(&self, taker: Taker);
}

/// A dial under way.
pub(crate) type Dialling = Pin<Box<dyn Future<Output = Result<Carried, DialError>> + Send>>;
/// A carrier that closes.
pub(crate) type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Who takes what comes in.
pub(crate) type Taker = Arc<dyn Fn(Carried) + Send + Sync>;

/// A stream of bytes to a node that has proven its key.
pub(crate) struct Carried {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) node: NodeId,
    pub(crate) protocol: Protocol,
    /// The other end, as people read it.
    pub(crate) address: String,
    /// What carries it, as people read it.
    pub(crate) kind: &'static str,
}

/// A stream of bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// What is spoken on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Letters and what belongs to them.
    Member,
    /// The block protocol.
    Grid,
}

impl Protocol {
    pub(crate) const ALL: [Self; 2] = [Self::Member, Self::Grid];

    /// Its name in the handshake (ALPN).
    pub(crate) const fn name(self) -> &'static [u8] {
        match self {
            Self::Member => b"okapi-member/1",
            Self::Grid => b"okapi-grid/1",
        }
    }

    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }
}

/// Why dialling an address failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// There is nothing to dial.
    #[error("no address of node {0} is known")]
    Nowhere(NodeId),
    /// The text is no address that can be dialled.
    #[error("`{0}` is no address of a node; write tcp://host:port")]
    Address(String),
    /// It takes iroh, which this node does not use.
    #[error(
        "{0} is an address for iroh, which is not turned on here; `wan-listen` or `relay` in the settings does that"
    )]
    NoIroh(String),
    /// iroh dials nodes by their keys.
    #[error("{0} cannot be dialled without knowing which node it is; name its tcp://host:port")]
    Nameless(String),
    /// The node is behind a relay that this node's settings do not name.
    #[error(
        "{0} is a relay that is not this node's own; name it as `relay` in the settings if it may carry your letters"
    )]
    OtherRelay(String),
    /// Nobody answered.
    #[error("{address} does not answer: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's own words.
        why: String,
    },
    /// Something answers there that speaks differently.
    #[error("{address} is no node of Okapi, or one that speaks differently: {why}")]
    Foreign {
        /// Where.
        address: String,
        /// What TLS says.
        why: String,
    },
    /// A node answers there, and it is another one.
    #[error("{address} is another node: wanted was {wanted}, and {found} answered; has the address been given away?")]
    SomeoneElse {
        /// Where.
        address: String,
        /// Which node was wanted.
        wanted: NodeId,
        /// Which one answered.
        found: NodeId,
    },
}
