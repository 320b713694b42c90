//! Damage: any byte of any file changed, files cut or gone.

use super::pretend::{Dice, Pretend, World};
use super::*;
use std::collections::BTreeMap;

const BLOCKS: u64 = 60;
type Contents = BTreeMap<u64, Vec<u8>>;

fn settings() -> Settings {
    Settings { segment_bytes: 16 << 10, checkpoint_every: 2, threads: false, ..Settings::default() }
}

fn open(world: World) -> Result<(Log, Opened, Pretend), OpenError> {
    let disk = Pretend::with(world);
    let (log, opened) = Log::open(Arc::new(disk.clone()), &KEY, settings())?;
    Ok((log, opened, disk))
}

/// A store with several segments, overwritten and deleted blocks. With `cut` the power went after all was durable, and
/// the last segment is not closed; the checkpoint is an old one then.
fn store(cut: bool) -> (World, Contents) {
    let disk = Pretend::default();
    let (log, _) = Log::open(Arc::new(disk.clone()), &KEY, settings()).unwrap();
    let grid = log.open_grid(GRID, shape(1024)).unwrap();
    let mut contents = Contents::new();
    let dice = &mut Dice(3);
    for round in 0..200 {
        let index = dice.below(BLOCKS);
        let bytes: Vec<u8> = (0..1 + dice.below(1000)).map(|_| dice.next() as u8).collect();
        if round % 9 == 8 {
            put(&*grid, index, &[]);
            contents.remove(&index);
        } else {
            put(&*grid, index, &bytes);
            contents.insert(index, bytes);
        }
        if round % 20 == 0 {
            log.flush().unwrap();
        }
        if round == 100 {
            log.keep(false);
        }
    }
    log.flush().unwrap();
    // One more, so that a durable record says that those before it are.
    put(&*grid, BLOCKS, b"last");
    contents.insert(BLOCKS, b"last".to_vec());
    log.flush().unwrap();
    let at_flush = disk.world();
    drop(log);
    (if cut { at_flush } else { disk.world() }, contents)
}

/// Reads all blocks: each is as it was, or says that it is corrupted. Gives those that are.
fn lost(log: &Log, contents: &Contents) -> Vec<u64> {
    let grid = log.open_grid(GRID, shape(1024)).unwrap();
    let mut lost = Vec::new();
    for index in 0..=BLOCKS {
        match grid.get(at(index), Patience::Waiting) {
            Ok(Got::Block(block)) => {
                assert_eq!(Some(&block.payload.as_ref().to_vec()), contents.get(&index), "block {index}");
            }
            Ok(Got::Absent) => assert_eq!(contents.get(&index), None, "block {index} has vanished"),
            Ok(Got::NotNow) => panic!("a waiting get says not now"),
            Err(ReadError::Corrupted { .. }) => lost.push(index),
            Err(other) => panic!("{other}"),
        }
    }
    lost
}

fn damages(log: &Log, opened: &Opened) -> Vec<Damage> {
    let mut all = opened.damages.clone();
    log.verify(&mut |damage| all.push(damage));
    all
}

#[test]
fn an_undamaged_store_reports_nothing() {
    for cut in [false, true] {
        let (world, contents) = store(cut);
        let (log, opened, _) = open(world).unwrap();
        assert_eq!(damages(&log, &opened), []);
        assert_eq!(lost(&log, &contents), [0; 0]);
        let mut verified = 0;
        verified += log.verify(&mut |_| {}).blocks;
        assert_eq!(verified, contents.len() as u64);
    }
}

#[test]
fn any_changed_byte_of_a_closed_store_is_reported_and_harms_at_most_its_record() {
    let (world, contents) = store(false);
    let dice = &mut Dice(11);
    for name in world.names().into_iter().filter(|name| !name.starts_with("reserve")) {
        let length = world.clone().content(&name).len();
        // Every byte of the small structures, and a sample of the rest.
        let ends = (0..140).chain(2040..2200).chain(4090..4240).chain(length.saturating_sub(300)..length);
        let sample: Vec<usize> = (0..60).map(|_| dice.below(length as u64) as usize).collect();
        for byte in ends.step_by(5).chain(sample).filter(|byte| *byte < length) {
            let mut world = world.clone();
            world.content(&name)[byte] ^= 1 << dice.below(8);
            let (log, opened, _) = open(world).unwrap_or_else(|error| panic!("{name}+{byte}: {error}"));
            let lost = lost(&log, &contents);
            let damages = damages(&log, &opened);
            assert!(!damages.is_empty(), "{name}+{byte}: nothing reported");
            assert!(lost.len() <= 1, "{name}+{byte}: one byte took blocks {lost:?}");
            for index in lost {
                let named = damages.iter().any(|damage| damage.block == Some((GRID, at(index))));
                assert!(named, "{name}+{byte}: block {index} is lost and not named in {damages:?}");
            }
        }
    }
}

#[test]
fn a_changed_byte_in_an_unclosed_segment_harms_at_most_its_record() {
    let (world, contents) = store(true);
    let dice = &mut Dice(12);
    let last = world.names().into_iter().filter(|name| name.starts_with("segment")).max().unwrap();
    let length = world.clone().content(&last).iter().rposition(|byte| *byte != 0).unwrap();
    for _ in 0..400 {
        let byte = dice.below(length as u64 - 128) as usize;
        let mut world = world.clone();
        world.content(&last)[byte] ^= 1 << dice.below(8);
        let (log, opened, disk) = open(world).unwrap();
        // No older version of a block passes for the newest, not even where the header is damaged itself.
        let lost_now = lost(&log, &contents);
        assert!(lost_now.len() <= 1, "byte {byte}: {lost_now:?}");
        let damages = damages(&log, &opened);
        assert!(!damages.is_empty() || byte < 4096, "byte {byte}: nothing reported");
        for index in &lost_now {
            let named = damages.iter().any(|damage| damage.block == Some((GRID, at(*index))));
            assert!(named, "byte {byte}: block {index} is lost and not named in {damages:?}");
        }
        // Nor later.
        drop(log);
        assert_eq!(lost(&open(disk.world()).unwrap().0, &contents), lost_now, "byte {byte}");
    }
}

#[test]
fn a_missing_or_short_segment_takes_only_its_own_blocks() {
    let (world, contents) = store(false);
    let segments: Vec<_> = world.names().into_iter().filter(|name| name.starts_with("segment")).collect();
    assert!(segments.len() >= 3);
    for name in &segments {
        for keep in [None, Some(0), Some(100), Some(5000), Some(9000)] {
            let mut world = world.clone();
            match keep {
                None => world.forget(name),
                Some(length) => {
                    let content = world.content(name);
                    content.truncate(length.min(content.len() - 1));
                }
            }
            let (log, opened, _) = open(world).unwrap();
            let lost = lost(&log, &contents);
            let damages = damages(&log, &opened);
            assert!(lost.len() < contents.len(), "{name} cut to {keep:?} took everything");
            for index in lost {
                let named = damages.iter().any(|damage| damage.block == Some((GRID, at(index))));
                assert!(named, "{name} cut to {keep:?}: block {index} is lost and not named in {damages:?}");
            }
        }
    }
}

#[test]
fn a_last_segment_in_which_nothing_is_recognised_is_kept_as_evidence() {
    let (world, _) = store(true);
    let last = world.names().into_iter().filter(|name| name.starts_with("segment")).max().unwrap();
    for from in [0, 4096] {
        let mut world = world.clone();
        let content = world.content(&last);
        content[from..].iter_mut().for_each(|byte| *byte ^= 0x5a);
        let evidence = content.clone();
        let (log, opened, disk) = open(world).unwrap();
        assert_eq!(opened.set_aside, 1);
        drop(log);
        let mut world = disk.world();
        assert!(*world.content(&format!("{last}.damaged")) == evidence);
        assert_eq!(open(world).unwrap().1.set_aside, 0);
    }
    let mut world = world;
    world.content(&last).fill(0);
    let (_log, opened, disk) = open(world).unwrap();
    assert_eq!(opened.set_aside, 0);
    assert!(disk.world().names().iter().all(|name| !name.ends_with("damaged")));
}

#[test]
fn without_a_checkpoint_the_index_is_rebuilt() {
    let (mut world, contents) = store(false);
    world.forget("checkpoint");
    let (log, opened, _) = open(world).unwrap();
    assert!(opened.rebuilt);
    assert_eq!(lost(&log, &contents), [0; 0]);
    assert_eq!(damages(&log, &opened), []);
}

#[test]
fn what_is_no_store_or_a_newer_one_is_refused() {
    let (world, _) = store(false);
    let mut no_identity = world.clone();
    no_identity.forget("store");
    assert!(matches!(open(no_identity), Err(OpenError::NoIdentity)));
    let mut newer = world;
    for at in [0, 4096] {
        let copy = &mut newer.content("store")[at..at + 128];
        copy[8] = 3;
        super::super::format::seal_with_crc(copy);
    }
    assert!(matches!(open(newer), Err(OpenError::NewerFormat { found: 3, known: 2 })));
}
