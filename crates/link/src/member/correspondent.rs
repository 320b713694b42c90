//! A node with which letters are exchanged: what waits for it, how to reach it, and the connection to it.

use super::live::{Live, Offered};
use super::queue::{Letter, Queue, Waiting};
use super::settings::{HINTS_MAX, Settings, Tuning};
use crate::Backoff;
use okapi_base::NodeId;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A node with which letters are exchanged.
pub(crate) struct Correspondent {
    pub(crate) node: NodeId,
    pub(crate) state: Mutex<State>,
    /// Whoever dials should look again.
    pub(crate) look: Notify,
}

pub(crate) struct State {
    pub(crate) queue: Queue,
    /// The connection that letters take.
    pub(crate) live: Option<Arc<Live>>,
    /// Whether somebody is dialling.
    pub(crate) dialling: bool,
    pub(crate) backoff: Backoff,
    /// Not to be dialled before.
    pub(crate) not_before: Instant,
    /// Addresses that were told by others than the node itself.
    pub(crate) hints: Vec<String>,
    /// Where it answered last.
    pub(crate) good: Option<String>,
    /// Why there is no connection.
    pub(crate) failure: Option<String>,
    /// What people were told of why it cannot be dialled, address and reason: not to be told again.
    pub(crate) refused: Vec<(String, String)>,
    /// Letters dropped because too many waited, or for too long.
    pub(crate) dropped: u64,
}

/// What to do after a letter was queued.
pub(crate) enum Next {
    /// Nothing: it is on its way, or was dropped.
    Nothing,
    /// Dial the node.
    Dial,
}

impl Correspondent {
    pub(crate) fn new(node: NodeId, settings: &Settings, tuning: &Tuning, all: Arc<Waiting>) -> Self {
        // Nodes of a group that lost sight of each other should not all dial at the same moment.
        let seed = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at| settings.run[at] ^ node.0[at]));
        let state = State {
            queue: Queue::new(settings.queued_each, all),
            live: None,
            dialling: false,
            backoff: Backoff::new(tuning.redial.0, tuning.redial.1, seed),
            not_before: Instant::now(),
            hints: Vec::new(),
            good: None,
            failure: None,
            refused: Vec::new(),
            dropped: 0,
        };
        Self { node, state: Mutex::new(state), look: Notify::new() }
    }

    /// Queues a letter.
    pub(crate) fn post(&self, letter: Letter) -> Next {
        let mut state = self.state.lock();
        if !state.queue.push(letter) {
            state.dropped += 1;
            return Next::Nothing;
        }
        match &state.live {
            Some(live) => live.wake(),
            None if !state.dialling => {
                state.dialling = true;
                return Next::Dial;
            }
            None => {}
        }
        Next::Nothing
    }

    /// Adds an address that may be the node's; it is to be dialled anew if that is not known yet.
    pub(crate) fn hint(&self, address: &str) {
        let mut state = self.state.lock();
        if state.hints.iter().any(|known| known == address) {
            return;
        }
        if state.hints.len() == HINTS_MAX {
            state.hints.remove(0);
        }
        state.hints.push(address.to_owned());
        drop(state);
        self.dial_anew();
    }

    /// Something changed about where it is: whoever waits to dial it does so now.
    pub(crate) fn dial_anew(&self) {
        let mut state = self.state.lock();
        state.not_before = Instant::now();
        state.backoff.reset();
        self.look.notify_one();
    }

    /// The next letter for this connection; none if another one has taken its place. What waited for too long is
    /// dropped on the way.
    pub(crate) fn next(&self, live: &Live, large: bool, tuning: &Tuning) -> Option<Letter> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.live.as_ref().is_none_or(|current| current.id != live.id) {
            return None;
        }
        loop {
            let letter = if large { state.queue.next_large() } else { state.queue.next_small() }?;
            if now.saturating_duration_since(letter.since) <= tuning.letter_age {
                return Some(letter);
            }
            state.dropped += 1;
        }
    }

    /// Gives back letters that a connection did not send.
    pub(crate) fn put_back(&self, offered: impl DoubleEndedIterator<Item = Offered>) {
        let mut state = self.state.lock();
        offered.rev().for_each(|offered| state.queue.put_back(offered.letter));
        if let Some(live) = &state.live {
            live.wake();
        }
    }
}
