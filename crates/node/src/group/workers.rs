//! Does the heavy work: reading, coding, hashing and writing of whole shards, on threads of its own that give way.

use super::driver::Event;
use super::pace::Pace;
use super::segments::Segments;
use super::yard::{Place, Shards};
use okapi_peers::labour::labour;
use okapi_peers::{Done, Input, Work};
use okapi_seal::hash;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

/// Threads that work: one reads and codes while another writes.
const THREADS: usize = 2;

/// The threads and what waits for them. The queue is bounded by what the machine gives out: a few plans at a time.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
    segments: Arc<Segments>,
    shards: Arc<Shards>,
    pace: Arc<Pace>,
    events: Sender<Event>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(u64, Work)>,
    stopping: bool,
}

impl Workers {
    pub(crate) fn start(
        segments: &Arc<Segments>,
        shards: &Arc<Shards>,
        pace: &Arc<Pace>,
        events: &Sender<Event>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            more: Condvar::new(),
            segments: Arc::clone(segments),
            shards: Arc::clone(shards),
            pace: Arc::clone(pace),
            events: events.clone(),
        });
        let mut threads = Vec::new();
        for number in 0..THREADS {
            let its = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("okapi-work-{number}"));
            threads.push(thread.spawn(move || its.run())?);
        }
        Ok(Self { shared, threads })
    }

    pub(crate) fn add(&self, ticket: u64, work: Work) {
        self.shared.queue.lock().waiting.push_back((ticket, work));
        self.shared.more.notify_one();
    }

    /// Drops what has not begun, and waits for what has.
    pub(crate) fn stop(&mut self) {
        {
            let mut queue = self.shared.queue.lock();
            queue.stopping = true;
            queue.waiting.clear();
        }
        self.shared.more.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that works for the group panicked");
            }
        }
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let (ticket, work) = {
                let mut queue = self.queue.lock();
                loop {
                    if queue.stopping {
                        return;
                    }
                    match queue.waiting.pop_front() {
                        Some(next) => break next,
                        None => self.more.wait(&mut queue),
                    }
                }
            };
            let done = self.pace.step(|| self.work(work));
            if self.events.send(Event::Input(Input::Worked { ticket, done })).is_err() {
                return;
            }
        }
    }

    fn work(&self, work: Work) -> Done {
        match work {
            // The root is known already: no need to hash twice.
            Work::StoreShard { shard, root, bytes } => match hash(&bytes) == root {
                true => self.shards.write(shard, root, &bytes).map_or(Done::Full, |()| Done::Well),
                false => Done::Lost,
            },
            work => labour(&mut Place { segments: Arc::clone(&self.segments), shards: Arc::clone(&self.shards) }, work),
        }
    }
}
