//! Making disks: empty ones, from a stream, as clones, as snapshots.

use crate::burn::Burned;
use crate::disks::{Disks, Inner, dice};
use crate::fault::DisksError;
use crate::head::{Head, Parent, encode_batch, is_name};
use crate::holding::Held;
use crate::lease::now;
use crate::limits::{BASE_BLOCK, BATCH_MAX, BLOCKS_MAX, CHAIN_MAX, DIFF_BLOCK, SECTOR};
use crate::place::Number;
use crate::puts::{Puts, cut, is_zero};
use okapi_client::{BlockSize, Generation, Status, flags};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

/// Bytes read and put at a time.
const STRIDE: usize = 4 << 20;

/// How a disk is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDisk {
    /// Its name.
    pub name: String,
    /// Its size in bytes; nothing: what is imported decides.
    pub size: Option<u64>,
    /// The size of its blocks.
    pub block_size: BlockSize,
    /// Nobody is to write to it, once it is made.
    pub read_only: bool,
}

impl NewDisk {
    /// One to build others on.
    #[must_use]
    pub fn base(name: &str) -> Self {
        Self { name: name.to_owned(), size: None, block_size: BASE_BLOCK, read_only: false }
    }

    /// An empty one to write to.
    #[must_use]
    pub fn empty(name: &str, size: u64) -> Self {
        Self { name: name.to_owned(), size: Some(size), block_size: DIFF_BLOCK, read_only: false }
    }

    fn head(&self) -> Result<Head, DisksError> {
        let size = self.size.unwrap_or_default();
        Ok(Head {
            number: Number::new(1).expect("1 is a number"),
            name: self.name.clone(),
            size,
            block_size: self.block_size,
            read_only: self.read_only,
            is_parent: false,
            partial: false,
            made: now(),
            id: dice()?,
            parent: None,
            batch: 0,
        })
    }
}

/// Makes sure that a disk can have this size.
pub(crate) fn check_size(size: u64, block_size: BlockSize) -> Result<(), DisksError> {
    let block = block_size.bytes();
    let most = u64::from(block) * BLOCKS_MAX;
    if size > most || !size.is_multiple_of(SECTOR) {
        return Err(DisksError::BadSize { size, most, block });
    }
    Ok(())
}

impl Disks {
    /// Makes an empty disk.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn make(&self, new: &NewDisk) -> Result<Head, DisksError> {
        let head = new.head()?;
        self.0.check_new(&head)?;
        let mut made = self.0.put_new(vec![head], &[])?;
        Ok(made.pop().expect("one was made"))
    }

    /// Makes a disk of what `from` gives. Blocks of zeros are not stored. `progress` is told how many bytes have come.
    ///
    /// # Errors
    /// [`DisksError`]; there is no such disk then.
    pub fn import(
        &self,
        new: &NewDisk,
        from: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Head, DisksError> {
        let head = Head { partial: true, ..new.head()? };
        self.0.check_new(&head)?;
        let (head, held) = self.0.put_partial(head)?;
        let filled = self.0.fill(&head, new.size, from, progress);
        let done = filled.and_then(|size| {
            let whole = Head { partial: false, size, ..head.clone() };
            self.0.directory.lock().look(&self.0.grid)?;
            let (generation, _) = self.0.generation(&whole)?;
            // Not relaxed: with it all blocks before are durable.
            match self.0.put_heads(&[(generation, whole.clone())], 0)? {
                None => Ok(whole),
                Some(_) => Err(DisksError::Changed { name: whole.name }),
            }
        });
        if done.is_err() {
            // What stays if this fails goes at the next opening, once the lease is over.
            let _ = self.0.erase(std::slice::from_ref(&head));
        }
        drop(held);
        done
    }

    /// Makes clones of a disk, all or none: each shows what the disk shows, and takes no room of its own yet. The disk
    /// cannot be written to as long as it has clones.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn clone_disk(&self, parent: &str, names: &[&str]) -> Result<Vec<Head>, DisksError> {
        self.clone_with(parent, names, &[])
    }

    /// The same, with bytes of each clone's own from the start: which clone, where in it, what.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn clone_with(
        &self,
        parent: &str,
        names: &[&str],
        burned: &[(usize, u64, &[u8])],
    ) -> Result<Vec<Head>, DisksError> {
        self.clones(parent, names, None, burned)
    }

    /// Makes sure that new disks can have these names.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn check_names(&self, names: &[&str]) -> Result<(), DisksError> {
        self.0.check_names(names)
    }

    /// A clone of another size, and with bytes of its own from the start: where, what.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn clone_sized(
        &self,
        parent: &str,
        name: &str,
        size: u64,
        burned: &[(u64, &[u8])],
    ) -> Result<Head, DisksError> {
        let burned: Vec<_> = burned.iter().map(|(at, bytes)| (0, *at, *bytes)).collect();
        let mut made = self.clones(parent, &[name], Some(size), &burned)?;
        Ok(made.pop().expect("one was made"))
    }

    fn clones(
        &self,
        parent: &str,
        names: &[&str],
        size: Option<u64>,
        burned: &[(usize, u64, &[u8])],
    ) -> Result<Vec<Head>, DisksError> {
        if names.len() > BATCH_MAX {
            return Err(DisksError::TooMany { count: names.len(), most: BATCH_MAX });
        }
        self.0.check_names(names)?;
        let (at, parent) = self.0.adopt(parent)?;
        let size = size.unwrap_or(parent.size);
        check_size(size, DIFF_BLOCK)?;
        let mut heads = Vec::with_capacity(names.len());
        for name in names {
            let child = NewDisk { block_size: DIFF_BLOCK, ..NewDisk::empty(name, size) }.head()?;
            let parent = Parent { number: parent.number, id: parent.id, through: parent.size.min(size) };
            heads.push(Head { parent: Some(parent), ..child });
        }
        // Read when nobody can write to the parent any more.
        let burned = self.0.burned(&parent, size, burned)?;
        let made = self.0.put_new(heads, &burned)?;
        self.0.still_parent(at, &parent, made)
    }

    /// Keeps what a disk shows now under another name; the disk goes on as its child.
    ///
    /// # Errors
    /// [`DisksError`].
    pub fn snapshot(&self, name: &str, snapshot: &str) -> Result<Head, DisksError> {
        self.0.check_name(snapshot)?;
        let mut held = self.0.hold(&[name])?;
        let (before, _lease) = held.pop().expect("one was asked for");
        let child = Head {
            parent: Some(Parent { number: before.number, id: before.id, through: before.size }),
            batch: 0,
            ..NewDisk { block_size: before.block_size, ..NewDisk::empty(name, before.size) }.head()?
        };
        let (generation, depth) = {
            let directory = self.0.directory.lock();
            (self.0.generation_in(&directory, &before)?.0, directory.chain(&before)?.len())
        };
        if depth >= CHAIN_MAX {
            return Err(DisksError::TooDeep { name: name.to_owned() });
        }
        let kept = Head { name: snapshot.to_owned(), is_parent: true, ..before };
        let number = self.0.directory.lock().free_numbers(&self.0.grid, 1)?[0];
        let child = Head { number, ..child };
        let held = self.0.lease(&[&child])?;
        // The child first: a disk whose parent has its own name is half a snapshot, and goes.
        let stale = self.0.put_heads(&[(Generation::ABSENT, child.clone()), (generation, kept.clone())], 0)?;
        drop(held);
        match stale {
            None => Ok(kept),
            Some(_) => {
                self.0.erase(&[child])?;
                Err(DisksError::Changed { name: name.to_owned() })
            }
        }
    }
}

impl Inner {
    fn check_name(&self, name: &str) -> Result<(), DisksError> {
        self.check_names(&[name])
    }

    fn check_names(&self, names: &[&str]) -> Result<(), DisksError> {
        if let Some(name) = names.iter().find(|name| !is_name(name)) {
            return Err(DisksError::BadName { name: (*name).to_owned() });
        }
        let mut directory = self.directory.lock();
        directory.look(&self.grid)?;
        let taken: BTreeSet<&str> = directory.heads().map(|head| head.name.as_str()).collect();
        let mut seen = BTreeSet::new();
        match names.iter().find(|name| taken.contains(*name) || !seen.insert(*name)) {
            Some(name) => Err(DisksError::Exists { name: (*name).to_owned() }),
            None => Ok(()),
        }
    }

    fn check_new(&self, head: &Head) -> Result<(), DisksError> {
        self.check_name(&head.name)?;
        if head.block_size > self.grid.block_size() {
            let (has, needed) = (self.grid.block_size().bytes(), head.block_size.bytes());
            return Err(DisksError::SmallBlocks { grid: self.grid.name().to_owned(), has, needed });
        }
        check_size(head.size, head.block_size)
    }

    /// Puts the head of a disk that is being made, held by us.
    fn put_partial(self: &Arc<Self>, head: Head) -> Result<(Head, Arc<Held>), DisksError> {
        let number = self.directory.lock().free_numbers(&self.grid, 1)?[0];
        let head = Head { number, ..head };
        let mut held = self.lease(&[&head])?;
        if self.put_heads(&[(Generation::ABSENT, head.clone())], 0)?.is_some() {
            return Err(DisksError::Changed { name: head.name });
        }
        self.first_of_name(std::slice::from_ref(&head))?;
        Ok((head, held.pop().expect("one was taken")))
    }

    /// Puts the heads of new disks, all or none, and what is burned into them: one frame, if there are not too many.
    fn put_new(self: &Arc<Self>, heads: Vec<Head>, burned: &[Burned]) -> Result<Vec<Head>, DisksError> {
        let Some(count) = std::num::NonZero::new(heads.len()) else { return Ok(heads) };
        let numbers = self.directory.lock().free_numbers(&self.grid, count.get())?;
        let batch = if count.get() > 1 || !burned.is_empty() { u64::from_le_bytes(dice()?).max(1) } else { 0 };
        let numbered = heads.into_iter().zip(&numbers);
        let heads: Vec<Head> = numbered.map(|(head, number)| Head { number: *number, batch, ..head }).collect();
        let first = heads[0].number;
        let held = self.lease(&[&heads[0]])?;
        let bytes: Vec<_> = heads.iter().map(Head::encode).collect();
        let batch_bytes = encode_batch(batch);
        let mut puts = Puts::default();
        if batch != 0 {
            puts.whole(first.batch(), &batch_bytes);
        }
        for ((disk, block), bytes) in burned {
            puts.whole(heads[*disk].number.data(*block), cut(bytes));
        }
        for (head, bytes) in heads.iter().zip(&bytes) {
            puts.whole_if(head.number.head(), bytes, Generation::ABSENT);
        }
        let made = self.send(&puts, 0, "making disks");
        let made = made.and_then(|()| self.first_of_name(&heads));
        if made.is_err() {
            let _ = self.erase(&heads);
        }
        if batch != 0 {
            // By this they are there.
            let mut puts = Puts::default();
            puts.delete(first.batch());
            self.send(&puts, 0, "making disks")?;
        }
        drop(held);
        made?;
        Ok(heads)
    }

    /// Makes sure that no other disk got one of these names at the same time; of several the lowest number keeps it.
    fn first_of_name(&self, heads: &[Head]) -> Result<(), DisksError> {
        let mut directory = self.directory.lock();
        directory.look(&self.grid)?;
        let mut first: BTreeMap<&str, Number> = BTreeMap::new();
        for head in directory.heads() {
            let lowest = first.entry(&head.name).or_insert(head.number);
            *lowest = head.number.min(*lowest);
        }
        let beaten = |head: &&Head| first.get(head.name.as_str()).is_some_and(|first| *first < head.number);
        match heads.iter().find(beaten) {
            Some(head) => Err(DisksError::Exists { name: head.name.clone() }),
            None => Ok(()),
        }
    }

    /// The generation of a disk's head as it was last seen.
    pub(crate) fn generation(&self, head: &Head) -> Result<(Generation, Head), DisksError> {
        self.generation_in(&self.directory.lock(), head)
    }

    fn generation_in(
        &self,
        directory: &crate::directory::Directory,
        head: &Head,
    ) -> Result<(Generation, Head), DisksError> {
        let found = directory.get(head.number).filter(|(_, found)| found.id == head.id);
        found.cloned().ok_or_else(|| DisksError::Changed { name: head.name.clone() })
    }

    /// Says of a disk that it has children, which nobody writes to then.
    fn adopt(self: &Arc<Self>, name: &str) -> Result<(Generation, Head), DisksError> {
        let (generation, head) = {
            let mut directory = self.directory.lock();
            directory.look(&self.grid)?;
            let head = directory.find(name)?;
            if directory.chain(head)?.len() >= CHAIN_MAX {
                return Err(DisksError::TooDeep { name: name.to_owned() });
            }
            directory.get(head.number).expect("it was found just now").clone()
        };
        let (_, lease) = self.leases(&[&head])?.pop().expect("one was asked for");
        if let Some(by) = lease.filter(|lease| lease.is_live(now())) {
            return Err(DisksError::InUse { name: name.to_owned(), by: by.into() });
        }
        if head.is_parent {
            return Ok((generation, head));
        }
        let head = Head { is_parent: true, ..head };
        match self.put_heads(&[(generation, head.clone())], 0)? {
            None => self.generation(&head),
            Some(_) => Err(DisksError::Changed { name: name.to_owned() }),
        }
    }

    /// Makes sure that nobody has begun to write to the parent of these new disks before they were there.
    fn still_parent(&self, at: Generation, parent: &Head, made: Vec<Head>) -> Result<Vec<Head>, DisksError> {
        self.directory.lock().look(&self.grid)?;
        match self.generation(parent) {
            Ok((generation, _)) if generation == at => Ok(made),
            _ => {
                self.erase(&made)?;
                Err(DisksError::Changed { name: parent.name.clone() })
            }
        }
    }

    /// Puts what `from` gives into the blocks of a disk that is being made; its size.
    fn fill(
        &self,
        head: &Head,
        size: Option<u64>,
        from: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, DisksError> {
        let block = usize::try_from(head.block_size.bytes()).expect("blocks are at most 1 MiB");
        let mut buffer = vec![0; STRIDE.max(block)];
        let mut total = 0u64;
        loop {
            let filled = read_full(from, &mut buffer)?;
            check_size((total + filled as u64).next_multiple_of(SECTOR), head.block_size)?;
            if let Some(size) = size.filter(|size| total + filled as u64 > *size) {
                return Err(DisksError::Longer { name: head.name.clone(), size });
            }
            let mut puts = Puts::default();
            for (number, bytes) in (total / block as u64..).zip(buffer[..filled].chunks(block)) {
                if !is_zero(bytes) {
                    puts.whole(head.number.data(number), cut(bytes));
                }
            }
            if let Err((_, status)) = puts.put(&self.grid, flags::RELAXED)? {
                let what = if status == Status::Full { "importing it (the node is full)" } else { "importing it" };
                return Err(DisksError::Refused { name: head.name.clone(), what, status });
            }
            total += filled as u64;
            progress(total);
            if filled < buffer.len() {
                return Ok(size.unwrap_or_else(|| total.next_multiple_of(SECTOR)));
            }
        }
    }
}

fn read_full(from: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, DisksError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(why) => return Err(DisksError::Stream { what: "reading what is imported", why }),
        }
    }
    Ok(filled)
}
