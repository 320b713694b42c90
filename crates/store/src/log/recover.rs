//! Opening: from the checkpoint and the segments written after it to the index.
//!
//! The end of the log is what a power cut may have torn. Each record says which older one was known to be durable
//! when it was made; the newest such statement parts damage from an unfinished end. What is unreadable up to there is
//! damage: it is reported, and all else is kept. The first record after it that is missing or not whole ends the log:
//! nobody was told that it, or anything after it, is safe.

use super::blocks::{Grid, place_of};
use super::disk::{Disk, read_to_end};
use super::format::{Entry, FIRST_RECORD, Footer, Kind, StoreId, UNIT};
use super::given::Given;
use super::index::{Location, SEGMENT_BYTES_MAX};
use super::keys::{Numbers, Ring};
use super::parts::tail;
use super::scan::{Found, scan};
use super::shelf::{SegmentFile, segment_name, segment_number};
use super::writer::{SegmentState, Writer};
use super::{OpenError, Opened, checkpoint, damage, identity};
use crate::engine::Damage;
use okapi_base::{Generation, GridId, limits};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

/// With each opening generations go on this much higher: a client may have seen one that a power cut then took.
const GENERATION_LEAP: u64 = 1 << 32;

/// What ends the name of a file set aside.
const SET_ASIDE: &str = ".damaged";
/// Files set aside at most, each of them a segment; more are removed.
const SET_ASIDE_MAX: usize = 8;

/// What recovery makes.
pub(super) struct State {
    pub(super) store: StoreId,
    pub(super) writer: Writer,
    pub(super) grids: HashMap<GridId, Arc<Grid>>,
    /// The last segment that the checkpoint covers.
    pub(super) checkpointed: u32,
}

/// The index as of some moment, to which the segments after `through` are to be replayed.
#[derive(Default)]
pub(super) struct Base {
    /// The last segment it covers.
    pub(super) through: u32,
    /// The newest record in it.
    pub(super) sequence: u64,
    pub(super) generation: u64,
    pub(super) segments: BTreeMap<u32, SegmentState>,
    pub(super) drops: HashMap<GridId, (Generation, Location)>,
    pub(super) grids: HashMap<GridId, Arc<Grid>>,
}

/// A segment that the base does not cover.
struct Part {
    number: u32,
    segment: Arc<SegmentFile>,
    length: u32,
    footer: Option<Footer>,
    /// What its records are, where its footer is not enough.
    found: Option<Vec<Found>>,
    /// What of it counts.
    accepted: Vec<Entry>,
    /// The numbers of the first and the last accepted record.
    first: u64,
    last: u64,
}

/// A segment of which nothing counts.
struct Torn {
    number: u32,
    /// There are records in it.
    recognised: bool,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    ring: &'a Arc<Ring>,
    store: StoreId,
    opened: Opened,
    /// Files set aside at earlier openings.
    set_aside: usize,
}

pub(super) fn recover(disk: &dyn Disk, ring: &Arc<Ring>) -> Result<(State, Opened), OpenError> {
    let key = &ring.node;
    let names = disk.list().map_err(|source| OpenError::Io { what: "listing the store's files".to_owned(), source })?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let mut opened = Opened::default();
    let store = if names.iter().any(|name| name == identity::NAME) {
        identity::read(disk, key, &mut opened.damages)?
    } else if numbers.is_empty() {
        opened.created = true;
        identity::create(disk, key).map_err(|source| OpenError::Io { what: "making the store".to_owned(), source })?
    } else {
        return Err(OpenError::NoIdentity);
    };
    let reserve = |source| OpenError::Io { what: "removing the room kept for deletions".to_owned(), source };
    super::reserve::remove_old(disk).map_err(reserve)?;
    let set_aside = names.iter().filter(|name| name.ends_with(SET_ASIDE)).count();
    let mut recovery = Recovery { disk, ring, store, opened, set_aside };
    let base = recovery.base()?;
    recovery.opened.rebuilt = base.through == 0 && !numbers.is_empty();
    let state = recovery.replay(base, &numbers)?;
    Ok((state, recovery.opened))
}

impl Recovery<'_> {
    /// The checkpoint, or nothing to start from if there is none that can be used.
    fn base(&mut self) -> Result<Base, OpenError> {
        let io_error = |source| OpenError::Io { what: "reading the checkpoint".to_owned(), source };
        match self.disk.remove(checkpoint::NEW_NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
            _ => {}
        }
        match checkpoint::load(self.disk, &self.ring.node, &self.store).map_err(io_error)? {
            None => Ok(Base::default()),
            Some(Ok(base)) => Ok(base),
            Some(Err(bad)) => {
                let what = format!("{}; the index is rebuilt from the segments", bad.what);
                self.report(damage(format!("{}+{}", checkpoint::NAME, bad.offset), what));
                Ok(Base::default())
            }
        }
    }

    fn replay(&mut self, mut base: Base, numbers: &[u32]) -> Result<State, OpenError> {
        self.check_covered(&mut base, numbers)?;
        let mut parts = Vec::new();
        let mut unlabelled = Vec::new();
        for &number in numbers.iter().filter(|number| **number > base.through) {
            match self.part(number)? {
                Some(part) => parts.push(part),
                None => unlabelled.push(number),
            }
        }
        let torn = self.cut(&base, &mut parts, &unlabelled)?;
        let torn = self.set_aside(torn)?;
        let mut writer = Writer {
            active: None,
            sequence: parts.iter().map(|part| part.last).max().unwrap_or(0).max(base.sequence),
            previous: None,
            generation: base.generation,
            // Numbers of a torn end are used again, so that only released segments leave gaps.
            next_segment: parts.last().map_or(base.through, |part| part.number) + 1,
            segments: std::mem::take(&mut base.segments),
            held: 0,
            drops: std::mem::take(&mut base.drops),
            broken: None,
            covered_sequence: parts.iter().map(|part| part.last).max().unwrap_or(0).max(base.sequence),
            entries_hint: 0,
            given: Given::default(),
        };
        for part in &parts {
            let state = SegmentState { length: part.length, last: part.last, closed: true, ..SegmentState::default() };
            writer.segments.insert(part.number, state);
        }
        let mut grids = std::mem::take(&mut base.grids);
        let released = apply(&mut writer, &mut grids, &parts);
        // Files the base covers and does not know were released before it was made.
        let orphans: Vec<u32> = numbers
            .iter()
            .filter(|number| **number <= base.through && !writer.segments.contains_key(number))
            .copied()
            .collect();
        if !self.opened.created {
            writer.generation += GENERATION_LEAP;
        }
        self.report_missing(&base, &parts, &released, &unlabelled);
        let going = released.iter().filter(|number| writer.segments.contains_key(number));
        self.remove(torn.iter().chain(&orphans).chain(going))?;
        for number in &released {
            writer.segments.remove(number);
        }
        self.count(&mut writer, &grids);
        writer.given = Given::found(self.newest_numbers(&writer)?);
        self.opened.segments = writer.segments.len() as u64;
        self.opened.replayed = parts.len() as u64;
        self.opened.blocks = grids.values().map(|grid| grid.index.read().count()).sum();
        Ok(State { store: self.store, writer, grids, checkpointed: base.through })
    }

    /// Which grids have keys of their own: what the newest segment says.
    fn newest_numbers(&self, writer: &Writer) -> Result<Numbers, OpenError> {
        let Some((&number, _)) = writer.segments.last_key_value() else { return Ok(Numbers::new()) };
        let segment = SegmentFile::open(self.disk, self.ring, &self.store, number).map_err(|e| reading(number, e))?;
        Ok(segment.map(|segment| segment.keys.numbers().collect()).unwrap_or_default())
    }

    /// Compares the segments the base covers with those there are.
    fn check_covered(&mut self, base: &mut Base, numbers: &[u32]) -> Result<(), OpenError> {
        let there: HashSet<u32> = numbers.iter().copied().collect();
        base.segments.retain(|number, _| there.contains(number));
        for (&number, state) in &mut base.segments {
            let file = self.disk.open(&segment_name(number)).map_err(|error| reading(number, error))?;
            let length = file.length().map_err(|error| reading(number, error))?;
            if length < u64::from(state.length) {
                let what = format!("the segment is cut short: it has {length} of {} bytes", state.length);
                self.report(damage(format!("{}+{length}", segment_name(number)), what));
                state.damaged = true;
            }
            state.length = u32::try_from(length).unwrap_or(u32::MAX);
        }
        Ok(())
    }

    /// Reads what a segment says of itself. None: it has no label, so perhaps nothing of it ever reached the disk.
    fn part(&mut self, number: u32) -> Result<Option<Part>, OpenError> {
        let segment = SegmentFile::open(self.disk, self.ring, &self.store, number).map_err(|e| reading(number, e))?;
        let Some(segment) = segment else { return Ok(None) };
        let footer = segment.footer().map_err(|error| reading(number, error))?.map(|(_, footer)| footer);
        let length = segment.file.length().map_err(|error| reading(number, error))?;
        let mut part = Part {
            number,
            segment: Arc::new(segment),
            length: u32::try_from(length).unwrap_or(u32::MAX),
            footer,
            found: None,
            accepted: Vec::new(),
            first: 0,
            last: 0,
        };
        if part.footer.is_none() {
            part.found = Some(scan(&part.segment).map_err(|error| reading(number, error))?.found);
        }
        Ok(Some(part))
    }

    /// Decides which records count, ends the log there, and closes what was not closed. Parts of which nothing counts
    /// are taken out and their segments returned: their files go once the rest is durable.
    fn cut(&mut self, base: &Base, parts: &mut Vec<Part>, unlabelled: &[u32]) -> Result<Vec<Torn>, OpenError> {
        let synced = parts.iter().map(Part::synced).max().unwrap_or(0).max(base.sequence);
        for part in parts.iter_mut() {
            // A footer may have reached the disk before the records it tells of.
            if part.found.is_none() && part.footer.as_ref().is_some_and(|footer| footer.last > synced) {
                part.found = Some(scan(&part.segment).map_err(|error| reading(part.number, error))?.found);
            }
        }
        let (next, generation) = (base.sequence + 1, base.generation);
        let mut walk = Walk { synced, next, generation, ended: false, previous: base.through };
        for at in 0..parts.len() {
            let (before, from) = parts.split_at_mut(at);
            walk.take(&mut from[0], before.last_mut(), base.through == 0 && walk.previous == 0, &mut self.opened);
        }
        let io_error = |number| move |error| reading(number, error);
        for part in parts.iter().filter(|part| part.found.is_some() && !part.accepted.is_empty()) {
            part.mend_label().and_then(|()| part.segment.file.sync()).map_err(io_error(part.number))?;
        }
        for part in parts.iter_mut().filter(|part| part.found.is_some() && !part.accepted.is_empty()) {
            part.close().map_err(io_error(part.number))?;
        }
        let recognised = |part: &Part| part.footer.is_some() || part.found.iter().flatten().next().is_some();
        let empty = parts.iter().filter(|part| part.accepted.is_empty());
        let mut torn: Vec<_> = empty.map(|part| Torn { number: part.number, recognised: recognised(part) }).collect();
        parts.retain(|part| !part.accepted.is_empty());
        // A file without a label between others that count is damaged, not unfinished.
        let last = parts.last().map_or(base.through, |part| part.number);
        let beyond = unlabelled.iter().filter(|number| **number > last);
        torn.extend(beyond.map(|&number| Torn { number, recognised: false }));
        torn.sort_unstable_by_key(|torn| torn.number);
        Ok(torn)
    }

    /// Renames those in which something was written and nothing can be recognised; gives the others.
    fn set_aside(&mut self, torn: Vec<Torn>) -> Result<Vec<u32>, OpenError> {
        let mut others = Vec::new();
        // The last first, so that the log never has a hole.
        for Torn { number, recognised } in torn.into_iter().rev() {
            let name = segment_name(number);
            let is_written = || {
                let file = self.disk.open(&name)?;
                Ok(read_to_end(&*file, FIRST_RECORD.into(), SEGMENT_BYTES_MAX.into())?.iter().any(|byte| *byte != 0))
            };
            let is_evidence = !recognised && is_written().map_err(|error| reading(number, error))?;
            if !is_evidence || self.set_aside >= SET_ASIDE_MAX {
                others.push(number);
                continue;
            }
            let aside = format!("{name}{SET_ASIDE}");
            tracing::warn!("nothing in {name} can be recognised; it is no longer used and kept as {aside}");
            let io_error = |source| OpenError::Io { what: format!("renaming {name}"), source };
            self.disk.rename(&name, &aside).map_err(io_error)?;
            self.set_aside += 1;
            self.opened.set_aside += 1;
        }
        Ok(others)
    }

    /// Removes files, the last first, so that the log never has a hole.
    fn remove<'n>(&self, numbers: impl Iterator<Item = &'n u32>) -> Result<(), OpenError> {
        let io_error = |source| OpenError::Io { what: "removing segments that no longer count".to_owned(), source };
        let mut numbers: Vec<u32> = numbers.copied().collect();
        numbers.sort_unstable();
        // What was closed just now must be found closed should the power go in the middle of this.
        self.disk.sync_dir().map_err(io_error)?;
        for number in numbers.iter().rev() {
            self.disk.remove(&segment_name(*number)).map_err(io_error)?;
        }
        if !numbers.is_empty() {
            self.disk.sync_dir().map_err(io_error)?;
        }
        Ok(())
    }

    /// Reports segments that should be there: records are missing, and nothing says that a segment with them was
    /// released.
    fn report_missing(&mut self, base: &Base, parts: &[Part], released: &HashSet<u32>, unlabelled: &[u32]) {
        let (mut number, mut sequence) = (base.through, base.sequence);
        if let Some(first) = parts.first().filter(|_| base.through == 0) {
            // Without a checkpoint nothing tells which of the oldest segments were released long ago.
            (number, sequence) = (first.number - 1, first.first - 1);
        }
        for part in parts {
            let between = (number + 1..part.number).filter(|number| !released.contains(number));
            for missing in between.filter(|_| part.first > sequence + 1) {
                let what = match unlabelled.contains(&missing) {
                    true => "no copy of the segment's label is whole, so nothing in it can be read",
                    false => "the segment's file is missing",
                };
                self.report(damage(segment_name(missing), what));
            }
            (number, sequence) = (part.number, part.last);
        }
    }

    /// Counts what lives where; reports blocks whose segment is gone.
    fn count(&mut self, writer: &mut Writer, grids: &HashMap<GridId, Arc<Grid>>) {
        writer.held = writer.segments.values().map(|state| u64::from(state.length)).sum();
        for (id, grid) in grids {
            for (index, location) in grid.index.read().entries(0) {
                if location.is_block() && !writer.segments.contains_key(&location.segment()) {
                    let block = okapi_base::Index::new(index).map(|index| (*id, index));
                    let what = "the segment's file is missing".to_owned();
                    self.report(Damage { block, place: place_of(location), what });
                }
                writer.count(location, true);
            }
        }
        let drops: Vec<Location> = writer.drops.values().map(|(_, location)| *location).collect();
        drops.into_iter().for_each(|location| writer.count(location, true));
    }

    fn report(&mut self, damage: Damage) {
        self.opened.damages.push(damage);
    }
}

impl Part {
    /// The newest record that this segment knows to be durable.
    fn synced(&self) -> u64 {
        let found = self.found.iter().flatten().filter(|found| found.good).map(|found| found.header.synced).max();
        self.footer.as_ref().map_or(0, |footer| footer.synced).max(found.unwrap_or(0))
    }

    /// Writes the page before the first record again if a part of it never reached the disk.
    fn mend_label(&self) -> io::Result<()> {
        let mut wanted = vec![0; FIRST_RECORD as usize];
        self.segment.label.write_page(self.segment.table.as_deref(), &mut wanted);
        if read_to_end(&*self.segment.file, 0, FIRST_RECORD.into())? == wanted {
            return Ok(());
        }
        self.segment.file.write_at(&wanted, 0)
    }

    /// Writes the footer again where the one there does not tell exactly what counts.
    fn close(&mut self) -> io::Result<()> {
        if self.footer.as_ref().is_some_and(|footer| *footer.entries == self.accepted) {
            return Ok(());
        }
        let end = self.accepted.last().map_or(FIRST_RECORD, |entry| entry.offset + entry.bytes());
        let footer = Footer {
            first: self.first,
            last: self.last,
            // The records were made durable just before this.
            synced: self.last,
            entries: Arc::new(self.accepted.clone()),
        };
        let mut nonce = okapi_seal::Nonce::default();
        okapi_seal::random(&mut nonce);
        let mut bytes = Vec::new();
        let SegmentFile { label, keys, table, .. } = &*self.segment;
        // Where what lives lies is not known yet.
        let tail = table.as_ref().map(|table| tail(table, keys, &self.accepted, |_| None)).unwrap_or_default();
        footer.write((label, keys), end, nonce, &tail, &mut bytes);
        let file = &self.segment.file;
        file.write_at(&bytes, end.into())?;
        self.length = end + u32::try_from(bytes.len()).expect("a footer fits its segment");
        file.set_length(self.length.into())?;
        file.sync()
    }
}

/// The walk through the log in its order.
struct Walk {
    /// Up to this record all was durable.
    synced: u64,
    /// The number of the record that comes next.
    next: u64,
    /// The newest generation so far.
    generation: u64,
    /// Everything from here on is the torn end.
    ended: bool,
    previous: u32,
}

impl Walk {
    fn take(&mut self, part: &mut Part, before: Option<&mut Part>, is_oldest: bool, opened: &mut Opened) {
        let is_neighbour = part.number == self.previous + 1 && !is_oldest;
        self.previous = part.number;
        if part.found.is_none() && !self.ended {
            let footer = part.footer.as_ref().expect("a part without a footer has been scanned");
            if is_neighbour && footer.first > self.next {
                lost(opened, part.number, FIRST_RECORD, footer.first - self.next);
            }
            part.accepted = footer.entries.to_vec();
            (part.first, part.last) = (footer.first, footer.last);
            self.next = self.next.max(footer.last + 1);
            self.generation = part.accepted.iter().map(|entry| entry.generation.0).fold(self.generation, u64::max);
            return;
        }
        let mut before = before.filter(|before| is_neighbour && before.found.is_some());
        let found = part.found.take().unwrap_or_default();
        for record in &found {
            self.ended = self.ended || !self.belongs(record);
            if self.ended {
                opened.dropped_records += 1;
                opened.dropped_bytes += u64::from(record.header.entry.bytes());
                continue;
            }
            let Found { header, good } = *record;
            if header.sequence < self.next {
                continue;
            }
            if header.sequence > self.next && (is_neighbour || !part.accepted.is_empty()) {
                self.fill_gap(part, before.take(), record, opened);
            }
            if !good {
                damaged(opened, part.number, &header.entry, "the record's seal is broken");
            }
            self.accept(part, header.sequence, header.entry);
        }
        part.found = Some(found);
    }

    fn accept(&mut self, part: &mut Part, sequence: u64, entry: Entry) {
        if part.accepted.is_empty() {
            part.first = sequence;
        }
        part.accepted.push(entry);
        part.last = sequence;
        self.next = sequence + 1;
        self.generation = self.generation.max(entry.generation.0);
    }

    /// Records before `record` are damaged beyond recognition. What the last of them was about, `record` says: it takes
    /// its place in the log nevertheless, so that no older version of that block passes for the newest. If `record` is
    /// the first of its segment, that place is in the segment before.
    fn fill_gap(&mut self, part: &mut Part, before: Option<&mut Part>, record: &Found, opened: &mut Opened) {
        let Found { header, good } = *record;
        let count = header.sequence - self.next;
        let lost_here = |opened: &mut Opened, count| lost(opened, part.number, header.entry.offset, count);
        let end_of = |part: &Part| part.accepted.last().map_or(FIRST_RECORD, |entry| entry.offset + entry.bytes());
        let Some(name) = header.previous.filter(|_| good) else { return lost_here(opened, count) };
        if count > 1 {
            lost_here(opened, count - 1);
        }
        let least = if name.kind == Kind::Put { 2 * UNIT } else { UNIT };
        let (end, gap) = (end_of(part), header.entry.offset - end_of(part));
        let (home, offset, bytes) = match before {
            _ if gap >= least && name.kind == Kind::Put && count == 1 => (part, end, gap),
            _ if gap >= least => (part, header.entry.offset - least, least),
            Some(before) => {
                let end = end_of(before);
                (before, end, least)
            }
            None => return lost_here(opened, 1),
        };
        let entry = Entry {
            kind: name.kind,
            grid: name.grid,
            index: name.index,
            // The next one, as it was unless the record was a copy. A drop ends all that came before it.
            generation: match header.entry.kind {
                Kind::GridDrop => Generation(self.generation),
                _ => Generation(self.generation + 1),
            },
            length: (bytes - UNIT).min(limits::BLOCK_SIZE_MAX),
            // Where the deletion first was: here or before.
            crc: if name.kind == Kind::Put { 0 } else { home.number },
            offset,
        };
        damaged(opened, home.number, &entry, "the record's header is damaged; what it was about, the next one says");
        self.accept(home, header.sequence - 1, entry);
    }

    /// Whether a record still is part of the log: it is the next one, or what lies before it is damage.
    fn belongs(&self, record: &Found) -> bool {
        let sequence = record.header.sequence;
        match record.good {
            true => sequence <= self.next || sequence - 1 <= self.synced,
            false => sequence <= self.synced,
        }
    }
}

fn damaged(opened: &mut Opened, number: u32, entry: &Entry, what: &str) {
    let Entry { kind, grid, index, offset, .. } = *entry;
    let block = (kind == Kind::Put).then_some((grid, index));
    opened.damages.push(Damage { block, place: format!("{}+{offset}", segment_name(number)), what: what.to_owned() });
}

fn lost(opened: &mut Opened, number: u32, offset: u32, count: u64) {
    let what = format!("{count} records before this place are damaged beyond recognition");
    opened.damages.push(damage(format!("{}+{offset}", segment_name(number)), what));
}

/// Applies the records in their order; gives the segments they release.
fn apply(w: &mut Writer, grids: &mut HashMap<GridId, Arc<Grid>>, parts: &[Part]) -> HashSet<u32> {
    let all = || parts.iter().flat_map(|part| part.accepted.iter().map(|entry| (part.number, *entry)));
    for (number, entry) in all().filter(|(_, entry)| entry.kind == Kind::GridDrop) {
        let location = Location::new(number, entry.offset, entry.bytes());
        let known = w.drops.get(&entry.grid).map(|(generation, _)| *generation);
        if known.is_none_or(|known| known < entry.generation) {
            // What the base has of this grid is older. A grid of that number made since follows in the log.
            grids.remove(&entry.grid);
        }
        if known.is_none_or(|known| known <= entry.generation) {
            w.drops.insert(entry.grid, (entry.generation, location));
        }
    }
    let is_note = |entry: &Entry| entry.kind == Kind::Released;
    let notes = all().filter(|(_, entry)| is_note(entry));
    let released: HashSet<u32> = notes.filter_map(|(_, note)| u32::try_from(note.index.get()).ok()).collect();
    for (number, entry) in all() {
        w.generation = w.generation.max(entry.generation.0);
        // What lived in a released segment follows as a copy; nothing else in it counts.
        let is_dropped = w.drops.get(&entry.grid).is_some_and(|(dropped, _)| entry.generation < *dropped);
        if is_dropped || released.contains(&number) {
            continue;
        }
        if let Kind::Put | Kind::Tombstone = entry.kind {
            let grid = grids.entry(entry.grid).or_insert_with(|| Arc::new(Grid::new(entry.grid)));
            let location = Location::new(number, entry.offset, entry.bytes());
            grid.index.write().set(entry.index.get(), location);
        }
    }
    if !released.is_empty() {
        w.drops.retain(|_, (_, location)| !released.contains(&location.segment()));
        grids.values().for_each(|grid| grid.index.write().forget(&released));
    }
    released
}

fn reading(number: u32, source: io::Error) -> OpenError {
    OpenError::Io { what: format!("reading {}", segment_name(number)), source }
}
