//! LMDB through heed: a B+ tree in a memory map, written copy on write.
#![allow(unsafe_code, reason = "a memory map is only as good as its file: LMDB's is opened through an unsafe call")]

use super::engine::{Engine, Put, Safety};
use crate::Fault;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};
use std::path::Path;

/// The size the file may grow to.
const MAP_BYTES: usize = 64 << 30;

/// An open LMDB environment with one unnamed database.
pub(super) struct Lmdb {
    env: Env,
    blocks: Database<'static, Bytes, Bytes>,
}

impl Lmdb {
    /// Opens or makes the environment in `dir`.
    pub(super) fn open(dir: &Path, safety: Safety) -> Result<Self, Fault> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        if safety == Safety::AtTheEnd {
            // SAFETY: without syncing, a power cut may damage the file; this bench cuts no power.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the folder is this process's own, so nobody changes the file under the map.
        let env = unsafe { options.open(dir)? };
        let transaction = env.write_txn()?;
        let blocks = env
            .create_databases_and_commit(transaction, |opener, transaction| {
                opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Self { env, blocks })
    }
}

impl Engine for Lmdb {
    fn put(&mut self, blocks: &[Put<'_>]) -> Result<(), Fault> {
        let mut transaction = self.env.write_txn()?;
        for (index, content) in blocks {
            self.blocks.put(&mut transaction, &index.to_be_bytes(), content)?;
        }
        Ok(transaction.commit()?)
    }

    fn get(&mut self, index: u64, into: &mut Vec<u8>) -> Result<bool, Fault> {
        let transaction = self.env.read_txn()?;
        into.clear();
        let found = self.blocks.get(&transaction, &index.to_be_bytes())?;
        into.extend_from_slice(found.unwrap_or_default());
        Ok(found.is_some())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(self.env.force_sync()?)
    }
}
