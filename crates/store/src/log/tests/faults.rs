//! Disks that are full, fail, or forget.

use super::pretend::{Fault, Pretend};
use super::*;
use std::io::ErrorKind;

fn settings() -> Settings {
    Settings { segment_bytes: 16 << 10, threads: false, ..Settings::default() }
}

fn open(disk: &Pretend, settings: Settings) -> Log {
    Log::open(Arc::new(disk.clone()), &KEY, settings).unwrap().0
}

/// Puts until that fails; gives how many went well and the error.
fn fill(grid: &dyn Blocks, from: u64) -> (u64, WriteError) {
    for index in from.. {
        if let Err(error) = grid.put(at(index), &whole(&[index as u8; 1000])) {
            return (index, error);
        }
    }
    unreachable!("a disk is full some day");
}

fn assert_filled(grid: &dyn Blocks, to: u64) {
    for index in 0..to {
        assert_eq!(read(grid, index).map(|(_, bytes)| bytes), Some(vec![index as u8; 1000]), "block {index}");
    }
}

#[test]
fn a_failed_write_or_sync_makes_the_store_read_only_for_good() {
    for which in 0..2 {
        let disk = Pretend::default();
        let log = open(&disk, settings());
        let grid = log.open_grid(GRID, shape(1024)).unwrap();
        put(&*grid, 0, &[0; 1000]);
        log.flush().unwrap();
        put(&*grid, 1, &[1; 1000]);
        let now = disk.operations() as u64;
        disk.set_fault(Some(if which == 0 { Fault::Sync(now) } else { Fault::From(now, ErrorKind::Other) }));
        assert!(matches!(log.flush(), Err(WriteError::Broken(_))));
        disk.set_fault(None);
        assert!(log.durable().is_err());
        assert!(matches!(log.flush(), Err(WriteError::Broken(_))));
        assert!(matches!(grid.put(at(2), &whole(b"x")), Err(WriteError::Broken(_))));
        let operations = disk.operations();
        log.step();
        log.keep(true);
        assert_filled(&*grid, 2);
        drop(log);
        assert_eq!(disk.operations(), operations, "a broken store writes nothing more");
        let log = open(&disk, settings());
        assert_filled(&*log.open_grid(GRID, shape(1024)).unwrap(), 1);
    }
}

#[test]
fn a_full_disk_refuses_puts_loses_nothing_and_is_usable_again() {
    let disk = Pretend::default();
    let log = open(&disk, settings());
    let grid = log.open_grid(GRID, shape(1024)).unwrap();
    put(&*grid, 0, &[0; 1000]);
    let now = disk.operations() as u64;
    disk.set_fault(Some(Fault::Full(now + 30, u64::MAX)));
    let (count, error) = fill(&*grid, 0);
    assert!(matches!(error, WriteError::Full { .. }), "{error}");
    assert!(count > 10);
    log.flush().unwrap();
    assert_filled(&*grid, count);
    disk.set_fault(None);
    put(&*grid, count, &[count as u8; 1000]);
    drop(log);
    assert_filled(&*open(&disk, settings()).open_grid(GRID, shape(1024)).unwrap(), count + 1);
}

/// Fills a disk to the last, deletes everything and begins again, several times.
fn live_on_a_full_disk(disk: Arc<dyn Disk>, settings: &Settings) {
    let (log, _) = Log::open(Arc::clone(&disk), &KEY, settings.clone()).unwrap();
    let grid = log.open_grid(GRID, shape(1024)).unwrap();
    let mut counts = Vec::new();
    for round in 0..6 {
        let (count, error) = fill(&*grid, 0);
        assert!(matches!(error, WriteError::Full { .. }), "{error}");
        assert_filled(&*grid, count);
        // First those that leave no segment empty, so that something must be copied.
        let order = (0..count).filter(|index| index % 3 > 0).chain((0..count).step_by(3));
        for index in order {
            grid.put(at(index), &whole(b"")).unwrap_or_else(|e| panic!("round {round}, block {index} of {count}: {e}"));
        }
        assert_eq!(grid.usage().blocks, 0);
        log.compact().unwrap();
        counts.push(count);
    }
    let least = counts.iter().min().unwrap();
    assert!(least * 10 >= counts[0] * 8, "room is lost from round to round: {counts:?}");
    let (count, _) = fill(&*grid, 0);
    drop((grid, log));
    let (log, opened) = Log::open(disk, &KEY, settings.clone()).unwrap();
    assert_eq!(opened.damages, []);
    let grid = log.open_grid(GRID, shape(1024)).unwrap();
    assert_filled(&*grid, count);
    put(&*grid, 0, b"");
}

#[test]
fn a_disk_full_to_the_last_still_takes_deletions_and_compaction() {
    let disk = Pretend::default();
    disk.set_fault(Some(Fault::Room(300 << 10)));
    live_on_a_full_disk(Arc::new(disk), &settings());
}

#[test]
fn what_is_not_written_yet_is_read_from_memory_even_in_a_hurry() {
    let disk = Pretend::default();
    let log = open(&disk, settings());
    let grid = log.open_grid(GRID, shape(1024)).unwrap();
    put(&*grid, 3, &[3; 1000]);
    disk.set_fault(Some(Fault::Cold));
    let is_there = || match grid.get(at(3), Patience::Hurried).unwrap() {
        Got::Block(block) => block.payload.as_ref() == [3; 1000],
        Got::NotNow => false,
        Got::Absent => panic!("it was put"),
    };
    assert!(is_there(), "it is in the open chunk");
    log.inner.close_active(&mut log.inner.writer.lock());
    assert!(is_there(), "it is on its way to the file");
    log.flush().unwrap();
    assert!(!is_there(), "it is in the file alone");
    assert_filled(&*grid, 0);
    assert_eq!(read(&*grid, 3).unwrap().1, [3; 1000]);
}

#[test]
fn at_its_limit_a_store_refuses_puts_and_still_deletes_and_compacts() {
    let disk = Pretend::default();
    let limited = Settings { limit_bytes: 160 << 10, ..settings() };
    let log = open(&disk, limited);
    let grid = log.open_grid(GRID, shape(1024)).unwrap();
    for round in 0..20 {
        let (count, error) = fill(&*grid, 0);
        assert!(matches!(error, WriteError::Full { .. }), "{error}");
        assert!(
            count > 60,
            "in round {round} only {count} blocks fitted: {error}; {:?} {:?}",
            log.usage(),
            log.inner.writer.lock().segments
        );
        assert_filled(&*grid, count);
        assert!(log.usage().held_bytes <= 160 << 10);
        // Overwriting goes on for ever as long as something dead can be made room of.
        for index in 0..count {
            put(&*grid, index, b"");
        }
    }
    let refused = Log::open(Arc::new(disk), &KEY, Settings { limit_bytes: 32 << 10, ..settings() });
    assert!(matches!(refused, Err(OpenError::Setting { setting: "limit_bytes", .. })));
}
