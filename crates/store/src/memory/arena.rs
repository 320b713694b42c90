//! Where payloads lie: slots in pages in segments.
//!
//! ```text
//! segment (16 or 64 MiB, mapped)  = units of 64 KiB; 16 neighbours are a run of 1 MiB
//! page (a unit, or a run)         = slots of one size class
//! slot                            = one payload, immutable from when it is filled until the last who holds it lets go
//! ```
//!
//! Free slots, pages and runs are taken last in first out, so what is written again and again stays warm. An empty
//! page goes back to be of any class; a class keeps one, so that a single block does not flap.
#![allow(unsafe_code, reason = "slots are lent across threads by counts of their own, without a lock")]

use super::budget::{Budget, NoRoom};
use super::class::{CLASSES, Class};
use super::region::{Region, fetch_ahead};
use okapi_base::map::{Place, SEGMENT_MAX, SEGMENT_MIN, SEGMENTS_MAX, SegmentAt};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// Bytes of a unit: the smallest page.
pub(super) const UNIT_BYTES: u32 = 64 << 10;
/// Units of a run: the largest page.
pub(super) const RUN: u32 = 16;
/// Segments of the smaller size before the larger begins: small grids stay small, large ones have few descriptors.
const SMALL_SEGMENTS: usize = 16;
/// How often one slot may be lent at a time.
const LENDS_MAX: u32 = 1 << 30;

const _: () = assert!(okapi_base::limits::BLOCK_SIZE_MAX <= UNIT_BYTES * RUN);

/// A place in the arena, and the right to read it: nothing else is put there while anybody holds one.
pub struct Slot {
    page: NonNull<Page>,
    ordinal: u32,
    length: u32,
}

// SAFETY: a slot's bytes do not change while it is held, its count is atomic, and the way back into the arena is locked.
unsafe impl Send for Slot {}
// SAFETY: as above; `&Slot` only reads and lends.
unsafe impl Sync for Slot {}

impl Slot {
    /// Another right to read the same place.
    #[inline]
    pub(super) fn lend(&self) -> Self {
        let before = self.lends().fetch_add(1, Ordering::Relaxed);
        assert!(before < LENDS_MAX, "a slot is lent a billion times at once: lends are being leaked");
        Self { page: self.page, ordinal: self.ordinal, length: self.length }
    }

    /// Has the memory fetched that lending and reading it will touch first.
    #[inline]
    pub(super) fn prefetch(&self) {
        fetch_ahead(self.lends());
        let start = self.start().as_ptr();
        // The processor sees by itself where longer payloads go on.
        for line in 0..self.length.div_ceil(64).min(4) {
            fetch_ahead(start.wrapping_add(line as usize * 64));
        }
    }

    /// Where it lies, as shared maps say it.
    pub(super) fn place(&self) -> Place {
        let page = self.page();
        Place::new(page.segment, page.offset + self.ordinal * page.step, self.length)
    }

    /// Bytes of the payload.
    #[inline]
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// Bytes of arena it takes.
    pub(super) fn footprint(&self) -> u64 {
        self.page().step.into()
    }

    #[inline]
    fn page(&self) -> &Page {
        // SAFETY: a page lives as long as one of its slots is held.
        unsafe { self.page.as_ref() }
    }

    #[inline]
    fn lends(&self) -> &AtomicU32 {
        &self.page().lends[self.ordinal as usize]
    }

    #[inline]
    fn start(&self) -> NonNull<u8> {
        let page = self.page();
        // SAFETY: a page has `lends.len()` slots of `step` bytes, and the ordinal is below that.
        unsafe { page.start.add((self.ordinal * page.step) as usize) }
    }
}

impl AsRef<[u8]> for Slot {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the slot has at least `length` bytes, all initialised (the system's zeros if nothing else), which
        // nobody writes while it is held; other processes have no writable mapping.
        unsafe { std::slice::from_raw_parts(self.start().as_ptr(), self.length as usize) }
    }
}

impl Drop for Slot {
    #[inline]
    fn drop(&mut self) {
        if self.lends().fetch_sub(1, Ordering::Release) == 1 {
            self.let_go();
        }
    }
}

impl Slot {
    #[cold]
    fn let_go(&self) {
        // What others read from the slot happens before it is written again.
        fence(Ordering::Acquire);
        let (arena, page) = (self.page().arena, self.page().number);
        // SAFETY: `Arena::fresh` left one count of the arena behind for this slot; here it is taken up again.
        let arena = unsafe { Arc::from_raw(arena) };
        arena.inner.lock().free(page, self.ordinal);
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({} bytes)", self.length)
    }
}

/// A slot that nobody else holds yet, to be filled.
#[derive(Debug)]
pub(super) struct Fresh(Slot);

impl Fresh {
    /// All of its bytes; what is in them is whatever was there before.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // A reader in another process that sees any byte written from here on also sees that the entry which named
        // this slot before has changed.
        fence(Ordering::Release);
        // SAFETY: as in `Slot::as_ref`, and nobody else holds the slot. Processes that still read it through a shared
        // map do so outside of this program and throw away what they read.
        unsafe { std::slice::from_raw_parts_mut(self.0.start().as_ptr(), self.0.length as usize) }
    }

    /// The slot, filled.
    pub(super) fn filled(self) -> Slot {
        self.0
    }
}

/// What a slot needs to know of where it lies. Never changes but for the counts.
struct Page {
    arena: *const Arena,
    start: NonNull<u8>,
    /// In [`Inner::pages`].
    number: u32,
    /// Bytes of a slot.
    step: u32,
    segment: u32,
    /// Bytes of the segment before the page.
    offset: u32,
    /// Who holds each slot; 0: it is free.
    lends: Box<[AtomicU32]>,
}

/// The memory of one grid's payloads.
pub(super) struct Arena {
    shared: bool,
    inner: Mutex<Inner>,
}

// SAFETY: all pointers in an arena point to memory it owns, and all but the counts of lends is behind its lock.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    pub(super) fn new(shared: bool, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { shared, inner: Mutex::new(Inner::new(budget)) })
    }

    /// A slot for `length` bytes, 1 to the largest block.
    pub(super) fn fresh(self: &Arc<Self>, length: u32) -> Result<Fresh, NoRoom> {
        let mut inner = self.inner.lock();
        let (page, ordinal) = inner.take(Class::of(length), self)?;
        // Each slot in use keeps the arena; `Slot::let_go` takes the count up again.
        let _ = Arc::into_raw(Arc::clone(self));
        Ok(Fresh(Slot { page, ordinal, length }))
    }

    /// Gives all memory that holds nothing back to the system, as far as it takes it, and says how much.
    pub(super) fn give_back(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.pool_empty_pages();
        inner.retire_segments() + inner.give_back_runs()
    }

    /// Segments mapped, ascending, with the descriptors by which others read them.
    pub(super) fn segments(&self) -> Vec<(SegmentAt, Option<Arc<OwnedFd>>)> {
        let inner = self.inner.lock();
        let named = |(number, segment): (&u32, &Segment)| {
            let bytes = u32::try_from(segment.region.length()).expect("at most SEGMENT_MAX");
            (SegmentAt { number: *number, bytes }, segment.region.readable().cloned())
        };
        inner.segments.iter().map(named).collect()
    }
}

/// A stretch of a segment: one unit, or a run of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    segment: u32,
    unit: u32,
}

struct Segment {
    region: Region,
    /// Units that are real memory, and paid for.
    real: [u64; (SEGMENT_MAX / UNIT_BYTES / 64) as usize],
    /// Units from here on have never been in a page or a pool.
    fresh: u32,
    /// Units in pages.
    taken: u32,
}

impl Segment {
    fn units(&self) -> u32 {
        u32::try_from(self.region.length()).expect("at most SEGMENT_MAX") / UNIT_BYTES
    }

    fn is_real(&self, unit: u32) -> bool {
        self.real[unit as usize / 64] >> (unit % 64) & 1 == 1
    }

    fn unreal(&self, unit: u32, units: u32) -> u64 {
        (unit..unit + units).map(|unit| u64::from(!self.is_real(unit))).sum()
    }

    fn set_real(&mut self, unit: u32, units: u32, real: bool) {
        for unit in unit..unit + units {
            let bit = 1 << (unit % 64);
            let word = &mut self.real[unit as usize / 64];
            *word = if real { *word | bit } else { *word & !bit };
        }
    }

    fn bytes_of(unit: u32, units: u32) -> std::ops::Range<usize> {
        (unit * UNIT_BYTES) as usize..((unit + units) * UNIT_BYTES) as usize
    }
}

/// A page's changing half.
struct Held {
    page: NonNull<Page>,
    at: Stretch,
    class: Class,
    /// Slots that were used and are free, the last freed last.
    free: Vec<u16>,
    /// Slots from here on were never used.
    fresh: u32,
    live: u32,
    /// Where it stands in its class's list of pages with free slots.
    listed: Option<usize>,
}

struct Inner {
    budget: Arc<Budget>,
    segments: BTreeMap<u32, Segment>,
    next_segment: u32,
    pages: Vec<Option<Held>>,
    free_numbers: Vec<u32>,
    /// Of each class, the pages with free slots; the last is used first.
    classes: [Vec<u32>; CLASSES],
    free_units: Vec<Stretch>,
    free_runs: Vec<Stretch>,
}

impl Inner {
    fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            segments: BTreeMap::new(),
            next_segment: 0,
            pages: Vec::new(),
            free_numbers: Vec::new(),
            classes: std::array::from_fn(|_| Vec::new()),
            free_units: Vec::new(),
            free_runs: Vec::new(),
        }
    }

    fn held(&mut self, number: u32) -> &mut Held {
        self.pages[number as usize].as_mut().expect("a page that is named is held")
    }

    fn take(&mut self, class: Class, arena: &Arc<Arena>) -> Result<(NonNull<Page>, u32), NoRoom> {
        let number = match self.classes[class.0 as usize].last() {
            Some(number) => *number,
            None => self.new_page(class, arena)?,
        };
        let held = self.held(number);
        let ordinal = held.free.pop().map(u32::from).unwrap_or_else(|| {
            held.fresh += 1;
            held.fresh - 1
        });
        held.live += 1;
        let page = held.page;
        if held.live == class.slots() {
            held.listed = None;
            self.classes[class.0 as usize].pop();
        }
        // SAFETY: the page is held, so it is there.
        let before = unsafe { page.as_ref() }.lends[ordinal as usize].swap(1, Ordering::Relaxed);
        assert_eq!(before, 0, "a free slot is held by nobody");
        Ok((page, ordinal))
    }

    fn free(&mut self, number: u32, ordinal: u32) {
        let held = self.held(number);
        held.free.push(u16::try_from(ordinal).expect("a page has at most 1024 slots"));
        held.live -= 1;
        let (live, class, listed) = (held.live, held.class.0 as usize, held.listed);
        let at = listed.unwrap_or_else(|| {
            self.classes[class].push(number);
            self.classes[class].len() - 1
        });
        // To the top: the slot just freed is the next to be used.
        let top = self.classes[class].len() - 1;
        self.classes[class].swap(at, top);
        let moved = self.classes[class][at];
        self.held(moved).listed = Some(at);
        self.held(number).listed = Some(top);
        if live == 0 && top > 0 {
            self.classes[class].pop();
            self.pool(number);
        }
    }

    fn new_page(&mut self, class: Class, arena: &Arc<Arena>) -> Result<u32, NoRoom> {
        let at = self.take_stretch(class.wants_run(), arena.shared)?;
        let units = if class.wants_run() { RUN } else { 1 };
        let segment = self.segments.get_mut(&at.segment).expect("a stretch lies in a segment");
        segment.taken += units;
        let offset = at.unit * UNIT_BYTES;
        // SAFETY: the stretch lies in the segment.
        let start = unsafe { segment.region.start().add(offset as usize) };
        let number = self.free_numbers.pop().unwrap_or_else(|| {
            self.pages.push(None);
            u32::try_from(self.pages.len() - 1).expect("fewer pages than 2^32")
        });
        let page = Box::new(Page {
            arena: Arc::as_ptr(arena),
            start,
            number,
            step: class.bytes(),
            segment: at.segment,
            offset,
            lends: (0..class.slots()).map(|_| AtomicU32::new(0)).collect(),
        });
        let list = &mut self.classes[class.0 as usize];
        list.push(number);
        self.pages[number as usize] = Some(Held {
            page: NonNull::from(Box::leak(page)),
            at,
            class,
            free: Vec::with_capacity(class.slots() as usize),
            fresh: 0,
            live: 0,
            listed: Some(list.len() - 1),
        });
        Ok(number)
    }

    /// An empty page, already out of its class's list, becomes room for any class.
    fn pool(&mut self, number: u32) {
        let held = self.pages[number as usize].take().expect("a page that is named is held");
        assert_eq!(held.live, 0, "only empty pages are pooled");
        self.free_numbers.push(number);
        // SAFETY: `new_page` leaked this box; with no slot in use nobody else points to it.
        drop(unsafe { Box::from_raw(held.page.as_ptr()) });
        let segment = self.segments.get_mut(&held.at.segment).expect("a stretch lies in a segment");
        if held.class.wants_run() {
            segment.taken -= RUN;
            self.free_runs.push(held.at);
        } else {
            segment.taken -= 1;
            self.free_units.push(held.at);
        }
    }

    fn pool_empty_pages(&mut self) {
        for class in 0..CLASSES {
            let (empty, rest): (Vec<u32>, Vec<u32>) =
                std::mem::take(&mut self.classes[class]).into_iter().partition(|number| self.held(*number).live == 0);
            for (at, number) in rest.iter().enumerate() {
                self.held(*number).listed = Some(at);
            }
            self.classes[class] = rest;
            for number in empty {
                self.pool(number);
            }
        }
        self.join_units();
    }

    /// Makes runs of free units again where all of a run are free.
    fn join_units(&mut self) {
        let run_of = |unit: &Stretch| Stretch { segment: unit.segment, unit: unit.unit / RUN * RUN };
        let mut free = BTreeMap::<Stretch, u32>::new();
        for unit in &self.free_units {
            *free.entry(run_of(unit)).or_default() += 1;
        }
        free.retain(|_, units| *units == RUN);
        self.free_units.retain(|unit| !free.contains_key(&run_of(unit)));
        self.free_runs.extend(free.into_keys());
    }

    /// A stretch of real memory.
    fn take_stretch(&mut self, run: bool, shared: bool) -> Result<Stretch, NoRoom> {
        let at = self.pop_stretch(run, shared)?;
        let units = if run { RUN } else { 1 };
        let refused = match self.make_real(at, units) {
            Ok(()) => return Ok(at),
            Err(refused) => refused,
        };
        self.free_stretches(run).push(at);
        // Then only what is paid for already can help: pages that classes keep, or runs given back for this one.
        self.pool_empty_pages();
        let paid = |at: &Stretch| self.segments[&at.segment].unreal(at.unit, units) == 0;
        let list = if run { &self.free_runs } else { &self.free_units };
        if let Some(found) = list.iter().rposition(paid) {
            return Ok(self.free_stretches(run).remove(found));
        }
        if self.give_back_runs() == 0 && run {
            return Err(refused);
        }
        let at = self.pop_stretch(run, shared)?;
        self.make_real(at, units).inspect_err(|_| self.free_stretches(run).push(at))?;
        Ok(at)
    }

    fn free_stretches(&mut self, run: bool) -> &mut Vec<Stretch> {
        if run { &mut self.free_runs } else { &mut self.free_units }
    }

    fn pop_stretch(&mut self, run: bool, shared: bool) -> Result<Stretch, NoRoom> {
        if !run && let Some(unit) = self.free_units.pop() {
            return Ok(unit);
        }
        let whole = match self.free_runs.pop() {
            Some(whole) => whole,
            None => self.next_run(shared)?,
        };
        if !run {
            let rest = (whole.unit + 1..whole.unit + RUN).rev();
            self.free_units.extend(rest.map(|unit| Stretch { segment: whole.segment, unit }));
        }
        Ok(whole)
    }

    /// A run that was never used, from a new segment if need be.
    fn next_run(&mut self, shared: bool) -> Result<Stretch, NoRoom> {
        let room = self.segments.iter_mut().next_back().filter(|(_, segment)| segment.fresh < segment.units());
        if let Some((number, segment)) = room {
            segment.fresh += RUN;
            return Ok(Stretch { segment: *number, unit: segment.fresh - RUN });
        }
        // Nothing is real yet, so nothing is paid yet; but do not map what cannot be used.
        if self.budget.held() + u64::from(UNIT_BYTES) > self.budget.limit() {
            return Err(NoRoom::Limit(self.budget.limit()));
        }
        let number = self.next_segment;
        if number == SEGMENTS_MAX {
            return Err(NoRoom::Numbers);
        }
        let length = if self.segments.len() < SMALL_SEGMENTS { SEGMENT_MIN } else { SEGMENT_MAX };
        let region = Region::new(length as usize, shared).map_err(NoRoom::System)?;
        // Large pages are made real 2 MiB at a time: too much for a grid that is small, little for others.
        if !self.segments.is_empty() {
            region.prefer_large_pages();
        }
        self.segments.insert(number, Segment { region, real: [0; _], fresh: RUN, taken: 0 });
        self.next_segment += 1;
        Ok(Stretch { segment: number, unit: 0 })
    }

    fn make_real(&mut self, at: Stretch, units: u32) -> Result<(), NoRoom> {
        let segment = self.segments.get_mut(&at.segment).expect("a stretch lies in a segment");
        let missing = segment.unreal(at.unit, units) * u64::from(UNIT_BYTES);
        if missing == 0 {
            return Ok(());
        }
        self.budget.take(missing)?;
        if let Err(error) = segment.region.populate(Segment::bytes_of(at.unit, units)) {
            self.budget.give(missing);
            return Err(NoRoom::System(error));
        }
        segment.set_real(at.unit, units, true);
        Ok(())
    }

    /// Makes free stretches unreal where the system lets us.
    fn give_back_runs(&mut self) -> u64 {
        let runs = self.free_runs.iter().map(|at| (*at, RUN));
        let units = self.free_units.iter().map(|at| (*at, 1));
        let mut given = 0;
        for (at, units) in runs.chain(units) {
            let segment = self.segments.get_mut(&at.segment).expect("a stretch lies in a segment");
            let real = u64::from(units) - segment.unreal(at.unit, units);
            // SAFETY: the stretch is in no page, so no slot is in it.
            if real > 0 && unsafe { segment.region.give_back(Segment::bytes_of(at.unit, units)) } {
                segment.set_real(at.unit, units, false);
                given += real * u64::from(UNIT_BYTES);
            }
        }
        self.budget.give(given);
        given
    }

    /// Unmaps segments without pages.
    fn retire_segments(&mut self) -> u64 {
        let mut given = 0;
        let empty = |segment: &Segment| segment.taken == 0;
        for stretches in [&mut self.free_runs, &mut self.free_units] {
            stretches.retain(|at| !empty(&self.segments[&at.segment]));
        }
        self.segments.retain(|_, segment| {
            if empty(segment) {
                given += segment.real_bytes();
            }
            !empty(segment)
        });
        self.budget.give(given);
        given
    }
}

impl Segment {
    fn real_bytes(&self) -> u64 {
        let units: u32 = self.real.iter().map(|word| word.count_ones()).sum();
        u64::from(units) * u64::from(UNIT_BYTES)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for held in self.pages.drain(..).flatten() {
            assert_eq!(held.live, 0, "every slot in use keeps its arena");
            // SAFETY: `new_page` leaked this box; with no slot in use nobody else points to it.
            drop(unsafe { Box::from_raw(held.page.as_ptr()) });
        }
        self.budget.give(self.segments.values().map(Segment::real_bytes).sum());
    }
}
