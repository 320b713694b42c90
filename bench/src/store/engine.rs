//! What the store bench asks of an engine, and who fulfils it.

use super::{fjall, lmdb, okapi, redb};
use crate::Fault;
use std::path::Path;

/// Memory for an engine's own cache, for those that have one. The page cache is everybody's.
pub(super) const CACHE_BYTES: usize = 256 << 20;

/// A block to be put: its index and its content.
pub(super) type Put<'a> = (u64, &'a [u8]);

/// When a put has to have reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Safety {
    /// Once somebody calls [`Engine::sync`].
    AtTheEnd,
    /// When [`Engine::put`] returns.
    EveryBatch,
}

/// An engine, open on a folder of its own. Dropping it closes it.
pub(super) trait Engine {
    /// Puts some blocks, in one transaction where the engine has such.
    fn put(&mut self, blocks: &[Put<'_>]) -> Result<(), Fault>;

    /// Copies a block's content to `into` (cleared first) and says whether there is such a block.
    fn get(&mut self, index: u64, into: &mut Vec<u8>) -> Result<bool, Fault>;

    /// Makes everything put so far durable.
    fn sync(&mut self) -> Result<(), Fault>;
}

/// Names of all engines, Okapi's first.
pub(super) const NAMES: [&str; 4] = ["okapi", "lmdb", "fjall", "redb"];

/// Opens an engine by its name.
pub(super) fn open(name: &str, dir: &Path, block_size: usize, safety: Safety) -> Result<Box<dyn Engine>, Fault> {
    Ok(match name {
        "okapi" => Box::new(okapi::Okapi::open(dir, block_size, safety)?),
        "lmdb" => Box::new(lmdb::Lmdb::open(dir, safety)?),
        "fjall" => Box::new(fjall::Fjall::open(dir, safety)?),
        "redb" => Box::new(redb::Redb::open(dir, safety)?),
        _ => return Err(format!("`{name}` is no engine; there are {}", NAMES.join(", ")).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_keeps_what_it_was_given() {
        for name in NAMES {
            for safety in [Safety::AtTheEnd, Safety::EveryBatch] {
                let dir = tempfile::tempdir().unwrap();
                let mut into = Vec::new();
                let mut engine = open(name, dir.path(), 4096, safety).unwrap();
                engine.put(&[(1, &[1; 4096]), (2, &[2; 100])]).unwrap();
                engine.put(&[(1, &[3; 4096])]).unwrap();
                engine.sync().unwrap();
                drop(engine);
                let mut engine = open(name, dir.path(), 4096, safety).unwrap();
                assert!(engine.get(1, &mut into).unwrap() && into == [3; 4096], "{name}");
                assert!(engine.get(2, &mut into).unwrap() && into == [2; 100], "{name}");
                assert!(!engine.get(3, &mut into).unwrap(), "{name}");
            }
        }
    }
}
