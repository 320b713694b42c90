//! Okapi's own engine through the trait that all its engines fulfil.

use super::engine::{Engine, Put, Safety};
use crate::Fault;
use okapi_base::{BlockSize, Durability, GridId, Index, crc32c};
use okapi_seal::NodeKey;
use okapi_store::log::{Log, RealDisk, Settings};
use okapi_store::{Blocks, Change, Edit, Got, Patience, Shape};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An open store with one grid.
pub(super) struct Okapi {
    blocks: Arc<dyn Blocks>,
    store: Box<dyn okapi_store::Engine>,
    safety: Safety,
}

impl Okapi {
    /// Opens or makes the store in `dir`, sealed with a key of its own.
    pub(super) fn open(dir: &Path, block_size: usize, safety: Safety) -> Result<Self, Fault> {
        let store = open_log(dir)?;
        let block_size = u32::try_from(block_size).ok().and_then(BlockSize::new).ok_or("no block has this size")?;
        let durability = match safety {
            Safety::AtTheEnd => Durability::Interval,
            Safety::EveryBatch => Durability::Always,
        };
        let blocks = store.open_grid(GridId(1), Shape { block_size, durability })?;
        Ok(Self { blocks, store, safety })
    }
}

fn open_log(dir: &Path) -> Result<Box<dyn okapi_store::Engine>, Fault> {
    let key_file = dir.join("key");
    let key = if key_file.exists() { NodeKey::load(&key_file)? } else { NodeKey::create(&key_file)? };
    // Nothing is synced but when it is asked for, as with the others.
    let settings = Settings { interval: Duration::from_secs(24 * 60 * 60), ..Settings::default() };
    let (log, opened) = Log::open(Arc::new(RealDisk::new(&dir.join("log"))?), &key, settings)?;
    match opened.damages.first() {
        None => Ok(Box::new(log)),
        Some(damage) => Err(format!("the log is damaged at {}: {}", damage.place, damage.what).into()),
    }
}

impl Engine for Okapi {
    fn put(&mut self, blocks: &[Put<'_>]) -> Result<(), Fault> {
        for (index, bytes) in blocks {
            let index = Index::new(*index).ok_or("an index of more than 48 bits")?;
            // Whoever writes computes the checksum, so it belongs to the cost of a put.
            let edit = Edit::Whole { bytes, crc: crc32c(bytes) };
            self.blocks.put(index, &Change { edit, expect: None, relaxed: true })?;
        }
        match self.safety {
            Safety::AtTheEnd => Ok(()),
            Safety::EveryBatch => self.sync(),
        }
    }

    fn get(&mut self, index: u64, into: &mut Vec<u8>) -> Result<bool, Fault> {
        let index = Index::new(index).ok_or("an index of more than 48 bits")?;
        into.clear();
        match self.blocks.get(index, Patience::Waiting)? {
            Got::Block(block) => {
                into.extend_from_slice(block.payload.as_ref());
                // Whoever reads checks it, so it belongs to the cost of a get.
                if crc32c(into) == block.crc { Ok(true) } else { Err(format!("block {index} has changed").into()) }
            }
            Got::Absent => Ok(false),
            Got::NotNow => Err("a get that may wait did not".into()),
        }
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(self.store.flush()?)
    }
}
