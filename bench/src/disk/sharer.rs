//! A guest that shares its memory with whoever serves, by libblkio: one queue, one thread.
#![allow(
    unsafe_code,
    reason = "libblkio fills in what the caller has not: its answers are read as it says they may be"
)]

use super::fio::{Job, Run};
use crate::Fault;
use crate::random::Random;
use blkio::{Blkio, Blkioq, Completion, MemoryRegion, ReqFlags};
use hdrhistogram::Histogram;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Who asks one disk.
pub(super) struct Sharer {
    blkio: Blkio,
    queue: Blkioq,
    region: MemoryRegion,
    job: Job,
    dice: Random,
    next: u64,
    blocks: u64,
    since: Vec<Instant>,
}

impl Sharer {
    /// Connects to a server's socket for a job.
    pub(super) fn enter(job: &Job, socket: &Path) -> Result<Self, Fault> {
        let mut blkio = Blkio::new("virtio-blk-vhost-user")?;
        blkio.set_str("path", socket.to_str().ok_or("the socket's path is no text")?)?;
        blkio.connect()?;
        let mut queues = blkio.start()?.queues;
        let queue = queues.pop().ok_or("it has no queue")?;
        let region = blkio.alloc_mem_region(job.bytes() * job.depth as usize)?;
        blkio.map_mem_region(&region)?;
        // Zeros would spare some the work.
        let mut content = vec![0; region.len];
        crate::random::fill(7, &mut content);
        File::options().write(true).open(format!("/proc/self/fd/{}", region.fd))?.write_all_at(&content, 0)?;
        let size = blkio.get_u64("capacity")?;
        let since = vec![Instant::now(); job.depth as usize];
        let blocks = size / job.bytes() as u64;
        Ok(Self { blkio, queue, region, job: *job, dice: Random::new(size), next: 0, blocks, since })
    }

    /// Keeps as many requests in flight as the job says for so many seconds. `cpu` is what the servers have used so far.
    pub(super) fn run(&mut self, seconds: f64, cpu: impl Fn() -> Result<f64, Fault>) -> Result<Run, Fault> {
        self.ask(Duration::from_secs_f64(seconds / 4.0))?;
        let (before, begun) = (cpu()?, Instant::now());
        let took = self.ask(Duration::from_secs_f64(seconds))?;
        let (elapsed, used) = (begun.elapsed().as_secs_f64(), cpu()? - before);
        let count = took.len().max(1) as f64;
        let late = |at: f64| took.value_at_quantile(at) as f64 / 1e3;
        Ok(Run {
            rate: count / elapsed,
            bytes: count * self.job.bytes() as f64 / elapsed,
            p50: late(0.5),
            p99: late(0.99),
            cpu: used * 1e6 / count,
        })
    }

    fn ask(&mut self, time: Duration) -> Result<Histogram<u64>, Fault> {
        let mut took = Histogram::new_with_max(10_000_000_000, 3)?;
        let (begun, mut in_flight) = (Instant::now(), self.since.len());
        (0..in_flight).for_each(|slot| self.begin(slot));
        let mut completions: Vec<MaybeUninit<Completion>> = (0..in_flight).map(|_| MaybeUninit::uninit()).collect();
        while in_flight > 0 {
            let count = self.queue.do_io(&mut completions, 1, None, None)?;
            for completion in &completions[..count] {
                // SAFETY: it has filled in as many as it says.
                let completion = unsafe { completion.assume_init_ref() };
                if completion.ret != 0 {
                    return Err(format!("the server refused: {}", completion.ret).into());
                }
                let slot = completion.user_data;
                let elapsed = self.since[slot].elapsed();
                took.saturating_record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
                if begun.elapsed() < time { self.begin(slot) } else { in_flight -= 1 }
            }
        }
        Ok(took)
    }

    fn begin(&mut self, slot: usize) {
        let block = if self.job.what.starts_with("rand") {
            self.dice.below(self.blocks)
        } else {
            self.next += 1;
            self.next % self.blocks
        };
        let length = self.job.bytes();
        let (offset, at) = (block * length as u64, (self.region.addr + slot * length) as *mut u8);
        self.since[slot] = Instant::now();
        if self.job.what.contains("read") {
            self.queue.read(offset, at, length, slot, ReqFlags::empty());
        } else {
            self.queue.write(offset, at, length, slot, ReqFlags::empty());
        }
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        self.blkio.unmap_mem_region(&self.region);
    }
}
