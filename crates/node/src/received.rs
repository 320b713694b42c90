//! Keys of other members' grids that this node was given: with them it reads those grids while their owner is away.
//!
//! One block for each node that gave any, behind the grants in the companion of the catalog. They come back in a restore
//! like all else. `docs/format/catalog.md` has every byte.

use crate::catalog::{COMPANION, check_name};
use crate::refusal::Refusal;
use okapi_base::{BlockSize, Durability, GridId, Index, NodeId, crc32c};
use okapi_seal::GridKey;
use okapi_store::{Blocks, Change, Edit, Engine, Got, Patience, Shape};
use okapi_wire::Status;
use okapi_wire::message::away::KEYS_MAX;
use okapi_wire::message::{KeyGiven, KeysGive};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first block.
pub(crate) const FROM: u64 = 1 << 32;
/// Nodes from which keys are kept.
const GIVERS_MAX: usize = 256;
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 48;
const KEY_BYTES: usize = 120;
const NAME_AT: usize = 56;

/// All keys that were given.
pub(crate) struct Received {
    engine: Arc<dyn Engine>,
    blocks: Arc<dyn Blocks>,
    /// The block of each giver, and what it gave.
    kept: Mutex<BTreeMap<NodeId, (Index, KeysGive)>>,
}

impl Received {
    /// Reads what was kept.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn open(engine: &Arc<dyn Engine>) -> Result<Self, Refusal> {
        let shape = Shape { block_size: block_size(), durability: Durability::Always };
        let blocks = engine.open_grid(GridId(COMPANION), shape)?;
        let mut kept = BTreeMap::new();
        let mut found = Vec::new();
        blocks.list(Index::new(FROM).expect("it is an index"), GIVERS_MAX, false, &mut found)?;
        for listed in found {
            match blocks.get(listed.index, Patience::Waiting) {
                Ok(Got::Block(block)) => match decode(block.payload.as_ref()) {
                    Some((node, keys)) => drop(kept.insert(node, (listed.index, keys))),
                    None => tracing::error!("keys of other members' grids cannot be understood; they are given again"),
                },
                Ok(_) => {}
                Err(error) => tracing::error!("keys of other members' grids are lost, and given again: {error}"),
            }
        }
        Ok(Self { engine: Arc::clone(engine), blocks, kept: Mutex::new(kept) })
    }

    /// Keeps what a node gives, in place of what it gave before. Durable when this returns.
    pub(crate) fn keep(&self, from: NodeId, keys: KeysGive) -> Result<(), Refusal> {
        check(&keys)?;
        let mut kept = self.kept.lock();
        let known = kept.get(&from);
        if known.is_some_and(|(_, known)| *known == keys) || (known.is_none() && keys.keys.is_empty()) {
            return Ok(());
        }
        let free = || (FROM..).map(|at| Index::new(at).expect("it is far below the last"));
        let index = match known {
            Some((index, _)) => *index,
            None if kept.len() >= GIVERS_MAX => {
                return Err(Refusal::new(Status::Full, "keys of 256 nodes are kept here, and that is the limit"));
            }
            None => free().find(|at| kept.values().all(|(taken, _)| taken != at)).expect("few are taken"),
        };
        let bytes = if keys.keys.is_empty() { Vec::new() } else { encode(from, &keys) };
        let edit = Edit::Whole { bytes: &bytes, crc: crc32c(&bytes) };
        self.blocks.put(index, &Change { edit, expect: None, relaxed: false })?;
        self.engine.flush()?;
        match keys.keys.is_empty() {
            true => drop(kept.remove(&from)),
            false => drop(kept.insert(from, (index, keys))),
        }
        Ok(())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.kept.lock().values().map(|(_, keys)| keys.keys.len()).sum()
    }

    /// What a node gave.
    pub(crate) fn of(&self, node: &NodeId) -> Vec<KeyGiven> {
        self.kept.lock().get(node).map(|(_, keys)| keys.keys.clone()).unwrap_or_default()
    }
}

fn check(keys: &KeysGive) -> Result<(), Refusal> {
    let wrong = |text: &str| Err(Refusal::new(Status::Malformed, text));
    if !keys.keys.is_sorted_by(|one, next| one.grid < next.grid) {
        return wrong("the keys are not in the order of their grids");
    }
    for key in &keys.keys {
        check_name(&key.name)?;
        let grid = key.grid > 0 && key.grid < COMPANION;
        if !grid || GridKey::from_bytes(key.number, &key.key).is_none() {
            return wrong("there is no such grid, or no such key");
        }
    }
    Ok(())
}

fn block_size() -> BlockSize {
    const BYTES: u32 = 16 << 10;
    const _: () = assert!(HEAD_BYTES + KEYS_MAX * KEY_BYTES <= BYTES as usize);
    BlockSize::new(BYTES).expect("16 KiB is a block size")
}

fn encode(from: NodeId, keys: &KeysGive) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    bytes[0] = VERSION;
    bytes[2..4].copy_from_slice(&u16::try_from(keys.keys.len()).expect("keys are few").to_le_bytes());
    bytes[16..48].copy_from_slice(&from.0);
    for key in &keys.keys {
        let mut slot = [0; KEY_BYTES];
        slot[..4].copy_from_slice(&key.grid.to_le_bytes());
        slot[4..6].copy_from_slice(&key.number.to_le_bytes());
        slot[7] = u8::try_from(key.name.len()).expect("a grid's name has at most 64 bytes");
        slot[8..12].copy_from_slice(&key.block_size.bytes().to_le_bytes());
        slot[16..24].copy_from_slice(&key.made.to_le_bytes());
        slot[24..NAME_AT].copy_from_slice(&key.key);
        slot[NAME_AT..][..key.name.len()].copy_from_slice(key.name.as_bytes());
        bytes.extend_from_slice(&slot);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<(NodeId, KeysGive)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let (slots, []) = rest.as_chunks::<KEY_BYTES>() else { return None };
    let count = usize::from(u16::from_le_bytes([head[2], head[3]]));
    if head[0] != VERSION || count != slots.len() || count > KEYS_MAX {
        return None;
    }
    let keys: Option<Vec<KeyGiven>> = slots.iter().map(decode_key).collect();
    let keys = KeysGive { keys: keys? };
    check(&keys).ok()?;
    Some((NodeId(*head.last_chunk()?), keys))
}

fn decode_key(slot: &[u8; KEY_BYTES]) -> Option<KeyGiven> {
    let four = |at: usize| u32::from_le_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]]);
    let name = slot[NAME_AT..].get(..usize::from(slot[7]))?;
    Some(KeyGiven {
        grid: four(0),
        number: u16::from_le_bytes([slot[4], slot[5]]),
        block_size: BlockSize::new(four(8))?,
        made: u64::from_le_bytes(*slot[16..].first_chunk()?),
        name: str::from_utf8(name).ok()?.to_owned(),
        key: *slot[24..].first_chunk()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> KeysGive {
        let block_size = BlockSize::new(4096).unwrap();
        let (name, key) = ("photos".to_owned(), core::array::from_fn(|at| at as u8));
        let one = KeyGiven { grid: 7, number: 0x0203, block_size, made: 0x0198_0102_0304, name, key };
        KeysGive { keys: vec![one.clone(), KeyGiven { grid: 9, name: "x".repeat(64), ..one }] }
    }

    #[test]
    fn the_block_is_as_it_has_always_been() {
        let golden = include_bytes!("../testdata/keys-received.bin");
        assert_eq!(encode(NodeId([0x33; 32]), &example()), golden);
        assert_eq!(decode(golden), Some((NodeId([0x33; 32]), example())));
    }

    #[test]
    fn damaged_blocks_never_panic_and_what_is_understood_is_written_the_same() {
        let good = encode(NodeId([0x33; 32]), &example());
        for at in 0..good.len() {
            assert!(decode(&good[..at]).is_none(), "{at} bytes");
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                if let Some((node, keys)) = decode(&bytes) {
                    assert_eq!(decode(&encode(node, &keys)), Some((node, keys)), "byte {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn what_is_given_replaces_what_was_and_stays() {
        let engine: Arc<dyn Engine> = Arc::new(okapi_store::memory::Memory::new(okapi_store::memory::Settings {
            limit_bytes: 1 << 20,
            shared: false,
        }));
        let received = Received::open(&engine).unwrap();
        let (one, two) = (NodeId([1; 32]), NodeId([2; 32]));
        received.keep(one, example()).unwrap();
        received.keep(two, example()).unwrap();
        let fewer = KeysGive { keys: example().keys[..1].to_vec() };
        received.keep(two, fewer.clone()).unwrap();
        received.keep(one, KeysGive::default()).unwrap();
        let again = Received::open(&engine).unwrap();
        assert_eq!((again.of(&one), again.of(&two)), (Vec::new(), fewer.keys.clone()));
        let twice = KeysGive { keys: vec![fewer.keys[0].clone(), fewer.keys[0].clone()] };
        assert!(again.keep(one, twice).is_err());
        let none = KeysGive { keys: vec![KeyGiven { number: 0, ..fewer.keys[0].clone() }] };
        assert!(again.keep(one, none).is_err());
    }
}
