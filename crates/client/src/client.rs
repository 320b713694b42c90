//! A node, as a program holds it.

use crate::fault::{ConnectError, GridError, NodeError};
use crate::grid::Grid;
use crate::settings::Settings;
use okapi_link::{Link, Target};
use okapi_wire::message::{CompactReport, GridCreate, GridCreated, GridInfo, NodeStatus, VerifyReport};
use okapi_wire::{Token, Welcome};
use std::time::Duration;

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
pub struct Client(());

impl Client {
    /// Connects to the node at `target` and says hello.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(target: &Target, settings: Settings) -> Result<Self, ConnectError> {
        stub((target, settings))
    }

    /// Connects by a way of the caller's own, such as into the same process.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn through(dial: Box<dyn Dial>, settings: Settings) -> Result<Self, ConnectError> {
        stub((dial.address(), settings))
    }

    /// Says hello over a link that is there. It is the only connection: streams and asks take turns, and once it
    /// breaks everything fails.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn over(link: Box<dyn Link>, settings: Settings) -> Result<Self, ConnectError> {
        stub((link.facts().name.clone(), settings))
    }

    /// Where the node is, as errors show it.
    #[must_use]
    pub fn address(&self) -> &str {
        stub(())
    }

    /// What the node said when it was first connected to: its version, its limits, and whether we are its owner.
    #[must_use]
    pub fn welcome(&self) -> Welcome {
        stub(())
    }

    /// Asks for nothing but an answer, and says how long it took.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn ping(&self) -> Result<Duration, NodeError> {
        stub(())
    }

    /// What the node tells of itself.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn status(&self) -> Result<NodeStatus, NodeError> {
        stub(())
    }

    /// Has the node verify everything stored. Takes long; see [`Settings::work_timeout`].
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn verify(&self) -> Result<VerifyReport, NodeError> {
        stub(())
    }

    /// Has the node compact its store. Takes long; see [`Settings::work_timeout`].
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn compact(&self) -> Result<CompactReport, NodeError> {
        stub(())
    }

    /// The grids we may see, ordered by name.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn grids(&self) -> Result<Vec<GridInfo>, NodeError> {
        stub(())
    }

    /// Makes a grid.
    ///
    /// # Errors
    /// [`GridError`], with [`okapi_wire::Status::Exists`] if there is one of that name.
    pub fn create_grid(&self, create: &GridCreate) -> Result<GridCreated, GridError> {
        stub(create)
    }

    /// Drops a grid and everything in it.
    ///
    /// # Errors
    /// [`GridError`].
    pub fn drop_grid(&self, name: &str) -> Result<(), GridError> {
        stub(name)
    }

    /// Opens a grid. `token` is needed for a private one unless we are the node's owner.
    ///
    /// # Errors
    /// [`GridError`].
    pub fn grid(&self, name: &str, token: Option<Token>) -> Result<Grid, GridError> {
        stub((name, token))
    }
}

/// Stands for what is not there yet.
pub(crate) fn stub<A, T>(_: A) -> T {
    panic!("not there yet")
}
