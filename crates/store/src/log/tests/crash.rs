//! Power cuts at any moment: during puts, group commits, compaction, checkpoints, closing and recovery itself.
//!
//! A history of writes is made on a pretend disk. For a cut after any of its operations the store must come back as it
//! was after some prefix of the writes: at least all that had been called durable, at most all that had been asked for.

use super::pretend::{Dice, Pretend, World};
use super::*;
use std::collections::BTreeMap;

const CUTS: u64 = 10_000;
const EPOCHS: u64 = 4;
const CUTS_PER_EPOCH: u64 = 25;
const WRITES: u64 = 90;
const BLOCK: u32 = 1024;
const INDEXES: u64 = 48;

type Contents = BTreeMap<(u32, u64), (u64, Vec<u8>)>;

fn settings() -> Settings {
    Settings { segment_bytes: 16 << 10, checkpoint_every: 2, threads: false, ..Settings::default() }
}

fn open(disk: &Pretend) -> (Log, Opened) {
    Log::open(Arc::new(disk.clone()), &KEY, settings()).unwrap()
}

/// Everything in the store, each grid listed and each block read.
fn contents(log: &Log, grids: &[u32]) -> Contents {
    let mut all = Contents::new();
    for &id in grids {
        let grid = log.open_grid(GridId(id), shape(BLOCK)).unwrap();
        let mut listed = Vec::new();
        grid.list(Index::MIN, usize::MAX, false, &mut listed).unwrap();
        for item in &listed {
            let (generation, bytes) = read(&*grid, item.index.get()).unwrap();
            all.insert((id, item.index.get()), (generation.0, bytes));
        }
    }
    all
}

/// A change to the model: one block, or a whole grid dropped.
enum Step {
    Block((u32, u64), Option<(u64, Vec<u8>)>),
    Drop(u32),
}

/// What was asked for and what was promised, by the number of disk operations at that time.
#[derive(Default)]
struct History {
    steps: Vec<Step>,
    /// After so many operations so many steps had been asked for.
    asked: Vec<(usize, usize)>,
    /// After so many operations so many steps had been called durable.
    promised: Vec<(usize, usize)>,
    tickets: Vec<u64>,
}

impl History {
    fn wrote(&mut self, disk: &Pretend, step: Step, before: usize, ticket: u64) {
        self.steps.push(step);
        self.tickets.push(ticket);
        // The write may have reached the disk with any operation made during it.
        self.asked.push((before, self.steps.len()));
        let _ = disk;
    }

    fn look(&mut self, log: &Log, disk: &Pretend) {
        let durable = log.durable().unwrap().0;
        let promised = self.tickets.iter().take_while(|ticket| **ticket <= durable).count();
        self.promised.push((disk.operations(), promised));
    }

    fn bounds(&self, operations: usize) -> (usize, usize) {
        let at = |marks: &[(usize, usize)]| {
            marks.iter().take_while(|(when, _)| *when <= operations).map(|(_, count)| *count).max().unwrap_or(0)
        };
        (at(&self.promised), at(&self.asked))
    }
}

fn apply(contents: &mut Contents, step: &Step) {
    match step {
        Step::Block(key, Some(value)) => drop(contents.insert(*key, value.clone())),
        Step::Block(key, None) => drop(contents.remove(key)),
        Step::Drop(grid) => contents.retain(|key, _| key.0 != *grid),
    }
}

/// Writes for a while, with everything else a store does in between.
fn live(disk: &Pretend, dice: &mut Dice, start: &Contents, grids: &mut Vec<u32>) -> History {
    let mut history = History::default();
    let mut model = start.clone();
    let gives = dice.chance(25);
    let (mut log, opened) = open(disk);
    assert_eq!(opened.damages, [], "nothing is damaged by having been cut");
    for _ in 0..WRITES {
        let before = disk.operations();
        let id = grids[dice.below(grids.len() as u64) as usize];
        let grid = log.open_grid(GridId(id), shape(BLOCK)).unwrap();
        let key = (id, dice.below(INDEXES));
        let bytes: Vec<u8> = (0..1 + dice.below(BLOCK.into())).map(|_| dice.next() as u8).collect();
        let at_most = (BLOCK as usize - bytes.len()) as u32;
        let change = match dice.below(10) {
            0..6 => whole(&bytes),
            6 | 7 => whole(&[]),
            8 => edit(Edit::Slice { offset: at_most, bytes: &bytes }),
            _ => edit(Edit::Truncate { length: at_most }),
        };
        let placed = grid.put(at(key.1), &Change { relaxed: dice.chance(70), ..change }).unwrap();
        let step = Step::Block(key, read(&*grid, key.1).map(|(generation, bytes)| (generation.0, bytes)));
        apply(&mut model, &step);
        history.wrote(disk, step, before, placed.ticket.0);
        match dice.below(100) {
            0..40 => drop(log.step()),
            40..48 => log.flush().unwrap(),
            48..56 => drop(log.keep(true)),
            56..59 => drop(log.compact().unwrap()),
            59 if grids.len() > 1 => {
                let before = disk.operations();
                let id = grids.remove(0);
                grids.push(grids.last().unwrap() + 1);
                log.drop_grid(GridId(id)).unwrap();
                apply(&mut model, &Step::Drop(id));
                history.wrote(disk, Step::Drop(id), before, log.durable().unwrap().0);
            }
            60 => {
                drop((grid, log));
                log = open(disk).0;
            }
            // Keys of their own change nothing of what is there.
            61 if gives => drop(log.give_key(GridId(id), 1 + dice.below(3) as u16).unwrap()),
            _ => {}
        }
        history.look(&log, disk);
    }
    let all: Vec<u32> = (1..=*grids.last().unwrap()).collect();
    assert_eq!(contents(&log, &all), model);
    // The power goes while it is being closed, too.
    drop(log);
    history.promised.push((disk.operations(), history.steps.len()));
    history
}

/// Checks that what is found is what a prefix of the history makes, and gives it.
fn check(found: &Contents, start: &Contents, history: &History, (least, most): (usize, usize)) {
    let mut expected = start.clone();
    history.steps[..least].iter().for_each(|step| apply(&mut expected, step));
    for step in &history.steps[least..most] {
        if *found == expected {
            return;
        }
        apply(&mut expected, step);
    }
    if *found != expected {
        let wrong: Vec<_> =
            expected.iter().filter(|(key, value)| found.get(key) != Some(value)).map(|(k, v)| (k, v.0)).collect();
        let extra: Vec<_> =
            found.iter().filter(|(key, _)| !expected.contains_key(key)).map(|(k, v)| (k, v.0)).collect();
        panic!("no prefix from {least} to {most} writes: against the longest, missing {wrong:?}, extra {extra:?}");
    }
}

fn cut_and_check(world: &World, dice: &mut Dice, grids: &[u32], verify: &dyn Fn(&Contents)) -> (Pretend, Contents) {
    let mut disk = Pretend::with(world.reboot(dice));
    loop {
        let (log, opened) = open(&disk);
        assert_eq!(opened.damages, [], "a power cut is no damage");
        let found = contents(&log, grids);
        verify(&found);
        // Recovery and closing may be cut as well, again and again.
        let operations = disk.operations();
        let is_over = dice.chance(60);
        if is_over {
            let mut damages = Vec::new();
            log.verify(&mut |damage| damages.push(damage));
            assert_eq!(damages, []);
        }
        drop(log);
        let cut = match dice.chance(50) {
            true => operations,
            false => disk.operations(),
        };
        if is_over {
            return (Pretend::with(disk.world()), found);
        }
        let world = disk.world_after(dice.below(cut as u64 + 1) as usize);
        disk = Pretend::with(world.reboot(dice));
    }
}

fn run(seed: u64) -> u64 {
    let dice = &mut Dice(seed);
    let mut disk = Pretend::default();
    let mut start = Contents::new();
    let mut grids = vec![1, 2];
    let mut cuts = 0;
    for _ in 0..EPOCHS {
        let history = live(&disk, dice, &start, &mut grids);
        let all: Vec<u32> = (1..=*grids.last().unwrap()).collect();
        let operations = disk.operations();
        let mut next = None;
        for _ in 0..CUTS_PER_EPOCH {
            let cut = dice.below(operations as u64 + 1) as usize;
            let bounds = history.bounds(cut);
            let verify = |found: &Contents| check(found, &start, &history, bounds);
            next = Some(cut_and_check(&disk.world_after(cut), dice, &all, &verify));
            cuts += 1;
        }
        (disk, start) = next.expect("there is at least one cut");
        // A grid that was dropped after the cut is still there: it is written to no more, but stays in the model.
    }
    cuts
}

#[test]
fn acknowledged_writes_survive_power_cuts() {
    let first: u64 = std::env::var("OKAPI_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let runs = CUTS / (EPOCHS * CUTS_PER_EPOCH);
    let next = AtomicU64::new(0);
    let cuts = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let run_number = next.fetch_add(1, Relaxed);
                    if run_number >= runs {
                        break;
                    }
                    let seed = first + run_number;
                    let outcome = std::panic::catch_unwind(|| run(seed));
                    cuts.fetch_add(
                        outcome.unwrap_or_else(|_| panic!("the run with OKAPI_SEED={seed} failed")),
                        Relaxed,
                    );
                }
            });
        }
    });
    assert_eq!(cuts.load(Relaxed), CUTS);
}
