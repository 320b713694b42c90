//! fjall: an LSM tree. Large values lie in files of their own, as it advises for them.

use super::engine::{CACHE_BYTES, Engine, Put, Safety};
use crate::Fault;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use std::path::Path;

/// An open database with one keyspace.
pub(super) struct Fjall {
    database: Database,
    blocks: Keyspace,
    persist: Option<PersistMode>,
}

impl Fjall {
    /// Opens or makes the database in `dir`.
    pub(super) fn open(dir: &Path, safety: Safety) -> Result<Self, Fault> {
        let database = Database::builder(dir).cache_size(CACHE_BYTES as u64).open()?;
        let separated = || KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()));
        let blocks = database.keyspace("blocks", separated)?;
        let persist = (safety == Safety::EveryBatch).then_some(PersistMode::SyncData);
        Ok(Self { database, blocks, persist })
    }
}

impl Engine for Fjall {
    fn put(&mut self, blocks: &[Put<'_>]) -> Result<(), Fault> {
        let mut batch = self.database.batch().durability(self.persist);
        for (index, content) in blocks {
            batch.insert(&self.blocks, index.to_be_bytes(), *content);
        }
        Ok(batch.commit()?)
    }

    fn get(&mut self, index: u64, into: &mut Vec<u8>) -> Result<bool, Fault> {
        into.clear();
        let found = self.blocks.get(index.to_be_bytes())?;
        into.extend_from_slice(found.as_deref().unwrap_or_default());
        Ok(found.is_some())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}
