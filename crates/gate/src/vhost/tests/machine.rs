//! A machine and its monitor at the other end of a socket.

use super::*;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Where the monitor says that it has the machine's memory; only differences count.
const THERE: u64 = 0x7F00_0000_0000;
const MEMORY: u64 = 4 << 20;
const FLUSHES: u64 = 1 << 9;
const EVENT_IDX: u64 = 1 << 29;
const PROTOCOL: u64 = 1 << 30;
/// How long a test waits for what is to come at once, in milliseconds.
const PATIENCE: i32 = 20_000;

struct Machine {
    monitor: Frontend,
    memory: File,
    queues: Vec<Ends>,
}

/// The machine's ends of a queue.
struct Ends {
    kick: EventFd,
    call: EventFd,
    asked: u16,
}

fn memory(size: u64) -> File {
    let file = File::from(rustix::fs::memfd_create("machine", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.set_len(size).unwrap();
    file
}

impl Machine {
    /// Comes, agrees to these features at most, and hands its memory over.
    fn enter(socket: &Path, memory: File, features: u64) -> Result<Self, vhost::Error> {
        let mut monitor = Frontend::connect(socket, 16)?;
        monitor.set_owner()?;
        let offered = monitor.get_features()?;
        let wanted = VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS;
        assert!(monitor.get_protocol_features()?.contains(wanted));
        monitor.set_protocol_features(wanted)?;
        monitor.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        monitor.set_features(offered & (features | PROTOCOL | 1 << 32))?;
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: MEMORY,
            userspace_addr: THERE,
            mmap_offset: 0,
            mmap_handle: memory.as_raw_fd(),
        };
        monitor.set_mem_table(&[region])?;
        Ok(Self { monitor, memory, queues: Vec::new() })
    }

    /// Sets up a queue that goes on after `asked` requests: descriptors, then what is available, then what is used.
    fn add_queue(&mut self, asked: u16) -> Result<(), vhost::Error> {
        let number = self.queues.len();
        let base = THERE + Self::base(number);
        let (kick, call) = (EventFd::new(EFD_NONBLOCK).unwrap(), EventFd::new(EFD_NONBLOCK).unwrap());
        let place = VringConfigData {
            queue_max_size: QUEUE_MAX,
            queue_size: ENTRIES,
            flags: 0,
            desc_table_addr: base,
            used_ring_addr: base + 0x2000,
            avail_ring_addr: base + 0x1000,
            log_addr: None,
        };
        self.monitor.set_vring_num(number, ENTRIES)?;
        self.monitor.set_vring_base(number, asked)?;
        self.monitor.set_vring_addr(number, &place)?;
        self.monitor.set_vring_call(number, &call)?;
        self.monitor.set_vring_kick(number, &kick)?;
        self.monitor.set_vring_enable(number, true)?;
        self.queues.push(Ends { kick, call, asked });
        Ok(())
    }

    fn base(queue: usize) -> u64 {
        queue as u64 * 0x10_0000
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, at).unwrap();
    }

    fn get(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// Puts a request where the server will find it.
    fn offer(&mut self, queue: usize, kind: u32, sector: u64, data: &[u8]) {
        let base = Self::base(queue);
        self.put(base + 0x3000, &head(kind, sector));
        self.put(base + 0x8000, data);
        let room = if kind == IN { 2 } else { 0 };
        let length = data.len() as u32;
        let pieces = [(base + 0x3000, 16, 1u16), (base + 0x8000, length, 1 | room), (base + 0x3010, 1, 2)];
        for (number, (address, length, flags)) in (0u16..).zip(pieces) {
            let mut bytes = address.to_le_bytes().to_vec();
            bytes.extend(length.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            bytes.extend((number + 1).to_le_bytes());
            self.put(base + u64::from(number) * 16, &bytes);
        }
        let asked = self.queues[queue].asked;
        self.put(base + 0x1004 + u64::from(asked % ENTRIES) * 2, &0u16.to_le_bytes());
        // With an event index: the machine wants to be told of the very next answer.
        self.put(base + 0x1004 + u64::from(ENTRIES) * 2, &asked.to_le_bytes());
        self.put(base + 0x1002, &asked.wrapping_add(1).to_le_bytes());
        self.queues[queue].asked = asked.wrapping_add(1);
    }

    /// Asks, waits until it is called, and gives the status and what was read.
    fn ask(&mut self, queue: usize, kind: u32, sector: u64, data: &[u8]) -> (u8, Vec<u8>) {
        self.offer(queue, kind, sector, data);
        self.queues[queue].kick.write(1).unwrap();
        self.called(queue);
        let base = Self::base(queue);
        (self.get(base + 0x3010, 1)[0], self.get(base + 0x8000, data.len()))
    }

    fn called(&self, queue: usize) {
        let Ends { call, asked, .. } = &self.queues[queue];
        wait(call);
        call.read().unwrap();
        assert_eq!(self.get(Self::base(queue) + 0x2002, 2), asked.to_le_bytes());
    }
}

/// Waits until there is something to read, and fails if nothing comes.
fn wait(on: &impl AsRawFd) {
    let epoll = Epoll::new().unwrap();
    epoll.ctl(ControlOperation::Add, on.as_raw_fd(), EpollEvent::new(EventSet::IN, 0)).unwrap();
    assert_eq!(epoll.wait(PATIENCE, &mut [EpollEvent::default()]).unwrap(), 1, "nothing came");
}

fn server(plate: &Arc<Plate>) -> (tempfile::TempDir, PathBuf, Server) {
    let folder = tempfile::tempdir().unwrap();
    let port = |disk: &str| Port { disk: disk.to_owned(), socket: folder.path().join(disk) };
    let ports = [port("plate"), port("none")];
    let catalog: Arc<dyn Catalog> = Arc::new(plate.clone());
    let server = Server::start(&ports, &catalog, 4).unwrap();
    (folder, ports[0].socket.clone(), server)
}

#[test]
fn a_machine_is_told_all_and_served_by_several_queues() {
    let plate = Plate::new(true);
    let (_folder, socket, server) = server(&plate);
    for features in [FLUSHES, FLUSHES | EVENT_IDX] {
        let mut machine = Machine::enter(&socket, memory(MEMORY), features).unwrap();
        assert_eq!(machine.monitor.get_queue_num().unwrap(), 4);
        let (_, told) = machine.monitor.get_config(0, 60, VhostUserConfigFlags::empty(), &[0; 60]).unwrap();
        assert_eq!(told, config(DISK as u64, 4, true));
        let (_, told) = machine.monitor.get_config(30, 200, VhostUserConfigFlags::empty(), &[0; 200]).unwrap();
        assert_eq!((&told[..30], &told[30..]), (&config(DISK as u64, 4, true)[30..], &[0; 170][..]));
        (0..3).for_each(|_| machine.add_queue(0).unwrap());
        for round in 1..20u8 {
            for queue in 0..3 {
                let sector = u64::from(round) * 10 + queue as u64;
                assert_eq!(machine.ask(queue, OUT, sector, &[round; 512]).0, DONE);
                assert_eq!(machine.ask(queue, IN, sector, &[0; 512]), (DONE, vec![round; 512]));
            }
        }
        assert_eq!(plate.durable.load(Ordering::Relaxed), 0, "the machine flushes");
        let before = plate.flushes.load(Ordering::Relaxed);
        assert_eq!(machine.ask(1, FLUSH, 0, &[]).0, DONE);
        assert_eq!(plate.flushes.load(Ordering::Relaxed), before + 1);
    }
    drop(server);
    assert!(!socket.exists());
}

#[test]
fn without_flushes_all_is_durable() {
    let plate = Plate::new(true);
    let (_folder, socket, _server) = server(&plate);
    let mut machine = Machine::enter(&socket, memory(MEMORY), 0).unwrap();
    machine.add_queue(0).unwrap();
    assert_eq!(machine.ask(0, OUT, 0, &[1; 512]).0, DONE);
    assert_eq!(plate.flushes.load(Ordering::Relaxed), 1);
    drop(machine);
    let mut machine = Machine::enter(&socket, memory(MEMORY), FLUSHES).unwrap();
    machine.add_queue(0).unwrap();
    let before = plate.flushes.load(Ordering::Relaxed);
    assert_eq!(machine.ask(0, OUT, 0, &[1; 512]).0, DONE);
    assert_eq!(plate.flushes.load(Ordering::Relaxed), before, "the machine will flush");
    machine.monitor.set_config(32, VhostUserConfigFlags::WRITABLE, &[0]).unwrap();
    assert_eq!(plate.flushes.load(Ordering::Relaxed), before + 1, "what was written before is no worse off");
    assert_eq!(machine.ask(0, OUT, 0, &[1; 512]).0, DONE);
    assert_eq!(plate.flushes.load(Ordering::Relaxed), before + 2);
    let (_, told) = machine.monitor.get_config(32, 1, VhostUserConfigFlags::empty(), &[0]).unwrap();
    assert_eq!(told, [0]);
    assert!(machine.monitor.set_config(0, VhostUserConfigFlags::WRITABLE, &[0]).is_err());
}

#[test]
fn a_queue_that_is_stopped_goes_on_where_it_was() {
    let plate = Plate::new(true);
    let (_folder, socket, _server) = server(&plate);
    let mut machine = Machine::enter(&socket, memory(MEMORY), FLUSHES).unwrap();
    machine.add_queue(0).unwrap();
    (0..40).for_each(|sector| assert_eq!(machine.ask(0, IN, sector, &[0; 512]).0, DONE));
    let asked = machine.monitor.get_vring_base(0).unwrap();
    assert_eq!(asked, 40);
    // What came while nobody looked is found by whoever looks again, be it another connection.
    machine.offer(0, OUT, 5, &[3; 512]);
    let mut other = Machine::enter_after(machine, &socket);
    other.add_queue(40).unwrap();
    other.queues[0].asked = 41;
    other.called(0);
    assert_eq!(plate.bytes.lock()[5 * 512..6 * 512], [3; 512]);
    assert_eq!(other.ask(0, IN, 5, &[0; 512]), (DONE, vec![3; 512]));
}

impl Machine {
    /// Leaves, and comes again with the same memory.
    fn enter_after(machine: Self, socket: &Path) -> Self {
        let memory = machine.memory.try_clone().unwrap();
        drop(machine);
        Self::enter(socket, memory, FLUSHES).unwrap()
    }
}

/// A disk whose reads take until somebody else has come twice.
struct Slow(Arc<Plate>, Barrier);

impl Device for Slow {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn is_writable(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Trouble> {
        self.1.wait();
        self.1.wait();
        self.0.read(offset, into)
    }

    fn write(&self, _: u64, _: &[u8], _: bool) -> Result<(), Trouble> {
        Ok(())
    }

    fn zero(&self, _: u64, _: u64, _: bool) -> Result<(), Trouble> {
        Ok(())
    }

    fn flush(&self) -> Result<(), Trouble> {
        Ok(())
    }

    fn is_zero(&self, offset: u64, length: u64) -> Result<(bool, u64), Trouble> {
        self.0.is_zero(offset, length)
    }
}

struct Only(Arc<Slow>);

impl Catalog for Only {
    fn list(&self) -> Result<Vec<String>, Refused> {
        Ok(vec!["slow".to_owned()])
    }

    fn open(&self, name: &str) -> Result<(String, Arc<dyn Device>), Refused> {
        Ok((name.to_owned(), self.0.clone()))
    }
}

#[test]
fn a_queue_is_stopped_when_what_was_begun_is_answered_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let port = Port { disk: "slow".to_owned(), socket: folder.path().join("slow") };
    let slow = Arc::new(Slow(Plate::new(false), Barrier::new(2)));
    let catalog: Arc<dyn Catalog> = Arc::new(Only(slow.clone()));
    let _server = Server::start(std::slice::from_ref(&port), &catalog, 1).unwrap();
    let mut machine = Machine::enter(&port.socket, memory(MEMORY), FLUSHES).unwrap();
    machine.add_queue(0).unwrap();
    machine.offer(0, IN, 1, &[0; 512]);
    machine.queues[0].kick.write(1).unwrap();
    slow.1.wait();
    let monitor = machine.monitor.clone();
    std::thread::scope(|scope| {
        let stopped = scope.spawn(move || monitor.get_vring_base(0).unwrap());
        slow.1.wait();
        assert_eq!(stopped.join().unwrap(), 1);
    });
    assert_eq!(machine.queues[0].call.read().unwrap(), 1, "the machine was told before the queue was stopped");
    assert_eq!(machine.get(0x8000, 512), slow.0.bytes.lock()[512..1024]);
}

#[test]
fn a_monitor_that_lies_is_refused_and_the_next_is_served() {
    let plate = Plate::new(true);
    let (folder, socket, server) = server(&plate);
    assert!(Machine::enter(&socket, memory(MEMORY - 1), FLUSHES).is_err(), "memory that is not in the file");
    assert!(Machine::enter(&folder.path().join("none"), memory(MEMORY), FLUSHES).is_err(), "no such disk");
    {
        use std::io::Write;
        let mut other = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        other.write_all(&[0xFF; 4096]).unwrap();
        wait(&other);
    }
    let mut machine = Machine::enter(&socket, memory(MEMORY), FLUSHES | EVENT_IDX).unwrap();
    machine.add_queue(0).unwrap();
    // Rings that make no sense while the queue runs: it stands still, and the others go on.
    machine.add_queue(0).unwrap();
    machine.put(Machine::base(1) + 0x1002, &[0xFF, 0xFF]);
    machine.queues[1].kick.write(1).unwrap();
    assert_eq!(machine.ask(0, IN, 0, &[0; 512]).0, DONE);
    machine.put(Machine::base(1) + 0x1002, &[0, 0]);
    assert_eq!(machine.ask(1, IN, 0, &[0; 512]).0, DONE, "and once they make sense so does this");
    let before = plate.flushes.load(Ordering::Relaxed);
    drop(server);
    assert_eq!(plate.flushes.load(Ordering::Relaxed), before + 1, "who is hung up on is flushed");
    assert_eq!(Arc::strong_count(&plate), 1, "and let go");
}

#[test]
fn no_connection_leaves_anything_behind() {
    let plate = Plate::new(true);
    let (_folder, socket, _server) = server(&plate);
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let visit = || {
        let mut machine = Machine::enter(&socket, memory(MEMORY), FLUSHES).unwrap();
        (0..4).for_each(|_| machine.add_queue(0).unwrap());
        assert_eq!(machine.ask(3, IN, 0, &[0; 512]).0, DONE);
    };
    visit();
    let before = open();
    (0..12).for_each(|_| visit());
    // Those that were there last may still be going.
    let begun = Instant::now();
    while open() > before + 12 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{before} before, {} after 12 connections", open());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
