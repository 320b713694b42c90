//! Looking at a log from its closed segments alone, and at a disk through a sheet: all that is read is as it was, and
//! nothing changes.

use super::super::sheet::{SHEET_BYTES_MAX, Sheet};
use super::follow::{Copies, Taken, contents, settings, take};
use super::pretend::{Dice, Pretend};
use super::*;
use crate::log::{Distant, Look, LookError};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

/// Segments elsewhere, some of which cannot be read there.
struct Far {
    segments: Vec<Vec<u8>>,
    gone: Mutex<BTreeSet<usize>>,
    asks: AtomicUsize,
}

impl Far {
    fn of<'s>(segments: impl IntoIterator<Item = &'s Vec<u8>>) -> Arc<Self> {
        let segments = segments.into_iter().cloned().collect();
        Arc::new(Self { segments, gone: Mutex::default(), asks: AtomicUsize::new(0) })
    }

    fn lengths(&self) -> Vec<u64> {
        self.segments.iter().map(|segment| segment.len() as u64).collect()
    }

    fn look(self: &Arc<Self>) -> Result<(Look, Opened), LookError> {
        let distant: Arc<dyn Distant> = self.clone();
        Look::open(&distant, &self.lengths(), &KEY)
    }
}

impl Distant for Far {
    fn read(&self, segment: usize, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.asks.fetch_add(1, Relaxed);
        if self.gone.lock().contains(&segment) {
            return Err(io::Error::other("too few shards of it can be had"));
        }
        let from = usize::try_from(offset).unwrap();
        into.copy_from_slice(&self.segments[segment][from..from + into.len()]);
        Ok(())
    }
}

/// A log after a long story, with what copies there are of its segments, and which of those it has removed.
fn story(seed: u64) -> (Log, Taken, BTreeSet<u32>) {
    let mut dice = Dice(seed);
    let (log, _) = Log::open(Arc::new(Pretend::default()), &KEY, settings()).unwrap();
    let copies = Arc::new(Copies::default());
    log.follow(copies.clone()).unwrap();
    let grid = log.open_grid(GRID, shape(4096)).unwrap();
    let mut taken = Taken::new();
    for _ in 0..300 {
        let bytes = vec![dice.next() as u8; (dice.below(4096) + 1) as usize];
        put(&*grid, dice.below(40), if dice.chance(25) { &[] } else { &bytes });
        if dice.chance(5) {
            log.close_segment().unwrap();
            while log.keep(true) {}
        } else if dice.chance(2) {
            log.compact().unwrap();
        } else if dice.chance(1) {
            log.give_key(GRID, 1 + dice.below(9) as u16).unwrap();
        }
        take(&log, &copies, &mut taken);
    }
    log.close_segment().unwrap();
    take(&log, &copies, &mut taken);
    let removed = copies.0.lock().removed.keys().copied().collect();
    (log, taken, removed)
}

#[test]
fn a_log_is_read_from_its_closed_segments_wherever_they_lie() {
    for seed in 0..100 {
        let (log, taken, removed) = story(seed);
        let now = contents(&log);
        let live = taken.iter().filter(|(number, _)| !removed.contains(number)).map(|(_, bytes)| bytes);
        for far in [Far::of(taken.values()), Far::of(live)] {
            let (look, opened) = far.look().unwrap();
            assert!(opened.damages.iter().all(|damage| damage.block.is_none()), "seed {seed}: {:?}", opened.damages);
            // An end each, in one piece or two; and what the last ones had not known yet to be durable.
            assert!(far.asks.load(Relaxed) <= far.segments.len() * 3, "seed {seed}: {}", far.asks.load(Relaxed));
            assert_eq!(contents(&look), now, "seed {seed}");
        }
    }
}

#[test]
fn nothing_is_written_once_it_is_shut_and_what_was_before_stays_with_it() {
    let (log, taken, _) = story(1);
    let now = contents(&log);
    let far = Far::of(taken.values());
    let (look, _) = far.look().unwrap();
    let grid = look.open_grid(GRID, shape(4096)).unwrap();
    // Who opens a store may tidy it up.
    let index = *now.keys().next().unwrap();
    put(&*grid, index, &[]);
    look.flush().unwrap();
    look.shut("it comes back");
    assert_eq!(read(&*grid, index), None);
    let refused = |result: Result<(), WriteError>| {
        let error = result.unwrap_err();
        assert!(matches!(&error, WriteError::Broken(broken) if broken.why == "it comes back"), "{error}");
    };
    refused(grid.put(at(1), &whole(b"x")).map(drop));
    refused(grid.put(at(index), &edit(Edit::Slice { offset: 1, bytes: b"x" })).map(drop));
    refused(look.drop_grid(GRID));
    refused(look.give_key(GRID, 20).map(drop));
    refused(look.compact().map(drop));
    look.flush().unwrap();
    assert!(look.durable().is_ok());
    drop((grid, look));
    assert_eq!(contents(&far.look().unwrap().0), now);
}

#[test]
fn what_cannot_be_had_is_told_and_the_rest_is_read() {
    let (log, taken, removed) = story(2);
    let now = contents(&log);
    let far = Far::of(taken.iter().filter(|(number, _)| !removed.contains(number)).map(|(_, bytes)| bytes));
    let (look, _) = far.look().unwrap();
    let grid = look.open_grid(GRID, shape(4096)).unwrap();
    far.gone.lock().extend(1..far.segments.len());
    let mut failed = 0;
    for (index, bytes) in &now {
        assert!(matches!(grid.get(at(*index), Patience::Hurried).unwrap(), Got::NotNow), "it is far away");
        match grid.get(at(*index), Patience::Waiting) {
            Ok(Got::Block(block)) => assert_eq!(block.payload.as_ref(), bytes),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                failed += 1;
                assert!(matches!(&error, ReadError::Io { .. }) && error.to_string().contains("too few shards"));
            }
        }
    }
    assert!(failed > 0);
    // Without every end nobody knows what is the newest of anything.
    let error = far.look().err().unwrap();
    assert!(matches!(&error, LookError::Unread(_)) && error.to_string().contains("too few shards"), "{error}");
    let short: Vec<u8> = far.segments[0][..5000].to_vec();
    assert!(matches!(Far::of([&short]).look(), Err(LookError::Bad(_))));
}

#[test]
fn a_record_that_rots_is_told_by_its_place() {
    let (_, mut taken, _) = story(3);
    let number = *taken.keys().next_back().unwrap();
    let bytes = taken.get_mut(&number).unwrap();
    bytes[4096 + 60] ^= 1;
    let (look, _) = Far::of(taken.values()).look().unwrap();
    let mut damages = Vec::new();
    look.verify(&mut |damage| damages.push(damage));
    assert!(damages.iter().any(|damage| damage.place == format!("segment-{number:010}+4096")), "{damages:?}");
}

/// Whatever a power cut left: through a sheet it opens to the same, and on the disk itself nothing happens.
#[test]
fn through_a_sheet_a_log_opens_as_without_and_nothing_below_changes() {
    let mut mended = 0;
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let disk = Pretend::default();
        let (log, _) = Log::open(Arc::new(disk.clone()), &KEY, settings()).unwrap();
        let grid = log.open_grid(GRID, shape(4096)).unwrap();
        for round in 0..60 {
            put(&*grid, dice.below(20), &vec![round; (dice.below(4000) + 1) as usize]);
            if dice.chance(20) {
                log.flush().unwrap();
                while log.keep(true) {}
            }
            while dice.chance(50) && log.step() {}
        }
        let cut = dice.below(disk.operations() as u64 + 1) as usize;
        let world = disk.world_after(cut).reboot(&mut dice);
        let below = Pretend::with(world.clone());
        let sheet = Arc::new(Sheet::over(&below).unwrap());
        let through = Log::open(sheet.clone(), &KEY, settings());
        let plain = Log::open(Arc::new(Pretend::with(world)), &KEY, settings());
        match (through, plain) {
            (Ok((through, opened)), Ok((plain, expected))) => {
                assert_eq!(opened.damages, expected.damages, "seed {seed}");
                assert_eq!(contents(&through), contents(&plain), "seed {seed}");
                mended += u64::from(sheet.bytes() > 0);
                drop(through);
            }
            (through, plain) => assert_eq!(through.err().map(drop), plain.err().map(drop), "seed {seed}"),
        }
        assert_eq!(below.operations(), 0, "seed {seed}");
    }
    assert!(mended > 20, "{mended}");
}

#[test]
fn a_sheet_takes_no_memory_for_room_and_has_a_limit() {
    let sheet = Sheet::over(&Pretend::default()).unwrap();
    let file = sheet.create("one", 8 << 20).unwrap();
    assert_eq!((sheet.bytes(), file.length().unwrap()), (0, 8 << 20));
    file.write_at(b"abc", 5).unwrap();
    let mut into = [9; 10];
    assert_eq!(file.read_at(&mut into, 0, true).unwrap(), 10);
    assert_eq!(&into, b"\0\0\0\0\0abc\0\0");
    file.set_length(6).unwrap();
    assert_eq!((sheet.bytes(), file.read_at(&mut into, 4, true).unwrap(), into[1]), (6, 2, b'a'));
    let piece = vec![1; 1 << 20];
    let full = (0..).find(|at| file.write_at(&piece, at << 20).is_err()).unwrap();
    assert_eq!((full, sheet.bytes()), (SHEET_BYTES_MAX >> 20, SHEET_BYTES_MAX));
    drop(file);
    sheet.rename("one", "two").unwrap();
    assert!(sheet.open("one").is_err() && sheet.create("two", 0).is_err());
    sheet.remove("two").unwrap();
    assert_eq!((sheet.bytes(), sheet.list().unwrap().len()), (0, 0));
}
