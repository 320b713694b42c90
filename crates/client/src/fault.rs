//! What can go wrong: one error for each kind of operation, each naming the node's address and the key, around the
//! [`Fault`] that says why.

use okapi_base::Index;
use okapi_wire::{Op, Status};
use std::sync::Arc;
use std::time::Duration;

/// Why an ask failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The node refused, and says why.
    #[error("{text}")]
    Refused {
        /// The reason as a number.
        status: Status,
        /// The reason in words, with a hint.
        text: String,
    },
    /// The link broke after the ask was sent, and asking again could do it twice.
    #[error(
        "the link broke before the answer to {op:?} came ({why}); it may or may not have happened: look before you repeat it"
    )]
    Interrupted {
        /// What was asked.
        op: Op,
        /// How the link broke; the node's own words if it said goodbye.
        why: String,
    },
    /// The link broke, and nothing was changed by this ask.
    #[error("the link broke: {why}")]
    Broken {
        /// How; the node's own words if it said goodbye.
        why: String,
    },
    /// No answer came in time.
    #[error("no answer within {after:?}; is the node busy or stuck? `okapi status` may tell, or allow more time{}", may_have(*changes))]
    TimedOut {
        /// How long was waited.
        after: Duration,
        /// Whether it may have been done nevertheless.
        changes: bool,
    },
    /// All connections were busy.
    #[error("no connection was free within {after:?}; allow more connections, or more time")]
    NoConnection {
        /// How long was waited.
        after: Duration,
    },
    /// As many streams as the settings allow are open.
    #[error("{most} streams (writers, readers, pipelines, followers) are open already; finish one, or allow more")]
    TooManyStreams {
        /// How many are allowed.
        most: usize,
    },
    /// The link could not be made again.
    #[error("{0}")]
    Connect(Arc<ConnectError>),
    /// The other end's answer breaks the protocol.
    #[error("the answer makes no sense: {why}; is the other end an Okapi node of a fitting version?")]
    Nonsense {
        /// What is wrong with it.
        why: String,
    },
    /// A grid of that name is there, but it is another one than was opened.
    #[error("the grid was dropped and made anew since it was opened; open it again")]
    OtherGrid,
    /// The caller's own stream failed.
    #[error("{what} failed: {why}")]
    Local {
        /// What was being done.
        what: &'static str,
        /// The stream's own words.
        why: String,
    },
    /// What was asked cannot be done; nothing was sent.
    #[error("{0}")]
    Invalid(String),
}

fn may_have(changes: bool) -> &'static str {
    if changes { "; it may or may not have happened: look before you repeat it" } else { "" }
}

impl Fault {
    /// The node's reason as a number, if the node refused.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the link to the node is the trouble, and trying later may help.
    #[must_use]
    pub fn is_link(&self) -> bool {
        matches!(
            self,
            Self::Interrupted { .. }
                | Self::Broken { .. }
                | Self::TimedOut { .. }
                | Self::NoConnection { .. }
                | Self::Connect(_)
        )
    }

    pub(crate) fn refused(status: Status) -> Self {
        Self::Refused { status, text: status.text().to_owned() }
    }
}

/// Why there is no connection to a node.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The link could not be made.
    #[error(transparent)]
    Link(#[from] okapi_link::ConnectError),
    /// The node refused the hello.
    #[error("{address} refused the connection: {text}")]
    Refused {
        /// Where.
        address: String,
        /// The reason as a number.
        status: Status,
        /// The reason in words.
        text: String,
    },
    /// The node was there, and did not go on to the member.
    #[error("{address}: {text}")]
    NoWay {
        /// Where.
        address: String,
        /// The reason as a number: [`Status::Away`] if the member cannot be reached.
        status: Status,
        /// The reason in words.
        text: String,
    },
    /// The link was there, and no proper welcome came over it.
    #[error("{address} did not welcome us: {fault}")]
    NoWelcome {
        /// Where.
        address: String,
        /// What came instead.
        fault: Fault,
    },
    /// The client was made over one link, and that is gone.
    #[error("the link to {address} is gone, and there is no way to make another")]
    Gone {
        /// Where.
        address: String,
    },
}

/// Why an ask about the node failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{address}: {what} failed: {fault}")]
pub struct NodeError {
    /// Which node.
    pub address: Arc<str>,
    /// What was asked, in words.
    pub what: &'static str,
    /// Why it failed.
    pub fault: Fault,
}

/// Why an ask about a grid as a whole failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("grid `{grid}` at {address}: {what} failed: {fault}")]
pub struct GridError {
    /// Which node.
    pub address: Arc<str>,
    /// Which grid.
    pub grid: String,
    /// What was asked, in words.
    pub what: &'static str,
    /// Why it failed.
    pub fault: Fault,
}

/// Why blocks could not be got or changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlockError {
    /// One block.
    #[error("block {index} of grid `{grid}` at {address}: {what} failed: {fault}")]
    One {
        /// Which node.
        address: Arc<str>,
        /// Which grid.
        grid: Arc<str>,
        /// Which block.
        index: Index,
        /// What was asked, in words.
        what: &'static str,
        /// Why it failed.
        fault: Fault,
    },
    /// Several blocks asked for together.
    #[error("{count} blocks (the first is {first}) of grid `{grid}` at {address}: {what} failed after {done}: {fault}")]
    Many {
        /// Which node.
        address: Arc<str>,
        /// Which grid.
        grid: Arc<str>,
        /// The first block.
        first: Index,
        /// How many blocks were asked for.
        count: usize,
        /// How many had an outcome before it failed.
        done: usize,
        /// What was asked, in words.
        what: &'static str,
        /// Why it failed.
        fault: Fault,
    },
}

/// Why something about a record failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("record `{name}` of grid `{grid}` at {address}: {what} failed: {fault}")]
pub struct RecordError {
    /// Which node.
    pub address: Arc<str>,
    /// Which grid.
    pub grid: Arc<str>,
    /// Which record, or the prefix of several.
    pub name: String,
    /// What was asked, in words.
    pub what: &'static str,
    /// Why it failed.
    pub fault: Fault,
}

impl BlockError {
    /// Why it failed.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        match self {
            Self::One { fault, .. } | Self::Many { fault, .. } => fault,
        }
    }

    /// The node's reason as a number, if the node refused.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.fault().status()
    }
}

macro_rules! status_of {
    ($($error:ident)*) => { $(
        impl $error {
            /// The node's reason as a number, if the node refused.
            #[must_use]
            pub fn status(&self) -> Option<Status> {
                self.fault.status()
            }
        }
    )* };
}

status_of!(NodeError GridError RecordError);
