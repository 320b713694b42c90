//! The threads that wait for disks so that reactors need not.

use crate::mailbox::{Key, Letter, Mailbox};
use okapi_grid::{Answered, Backend, Outbox, answer};
use okapi_store::Payload;
use okapi_wire::{Frame, HEADER_BYTES, Status};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Frames that wait for a worker at a time, of all connections.
const QUEUE_MAX: usize = 1024;
/// Bytes of a frame for a worker at most: a get of 1,024 descriptors fits.
const FRAME_MAX: usize = 32 << 10;
/// Emptied buffers of frames that are kept for the next ones.
const SPARE_KEPT: usize = 64;

/// A frame for a worker.
pub(crate) struct Job<B> {
    /// The whole frame.
    pub(crate) frame: Vec<u8>,
    /// What answers it.
    pub(crate) backend: B,
    /// Bytes the reply may have.
    pub(crate) expected: usize,
    /// Where the reply goes.
    pub(crate) key: Key,
    /// The reactor of that connection.
    pub(crate) mailbox: Arc<Mailbox>,
}

/// A bounded queue of frames, and the threads that answer them.
pub(crate) struct DiskWorkers<B> {
    queue: Arc<Queue<B>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Queue<B> {
    jobs: Mutex<Jobs<B>>,
    more: Condvar,
    /// Emptied buffers for the next frames.
    spare: Mutex<Vec<Vec<u8>>>,
}

struct Jobs<B> {
    waiting: VecDeque<Job<B>>,
    /// Connections to be driven once there is room.
    refused: Vec<(Arc<Mailbox>, Key)>,
    stopping: bool,
}

impl<B: Backend<Payload = Payload> + Send + 'static> DiskWorkers<B> {
    /// Starts `threads` workers.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            jobs: Mutex::new(Jobs { waiting: VecDeque::new(), refused: Vec::new(), stopping: false }),
            more: Condvar::new(),
            spare: Mutex::new(Vec::new()),
        });
        let workers = Self { queue, threads: Mutex::new(Vec::new()) };
        for number in 0..threads.max(1) {
            let queue = workers.queue.clone();
            let thread =
                std::thread::Builder::new().name(format!("okapi-disk-{number}")).spawn(move || queue.work())?;
            workers.threads.lock().push(thread);
        }
        Ok(workers)
    }

    /// Whether the queue takes another job now. If not, the connection is driven again when it does.
    pub(crate) fn has_room(&self, mailbox: &Arc<Mailbox>, key: Key) -> bool {
        let mut jobs = self.queue.jobs.lock();
        if jobs.waiting.len() < QUEUE_MAX {
            return true;
        }
        let known = |(whose, refused): &(Arc<Mailbox>, Key)| *refused == key && Arc::ptr_eq(whose, mailbox);
        if !jobs.refused.iter().any(known) {
            jobs.refused.push((mailbox.clone(), key));
        }
        false
    }

    /// A copy of a frame, in a buffer that is used again; nothing if no honest frame for a worker is so long.
    pub(crate) fn copy(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if HEADER_BYTES + frame.descriptors.len() + frame.payload.len() > FRAME_MAX {
            return None;
        }
        let mut bytes = self.queue.spare.lock().pop().unwrap_or_default();
        bytes.extend_from_slice(&frame.header.encode());
        bytes.extend_from_slice(frame.descriptors);
        bytes.extend_from_slice(frame.payload);
        okapi_wire::frame::sign(&mut bytes[..HEADER_BYTES + frame.descriptors.len()]);
        Some(bytes)
    }

    /// Queues a job. A few more than the limit are taken: reactors ask [`DiskWorkers::has_room`] before.
    pub(crate) fn push(&self, job: Job<B>) {
        self.queue.jobs.lock().waiting.push_back(job);
        self.queue.more.notify_one();
    }

    /// Frames that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.jobs.lock().waiting.len()
    }

    /// Lets the workers finish what is queued, and waits for them.
    pub(crate) fn stop(&self) {
        self.queue.jobs.lock().stopping = true;
        self.queue.more.notify_all();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a disk worker had panicked");
            }
        }
    }
}

impl<B: Backend<Payload = Payload>> Queue<B> {
    fn work(&self) {
        while let Some(job) = self.next() {
            let Job { frame: mut bytes, mut backend, expected, key, mailbox } = job;
            let mut outbox = Outbox::default();
            match Frame::parse(&bytes, u32::MAX) {
                Ok(Some((frame, _))) => {
                    if answer(&frame, &mut backend, &mut outbox) != Answered::Yes {
                        // The patient one has no reason to put it off; the asker must not wait for ever all the same.
                        outbox.refuse(&frame.header, Status::Failed, "the disk could not be waited for");
                    }
                }
                cut => unreachable!("a frame of our own copying is whole: {cut:?}"),
            }
            bytes.clear();
            let mut spare = self.spare.lock();
            if spare.len() < SPARE_KEPT {
                spare.push(bytes);
            }
            drop((spare, backend));
            mailbox.post(Letter::Answer { key, outbox, expected });
        }
    }

    fn next(&self) -> Option<Job<B>> {
        let mut jobs = self.jobs.lock();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                if jobs.waiting.len() < QUEUE_MAX / 2 {
                    for (mailbox, key) in jobs.refused.drain(..) {
                        mailbox.drive(key);
                    }
                }
                return Some(job);
            }
            if jobs.stopping {
                return None;
            }
            self.more.wait(&mut jobs);
        }
    }
}
