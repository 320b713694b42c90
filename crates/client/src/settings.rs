//! How a client behaves.

use okapi_base::NodeId;
use okapi_wire::Token;
use std::time::Duration;

/// How a client behaves; [`Settings::default`] suits most programs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's token, or [`Token::NONE`] where the link itself proves who asks, or only public grids are wanted.
    pub token: Token,
    /// Another member's node to go on to: the client is then connected to it by way of the node it connects to, and sees
    /// what that member has granted. Nothing: the node that it connects to. Only its owner goes on from there.
    pub member: Option<Whom>,
    /// How long connecting and the hello may take.
    pub connect_timeout: Duration,
    /// How long an answer may take, waiting for a free connection and for a broken one to come back included.
    pub answer_timeout: Duration,
    /// How long verifying or compacting everything may take.
    pub work_timeout: Duration,
    /// Connections that single asks share. When all are busy, the next ask waits for one.
    pub connections: usize,
    /// Record writers, record readers, pipelines and followers that may be open at a time, each on a connection of its
    /// own. One more is refused.
    pub streams: usize,
    /// How long a thread looks for its answer before it sleeps. It looks only while looking has paid off lately; zero
    /// turns it off.
    pub spin: Duration,
    /// When to connect again after a link broke; nothing: never.
    pub reconnect: Option<Reconnect>,
}

/// Which node of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// By its id.
    Node(NodeId),
    /// By what people call it, or at least 4 of the first digits of its id.
    Called(String),
}

impl std::fmt::Display for Whom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Called(word) => f.write_str(word),
        }
    }
}

/// The delays between attempts to connect again: from `first`, doubling up to `cap`, each cut by up to half at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The first delay.
    pub first: Duration,
    /// The longest.
    pub cap: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { first: Duration::from_millis(20), cap: Duration::from_secs(5) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: Token::NONE,
            member: None,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            work_timeout: Duration::from_secs(24 * 60 * 60),
            connections: 8,
            streams: 64,
            spin: Duration::from_micros(50),
            reconnect: Some(Reconnect::default()),
        }
    }
}
