//! What only the fjall engine does; what all engines do is in `tests/engines.rs`.

use super::*;
use crate::engine::{Change, Edit, Got, Patience};
use okapi_base::{BlockSize, Durability};

const SHAPE: Shape = Shape { block_size: BlockSize::DEFAULT, durability: Durability::Always };

fn open(directory: &Path, key: u8) -> Result<Fjall, OpenError> {
    Fjall::open(directory, &NodeKey::from_bytes([key; 32]), &Settings::default())
}

fn put(grid: &dyn Blocks, index: u64, bytes: &[u8]) -> Result<crate::Placed, WriteError> {
    let edit = Edit::Whole { bytes, crc: crc32c(bytes) };
    grid.put(at(index), &Change { edit, expect: None, relaxed: true })
}

fn at(index: u64) -> Index {
    Index::new(index).expect("below 2^48")
}

#[test]
fn a_damaged_value_is_told_and_hides_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path(), 1).expect("a new store");
    let grid = engine.open_grid(GridId(1), SHAPE).expect("there is room");
    for index in 0..10 {
        put(&*grid, index, &[index as u8; 5000]).expect("there is room");
    }
    let value_of = |index| engine.core.blocks.get(value::key(GridId(1), at(index))).expect("readable").expect("there");
    let mut bad = value_of(3).to_vec();
    bad[700] ^= 1;
    engine.core.blocks.insert(value::key(GridId(1), at(3)), bad).expect("written");
    engine.core.blocks.insert(value::key(GridId(1), at(4)), value_of(5)).expect("written");
    for index in 0..10 {
        let got = grid.get(at(index), Patience::Waiting);
        match index {
            3 | 4 => assert!(matches!(got, Err(ReadError::Corrupted { .. })), "{index}: {got:?}"),
            _ => assert!(matches!(got, Ok(Got::Block(_))), "{index}: {got:?}"),
        }
    }
    let edit = Edit::Slice { offset: 0, bytes: b"x" };
    let refused = grid.put(at(3), &Change { edit, expect: None, relaxed: true });
    assert!(matches!(refused, Err(WriteError::Unreadable(ReadError::Corrupted { .. }))), "{refused:?}");
    let mut damages = Vec::new();
    let verified = engine.verify(&mut |damage| damages.push(damage.block));
    assert_eq!((verified.blocks, verified.damages, verified.records), (8, 2, 10));
    assert_eq!(damages, [Some((GridId(1), at(3))), Some((GridId(1), at(4)))]);
    put(&*grid, 3, b"mended").expect("a whole block needs nothing of the old one");
    assert!(matches!(grid.get(at(3), Patience::Waiting), Ok(Got::Block(_))));
}

#[test]
fn another_key_and_another_process_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path(), 1).expect("a new store");
    assert!(matches!(open(directory.path(), 1), Err(OpenError::InUse { .. })));
    drop(engine);
    assert!(matches!(open(directory.path(), 2), Err(OpenError::WrongKey { .. })));
    open(directory.path(), 1).expect("its own key");
}

#[test]
fn the_limit_is_kept_and_nothing_is_lost_by_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings { limit_bytes: 40 << 20, ..Settings::default() };
    let engine = Fjall::open(directory.path(), &NodeKey::from_bytes([1; 32]), &settings).expect("a new store");
    let grid = engine.open_grid(GridId(1), SHAPE).expect("there is room");
    let mut count = 0;
    let refused = loop {
        match put(&*grid, count, &vec![count as u8; 65_536]) {
            Ok(_) => count += 1,
            Err(refused) => break refused,
        }
        assert!(count < 2000, "the limit is not kept");
    };
    assert!(matches!(refused, WriteError::Full { .. }), "{refused}");
    assert!(count > 100, "{count}");
    for index in 0..count {
        let Ok(Got::Block(block)) = grid.get(at(index), Patience::Waiting) else { panic!("block {index} was put") };
        assert!(block.payload.as_ref().iter().all(|byte| *byte == index as u8));
    }
}
