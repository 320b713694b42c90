//! redb: a B+ tree in one file, written copy on write.

use super::engine::{CACHE_BYTES, Engine, Put, Safety};
use crate::Fault;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::path::Path;

const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");

/// An open database with one table.
pub(super) struct Redb {
    database: Database,
    durability: Durability,
}

impl Redb {
    /// Opens or makes the database in `dir`.
    pub(super) fn open(dir: &Path, safety: Safety) -> Result<Self, Fault> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(dir.join("redb"))?;
        let durability = match safety {
            Safety::AtTheEnd => Durability::None,
            Safety::EveryBatch => Durability::Immediate,
        };
        let mut redb = Self { database, durability };
        // The table has to be there before it can be read.
        redb.write(&[], Durability::None)?;
        Ok(redb)
    }

    fn write(&mut self, blocks: &[Put<'_>], durability: Durability) -> Result<(), Fault> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        let mut table = transaction.open_table(BLOCKS)?;
        for (index, content) in blocks {
            table.insert(index, content)?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }
}

impl Engine for Redb {
    fn put(&mut self, blocks: &[Put<'_>]) -> Result<(), Fault> {
        self.write(blocks, self.durability)
    }

    fn get(&mut self, index: u64, into: &mut Vec<u8>) -> Result<bool, Fault> {
        let table = self.database.begin_read()?.open_table(BLOCKS)?;
        into.clear();
        let found = table.get(index)?;
        into.extend_from_slice(found.as_ref().map(redb::AccessGuard::value).unwrap_or_default());
        Ok(found.is_some())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.write(&[], Durability::Immediate)
    }
}
