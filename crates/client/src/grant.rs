//! What other members may do with a node's grids.
//!
//! For the node's owner, and for members that own a grid. It fails with [`Status::NoGroup`](crate::Status::NoGroup) at a
//! node without an identity.

use crate::client::Client;
use crate::connection::{Connection, Deadline};
use crate::fault::{GridError, NodeError};
use okapi_base::MemberId;
use okapi_wire::Op;
use okapi_wire::message::{GrantList, GrantSet};

pub use okapi_wire::message::{FindError, Granted, Right};

impl Client {
    /// Gives a member, all its nodes, a right on a grid in place of what it had; [`Right::None`] revokes, at once and for
    /// what is under way too. Durable when this returns.
    ///
    /// # Errors
    /// [`GridError`].
    pub fn grant(&self, grid: &str, member: MemberId, right: Right) -> Result<(), GridError> {
        let set = GrantSet { grid: grid.to_owned(), member, right };
        let run = |connection: &mut Connection, deadline: &Deadline| {
            let request = connection.message(Op::GrantSet, 0, &set);
            connection.accept(request, Op::GrantSet, deadline)
        };
        let what = if right == Right::None { "revoking" } else { "granting" };
        let done = self.ask(Op::GrantSet, self.pool.settings().answer_timeout, run);
        done.map_err(|fault| self.grid_error(grid, what, fault))
    }

    /// What was granted, ordered by grid and member: all of it to the node's owner, to a member what is its business.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn grants(&self) -> Result<Vec<Granted>, NodeError> {
        let list: Result<GrantList, _> = self.ask_bare(Op::GrantList, self.pool.settings().answer_timeout);
        Ok(list.map_err(self.node_error("listing what was granted"))?.grants)
    }
}
