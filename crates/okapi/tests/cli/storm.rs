//! The node is killed in the middle of a write storm, again and again, on the same data: what was acknowledged is
//! there, byte for byte.

use crate::dice::{Dice, seed};
use crate::house::{House, Running};
use okapi_client::{Client, Grid, Index, PutAsk, Settings, Target, flags};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

const THREADS: u64 = 4;
/// Blocks and names that each thread writes, and nobody else.
const BLOCKS: u64 = 24;
const NAMES: u64 = 5;
/// Where the threads' blocks begin: before those that records are given, which begin at 2^40.
const FIRST: u64 = 1 << 32;
const BLOCK: usize = 4096;

/// What may be found somewhere: what was acknowledged last, and what was on its way when the node died. No bytes:
/// nothing is there.
#[derive(Default, Clone, Debug)]
struct Known {
    acknowledged: Vec<u8>,
    in_flight: Option<Vec<u8>>,
}

/// What one thread knows of its blocks and of its records; an empty record is one that is not there.
#[derive(Default)]
struct Memory {
    blocks: BTreeMap<u64, Known>,
    records: BTreeMap<String, Known>,
}

pub(crate) fn connect(node: &Running) -> Client {
    let target: Target = node.target("unix:").parse().unwrap();
    // A client that connects again would hide what was cut.
    Client::connect(&target, Settings { reconnect: None, ..Settings::default() }).unwrap()
}

fn at(index: u64) -> Index {
    Index::new(index).unwrap()
}

/// One write of a thread: false once the node is gone.
struct Writer<'a> {
    grid: &'a Grid,
    thread: u64,
    dice: &'a mut Dice,
    memory: &'a mut Memory,
}

impl Writer<'_> {
    fn write(&mut self) -> bool {
        match self.dice.roll(10) {
            0 => self.record(),
            1 => self.many(),
            _ => self.block(),
        }
    }

    fn block(&mut self) -> bool {
        let index = FIRST + self.thread * BLOCKS + self.dice.roll(BLOCKS);
        let known = self.memory.blocks.entry(index).or_default();
        let mut next = known.acknowledged.clone();
        let (how, length) = (self.dice.roll(8), 1 + self.dice.roll(BLOCK as u64) as usize);
        let offset = self.dice.roll((BLOCK - length + 1) as u64) as usize;
        let bytes = self.dice.bytes(length);
        let index = at(index);
        let done = match how {
            0 => {
                next.clear();
                known.in_flight = Some(next.clone());
                self.grid.delete(index)
            }
            1 => {
                next.resize(length, 0);
                known.in_flight = Some(next.clone());
                self.grid.truncate(index, length as u32).map(drop)
            }
            2..4 => {
                next.resize(next.len().max(offset + length), 0);
                next[offset..offset + length].copy_from_slice(&bytes);
                known.in_flight = Some(next.clone());
                self.grid.put_slice(index, offset as u32, &bytes).map(drop)
            }
            _ => {
                next = bytes;
                known.in_flight = Some(next.clone());
                self.grid.put(index, &next).map(drop)
            }
        };
        acknowledge(known, next, done)
    }

    /// Several blocks in one frame.
    fn many(&mut self) -> bool {
        let first = FIRST + self.thread * BLOCKS + self.dice.roll(BLOCKS - 4);
        let blocks: Vec<(u64, Vec<u8>)> = (first..first + 4)
            .map(|index| {
                let length = 1 + self.dice.roll(600) as usize;
                (index, self.dice.bytes(length))
            })
            .collect();
        let puts: Vec<(PutAsk, &[u8])> = blocks
            .iter()
            .map(|(index, bytes)| (PutAsk::whole(at(*index), bytes, okapi_base::crc32c(bytes)), &bytes[..]))
            .collect();
        for (index, bytes) in &blocks {
            self.memory.blocks.entry(*index).or_default().in_flight = Some(bytes.clone());
        }
        let mut acknowledged = Vec::new();
        let done = self.grid.put_many(&puts, 0, |number, outcome| {
            assert!(outcome.status.is_ok(), "{outcome:?}");
            acknowledged.push(number);
        });
        for number in acknowledged {
            let (index, bytes) = &blocks[number];
            *self.memory.blocks.get_mut(index).unwrap() = Known { acknowledged: bytes.clone(), in_flight: None };
        }
        done.map_err(|error| assert!(error.fault().is_link(), "{error}")).is_ok()
    }

    fn record(&mut self) -> bool {
        let name = format!("{}/{}", self.thread, self.dice.roll(NAMES));
        let known = self.memory.records.entry(name.clone()).or_default();
        if self.dice.roll(4) == 0 {
            known.in_flight = Some(Vec::new());
            return acknowledge(known, Vec::new(), self.grid.remove(&name, None).map(drop));
        }
        let length = 1 + self.dice.roll(5 * BLOCK as u64) as usize;
        let bytes = self.dice.bytes(length);
        known.in_flight = Some(bytes.clone());
        let told = (self.dice.roll(2) == 0).then_some(length as u64);
        let done = self.grid.write_record(&name, "", told, &mut &bytes[..], &mut |_| ()).map(drop);
        acknowledge(known, bytes, done)
    }
}

fn acknowledge<E: Into<Failed>>(known: &mut Known, next: Vec<u8>, done: Result<(), E>) -> bool {
    match done.map_err(Into::into) {
        Ok(()) => {
            *known = Known { acknowledged: next, in_flight: None };
            true
        }
        Err(Failed { is_link, text }) => {
            assert!(is_link, "{text}");
            false
        }
    }
}

struct Failed {
    is_link: bool,
    text: String,
}

impl From<okapi_client::BlockError> for Failed {
    fn from(error: okapi_client::BlockError) -> Self {
        Self { is_link: error.fault().is_link(), text: error.to_string() }
    }
}

impl From<okapi_client::RecordError> for Failed {
    fn from(error: okapi_client::RecordError) -> Self {
        Self { is_link: error.fault.is_link(), text: error.to_string() }
    }
}

/// Writes with all threads until the node is killed, at its `kill_at`th acknowledgement.
fn storm(node: &Running, dice: &mut Dice, memories: &mut [Memory], kill_at: i64) {
    let left = AtomicI64::new(kill_at);
    let (pid, compacts) = (node.pid(), dice.roll(4) == 0);
    let client = connect(node);
    let grid = client.grid("storm", None).unwrap();
    std::thread::scope(|scope| {
        for (thread, memory) in memories.iter_mut().enumerate() {
            let (grid, left, mut dice) = (&grid, &left, Dice::new(dice.roll(1 << 60)));
            scope.spawn(move || {
                loop {
                    let mut writer = Writer { grid, thread: thread as u64, dice: &mut dice, memory };
                    if !writer.write() {
                        return;
                    }
                    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
                    }
                }
            });
        }
        // The dead do not answer: then it is over.
        while compacts && client.compact().is_ok() {}
    });
}

/// Everything acknowledged is there, and nothing else; what was on its way may be there, whole.
fn check(node: &Running, memories: &mut [Memory], what: &str) {
    let grid = connect(node).grid("storm", None).unwrap();
    let mut blocks = 0;
    for memory in memories {
        for (index, known) in &mut memory.blocks {
            let found = grid.get(at(*index)).unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = found.map_or_else(Vec::new, |block| block.bytes);
            blocks += u64::from(!found.is_empty());
            settle(known, found, &format!("{what}: block {index}"));
        }
        for (name, known) in &mut memory.records {
            let mut found = Vec::new();
            if grid.find(name).unwrap().is_some() {
                grid.read_record(name, None, &mut found, &mut |_| ()).unwrap_or_else(|e| panic!("{what}: {e}"));
            }
            blocks += (found.len() as u64).div_ceil(BLOCK as u64);
            settle(known, found, &format!("{what}: record {name}"));
        }
    }
    // Nothing is left of records that were never finished, and nothing deleted comes back.
    assert_eq!(grid.stat().unwrap().blocks, blocks, "{what}");
}

fn settle(known: &mut Known, found: Vec<u8>, what: &str) {
    let right = found == known.acknowledged || known.in_flight.as_ref() == Some(&found);
    let lengths = (found.len(), known.acknowledged.len(), known.in_flight.as_ref().map(Vec::len));
    assert!(right, "{what}: found, acknowledged and in flight have lengths {lengths:?}");
    *known = Known { acknowledged: found, in_flight: None };
}

fn kills(engine: &str, count: u64) {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let house = House::new();
    let mut memories: Vec<Memory> = (0..THREADS).map(|_| Memory::default()).collect();
    let mut node = house.up(&[]);
    house.ok(&format!("grid create storm -s 4K --engine {engine} -q"));
    let mut acknowledged = 0;
    for round in 0..count {
        // Every third kill comes when hardly anything has happened, the others in full swing.
        let kill_at = if round % 3 == 0 { 1 + dice.roll(12) } else { 100 + dice.roll(150) };
        acknowledged += kill_at;
        storm(&node, &mut dice, &mut memories, kill_at as i64);
        node.wait();
        node = house.up(&[]);
        check(&node, &mut memories, &format!("seed {seed}, kill {round}"));
    }
    assert!(acknowledged > count * 20, "a storm, not a breeze");
    let (fsck, code) = (house.run("fsck"), 0);
    assert_eq!(fsck.code, code, "seed {seed}: {fsck:?}");
}

#[test]
fn fifty_kills_lose_nothing_acknowledged() {
    kills("log", 50);
}

#[test]
fn kills_lose_nothing_in_fjall_either() {
    kills("fjall", 6);
}

/// Relaxed puts are safe once a sync has said so, and before it each block is old or new.
#[test]
fn a_sync_covers_relaxed_puts() {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let house = House::new();
    let mut node = house.up(&[]);
    let mut synced = 0_u64;
    for round in 0..6 {
        let client = connect(&node);
        let grid = client.grid("main", None).unwrap();
        let put = |number: u64| {
            let bytes = number.to_le_bytes();
            let ask = PutAsk::whole(at(number % 97), &bytes, okapi_base::crc32c(&bytes));
            grid.put_many(&[(ask, &bytes)], flags::RELAXED, |_, outcome| assert!(outcome.status.is_ok())).unwrap();
        };
        let count = 1 + dice.roll(300);
        (synced + 1..=synced + count).for_each(put);
        grid.sync().unwrap();
        synced += count;
        // These may or may not survive.
        (synced + 1..=synced + 50).for_each(put);
        kill_process(Pid::from_raw(node.pid()).unwrap(), Signal::KILL).unwrap();
        node.wait();
        node = house.up(&[]);
        let grid = connect(&node).grid("main", None).unwrap();
        for number in synced.saturating_sub(96).max(1)..=synced {
            let found = grid.get(at(number % 97)).unwrap().expect("it was synced").bytes;
            let found = u64::from_le_bytes(found.try_into().unwrap());
            assert!(found >= number && found % 97 == number % 97, "seed {seed}, round {round}: {found} for {number}");
        }
        // Later rounds count on from what may be there.
        synced += 50;
        (synced - 49..=synced).for_each(|number| {
            grid.put(at(number % 97), &number.to_le_bytes()).map(drop).unwrap();
        });
    }
}
