//! A guest that costs next to nothing, so that what is measured is who serves: one thread, requests by the batch.

use super::Disk;
use super::fio::{Job, Run};
use super::served::Served;
use crate::Fault;
use crate::random::Random;
use hdrhistogram::Histogram;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;
/// Bytes of a request and of a reply, without data.
const REQUEST: usize = 28;
const REPLY: usize = 16;

/// One request of those in flight.
#[derive(Clone, Copy)]
struct Slot {
    command: u16,
    since: Instant,
}

/// A connection on which requests are made.
struct Guest {
    stream: UnixStream,
    job: Job,
    block: usize,
    blocks: u64,
    next: u64,
    dice: Random,
    slots: Vec<Slot>,
    /// What is to be sent.
    out: Vec<u8>,
    content: Vec<u8>,
}

/// Asks one disk for so many seconds.
pub(super) fn run(job: &Job, of: &Served, disk: Disk, seconds: f64) -> Result<Run, Fault> {
    let mut guest = Guest::enter(job, of.socket(), of.export(disk))?;
    // What comes first finds nothing warm, whoever serves.
    guest.ask(Duration::from_secs_f64(seconds / 4.0))?;
    let cpu = of.cpu()?;
    let begun = Instant::now();
    let took = guest.ask(Duration::from_secs_f64(seconds))?;
    let (elapsed, used) = (begun.elapsed().as_secs_f64(), of.cpu()? - cpu);
    let count = took.len().max(1) as f64;
    let late = |at: f64| took.value_at_quantile(at) as f64 / 1e3;
    Ok(Run {
        rate: count / elapsed,
        bytes: count * guest.block as f64 / elapsed,
        p50: late(0.5),
        p99: late(0.99),
        cpu: used * 1e6 / count,
    })
}

/// Asks for an export in the oldest way, which costs one question; the export's size in bytes.
fn enter(socket: &Path, export: &str) -> Result<(UnixStream, u64), Fault> {
    let mut stream = come(socket, export)?;
    let size = welcomed(&mut stream)?;
    Ok((stream, size))
}

/// Asks for an export, and does not wait for the answer.
pub(super) fn come(socket: &Path, export: &str) -> Result<UnixStream, Fault> {
    let mut stream = UnixStream::connect(socket)?;
    let mut said = 3u32.to_be_bytes().to_vec();
    said.extend(b"IHAVEOPT\0\0\0\x01");
    said.extend((export.len() as u32).to_be_bytes());
    said.extend(export.as_bytes());
    stream.write_all(&said)?;
    Ok(stream)
}

/// Waits for the answer: the export's size in bytes.
pub(super) fn welcomed(stream: &mut UnixStream) -> Result<u64, Fault> {
    let mut told = [0; 18 + 10];
    stream.read_exact(&mut told)?;
    Ok(u64::from_be_bytes(*told[18..26].first_chunk().expect("eight bytes")))
}

impl Guest {
    fn enter(job: &Job, socket: &Path, export: &str) -> Result<Self, Fault> {
        let (stream, size) = enter(socket, export)?;
        let block = job.bytes();
        let mut content = vec![0; block];
        crate::random::fill(7, &mut content);
        let slots = vec![Slot { command: READ, since: Instant::now() }; job.depth as usize];
        let (blocks, dice) = (size / block as u64, Random::new(size));
        Ok(Self { stream, job: *job, block, blocks, next: 0, dice, slots, out: Vec::new(), content })
    }

    /// Keeps as many requests in flight as the job says, and tells how long each took.
    fn ask(&mut self, time: Duration) -> Result<Histogram<u64>, Fault> {
        let mut took = Histogram::new_with_max(10_000_000_000, 3)?;
        let (begun, mut in_flight) = (Instant::now(), self.slots.len());
        for slot in 0..self.slots.len() {
            self.begin(slot);
        }
        let mut buffer = vec![0; (self.block + REPLY) * self.slots.len()];
        let mut here = 0;
        while in_flight > 0 {
            self.stream.write_all(&self.out)?;
            self.out.clear();
            here += match self.stream.read(&mut buffer[here..])? {
                0 => return Err("the server hung up".into()),
                count => count,
            };
            let mut at = 0;
            while let Some(reply) = buffer[at..here].get(..REPLY) {
                if reply[..8] != [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0] {
                    return Err(format!("the server refused: {:02x?}", &reply[..8]).into());
                }
                let slot = reply[15] as usize;
                let data = if self.slots[slot].command == READ { self.block } else { 0 };
                if here - at < REPLY + data {
                    break;
                }
                at += REPLY + data;
                if self.slots[slot].command == WRITE && self.job.flush {
                    self.request(slot, FLUSH, 0, 0);
                    continue;
                }
                let elapsed = self.slots[slot].since.elapsed();
                took.saturating_record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
                if begun.elapsed() < time { self.begin(slot) } else { in_flight -= 1 }
            }
            buffer.copy_within(at..here, 0);
            here -= at;
        }
        Ok(took)
    }

    fn begin(&mut self, slot: usize) {
        self.slots[slot].since = Instant::now();
        let block = if self.job.what.starts_with("rand") {
            self.dice.below(self.blocks)
        } else {
            self.next += 1;
            self.next % self.blocks
        };
        let command = if self.job.what.ends_with("read") { READ } else { WRITE };
        self.request(slot, command, block * self.block as u64, self.block as u32);
        if command == WRITE {
            // It is never the same, so that nobody is spared the work.
            self.content[..8].copy_from_slice(&self.next.to_le_bytes());
            self.next += 1;
            self.out.extend_from_slice(&self.content);
        }
    }

    fn request(&mut self, slot: usize, command: u16, offset: u64, length: u32) {
        self.slots[slot].command = command;
        let mut bytes = [0; REQUEST];
        bytes[..4].copy_from_slice(&0x2560_9513u32.to_be_bytes());
        bytes[6..8].copy_from_slice(&command.to_be_bytes());
        bytes[15] = slot as u8;
        bytes[16..24].copy_from_slice(&offset.to_be_bytes());
        bytes[24..].copy_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(&bytes);
    }
}
