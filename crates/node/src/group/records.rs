//! What the node's machine keeps, and which segments are where: one small database, written whole or not at all.

use super::segments::Row;
use okapi_base::NodeId;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What [`okapi_peers::Peer`] keeps.
const PEER: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("peer");
/// Segments by number.
const SEGMENTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("segments");
/// How members are reached, as each has said.
const BOOK: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("book");
/// Bytes of pages the database holds in memory.
const CACHE_BYTES: usize = 2 << 20;

/// A batch of the peer's writes; nothing for a value: the key is removed.
pub(crate) type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;
/// Keys and values.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The database.
pub(crate) struct Records {
    database: Database,
    path: PathBuf,
}

/// The database failed.
#[derive(Debug, thiserror::Error)]
#[error("the records of the group in {} cannot be {what}: {source}; without them restore from the recovery phrase", path.display())]
pub struct RecordsError {
    path: PathBuf,
    what: &'static str,
    source: Box<redb::Error>,
}

impl Records {
    /// Opens the database, making it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, RecordsError> {
        let failed = |source| RecordsError { path: path.to_owned(), what: "opened", source: Box::new(source) };
        let made = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = made.map_err(|error| failed(error.into()))?;
        let records = Self { database, path: path.to_owned() };
        // So that reading never meets a table that is not there.
        records.write("made", |write| {
            write.open_table(PEER)?;
            write.open_table(SEGMENTS)?;
            write.open_table(BOOK)?;
            Ok(())
        })?;
        Ok(records)
    }

    /// All that the peer kept.
    pub(crate) fn peer(&self) -> Result<Pairs, RecordsError> {
        self.read(|read| {
            let table = read.open_table(PEER)?;
            table
                .iter()?
                .map(|pair| pair.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
                .map(|pair| Ok(pair?))
                .collect()
        })
    }

    /// Keeps batches of the peer's writes, durably and in their order.
    pub(crate) fn keep<'w>(&self, batches: impl Iterator<Item = &'w Writes>) -> Result<(), RecordsError> {
        self.write("written", |write| {
            let mut table = write.open_table(PEER)?;
            for (key, value) in batches.flatten() {
                match value {
                    Some(value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                    None => drop(table.remove(key.as_slice())?),
                }
            }
            Ok(())
        })
    }

    /// The segments that are known, by number.
    pub(crate) fn segments(&self) -> Result<BTreeMap<u32, Row>, RecordsError> {
        self.read(|read| {
            let table = read.open_table(SEGMENTS)?;
            let mut rows = BTreeMap::new();
            for pair in table.iter()? {
                let (number, row) = pair?;
                if let Some(row) = Row::parse(row.value()) {
                    rows.insert(number.value(), row);
                }
            }
            Ok(rows)
        })
    }

    /// Changes rows of segments, durably; nothing for a row: it is forgotten.
    pub(crate) fn set_segments(&self, rows: &[(u32, Option<Row>)]) -> Result<(), RecordsError> {
        self.write("written", |write| {
            let mut table = write.open_table(SEGMENTS)?;
            for (number, row) in rows {
                match row {
                    Some(row) => drop(table.insert(number, row.to_bytes().as_slice())?),
                    None => drop(table.remove(number)?),
                }
            }
            Ok(())
        })
    }

    /// What members have said of how they are reached.
    pub(crate) fn book(&self) -> Result<Vec<(NodeId, Vec<u8>)>, RecordsError> {
        self.read(|read| {
            let table = read.open_table(BOOK)?;
            table
                .iter()?
                .map(|pair| pair.map(|(node, said)| (NodeId(*node.value()), said.value().to_vec())))
                .map(|pair| Ok(pair?))
                .collect()
        })
    }

    /// Keeps what a member has said; nothing: it is forgotten.
    pub(crate) fn set_book(&self, node: NodeId, said: Option<&[u8]>) -> Result<(), RecordsError> {
        let same = self.read(|read| Ok(read.open_table(BOOK)?.get(&node.0)?.map(|kept| kept.value().to_vec())))?;
        if same.as_deref() == said {
            return Ok(());
        }
        self.write("written", |write| {
            let mut table = write.open_table(BOOK)?;
            match said {
                Some(said) => drop(table.insert(&node.0, said)?),
                None => drop(table.remove(&node.0)?),
            }
            Ok(())
        })
    }

    fn read<T>(&self, read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, RecordsError> {
        let begun = self.database.begin_read().map_err(redb::Error::from);
        begun.and_then(|begun| read(&begun)).map_err(|source| self.failed("read", source))
    }

    fn write(
        &self,
        what: &'static str,
        write: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), RecordsError> {
        let all = || -> Result<(), redb::Error> {
            let mut begun = self.database.begin_write()?;
            begun.set_durability(Durability::Immediate)?;
            write(&begun)?;
            Ok(begun.commit()?)
        };
        all().map_err(|source| self.failed(what, source))
    }

    /// The error of a directory beside the database.
    pub(crate) fn cannot_open(&self, source: std::io::Error) -> RecordsError {
        self.failed("opened", redb::Error::Io(source))
    }

    fn failed(&self, what: &'static str, source: redb::Error) -> RecordsError {
        RecordsError { path: self.path.clone(), what, source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use okapi_base::SegmentName;

    #[test]
    fn what_is_kept_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group.redb");
        let records = Records::open(&path).unwrap();
        let put = |key: &[u8], value: &[u8]| (key.to_vec(), Some(value.to_vec()));
        let first: Writes = vec![put(b"a", b"1"), put(b"b", b"2")];
        let second: Writes = vec![put(b"a", b"3"), (b"b".to_vec(), None)];
        records.keep([&first, &second].into_iter()).unwrap();
        let row = Row { name: SegmentName([7; 32]), bytes: 9, mark: [1; 12], released_by: 0 };
        records.set_segments(&[(5, Some(row)), (6, Some(row))]).unwrap();
        records.set_segments(&[(6, None)]).unwrap();
        records.set_book(NodeId([3; 32]), Some(b"said")).unwrap();
        drop(records);
        let records = Records::open(&path).unwrap();
        assert_eq!(records.peer().unwrap(), [(b"a".to_vec(), b"3".to_vec())]);
        assert_eq!(records.segments().unwrap(), BTreeMap::from([(5, row)]));
        assert_eq!(records.book().unwrap(), [(NodeId([3; 32]), b"said".to_vec())]);
        records.set_book(NodeId([3; 32]), None).unwrap();
        assert!(records.book().unwrap().is_empty());
    }

    #[test]
    fn a_file_that_is_no_database_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group.redb");
        std::fs::write(&path, [7; 9000]).unwrap();
        let error = Records::open(&path).err().expect("it is none").to_string();
        assert!(error.contains("group.redb") && error.contains("recovery phrase"), "{error}");
    }
}
