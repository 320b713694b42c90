//! Grids and blocks.

use super::toy::{Carrier, ToToy};
use super::{bytes, connect, settings, world};
use okapi_client::{
    BlockSize, Client, Durability, Fault, Generation, GetAsk, GridCreate, Index, PutAsk, Slice, Status,
};

fn at(index: u64) -> Index {
    Index::new(index).unwrap()
}

#[test]
fn blocks_come_back_over_every_link() {
    for carrier in [Carrier::Memory, Carrier::Unix] {
        let world = world(65_536);
        let grid = connect(&world, carrier).grid("main", None).unwrap();
        assert_eq!(grid.get(at(1)).unwrap(), None);
        for (index, length) in [(1, 1), (2, 4096), (3, 4097), (4, 65_536)] {
            let content = bytes(index, length);
            let placed = grid.put(at(index), &content).unwrap();
            assert_eq!(placed.length as usize, length);
            let block = grid.get(at(index)).unwrap().unwrap();
            assert_eq!((&block.bytes, block.generation), (&content, placed.generation));
            assert_eq!(block.crc, okapi_base::crc32c(&content));
        }
        let slice = grid.get_slice(at(3), Slice { offset: 4090, length: 100 }).unwrap().unwrap();
        assert_eq!((&slice.bytes[..], slice.length), (&bytes(3, 4097)[4090..], 4097));
        let mut into = [7; 10];
        let got = grid.get_into(at(2), Slice { offset: 5, length: Slice::TO_END }, &mut into).unwrap().unwrap();
        assert_eq!((got.filled, got.length, &into[..]), (10, 4096, &bytes(2, 4096)[5..15]));
        grid.put_slice(at(1), 3, b"abc").unwrap();
        assert_eq!(grid.get(at(1)).unwrap().unwrap().bytes, [bytes(1, 1), vec![0, 0], b"abc".to_vec()].concat());
        grid.put_zeroes(at(1), 3, 1).unwrap();
        grid.truncate(at(1), 5).unwrap();
        assert_eq!(grid.get(at(1)).unwrap().unwrap().bytes, [bytes(1, 1), vec![0, 0, 0], b"b".to_vec()].concat());
        grid.delete(at(1)).unwrap();
        grid.delete(at(1)).unwrap();
        assert_eq!(grid.get(at(1)).unwrap(), None);
        grid.sync().unwrap();
        assert_eq!(grid.stat().unwrap().blocks, 3);
    }
}
