//! What a member's node is answered that reads, or is to read, what somebody else has while that one is away.

use super::control::{bytes, read};
use super::{End, Visitor};
use crate::refusal::Refusal;
use okapi_base::NodeId;
use okapi_grid::Control;
use okapi_wire::message::{DeedsOf, KeysGive, ShardRead};
use okapi_wire::{Frame, Op, Status};

impl Visitor {
    /// One of the asks between members' nodes.
    pub(super) fn among_members(&self, op: Op, ask: &Frame<'_>) -> Result<Control, End> {
        let node = self.member()?;
        match op {
            Op::KeysGive => {
                let keys: KeysGive = read(ask)?;
                Ok(self.later(&ask.header, false, move |host| host.received.keep(node, keys).map(|()| Vec::new()))?)
            }
            Op::DeedsOf => {
                let wanted: DeedsOf = read(ask)?;
                Ok(self.through(ask, move |door, owed| owed.pay(door.deeds_of(&wanted).map(|page| bytes(&page))))?)
            }
            _ => {
                let wanted: ShardRead = read(ask)?;
                let door = self.host.group().ok_or_else(Refusal::no_group)?;
                let owed = self.owe(&ask.header)?;
                // What followers are read is not in its way: neither holds the thread for long.
                self.host.reading.add(move || owed.pay(door.read_shard(&wanted).map(|part| bytes(&part))));
                Ok(Control::Later)
            }
        }
    }

    /// The node at the other end, if it takes part in the group. What others hold of somebody is sealed, and whoever holds
    /// some of it could see as much: so every member may ask for it.
    fn member(&self) -> Result<NodeId, Refusal> {
        let takes_part = |node: &NodeId| self.host.roster()?.get(node).filter(|enrolled| enrolled.takes_part);
        self.node
            .filter(|node| takes_part(node).is_some())
            .ok_or_else(|| Refusal::new(Status::Forbidden, "only nodes of this group ask this of each other"))
    }
}
