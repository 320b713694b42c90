//! Many threads at once, while compaction runs as fast as it can.

use super::pretend::Dice;
use super::*;
use std::collections::BTreeMap;

const WRITERS: u64 = 3;
const WRITES: u64 = 1500;
/// Blocks that belong to one writer alone.
const OWN: u64 = 40;
/// Blocks that all writers count up in.
const COUNTERS: u64 = 3;
const BLOCK: u32 = 2048;

type Model = BTreeMap<u64, Vec<u8>>;

/// Changes a block in the way `dice` say, and the model in the same way.
fn change(grid: &dyn Blocks, index: u64, model: &mut Model, dice: &mut Dice) {
    let bytes: Vec<u8> = (0..1 + dice.below(600)).map(|_| dice.next() as u8).collect();
    let offset = dice.below(u64::from(BLOCK) - 600) as u32;
    let mut new = model.get(&index).cloned().unwrap_or_default();
    let end = offset as usize + bytes.len();
    let edit = match dice.below(8) {
        0..3 => {
            new.clone_from(&bytes);
            Edit::Whole { bytes: &bytes, crc: crc32c(&bytes) }
        }
        3 => {
            new.clear();
            Edit::Whole { bytes: &[], crc: 0 }
        }
        4 | 5 => {
            new.resize(new.len().max(end), 0);
            new[offset as usize..end].copy_from_slice(&bytes);
            Edit::Slice { offset, bytes: &bytes }
        }
        6 => {
            new.resize(new.len().max(end), 0);
            new[offset as usize..end].fill(0);
            Edit::Zeroes { offset, length: bytes.len() as u32 }
        }
        _ => {
            new.resize(offset as usize, 0);
            Edit::Truncate { length: offset }
        }
    };
    let placed = grid.put(at(index), &super::edit(edit)).unwrap();
    assert_eq!(placed.length as usize, new.len());
    if new.is_empty() {
        model.remove(&index)
    } else {
        model.insert(index, new)
    };
}

/// Adds one to a block that others count up too.
fn count_up(grid: &dyn Blocks, index: u64) {
    loop {
        let (expected, bytes) = read(grid, index).unwrap_or((Generation::ABSENT, vec![0; 8]));
        let next = u64::from_le_bytes(bytes.try_into().unwrap()) + 1;
        match grid.put(at(index), &Change { expect: Some(expected), ..whole(&next.to_le_bytes()) }) {
            Ok(_) => return,
            Err(WriteError::Stale { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

fn write(grid: &dyn Blocks, writer: u64, seed: u64) -> Model {
    let dice = &mut Dice(seed * 100 + writer);
    let mut model = Model::new();
    for round in 0..WRITES {
        let index = 1000 * (writer + 1) + dice.below(OWN);
        change(grid, index, &mut model, dice);
        let looked_at = 1000 * (writer + 1) + dice.below(OWN);
        assert_eq!(read(grid, looked_at).map(|(_, bytes)| bytes).as_ref(), model.get(&looked_at), "round {round}");
        if round % 8 == 0 {
            count_up(grid, dice.below(COUNTERS));
        }
    }
    model
}

fn assert_all(grid: &dyn Blocks, model: &Model) {
    let mut listed = Vec::new();
    grid.list(Index::MIN, usize::MAX, true, &mut listed).unwrap();
    let own = listed.iter().filter(|item| item.index.get() >= COUNTERS);
    assert!(own.map(|item| item.index.get()).eq(model.keys().copied()));
    for (index, bytes) in model {
        assert_eq!(&read(grid, *index).unwrap().1, bytes, "block {index}");
    }
    let counted = (0..COUNTERS).filter_map(|index| read(grid, index));
    let sum: u64 = counted.map(|(_, bytes)| u64::from_le_bytes(bytes.try_into().unwrap())).sum();
    assert_eq!(sum, WRITERS * WRITES.div_ceil(8));
}

fn run(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { segment_bytes: 64 << 10, compaction_rate: 0, checkpoint_every: 4, ..Settings::default() };
    let open = || Log::open(Arc::new(RealDisk::new(folder.path()).unwrap()), &KEY, settings.clone()).unwrap();
    let (log, _) = open();
    let grid = log.open_grid(GRID, shape(BLOCK)).unwrap();
    let grid = &*grid;
    let done = AtomicBool::new(false);
    let mut model = Model::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(grid, writer, seed))).collect();
        scope.spawn(|| {
            while !done.load(Relaxed) {
                log.compact().unwrap();
            }
        });
        scope.spawn(|| {
            let dice = &mut Dice(seed);
            while !done.load(Relaxed) {
                // Whatever comes back has its checksum.
                read(grid, 1000 * (1 + dice.below(WRITERS)) + dice.below(OWN));
            }
        });
        let ended: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Relaxed);
        for ended in ended {
            model.append(&mut ended.unwrap_or_else(|_| panic!("the run with OKAPI_SEED={seed} failed")));
        }
    });
    assert_all(grid, &model);
    assert!(log.usage().moved_bytes > 0, "nothing was compacted");
    let mut damages = Vec::new();
    log.verify(&mut |damage| damages.push(damage));
    assert_eq!(damages, []);
    drop(log);
    let (log, opened) = open();
    assert_eq!(opened.damages, []);
    assert_all(&*log.open_grid(GRID, shape(BLOCK)).unwrap(), &model);
}

#[test]
fn threads_agree_with_their_models_while_compaction_runs() {
    run(std::env::var("OKAPI_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1));
}
