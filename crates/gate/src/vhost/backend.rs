//! One machine's end of the conversation: what its monitor sets up, and whoever works its queues.

use super::told::{QUEUE_MAX, WRITE_BACK_AT, config, features, has};
use super::worker::{Served, Stopped, Worker};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringMutex, VringState, VringT};
use virtio_bindings::bindings::virtio_blk as blk;
use virtio_queue::QueueT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::epoll::EventSet;

/// The machine's memory. It changes while it runs.
pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// What wakes the threads of all queues when the conversation is over.
pub(super) const OVER: u16 = u16::MAX;
/// How long answers may be gathered before the machine is told of them.
const GATHERED: Duration = Duration::from_micros(50);

/// One machine's end of the conversation.
pub(super) struct Backend {
    served: Served,
    memory: Memory,
    workers: Vec<Mutex<Worker>>,
    /// What the machine has agreed to.
    agreed: AtomicU64,
    write_back: AtomicBool,
    over: AtomicBool,
    pub(super) bell: OwnedFd,
}

impl Backend {
    pub(super) fn new(served: Served, memory: Memory, queues: u16) -> io::Result<Self> {
        Ok(Self {
            served,
            memory,
            workers: (0..queues).map(|_| Mutex::default()).collect(),
            agreed: AtomicU64::new(0),
            write_back: AtomicBool::new(true),
            over: AtomicBool::new(false),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Whoever works a queue stops after what is being answered.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        // Nobody reads it, so that it wakes every thread; it can only be full if it rings already.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Answers what is in a queue, until it is empty or stopped.
    fn work(&self, worker: &mut Worker, ring: &VringMutex<Memory>) -> Result<(), Stopped> {
        let mut untold = None;
        let done = self.drain(worker, ring, &mut untold);
        // Whatever ended it, the machine waits for what was answered.
        let told = untold.map_or(Ok(()), |_| tell(&mut ring.get_mut()));
        done.and(told)
    }

    /// `untold`: since when there are answers that the machine has not been told of.
    fn drain(
        &self,
        worker: &mut Worker,
        ring: &VringMutex<Memory>,
        untold: &mut Option<Instant>,
    ) -> Result<(), Stopped> {
        let mut quiet = false;
        loop {
            // Whoever stops the queue waits for what is being answered, and finds all before it answered.
            let mut state = ring.get_mut();
            if self.over.load(Ordering::Acquire) || !state.is_enabled() || !state.get_queue().ready() {
                return Ok(());
            }
            if !quiet {
                state.disable_notification()?;
                quiet = true;
            }
            let memory = self.memory.memory();
            if worker.next(&self.served, state.get_queue_mut(), &*memory)? {
                let since = *untold.get_or_insert_with(Instant::now);
                if since.elapsed() < GATHERED {
                    continue;
                }
            }
            if untold.take().is_some() {
                tell(&mut state)?;
            } else if state.enable_notification()? {
                quiet = false;
            } else {
                return Ok(());
            }
        }
    }

    fn decide_write_through(&self) {
        let flushes = has(self.agreed.load(Ordering::Acquire), blk::VIRTIO_BLK_F_FLUSH);
        let through = !flushes || !self.write_back.load(Ordering::Acquire);
        self.served.write_through.store(through, Ordering::Release);
    }
}

/// Tells the machine that there are answers, if it wants to know.
fn tell(state: &mut VringState<Memory>) -> Result<(), Stopped> {
    if state.needs_notification()? {
        // What fails here is the monitor's: it has closed its end.
        let _ = state.signal_used_queue();
    }
    Ok(())
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = VringMutex<Memory>;

    fn num_queues(&self) -> usize {
        self.workers.len()
    }

    fn max_queue_size(&self) -> usize {
        usize::from(QUEUE_MAX)
    }

    fn features(&self) -> u64 {
        features(self.served.device.is_writable()) | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, agreed: u64) {
        self.agreed.store(agreed, Ordering::Release);
        self.decide_write_through();
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    /// Nothing to do: the queues have been told.
    fn set_event_idx(&self, _: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let queues = u16::try_from(self.workers.len()).expect("there are few");
        let config = config(self.served.device.size(), queues, self.write_back.load(Ordering::Acquire));
        // What is past the end is zeros: monitors ask for as much as they know of. The protocol has at most 256 bytes.
        let bytes = config.into_iter().chain(std::iter::repeat(0)).skip(offset as usize);
        bytes.take(size.min(256) as usize).collect()
    }

    fn set_config(&self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        let (WRITE_BACK_AT, [write_back]) = (offset, bytes) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        self.write_back.store(*write_back != 0, Ordering::Release);
        self.decide_write_through();
        if *write_back == 0 {
            // Nobody will ask for this any more.
            self.served.device.flush().map_err(|trouble| io::Error::other(trouble.text))?;
        }
        Ok(())
    }

    /// Looks whether all memory is there: touching what is past the end of its file would end this process.
    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        let memory = memory.memory();
        let is_there = |region: &_| -> io::Result<bool> {
            let Some(place) = GuestMemoryRegion::file_offset(region) else { return Ok(false) };
            let about = place.file().metadata()?;
            let end = place.start().checked_add(GuestMemoryRegion::len(region));
            Ok(!about.is_file() || end.is_some_and(|end| end <= about.len()))
        };
        for region in GuestMemoryBackend::iter(&*memory) {
            if !is_there(region).unwrap_or(false) {
                self.end();
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the machine's memory is not all in its file"));
            }
        }
        Ok(())
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        (0..self.workers.len()).map(|queue| 1 << queue).collect()
    }

    /// Whoever stops a queue goes on when its thread has let go of it, and the machine has been told.
    fn stop_vring(&self, queue: u32) -> io::Result<()> {
        if let Some(worker) = self.workers.get(queue as usize) {
            drop(worker.lock());
        }
        Ok(())
    }

    fn handle_event(&self, event: u16, _: EventSet, rings: &[VringMutex<Memory>], thread: usize) -> io::Result<()> {
        if event == OVER {
            // An error is what ends the thread.
            return Err(io::Error::other("the conversation is over"));
        }
        let (Some(ring), Some(worker)) = (rings.get(usize::from(event)), self.workers.get(thread)) else {
            return Ok(());
        };
        // No error goes on from here: it would end the thread, and a machine that starts anew may do better.
        if let Err(stopped) = self.work(&mut worker.lock(), ring) {
            tracing::debug!(queue = thread, "{stopped}");
        }
        Ok(())
    }
}
