//! Open segment files with their keys, and the indexes of segments lately asked for: both bounded.

use super::disk::{Disk, DiskFile, read_to_end};
use super::format::{Entry, FIRST_RECORD, Footer, LABEL_COPY, Label, StoreId, TRAILER, Trailer};
use super::keys::{Ring, SegmentKeys};
use super::parts::{TABLE, TABLE_AT, Table, open_table};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Segment files held open.
pub(super) const FILES_OPEN_MAX: usize = 512;
/// Segment indexes held in memory, besides that of the active segment. Each is at most a quarter of a segment.
pub(super) const INDEXES_HELD_MAX: usize = 16;

/// The file of segment `number`.
pub(super) fn segment_name(number: u32) -> String {
    format!("segment-{number:010}")
}

/// The segment whose file has this name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segment-")?;
    let number: u32 = digits.parse().ok()?;
    (segment_name(number) == name && number > 0).then_some(number)
}

/// A segment that can be read.
pub(super) struct SegmentFile {
    pub(super) label: Label,
    pub(super) keys: SegmentKeys,
    /// The table of grids with keys of their own, as it is sealed in the file.
    pub(super) table: Option<Box<Table>>,
    pub(super) file: Arc<dyn DiskFile>,
}

impl SegmentFile {
    /// Opens segment `number` of store `store`. None: the file is there, and no copy of its label is whole.
    pub(super) fn open(disk: &dyn Disk, ring: &Arc<Ring>, store: &StoreId, number: u32) -> io::Result<Option<Self>> {
        let file = disk.open(&segment_name(number))?;
        let mut page = [0; FIRST_RECORD as usize];
        let filled = file.read_at(&mut page, 0, false)?;
        let page = &page[..filled];
        let own = |label: &Label| label.number == number && label.store == *store;
        let mut label = Label::read(page).filter(own).or_else(|| Label::read(page.get(LABEL_COPY..)?).filter(own));
        if label.is_none() {
            label = read_trailer(&*file)?.map(|trailer| trailer.label).filter(own);
        }
        let Some(label) = label else { return Ok(None) };
        let mut this = Self { label, keys: SegmentKeys::new(&label, ring), table: None, file };
        if label.has_parts() {
            this.load_table(page)?;
        }
        Ok(Some(this))
    }

    /// Finds a copy of the table that is whole, in the first page or after the footer, and takes in what it tells.
    fn load_table(&mut self, page: &[u8]) -> io::Result<()> {
        for at in [TABLE_AT, LABEL_COPY + TABLE_AT] {
            if self.take_table(page.get(at..).unwrap_or_default()) {
                return Ok(());
            }
        }
        if let Some(trailer) = read_trailer(&*self.file)?.filter(|trailer| trailer.label == self.label) {
            let mut copy = [0; TABLE];
            let at = trailer.footer_at + trailer.footer_bytes;
            let filled = self.file.read_at(&mut copy, at.into(), false)?;
            self.take_table(&copy[..filled]);
        }
        Ok(())
    }

    fn take_table(&mut self, bytes: &[u8]) -> bool {
        let Some(table) = bytes.first_chunk::<TABLE>() else { return false };
        let Some(numbers) = open_table(table, &self.keys.footers) else { return false };
        self.keys.give(&numbers);
        self.table = Some(Box::new(*table));
        true
    }

    /// The footer, if the segment is closed and it is whole.
    pub(super) fn footer(&self) -> io::Result<Option<(Trailer, Footer)>> {
        let Some(trailer) = read_trailer(&*self.file)?.filter(|trailer| trailer.label == self.label) else {
            return Ok(None);
        };
        let mut sealed = read_to_end(&*self.file, trailer.footer_at.into(), trailer.footer_bytes.into())?;
        Ok(trailer.open(&self.keys, &mut sealed).map(|footer| (trailer, footer)))
    }
}

pub(super) fn read_trailer(file: &dyn DiskFile) -> io::Result<Option<Trailer>> {
    let length = file.length()?;
    let Some(at) = length.checked_sub(TRAILER as u64) else { return Ok(None) };
    let mut bytes = [0; TRAILER];
    let filled = file.read_at(&mut bytes, at, false)?;
    Ok(Trailer::read(&bytes[..filled], length))
}

/// What is kept open.
#[derive(Default)]
pub(super) struct Shelf {
    files: RwLock<HashMap<u32, Shelved>>,
    clock: AtomicU64,
    indexes: Mutex<Vec<(u32, Arc<Vec<Entry>>)>>,
}

struct Shelved {
    file: Arc<SegmentFile>,
    used: AtomicU64,
}

impl Shelf {
    pub(super) fn file(&self, number: u32) -> Option<Arc<SegmentFile>> {
        let files = self.files.read();
        let shelved = files.get(&number)?;
        // An exact order of use is not needed, and threads that read one segment need not fight for this word.
        let now = self.clock.load(Relaxed);
        if shelved.used.load(Relaxed) != now {
            shelved.used.store(now, Relaxed);
        }
        Some(Arc::clone(&shelved.file))
    }

    pub(super) fn keep_file(&self, file: &Arc<SegmentFile>) {
        let mut files = self.files.write();
        let now = self.clock.fetch_add(1, Relaxed) + 1;
        if files.len() >= FILES_OPEN_MAX
            && let Some(oldest) = files.iter().min_by_key(|(_, shelved)| shelved.used.load(Relaxed)).map(|(n, _)| *n)
        {
            files.remove(&oldest);
        }
        files.insert(file.label.number, Shelved { file: Arc::clone(file), used: AtomicU64::new(now) });
    }

    pub(super) fn index(&self, number: u32) -> Option<Arc<Vec<Entry>>> {
        let mut indexes = self.indexes.lock();
        let at = indexes.iter().position(|(held, _)| *held == number)?;
        // The last is the latest used.
        indexes[at..].rotate_left(1);
        indexes.last().map(|(_, entries)| Arc::clone(entries))
    }

    pub(super) fn keep_index(&self, number: u32, entries: Arc<Vec<Entry>>) {
        let mut indexes = self.indexes.lock();
        indexes.retain(|(held, _)| *held != number);
        if indexes.len() >= INDEXES_HELD_MAX {
            indexes.remove(0);
        }
        indexes.push((number, entries));
    }

    pub(super) fn forget(&self, number: u32) {
        self.files.write().remove(&number);
        self.indexes.lock().retain(|(held, _)| *held != number);
    }
}
