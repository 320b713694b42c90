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
