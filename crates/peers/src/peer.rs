//! The whole node as one machine: it thinks, and never acts.

use crate::machine::{Input, Output};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use okapi_base::machine::{Machine, Moment};
use okapi_base::{GroupId, MemberId, NodeId};
use okapi_seal::{Secret, SigningKey};

/// Who a node is. The member's own secret is not needed to run; it signed the binding when the node was made.
#[derive(Debug)]
pub struct Identity {
    /// The node's own key.
    pub signing: SigningKey,
    /// The member it belongs to.
    pub member: MemberId,
    /// The member's X25519 key, to which data keys are wrapped.
    pub recipient: [u8; 32],
    /// Which of the member's nodes it is.
    pub number: u32,
    /// Where it stands: nodes of one site may fail together.
    pub site: u64,
}

/// What a node is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of its own live segments.
    pub user_half: u64,
    /// Bytes it offers to others.
    pub server_half: u64,
    /// What the real network does and a naive one would not: only the simulator turns these off, to prove that its
    /// checkers notice.
    pub care: Care,
}

/// The precautions whose worth the simulator can prove by leaving one out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Care {
    /// Wait for a node's usual absence to pass before repairing what it holds.
    pub grace: bool,
    /// Draw witnesses from the log and sequence, never from what is written.
    pub draw_by_place: bool,
    /// Keep the old shards until all new ones are confirmed.
    pub place_before_release: bool,
    /// Ask for the last head of one's own log before appending.
    pub ask_head: bool,
    /// Challenge holders to prove what they hold.
    pub audit: bool,
}

/// A node.
#[derive(Debug)]
pub struct Peer {
    outputs: VecDeque<Output>,
}

impl Peer {
    /// A peer as its durable `records` (every key and value kept so far, in the order of their keys) leave it; none
    /// for a new one, which then is a group of its own until it is ordered to join another or to restore.
    ///
    /// `entropy` is the driver's dice for this run: secret, never used twice.
    #[must_use]
    pub fn open(
        identity: Identity,
        settings: Settings,
        entropy: &Secret,
        now: Moment,
        records: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Self {
        let _ = (identity, settings, entropy, now, records);
        Self { outputs: VecDeque::new() }
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId([0; 32])
    }

    /// The group it is in.
    #[must_use]
    pub fn group(&self) -> GroupId {
        GroupId([0; 32])
    }
}

impl Machine for Peer {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, _now: Moment, _input: Input) {}

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn wake_at(&self) -> Option<Moment> {
        None
    }
}
