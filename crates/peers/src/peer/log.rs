//! What this node writes into its own log, and what it does as a witness of others' logs.

use super::Peer;
use okapi_base::{Digest, NodeId, SegmentName};
use okapi_wire::peer::entry::LogMessage;
use okapi_wire::peer::shard::Deed;

impl Peer {
    pub(super) fn own_head(&self) -> (u64, Digest) {
        (0, Digest([0; 32]))
    }

    pub(super) fn saw_head(&mut self, _from: NodeId, _sequence: u64, _head: Digest) {}

    pub(super) fn log_deed(&mut self, _name: SegmentName, _deed: &Deed) {}

    pub(super) fn log_release(&mut self, _name: SegmentName) {}

    pub(super) fn log_joined(&mut self) {}

    pub(super) fn log_members_changed(&mut self) {}

    pub(super) fn log_said(&mut self, _from: NodeId, _message: LogMessage) {}
}
