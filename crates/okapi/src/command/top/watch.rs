//! Asking the node again and again, on a thread of its own: a node that is stuck must not keep keys from working.

use crate::failure::Failure;
use okapi_client::Client;
use okapi_client::group::GroupStatus;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// What was seen and not looked at yet; whoever looks rarely misses some.
const AHEAD: usize = 2;

/// The thread that asks. It ends when this is dropped, or with the program.
pub(super) struct Watch {
    seen: Receiver<Result<GroupStatus, Failure>>,
}

impl Watch {
    /// Asks every `interval`, the first time after one.
    pub(super) fn start(client: Client, interval: Duration) -> Self {
        let (tell, seen) = mpsc::sync_channel(AHEAD);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(interval);
                if tell.send(client.group_status().map_err(Failure::from)).is_err() {
                    return;
                }
            }
        });
        Self { seen }
    }

    /// What was seen last and not taken yet, if anything was.
    pub(super) fn seen(&self) -> Option<Result<GroupStatus, Failure>> {
        self.seen.try_recv().ok()
    }

    /// Waits for the next look.
    pub(super) fn next(&self) -> Result<GroupStatus, Failure> {
        self.seen.recv().unwrap_or_else(|_| Err(Failure::new("the thread that asks the node has ended")))
    }
}
