//! Who is in the group, for those who must know at once whom they are talking to.

use okapi_base::NodeId;
use okapi_timeline::MemberList;
use okapi_wire::peer::member::{State, Version};
use std::collections::BTreeMap;

/// The nodes of the group: whether each takes part.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    version: Option<Version>,
    nodes: BTreeMap<NodeId, bool>,
}

impl Roster {
    pub(crate) fn of(members: &MemberList) -> Self {
        let takes_part = |state: State| state != State::Parted;
        let nodes = members.iter().map(|record| (record.binding.node, takes_part(record.state))).collect();
        Self { version: Some(members.version()), nodes }
    }

    /// Whether it is of this list.
    pub(crate) fn is_of(&self, members: &MemberList) -> bool {
        self.version == Some(members.version())
    }

    /// Whether a node takes part; nothing if it is not known.
    pub(crate) fn takes_part(&self, node: &NodeId) -> Option<bool> {
        self.nodes.get(node).copied()
    }
}
