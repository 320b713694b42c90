//! Who is in the group, for those who must know at once whom they are talking to.

use okapi_base::{MemberId, NodeId};
use okapi_timeline::MemberList;
use okapi_wire::peer::member::{State, Version};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names that are remembered: those of a group, and of some who are not in it yet.
const NAMES_MAX: usize = 1_024;

/// The nodes of the group, as all threads of this node share them.
pub struct Roster {
    /// Whose node this one is.
    own: MemberId,
    list: RwLock<List>,
    /// What the nodes call themselves.
    names: RwLock<BTreeMap<NodeId, String>>,
    /// How often the list has changed.
    changes: AtomicU64,
    watcher: RwLock<Option<Arc<dyn Fn() + Send + Sync>>>,
}

/// What is known of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enrolled {
    /// Whose it is.
    pub member: MemberId,
    /// Whether it takes part: it has not parted.
    pub takes_part: bool,
}

#[derive(Debug, Default)]
struct List {
    version: Option<Version>,
    nodes: BTreeMap<NodeId, Enrolled>,
}

impl Roster {
    /// An empty one, of a node of `own`.
    #[must_use]
    pub fn new(own: MemberId) -> Self {
        let (list, names, watcher) = Default::default();
        Self { own, list, names, changes: AtomicU64::new(0), watcher }
    }

    /// Takes over what the member list says; whether that has changed.
    pub(crate) fn update(&self, members: &MemberList) -> bool {
        if self.list.read().version == Some(members.version()) {
            return false;
        }
        let enrolled = |state: State, member| Enrolled { member, takes_part: state != State::Parted };
        let nodes = members.iter().map(|record| {
            let binding = &record.binding;
            (binding.node, enrolled(record.state, binding.member))
        });
        self.replace(List { version: Some(members.version()), nodes: nodes.collect() });
        true
    }

    /// Sets who is in the group.
    pub fn enrol(&self, nodes: impl IntoIterator<Item = (NodeId, Enrolled)>) {
        self.replace(List { version: None, nodes: nodes.into_iter().collect() });
    }

    fn replace(&self, list: List) {
        *self.list.write() = list;
        self.changes.fetch_add(1, Ordering::Release);
        let watcher = self.watcher.read().clone();
        if let Some(watcher) = watcher {
            watcher();
        }
    }

    /// Notes what a node calls itself.
    pub fn call(&self, node: NodeId, name: &str) {
        let mut names = self.names.write();
        if names.len() < NAMES_MAX || names.contains_key(&node) {
            names.insert(node, name.to_owned());
        }
    }

    /// What a node calls itself; empty if that is not known.
    pub(crate) fn name(&self, node: &NodeId) -> String {
        self.names.read().get(node).cloned().unwrap_or_default()
    }

    /// What is known of a node; nothing if it was never in the group.
    pub(crate) fn get(&self, node: &NodeId) -> Option<Enrolled> {
        self.list.read().nodes.get(node).copied()
    }

    /// Whether a node of this member takes part.
    pub(crate) fn has_member(&self, member: MemberId) -> bool {
        self.list.read().nodes.values().any(|node| node.takes_part && node.member == member)
    }

    /// The nodes that take part.
    pub(crate) fn taking_part(&self) -> Vec<NodeId> {
        let list = self.list.read();
        list.nodes.iter().filter(|(_, enrolled)| enrolled.takes_part).map(|(node, _)| *node).collect()
    }

    /// Whose node this one is.
    pub(crate) fn own(&self) -> MemberId {
        self.own
    }

    /// A number that changes whenever the list does.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Sets what is called, on any thread, after the list has changed.
    pub(crate) fn watch(&self, watcher: Arc<dyn Fn() + Send + Sync>) {
        *self.watcher.write() = Some(watcher);
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").field("own", &self.own).field("list", &*self.list.read()).finish_non_exhaustive()
    }
}
