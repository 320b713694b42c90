//! What is remembered of other nodes: when they were here, and how fast they answer.

use super::Peer;
use core::time::Duration;
use okapi_base::NodeId;

impl Peer {
    pub(super) fn remember_contact(&mut self, _node: NodeId) {}

    pub(super) fn remember_absence(&mut self, _node: NodeId) {}

    /// How long a node may be away before it counts as gone.
    pub(super) fn grace_of(&self, _node: NodeId) -> Duration {
        if self.settings.care.grace { Duration::from_secs(36 * 3600) } else { Duration::from_secs(60) }
    }

    pub(super) fn keep_histories(&mut self) {}

    pub(super) fn measured_latency(&mut self, _node: NodeId, _took: Duration) {}

    pub(super) fn latency_of(&self, _node: NodeId) -> Duration {
        Duration::ZERO
    }
}
