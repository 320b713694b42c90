//! The other nodes of the group, for whoever reads shards or gives keys.

use super::running::Group;
use super::{GroupDoor, Roster};
use crate::away::{AskError, Asker, Neighbours, Pool};
use okapi_base::{GroupId, NodeId};
use okapi_wire::Op;
use okapi_wire::message::{DeedPage, DeedsOf, KeysGive, ShardPart, ShardRead};
use std::sync::{Arc, Weak};

/// The nodes of a group, as long as this node takes part in it.
pub(crate) struct Others {
    group: Weak<Group>,
    roster: Arc<Roster>,
    pool: Pool,
}

impl Others {
    pub(crate) fn new(group: &Arc<Group>) -> Arc<Self> {
        let (opens, roster) = (Arc::downgrade(group), Arc::clone(&group.roster));
        let open = move |node| opens.upgrade().ok_or("the node is stopping")?.open(node);
        Arc::new(Self { group: Arc::downgrade(group), roster, pool: Pool::new(Box::new(open)) })
    }

    /// Gives a node keys of this one's grids.
    pub(crate) fn give(&self, node: NodeId, keys: &KeysGive) -> Result<(), AskError> {
        // It is done rarely: nobody need keep a connection for it.
        let group = self.group.upgrade().ok_or_else(|| AskError::Link("the node is stopping".to_owned()))?;
        Asker::begin(group.open(node).map_err(AskError::Link)?)?.ask(Op::KeysGive, keys).map(drop)
    }

    /// The nodes that are here now, of other members and of this node's own.
    pub(crate) fn here(&self) -> Vec<NodeId> {
        self.group.upgrade().map(|group| group.linked()).unwrap_or_default()
    }

    fn own(&self, node: NodeId) -> Option<Arc<Group>> {
        self.group.upgrade().filter(|group| group.node() == node)
    }
}

impl Neighbours for Others {
    fn group(&self) -> GroupId {
        self.group.upgrade().map_or(GroupId([0; 32]), |group| group.group())
    }

    fn nodes(&self, owner: NodeId) -> (Vec<NodeId>, Vec<NodeId>) {
        let own = self.group.upgrade().map(|group| group.node());
        let here = self.here();
        let members = self.roster.taking_part().into_iter().filter(|node| *node != owner && Some(*node) != own);
        let (mut there, away): (Vec<NodeId>, Vec<NodeId>) = members.partition(|node| here.contains(node));
        there.splice(0..0, own.filter(|own| *own != owner));
        (there, away)
    }

    fn deeds_of(&self, node: NodeId, ask: &DeedsOf) -> Result<DeedPage, String> {
        match self.own(node) {
            Some(group) => group.deeds_of(ask).map_err(|refusal| refusal.text),
            None => self.pool.ask(node, Op::DeedsOf, ask).map_err(|error| error.to_string()),
        }
    }

    fn rest(&self) {
        self.pool.close();
    }

    fn read_shard(&self, node: NodeId, ask: &ShardRead) -> Result<ShardPart, String> {
        match self.own(node) {
            Some(group) => group.read_shard(ask).map_err(|refusal| refusal.text),
            None => self.pool.ask(node, Op::ShardRead, ask).map_err(|error| error.to_string()),
        }
    }
}
