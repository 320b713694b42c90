//! Copying and following.

use super::toy::{Carrier, World};
use super::{bytes, connect, cut, world};
use okapi_client::replicate::{Position, ReplicateError, copy, follow};
use okapi_client::{Grid, Index};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

fn at(index: u64) -> Index {
    Index::new(index).unwrap()
}

fn assert_same(from: &Arc<Mutex<World>>, to: &Arc<Mutex<World>>, what: &str) {
    let (from, to) = (from.lock().unwrap(), to.lock().unwrap());
    let (ours, theirs) = (from.blocks("main"), to.blocks("main"));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{what}: blocks");
    assert!(ours == theirs, "{what}: contents");
    let key = |record: &okapi_client::RecordInfo| (record.length, record.blake3, record.extents.clone());
    let ours: Vec<_> = from.records("main").iter().map(|(name, record)| (name.clone(), key(record))).collect();
    let theirs: Vec<_> = to.records("main").iter().map(|(name, record)| (name.clone(), key(record))).collect();
    assert_eq!(ours, theirs, "{what}: records");
}

fn write(grid: &Grid, name: &str, seed: u64, length: usize) {
    grid.write_record(name, "x/y", None, &mut &bytes(seed, length)[..], &mut |_| ()).unwrap();
}

/// A source with blocks and records, and a destination with remains of other times.
fn two() -> (Arc<Mutex<World>>, Grid, Arc<Mutex<World>>) {
    let (source, destination) = (world(512), world(512));
    destination.lock().unwrap().node = [5; 16];
    let from = connect(&source, Carrier::Memory).grid("main", None).unwrap();
    let to = connect(&destination, Carrier::Memory).grid("main", None).unwrap();
    for index in 0..300 {
        from.put(at(index * 3), &bytes(index, 1 + index as usize)).unwrap();
    }
    // The same record, other content in the same blocks, and one in the way of another.
    for (seed, grid) in [(1, &from), (2, &to)] {
        write(grid, "same", 1, 3000);
        write(grid, "changed", seed, 5000);
        write(grid, if seed == 1 { "new" } else { "gone" }, seed, 4000);
    }
    write(&to, "moved", 3, 2000);
    write(&from, "z", 4, 100);
    write(&from, "moved", 3, 2000);
    for index in 0..50 {
        to.put(at(index * 2), &bytes(index, 9)).unwrap();
    }
    (source, from, destination)
}

#[test]
fn a_copy_is_the_same_and_a_second_one_moves_nothing() {
    let (source, from, destination) = two();
    let to = connect(&destination, Carrier::Unix).grid("main", None).unwrap();
    let mut told = 0;
    let report = copy(&from, &to, &mut |progress| told = progress.compared).unwrap();
    assert_same(&source, &destination, "first");
    assert!(report.moved >= 300 && report.deleted >= 30 && report.removed >= 1 && report.bound >= 2, "{report:?}");
    assert_eq!((told, report.resumed), (from.stat().unwrap().blocks, 0));
    let again = copy(&from, &to, &mut |_| ()).unwrap();
    assert_eq!((again.moved, again.deleted, again.bound, again.removed), (0, 0, 0, 0));
    // One block more, and only that one moves.
    from.put(at(1_000_000), b"more").unwrap();
    assert_eq!(copy(&from, &to, &mut |_| ()).unwrap().moved, 1);
    assert_same(&source, &destination, "after one more");
}

#[test]
fn a_copy_survives_cuts_of_either_link() {
    let mut resumed = 0;
    for seed in 0..30 {
        let (source, _, destination) = two();
        let from = cut(&source, seed, 60_000, 4).grid("main", None).unwrap();
        let to = cut(&destination, seed + 100, 60_000, 4).grid("main", None).unwrap();
        let report = copy(&from, &to, &mut |_| ()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_same(&source, &destination, &format!("seed {seed}"));
        resumed += report.resumed;
    }
    // Most cuts are mended one level below; some reach the sync or a record.
    assert!(resumed > 0);
}

#[test]
fn grids_that_do_not_fit_are_refused() {
    let (one, other) = (world(512), world(1024));
    let grid = |world| connect(world, Carrier::Memory).grid("main", None).unwrap();
    assert!(matches!(copy(&grid(&one), &grid(&other), &mut |_| ()), Err(ReplicateError::Misfit { .. })));
    assert!(matches!(copy(&grid(&one), &grid(&one), &mut |_| ()), Err(ReplicateError::Misfit { .. })));
}

/// Follows until the destination is at the source's last change, while `meanwhile` changes the source.
fn follow_while(
    from: &Grid,
    to: &Grid,
    position: Option<Position>,
    what: &str,
    meanwhile: impl FnOnce() + Send,
) -> Position {
    static FOLLOWED: AtomicU64 = AtomicU64::new(0);
    let (changed, reached) = (AtomicBool::new(false), AtomicBool::new(false));
    let marks = AtomicU64::new(0);
    // What is put last, and never was before.
    let last = bytes(1 << 20 | FOLLOWED.fetch_add(1, Ordering::SeqCst), 20);
    let follow_position = std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            let mut on_mark = |_: Position, mark: &okapi_client::Mark| {
                marks.fetch_add(1, Ordering::SeqCst);
                // A mark that says that nothing is behind, and comes after the last change: one from before may still have
                // been on its way.
                let has_last =
                    || to.get(at(2_000_001)).is_ok_and(|block| block.is_some_and(|block| block.bytes == last));
                if changed.load(Ordering::SeqCst) && mark.sequence == mark.head && has_last() {
                    reached.store(true, Ordering::SeqCst);
                }
            };
            follow(from, to, position, &mut on_mark, &|| reached.load(Ordering::SeqCst))
        });
        while marks.load(Ordering::SeqCst) == 0 && !following.is_finished() {
            std::thread::yield_now();
        }
        meanwhile();
        // One more change, so that a mark must come after it.
        from.put(at(2_000_000), &bytes(marks.load(Ordering::SeqCst), 20)).unwrap();
        changed.store(true, Ordering::SeqCst);
        from.put(at(2_000_001), &last).unwrap();
        following.join().unwrap()
    });
    follow_position.unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[test]
fn a_follower_gets_everything_and_then_what_changes() {
    let (source, from, destination) = two();
    let to = connect(&destination, Carrier::Unix).grid("main", None).unwrap();
    let position = follow_while(&from, &to, None, "first", || {
        from.put(at(0), b"changed").unwrap();
        from.delete(at(3)).unwrap();
        write(&from, "late", 9, 2000);
        from.remove("z", None).unwrap();
        from.rename("new", "newer").unwrap();
        from.patch("same", 700, b"patched").unwrap();
    });
    assert_same(&source, &destination, "first");
    assert!(position.sequence > 0);
    // From there on only changes come: what is broken at the destination behind its back stays so.
    destination.lock().unwrap().set("main", 300, b"behind its back");
    follow_while(&from, &to, Some(position), "second", || from.put(at(6), b"again").map(drop).unwrap());
    assert_eq!(destination.lock().unwrap().blocks("main")[&300], b"behind its back");
    assert_eq!(destination.lock().unwrap().blocks("main")[&6], b"again");
    // Without a position everything comes.
    follow_while(&from, &to, None, "third", || ());
    assert_same(&source, &destination, "third");
}

#[test]
fn a_follower_loses_nothing_when_links_break() {
    for seed in 0..20 {
        let (source, steady, destination) = two();
        let from = cut(&source, seed, 100_000, 5).grid("main", None).unwrap();
        let to = cut(&destination, seed + 100, 100_000, 5).grid("main", None).unwrap();
        // The changes come over a link of their own.
        follow_while_by(&from, &steady, &to, seed);
        assert_same(&source, &destination, &format!("seed {seed}"));
    }
}

fn follow_while_by(from: &Grid, steady: &Grid, to: &Grid, seed: u64) {
    let (changed, reached) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            let mut on_mark = |_: Position, mark: &okapi_client::Mark| {
                let has_last =
                    || to.get(at(2_000_001)).is_ok_and(|block| block.is_some_and(|block| block.bytes == b"last"));
                if changed.load(Ordering::SeqCst) && mark.sequence == mark.head && mark.behind == 0 && has_last() {
                    reached.store(true, Ordering::SeqCst);
                }
            };
            follow(from, to, None, &mut on_mark, &|| reached.load(Ordering::SeqCst))
        });
        for step in 0..30u64 {
            steady.put(at(step * 7 + seed), &bytes(step, 30)).unwrap();
            if step % 10 == 0 {
                write(steady, &format!("r{step}"), step, 1500);
            }
        }
        changed.store(true, Ordering::SeqCst);
        steady.put(at(2_000_001), b"last").unwrap();
        following.join().unwrap().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    });
}

#[test]
fn blocks_under_a_record_that_is_gone_arrive() {
    for following in [false, true] {
        let (source, destination) = (world(512), world(512));
        destination.lock().unwrap().node = [5; 16];
        let from = connect(&source, Carrier::Memory).grid("main", None).unwrap();
        let to = connect(&destination, Carrier::Memory).grid("main", None).unwrap();
        // Removing the record takes its blocks with it, after those of the source were written to them.
        write(&to, "gone", 2, 4000);
        let first = to.find("gone").unwrap().unwrap().extents[0].start;
        for by in 0..3 {
            from.put(first.plus(by).unwrap(), &bytes(by, 100)).unwrap();
        }
        if following {
            follow_while(&from, &to, None, "following", || ());
        } else {
            copy(&from, &to, &mut |_| ()).unwrap();
        }
        assert_same(&source, &destination, if following { "following" } else { "copying" });
    }
}
