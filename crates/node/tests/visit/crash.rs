//! The power is cut after every single write, and what is left is opened again.

use crate::conn::*;
use crate::dice::{Dice, seeds};
use crate::toy::{Toy, Write};
use okapi_wire::flags::{RECORD, RELAXED};
use okapi_wire::message::*;
use okapi_wire::{Op, PutAsk, Run, Status};
use std::collections::{BTreeMap, BTreeSet};

const FIRST: u64 = 1 << 40;
const BLOCK: usize = 512;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What a user believes to be there: records by name, and blocks of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Belief {
    records: BTreeMap<String, Vec<u8>>,
    blocks: BTreeMap<u64, Vec<u8>>,
}

struct Story {
    host: std::sync::Arc<okapi_node::Host>,
    conn: Conn,
    grid: u32,
    belief: Belief,
    dice: Dice,
    /// A lease with blocks written and not bound.
    open: Option<(u64, Vec<Run>)>,
}

impl Story {
    fn step(&mut self) {
        let name = NAMES[self.dice.roll(4) as usize];
        match self.dice.roll(9) {
            0..=2 => self.begin_or_bind(name),
            3 => {
                let removed = self.conn.remove(self.grid, name, None).status;
                let there = self.belief.records.remove(name).is_some();
                assert_eq!(removed, if there { Status::Ok } else { Status::UnknownRecord });
            }
            4 => {
                let to = NAMES[self.dice.roll(4) as usize];
                if self.conn.rename(self.grid, name, to).status == Status::Ok {
                    let content = self.belief.records.remove(name).unwrap();
                    self.belief.records.insert(to.into(), content);
                }
            }
            5 | 6 => {
                let at = FIRST - 5 + self.dice.roll(30);
                let length = self.dice.roll(3) as usize * 100;
                let bytes = self.dice.bytes(length);
                match self.conn.put(self.grid, 0, at, &bytes) {
                    Status::Ok if bytes.is_empty() => drop(self.belief.blocks.remove(&at)),
                    Status::Ok => drop(self.belief.blocks.insert(at, bytes)),
                    status => assert_eq!(status, Status::InRecord),
                }
            }
            7 => self.edit(name),
            _ => self.lose_or_adopt(name),
        }
    }

    fn begin_or_bind(&mut self, name: &str) {
        let Some((lease, extents)) = self.open.take() else {
            let blocks = 1 + self.dice.roll(4);
            let first: Reserved = self.conn.reserve(self.grid, 0, blocks, None).message();
            let more = 1 + self.dice.roll(3);
            let more: Reserved = self.conn.reserve(self.grid, first.lease, more, None).message();
            let extents = [first.extents, more.extents].concat();
            for at in indexes(&extents) {
                let bytes = self.dice.bytes(BLOCK);
                assert_eq!(self.conn.put(self.grid, RECORD | RELAXED, at, &bytes), Status::Ok);
            }
            self.open = Some((first.lease, extents));
            return;
        };
        let all = indexes(&extents);
        let keep = 1 + self.dice.roll(all.len() as u64) as usize;
        let content: Vec<u8> = all[..keep].iter().flat_map(|at| self.conn.get(self.grid, *at).1).collect();
        let extents = all[..keep].iter().map(|at| Run { start: index(*at), count: 1 }).collect();
        let bound = self.conn.bind(self.grid, lease, None, record(name, &content, extents));
        assert_eq!(bound.status, Status::Ok, "{}", bound.text);
        self.belief.records.insert(name.into(), content);
        // Sometimes the rest is given back, sometimes it dies with the connection.
        if self.dice.roll(2) == 0 {
            assert_eq!(self.conn.ask(Op::RecordRelease, self.grid, &Lease { lease }).status, Status::Ok);
        }
    }

    fn edit(&mut self, name: &str) {
        let Some((info, mut content)) = self.conn.read_record(self.grid, name) else { return };
        let at = self.dice.roll(content.len() as u64) as usize;
        content[at] ^= 0x55;
        let block = indexes(&info.extents)[at / BLOCK];
        let bytes = [content[at]];
        let slice = PutAsk::slice(index(block), (at % BLOCK) as u32, &bytes, okapi_base::crc32c(&bytes));
        assert_eq!(self.conn.puts(self.grid, RECORD, &[(slice, &bytes)])[0].status, Status::Ok);
        self.belief.records.insert(name.into(), content);
    }

    fn lose_or_adopt(&mut self, name: &str) {
        if self.dice.roll(2) == 0 {
            self.open = None;
            self.conn = Conn::owner(&self.host);
            self.conn.open("a");
            return;
        }
        // Full blocks that are there already become a record.
        let mine: Vec<u64> = self.belief.blocks.keys().copied().take(1).collect();
        let [at] = mine[..] else { return };
        let content = self.belief.blocks[&at].clone();
        let extents = vec![Run { start: index(at), count: 1 }];
        let bound = self.conn.bind(self.grid, 0, None, record(name, &content, extents));
        assert_eq!(bound.status, Status::Ok, "{}", bound.text);
        self.belief.blocks.remove(&at);
        self.belief.records.insert(name.into(), content);
    }
}

/// What is there once what is left has been opened.
fn opened(writes: &[Write]) -> (Toy, Belief) {
    let toy = Toy::after(writes);
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let grid = conn.open("a");
    let mut belief = Belief::default();
    let mut owned = BTreeSet::new();
    for name in NAMES {
        if let Some((info, content)) = conn.read_record(grid, name) {
            assert_eq!(content.len() as u64, info.length, "record {name} is all there");
            assert!(info.blake3 == [0; 32] || info.blake3 == hash(&content), "record {name} is what was bound");
            owned.extend(indexes(&info.extents));
            belief.records.insert(name.into(), content);
        }
    }
    let id = conn.bare(Op::GridStat, grid).message::<GridInfo>().id;
    belief.blocks = toy.dump(id).into_iter().filter(|(at, _)| !owned.contains(at)).collect();
    assert_eq!(toy.dump(id | 1 << 31).len(), belief.records.len(), "names and no marks");
    (toy, belief)
}

#[test]
fn wherever_the_power_is_cut_records_are_whole_and_nothing_leaks() {
    let mut cuts = 0;
    for seed in seeds(16) {
        let toy = Toy::default();
        let host = host(&toy);
        let mut conn = Conn::owner(&host);
        let grid = conn.grid("a");
        let start = toy.length();
        let dice = Dice::new(seed);
        let mut story = Story { host, conn, grid, belief: Belief::default(), dice, open: None };
        let mut history = vec![(start, story.belief.clone())];
        for _ in 0..40 {
            story.step();
            story.host.settle();
            history.push((toy.length(), story.belief.clone()));
        }
        let writes = toy.writes();
        let mut dice = Dice::new(seed + 1000);
        for cut in start..=writes.len() {
            let (left, found) = opened(&writes[..cut]);
            let acked = history.iter().rposition(|(length, _)| *length <= cut).unwrap();
            let possible = history[acked..].iter().take(2).map(|(_, belief)| belief);
            assert!(possible.clone().any(|belief| *belief == found), "seed {seed}, cut after {cut} writes: {found:?}");
            cuts += 1;
            // Recovery itself is cut too.
            let recovered = left.writes();
            if recovered.len() > cut {
                let again = cut + dice.roll((recovered.len() - cut) as u64) as usize;
                assert_eq!(opened(&recovered[..again]).1, found, "seed {seed}, cut after {cut} and {again} writes");
            }
        }
    }
    assert!(cuts > 1000 || std::env::var("OKAPI_SEED").is_ok(), "{cuts} cuts are too few to mean anything");
}
