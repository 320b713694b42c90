//! Following: the source against a follower's copy, cut and resumed anywhere.

use crate::conn::*;
use crate::dice::{Dice, seeds};
use crate::toy::Toy;
use okapi_base::{BlockSize, Durability, Generation, GridId, Index};
use okapi_grid::{Backend, Control, Fetched, Reply, Stored, ask};
use okapi_link::{Kind, Peer};
use okapi_node::{Host, HostSettings};
use okapi_wire::flags::{RECORD, RELAXED};
use okapi_wire::message::*;
use okapi_wire::{Frame, Hello, Limits, Listed, Message, Op, PutAsk, PutKind, Run, Status, Token};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const FIRST: u64 = 1 << 40;
const BLOCK: usize = 512;

/// A follower's copy: strict about everything a node would be strict about.
#[derive(Default, Clone)]
struct Copy {
    blocks: BTreeMap<u64, Vec<u8>>,
    names: BTreeMap<String, RecordInfo>,
    /// Everything is being sent: what was there before gives way.
    sweeping: bool,
    bound: BTreeSet<String>,
    /// Sent since the last mark.
    fresh: BTreeSet<u64>,
    position: (u64, u64),
    mark: Option<Mark>,
    sweeps: u64,
    puts: u64,
    trouble: Option<String>,
}

impl Copy {
    fn owner(&self, at: u64) -> Option<String> {
        let owner = self.names.values().find(|info| indexes(&info.extents).contains(&at));
        owner.map(|info| info.name.clone())
    }

    fn refuse(&mut self, why: String) -> Status {
        self.trouble.get_or_insert(why);
        Status::InRecord
    }

    fn bind(&mut self, info: RecordInfo) -> Status {
        for at in indexes(&info.extents) {
            if !self.blocks.contains_key(&at) {
                return Status::Absent;
            }
            match self.owner(at) {
                Some(owner) if owner == info.name => {}
                Some(owner) if self.sweeping && !self.bound.contains(&owner) => drop(self.names.remove(&owner)),
                Some(owner) => return self.refuse(format!("block {at} of {} is {owner}'s", info.name)),
                None => {}
            }
        }
        let old = self.names.insert(info.name.clone(), info.clone());
        if let Some(old) = old.filter(|_| !self.sweeping) {
            let new = indexes(&info.extents);
            indexes(&old.extents).iter().filter(|at| !new.contains(at)).for_each(|at| drop(self.blocks.remove(at)));
        }
        self.bound.insert(info.name);
        Status::Ok
    }

    fn take_mark(&mut self, mark: Mark) {
        if let Some((from, to)) = mark.swept {
            let fresh = std::mem::take(&mut self.fresh);
            self.blocks.retain(|at, _| !(from.get()..=to.get()).contains(at) || fresh.contains(at));
        } else if mark.sequence == 0 {
            self.sweeping = true;
            self.sweeps += 1;
            self.bound.clear();
        }
        self.fresh.clear();
        if mark.sequence != 0 {
            if std::mem::take(&mut self.sweeping) {
                let bound = std::mem::take(&mut self.bound);
                self.names.retain(|name, _| bound.contains(name));
            }
            self.position = (mark.epoch, mark.sequence);
            // Behind, and ahead of its mark after a cut, it may have newer blocks than a hash says.
            if mark.sequence == mark.head {
                self.check();
            }
        }
        self.mark = Some(mark);
    }

    /// A record whose hash is known has the content of that hash, whenever a follower may stop.
    fn check(&mut self) {
        for info in self.names.values() {
            let blocks = indexes(&info.extents);
            let parts: Option<Vec<&Vec<u8>>> = blocks.iter().map(|at| self.blocks.get(at)).collect();
            let content: Option<Vec<u8>> = parts.map(|parts| parts.into_iter().flatten().copied().collect());
            if !content.is_some_and(|content| info.blake3 == [0; 32] || info.blake3 == hash(&content)) {
                let text = format!("record {} is not what it should be at {:?}", info.name, self.position);
                self.trouble.get_or_insert(text);
            }
        }
    }
}

impl Backend for Copy {
    type Payload = Vec<u8>;

    fn grid(&mut self, _: u32) -> Result<BlockSize, Status> {
        Ok(BlockSize::new(1 << 16).unwrap())
    }
    fn get(&mut self, _: u32, _: Index) -> Fetched<Vec<u8>> {
        Fetched::Absent
    }
    fn put(&mut self, _: u32, ask: &PutAsk, payload: &[u8], _: u16) -> Stored {
        assert_eq!(ask.kind, PutKind::Whole);
        let at = ask.index.get();
        self.puts += 1;
        if let Some(owner) = self.owner(at) {
            if self.sweeping {
                if !self.bound.contains(&owner) {
                    self.names.remove(&owner);
                }
            } else if payload.len() != self.blocks.get(&at).map_or(0, Vec::len) {
                return Stored::refused(self.refuse(format!("block {at} of {owner} would be {} long", payload.len())));
            }
        }
        if payload.is_empty() {
            self.blocks.remove(&at);
        } else {
            self.blocks.insert(at, payload.to_vec());
            self.fresh.insert(at);
        }
        Stored { status: Status::Ok, generation: Generation(1), length: payload.len() as u32, hold: None }
    }
    fn list(&mut self, _: u32, _: Index, _: usize, _: bool, _: &mut Vec<Listed>) -> Result<bool, Status> {
        Err(Status::Unsupported)
    }
    fn runs(&mut self, _: u32, _: Index, _: usize, _: &mut Vec<Run>) -> Result<bool, Status> {
        Err(Status::Unsupported)
    }
    fn control(&mut self, ask: &Frame<'_>, _: &mut Reply<'_>) -> Control {
        Control::Done(match ask.header.operation() {
            Some(Op::RecordBind) => {
                let bind = RecordBind::parse(ask.descriptors).unwrap();
                assert_eq!((bind.lease, bind.expect), (0, None));
                self.bind(bind.record)
            }
            Some(Op::RecordRemove) => {
                let remove = RecordRemove::parse(ask.descriptors).unwrap();
                match self.names.remove(&remove.name) {
                    Some(old) => {
                        indexes(&old.extents).iter().for_each(|at| drop(self.blocks.remove(at)));
                        Status::Ok
                    }
                    None => Status::UnknownRecord,
                }
            }
            Some(Op::Mark) => {
                self.take_mark(Mark::parse(ask.descriptors).unwrap());
                Status::Ok
            }
            _ => Status::Unsupported,
        })
    }
}

struct Pair {
    host: Arc<Host>,
    source: Conn,
    grid: u32,
    follower: Conn,
    copy: Copy,
    dice: Dice,
    seed: u64,
}

impl Pair {
    fn new(toy: &Toy, seed: u64, kept: usize) -> Self {
        let settings = HostSettings { changes_kept: kept, ..settings() };
        let (host, _) = open(toy, &settings);
        let mut source = Conn::owner(&host);
        if source.try_open("a", Token::NONE).status == Status::UnknownGrid {
            source.grid("a");
        }
        let grid = source.open("a");
        let follower = Conn::owner(&host);
        Self { host, source, grid, follower, copy: Copy::default(), dice: Dice::new(seed), seed }
    }

    /// A new connection that follows from where the copy is; whether it was resumed.
    fn follow(&mut self) -> bool {
        self.follower = Conn::owner(&self.host);
        let handle = self.follower.open("a");
        self.copy.fresh.clear();
        let request = self.follower.next();
        let (epoch, sequence) = self.copy.position;
        ask::message(&mut self.follower.out, Op::Follow, request, handle, &Follow { epoch, sequence });
        loop {
            self.follower.turn(&mut self.copy, 1).unwrap();
            if let Some(got) = self.follower.replies.remove(&request) {
                return got.message::<Followed>().resumed;
            }
        }
    }

    fn drive(&mut self, frames: usize) -> bool {
        let moved = self.follower.turn(&mut self.copy, frames);
        let moved = moved.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        assert_eq!(self.copy.trouble, None, "seed {}", self.seed);
        moved
    }

    /// Drives until the follower has everything, and compares.
    fn compare(&mut self) {
        // A turn that moves nothing may have begun to read something in the background.
        let mut quiet = 0;
        while quiet < 50 {
            self.host.settle();
            quiet = if self.drive(usize::MAX) { 0 } else { quiet + 1 };
        }
        let expected = self.source_blocks();
        assert_eq!(self.copy.blocks, expected, "seed {}", self.seed);
        let ask = RecordList { limit: 1000, prefix: String::new(), after: String::new() };
        let page: RecordPage = self.source.ask(Op::RecordList, self.grid, &ask).message();
        let mut names = BTreeMap::new();
        for record in page.records {
            let info: RecordInfo = self.source.find(self.grid, &record.name).message();
            names.insert(info.name.clone(), info);
        }
        assert_eq!(self.copy.names, names, "seed {}", self.seed);
        let mark = self.copy.mark.expect("there was a mark");
        assert_eq!((mark.sequence, mark.behind), (mark.head, 0), "seed {}: no lag is left", self.seed);
    }

    fn source_blocks(&mut self) -> BTreeMap<u64, Vec<u8>> {
        let page = self.source.list(self.grid, Op::List, 0, 1024, 0);
        let listed: Vec<Listed> = page.head.as_chunks().0.iter().map(|at| Listed::decode(at).unwrap()).collect();
        assert!(listed.len() < 1024);
        listed.iter().map(|block| (block.index.get(), self.source.get(self.grid, block.index.get()).1)).collect()
    }

    /// Something happens at the source.
    fn change(&mut self) {
        let names = ["a", "b", "c", "d", "e"];
        let name = names[self.dice.roll(5) as usize];
        match self.dice.roll(8) {
            0..=2 => {
                let at = if self.dice.roll(4) == 0 { FIRST + self.dice.roll(20) } else { self.dice.roll(40) };
                let length = self.dice.roll(4) as usize * 60;
                let bytes = self.dice.bytes(length);
                self.source.put(self.grid, 0, at, &bytes);
            }
            3 | 4 => {
                let length = self.dice.roll(2000) as usize;
                let content = self.dice.bytes(length);
                self.source.write_record(self.grid, name, &content, BLOCK);
            }
            5 => drop(self.source.remove(self.grid, name, None)),
            6 => {
                let to = names[self.dice.roll(5) as usize];
                drop(self.source.rename(self.grid, name, to));
            }
            _ => {
                let Some((info, content)) = self.source.read_record(self.grid, name) else { return };
                if content.is_empty() {
                    return;
                }
                let at = self.dice.roll(content.len() as u64) as usize;
                let bytes = [content[at] ^ 1];
                let block = index(indexes(&info.extents)[at / BLOCK]);
                let slice = PutAsk::slice(block, (at % BLOCK) as u32, &bytes, okapi_base::crc32c(&bytes));
                self.source.puts(self.grid, RECORD | RELAXED, &[(slice, &bytes)]);
            }
        }
    }
}

#[test]
fn a_copy_is_like_its_source_however_the_stream_is_cut() {
    let (mut resumed, mut swept) = (0, 0);
    for seed in seeds(60) {
        // With few changes kept, a follower that was away has to begin again.
        let kept = if seed % 3 == 0 { 12 } else { 10_000 };
        let toy = Toy::default();
        let mut pair = Pair::new(&toy, seed, kept);
        for _ in 0..30 {
            pair.change();
        }
        pair.follow();
        for _ in 0..120 {
            match pair.dice.roll(10) {
                0..=3 => pair.change(),
                4 => pair.host.settle(),
                5 => {
                    // The cut: what was on its way is lost.
                    if pair.follow() { resumed += 1 } else { swept += 1 }
                }
                6 if seed % 5 == 0 => {
                    let cold = pair.dice.roll(2) == 0;
                    toy.0.lock().cold = cold;
                }
                _ => {
                    let frames = 1 + pair.dice.roll(3) as usize;
                    pair.drive(frames);
                }
            }
        }
        pair.compare();
        for _ in 0..10 {
            pair.change();
        }
        pair.compare();
    }
    assert!(std::env::var("OKAPI_SEED").is_ok() || resumed > 100 && swept > 100, "{resumed} resumed, {swept} swept");
}

#[test]
fn a_follower_resumes_within_an_epoch_and_only_then() {
    let toy = Toy::default();
    let mut pair = Pair::new(&toy, 1, 100);
    for _ in 0..20 {
        pair.change();
    }
    assert!(!pair.follow(), "there is nothing to resume from");
    pair.compare();
    let (puts, sweeps) = (pair.copy.puts, pair.copy.sweeps);
    assert_eq!(sweeps, 1);
    assert!(pair.follow());
    pair.compare();
    assert_eq!((pair.copy.puts, pair.copy.sweeps), (puts, 1), "nothing is sent twice");
    for (at, bytes) in [(1, b"new1"), (2, b"new2"), (1, b"new3")] {
        assert_eq!(pair.source.put(pair.grid, 0, at, bytes), Status::Ok);
    }
    pair.compare();
    assert_eq!(pair.copy.puts, puts + 2, "a block changed twice is sent once");
    // More changes than are kept.
    pair.follower = Conn::owner(&pair.host);
    for at in 0..101 {
        assert_eq!(pair.source.put(pair.grid, 0, 500 + at % 7, &[at as u8 + 1]), Status::Ok);
    }
    assert!(!pair.follow());
    pair.compare();
    // The node starts anew; meanwhile things were deleted.
    let copy = std::mem::take(&mut pair.copy);
    assert_eq!(pair.source.put(pair.grid, 0, 500, b""), Status::Ok);
    pair.source.remove(pair.grid, "a", None);
    drop(pair);
    let mut pair = Pair::new(&toy, 1, 100);
    pair.copy = copy;
    pair.copy.names.insert("ghost".to_owned(), record("ghost", b"", vec![]));
    pair.copy.blocks.insert(77_777, vec![1]);
    assert!(!pair.follow());
    pair.compare();
}

#[test]
fn a_ring_that_overflows_while_a_follower_is_slow_loses_nothing() {
    let toy = Toy::default();
    let mut pair = Pair::new(&toy, 3, 8);
    for _ in 0..30 {
        pair.change();
    }
    pair.follow();
    for round in 0..5 {
        pair.compare();
        for _ in 0..30 {
            pair.change();
        }
        for _ in 0..round {
            pair.drive(1);
            pair.change();
        }
    }
    pair.compare();
    assert!(pair.copy.sweeps > 1, "it had to begin again");
}

#[test]
fn what_is_deleted_while_its_range_is_sent_does_not_stay_at_the_follower() {
    let toy = Toy::default();
    let mut pair = Pair::new(&toy, 5, 1000);
    pair.source.write_record(pair.grid, "a", &[7; 3 * BLOCK], BLOCK);
    pair.follow();
    pair.compare();
    // One ask at a time, so that the deletion can come between a range's blocks and its mark.
    pair.follower = Conn::new(&pair.host, Kind::Memory, Peer::Same);
    pair.follower.hello_with(Limits { frames_in_flight: 1, ..Limits::default() }, Token::NONE);
    let handle = pair.follower.open("a");
    let request = pair.follower.next();
    let (epoch, sequence) = pair.copy.position;
    ask::message(&mut pair.follower.out, Op::Follow, request, handle, &Follow { epoch, sequence });
    let gate = Arc::new(Mutex::new(()));
    toy.0.lock().gate = Some(Arc::clone(&gate));
    let closed = gate.lock();
    assert_eq!(pair.source.remove(pair.grid, "a", None).status, Status::Ok);
    let puts = pair.copy.puts;
    while pair.copy.puts == puts {
        pair.drive(1);
        std::thread::yield_now();
    }
    drop(closed);
    pair.compare();
    assert!(pair.copy.blocks.is_empty());
}

#[test]
fn a_block_that_cannot_be_read_is_left_as_it_is_and_hides_no_other() {
    let toy = Toy::default();
    let mut pair = Pair::new(&toy, 4, 100);
    let id = pair.source.bare(Op::GridStat, pair.grid).message::<GridInfo>().id;
    for at in [3, 4, 5] {
        assert_eq!(pair.source.put(pair.grid, 0, at, &[at as u8]), Status::Ok);
    }
    for at in 0..10 {
        pair.copy.blocks.insert(at, b"old".to_vec());
    }
    toy.0.lock().corrupted.insert((GridId(id), index(4)));
    pair.follow();
    while pair.drive(usize::MAX) {}
    let expected = [(3, vec![3]), (4, b"old".to_vec()), (5, vec![5])];
    assert_eq!(pair.copy.blocks, BTreeMap::from(expected));
}

#[test]
fn a_slow_follower_costs_bounded_memory_and_a_refusal_ends_the_connection() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut source = Conn::owner(&host);
    assert_eq!(source.create("a", 1 << 16, Durability::Always, false, "").status, Status::Ok);
    let grid = source.open("a");
    let bytes = vec![1; 1 << 16];
    for at in 0..200 {
        assert_eq!(source.put(grid, RELAXED, at, &bytes), Status::Ok);
    }
    let mut follower = Conn::owner(&host);
    let handle = follower.open("a");
    let request = follower.next();
    ask::message(&mut follower.out, Op::Follow, request, handle, &Follow { epoch: 0, sequence: 0 });
    for _ in 0..100 {
        follower.turn(&mut Nobody, 0).unwrap();
    }
    let waiting = follower.node_out.waiting();
    assert!((1 << 20..6 << 20).contains(&waiting), "{waiting} bytes wait for a follower that never reads");
    let refused = (0..10).find_map(|_| follower.turn(&mut Nobody, 5).err());
    assert!(refused.is_some_and(|error| error.to_string().contains("grid `a`")));
    // A reply to nothing that was asked.
    let mut liar = Conn::owner(&host);
    let never = okapi_wire::Header::ask(Op::Put, 4_000_000, 0);
    liar.out.message(okapi_grid::outbox::reply_header(&never, Status::Ok), |_| ());
    assert!(liar.turn(&mut Nobody, 0).is_err());
}

#[test]
fn follows_that_cannot_be() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    let follow = Follow { epoch: 0, sequence: 0 };
    assert_eq!(conn.ask(Op::Follow, 9, &follow).status, Status::UnknownGrid);
    let mut copy = Copy::default();
    for expected in [Status::Ok, Status::Exists] {
        let request = conn.next();
        ask::message(&mut conn.out, Op::Follow, request, grid, &follow);
        while conn.turn(&mut copy, usize::MAX).unwrap() {}
        assert_eq!(conn.replies.remove(&request).unwrap().status, expected);
    }
    let mut small = Conn::new(&host, Kind::Memory, Peer::Same);
    let limits = Limits { body_max: 1000, ..Limits::default() };
    let hello = Hello { oldest: 1, newest: 1, limits, token: Token::NONE };
    assert_eq!(small.ask(Op::Hello, 0, &hello).status, Status::Ok);
    let handle = small.open("a");
    assert_eq!(small.ask(Op::Follow, handle, &follow).status, Status::TooLong);
    // A grid that is dropped ends the stream.
    let mut owner = Conn::owner(&host);
    assert_eq!(owner.ask(Op::GridDrop, 0, &Named { name: "a".into() }).status, Status::Ok);
    while conn.turn(&mut copy, usize::MAX).unwrap() {}
    assert_eq!(conn.goodbye, Some(Status::UnknownGrid));
}
