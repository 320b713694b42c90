//! How things are with each node, for people.

use super::hub::Hub;
use okapi_base::NodeId;
use std::sync::Arc;
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
    /// Whether there is a second one for long payloads.
    pub lane: bool,
    /// For how long it has been there.
    pub age: Duration,
    /// The last round trip that was measured, in microseconds.
    pub round_trip: Option<u64>,
    /// Bytes received, on both.
    pub received: u64,
    /// Bytes sent, on both.
    pub sent: u64,
}

/// How things are with every node of which anything is known, in the order of their names.
pub(crate) fn views(hub: &Arc<Hub>) -> Vec<LinkView> {
    let mut views: Vec<LinkView> = hub
        .correspondents()
        .iter()
        .map(|whom| {
            let addresses = hub.addresses(whom);
            let name = hub.announced(&whom.node).map(|known| known.name);
            let state = whom.state.lock();
            let connection = state.live.as_ref().map(|live| {
                let (mut received, mut sent, round_trip) = live.traffic.figures();
                if let Some(lane) = &state.lane {
                    let (more_received, more_sent, _) = lane.traffic.figures();
                    (received, sent) = (received + more_received, sent + more_sent);
                }
                let (address, age) = (live.address.clone(), live.since.elapsed());
                let (kind, dialled, lane) = (live.kind, live.dialled, state.lane.is_some());
                ConnectionView { address, kind, dialled, lane, age, round_trip, received, sent }
            });
            LinkView {
                node: whom.node,
                name,
                connection,
                queued: state.queue.bytes(),
                dropped: state.dropped,
                addresses,
                failure: state.failure.clone(),
            }
        })
        .collect();
    views.sort_by_key(|view| view.node);
    views
}
