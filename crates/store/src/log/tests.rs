//! Tests of the log as a whole.

mod basics;
mod crash;
mod damage;
mod faults;
mod follow;
mod given;
mod golden;
mod look;
mod pretend;
mod threads;

use super::*;
use crate::engine::{Change, Edit, Got, Patience, Placed, ReadError};
use okapi_base::{BlockSize, Durability, Generation, crc32c};

const KEY: NodeKey = NodeKey::from_bytes([0x4b; 32]);
const GRID: GridId = GridId(7);

fn shape(block_size: u32) -> Shape {
    Shape { block_size: BlockSize::new(block_size).unwrap(), durability: Durability::Always }
}

fn whole(bytes: &[u8]) -> Change<'_> {
    Change { edit: Edit::Whole { bytes, crc: crc32c(bytes) }, expect: None, relaxed: true }
}

fn edit(edit: Edit<'_>) -> Change<'_> {
    Change { edit, expect: None, relaxed: true }
}

fn at(index: u64) -> Index {
    Index::new(index).unwrap()
}

/// A block's generation and content; its checksum is checked on the way.
fn read(grid: &dyn Blocks, index: u64) -> Option<(Generation, Vec<u8>)> {
    match grid.get(at(index), Patience::Waiting).unwrap() {
        Got::Absent => None,
        Got::NotNow => panic!("a waiting get says not now"),
        Got::Block(block) => {
            let bytes = block.payload.as_ref().to_vec();
            assert_eq!(crc32c(&bytes), block.crc, "block {index}");
            Some((block.generation, bytes))
        }
    }
}

fn put(grid: &dyn Blocks, index: u64, bytes: &[u8]) -> Placed {
    grid.put(at(index), &whole(bytes)).unwrap()
}
