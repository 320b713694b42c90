//! Disks behind buffers: what guests see of them, and what is there when they are gone.

use crate::world::{Dice, World, content};
use okapi_volume::limits::{BASE_BLOCK, DIFF_BLOCK};
use okapi_volume::{Access, Buffered, Content, Disks, NewDisk};
use std::sync::atomic::{AtomicBool, Ordering};

const SIZE: usize = 700 * 1024 + 512;

fn base() -> Vec<u8> {
    let mut bytes = Dice::new(5).bytes(SIZE);
    bytes[100_000..300_000].fill(0);
    bytes
}

/// A clone of a base, and what it shows.
fn begin(world: &World) -> Vec<u8> {
    let disks = world.disks();
    disks.import(&NewDisk::base("base"), &mut &base()[..], &mut |_| ()).unwrap();
    disks.clone_disk("base", &["clone"]).unwrap();
    base()
}

fn open(disks: &Disks, name: &str) -> Buffered {
    Buffered::new(disks.disk(name, Access::Write).unwrap()).unwrap()
}

fn check_all(disk: &Buffered, model: &[u8], what: &dyn std::fmt::Debug) {
    let mut found = vec![0xAA; model.len()];
    disk.read_at(0, &mut found).unwrap();
    let differ = found.iter().zip(model).position(|(found, model)| found != model);
    assert_eq!(differ, None, "{what:?} differs at this byte");
}

#[test]
fn a_buffered_disk_is_what_a_vector_is() {
    for seed in 0..12 {
        let world = World::new();
        let mut model = begin(&world);
        let mut dice = Dice::new(seed + 100);
        // None at all, so little that everything goes at once, and enough.
        let cache = [0, 150_000, 64 << 20][seed as usize % 3];
        let mut disks = world.disks_with_cache(cache);
        let mut disk = open(&disks, "clone");
        for number in 0..250 {
            let from = dice.below(SIZE as u64);
            let most = *dice.one_of(&[600, 9000, 200_000]);
            let length = (1 + dice.below(most)).min(SIZE as u64 - from);
            let (from, length) =
                if dice.below(2) == 0 { (from - from % 4096, length.next_multiple_of(4096)) } else { (from, length) };
            let length = length.min(SIZE as u64 - from) as usize;
            let range = from as usize..from as usize + length;
            let what = (seed, number, &range);
            match dice.below(12) {
                0..5 => {
                    let bytes = dice.bytes(length);
                    disk.write_at(from, &bytes).unwrap();
                    model[range].copy_from_slice(&bytes);
                }
                5 => {
                    disk.write_zeroes(from, length as u64).unwrap();
                    model[range].fill(0);
                }
                6..9 => {
                    let mut found = vec![0xAA; length];
                    disk.read_at(from, &mut found).unwrap();
                    assert!(found == model[range.clone()], "{what:?}");
                }
                9 => disk.flush().unwrap(),
                10 => {
                    let (found, alike) = disk.status(from, length as u64).unwrap();
                    assert!(alike > 0 && alike <= length as u64, "{what:?}");
                    let zeroes = model[from as usize..from as usize + alike as usize].iter().all(|byte| *byte == 0);
                    assert!(found == Content::Data || zeroes, "{what:?}");
                }
                _ if dice.below(8) == 0 => {
                    // It is closed without a flush.
                    drop(disk);
                    disks = world.disks_with_cache(cache);
                    disk = open(&disks, "clone");
                }
                _ => {}
            }
        }
        check_all(&disk, &model, &seed);
        assert!(disks.buffered() <= cache + SIZE, "{seed}: {}", disks.buffered());
        drop(disk);
        assert!(disks.buffered() <= cache, "{seed}");
        assert!(content(&world.disks(), "clone") == model, "{seed}");
        assert!(content(&world.disks(), "base") == base());
    }
}

#[test]
fn blocks_of_any_size_are_buffered() {
    let world = World::new();
    let disks = world.disks();
    for (name, block_size) in [("small", DIFF_BLOCK), ("large", BASE_BLOCK)] {
        disks.make(&NewDisk { block_size, ..NewDisk::empty(name, SIZE as u64) }).unwrap();
        let disk = open(&disks, name);
        let mut model = vec![0; SIZE];
        for (at, length) in [(0, 10), (65_530, 10), (SIZE - 700, 700), (4096, 131_072)] {
            let bytes = Dice::new(at as u64 + 1).bytes(length);
            disk.write_at(at as u64, &bytes).unwrap();
            model[at..at + length].copy_from_slice(&bytes);
        }
        check_all(&disk, &model, &name);
        disk.flush().unwrap();
        assert!(content(&world.disks(), name) == model, "{name}");
        assert!(disk.write_at(SIZE as u64 - 1, &[1, 2]).is_err() && disk.read_at(SIZE as u64, &mut [0]).is_err());
    }
}

#[test]
fn what_was_flushed_is_with_the_node() {
    let world = World::new();
    let mut model = begin(&world);
    let disks = world.disks_with_cache(64 << 20);
    let disk = open(&disks, "clone");
    disk.write_at(8192, &[7; 4096]).unwrap();
    disk.flush().unwrap();
    model[8192..12_288].fill(7);
    assert!(content(&world.disks(), "clone") == model);
    disk.write_zeroes(4096, 8192).unwrap();
    model[4096..12_288].fill(0);
    check_all(&disk, &model, &"zeroed");
    drop(disk);
    assert!(content(&world.disks(), "clone") == model);
}

#[test]
fn what_is_kept_of_a_closed_disk_is_forgotten_once_somebody_else_has_written() {
    let world = World::new();
    let mut model = begin(&world);
    let both = [world.disks_with_cache(64 << 20), world.disks_with_cache(64 << 20)];
    let mut dice = Dice::new(9);
    for round in 0..20 {
        let disks = dice.one_of(&both);
        let disk = open(disks, "clone");
        check_all(&disk, &model, &round);
        for _ in 0..3 {
            let at = dice.below(SIZE as u64 - 5000) as usize;
            let bytes = dice.bytes(5000);
            disk.write_at(at as u64, &bytes).unwrap();
            model[at..at + 5000].copy_from_slice(&bytes);
        }
        disk.flush().unwrap();
        drop(disk);
        assert!(disks.buffered() > 0, "it is kept");
    }
}

#[test]
fn many_threads_write_read_and_flush() {
    let world = World::new();
    let mut model = begin(&world);
    // So little memory that blocks come and go all the time.
    let disks = world.disks_with_cache(200_000);
    let disk = open(&disks, "clone");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4u8)
            .map(|writer| {
                let disk = &disk;
                scope.spawn(move || {
                    for round in 1..4u8 {
                        for block in 0..170u64 {
                            // Four writers share each block.
                            let at = block * 4096 + u64::from(writer) * 1024;
                            let value = writer * 16 + round;
                            disk.write_at(at, &[value; 1024]).unwrap();
                            let mut found = [0; 1024];
                            disk.read_at(at, &mut found).unwrap();
                            assert_eq!(found, [value; 1024], "{at}");
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                disk.flush().unwrap();
                disk.read_at(0, &mut vec![0; SIZE]).unwrap();
            }
        });
        let done: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        done.into_iter().for_each(|done| done.unwrap());
    });
    for block in 0..170 {
        for writer in 0..4 {
            model[block * 4096 + writer * 1024..][..1024].fill(writer as u8 * 16 + 3);
        }
    }
    check_all(&disk, &model, &"all");
    drop(disk);
    assert!(content(&world.disks(), "clone") == model);
}
