//! What only the memory engine does; what all engines do is in `tests/engines.rs`.

use super::*;
use crate::engine::{Block, Change, Edit, Got, Patience, Placed};
use okapi_base::{BlockSize, Durability, Index, crc32c};

const MIB: u64 = 1 << 20;

fn store(limit_bytes: u64, shared: bool) -> (Memory, Arc<dyn Blocks>) {
    let engine = Memory::new(Settings { limit_bytes, shared });
    let block_size = BlockSize::new(1 << 20).expect("a block size");
    let shape = Shape { block_size, durability: Durability::Memory };
    let grid = engine.open_grid(GridId(1), shape).expect("there is room");
    (engine, grid)
}

fn put(grid: &dyn Blocks, index: u64, bytes: &[u8]) -> Result<Placed, WriteError> {
    let edit = Edit::Whole { bytes, crc: crc32c(bytes) };
    grid.put(at(index), &Change { edit, expect: None, relaxed: true })
}

fn get(grid: &dyn Blocks, index: u64) -> Block {
    let Ok(Got::Block(block)) = grid.get(at(index), Patience::Hurried) else { panic!("block {index} was put") };
    block
}

fn at(index: u64) -> Index {
    Index::new(index).expect("below 2^48")
}

#[test]
fn at_the_limit_puts_are_refused_and_nothing_is_lost() {
    for shared in [false, true] {
        for length in [64, 5000, 65_536, 1 << 20] {
            let (engine, grid) = store(8 * MIB, shared);
            let mut count = 0;
            let refused = loop {
                match put(&*grid, count, &vec![count as u8; length]) {
                    Ok(_) => count += 1,
                    Err(refused) => break refused,
                }
                assert!(count * length as u64 <= 8 * MIB, "the limit is not kept");
            };
            assert!(matches!(refused, WriteError::Full { .. }), "{refused}");
            assert!(count * length as u64 >= 2 * MIB, "{count} blocks of {length}");
            let usage = engine.usage();
            assert!(usage.held_bytes <= 8 * MIB && usage.live_bytes <= usage.held_bytes, "{usage:?}");
            for index in 0..count {
                assert!(get(&*grid, index).payload.as_ref().iter().all(|byte| *byte == index as u8), "{index}");
            }
            // Room made is room to use, also for blocks of quite another size.
            for index in 0..count {
                put(&*grid, index, b"").expect("deleting needs no room");
            }
            let other = if length > 5000 { 100 } else { 1 << 20 };
            put(&*grid, 0, &vec![1; other]).expect("everything was deleted");
            put(&*grid, 1, &vec![2; length]).expect("everything was deleted");
        }
    }
}

#[test]
fn dropping_gives_everything_back() {
    for shared in [false, true] {
        let (engine, grid) = store(64 * MIB, shared);
        for index in 0..1000 {
            put(&*grid, index, &[7; 3000]).expect("there is room");
        }
        let lent = get(&*grid, 3);
        engine.drop_grid(GridId(1)).expect("it can say so");
        assert!(matches!(put(&*grid, 1, b"x"), Err(WriteError::Dropped { grid: GridId(1) })));
        drop(grid);
        assert!(engine.usage().held_bytes > 0, "what is lent is held");
        assert_eq!(lent.payload.as_ref(), [7; 3000]);
        drop(lent);
        assert_eq!(engine.usage().held_bytes, 0);
    }
}

#[test]
fn a_block_written_again_and_again_stays_in_the_same_places() {
    for length in [64, 65_536, 1 << 20] {
        let (engine, grid) = store(64 * MIB, false);
        let mut places = std::collections::BTreeSet::new();
        for round in 0..100 {
            put(&*grid, 5, &vec![round; length]).expect("there is room");
            places.insert(get(&*grid, 5).payload.as_ref().as_ptr() as usize);
        }
        assert_eq!(places.len(), 2, "the place just freed is the next to be used");
        assert!(engine.usage().held_bytes < 3 * MIB);
    }
}

#[test]
fn a_wrong_checksum_is_found_and_not_blessed_by_a_slice() {
    let (engine, grid) = store(64 * MIB, false);
    put(&*grid, 1, b"good").expect("there is room");
    let edit = Edit::Whole { bytes: b"bad", crc: crc32c(b"bad") ^ 1 };
    grid.put(at(2), &Change { edit, expect: None, relaxed: true }).expect("there is room");
    let mut damaged = Vec::new();
    let verified = engine.verify(&mut |damage| damaged.push(damage.block));
    assert_eq!((verified.blocks, verified.damages), (2, 1));
    assert_eq!(damaged, [Some((GridId(1), at(2)))]);
    let edit = Edit::Slice { offset: 0, bytes: b"g" };
    let refused = grid.put(at(2), &Change { edit, expect: None, relaxed: true });
    assert!(matches!(refused, Err(WriteError::Unreadable(_))), "{refused:?}");
}
