//! vhost-user with libblkio, which is what else speaks it besides machines.
#![allow(
    unsafe_code,
    reason = "libblkio fills in what the caller has not: its answers are read as it says they may be"
)]

use crate::world;
use blkio::{Blkio, Blkioq, Completion, MemoryRegion, ReqFlags};
use okapi_gate::vhost::{Port, Server};
use okapi_gate::{Catalog, DiskCatalog};
use okapi_volume::Access;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const MEMORY: usize = 1 << 20;

/// Whoever shares memory with the server.
struct Sharer {
    blkio: Blkio,
    queues: Vec<Blkioq>,
    region: MemoryRegion,
    /// The same memory.
    memory: File,
}

impl Sharer {
    fn connect(socket: &Path, queues: i32, read_only: bool) -> Self {
        let mut blkio = Blkio::new("virtio-blk-vhost-user").unwrap();
        blkio.set_str("path", socket.to_str().unwrap()).unwrap();
        blkio.set_bool("read-only", read_only).unwrap();
        blkio.connect().unwrap();
        blkio.set_i32("num-queues", queues).unwrap();
        let started = blkio.start().unwrap();
        let region = blkio.alloc_mem_region(MEMORY).unwrap();
        blkio.map_mem_region(&region).unwrap();
        let memory = File::options().read(true).write(true).open(format!("/proc/self/fd/{}", region.fd)).unwrap();
        Self { queues: started.queues, region, memory, blkio }
    }

    /// Asks on a queue, and waits for the answer: 0, or the error.
    fn ask(&mut self, queue: usize, ask: impl FnOnce(&mut Blkioq, *mut u8)) -> i32 {
        ask(&mut self.queues[queue], self.region.addr as *mut u8);
        let mut completions = [const { MaybeUninit::<Completion>::uninit() }];
        let count = self.queues[queue].do_io(&mut completions, 1, None, None).unwrap();
        assert_eq!(count, 1);
        // SAFETY: it has filled in as many as it says.
        unsafe { completions[0].assume_init_ref() }.ret
    }

    fn read(&mut self, queue: usize, offset: u64, length: usize) -> Result<Vec<u8>, i32> {
        match self.ask(queue, |queue, at| queue.read(offset, at, length, 1, ReqFlags::empty())) {
            0 => {
                let mut found = vec![0; length];
                self.memory.read_exact_at(&mut found, 0).unwrap();
                Ok(found)
            }
            error => Err(error),
        }
    }

    fn write(&mut self, queue: usize, offset: u64, bytes: &[u8], flags: ReqFlags) -> i32 {
        self.memory.write_all_at(bytes, 0).unwrap();
        self.ask(queue, |queue, at| queue.write(offset, at, bytes.len(), 1, flags))
    }
}

#[test]
fn libblkio_reads_writes_discards_and_flushes_over_several_queues() {
    let world = world();
    let catalog: Arc<dyn Catalog> = Arc::new(DiskCatalog::new(world.disks.clone(), None, Access::Write));
    let port = |disk: &str| Port { disk: disk.to_owned(), socket: world.path(&format!("{disk}.sock")).into() };
    let ports = [port("one"), port("base")];
    let server = Server::start(&ports, &catalog, 3).unwrap();
    let mut model = world.base.clone();
    let mut sharer = Sharer::connect(&ports[0].socket, 3, false);
    assert_eq!(sharer.blkio.get_u64("capacity").unwrap(), model.len() as u64);
    assert_eq!(sharer.blkio.get_i32("max-queues").unwrap(), 3);
    for queue in 0..3 {
        let at = (3 + queue) << 20;
        assert!(sharer.read(queue, at as u64, 1 << 20).unwrap() == model[at..at + (1 << 20)]);
    }
    for queue in 0..3 {
        let (at, length) = ((queue << 20) + 512 * 3, 4096 * 5 + 512);
        let bytes: Vec<u8> = (0..length).map(|byte| (byte * 7 + queue) as u8).collect();
        let flags = if queue == 2 { ReqFlags::FUA } else { ReqFlags::empty() };
        assert_eq!(sharer.write(queue, at as u64, &bytes, flags), 0);
        model[at..at + length].copy_from_slice(&bytes);
        // Whichever queue asks.
        assert!(sharer.read((queue + 1) % 3, at as u64, length).unwrap() == bytes);
    }
    assert_eq!(sharer.ask(0, |queue, _| queue.write_zeroes(5 << 20, 1 << 20, 1, ReqFlags::empty())), 0);
    assert_eq!(sharer.ask(1, |queue, _| queue.discard(6 << 20, 1 << 20, 1, ReqFlags::empty())), 0);
    model[5 << 20..7 << 20].fill(0);
    assert_eq!(sharer.ask(2, |queue, _| queue.flush(1, ReqFlags::empty())), 0);
    assert!(sharer.read(0, 8 << 20, 4096).is_err(), "it ends there");
    for at in (0..model.len()).step_by(1 << 20) {
        assert!(sharer.read(0, at as u64, 1 << 20).unwrap() == model[at..at + (1 << 20)], "{at}");
    }
    // What others are built on is not written to.
    let mut reader = Sharer::connect(&ports[1].socket, 1, true);
    assert!(reader.read(0, 0, 4096).unwrap() == world.base[..4096]);
    assert_ne!(reader.write(0, 0, &[1; 4096], ReqFlags::empty()), 0);
    drop((sharer, reader, server));
    let disk = world.disks.disk("one", Access::Read).unwrap();
    let mut found = vec![1; model.len()];
    disk.read_at(0, &mut found).unwrap();
    assert!(found == model);
}
