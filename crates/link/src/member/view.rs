//! How things are with each node, for people.

use super::hub::Hub;
use super::live::Live;
use okapi_base::NodeId;
use std::time::Duration;

/// How things are with one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// Which node.
    pub node: NodeId,
    /// What people call it, if it has announced itself.
    pub name: Option<String>,
    /// The connection, if there is one.
    pub connection: Option<ConnectionView>,
    /// Bytes of letters that wait for it.
    pub queued: usize,
    /// Letters dropped because too many waited, or for too long.
    pub dropped: u64,
    /// Where it may be.
    pub addresses: Vec<String>,
    /// Why there is no connection, or was none the last time.
    pub failure: Option<String>,
}

/// A connection as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionView {
    /// The other end.
    pub address: String,
    /// What carries it.
    pub kind: &'static str,
    /// Whether this end dialled.
    pub dialled: bool,
    /// For how long it has been there.
    pub age: Duration,
    /// The last round trip that was measured, in microseconds.
    pub round_trip: Option<u64>,
    /// Bytes received on it.
    pub received: u64,
    /// Bytes sent on it.
    pub sent: u64,
}

/// How things are with every node of which anything is known, in the order of their names.
pub(crate) fn views(hub: &Hub) -> Vec<LinkView> {
    hub.nodes().into_iter().map(|node| view(hub, node)).collect()
}

fn view(hub: &Hub, node: NodeId) -> LinkView {
    let mut view = LinkView {
        node,
        name: hub.announced(&node).map(|known| known.name),
        connection: None,
        queued: 0,
        dropped: 0,
        addresses: hub.addresses(&node),
        failure: None,
    };
    if let Some(whom) = hub.known(&node) {
        let state = whom.state.lock();
        view.connection = state.live.as_ref().map(|live| connection(live));
        (view.queued, view.dropped, view.failure) = (state.queue.bytes(), state.dropped, state.failure.clone());
    }
    view
}

fn connection(live: &Live) -> ConnectionView {
    let (received, sent, round_trip) = live.traffic.figures();
    ConnectionView {
        address: live.address.clone(),
        kind: live.kind,
        dialled: live.dialled,
        age: live.since.elapsed(),
        round_trip,
        received,
        sent,
    }
}
