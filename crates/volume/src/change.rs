//! Changing disks that are there: their size, what they are built on, whether they are there at all.

use crate::Access;
use crate::disk::{Disk, STRIDE};
use crate::disks::{Disks, Inner};
use crate::fault::DisksError;
use crate::head::{Head, Parent};
use crate::lease::now;
use crate::make::check_size;
use crate::puts::is_zero;
use crate::sweep::delete_blocks;
use crate::view::Layer;
use okapi_client::Generation;
use std::ops::Range;
use std::sync::Arc;

/// A run of bytes that a disk has of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Where.
    pub bytes: Range<u64>,
    /// Whether they are known to be zeros.
    pub zeroes: bool,
}

impl Disks {
    /// Gives a disk another size. What is cut off is gone; what is added is zeros.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn resize(&self, name: &str, size: u64) -> Result<Head, DisksError> {
        let disk = self.disk(name, Access::Write)?;
        let head = disk.head().clone();
        check_size(size, head.block_size)?;
        // What was cut off earlier, and could not be removed then, must not be seen again.
        let clear_from = head.size.min(size);
        if size > head.size {
            self.0.clear_past(&disk, clear_from)?;
        }
        let parent = head.parent.map(|parent| Parent { through: parent.through.min(clear_from), ..parent });
        let resized = Head { size, parent, ..head.clone() };
        self.0.put_now(&resized)?;
        if size < head.size {
            delete_blocks(&self.0.grid, head.number, head.block_size.blocks_for(size))?;
        }
        Ok(resized)
    }

    /// Removes a disk; `all`: and whatever is built on it. Returns the names of what is gone, children first.
    ///
    /// # Errors
    /// [`DisksError`]; nothing is gone then, unless the node went away in the middle: the rest follows at the next opening.
    pub fn remove(&self, name: &str, all: bool) -> Result<Vec<String>, DisksError> {
        let doomed = {
            let mut directory = self.0.directory.lock();
            directory.look(&self.0.grid)?;
            let head = directory.find(name)?.clone();
            let children = directory.children_names(&head);
            if !all && !children.is_empty() {
                return Err(DisksError::HasChildren { name: name.to_owned(), children });
            }
            let mut doomed = vec![head];
            let mut at = 0;
            while at < doomed.len() {
                doomed.extend(directory.children(&doomed[at]).into_iter().cloned().collect::<Vec<_>>());
                at += 1;
            }
            doomed.reverse();
            doomed
        };
        let refs: Vec<&Head> = doomed.iter().collect();
        let live = self.0.leases(&refs)?.into_iter().zip(&doomed);
        for ((_, lease), head) in live {
            if let Some(by) = lease.filter(|lease| lease.is_live(now())) {
                return Err(DisksError::InUse { name: head.name.clone(), by: by.into() });
            }
        }
        // Held meanwhile, so that nobody begins to write, or sweeps what is being removed.
        let held = self.0.lease(&refs)?;
        held.iter().for_each(|held| held.forget());
        self.0.erase(&doomed)?;
        Ok(doomed.into_iter().map(|head| head.name).collect())
    }

    /// What a disk has of its own, in order.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn diff(&self, name: &str) -> Result<Vec<Changed>, DisksError> {
        let head = self.find(name)?;
        // As a disk that is written to is opened: what it shows as a parent would be one with what is below.
        let disk = Disk::open_own(&self.0, head)?;
        let mut changed: Vec<Changed> = Vec::new();
        for run in disk.own(0) {
            let mut at = run.start;
            while at < run.end {
                let (content, length) = disk.status(at, run.end - at)?;
                let zeroes = content == crate::Content::Zeroes;
                match changed.last_mut() {
                    Some(last) if last.zeroes == zeroes && last.bytes.end == at => last.bytes.end += length,
                    _ => changed.push(Changed { bytes: at..at + length, zeroes }),
                }
                at += length;
            }
        }
        Ok(changed)
    }

    /// Writes what a disk has of its own into its parent, which must have no other child, and leaves the disk without
    /// blocks of its own. `progress` is told how many bytes were written. How many that were.
    ///
    /// # Errors
    /// [`DisksError`]; the disk is as it was then.
    pub fn commit(&self, name: &str, progress: &mut dyn FnMut(u64)) -> Result<u64, DisksError> {
        let disk = self.disk(name, Access::Write)?;
        let head = disk.head().clone();
        let below = head.parent.ok_or_else(|| DisksError::NoParent { name: name.to_owned() })?;
        let (parent, lease) = self.0.hold_parent_of(&head)?;
        if parent.size < head.size {
            check_size(head.size, parent.block_size)?;
            let grown = Parent { through: below.through.min(parent.size), ..below };
            self.0.put_now(&Head { parent: Some(grown), ..head.clone() })?;
        }
        let through = below.through.min(parent.size);
        let bigger = Head { size: parent.size.max(head.size), ..parent.clone() };
        let top = Layer::load(&self.0.grid, &bigger, bigger.size)?;
        let target = Disk::open_held(&self.0, bigger.clone(), top, lease)?;
        if bigger.size > parent.size {
            self.0.clear_past(&target, parent.size)?;
            self.0.put_now(&bigger)?;
        }
        // While this goes on the disk's own blocks cover all that changes.
        let mut written = 0;
        let mut buffer = Vec::new();
        for run in disk.own(0) {
            copy(&disk, &target, run, &mut buffer, &mut |bytes| {
                written += bytes;
                progress(written);
            })?;
        }
        // Where the disk showed zeros and not its parent, the parent shows zeros now.
        if through < head.size {
            let mut at = through;
            while at < head.size {
                let next = disk.own(at).next().unwrap_or(head.size..head.size);
                if at < next.start {
                    target.write_zeroes(at, next.start - at, false)?;
                }
                at = next.end.max(at);
            }
        }
        target.flush()?;
        self.0.put_now(&Head { parent: Some(Parent { through: head.size, ..below }), ..head.clone() })?;
        delete_blocks(&self.0.grid, head.number, 0)?;
        disk.flush()?;
        Ok(written)
    }

    /// Copies to a disk what it shows of others, and makes it stand alone. How many bytes that were.
    ///
    /// # Errors
    /// [`DisksError`]; the disk is as it was then.
    pub fn flatten(&self, name: &str, progress: &mut dyn FnMut(u64)) -> Result<u64, DisksError> {
        let disk = self.disk(name, Access::Write)?;
        let head = disk.head().clone();
        if head.parent.is_none() {
            return Err(DisksError::NoParent { name: name.to_owned() });
        }
        let mut written = 0;
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < head.size {
            let end = disk.own(at).next().unwrap_or(head.size..head.size);
            // Its own are looked for anew each time: those just written are among them.
            copy(&disk, &disk, at..end.start.max(at), &mut buffer, &mut |bytes| {
                written += bytes;
                progress(written);
            })?;
            at = end.end.max(at);
        }
        disk.flush()?;
        self.0.put_now(&Head { parent: None, ..head })?;
        Ok(written)
    }
}

impl Inner {
    /// Puts a head that nobody else changes, durably.
    fn put_now(&self, head: &Head) -> Result<(), DisksError> {
        let (generation, _): (Generation, Head) = self.generation(head)?;
        match self.put_heads(&[(generation, head.clone())], 0)? {
            None => Ok(()),
            Some(_) => Err(DisksError::Changed { name: head.name.clone() }),
        }
    }

    /// Makes zeros of what a disk has past `from`, whatever its head says of its size.
    fn clear_past(&self, disk: &Disk, from: u64) -> Result<(), DisksError> {
        let head = disk.head();
        let block = u64::from(head.block_size.bytes());
        delete_blocks(&self.grid, head.number, from.div_ceil(block))?;
        if !from.is_multiple_of(block) && from > 0 {
            // The last block as the disk shows it, and nothing after.
            let start = from - from % block;
            let mut kept = vec![0; (from - start) as usize];
            disk.read_at(start, &mut kept)?;
            disk.put_last(start / block, &kept)?;
        }
        disk.flush()?;
        Ok(())
    }

    /// Takes the parent of a disk that has no other child, to write to it.
    fn hold_parent_of(self: &Arc<Self>, head: &Head) -> Result<(Head, Arc<crate::holding::Held>), DisksError> {
        let parent = {
            let mut directory = self.directory.lock();
            directory.look(&self.grid)?;
            let parent = directory.chain(head)?.swap_remove(1);
            let mut others = directory.children_names(&parent);
            others.retain(|other| *other != head.name);
            if !others.is_empty() {
                return Err(DisksError::Shared { name: head.name.clone(), parent: parent.name, others });
            }
            if parent.read_only {
                return Err(DisksError::ReadOnly { name: parent.name });
            }
            parent
        };
        let mut held = self.lease(&[&parent])?;
        // Whoever clones it at this moment sees by this that it is too late, and nobody else is a child by now.
        self.put_now(&parent)?;
        let mut directory = self.directory.lock();
        directory.look(&self.grid)?;
        let mut others = directory.children_names(&parent);
        others.retain(|other| *other != head.name);
        match others.is_empty() {
            true => Ok((parent, held.pop().expect("one was taken"))),
            false => Err(DisksError::Shared { name: head.name.clone(), parent: parent.name, others }),
        }
    }
}

/// Copies bytes from one disk to the same place of another, zeros as zeros.
fn copy(
    from: &Disk,
    to: &Disk,
    range: Range<u64>,
    buffer: &mut Vec<u8>,
    moved: &mut dyn FnMut(u64),
) -> Result<(), DisksError> {
    let mut at = range.start;
    while at < range.end {
        let (content, length) = from.status(at, range.end - at)?;
        let length = match content {
            crate::Content::Zeroes => {
                to.write_zeroes(at, length, false)?;
                length
            }
            crate::Content::Data => {
                let length = length.min(STRIDE - at % STRIDE);
                buffer.resize(usize::try_from(length).expect("a stride fits into memory"), 0);
                from.read_at(at, buffer)?;
                if is_zero(buffer) {
                    to.write_zeroes(at, length, false)?;
                } else {
                    to.write_at(at, buffer, false)?;
                }
                length
            }
        };
        moved(length);
        at += length;
    }
    Ok(())
}
