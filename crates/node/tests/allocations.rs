//! In steady state the thread that serves allocates nothing for a get or a put of a block that is there.

#![allow(unsafe_code, reason = "an allocator that counts must implement an unsafe trait; it only passes calls on")]
#![allow(dead_code, reason = "the client is shared with other tests")]

#[path = "node/raw.rs"]
mod raw;

use okapi_base::Durability;
use okapi_grid::ask;
use okapi_node::Node;
use okapi_wire::Op;
use raw::{Raw, settings};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The client's allocations are its own affair.
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTS.load(Ordering::Relaxed) && !IS_CLIENT.try_with(Cell::get).unwrap_or(true) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
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

#[test]
fn gets_and_puts_allocate_nothing_in_steady_state() {
    IS_CLIENT.with(|is| is.set(true));
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(settings(&home)).unwrap();
    Raw::create(&node, "fast", Durability::Memory);
    let mut raw = Raw::open(&node, "fast");
    for length in [64, 4096, 65_536] {
        let block = vec![7; length];
        let round = |raw: &mut Raw, number: u64| {
            for request in 0..8 {
                raw.put(request, number % 64 + u64::from(request), &block);
            }
            for request in 0..8 {
                raw.next(|frame| assert!(ask::accept(frame, Op::Put).is_ok(), "{request}"));
            }
            for request in 0..4 {
                raw.get(request, 0..16);
            }
            for _ in 0..4 {
                raw.next(|frame| assert!(ask::accept(frame, Op::Get).is_ok()));
            }
        };
        // Every buffer finds its size, every block its place.
        for number in 0..500 {
            round(&mut raw, number);
        }
        ALLOCATIONS.store(0, Ordering::Relaxed);
        COUNTS.store(true, Ordering::Relaxed);
        for number in 0..500 {
            round(&mut raw, number);
        }
        COUNTS.store(false, Ordering::Relaxed);
        // 6,000 frames: what is left are the few things that happen by time (the sweep, the store's own housekeeping).
        let allocations = ALLOCATIONS.load(Ordering::Relaxed);
        assert!(allocations <= 10, "{allocations} allocations for blocks of {length} bytes");
    }
    node.stop().unwrap();
}
