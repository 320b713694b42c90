//! In steady state the thread that puts and gets allocates nothing, whatever the log.

#![allow(unsafe_code, reason = "an allocator that counts must implement an unsafe trait; it only passes calls on")]

use okapi_base::{BlockSize, Durability, GridId, Index, crc32c};
use okapi_seal::NodeKey;
use okapi_store::log::{Log, RealDisk, Settings};
use okapi_store::{Blocks, Change, Edit, Engine, Got, Patience, Shape};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

struct Counting;

thread_local! {
    /// Allocations of this thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn put(grid: &dyn Blocks, index: u64, edit: Edit<'_>) {
    let index = Index::new(index).unwrap();
    grid.put(index, &Change { edit, expect: None, relaxed: true }).unwrap();
}

#[test]
fn puts_and_gets_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(folder.path()).unwrap());
    let (log, _) = Log::open(disk, &NodeKey::from_bytes([1; 32]), Settings::default()).unwrap();
    let shape = Shape { block_size: BlockSize::new(4096).unwrap(), durability: Durability::Interval };
    let grid = log.open_grid(GridId(1), shape).unwrap();
    let bytes = [7; 4096];
    let crc = crc32c(&bytes);
    let round = |count: u64| {
        for index in 0..count {
            put(&*grid, index, Edit::Whole { bytes: &bytes, crc });
            put(&*grid, index, Edit::Slice { offset: 100, bytes: &bytes[..200] });
            put(&*grid, index, Edit::Zeroes { offset: 50, length: 500 });
            match grid.get(Index::new(index).unwrap(), Patience::Waiting).unwrap() {
                Got::Block(block) => assert_eq!(block.payload.as_ref().len(), 4096),
                _ => panic!("block {index} was just put"),
            }
        }
    };
    // Several segments, so that chunks go round and their tables have found their size.
    round(3000);
    let before = ALLOCATIONS.get();
    round(3000);
    let allocations = ALLOCATIONS.get() - before;
    // 9,000 puts make 5 segments; each has a name, keys, a file and a table of its own.
    assert!(allocations <= 5 * 30, "{allocations} allocations");
}
