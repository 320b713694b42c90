//! The group that a node is in, as its owner asks about it.
//!
//! All of it fails with [`Status::NoGroup`](crate::Status::NoGroup) at a node without an identity.

use crate::client::Client;
use crate::connection::{Connection, Deadline};
use crate::fault::{Fault, NodeError};
use okapi_wire::message::{GroupGive, GroupInvite, GroupJoin, GroupLeave, GroupLost, GroupStatusAsk};
use okapi_wire::{Message, Op};
use std::time::Duration;

pub use okapi_base::{GroupId, MemberId, NodeId, SegmentName, Shape};
pub use okapi_wire::message::{
    GroupData, GroupEvent, GroupHalves, GroupMember, GroupRestore, GroupRisk, GroupState, GroupStatus, GroupWork,
    Invited, MemberGrade, MemberPresence, MemberState,
};
pub use okapi_wire::peer::ticket::{PREFIX as TICKET_PREFIX, Ticket, TicketError};

impl Client {
    /// How the node stands in its group.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn group_status(&self) -> Result<GroupStatus, NodeError> {
        let run = |connection: &mut Connection, deadline: &Deadline| {
            let request = connection.message(Op::GroupStatus, 0, &GroupStatusAsk::OURS);
            connection.read(request, Op::GroupStatus, deadline)
        };
        let status = self.ask(Op::GroupStatus, self.pool.settings().answer_timeout, run);
        status.map_err(self.node_error("asking for its group"))
    }

    /// Has the node make a ticket by which one node may join within `lifetime` (whole seconds).
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn invite(&self, lifetime: Duration) -> Result<Invited, NodeError> {
        let lifetime = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let run = |connection: &mut Connection, deadline: &Deadline| {
            let request = connection.message(Op::GroupInvite, 0, &GroupInvite { lifetime });
            connection.read(request, Op::GroupInvite, deadline)
        };
        let invited = self.ask(Op::GroupInvite, self.pool.settings().answer_timeout, run);
        invited.map_err(self.node_error("making a ticket"))
    }

    /// Has the node begin to join the group of a ticket; [`Client::group_status`] tells how it goes on.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn join(&self, ticket: &str) -> Result<(), NodeError> {
        let join = GroupJoin { ticket: ticket.to_owned() };
        self.order(Op::GroupJoin, &join).map_err(self.node_error("joining the group"))
    }

    /// Has the node begin to leave its group, without waiting until what it holds for others lies elsewhere if it is to
    /// go `now`; [`Client::group_status`] tells how it goes on.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn leave(&self, now: bool) -> Result<(), NodeError> {
        self.order(Op::GroupLeave, &GroupLeave { now }).map_err(self.node_error("leaving the group"))
    }

    /// Has the node give so many bytes of disk from now on, both halves together.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn give(&self, bytes: u64) -> Result<(), NodeError> {
        self.order(Op::GroupGive, &GroupGive { bytes }).map_err(self.node_error("changing what it gives"))
    }

    /// Has the node count another as lost for good, so that what that one held is repaired at once.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn lost(&self, node: NodeId) -> Result<(), NodeError> {
        self.order(Op::GroupLost, &GroupLost { node }).map_err(self.node_error("counting a node as lost"))
    }

    /// Returns once everything put before lies safely with others. Takes long; see
    /// [`Settings::work_timeout`](crate::Settings::work_timeout). Others may ask the node meanwhile.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn wait_until_safe(&self) -> Result<(), NodeError> {
        let run = |connection: &mut Connection, deadline: &Deadline| {
            let request = connection.bare(Op::GroupSafe, 0);
            connection.accept(request, Op::GroupSafe, deadline)
        };
        let safe = self.ask(Op::GroupSafe, self.pool.settings().work_timeout, run);
        safe.map_err(self.node_error("waiting until all is safe"))
    }

    fn order(&self, op: Op, message: &impl Message) -> Result<(), Fault> {
        self.ask(op, self.pool.settings().answer_timeout, |connection, deadline| {
            let request = connection.message(op, 0, message);
            connection.accept(request, op, deadline)
        })
    }
}
