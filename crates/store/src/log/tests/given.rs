//! Grids that others may read: by their key, from closed segments alone, and nothing else.

use super::super::format::{FIRST_RECORD, UNIT};
use super::pretend::{Dice, Pretend};
use super::*;
use crate::log::Distant;
use crate::log::granted::{GrantedError, GrantedGrid};
use okapi_seal::GridKey;
use std::collections::BTreeMap;

const BLOCK: u32 = 2048;
const OTHER: GridId = GridId(8);
const NAMES: GridId = GridId(7 | 1 << 31);

fn settings() -> Settings {
    Settings { segment_bytes: 64 << 10, checkpoint_every: 4, threads: false, ..Settings::default() }
}

fn open(disk: &Pretend) -> Log {
    let (log, opened) = Log::open(Arc::new(disk.clone()), &KEY, settings()).unwrap();
    assert_eq!(opened.damages, []);
    log
}

/// Closed segments, by number.
type Taken = BTreeMap<u32, Vec<u8>>;

struct Far(Vec<Vec<u8>>);

impl Distant for Far {
    fn read(&self, segment: usize, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        into.copy_from_slice(self.0[segment].get(from..from + into.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// All segments that are closed once the active one is.
fn close(log: &Log) -> Taken {
    log.close_segment().unwrap();
    let all = log.closed_segments().unwrap();
    all.into_iter().map(|closed| (closed.number, log.segment(closed.number).unwrap().unwrap())).collect()
}

fn settle(log: &Log) {
    // What is compacted must be closed.
    while log.step() || log.inner.keep_given() {}
}

fn granted(segments: &Taken, key: &GridKey) -> Result<GrantedGrid, GrantedError> {
    let far: Vec<Vec<u8>> = segments.values().cloned().collect();
    let lengths: Vec<u64> = far.iter().map(|segment| segment.len() as u64).collect();
    GrantedGrid::open(Arc::new(Far(far)), &lengths, GRID, key.clone())
}

fn contents(blocks: &dyn Blocks) -> BTreeMap<u64, (Generation, Vec<u8>)> {
    let mut listed = Vec::new();
    blocks.list(Index::MIN, usize::MAX, true, &mut listed).unwrap();
    listed.iter().map(|item| (item.index.get(), read(blocks, item.index.get()).unwrap())).collect()
}

fn all_of(log: &Log, id: GridId) -> BTreeMap<u64, (Generation, Vec<u8>)> {
    contents(&*log.open_grid(id, shape(BLOCK)).unwrap())
}

#[test]
fn a_grid_is_read_by_its_key_from_closed_segments() {
    let disk = Pretend::default();
    let log = open(&disk);
    let [grid, names, other] = [GRID, NAMES, OTHER].map(|id| log.open_grid(id, shape(BLOCK)).unwrap());
    for index in 0..60 {
        put(&*grid, index, &vec![index as u8 + 1; 1 + index as usize * 30]);
        put(&*other, index, &vec![0xee; 1500]);
    }
    put(&*names, 0, b"a name");
    let key = log.give_key(GRID, 1).unwrap().unwrap();
    assert_eq!(key.number(), 1);
    put(&*grid, 3, b"");
    put(&*grid, 100, b"later");
    assert!(matches!(granted(&close(&log), &key), Err(GrantedError::Nothing)));
    settle(&log);
    put(&*grid, 4, b"changed");
    let segments = close(&log);
    let view = granted(&segments, &key).unwrap();
    assert_eq!(contents(&*view.blocks(GRID).unwrap()), all_of(&log, GRID));
    assert_eq!(contents(&*view.blocks(NAMES).unwrap()), all_of(&log, NAMES));
    assert!(view.blocks(OTHER).is_none());
    assert_eq!(view.blocks(GRID).unwrap().usage().blocks, 60);
    assert!(view.blocks(GRID).unwrap().put(at(1), &whole(b"x")).is_err());
    let absent = view.blocks(GRID).unwrap().get(at(3), Patience::Waiting).unwrap();
    assert!(matches!(absent, Got::Absent));
    for wrong in [GridKey::from_bytes(1, &[9; 32]).unwrap(), KEY.grid_key(OTHER, 1)] {
        assert!(matches!(granted(&segments, &wrong), Err(GrantedError::Nothing)));
    }
    // Each segment says where everything lies, so one that is missing is noticed: what is seen then is of before.
    for gone in segments.keys() {
        let fewer: Taken =
            segments.iter().filter(|(number, _)| *number != gone).map(|(n, s)| (*n, s.clone())).collect();
        match granted(&fewer, &key) {
            Ok(view) if view.as_of() + 1 == fewer.len() => {
                assert_eq!(contents(&*view.blocks(GRID).unwrap()), all_of(&log, GRID));
            }
            Ok(_) => {}
            Err(GrantedError::Missing { .. } | GrantedError::Moving) => {}
            Err(error) => panic!("{error}"),
        }
    }
    drop((grid, names, other, log));
    let log = open(&disk);
    let mut damages = Vec::new();
    log.verify(&mut |damage| damages.push(damage));
    assert_eq!(damages, []);
    assert_eq!(contents(&*granted(&segments, &key).unwrap().blocks(GRID).unwrap()), all_of(&log, GRID));
}

#[test]
fn who_has_the_key_before_reads_nothing_that_came_after() {
    let disk = Pretend::default();
    let log = open(&disk);
    let grid = log.open_grid(GRID, shape(BLOCK)).unwrap();
    let old = log.give_key(GRID, 1).unwrap().unwrap();
    put(&*grid, 1, b"for both");
    settle(&log);
    let before = close(&log);
    let new = log.give_key(GRID, 2).unwrap().unwrap();
    // What is asked for is at least that number: an older catalog changes nothing.
    assert_eq!(log.give_key(GRID, 1).unwrap().unwrap().bytes(), new.bytes());
    put(&*grid, 1, b"for one");
    put(&*grid, 2, b"for one, too");
    // Compaction's copies are as new as any put.
    log.compact().unwrap();
    settle(&log);
    let after: Taken = close(&log).into_iter().filter(|(number, _)| !before.contains_key(number)).collect();
    assert!(!after.is_empty());
    let view = granted(&after, &new).unwrap();
    assert_eq!(contents(&*view.blocks(GRID).unwrap()), all_of(&log, GRID));
    assert!(matches!(granted(&after, &old), Err(GrantedError::Nothing)));
    let both: Taken = before.iter().chain(&after).map(|(number, bytes)| (*number, bytes.clone())).collect();
    let stale = granted(&both, &old).unwrap();
    assert_eq!(read(&*stale.blocks(GRID).unwrap(), 1).unwrap().1, b"for both");
    assert_eq!(read(&*stale.blocks(GRID).unwrap(), 2), None);
    // A key of a higher number opens what lies under lower ones.
    assert_eq!(read(&*granted(&before, &new).unwrap().blocks(GRID).unwrap(), 1).unwrap().1, b"for both");
    drop((grid, log));
    let log = open(&disk);
    assert_eq!(log.inner.writer.lock().given.numbers(), &[(GRID, 2)]);
}

#[test]
fn older_programs_refuse_the_store_and_a_restored_one_says_so_too() {
    let disk = Pretend::default();
    let log = open(&disk);
    let version = |disk: &Pretend| {
        let mut bytes = [0; 2];
        disk.open("store").unwrap().read_at(&mut bytes, 8, false).unwrap();
        u16::from_le_bytes(bytes)
    };
    put(&*log.open_grid(GRID, shape(BLOCK)).unwrap(), 1, b"x");
    assert_eq!(version(&disk), 1);
    log.give_key(GRID, 1).unwrap();
    assert_eq!(version(&disk), 2);
    put(&*log.open_grid(GRID, shape(BLOCK)).unwrap(), 2, b"y");
    settle(&log);
    let segments = close(&log);
    let expected = all_of(&log, GRID);
    let back = Pretend::default();
    for bytes in segments.values() {
        Log::restore_segment(&back, bytes).unwrap();
    }
    Log::finish_restore(&back, &KEY).unwrap();
    assert_eq!(version(&back), 2);
    assert_eq!(all_of(&open(&back), GRID), expected);
}

#[test]
fn a_dropped_grid_is_gone_for_its_readers() {
    let disk = Pretend::default();
    let log = open(&disk);
    put(&*log.open_grid(GRID, shape(BLOCK)).unwrap(), 1, b"x");
    put(&*log.open_grid(OTHER, shape(BLOCK)).unwrap(), 1, b"y");
    let key = log.give_key(GRID, 1).unwrap().unwrap();
    settle(&log);
    assert_eq!(contents(&*granted(&close(&log), &key).unwrap().blocks(GRID).unwrap()).len(), 1);
    log.drop_grid(GRID).unwrap();
    put(&*log.open_grid(OTHER, shape(BLOCK)).unwrap(), 1, b"z");
    assert!(contents(&*granted(&close(&log), &key).unwrap().blocks(GRID).unwrap()).is_empty());
    assert!(log.inner.writer.lock().given.numbers().is_empty());
    put(&*log.open_grid(OTHER, shape(BLOCK)).unwrap(), 1, b"u");
    assert!(contents(&*granted(&close(&log), &key).unwrap().blocks(GRID).unwrap()).is_empty());
}

#[test]
fn no_more_grids_than_fit_are_given() {
    let log = open(&Pretend::default());
    let most = (1..).take_while(|grid| log.give_key(GridId(*grid), 1).is_ok()).count();
    assert!((32..=128).contains(&most), "{most}");
    assert!(log.give_key(GridId(1), okapi_seal::KEY_NUMBER_MAX).is_ok());
    assert!(matches!(log.give_key(GridId(1), okapi_seal::KEY_NUMBER_MAX + 1), Err(WriteError::Full { .. })));
    // Segments still take records.
    let grid = log.open_grid(GridId(1), shape(BLOCK)).unwrap();
    for index in 0..100 {
        put(&*grid, index, &[1; 900]);
    }
    settle(&log);
    let segments = close(&log);
    assert!(segments.values().all(|segment| segment.len() <= 64 << 10));
}

#[test]
fn whatever_happens_readers_see_what_the_owner_does() {
    for seed in 0..20 {
        let dice = &mut Dice(seed);
        let mut disk = Pretend::default();
        let mut log = open(&disk);
        let mut number = 0;
        let mut key = None;
        for _ in 0..8 {
            for _ in 0..dice.below(80) {
                let id = [GRID, NAMES, OTHER][dice.below(3) as usize];
                let grid = log.open_grid(id, shape(BLOCK)).unwrap();
                let length = if dice.chance(25) { 0 } else { 1 + dice.below(BLOCK.into()) };
                put(&*grid, dice.below(40), &(0..length).map(|_| dice.next() as u8).collect::<Vec<_>>());
                match dice.below(60) {
                    0..10 => drop(log.step()),
                    10 => drop(log.keep(true)),
                    11 => drop(log.compact().unwrap()),
                    12 => {
                        number += 1;
                        key = log.give_key(GRID, number).unwrap();
                    }
                    13 => {
                        drop((grid, log));
                        log = open(&disk);
                    }
                    14 => drop(log.close_segment().unwrap()),
                    15 => {
                        // The process is killed: whatever was open then is closed without a word about where all lies.
                        drop(grid);
                        log.flush().unwrap();
                        disk = Pretend::with(disk.world());
                        log = open(&disk);
                    }
                    _ => {}
                }
            }
            let Some(key) = &key else { continue };
            settle(&log);
            let view = granted(&close(&log), key).unwrap_or_else(|_| {
                // Something closes after the last move, so that the newest segment says how all lies.
                put(&*log.open_grid(OTHER, shape(BLOCK)).unwrap(), 99, b"last");
                granted(&close(&log), key).unwrap_or_else(|error| panic!("seed {seed}: {error}"))
            });
            for id in [GRID, NAMES] {
                assert!(contents(&*view.blocks(id).unwrap()) == all_of(&log, id), "seed {seed}, grid {}", id.0);
            }
        }
    }
}

#[test]
fn what_was_written_before_the_owner_was_killed_is_seen_before_anything_more_is_written() {
    let disk = Pretend::default();
    let log = open(&disk);
    let grid = log.open_grid(GRID, shape(BLOCK)).unwrap();
    put(&*grid, 1, b"early");
    let key = log.give_key(GRID, 1).unwrap().unwrap();
    settle(&log);
    close(&log);
    put(&*grid, 2, b"late");
    log.flush().unwrap();
    let disk = Pretend::with(disk.world());
    let log = open(&disk);
    let view = granted(&close(&log), &key).unwrap();
    assert_eq!(contents(&*view.blocks(GRID).unwrap()), all_of(&log, GRID));
    assert_eq!(contents(&*view.blocks(GRID).unwrap()).len(), 2);
}

#[test]
fn bytes_that_were_changed_are_never_taken_for_others() {
    let disk = Pretend::default();
    let log = open(&disk);
    let grid = log.open_grid(GRID, shape(BLOCK)).unwrap();
    let key = log.give_key(GRID, 1).unwrap().unwrap();
    for index in 0..5 {
        put(&*grid, index, &[index as u8; 200]);
    }
    settle(&log);
    let segments = close(&log);
    let expected = all_of(&log, GRID);
    let number = *segments.keys().next().unwrap();
    let whole = &segments[&number];
    for at in (FIRST_RECORD as usize..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        let Ok(view) = granted(&Taken::from([(number, bytes)]), &key) else { continue };
        let blocks = view.blocks(GRID).unwrap();
        for (index, (_, content)) in &expected {
            if let Ok(Got::Block(block)) = blocks.get(super::at(*index), Patience::Waiting) {
                assert_eq!(block.payload.as_ref(), content, "byte {at}");
            }
        }
    }
    for end in (0..whole.len()).step_by(UNIT as usize - 1) {
        assert!(granted(&Taken::from([(number, whole[..end].to_vec())]), &key).is_err());
    }
}
