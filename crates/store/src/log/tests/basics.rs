//! The log on a real directory.

use super::*;

fn open(folder: &std::path::Path) -> (Log, Opened) {
    let disk = RealDisk::new(folder).unwrap();
    let settings = Settings { segment_bytes: 256 << 10, ..Settings::default() };
    Log::open(Arc::new(disk), &KEY, settings).unwrap()
}

fn content(index: u64, length: usize) -> Vec<u8> {
    (0..length).map(|at| (index as usize * 31 + at * 7 + at / 251) as u8).collect()
}

#[test]
fn blocks_come_back_before_and_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let length = |index: u64| 1 + (index as usize * 997) % 4096;
    {
        let (log, opened) = open(folder.path());
        assert!(opened.created);
        let grid = log.open_grid(GRID, shape(4096)).unwrap();
        for index in 0..500 {
            let bytes = content(index, length(index));
            assert_eq!(put(&*grid, index, &bytes).generation, Generation(index + 1));
            assert_eq!(read(&*grid, index), Some((Generation(index + 1), bytes)));
        }
        for index in (0..500).step_by(5) {
            assert_eq!(put(&*grid, index, b"").generation, Generation::ABSENT);
        }
        log.flush().unwrap();
        assert_eq!(grid.usage().blocks, 400);
    }
    for _ in 0..3 {
        let (log, opened) = open(folder.path());
        assert_eq!(opened.damages, []);
        assert_eq!(opened.blocks, 400);
        let grid = log.open_grid(GRID, shape(4096)).unwrap();
        for index in 0..500 {
            let expected = (index % 5 != 0).then(|| (Generation(index + 1), content(index, length(index))));
            assert_eq!(read(&*grid, index), expected);
        }
        let mut listed = Vec::new();
        grid.list(at(7), 10, true, &mut listed).unwrap();
        assert_eq!(listed.len(), 10);
        for item in listed {
            let bytes = content(item.index.get(), length(item.index.get()));
            assert_eq!((item.length as usize, item.crc), (bytes.len(), crc32c(&bytes)));
            assert_eq!(item.generation, Generation(item.index.get() + 1));
        }
        assert_eq!(grid.next_occupied(at(5)), Some(at(6)));
    }
}

#[test]
fn many_writers_share_the_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    let grid = log.open_grid(GRID, shape(4096)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (log, grid) = (&log, &grid);
            scope.spawn(move || {
                for round in 0..20 {
                    let index = thread * 1000 + round;
                    let bytes = [thread as u8 + 1; 1000];
                    let change = Change { relaxed: false, ..whole(&bytes) };
                    let placed = grid.put(at(index), &change).unwrap();
                    log.inner.wait_durable(placed.ticket.0).unwrap();
                    assert!(log.durable().unwrap() >= placed.ticket);
                }
            });
        }
    });
    assert_eq!(grid.usage().blocks, 80);
}

#[test]
fn edits_change_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    let grid = log.open_grid(GRID, shape(512)).unwrap();
    let now = |index| read(&*grid, index).map(|(_, bytes)| bytes);
    grid.put(at(1), &edit(Edit::Slice { offset: 3, bytes: b"abc" })).unwrap();
    assert_eq!(now(1).unwrap(), b"\0\0\0abc");
    grid.put(at(1), &edit(Edit::Zeroes { offset: 4, length: 1 })).unwrap();
    grid.put(at(1), &edit(Edit::Truncate { length: 8 })).unwrap();
    assert_eq!(now(1).unwrap(), b"\0\0\0a\0c\0\0");
    let same = grid.put(at(1), &edit(Edit::Slice { offset: 100, bytes: b"" })).unwrap();
    assert_eq!((same.length, same.generation), (8, Generation(3)));
    let error = grid.put(at(1), &edit(Edit::Slice { offset: 510, bytes: b"abc" })).unwrap_err();
    assert!(matches!(error, WriteError::PastBlock { wanted: 513, capacity: 512, .. }));
    let stale = grid.put(at(1), &Change { expect: Some(Generation(1)), ..whole(b"x") }).unwrap_err();
    assert!(matches!(stale, WriteError::Stale { found: Generation(3), length: 8, .. }));
    let placed = grid.put(at(1), &Change { expect: Some(Generation(3)), ..whole(b"x") }).unwrap();
    assert_eq!(placed.generation, Generation(4));
    grid.put(at(1), &edit(Edit::Truncate { length: 0 })).unwrap();
    assert_eq!(now(1), None);
    grid.put(at(1), &Change { expect: Some(Generation::ABSENT), ..whole(b"y") }).unwrap();
    assert_eq!(now(1).unwrap(), b"y");
    log.drop_grid(GRID).unwrap();
    assert_eq!(now(1), None);
    assert!(matches!(grid.put(at(1), &whole(b"z")), Err(WriteError::Dropped { grid: GRID })));
}

#[test]
fn another_key_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (log, _) = open(folder.path());
        put(&*log.open_grid(GRID, shape(512)).unwrap(), 1, b"mine");
    }
    let disk = Arc::new(RealDisk::new(folder.path()).unwrap());
    let refused = Log::open(disk, &NodeKey::from_bytes([1; 32]), Settings::default());
    assert!(matches!(refused, Err(OpenError::WrongKey)));
    let (log, _) = open(folder.path());
    assert_eq!(read(&*log.open_grid(GRID, shape(512)).unwrap(), 1).unwrap().1, b"mine");
}
