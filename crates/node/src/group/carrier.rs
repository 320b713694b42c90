//! What carries letters to other nodes, as the group sees it.

use super::Onward;
use okapi_base::NodeId;
use okapi_link::Link;
use okapi_peers::Blob;
use okapi_wire::peer::announce::Announcement;
use std::collections::BTreeMap;

/// Carries letters: the links between members, or a pretend network.
pub(crate) trait Carrier: Send + Sync {
    /// Sends a letter, once, without waiting; it may be lost.
    fn send(&self, to: NodeId, letter: Vec<u8>, payload: Blob);

    /// Where a node may be found.
    fn hint(&self, node: NodeId, addresses: &[String]);

    /// To be called when nodes joined or parted: their links get or lose the rights of members at once. Tells what all
    /// members have said of themselves.
    fn review(&self) -> Vec<Announcement>;

    /// Who is at an address.
    fn probe(&self, address: &str) -> Result<NodeId, String>;

    /// Under which addresses this node is reached.
    fn addresses(&self) -> Vec<String>;

    /// What is known of the links to other nodes.
    fn links(&self) -> BTreeMap<NodeId, LinkFacts>;

    /// Dials a node for a program that wants to ask it something, and calls `then` with the way there, or why there is
    /// none.
    fn reach(&self, to: NodeId, then: Box<dyn FnOnce(Result<Onward, String>) + Send>);

    /// A stream to a node, on which it can be asked. Waits for it.
    fn open(&self, to: NodeId) -> Result<Box<dyn Link>, String> {
        let _ = to;
        Err("nothing but letters goes there".to_owned())
    }

    /// Ends all links.
    fn stop(&self);
}

/// What is known of the links to one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LinkFacts {
    /// What the node calls itself.
    pub(crate) name: String,
    /// Where it is reached, or why it is not.
    pub(crate) address: String,
    /// Whether there is a connection.
    pub(crate) connected: bool,
    /// Whether it was tried to make one, and failed.
    pub(crate) failed: bool,
    /// The usual round trip in microseconds; 0: not measured.
    pub(crate) round_trip_us: u32,
    /// Bytes sent to it.
    pub(crate) sent: u64,
    /// Bytes received from it.
    pub(crate) received: u64,
}
