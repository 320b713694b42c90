//! A plan: new places for shards of one segment of one's own, carried out index by index.
//!
//! Spatter, reshape, repair and drain all come down to one. The deed that is confirmed stays in force, and its holders
//! keep what they have, until every index of the plan is settled; only then is the next deed signed and told.

use crate::machine::Blob;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use okapi_base::machine::Moment;
use okapi_base::{NodeId, Shape};
use okapi_wire::peer::shard::Deed;

/// Why shards are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// They never were.
    Spatter,
    /// Some are missing.
    Repair,
    /// Their holder wants to leave.
    Drain,
    /// The group has grown or shrunk.
    Reshape,
}

/// What is to become of one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its holder has it under the deed in force and keeps it.
    Held(NodeId),
    /// It needs a holder; until there is one, this node stays named.
    Open(Option<NodeId>),
    /// A node was asked to hold it.
    Asking(Ask),
    /// A node has confirmed that it holds it.
    Done(NodeId),
    /// There is nobody to ask now; this node stays named.
    Nobody(Option<NodeId>),
}

/// A node that was asked to hold a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) node: NodeId,
    /// Who stays named if it will not.
    pub(crate) old: Option<NodeId>,
    pub(crate) since: Moment,
    /// When to ask again.
    pub(crate) next: Moment,
    pub(crate) tries: u32,
    /// When the shard was sent.
    pub(crate) sent: Option<Moment>,
}

/// What a plan begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) why: Why,
    pub(crate) shape: Shape,
    pub(crate) steps: Vec<Step>,
}

impl Need {
    /// The indexes whose bytes are needed.
    pub(crate) fn wanted(&self) -> Vec<u8> {
        let open = |step: &Step| matches!(step, Step::Open(_));
        (0..).zip(&self.steps).filter(|(_, step)| open(step)).map(|(index, _)| index).collect()
    }
}

/// A need that is being met.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) why: Why,
    pub(crate) shape: Shape,
    /// Revision of the draft; the deed that follows has the next one.
    pub(crate) revision: u32,
    /// The deed under which shards are offered, once their roots are known.
    pub(crate) draft: Option<Deed>,
    pub(crate) steps: Vec<Step>,
    /// The shards to place.
    pub(crate) shards: BTreeMap<u8, Blob>,
    /// Nodes that would not or did not answer.
    pub(crate) tried: BTreeSet<NodeId>,
    /// Bytes of shards sent so far.
    pub(crate) sent: u64,
    /// Bytes of shards fetched, when the live segment was not there.
    pub(crate) read: u64,
}

impl Plan {
    pub(crate) fn new(need: Need, revision: u32) -> Self {
        Self {
            why: need.why,
            shape: need.shape,
            revision,
            draft: None,
            steps: need.steps,
            shards: BTreeMap::new(),
            tried: BTreeSet::new(),
            sent: 0,
            read: 0,
        }
    }

    /// Every node that has, had or may get a shard by this plan.
    pub(crate) fn taken(&self) -> Vec<NodeId> {
        let node = |step: &Step| match *step {
            Step::Held(node) | Step::Done(node) => Some(node),
            Step::Asking(ask) => Some(ask.node),
            Step::Open(_) | Step::Nobody(_) => None,
        };
        self.steps.iter().filter_map(node).collect()
    }

    /// Who is to be named for each index if the plan ends now.
    pub(crate) fn holders(&self) -> Vec<Option<NodeId>> {
        let node = |step: &Step| match *step {
            Step::Held(node) | Step::Done(node) => Some(node),
            Step::Asking(ask) => ask.old,
            Step::Open(old) | Step::Nobody(old) => old,
        };
        self.steps.iter().map(node).collect()
    }

    /// How many indexes have a holder that confirmed.
    pub(crate) fn confirmed(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Held(_) | Step::Done(_))).count()
    }

    /// How many indexes the plan itself has placed.
    pub(crate) fn done(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Done(_))).count()
    }

    /// Whether every index is settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Held(_) | Step::Done(_) | Step::Nobody(_)))
    }

    /// When the next node is to be asked again.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        let next = |step: &Step| match step {
            Step::Asking(ask) => Some(ask.next),
            _ => None,
        };
        self.steps.iter().filter_map(next).min()
    }

    /// The index at which `node` is asked.
    pub(crate) fn asked(&self, node: NodeId) -> Option<u8> {
        let asked = |step: &Step| matches!(step, Step::Asking(ask) if ask.node == node);
        self.steps.iter().position(asked).map(|index| index as u8)
    }
}
