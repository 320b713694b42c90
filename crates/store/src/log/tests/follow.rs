//! Copies elsewhere: who keeps them hears of every closed segment, and a store comes back from them.

use super::pretend::{Dice, Pretend};
use super::*;
use crate::log::follow::{ClosedSegment, Follower};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Keeps a copy of every closed segment, and of removed ones until it is told to forget them.
#[derive(Default)]
pub(super) struct Copies(pub(super) Mutex<Kept>);

#[derive(Default)]
pub(super) struct Kept {
    closed: BTreeMap<u32, ClosedSegment>,
    pub(super) removed: BTreeMap<u32, u32>,
}

impl Follower for Copies {
    fn closed(&self, segment: ClosedSegment) {
        let before = self.0.lock().closed.insert(segment.number, segment);
        assert!(before.is_none_or(|before| before == segment), "a closed segment never changes");
    }

    fn releasing(&self, numbers: &BTreeSet<u32>, newest: u32) {
        let mut kept = self.0.lock();
        for number in numbers {
            assert!(kept.closed.contains_key(number), "only what was told to be closed is released");
            assert!(newest > *number);
            kept.removed.insert(*number, newest);
        }
    }

    fn oldest_elsewhere(&self) -> Option<u32> {
        self.0.lock().removed.keys().next().copied()
    }

    fn lies_elsewhere(&self, number: u32) -> bool {
        self.0.lock().removed.contains_key(&number)
    }
}

pub(super) fn settings() -> Settings {
    Settings { segment_bytes: 64 << 10, threads: false, checkpoint_every: 4, ..Settings::default() }
}

/// Every copy there is, taken while it could be: bytes by number.
pub(super) type Taken = BTreeMap<u32, Vec<u8>>;

pub(super) fn take(log: &Log, copies: &Copies, taken: &mut Taken) {
    for number in copies.0.lock().closed.keys() {
        if !taken.contains_key(number)
            && let Some(bytes) = log.segment(*number).unwrap()
        {
            taken.insert(*number, bytes);
        }
    }
}

pub(super) fn contents(log: &dyn Engine) -> BTreeMap<u64, Vec<u8>> {
    let grid = log.open_grid(GRID, shape(4096)).unwrap();
    let mut listed = Vec::new();
    grid.list(Index::MIN, 10_000, false, &mut listed).unwrap();
    listed.iter().map(|one| one.index.get()).map(|index| (index, read(&*grid, index).unwrap().1)).collect()
}

fn restore(taken: &Taken, without: &BTreeSet<u32>) -> BTreeMap<u64, Vec<u8>> {
    let disk = Arc::new(Pretend::default());
    for (number, bytes) in taken.iter().filter(|(number, _)| !without.contains(number)) {
        assert_eq!(Log::restore_segment(&*disk, bytes).unwrap(), *number);
    }
    Log::finish_restore(&*disk, &KEY).unwrap();
    let (log, opened) = Log::open(disk, &KEY, settings()).unwrap();
    assert!(opened.damages.iter().all(|damage| damage.block.is_none()), "{:?}", opened.damages);
    contents(&log)
}

/// Whatever was overwritten, deleted and compacted: the copies make the store that there was, also while copies of
/// removed segments still lie about, for as long as they are told of.
#[test]
fn a_store_comes_back_from_the_copies_of_its_segments() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let disk = Arc::new(Pretend::default());
        let (log, _) = Log::open(disk, &KEY, settings()).unwrap();
        let copies = Arc::new(Copies::default());
        assert_eq!(log.follow(copies.clone()).unwrap(), []);
        let grid = log.open_grid(GRID, shape(4096)).unwrap();
        let mut taken = Taken::new();
        for _ in 0..400 {
            let index = dice.below(40);
            let bytes = vec![dice.next() as u8; (dice.below(4096) + 1) as usize];
            put(&*grid, index, if dice.chance(25) { &[] } else { &bytes });
            if dice.chance(5) {
                log.close_segment().unwrap();
                while log.keep(true) {}
            } else if dice.chance(3) {
                log.compact().unwrap();
            }
            take(&log, &copies, &mut taken);
            if dice.chance(3) {
                // The copies of what was removed are given up, once those of what followed are there.
                let mut kept = copies.0.lock();
                let have = kept.closed.keys().next_back().copied().unwrap_or(0);
                kept.removed.retain(|number, newest| {
                    let gone = *newest <= have && dice.chance(50);
                    if gone {
                        taken.remove(number);
                    }
                    !gone
                });
                let removed: BTreeSet<u32> = kept.removed.keys().copied().collect();
                kept.closed.retain(|number, _| taken.contains_key(number) || removed.contains(number));
            }
        }
        let newest = log.close_segment().unwrap();
        take(&log, &copies, &mut taken);
        assert!(taken.keys().next_back().is_some_and(|last| *last <= newest));
        let now = contents(&log);
        assert_eq!(restore(&taken, &BTreeSet::new()), now, "seed {seed}: with copies of what was removed");
        let removed: BTreeSet<u32> = copies.0.lock().removed.keys().copied().collect();
        assert_eq!(restore(&taken, &removed), now, "seed {seed}: without them");
    }
}

#[test]
fn a_closed_segment_is_told_once_and_again_at_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(folder.path()).unwrap());
    let (log, _) = Log::open(disk.clone(), &KEY, settings()).unwrap();
    let copies = Arc::new(Copies::default());
    log.follow(copies.clone()).unwrap();
    let grid = log.open_grid(GRID, shape(4096)).unwrap();
    assert_eq!(log.open_bytes(), 0);
    put(&*grid, 1, &[7; 100]);
    assert!(log.open_bytes() > 100);
    let newest = log.close_segment().unwrap();
    assert_eq!((newest, log.open_bytes()), (1, 0));
    let told: Vec<_> = copies.0.lock().closed.values().copied().collect();
    assert_eq!(told.len(), 1);
    assert_eq!(log.segment(1).unwrap().unwrap().len(), told[0].bytes as usize);
    assert_eq!(log.segment(2).unwrap(), None);
    assert_eq!((log.blocks_in(1), log.blocks_in(2)), (vec![(GRID, at(1))], vec![]));
    drop((grid, log));
    let (log, _) = Log::open(disk, &KEY, settings()).unwrap();
    assert_eq!(log.follow(Arc::new(Copies::default())).unwrap(), told);
}

#[test]
fn many_short_segments_become_few() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(folder.path()).unwrap());
    let (log, _) = Log::open(disk, &KEY, settings()).unwrap();
    let grid = log.open_grid(GRID, shape(4096)).unwrap();
    for index in 0..100 {
        put(&*grid, index, &[index as u8; 64]);
        log.close_segment().unwrap();
        while log.keep(true) {}
    }
    assert!(log.usage().segments < 45, "{}", log.usage().segments);
    assert!(contents(&log).into_iter().eq((0..100).map(|index| (index, vec![index as u8; 64]))));
}

#[test]
fn what_is_no_segment_of_the_store_is_left_out() {
    let make = |segments: u32| {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(Arc::new(RealDisk::new(folder.path()).unwrap()), &KEY, settings()).unwrap();
        let grid = log.open_grid(GRID, shape(4096)).unwrap();
        for index in 0..segments {
            put(&*grid, index.into(), &[7; 100]);
            log.close_segment().unwrap();
        }
        log.segment(segments).unwrap().unwrap()
    };
    let (one, other) = (make(1), make(2));
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path()).unwrap();
    for length in [0, 1, 127, 4096, one.len() - 1] {
        assert!(Log::restore_segment(&disk, &one[..length]).is_err(), "{length}");
    }
    assert!(disk.list().unwrap().is_empty());
    assert_eq!(Log::restore_segment(&disk, &one).unwrap(), 1);
    assert_eq!(Log::restore_segment(&disk, &other).unwrap(), 2);
    let error = Log::finish_restore(&disk, &KEY).unwrap_err();
    assert!(error.to_string().contains("another store"), "{error}");
    disk.remove("segment-0000000002").unwrap();
    Log::finish_restore(&disk, &KEY).unwrap();
    Log::finish_restore(&disk, &KEY).unwrap();
    let (log, _) = Log::open(Arc::new(disk), &KEY, settings()).unwrap();
    assert_eq!(contents(&log).len(), 1);
}

#[test]
fn what_comes_back_late_takes_no_other_segments_place() {
    let folder = tempfile::tempdir().unwrap();
    let open = |folder: &Path| Log::open(Arc::new(RealDisk::new(folder).unwrap()), &KEY, settings()).unwrap().0;
    let log = open(folder.path());
    let grid = log.open_grid(GRID, shape(4096)).unwrap();
    put(&*grid, 1, b"first");
    log.close_segment().unwrap();
    put(&*grid, 2, b"second");
    log.close_segment().unwrap();
    let (first, second) = (log.segment(1).unwrap().unwrap(), log.segment(2).unwrap().unwrap());
    drop((grid, log));
    // The second one is with somebody who does not answer; it goes on without, and the number is used again.
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path()).unwrap();
    Log::restore_segment(&disk, &first).unwrap();
    Log::finish_restore(&disk, &KEY).unwrap();
    let log = open(folder.path());
    let grid = log.open_grid(GRID, shape(4096)).unwrap();
    put(&*grid, 3, b"third");
    log.flush().unwrap();
    for closed in [false, true] {
        let error = Log::restore_segment(&disk, &second).unwrap_err().to_string();
        assert!(error.contains("another segment 2"), "{closed}: {error}");
        log.close_segment().unwrap();
    }
    // What is damaged is replaced by what it was.
    Log::restore_segment(&disk, &first).unwrap();
    drop((grid, log));
    let log = open(folder.path());
    assert_eq!(contents(&log).into_keys().collect::<Vec<_>>(), [1, 3]);
}
