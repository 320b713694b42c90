//! A pretend disk whose power can be cut after any operation.
//!
//! What was not made durable then is kept, lost or torn at random, in sectors of 512 bytes and in any order; so are
//! creations, renames and removals.

use super::super::disk::{Disk, DiskFile};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

const SECTOR: usize = 512;

/// Dice from a seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
enum Op {
    Create(String, u64),
    Write(usize, u64, Vec<u8>),
    SetLength(usize, u64),
    Sync(usize),
    Remove(String),
    Rename(String, String),
    SyncDir,
}

#[derive(Clone, Default)]
struct FileState {
    durable: Vec<u8>,
    now: Vec<u8>,
    pending: Vec<Op>,
}

/// All that a disk holds.
#[derive(Clone, Default)]
pub(super) struct World {
    files: Vec<FileState>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Names given since (with the file) or taken away.
    pending_names: Vec<(String, Option<usize>)>,
}

impl World {
    fn file(&self, name: &str) -> Result<usize> {
        self.names.get(name).copied().ok_or_else(|| Error::from(ErrorKind::NotFound))
    }

    fn apply(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Create(name, room) => {
                if self.names.contains_key(name) {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                let id = self.files.len();
                self.files.push(FileState::default());
                self.give(name, Some(id));
                self.apply(&Op::SetLength(id, *room))?;
            }
            Op::Write(id, ..) | Op::SetLength(id, _) => {
                let file = &mut self.files[*id];
                change(&mut file.now, op);
                file.pending.push(op.clone());
            }
            Op::Sync(id) => {
                let file = &mut self.files[*id];
                file.pending.clear();
                file.durable.clone_from(&file.now);
            }
            Op::Remove(name) => {
                self.file(name)?;
                self.give(name, None);
            }
            Op::Rename(from, to) => {
                let id = self.file(from)?;
                self.give(to, Some(id));
                self.give(from, None);
            }
            Op::SyncDir => {
                self.pending_names.clear();
                self.durable_names.clone_from(&self.names);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.names.values().map(|id| self.files[*id].now.len() as u64).sum()
    }

    /// By how much an operation makes a file longer.
    fn growth(&self, op: &Op) -> u64 {
        let beyond = |id: &usize, end: u64| end.saturating_sub(self.files[*id].now.len() as u64);
        match op {
            Op::Create(_, room) => *room,
            Op::Write(id, offset, bytes) => beyond(id, offset + bytes.len() as u64),
            Op::SetLength(id, length) => beyond(id, *length),
            _ => 0,
        }
    }

    fn give(&mut self, name: &str, id: Option<usize>) {
        match id {
            Some(id) => self.names.insert(name.to_owned(), id),
            None => self.names.remove(name),
        };
        self.pending_names.push((name.to_owned(), id));
    }

    /// What is found after a power cut.
    pub(super) fn reboot(&self, dice: &mut Dice) -> Self {
        // Whole classes of luck, so that extremes are met often and not only mixtures.
        let luck = [0, 100, 50, 90, 10][dice.below(5) as usize];
        let mut names = self.durable_names.clone();
        for (name, id) in &self.pending_names {
            if dice.chance(luck) {
                match id {
                    Some(id) => names.insert(name.clone(), *id),
                    None => names.remove(name),
                };
            }
        }
        let mut world = Self::default();
        for (name, id) in names {
            let file = &self.files[id];
            let mut bytes = file.durable.clone();
            let luck = [0, 100, 50, 95, 5][dice.below(5) as usize];
            for op in &file.pending {
                tear(&mut bytes, op, luck, dice);
            }
            world.names.insert(name.clone(), world.files.len());
            world.files.push(FileState { durable: bytes.clone(), now: bytes, pending: Vec::new() });
        }
        world.durable_names = world.names.clone();
        world
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// The content of a file, to be damaged.
    pub(super) fn content(&mut self, name: &str) -> &mut Vec<u8> {
        let id = self.names[name];
        &mut self.files[id].now
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.names.remove(name);
    }
}

fn change(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(_, offset, new) => {
            let from = *offset as usize;
            bytes.resize(bytes.len().max(from + new.len()), 0);
            bytes[from..from + new.len()].copy_from_slice(new);
        }
        Op::SetLength(_, length) => bytes.resize(*length as usize, 0),
        _ => unreachable!("only changes of bytes are pending in a file"),
    }
}

fn tear(bytes: &mut Vec<u8>, op: &Op, luck: u64, dice: &mut Dice) {
    let Op::Write(id, offset, new) = op else {
        if dice.chance(luck) {
            change(bytes, op);
        }
        return;
    };
    let mut at = 0;
    while at < new.len() {
        let sector_end = (*offset as usize + at) / SECTOR * SECTOR + SECTOR;
        let end = new.len().min(sector_end - *offset as usize);
        if dice.chance(luck) {
            change(bytes, &Op::Write(*id, offset + at as u64, new[at..end].to_vec()));
        }
        at = end;
    }
}

/// What goes wrong, and when: the operation's number.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// All operations from there on fail.
    From(u64, ErrorKind),
    /// Files cannot be made between the two.
    Full(u64, u64),
    /// All files together can have so many bytes.
    Room(u64),
    /// Nothing that is in a file is in memory.
    Cold,
    /// The first sync from there on fails, and what it should have made durable is lost.
    Sync(u64),
}

#[derive(Default)]
struct Inside {
    start: World,
    world: World,
    journal: Vec<Op>,
    fault: Option<Fault>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub(super) struct Pretend(Arc<Mutex<Inside>>);

impl Pretend {
    pub(super) fn with(world: World) -> Self {
        Self(Arc::new(Mutex::new(Inside { start: world.clone(), world, ..Inside::default() })))
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        self.0.lock().fault = fault;
    }

    /// Operations so far.
    pub(super) fn operations(&self) -> usize {
        self.0.lock().journal.len()
    }

    /// What the disk was after so many operations.
    pub(super) fn world_after(&self, operations: usize) -> World {
        let inside = self.0.lock();
        let mut world = inside.start.clone();
        for op in &inside.journal[..operations] {
            world.apply(op).expect("what went well once goes well again");
        }
        world
    }

    pub(super) fn world(&self) -> World {
        self.0.lock().world.clone()
    }

    fn act(&self, op: Op) -> Result<()> {
        let inside = &mut *self.0.lock();
        let now = inside.journal.len() as u64;
        match (inside.fault, &op) {
            (Some(Fault::From(from, kind)), _) if now >= from => return Err(kind.into()),
            (Some(Fault::Full(from, to)), Op::Create(..)) if (from..to).contains(&now) => {
                return Err(ErrorKind::StorageFull.into());
            }
            (Some(Fault::Room(room)), op) if inside.world.bytes() + inside.world.growth(op) > room => {
                return Err(ErrorKind::StorageFull.into());
            }
            (Some(Fault::Sync(from)), Op::Sync(id)) if now >= from => {
                let file = &mut inside.world.files[*id];
                file.pending.clear();
                inside.fault = None;
                return Err(Error::other("the disk could not write"));
            }
            _ => {}
        }
        inside.world.apply(&op)?;
        inside.journal.push(op);
        Ok(())
    }
}

impl Disk for Pretend {
    fn create(&self, name: &str, room: u64) -> Result<Arc<dyn DiskFile>> {
        self.act(Op::Create(name.to_owned(), room))?;
        self.open(name)
    }

    fn open(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let id = self.0.lock().world.file(name)?;
        Ok(Arc::new(PretendFile { disk: self.clone(), id }))
    }

    fn list(&self) -> Result<Vec<String>> {
        Ok(self.0.lock().world.names())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.act(Op::Remove(name.to_owned()))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.act(Op::Rename(from.to_owned(), to.to_owned()))
    }

    fn sync_dir(&self) -> Result<()> {
        self.act(Op::SyncDir)
    }
}

struct PretendFile {
    disk: Pretend,
    id: usize,
}

impl DiskFile for PretendFile {
    fn read_at(&self, into: &mut [u8], offset: u64, hurried: bool) -> Result<usize> {
        let inside = self.disk.0.lock();
        if hurried && matches!(inside.fault, Some(Fault::Cold)) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let rest = inside.world.files[self.id].now.get(offset as usize..).unwrap_or(&[]);
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.disk.act(Op::Write(self.id, offset, bytes.to_vec()))
    }

    fn sync(&self) -> Result<()> {
        self.disk.act(Op::Sync(self.id))
    }

    fn length(&self) -> Result<u64> {
        Ok(self.disk.0.lock().world.files[self.id].now.len() as u64)
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.disk.act(Op::SetLength(self.id, length))
    }
}
