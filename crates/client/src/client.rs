//! A node, as a program holds it.

use crate::connection::{Connection, Deadline};
use crate::fault::{ConnectError, Fault, GridError, NodeError};
use crate::grid::Grid;
use crate::pool::Pool;
use crate::settings::Settings;
use okapi_link::{Link, Target};
use okapi_wire::message::{
    CompactReport, GridCreate, GridCreated, GridInfo, GridList, Named, NodeStatus, VerifyReport,
};
use okapi_wire::{Message, Op, Token, Welcome};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A way to a node: makes links, as often as they are needed.
pub trait Dial: Send + Sync {
    /// Makes a link within `timeout`.
    ///
    /// # Errors
    /// [`ConnectError`].
    fn dial(&self, timeout: Duration) -> Result<Box<dyn Link>, ConnectError>;

    /// Where it leads, as errors show it.
    fn address(&self) -> String;
}

/// A node. Clones share its connections; they close when the last clone, grid and stream is gone.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) pool: Arc<Pool>,
}

impl Client {
    /// Connects to the node at `target` and says hello.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(target: &Target, settings: Settings) -> Result<Self, ConnectError> {
        Self::through(Box::new(ToTarget(target.clone())), settings)
    }

    /// Connects by a way of the caller's own, such as into the same process.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn through(dial: Box<dyn Dial>, settings: Settings) -> Result<Self, ConnectError> {
        Ok(Self { pool: Pool::open(dial, settings, false)? })
    }

    /// Says hello over a link that is there. It is the only connection: streams and asks take turns, and once it
    /// breaks everything fails.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn over(link: Box<dyn Link>, settings: Settings) -> Result<Self, ConnectError> {
        let address = link.facts().name.clone();
        let dial = OneLink { address, link: Mutex::new(Some(link)) };
        Ok(Self { pool: Pool::open(Box::new(dial), settings, true)? })
    }

    /// Where the node is, as errors show it.
    #[must_use]
    pub fn address(&self) -> &str {
        self.pool.address()
    }

    /// What the node said when it was first connected to: its version, its limits, and whether we are its owner.
    #[must_use]
    pub fn welcome(&self) -> Welcome {
        *self.pool.welcome()
    }

    /// As of when what is read is, in milliseconds since 1970-01-01 UTC, where the member of the settings was away when it
    /// was connected to: it is then read from what others hold of it. None: the member is here, or there is none.
    #[must_use]
    pub fn as_of(&self) -> Option<u64> {
        self.pool.as_of()
    }

    /// Asks for nothing but an answer, and says how long it took.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn ping(&self) -> Result<Duration, NodeError> {
        let mut took = Duration::ZERO;
        let run = |connection: &mut Connection, deadline: &Deadline| {
            let began = Instant::now();
            let request = connection.bare(Op::Ping, 0);
            connection.accept(request, Op::Ping, deadline)?;
            took = began.elapsed();
            Ok(())
        };
        self.ask(Op::Ping, self.pool.settings().answer_timeout, run).map_err(self.node_error("a ping"))?;
        Ok(took)
    }

    /// What the node tells of itself.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn status(&self) -> Result<NodeStatus, NodeError> {
        let timeout = self.pool.settings().answer_timeout;
        self.ask_bare(Op::NodeStatus, timeout).map_err(self.node_error("asking for its status"))
    }

    /// Has the node verify everything stored. Takes long; see [`Settings::work_timeout`].
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn verify(&self) -> Result<VerifyReport, NodeError> {
        let timeout = self.pool.settings().work_timeout;
        self.ask_bare(Op::Verify, timeout).map_err(self.node_error("verifying"))
    }

    /// Has the node compact its store. Takes long; see [`Settings::work_timeout`].
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn compact(&self) -> Result<CompactReport, NodeError> {
        let timeout = self.pool.settings().work_timeout;
        self.ask_bare(Op::Compact, timeout).map_err(self.node_error("compacting"))
    }

    /// The grids we may see, ordered by name.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn grids(&self) -> Result<Vec<GridInfo>, NodeError> {
        let timeout = self.pool.settings().answer_timeout;
        let list: GridList = self.ask_bare(Op::GridList, timeout).map_err(self.node_error("listing the grids"))?;
        Ok(list.grids)
    }

    /// Makes a grid.
    ///
    /// # Errors
    /// [`GridError`], with [`okapi_wire::Status::Exists`] if there is one of that name.
    pub fn create_grid(&self, create: &GridCreate) -> Result<GridCreated, GridError> {
        let run = |connection: &mut Connection, deadline: &Deadline| {
            let request = connection.message(Op::GridCreate, 0, create);
            connection.read(request, Op::GridCreate, deadline)
        };
        let made = self.ask(Op::GridCreate, self.pool.settings().answer_timeout, run);
        made.map_err(|fault| self.grid_error(&create.name, "making it", fault))
    }

    /// Drops a grid and everything in it.
    ///
    /// # Errors
    /// [`GridError`].
    pub fn drop_grid(&self, name: &str) -> Result<(), GridError> {
        let run = |connection: &mut Connection, deadline: &Deadline| {
            let request = connection.message(Op::GridDrop, 0, &Named { name: name.to_owned() });
            connection.accept(request, Op::GridDrop, deadline)
        };
        let dropped = self.ask(Op::GridDrop, self.pool.settings().answer_timeout, run);
        dropped.map_err(|fault| self.grid_error(name, "dropping it", fault))
    }

    /// Opens a grid. `token` is needed for a private one unless we are the node's owner.
    ///
    /// # Errors
    /// [`GridError`].
    pub fn grid(&self, name: &str, token: Option<Token>) -> Result<Grid, GridError> {
        Grid::open(self, name, token.unwrap_or(Token::NONE))
    }

    pub(crate) fn ask_bare<M: Message>(&self, op: Op, timeout: Duration) -> Result<M, Fault> {
        self.ask(op, timeout, |connection, deadline| {
            let request = connection.bare(op, 0);
            connection.read(request, op, deadline)
        })
    }

    pub(crate) fn ask<T>(
        &self,
        op: Op,
        timeout: Duration,
        mut run: impl FnMut(&mut Connection, &Deadline) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let deadline = Deadline::after(timeout);
        self.pool.ask(op, op.is_idempotent(), &deadline, |connection| run(connection, &deadline))
    }

    pub(crate) fn node_error(&self, what: &'static str) -> impl FnOnce(Fault) -> NodeError {
        let address = self.pool.address().clone();
        move |fault| NodeError { address, what, fault }
    }

    pub(crate) fn grid_error(&self, name: &str, what: &'static str, fault: Fault) -> GridError {
        GridError { address: self.pool.address().clone(), grid: name.to_owned(), what, fault }
    }
}

/// The way to a target in text.
struct ToTarget(Target);

impl Dial for ToTarget {
    fn dial(&self, timeout: Duration) -> Result<Box<dyn Link>, ConnectError> {
        Ok(self.0.connect(timeout)?)
    }

    fn address(&self) -> String {
        self.0.to_string()
    }
}

/// A way that leads there once.
struct OneLink {
    address: String,
    link: Mutex<Option<Box<dyn Link>>>,
}

impl Dial for OneLink {
    fn dial(&self, _: Duration) -> Result<Box<dyn Link>, ConnectError> {
        self.link.lock().take().ok_or_else(|| ConnectError::Gone { address: self.address.clone() })
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}
