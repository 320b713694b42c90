//! What is burned into clones when they are made: bytes anywhere in them, as whole blocks of theirs.

use crate::disk::Disk;
use crate::disks::Inner;
use crate::fault::DisksError;
use crate::head::Head;
use crate::limits::DIFF_BLOCK;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

const BLOCK: u64 = DIFF_BLOCK.bytes() as u64;

/// A block of a clone: which clone, which block, what.
pub(crate) type Burned = ((usize, u64), Vec<u8>);

impl Inner {
    /// The blocks that clones of `size` bytes need to show these bytes (of which clone, where, what), and around them what
    /// the parent shows. Of bytes that overlap the later ones count.
    pub(crate) fn burned(
        self: &Arc<Self>,
        parent: &Head,
        size: u64,
        pieces: &[(usize, u64, &[u8])],
    ) -> Result<Vec<Burned>, DisksError> {
        let mut around = Around { inner: self, parent, disk: None, seen: BTreeMap::new() };
        let mut blocks: BTreeMap<(usize, u64), Vec<u8>> = BTreeMap::new();
        for (clone, offset, bytes) in pieces {
            let length = bytes.len() as u64;
            if offset.checked_add(length).is_none_or(|end| end > size) {
                return Err(DisksError::BurnedPastEnd { name: parent.name.clone(), offset: *offset, length, size });
            }
            let (mut at, mut left) = (*offset, *bytes);
            while !left.is_empty() {
                let from = (at % BLOCK) as usize;
                let (now, later) = left.split_at(left.len().min(BLOCK as usize - from));
                let block = match blocks.entry((*clone, at / BLOCK)) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) if now.len() as u64 == BLOCK => entry.insert(vec![0; BLOCK as usize]),
                    Entry::Vacant(entry) => entry.insert(around.block(at / BLOCK)?),
                };
                block[from..from + now.len()].copy_from_slice(now);
                at += now.len() as u64;
                left = later;
            }
        }
        Ok(blocks.into_iter().collect())
    }
}

/// What the parent shows in blocks of which only a part is burned: nearly always the same few for all clones.
struct Around<'a> {
    inner: &'a Arc<Inner>,
    parent: &'a Head,
    disk: Option<Disk>,
    seen: BTreeMap<u64, Vec<u8>>,
}

impl Around<'_> {
    fn block(&mut self, number: u64) -> Result<Vec<u8>, DisksError> {
        if let Some(block) = self.seen.get(&number) {
            return Ok(block.clone());
        }
        let disk = match &self.disk {
            Some(disk) => disk,
            None => self.disk.insert(Disk::open(self.inner, self.parent.clone())?),
        };
        let mut block = vec![0; BLOCK as usize];
        let shown = disk.size().saturating_sub(number * BLOCK).min(BLOCK) as usize;
        disk.read_at(number * BLOCK, &mut block[..shown])?;
        self.seen.insert(number, block.clone());
        Ok(block)
    }
}
