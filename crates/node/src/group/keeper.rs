//! Makes durable what the node's machine keeps: everything that waits goes into one commit.

use super::driver::Event;
use super::records::{Records, RecordsError, Writes};
use okapi_peers::Input;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// While commits follow each other so closely, each waits a moment for more to go with it: a commit takes as much for
/// one batch as for twenty.
const CLOSE: Duration = Duration::from_millis(20);
/// How long it waits. Who places a shard waits for a few commits one after the other, so it must be short.
const GATHER: Duration = Duration::from_millis(2);

/// A batch and its ticket.
pub(crate) type Batch = (u64, Writes);

/// Starts the thread; it ends when the sender is dropped, after what was sent.
pub(crate) fn start(records: Arc<Records>, events: Sender<Event>) -> io::Result<(Sender<Batch>, JoinHandle<()>)> {
    let (send, receive) = channel();
    let thread =
        std::thread::Builder::new().name("okapi-records".to_owned()).spawn(move || run(&records, &receive, &events))?;
    Ok((send, thread))
}

fn run(records: &Records, batches: &Receiver<Batch>, events: &Sender<Event>) {
    let mut last: Option<Instant> = None;
    while let Ok(first) = batches.recv() {
        if last.is_some_and(|last| last.elapsed() < CLOSE) {
            std::thread::sleep(GATHER);
        }
        let mut all = vec![first];
        all.extend(batches.try_iter());
        let (ticket, _) = *all.last().expect("there is at least one");
        let told = match keep(records, &all, &mut last) {
            Ok(()) => Event::Input(Input::Kept { ticket }),
            // Nothing that waits for it may happen any more.
            Err(error) => Event::Halt(error.to_string()),
        };
        let halted = matches!(told, Event::Halt(_));
        if events.send(told).is_err() || halted {
            return;
        }
    }
}

/// What only waits for batches before it is durable already, as there is one thread.
fn keep(records: &Records, all: &[Batch], last: &mut Option<Instant>) -> Result<(), RecordsError> {
    if all.iter().all(|(_, writes)| writes.is_empty()) {
        return Ok(());
    }
    let kept = records.keep(all.iter().map(|(_, writes)| writes));
    *last = Some(Instant::now());
    kept
}
