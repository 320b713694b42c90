//! Maps made by hand, honest and not. Maps made by the memory engine, under its writes and from another process, are
//! read in `crates/store/tests/shared_map.rs`.

use super::*;
use okapi_base::map::{ENTRIES_MIN, Place, SEGMENT_MIN};
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::os::unix::fs::FileExt;

const BLOCK_SIZE: u32 = 4096;
const SEED: u64 = 99;

/// A map in memory files, which tests may write as they like.
struct Forgery {
    index: File,
    segment: File,
}

impl Forgery {
    /// An empty map with one segment, number 3.
    fn new() -> Self {
        let index = memory_file(HEADER_BYTES + ENTRIES_MIN as usize * ENTRY_BYTES, SealFlags::SHRINK);
        let forgery = Self { index, segment: memory_file(SEGMENT_MIN as usize, SealFlags::SHRINK) };
        let mut header = Vec::new();
        header.extend(MAGIC.to_le_bytes());
        header.extend([VERSION.to_le_bytes(), BLOCK_SIZE.to_le_bytes()].concat());
        header.extend([ENTRIES_MIN.to_le_bytes(), SEED.to_le_bytes(), 1_u64.to_le_bytes()].concat());
        forgery.write_header(0, &header);
        forgery
    }

    fn write_header(&self, at: u64, bytes: &[u8]) {
        self.index.write_all_at(bytes, at).expect("within the file");
    }

    /// Writes the entry that is `step` after the home of `index`.
    fn write_entry(&self, index: u64, step: u64, entry: Seen) {
        let number = (home(at(index), SEED, ENTRIES_MIN) + step) % ENTRIES_MIN;
        let mut bytes = [entry.sequence.to_le_bytes(), entry.crc.to_le_bytes()].concat();
        bytes.extend(
            [entry.key.0.to_le_bytes(), entry.generation.0.to_le_bytes(), entry.place.0.to_le_bytes()].concat(),
        );
        self.write_header(HEADER_BYTES as u64 + number * ENTRY_BYTES as u64, &bytes);
    }

    /// Puts a block at the segment's byte `offset`.
    fn put(&self, index: u64, offset: u32, bytes: &[u8]) {
        self.segment.write_all_at(bytes, offset.into()).expect("within the file");
        let place = Place::new(3, offset, bytes.len() as u32);
        self.write_entry(index, 0, block(index, okapi_base::crc32c(bytes), place));
    }

    fn layout(&self) -> Layout {
        let segment = SegmentAt { number: 3, bytes: SEGMENT_MIN };
        Layout::new(BLOCK_SIZE, 1, ENTRIES_MIN, 0, Layout::END, &[segment])
    }

    fn fds(&self) -> Vec<OwnedFd> {
        [&self.index, &self.segment].map(|file| file.try_clone().expect("a descriptor").into()).into()
    }

    fn open(&self) -> MapReader {
        MapReader::open(self.fds(), &encoded(&self.layout())).expect("an honest map")
    }
}

const DELETED: Seen = Seen { sequence: 2, crc: 0, key: Key::DELETED, generation: Generation::ABSENT, place: Place(0) };

fn block(index: u64, crc: u32, place: Place) -> Seen {
    Seen { sequence: 2, crc, key: Key::of(at(index)), generation: Generation(7), place }
}

fn memory_file(length: usize, seals: SealFlags) -> File {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memory file");
    let file = File::from(fd);
    file.set_len(length as u64).expect("any length");
    rustix::fs::fcntl_add_seals(&file, seals).expect("a fresh file takes seals");
    file
}

fn encoded(layout: &Layout) -> Vec<u8> {
    let mut bytes = [0; Layout::BYTES_MAX];
    let length = layout.encode(&mut bytes);
    bytes[..length].to_vec()
}

fn at(index: u64) -> Index {
    Index::new(index).expect("below 2^48")
}

#[test]
fn blocks_and_slices_are_found() {
    let forgery = Forgery::new();
    let bytes: Vec<u8> = (0..3000_u32).map(|i| i as u8).collect();
    forgery.put(5, 128, &bytes);
    let reader = forgery.open();
    let mut out = [0; 4096];
    let found = reader.get(at(5), Slice::WHOLE, &mut out).expect("it can tell").expect("it is there");
    assert_eq!((found.length, found.copied, found.generation), (3000, 3000, Generation(7)));
    assert_eq!(out[..3000], bytes);
    for (offset, length, copied) in [(0, 10, 10), (13, 999, 999), (2990, 100, 10), (3000, 1, 0), (5000, 1, 0)] {
        out.fill(0xEE);
        let found = reader.get(at(5), Slice { offset, length }, &mut out).expect("it can tell").expect("it is there");
        assert_eq!(found.copied, copied);
        assert_eq!(out[..copied], bytes[(offset as usize).min(3000)..][..copied]);
        assert!(out[copied..].iter().all(|byte| *byte == 0xEE), "nothing is written past what was copied");
    }
    let found = reader.get(at(5), Slice::WHOLE, &mut out[..100]).expect("it can tell").expect("it is there");
    assert_eq!((found.length, found.copied), (3000, 100));
    assert_eq!(reader.get(at(6), Slice::WHOLE, &mut out), Ok(None));
}

#[test]
fn the_search_goes_on_past_the_deleted_and_ends() {
    let forgery = Forgery::new();
    let bytes = [1; 64];
    forgery.segment.write_all_at(&bytes, 0).expect("within the file");
    for step in 0..5 {
        forgery.write_entry(9, step, DELETED);
    }
    let place = Place::new(3, 0, 64);
    forgery.write_entry(9, 5, block(9, okapi_base::crc32c(&bytes), place));
    let mut out = [0; 64];
    assert!(forgery.open().get(at(9), Slice::WHOLE, &mut out).expect("it can tell").is_some());
    for step in 0..ENTRIES_MIN {
        forgery.write_entry(9, step, DELETED);
    }
    assert_eq!(forgery.open().get(at(9), Slice::WHOLE, &mut out), Err(MapMiss::Damaged), "no end in sight");
}

#[test]
fn what_cannot_be_is_not_followed() {
    let forgery = Forgery::new();
    let bytes = [1; 64];
    forgery.put(9, 0, &bytes);
    let reader = forgery.open();
    let mut out = vec![0; 1 << 20];
    let key = Key::of(at(9));
    let crc = okapi_base::crc32c(&bytes);
    let mut get = |sequence, crc, generation, place| {
        let generation = Generation(generation);
        forgery.write_entry(9, 0, Seen { sequence, crc, key, generation, place });
        reader.get(at(9), Slice::WHOLE, &mut out)
    };
    assert!(matches!(get(2, crc, 7, Place::new(3, 0, 64)), Ok(Some(_))));
    assert_eq!(get(3, crc, 7, Place::new(3, 0, 64)), Err(MapMiss::Busy), "an entry that is never done");
    assert_eq!(get(2, crc, 0, Place::new(3, 0, 64)), Err(MapMiss::Busy), "a key without a generation");
    assert_eq!(get(2, crc + 1, 7, Place::new(3, 0, 64)), Err(MapMiss::Damaged), "another checksum");
    assert_eq!(get(2, crc, 7, Place::new(4, 0, 64)), Err(MapMiss::UnknownSegment(4)));
    assert_eq!(get(2, crc, 7, Place::new(3, SEGMENT_MIN - 64, 65)), Err(MapMiss::Damaged), "past the segment");
    assert_eq!(get(2, crc, 7, Place(u64::MAX >> 24 | 3 << 40)), Err(MapMiss::Damaged), "far past the segment");
    assert_eq!(get(2, crc, 7, Place::new(3, 0, BLOCK_SIZE + 1)), Err(MapMiss::Damaged), "longer than a block");
    for (state, miss) in [(MOVED, MapMiss::Moved), (REVOKED, MapMiss::Revoked), (3, MapMiss::Revoked)] {
        forgery.write_header(40, &state.to_le_bytes());
        assert_eq!(reader.get(at(9), Slice::WHOLE, &mut out), Err(miss));
        assert_eq!(reader.get(at(1), Slice::WHOLE, &mut out), Err(miss), "nor is absence believed");
    }
}

#[test]
fn files_that_are_no_map_are_refused() {
    let forgery = Forgery::new();
    let layout = encoded(&forgery.layout());
    let refused = |fds, layout: &[u8]| MapReader::open(fds, layout).err().expect("no map");
    let swap = |index: &File, segment: &File| {
        vec![index.try_clone().expect("a descriptor").into(), segment.try_clone().expect("a descriptor").into()]
    };
    let (index, segment) = (&forgery.index, &forgery.segment);
    assert!(matches!(refused(Vec::new(), &layout), MapError::Descriptors { named: 2, came: 0 }));
    assert!(matches!(refused(forgery.fds().split_off(1), &layout), MapError::Descriptors { came: 1, .. }));
    assert!(matches!(refused(forgery.fds(), &layout[1..]), MapError::Layout(_)));
    assert!(matches!(refused(swap(segment, index), &layout), MapError::File(_)));
    let unsealed = memory_file(SEGMENT_MIN as usize, SealFlags::GROW);
    assert!(matches!(refused(swap(index, &unsealed), &layout), MapError::File(_)));
    let short = memory_file(SEGMENT_MIN as usize - 1, SealFlags::SHRINK);
    assert!(matches!(refused(swap(index, &short), &layout), MapError::File(_)));
    let on_disk = tempfile::tempfile().expect("a file");
    on_disk.set_len(SEGMENT_MIN.into()).expect("any length");
    assert!(matches!(refused(swap(index, &on_disk), &layout), MapError::File(_)));
    for byte in [0, 8, 12, 16, 32] {
        let forgery = Forgery::new();
        forgery.write_header(byte, &[0x55]);
        refused(forgery.fds(), &layout);
    }
}

/// Random bytes over an index, and gets from it: any answer but a crash or a block without its checksum.
#[test]
fn noise_in_the_index_does_no_harm() {
    for seed in 1..=20_u64 {
        let mut state = seed;
        let mut dice = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let forgery = Forgery::new();
        for index in 0..60 {
            forgery.put(index, index as u32 * 4096, &vec![index as u8; 1 + dice() as usize % 4096]);
        }
        let reader = forgery.open();
        let mut out = vec![0; 4096];
        for _ in 0..2000 {
            // Everything but the header, which is checked when the map is opened.
            let at_byte = HEADER_BYTES as u64 + dice() % (ENTRIES_MIN * ENTRY_BYTES as u64);
            forgery.write_header(at_byte, &[dice() as u8]);
            let index = dice() % 64;
            if let Ok(Some(found)) = reader.get(at(index), Slice::WHOLE, &mut out)
                && found.copied == found.length as usize
            {
                assert_eq!(okapi_base::crc32c(&out[..found.copied]), found.crc, "seed {seed}");
            }
            let _ = reader.get(at(index), Slice { offset: dice() as u32 % 5000, length: dice() as u32 }, &mut out);
        }
    }
}
