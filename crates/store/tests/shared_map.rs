//! The memory engine's maps, read by `okapi_link::map`: in this process, and in another while this one writes.

use okapi_base::map::Layout;
use okapi_base::{BlockSize, Durability, Generation, GridId, Index, Slice, crc32c};
use okapi_link::map::{MapMiss, MapReader};
use okapi_store::memory::{Memory, Settings, SharedMap};
use okapi_store::{Blocks, Change, Edit, Engine, Shape};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

const BLOCK: u32 = 16_384;
/// Blocks that are written over and over.
const HOT: u64 = 64;
/// The block whose being there ends the reading process.
const END: u64 = (1 << 48) - 1;
/// Set for the reading process, which is this test binary once more.
const READER: &str = "OKAPI_TEST_MAP_READER";

#[test]
fn a_map_follows_its_grid() {
    let (engine, grid) = grid();
    let mut reader = open(&map(&*grid));
    let mut out = vec![0; BLOCK as usize];
    let mut read = |reader: &MapReader, index| {
        let found = reader.get(at(index), Slice::WHOLE, &mut out)?;
        Ok(found.map(|found| (found.generation, out[..found.copied].to_vec())))
    };
    assert_eq!(read(&reader, 0), Ok(None));
    let generation = put(&*grid, 0, b"first");
    assert_eq!(read(&reader, 0), Err(MapMiss::UnknownSegment(0)));
    extend(&mut reader, &map(&*grid), 0);
    assert_eq!(read(&reader, 0), Ok(Some((generation, b"first".to_vec()))));
    let generation = put(&*grid, 0, b"second, and longer");
    assert_eq!(read(&reader, 0), Ok(Some((generation, b"second, and longer".to_vec()))));
    put(&*grid, 0, b"");
    assert_eq!(read(&reader, 0), Ok(None));
    // Until the index has to move.
    let mut puts = 0;
    while read(&reader, 1).is_ok() {
        puts += 1;
        assert!(puts < 10_000);
        put(&*grid, puts, &puts.to_le_bytes());
    }
    assert_eq!(read(&reader, 1), Err(MapMiss::Moved));
    extend(&mut reader, &map(&*grid), 0);
    for index in 1..=puts {
        let (_, bytes) = read(&reader, index).expect("it can tell").expect("it is there");
        assert_eq!(bytes, index.to_le_bytes());
    }
    engine.drop_grid(GridId(1)).expect("it can say so");
    assert_eq!(read(&reader, 1), Err(MapMiss::Revoked));
}

#[test]
fn a_map_of_many_segments_comes_in_parts_and_retired_segments_go() {
    let (engine, grid) = grid();
    // 17 segments: 16 of 16 MiB, and the first MiB of another.
    let count = (16 * 16 + 1) * (1 << 20) / u64::from(BLOCK);
    let bytes = vec![7; BLOCK as usize];
    for index in 0..count {
        put(&*grid, index, &bytes);
    }
    let whole = map(&*grid);
    let mut reader = open(&whole);
    let mut out = vec![0; BLOCK as usize];
    assert_eq!(reader.next_part(), Some(15));
    assert_eq!(reader.get(at(count - 1), Slice::WHOLE, &mut out), Err(MapMiss::UnknownSegment(16)));
    extend(&mut reader, &whole, 15);
    assert_eq!(reader.next_part(), None);
    for index in 0..count {
        assert!(reader.get(at(index), Slice::WHOLE, &mut out).expect("it can tell").is_some(), "{index}");
    }
    // All but the last block goes, and with them all segments but one.
    for index in 0..count - 1 {
        put(&*grid, index, b"");
    }
    let gained = engine.compact().expect("nothing in the way");
    assert_eq!((gained.segments, engine.usage().segments), (16, 1));
    assert!(gained.held_after < gained.held_before / 16, "{gained:?}");
    extend(&mut reader, &map(&*grid), 0);
    assert!(reader.get(at(count - 1), Slice::WHOLE, &mut out).expect("it can tell").is_some());
    put(&*grid, 0, b"anew");
    let (layout, _) = map(&*grid).part(0);
    assert_eq!(layout.segments()[0].number, 16, "numbers of retired segments are not used again");
}

#[test]
fn who_may_read_cannot_write() {
    let (_engine, grid) = grid();
    put(&*grid, 0, b"mine");
    let map = map(&*grid);
    let (_, fds) = map.part(0);
    for fd in fds {
        assert!(rustix::io::write(fd, b"x").is_err());
        assert!(rustix::fs::ftruncate(fd, 0).is_err());
        assert!(rustix::fs::fcntl_add_seals(fd, rustix::fs::SealFlags::WRITE).is_err());
        // The owner may open the file anew for writing; the seal stands even then.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        if let Ok(file) = std::fs::OpenOptions::new().write(true).read(true).open(path) {
            assert!((&file).write(b"x").is_err());
            assert!(file.set_len(0).is_err());
            assert!(std::os::unix::fs::FileExt::write_at(&file, b"x", 4096).is_err());
        }
    }
    assert_eq!(
        open(&map).get(at(0), Slice::WHOLE, &mut [0; 4]).map(|found| found.map(|found| found.copied)),
        Ok(Some(4))
    );
}

/// Another process reads while this one overwrites, deletes, grows, empties and compacts. Whatever it reads must be
/// exactly what some put made, and for each block never older than what it has read before.
#[test]
fn another_process_reads_under_writes() {
    let (engine, grid) = grid();
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let exe = std::env::current_exe().expect("this test binary");
    let child = Command::new(exe)
        .args(["--exact", "the_reading_process", "--nocapture"])
        .env(READER, "1")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a second process");
    let served = std::thread::scope(|threads| {
        let (started, wait) = std::sync::mpsc::channel();
        let server = threads.spawn({
            let grid = &grid;
            move || serve(ours, &**grid, &started)
        });
        wait.recv().expect("the reader asks for the map");
        write_storm(&engine, &*grid);
        server.join().expect("the server has not failed")
    });
    let output = child.wait_with_output().expect("the reader ends");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the reading process failed: {said}");
    assert!(served > 2, "the map moved and was fetched again ({served} times): {said}");
}

/// Hands out parts of the map as they are asked for, by number, until the reader hangs up; says how many.
fn serve(mut socket: UnixStream, grid: &dyn Blocks, started: &std::sync::mpsc::Sender<()>) -> u32 {
    let (mut served, mut from) = (0, [0; 4]);
    while socket.read_exact(&mut from).is_ok() {
        let map = map(grid);
        let (layout, fds) = map.part(u32::from_le_bytes(from));
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let bytes = encoded(&layout);
        rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty()).expect("it listens");
        served += 1;
        let _ = started.send(());
    }
    served
}

fn write_storm(engine: &dyn Engine, grid: &dyn Blocks) {
    let mut dice = Dice(4);
    let mut generation = 0;
    let mut write = |index: u64, delete: bool| {
        if delete {
            put(grid, index, b"");
        } else {
            generation += 1;
            assert_eq!(put(grid, index, &content(index, generation)), Generation(generation));
        }
    };
    for round in 0..6_u64 {
        for _ in 0..10_000 {
            let index = dice.below(HOT);
            write(index, dice.below(10) == 0);
        }
        // Growth of the index and of the arena, and in every other round all of that given back.
        let far = HOT + round / 2 * 1500;
        for index in far..far + 1500 {
            write(index, round % 2 == 1);
        }
        engine.compact().expect("nothing in the way");
    }
    for index in 0..HOT {
        write(index, false);
    }
    write(END, false);
}

/// Not a test of its own: what the second process does.
#[test]
fn the_reading_process() {
    if std::env::var_os(READER).is_none() {
        return;
    }
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor"));
    let (layout, fds) = ask(&mut socket, 0);
    let mut reader = MapReader::open(fds, &layout).expect("an honest map");
    let mut newest = std::collections::BTreeMap::<u64, Generation>::new();
    let mut out = vec![0; BLOCK as usize];
    let mut dice = Dice(5);
    let (mut hits, mut absent, mut misses) = (0_u64, 0_u64, 0_u64);
    let mut ended = false;
    let mut next = 0;
    while next < HOT {
        // After the end, each hot block once: then nobody writes, and every one must be there.
        let index = match dice.below(16) {
            _ if ended => next,
            0..12 => dice.below(HOT),
            12..15 => dice.below(HOT * 100),
            _ => END,
        };
        let slice = match dice.below(3) {
            0 => Slice { offset: dice.below(3000) as u32, length: dice.below(3000) as u32 },
            _ => Slice::WHOLE,
        };
        match reader.get(at(index), slice, &mut out) {
            Ok(Some(found)) => {
                let bytes = content(index, found.generation.0);
                assert_eq!(found.length as usize, bytes.len(), "block {index} as put");
                assert_eq!(found.crc, crc32c(&bytes), "block {index} as put");
                assert_eq!(out[..found.copied], bytes[slice.within(found.length)], "block {index} as put");
                let before = newest.insert(index, found.generation);
                assert!(before.is_none_or(|before| before <= found.generation), "block {index} went back in time");
                hits += 1;
                next += u64::from(ended);
                ended |= index == END;
            }
            Ok(None) => {
                assert!(!ended, "block {index} was put and is there");
                absent += 1;
            }
            Err(MapMiss::Busy) => misses += 1,
            Err(miss @ (MapMiss::Moved | MapMiss::UnknownSegment(_))) => {
                misses += 1;
                let mut from = Some(if let MapMiss::UnknownSegment(number) = miss { number } else { 0 });
                while let Some(part) = from {
                    let (layout, fds) = ask(&mut socket, part);
                    reader.extend(fds, &layout).expect("an honest map");
                    from = reader.next_part();
                }
            }
            Err(miss) => panic!("block {index}: {miss}"),
        }
    }
    writeln!(std::io::stdout(), "{hits} found, {absent} absent, {misses} missed").expect("a pipe");
    assert!(hits > HOT && absent > 0, "{hits} found, {absent} absent");
}

fn ask(socket: &mut UnixStream, from: u32) -> (Vec<u8>, Vec<OwnedFd>) {
    socket.write_all(&from.to_le_bytes()).expect("it listens");
    let mut bytes = vec![0; Layout::BYTES_MAX];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let got = rustix::net::recvmsg(&*socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("it answers");
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let fds = fds.collect();
    bytes.truncate(got.bytes);
    (bytes, fds)
}

/// What generation `generation` of a block is: length and bytes follow from the two.
fn content(index: u64, generation: u64) -> Vec<u8> {
    let mut dice = Dice(index ^ generation << 20);
    let length = 1 + dice.below(u64::from(BLOCK)) as usize;
    let mut bytes = vec![0; length.next_multiple_of(8)];
    let (words, _) = bytes.as_chunks_mut::<8>();
    words.fill_with(|| dice.next().to_le_bytes());
    bytes.truncate(length);
    bytes
}

fn grid() -> (Memory, Arc<dyn Blocks>) {
    let engine = Memory::new(Settings { limit_bytes: 2 << 30, shared: true });
    let block_size = BlockSize::new(BLOCK).expect("a block size");
    let shape = Shape { block_size, durability: Durability::Memory };
    let grid = engine.open_grid(GridId(1), shape).expect("there is room");
    (engine, grid)
}

fn map(grid: &dyn Blocks) -> SharedMap {
    grid.shared_map().expect("a shared engine")
}

fn encoded(layout: &Layout) -> Vec<u8> {
    let mut bytes = [0; Layout::BYTES_MAX];
    let length = layout.encode(&mut bytes);
    bytes[..length].to_vec()
}

fn owned(fds: Vec<BorrowedFd<'_>>) -> Vec<OwnedFd> {
    fds.into_iter().map(|fd| fd.try_clone_to_owned().expect("a descriptor")).collect()
}

fn open(map: &SharedMap) -> MapReader {
    let (layout, fds) = map.part(0);
    MapReader::open(owned(fds), &encoded(&layout)).expect("an honest map")
}

fn extend(reader: &mut MapReader, map: &SharedMap, from: u32) {
    let (layout, fds) = map.part(from);
    reader.extend(owned(fds), &encoded(&layout)).expect("an honest map");
}

fn at(index: u64) -> Index {
    Index::new(index).expect("below 2^48")
}

fn put(grid: &dyn Blocks, index: u64, bytes: &[u8]) -> Generation {
    let edit = Edit::Whole { bytes, crc: crc32c(bytes) };
    grid.put(at(index), &Change { edit, expect: None, relaxed: false }).expect("there is room").generation
}

/// Dice that fall the same way for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
