//! Machines that are as they should be, and others.

use super::told::{QUEUE_MAX, config};
use super::worker::{Served, Worker};
use super::{Port, Server};
use crate::catalog::{Catalog, Refused};
use crate::device::{Device, Trouble};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

mod machine;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const DONE: u8 = 0;
const FAILED: u8 = 1;
const UNKNOWN: u8 = 2;

const DISK: usize = 3 << 20;

/// A disk in memory that counts what is durable.
struct Plate {
    bytes: Mutex<Vec<u8>>,
    writable: bool,
    durable: AtomicUsize,
    flushes: AtomicUsize,
}

impl Plate {
    fn new(writable: bool) -> Arc<Self> {
        let bytes = (0..DISK).map(|at| (at >> 9) as u8 ^ at as u8 | 1).collect();
        Arc::new(Self { bytes: Mutex::new(bytes), writable, durable: 0.into(), flushes: 0.into() })
    }
}

impl Device for Plate {
    fn size(&self) -> u64 {
        DISK as u64
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Trouble> {
        into.copy_from_slice(&self.bytes.lock()[offset as usize..offset as usize + into.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8], durable: bool) -> Result<(), Trouble> {
        assert!(self.writable);
        self.bytes.lock()[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        self.durable.fetch_add(usize::from(durable), Ordering::Relaxed);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64, durable: bool) -> Result<(), Trouble> {
        assert!(self.writable);
        self.bytes.lock()[offset as usize..(offset + length) as usize].fill(0);
        self.durable.fetch_add(usize::from(durable), Ordering::Relaxed);
        Ok(())
    }

    fn flush(&self) -> Result<(), Trouble> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn is_zero(&self, _: u64, length: u64) -> Result<(bool, u64), Trouble> {
        Ok((false, length))
    }
}

impl Catalog for Arc<Plate> {
    fn list(&self) -> Result<Vec<String>, Refused> {
        Ok(vec!["plate".to_owned()])
    }

    fn open(&self, name: &str) -> Result<(String, Arc<dyn Device>), Refused> {
        match name {
            "plate" => Ok((name.to_owned(), self.clone())),
            _ => Err(Refused::Unknown("no such".to_owned())),
        }
    }
}

/// Memory of a machine and one queue in it: descriptors at 0, what is available at 4 KiB, what is used at 8 KiB.
struct Ring {
    memory: GuestMemoryMmap,
    queue: Queue,
    next: u16,
    asked: u16,
    worker: Worker,
    served: Served,
}

const ENTRIES: u16 = 16;
/// Two stretches of memory, and nothing between them.
const LOW: u64 = 1 << 20;
const HIGH: u64 = 1 << 30;
const HIGH_END: u64 = HIGH + (4 << 20);

impl Ring {
    fn new(plate: &Arc<Plate>) -> Self {
        let ranges = [(GuestAddress(0), LOW as usize), (GuestAddress(HIGH), (HIGH_END - HIGH) as usize)];
        let mut queue = Queue::new(ENTRIES).unwrap();
        queue.set_desc_table_address(Some(0), None);
        queue.set_avail_ring_address(Some(0x1000), None);
        queue.set_used_ring_address(Some(0x2000), None);
        queue.set_ready(true);
        Self {
            memory: GuestMemoryMmap::from_ranges(&ranges).unwrap(),
            queue,
            next: 0,
            asked: 0,
            worker: Worker::default(),
            served: Served::new(plate.clone(), "plate"),
        }
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    fn get(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    fn describe(&self, table: u64, number: u16, (address, length): (u64, u32), flags: u16, next: u16) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.put(table + u64::from(number) * 16, &bytes);
    }

    /// Puts a chain at the descriptor `next` and makes it available.
    fn offer(&mut self, said: &[(u64, u32)], room: &[(u64, u32)]) {
        let first = self.next;
        let count = (said.len() + room.len()) as u16;
        let pieces = said.iter().map(|piece| (piece, 0)).chain(room.iter().map(|piece| (piece, 2)));
        for (number, (piece, flags)) in (0..).zip(pieces) {
            let more = u16::from(number + 1 < count);
            let at = (first + number) % ENTRIES;
            self.describe(0, at, *piece, flags | more, (at + 1) % ENTRIES);
        }
        self.next = (first + count) % ENTRIES;
        self.make_available(first);
    }

    fn make_available(&mut self, head: u16) {
        self.put(0x1004 + u64::from(self.asked % ENTRIES) * 2, &head.to_le_bytes());
        self.asked = self.asked.wrapping_add(1);
        self.put(0x1002, &self.asked.to_le_bytes());
    }

    /// Has one request answered; the number of bytes that are said to have been written.
    fn answered(&mut self) -> u32 {
        assert!(self.worker.next(&self.served, &mut self.queue, &self.memory).unwrap());
        assert_eq!(self.get(0x2002, 2), self.asked.to_le_bytes(), "it was given back");
        let at = 0x2004 + u64::from(self.asked.wrapping_sub(1) % ENTRIES) * 8 + 4;
        u32::from_le_bytes(self.get(at, 4).try_into().unwrap())
    }

    /// The usual request: a head, data, a byte for the status.
    fn ask(&mut self, kind: u32, sector: u64, data: (u64, u32)) -> (u8, u32) {
        self.put(0x3000, &head(kind, sector));
        self.put(0x3010, &[9]);
        let (head, status) = ((0x3000, 16), (0x3010, 1));
        match kind {
            IN | GET_ID => self.offer(&[head], &[data, status]),
            _ => self.offer(&[head, data], &[status]),
        }
        let written = self.answered();
        (self.get(0x3010, 1)[0], written)
    }
}

fn head(kind: u32, sector: u64) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(sector.to_le_bytes());
    bytes
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(sectors.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

#[test]
fn every_kind_of_request_is_answered() {
    let plate = Plate::new(true);
    let mut ring = Ring::new(&plate);
    assert_eq!(ring.ask(IN, 3, (0x8000, 1024)), (DONE, 1025));
    assert_eq!(ring.get(0x8000, 1024), plate.bytes.lock()[1536..2560]);
    ring.put(0x8000, &[7; 512]);
    assert_eq!(ring.ask(OUT, 1, (0x8000, 512)), (DONE, 1));
    assert_eq!(plate.bytes.lock()[512..1024], [7; 512]);
    let before = plate.flushes.load(Ordering::Relaxed);
    assert_eq!(ring.ask(FLUSH, 0, (0x8000, 0)), (DONE, 1));
    assert_eq!(plate.flushes.load(Ordering::Relaxed), before + 1);
    assert_eq!(ring.ask(GET_ID, 0, (0x8000, 20)), (DONE, 21));
    assert_eq!(ring.get(0x8000, 20), b"plate\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    ring.put(0x8000, &[range(2, 1, 0), range(8, 8, 0)].concat());
    assert_eq!(ring.ask(DISCARD, 0, (0x8000, 32)), (DONE, 1));
    assert!(plate.bytes.lock()[1024..1536] == [0; 512] && plate.bytes.lock()[4096..8192] == [0; 4096]);
    ring.put(0x8000, &range(20, 1, 1));
    assert_eq!(ring.ask(WRITE_ZEROES, 0, (0x8000, 16)), (DONE, 1));
    assert_eq!(plate.bytes.lock()[10_240..10_752], [0; 512]);
    assert_eq!(ring.ask(99, 0, (0x8000, 512)), (UNKNOWN, 1));
    assert!(!ring.worker.next(&ring.served, &mut ring.queue, &ring.memory).unwrap());
}

#[test]
fn pieces_may_be_cut_anywhere_and_be_many() {
    let plate = Plate::new(true);
    let mut ring = Ring::new(&plate);
    // The head in two pieces, the second of which goes on with data; the status at the end of the last piece.
    ring.put(0x3000, &head(OUT, 2)[..5]);
    ring.put(0x4000, &head(OUT, 2)[5..]);
    ring.put(0x400b, &[5; 500]);
    ring.put(0x5000, &[6; 12]);
    ring.offer(&[(0x3000, 5), (0x4000, 511), (0x5000, 12)], &[(0x6000, 1)]);
    assert_eq!(ring.answered(), 1);
    assert_eq!(ring.get(0x6000, 1), [DONE]);
    assert_eq!(plate.bytes.lock()[1024..1536], [[5; 500].as_slice(), &[6; 12]].concat());
    // More than is moved at a time, by a table of its own.
    ring.put(0x3000, &head(IN, 0));
    let length = 2 << 20 | 512;
    ring.describe(0x7000, 0, (0x3000, 16), 1, 1);
    ring.describe(0x7000, 1, (HIGH + 3, 512 << 10), 3, 2);
    ring.describe(0x7000, 2, (HIGH + 3 + (512 << 10), length + 1 - (512 << 10)), 2, 0);
    ring.describe(0, 15, (0x7000, 48), 4, 0);
    ring.make_available(15);
    assert_eq!(ring.answered(), length + 1);
    assert!(ring.get(HIGH + 3, length as usize) == plate.bytes.lock()[..length as usize]);
    assert_eq!(ring.get(HIGH + 3 + u64::from(length), 1), [DONE]);
}

#[test]
fn what_is_written_is_durable_unless_somebody_will_flush() {
    let plate = Plate::new(true);
    let mut ring = Ring::new(&plate);
    for (through, written, zeroed) in [(true, 1, 1), (false, 1, 1), (true, 2, 2)] {
        ring.served.write_through.store(through, Ordering::Relaxed);
        assert_eq!(ring.ask(OUT, 0, (0x8000, 512)).0, DONE);
        ring.put(0x9000, &range(8, 8, 0));
        assert_eq!(ring.ask(WRITE_ZEROES, 0, (0x9000, 16)).0, DONE);
        assert_eq!(plate.flushes.load(Ordering::Relaxed), written);
        assert_eq!(plate.durable.load(Ordering::Relaxed), zeroed);
    }
}

#[test]
fn what_cannot_be_done_fails_alone() {
    let plate = Plate::new(true);
    let mut ring = Ring::new(&plate);
    let last = DISK as u64 / 512 - 1;
    let before = plate.bytes.lock().clone();
    for (kind, sector, data) in [
        (IN, last, (0x8000, 1024)),
        (IN, last + 1, (0x8000, 512)),
        (IN, u64::MAX / 512, (0x8000, 512)),
        (IN, u64::MAX, (0x8000, 512)),
        (IN, 0, (0x8000, 511)),
        (IN, 0, (LOW - 256, 512)),
        (IN, 0, (u64::MAX - 100, 512)),
        (IN, 0, (HIGH, u32::MAX - 511)),
        (OUT, last, (0x8000, 1024)),
        (OUT, 0, (0x8000, 513)),
        (OUT, 0, (HIGH_END - 511, 512)),
        (OUT, 0, (HIGH, u32::MAX - 511)),
        (GET_ID, 0, (0x8000, 19)),
        (DISCARD, 0, (0x8000, 0)),
        (DISCARD, 0, (0x8000, 15)),
        (DISCARD, 0, (0x8000, 17 * 16)),
        (DISCARD, 0, (LOW - 8, 16)),
    ] {
        let (status, _) = ring.ask(kind, sector, data);
        assert_eq!(status, FAILED, "{kind} {sector} {data:x?}");
    }
    for (kind, ranges, expected) in [
        (DISCARD, [range(0, 8, 0), range(last, 2, 0)], FAILED),
        (DISCARD, [range(0, 8, 0), range(u64::MAX, 1, 0)], FAILED),
        (DISCARD, [range(0, 8, 0), range(0, u32::MAX, 0)], FAILED),
        (DISCARD, [range(0, 8, 0), range(0, 1, 1)], UNKNOWN),
        (WRITE_ZEROES, [range(0, 8, 0), range(0, 1, 2)], UNKNOWN),
    ] {
        ring.put(0x8000, &ranges.concat());
        assert_eq!(ring.ask(kind, 0, (0x8000, 32)).0, expected, "{ranges:?}");
    }
    assert!(*plate.bytes.lock() == before, "nothing was done of what failed");
    assert_eq!(ring.ask(IN, last, (0x8000, 512)), (DONE, 513));

    let mut ring = Ring::new(&Plate::new(false));
    for kind in [OUT, DISCARD, WRITE_ZEROES] {
        ring.put(0x8000, &range(0, 8, 0));
        assert_eq!(ring.ask(kind, 0, (0x8000, if kind == OUT { 512 } else { 16 })).0, FAILED);
    }
    assert_eq!(ring.ask(FLUSH, 0, (0x8000, 0)).0, DONE);
}

#[test]
fn what_makes_no_sense_is_given_back_as_it_came() {
    let plate = Plate::new(true);
    let mut ring = Ring::new(&plate);
    ring.put(0x3000, &head(OUT, 0));
    let whole = plate.bytes.lock().clone();
    // In a circle; on to a descriptor that is not there; no room at all; room before what is said; a table that is none.
    ring.describe(0, 0, (0x3000, 16), 1, 1);
    ring.describe(0, 1, (0x3000, 512), 1, 0);
    ring.describe(0, 2, (0x3000, 16), 1, 77);
    ring.describe(0, 3, (0x3000, 16), 0, 0);
    ring.describe(0, 4, (0x6000, 1), 3, 3);
    ring.describe(0, 5, (LOW - 16, 48), 4, 0);
    ring.describe(0, 6, (0x7000, 47), 4, 0);
    ring.describe(0, 7, (0x7000, 32), 4, 0);
    ring.describe(0x7000, 0, (0x3000, 16), 1, 1);
    ring.describe(0x7000, 1, (0x7000, 32), 4, 0);
    ring.describe(0, 8, (HIGH, 65_535 * 16), 4, 0);
    (0..65_535).for_each(|number| ring.describe(HIGH, number, (0x3000, 16), 1, number.wrapping_add(1)));
    ring.describe(0, 9, (u64::MAX, 16), 1, 10);
    ring.describe(0, 10, (u64::MAX, u32::MAX), 2, 0);
    for head in 0..10 {
        ring.make_available(head);
        assert_eq!(ring.answered(), 0, "{head}");
    }
    assert!(*plate.bytes.lock() == whole);
    assert_eq!(ring.ask(IN, 0, (0x8000, 512)), (DONE, 513), "the queue goes on");
}

#[test]
fn a_queue_that_makes_no_sense_stands_still() {
    let plate = Plate::new(true);
    let stands = |break_it: &dyn Fn(&mut Ring)| {
        let mut ring = Ring::new(&plate);
        break_it(&mut ring);
        assert!(ring.worker.next(&ring.served, &mut ring.queue, &ring.memory).is_err());
    };
    stands(&|ring| ring.make_available(ENTRIES));
    stands(&|ring| ring.put(0x1002, &(ENTRIES + 1).to_le_bytes()));
    stands(&|ring| ring.queue.set_avail_ring_address(Some(LOW as u32), None));
    stands(&|ring| {
        ring.queue.set_avail_ring_address(Some(LOW as u32 - 4), None);
        ring.put(LOW - 4, &[0, 0, 1, 0]);
    });
    stands(&|ring| {
        ring.offer(&[(0x3000, 16)], &[(0x3010, 1)]);
        ring.queue.set_used_ring_address(Some(LOW as u32), None);
    });
    stands(&|ring| {
        ring.offer(&[(0x3000, 16)], &[(0x3010, 1)]);
        ring.queue.set_ready(false);
    });
}

#[test]
fn nothing_in_memory_makes_it_panic_or_go_on_for_ever() {
    let plate = Plate::new(true);
    let mut dice = 7u64;
    let mut draw = |below: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    let entries = u64::from(ENTRIES);
    let (mut answered, mut stopped, mut done) = (0, 0, 0);
    let odd = [0, 1, 2, 15, 16, 17, 511, 512, 513, 0x3000, 0x8000, LOW - 1, LOW, HIGH, HIGH_END - 1, u64::MAX];
    for _ in 0..3000 {
        let mut ring = Ring::new(&plate);
        for number in 0..4 {
            let kind = [IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, 99][draw(7) as usize];
            let at = 0x3000 + number * 0x100;
            ring.put(at, &head(kind, [0, 1, draw(1 << 14), u64::MAX][draw(4) as usize]));
            ring.put(0x8000, &range(draw(1 << 13), draw(1 << 12) as u32, draw(3) as u32));
            let data = (0x8000, [0, 16, 20, 32, 512, 4096][draw(6) as usize]);
            match kind {
                IN | GET_ID => ring.offer(&[(at, 16)], &[data, (at + 16, 1)]),
                _ => ring.offer(&[(at, 16), data], &[(at + 16, 1)]),
            }
        }
        for _ in 0..draw(5) {
            match draw(4) {
                0 => ring.put(draw(entries * 16), &[draw(256) as u8]),
                1 => ring.put(draw(entries) * 16, &odd[draw(odd.len() as u64) as usize].to_le_bytes()),
                2 => ring.put(draw(entries) * 16 + 8, &(odd[draw(odd.len() as u64) as usize] as u32).to_le_bytes()),
                _ => ring.put(0x1000 + draw(40), &[draw(256) as u8]),
            }
        }
        for left in (0..=ENTRIES).rev() {
            match ring.worker.next(&ring.served, &mut ring.queue, &ring.memory) {
                Ok(true) => answered += 1,
                Ok(false) => break,
                Err(_) => {
                    stopped += 1;
                    break;
                }
            }
            assert!(left > 0, "no more than the queue has");
        }
        done += (0..4u64).filter(|number| ring.get(0x3010 + number * 0x100, 1) == [DONE]).count();
    }
    assert!(answered > 6000 && stopped > 100 && done > 1000, "{answered} {stopped} {done}");
}

#[test]
fn writes_that_come_together_are_handed_over_together_and_answered_in_order() {
    let plate = Plate::new(true);
    let mut ring = Ring::new(&plate);
    ring.put(0x3000, &head(OUT, 8));
    ring.put(0x3010, &[1; 512]);
    ring.put(0x3300, &head(OUT, 9));
    ring.put(0x3310, &[2; 512]);
    ring.put(0x3600, &head(IN, 8));
    // Two writes, a read of what they wrote, and a third write.
    for (at, (head, data, answer, length)) in [
        (0x3000, 0x3010, 0x6000, 0),
        (0x3300, 0x3310, 0x6001, 0),
        (0x3600, 0, 0x7000, 1024),
        (0x3000, 0x3010, 0x6002, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let at = at as u16 * 3;
        if length > 0 {
            ring.describe(0, at, (head, 16), 1, at + 1);
            ring.describe(0, at + 1, (answer, length + 1), 2, 0);
        } else {
            ring.describe(0, at, (head, 16), 1, at + 1);
            ring.describe(0, at + 1, (data, 512), 1, at + 2);
            ring.describe(0, at + 2, (answer, 1), 2, 0);
        }
        ring.make_available(at);
        ring.put(answer + u64::from(length), &[9]);
    }
    assert!(ring.worker.next(&ring.served, &mut ring.queue, &ring.memory).unwrap());
    assert_eq!(plate.flushes.load(Ordering::Relaxed), 1, "for both");
    assert_eq!(ring.get(0x6000, 2), [DONE, DONE]);
    assert_eq!(ring.get(0x7000, 1025), [[1; 512].as_slice(), &[2; 512], &[DONE]].concat());
    assert_eq!(ring.get(0x6002, 1), [9], "it comes after");
    let used: Vec<u8> = (0..3).map(|number| ring.get(0x2004 + number * 8, 1)[0]).collect();
    assert_eq!(used, [0, 3, 6], "in order");
    assert!(ring.worker.next(&ring.served, &mut ring.queue, &ring.memory).unwrap());
    assert_eq!((ring.get(0x6002, 1), plate.flushes.load(Ordering::Relaxed)), (vec![DONE], 2));
    assert!(!ring.worker.next(&ring.served, &mut ring.queue, &ring.memory).unwrap());
}

#[test]
fn a_write_that_fails_in_the_middle_holds_up_nobody() {
    let plate = Plate::new(true);
    let mut ring = Ring::new(&plate);
    for _ in 0..3 {
        assert_eq!(ring.ask(OUT, 0, (HIGH_END - (1 << 20), 2 << 20)).0, FAILED);
    }
    assert_eq!(ring.ask(IN, 3, (0x8000, 1024)).0, DONE);
}
