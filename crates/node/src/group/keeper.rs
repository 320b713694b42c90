//! Makes durable what the node's machine keeps: everything that waits goes into one commit.

use super::driver::Event;
use super::records::{Records, Writes};
use okapi_peers::Input;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

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
    while let Ok(first) = batches.recv() {
        let mut all = vec![first];
        all.extend(batches.try_iter());
        let (ticket, _) = *all.last().expect("there is at least one");
        // What only waits for batches before it is durable already, as there is one thread.
        let is_durable = all.iter().all(|(_, writes)| writes.is_empty());
        let kept = if is_durable { Ok(()) } else { records.keep(all.iter().map(|(_, writes)| writes)) };
        let told = match kept {
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
