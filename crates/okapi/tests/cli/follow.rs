//! Replication between real nodes, each part of it killed in the middle.

use crate::dice::{Dice, seed};
use crate::house::{House, Running};
use crate::storm::connect;
use okapi_client::{Client, Grid, Index, Settings, Target};
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Long enough for the slowest machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(60);

fn at(index: u64) -> Index {
    Index::new(index).unwrap()
}

fn open(node: &Running) -> Grid {
    connect(node).grid("main", None).unwrap()
}

/// All that can be seen of a grid: blocks with length and checksum, records with their content's hash and places.
fn contents(grid: &Grid) -> Result<Contents, String> {
    let blocks: Result<Vec<_>, _> = grid.list(Index::MIN, true).collect();
    let blocks = blocks.map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    for record in grid.records("") {
        let name = record.map_err(|error| error.to_string())?.name;
        let Some(record) = grid.find(&name).map_err(|error| error.to_string())? else { continue };
        let mut bytes = Vec::new();
        grid.read_record(&name, None, &mut bytes, &mut |_| ()).map_err(|error| error.to_string())?;
        let places = format!("{:?} {} {:?}", record.extents, record.content_type, record.blake3);
        records.push((name, bytes.len(), blake3::hash(&bytes).to_string(), places));
    }
    Ok(Contents { blocks: blocks.iter().map(|block| (block.index, block.length, block.crc)).collect(), records })
}

#[derive(PartialEq)]
struct Contents {
    blocks: Vec<(Index, u32, u32)>,
    records: Vec<(String, usize, String, String)>,
}

/// Where two grids differ, shortly.
fn difference(one: &Contents, other: &Contents) -> String {
    let blocks = one.blocks.iter().filter(|block| !other.blocks.contains(block)).count();
    let more = other.blocks.iter().filter(|block| !one.blocks.contains(block)).count();
    let records: Vec<_> = one.records.iter().filter(|record| !other.records.contains(record)).collect();
    let strange: Vec<_> = other.records.iter().filter(|record| !one.records.contains(record)).collect();
    format!("{blocks} blocks missing, {more} too many; records missing: {records:?}; too many: {strange:?}")
}

fn assert_same(from: &Grid, to: &Grid, what: &str) {
    let (one, other) = (contents(from).unwrap(), contents(to).unwrap());
    assert!(one == other, "{what}: {}", difference(&one, &other));
}

#[test]
fn a_copy_killed_half_way_goes_on_where_it_was() {
    let house = House::new();
    let (source, target) = (house.up(&[]), house.up_in("other", &[]));
    let (from, to) = (open(&source), open(&target));
    let mut dice = Dice::new(1);
    let total = 3000;
    let mut blocks = Vec::new();
    for number in 0..total {
        blocks.extend(dice.bytes(2048));
        blocks.extend(vec![number as u8; 14 << 10]);
    }
    // Each in a block of its own, and the first thousand in records.
    let (records, rest) = blocks.split_at(1000 << 14);
    for (number, bytes) in records.chunks(100 << 14).enumerate() {
        from.write_record(&format!("r/{number}"), "", None, &mut &bytes[..], &mut |_| ()).unwrap();
    }
    let rest: Vec<_> = rest.chunks(1 << 14).collect();
    for (number, chunk) in rest.chunks(200).enumerate() {
        let puts: Vec<_> = chunk
            .iter()
            .enumerate()
            .map(|(at_, bytes)| {
                let index = at((1 << 30) + (number * 200 + at_) as u64 * 3);
                (okapi_client::PutAsk::whole(index, bytes, okapi_base::crc32c(bytes)), *bytes)
            })
            .collect();
        from.put_many(&puts, 0, |_, outcome| assert!(outcome.status.is_ok())).unwrap();
    }
    let there = from.stat().unwrap().blocks;
    let line = format!("replicate main {}//main --json", target.target("unix:"));
    let mut command = house.command(line.split(' '));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let half = there / 3;
    while to.stat().unwrap().blocks < half {
        assert!(child.try_wait().unwrap().is_none(), "it ended before anybody could kill it");
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it was killed");
    let report: Value = serde_json::from_str(&house.ok(&line)).unwrap();
    let moved = report["moved"].as_u64().unwrap();
    assert!(moved > 0 && moved <= there - half, "{moved} of {there} blocks were moved again: {report}");
    assert_same(&from, &to, "after the second run");
    let report: Value = serde_json::from_str(&house.ok(&line)).unwrap();
    let nothing = ["moved", "deleted", "bound", "removed"].map(|key| report[key] == json!(0));
    assert_eq!(nothing, [true; 4], "{report}");
}

/// Changes all kinds of things at the source, one after the other, until told to stop. What fails because the source
/// is dead is tried no more: it may or may not have happened.
struct Changes<'a> {
    grid: &'a Grid,
    dice: Dice,
}

impl Changes<'_> {
    fn change(&mut self) {
        let dice = &mut self.dice;
        let name = format!("n{}", dice.roll(8));
        let index = at((1 << 30) + dice.roll(200));
        let length = 1 + dice.roll(3000) as usize;
        let bytes = dice.bytes(length);
        let _: Result<(), String> = match dice.roll(20) {
            0 => self.grid.remove(&name, None).map(drop).map_err(|error| error.to_string()),
            1 => self.grid.rename(&name, &format!("n{}", dice.roll(8))).map_err(|error| error.to_string()),
            2 => self.grid.patch(&name, 0, &bytes[..1]).map_err(|error| error.to_string()),
            3..6 => {
                let content = bytes.repeat(1 + dice.roll(60) as usize);
                let written = self.grid.write_record(&name, "", None, &mut &content[..], &mut |_| ());
                written.map(drop).map_err(|error| error.to_string())
            }
            6..8 => self.grid.delete(index).map_err(|error| error.to_string()),
            8..10 => self.grid.put_slice(index, 100, &bytes).map(drop).map_err(|error| error.to_string()),
            _ => self.grid.put(index, &bytes).map(drop).map_err(|error| error.to_string()),
        };
    }
}

fn follower(house: &House, target: &str) -> Running {
    let mut command = house.command(["replicate", "main", &format!("{target}//main"), "--follow", "--json"]);
    Running::new(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

#[test]
fn a_follower_ends_up_the_same_whoever_is_killed_meanwhile() {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let house = House::new();
    let (mut source, mut target) = (house.up(&[]), house.up_in("other", &[]));
    let (ours, theirs) = (source.target("unix:"), target.target("unix:"));
    open(&target).put(at(5), b"nothing of this kind is at the source").unwrap();
    open(&target).write_record("gone", "", None, &mut &[7; 100_000][..], &mut |_| ()).unwrap();
    let mut following = follower(&house, &theirs);
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (stop, changes) = (&stop, &changes);
        let changing = Dice::new(dice.roll(1 << 60));
        scope.spawn(move || {
            let client = Client::connect(&ours.parse::<Target>().unwrap(), Settings::default()).unwrap();
            let grid = client.grid("main", None).unwrap();
            let mut changing = Changes { grid: &grid, dice: changing };
            while !stop.load(Ordering::Relaxed) {
                changing.change();
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let begun = Instant::now();
        for round in 0..9 {
            let until = changes.load(Ordering::Relaxed) + 20 + dice.roll(150);
            while changes.load(Ordering::Relaxed) < until && begun.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            match round % 3 {
                0 => {
                    source.kill();
                    source = house.up(&[]);
                }
                1 => {
                    following.kill();
                    following = follower(&house, &theirs);
                }
                _ => {
                    target.kill();
                    target = house.up_in("other", &[]);
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (from, to) = (open(&source), open(&target));
    let begun = Instant::now();
    // It may still be on its way; then it arrives.
    loop {
        let (one, other) = (contents(&from).unwrap(), contents(&to));
        if other.as_ref().is_ok_and(|other| one == *other) {
            break;
        }
        assert!(!following.has_ended(), "seed {seed}: the follower gave up: {}", following.errors());
        if begun.elapsed() > PATIENCE {
            let other = other.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            panic!("seed {seed}: {}", difference(&one, &other));
        }
    }
    assert!(changes.load(Ordering::Relaxed) > 180, "there was much to follow");
    assert_eq!(house.run("fsck").code, 0);
}

/// Both nodes give their first record the same blocks. Blocks that do not fit into the one that is there still come.
#[test]
fn records_in_the_way_make_room() {
    for (name, length) in [("same", 100), ("same", 200_000), ("other", 100), ("other", 200_000), ("other", 150_000)] {
        let house = House::new();
        let (source, target) = (house.up(&[]), house.up_in("other", &[]));
        let (from, to) = (open(&source), open(&target));
        from.write_record("same", "", None, &mut &[1; 150_000][..], &mut |_| ()).unwrap();
        to.write_record(name, "", None, &mut &vec![2; length][..], &mut |_| ()).unwrap();
        to.write_record("kept", "", None, &mut &[3; 1000][..], &mut |_| ()).unwrap();
        from.write_record("kept", "", None, &mut &[3; 1000][..], &mut |_| ()).unwrap();
        house.ok(&format!("replicate main {}//main -q", target.target("unix:")));
        assert_same(&from, &to, &format!("{name}, {length} bytes"));
    }
}
