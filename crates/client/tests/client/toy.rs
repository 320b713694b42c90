//! A node in miniature: maps in memory behind the real protocol.

use okapi_base::{BlockSize, Durability, Generation, GroupId, Index, MemberId, NodeId};
use okapi_client::{ConnectError, Dial, Token};
use okapi_grid::{Answered, Backend, Control, Fetched, Inbox, Outbox, Reply, Stored, answer, ask};
use okapi_link::{Interest, Link, UnixLink, memory};
use okapi_wire::message::*;
use okapi_wire::{Frame, Header, Hello, Limits, Listed, Message, Op, PutAsk, PutKind, Run, Status, Welcome, flags};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Bytes = Arc<[u8]>;

/// Everything a toy node holds, and how it misbehaves.
#[derive(Default)]
pub(crate) struct World {
    grids: BTreeMap<String, ToyGrid>,
    ids: u32,
    generation: u64,
    leases: u64,
    connections: u64,
    /// Which node this is.
    pub(crate) node: [u8; 16],
    /// Puts carried out, by index, in order.
    pub(crate) puts: Vec<u64>,
    /// Every payload goes out with a wrong checksum.
    pub(crate) wrong_crc: bool,
    /// Asks other than hello are never answered.
    pub(crate) silent: bool,
    /// What the other end may let wait, 0 for the usual.
    pub(crate) reply_window: u32,
    /// The node's token; none: everyone is the owner.
    pub(crate) token: Option<Token>,
    /// The next ask is answered with a goodbye.
    pub(crate) goodbye: Option<String>,
    /// What was ordered about the group.
    pub(crate) orders: Vec<String>,
}

struct ToyGrid {
    id: u32,
    block_size: BlockSize,
    public: bool,
    token: Token,
    blocks: BTreeMap<u64, (Generation, Bytes)>,
    records: BTreeMap<String, RecordInfo>,
    /// Lease -> connection and blocks.
    leases: BTreeMap<u64, (u64, Vec<Run>)>,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Block(u64),
    Record(String),
}

impl ToyGrid {
    fn info(&self, name: &str, handle: u32) -> GridInfo {
        GridInfo {
            handle,
            id: self.id,
            block_size: self.block_size,
            durability: Durability::Always,
            public: self.public,
            blocks: self.blocks.len() as u64,
            bytes: self.blocks.values().map(|(_, bytes)| bytes.len() as u64).sum(),
            records: self.records.len() as u64,
            name: name.to_owned(),
            engine: "toy".to_owned(),
        }
    }

    fn record_at(&self, index: u64) -> Option<&str> {
        let holds = |run: &Run| (run.start.get()..run.start.get() + run.count).contains(&index);
        self.records.values().find(|record| record.extents.iter().any(holds)).map(|record| &*record.name)
    }

    fn lease_at(&self, index: u64) -> Option<u64> {
        let holds = |run: &Run| (run.start.get()..run.start.get() + run.count).contains(&index);
        self.leases.values().find(|(_, runs)| runs.iter().any(holds)).map(|(connection, _)| *connection)
    }

    fn delete_runs(&mut self, runs: &[Run]) {
        for run in runs {
            for index in run.start.get()..run.start.get() + run.count {
                if self.blocks.remove(&index).is_some() {
                    self.changes.push(Change::Block(index));
                }
            }
        }
    }
}

impl World {
    pub(crate) fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { node: [9; 16], ..Self::default() }))
    }

    pub(crate) fn grid(&mut self, name: &str, block_size: u32) -> &mut Self {
        self.ids += 1;
        let grid = ToyGrid {
            id: self.ids,
            block_size: BlockSize::new(block_size).unwrap(),
            public: false,
            token: Token([self.ids as u8; 32]),
            blocks: BTreeMap::new(),
            records: BTreeMap::new(),
            leases: BTreeMap::new(),
            changes: Vec::new(),
        };
        self.grids.insert(name.to_owned(), grid);
        self
    }

    pub(crate) fn blocks(&self, grid: &str) -> BTreeMap<u64, Vec<u8>> {
        self.grids[grid].blocks.iter().map(|(index, (_, bytes))| (*index, bytes.to_vec())).collect()
    }

    pub(crate) fn records(&self, grid: &str) -> BTreeMap<String, RecordInfo> {
        self.grids[grid].records.clone()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections
    }

    pub(crate) fn reserved(&self, grid: &str) -> usize {
        self.grids[grid].leases.values().filter(|(_, runs)| !runs.is_empty()).count()
    }

    /// Changes a byte behind everybody's back: the checksum no longer fits.
    pub(crate) fn set(&mut self, grid: &str, index: u64, bytes: &[u8]) {
        self.generation += 1;
        let generation = Generation(self.generation);
        let grid = self.grids.get_mut(grid).unwrap();
        grid.blocks.insert(index, (generation, bytes.into()));
        grid.changes.push(Change::Block(index));
    }
}

/// One connection's view.
struct Visitor {
    world: Arc<Mutex<World>>,
    connection: u64,
    hello: bool,
    owner: bool,
    open: Vec<u32>,
    follow: Option<Following>,
}

struct Following {
    handle: u32,
    /// Where the sweep is, while there is one.
    sweep: Option<u64>,
    /// The sweep found records to bind next.
    records: Option<Vec<RecordInfo>>,
    sequence: u64,
    waiting: usize,
    requests: u32,
    told: Option<u64>,
}

const EPOCH: u64 = 77;

impl Visitor {
    fn name(&self, world: &World, handle: u32) -> Result<String, Status> {
        let id = handle.checked_sub(1).and_then(|at| self.open.get(at as usize)).ok_or(Status::UnknownGrid)?;
        let found = world.grids.iter().find(|(_, grid)| grid.id == *id);
        found.map(|(name, _)| name.clone()).ok_or(Status::UnknownGrid)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let mut world = self.world.lock().unwrap();
        for grid in world.grids.values_mut() {
            let dead: Vec<u64> = grid
                .leases
                .iter()
                .filter(|(_, (owner, _))| *owner == self.connection)
                .map(|(lease, _)| *lease)
                .collect();
            for lease in dead {
                let (_, runs) = grid.leases.remove(&lease).unwrap();
                grid.delete_runs(&runs);
            }
        }
    }
}

impl Backend for Visitor {
    type Payload = Bytes;

    fn grid(&mut self, handle: u32) -> Result<BlockSize, Status> {
        if !self.hello {
            return Err(Status::NoHello);
        }
        let world = self.world.lock().unwrap();
        let name = self.name(&world, handle)?;
        Ok(world.grids[&name].block_size)
    }

    fn get(&mut self, handle: u32, index: Index) -> Fetched<Bytes> {
        let world = self.world.lock().unwrap();
        let name = self.name(&world, handle).unwrap();
        match world.grids[&name].blocks.get(&index.get()) {
            None => Fetched::Absent,
            Some((generation, bytes)) => Fetched::Block {
                generation: *generation,
                crc: okapi_base::crc32c(bytes) ^ u32::from(world.wrong_crc),
                payload: bytes.clone(),
            },
        }
    }

    fn put(&mut self, handle: u32, ask: &PutAsk, payload: &[u8], put_flags: u16) -> Stored {
        let mut world = self.world.lock().unwrap();
        let name = self.name(&world, handle).unwrap();
        world.generation += 1;
        let generation = Generation(world.generation);
        world.puts.push(ask.index.get());
        let grid = world.grids.get_mut(&name).unwrap();
        let index = ask.index.get();
        let (record, lease) = (grid.record_at(index).map(str::to_owned), grid.lease_at(index));
        if put_flags & flags::RECORD == 0 {
            if record.is_some() || lease.is_some() {
                return Stored::refused(Status::InRecord);
            }
        } else if let Some(record) = record {
            grid.records.get_mut(&record).unwrap().blake3 = [0; 32];
        } else if lease != Some(self.connection) {
            return Stored::refused(Status::NoReservation);
        }
        let before = grid.blocks.get(&index);
        if let Some(expect) = ask.expect
            && before.map_or(Generation::ABSENT, |(generation, _)| *generation) != expect
        {
            return Stored::refused(Status::Stale);
        }
        let mut bytes = before.map_or(Vec::new(), |(_, bytes)| bytes.to_vec());
        let (from, to) = (ask.offset as usize, (ask.offset + ask.length) as usize);
        match ask.kind {
            PutKind::Whole => bytes = payload.to_vec(),
            PutKind::Truncate => bytes.resize(ask.length as usize, 0),
            PutKind::Slice if payload.is_empty() => {}
            PutKind::Slice | PutKind::Zeroes => {
                bytes.resize(bytes.len().max(to), 0);
                if ask.kind == PutKind::Slice {
                    bytes[from..to].copy_from_slice(payload);
                } else {
                    bytes[from..to].fill(0);
                }
            }
        }
        grid.changes.push(Change::Block(index));
        let length = bytes.len() as u32;
        if bytes.is_empty() {
            let status = if grid.blocks.remove(&index).is_some() { Status::Ok } else { Status::Absent };
            return Stored { status, generation: Generation::ABSENT, length: 0, hold: None };
        }
        grid.blocks.insert(index, (generation, bytes.into()));
        Stored { status: Status::Ok, generation, length, hold: None }
    }

    fn list(
        &mut self,
        handle: u32,
        from: Index,
        limit: usize,
        detail: bool,
        out: &mut Vec<Listed>,
    ) -> Result<bool, Status> {
        let world = self.world.lock().unwrap();
        let grid = &world.grids[&self.name(&world, handle)?];
        for (index, (generation, bytes)) in grid.blocks.range(from.get()..) {
            if out.len() == limit {
                return Ok(true);
            }
            let index = Index::new(*index).unwrap();
            let bare = Listed { index, length: 0, crc: 0, generation: Generation::ABSENT };
            let full =
                Listed { index, length: bytes.len() as u32, crc: okapi_base::crc32c(bytes), generation: *generation };
            out.push(if detail { full } else { bare });
        }
        Ok(false)
    }

    fn runs(&mut self, handle: u32, from: Index, limit: usize, out: &mut Vec<Run>) -> Result<bool, Status> {
        let world = self.world.lock().unwrap();
        let grid = &world.grids[&self.name(&world, handle)?];
        for index in grid.blocks.range(from.get()..).map(|(index, _)| *index) {
            let full = out.len() == limit.min(7);
            match out.last_mut() {
                Some(run) if run.start.get() + run.count == index => run.count += 1,
                _ if full => return Ok(true),
                _ => out.push(Run { start: Index::new(index).unwrap(), count: 1 }),
            }
        }
        Ok(false)
    }

    fn control(&mut self, ask: &Frame<'_>, reply: &mut Reply<'_>) -> Control {
        let world = self.world.clone();
        let mut world = world.lock().unwrap();
        let op = ask.header.operation().unwrap();
        if op == Op::Hello {
            return self.hello(&world, ask, reply);
        }
        if world.silent {
            return Control::Later;
        }
        if !self.hello {
            return Control::Done(Status::NoHello);
        }
        match self.other(&mut world, op, ask, reply) {
            Ok(()) => Control::Done(Status::Ok),
            Err(status) => Control::Done(status),
        }
    }
}

fn say(reply: &mut Reply<'_>, message: &impl Message) {
    message.encode(&mut okapi_wire::BodyWriter::new(reply.body));
}

fn hear<M: Message>(ask: &Frame<'_>) -> Result<M, Status> {
    M::parse(ask.descriptors).map_err(|_| Status::Malformed)
}

impl Visitor {
    fn hello(&mut self, world: &World, ask: &Frame<'_>, reply: &mut Reply<'_>) -> Control {
        let Ok(hello) = Hello::parse(ask.descriptors) else { return Control::Last(Status::Malformed) };
        let token = world.token.unwrap_or(Token::NONE);
        if !hello.token.is_none() && !hello.token.matches(&token) {
            return Control::Last(Status::WrongToken);
        }
        self.owner = world.token.is_none() || hello.token.matches(&token);
        self.hello = true;
        let mut limits = Limits::default();
        if world.reply_window > 0 {
            limits.reply_window = world.reply_window;
        }
        say(reply, &Welcome { version: 1, owner: self.owner, limits, node: world.node });
        Control::Done(Status::Ok)
    }

    fn other(&mut self, world: &mut World, op: Op, ask: &Frame<'_>, reply: &mut Reply<'_>) -> Result<(), Status> {
        match op {
            Op::Ping | Op::Sync => {}
            Op::NodeStatus => say(reply, &NodeStatus { facts: vec![("toy".into(), "yes".into())] }),
            Op::Verify => say(reply, &VerifyReport { blocks: 3, ..VerifyReport::default() }),
            Op::Compact => say(reply, &CompactReport { segments: 4, ..CompactReport::default() }),
            Op::GroupStatus => {
                let ids = (GroupId([1; 32]), NodeId([2; 32]), MemberId([3; 32]));
                let GroupStatusAsk { newest } = hear(ask)?;
                say(reply, &GroupStatus { number: newest.into(), ..GroupStatus::alone(ids.0, ids.1, ids.2) });
            }
            Op::GroupInvite => {
                let GroupInvite { lifetime } = hear(ask)?;
                say(reply, &Invited { ticket: "okapi-1".into(), expires: lifetime.into() });
            }
            Op::GroupJoin => world.orders.push(format!("join {}", hear::<GroupJoin>(ask)?.ticket)),
            Op::GroupLeave => world.orders.push(format!("leave {}", hear::<GroupLeave>(ask)?.now)),
            Op::GroupGive => world.orders.push(format!("give {}", hear::<GroupGive>(ask)?.bytes)),
            Op::GroupSafe => world.orders.push("safe".to_owned()),
            Op::GridList => {
                let grids = world.grids.iter().map(|(name, grid)| grid.info(name, 0)).collect();
                say(reply, &GridList { grids });
            }
            Op::GridCreate => {
                let create: GridCreate = hear(ask)?;
                if world.grids.contains_key(&create.name) {
                    return Err(Status::Exists);
                }
                world.grid(&create.name, create.block_size.bytes());
                let grid = world.grids.get_mut(&create.name).unwrap();
                grid.public = create.public;
                say(reply, &GridCreated { token: grid.token, info: grid.info(&create.name, 0) });
            }
            Op::GridDrop => {
                let named: Named = hear(ask)?;
                world.grids.remove(&named.name).ok_or(Status::UnknownGrid)?;
            }
            Op::GridOpen => {
                let open: GridOpen = hear(ask)?;
                let grid = world.grids.get(&open.name).ok_or(Status::UnknownGrid)?;
                if !self.owner && !grid.public && !open.token.matches(&grid.token) {
                    return Err(if open.token.is_none() { Status::UnknownGrid } else { Status::WrongToken });
                }
                self.open.push(grid.id);
                say(reply, &grid.info(&open.name, self.open.len() as u32));
            }
            Op::GridStat => {
                let name = self.name(world, ask.header.grid)?;
                say(reply, &world.grids[&name].info(&name, ask.header.grid));
            }
            Op::Follow => {
                self.name(world, ask.header.grid)?;
                let from: Follow = hear(ask)?;
                let name = self.name(world, ask.header.grid)?;
                let newest = world.grids[&name].changes.len() as u64;
                let resumed = from.epoch == EPOCH && from.sequence > 0 && from.sequence <= newest + 1;
                let sequence = if resumed { from.sequence - 1 } else { newest };
                self.follow = Some(Following {
                    handle: ask.header.grid,
                    sweep: (!resumed).then_some(0),
                    records: None,
                    sequence,
                    waiting: 0,
                    requests: 0,
                    told: None,
                });
                say(reply, &Followed { epoch: EPOCH, sequence, resumed });
            }
            _ => return self.record(world, op, ask, reply),
        }
        Ok(())
    }

    fn record(&mut self, world: &mut World, op: Op, ask: &Frame<'_>, reply: &mut Reply<'_>) -> Result<(), Status> {
        let name = self.name(world, ask.header.grid)?;
        world.generation += 1;
        world.leases += 1;
        let (generation, fresh) = (Generation(world.generation), world.leases);
        let grid = world.grids.get_mut(&name).unwrap();
        match op {
            Op::RecordFind => {
                let find: RecordFind = hear(ask)?;
                say(reply, grid.records.get(&find.name).ok_or(Status::UnknownRecord)?);
            }
            Op::RecordList => {
                let list: RecordList = hear(ask)?;
                let limit = (list.limit as usize).min(5);
                let found = grid.records.values();
                let mut found = found.filter(|r| r.name.starts_with(&list.prefix) && r.name > list.after);
                let records = found.by_ref().take(limit).cloned();
                let records = records.map(|r| RecordInfo { extents: r.extents.iter().take(1).copied().collect(), ..r });
                let records = records.collect();
                say(reply, &RecordPage { more: found.next().is_some(), records });
            }
            Op::RecordReserve => {
                let reserve: RecordReserve = hear(ask)?;
                let lease = if reserve.lease == 0 { fresh } else { reserve.lease };
                let run = grid.free(reserve.blocks);
                grid.leases.entry(lease).or_insert((self.connection, Vec::new())).1.push(run);
                // In two pieces where it goes, as a fragmented grid would answer.
                let half = Run { count: run.count.div_ceil(2), ..run };
                let rest = run.count - half.count;
                let mut extents = vec![half];
                if rest > 0 {
                    extents.push(Run { start: half.last().next().unwrap(), count: rest });
                }
                say(reply, &Reserved { lease, extents });
            }
            Op::RecordRelease => {
                let lease: Lease = hear(ask)?;
                let (_, runs) = grid.leases.remove(&lease.lease).ok_or(Status::NoReservation)?;
                grid.delete_runs(&runs);
            }
            Op::RecordBind => {
                let bind: RecordBind = hear(ask)?;
                grid.bind(bind, self.connection, generation)?;
                say(reply, &RecordBound { generation });
            }
            Op::RecordRemove => {
                let remove: RecordRemove = hear(ask)?;
                let there = grid.records.get(&remove.name).ok_or(Status::UnknownRecord)?;
                if remove.expect.is_some_and(|expect| expect != there.generation) {
                    return Err(Status::Stale);
                }
                let gone = grid.records.remove(&remove.name).unwrap();
                grid.changes.push(Change::Record(gone.name));
                grid.delete_runs(&gone.extents);
            }
            Op::RecordRename => {
                let rename: RecordRename = hear(ask)?;
                if grid.records.contains_key(&rename.to) {
                    return Err(Status::Exists);
                }
                let mut record = grid.records.remove(&rename.from).ok_or(Status::UnknownRecord)?;
                record.name.clone_from(&rename.to);
                grid.records.insert(rename.to.clone(), record);
                grid.changes.extend([Change::Record(rename.from), Change::Record(rename.to)]);
            }
            _ => return Err(Status::UnknownOp),
        }
        Ok(())
    }

    /// Asks the follower what is due, a frame at a time.
    fn pump(&mut self, outbox: &mut Outbox<Bytes>) {
        let Some(follow) = &mut self.follow else { return };
        if follow.waiting > 0 {
            return;
        }
        let world = self.world.lock().unwrap();
        let id = self.open[follow.handle as usize - 1];
        let Some(grid) = world.grids.values().find(|grid| grid.id == id) else { return };
        let head = grid.changes.len() as u64;
        follow.requests += 1;
        let (request, handle) = (follow.requests, follow.handle);
        let mark = |sequence, swept, behind| Mark { epoch: EPOCH, sequence, head: head + 1, swept, behind };
        if let Some(from) = follow.sweep {
            let some: Vec<(u64, Bytes)> =
                grid.blocks.range(from..).take(5).map(|(index, (_, bytes))| (*index, bytes.clone())).collect();
            put(outbox, request, handle, &some);
            let last = some.last().map(|(index, _)| *index).filter(|_| some.len() == 5);
            let to = last.and_then(Index::new).unwrap_or(Index::MAX);
            let swept = Some((Index::new(from).unwrap(), to));
            follow.requests += 1;
            ask::message(outbox, Op::Mark, follow.requests, handle, &mark(0, swept, 1));
            follow.waiting = 2;
            follow.sweep = last.map(|last| last + 1);
            if follow.sweep.is_none() {
                follow.records = Some(grid.records.values().cloned().collect());
            }
        } else if let Some(records) = follow.records.take() {
            follow.requests -= 1;
            for record in records {
                follow.requests += 1;
                bind(outbox, follow.requests, handle, record);
                follow.waiting += 1;
            }
        } else if follow.sequence < head {
            match grid.changes[follow.sequence as usize].clone() {
                Change::Block(index) => {
                    let bytes = grid.blocks.get(&index).map_or(Arc::from([]), |(_, bytes)| bytes.clone());
                    put(outbox, request, handle, &[(index, bytes)]);
                }
                Change::Record(name) => match grid.records.get(&name) {
                    Some(record) => bind(outbox, request, handle, record.clone()),
                    None => {
                        let remove = RecordRemove { expect: None, name };
                        ask::message(outbox, Op::RecordRemove, request, handle, &remove);
                    }
                },
            }
            follow.sequence += 1;
            follow.waiting = 1;
        } else if follow.told != Some(head) {
            follow.told = Some(head);
            ask::message(outbox, Op::Mark, request, handle, &mark(follow.sequence + 1, None, 0));
            follow.waiting = 1;
        }
    }
}

fn put(outbox: &mut Outbox<Bytes>, request: u32, handle: u32, blocks: &[(u64, Bytes)]) {
    let puts: Vec<(PutAsk, &[u8])> = blocks
        .iter()
        .map(|(index, bytes)| (PutAsk::whole(Index::new(*index).unwrap(), bytes, okapi_base::crc32c(bytes)), &**bytes))
        .collect();
    ask::put(outbox, request, handle, 0, &puts);
}

fn bind(outbox: &mut Outbox<Bytes>, request: u32, handle: u32, record: RecordInfo) {
    let bind = RecordBind { lease: 0, expect: None, record };
    ask::message(outbox, Op::RecordBind, request, handle, &bind);
}

impl ToyGrid {
    /// The first free run of so many blocks from 2^40 on.
    fn free(&self, blocks: u64) -> Run {
        let taken = |index: &u64| {
            let held = self.blocks.contains_key(index) || self.lease_at(*index).is_some();
            held || self.record_at(*index).is_some()
        };
        let mut start = 1u64 << 40;
        while let Some(index) = (start..start + blocks).rfind(taken) {
            start = index + 1;
        }
        Run { start: Index::new(start).unwrap(), count: blocks }
    }

    fn bind(&mut self, bind: RecordBind, connection: u64, generation: Generation) -> Result<(), Status> {
        let record = RecordInfo { generation, ..bind.record };
        let before = self.records.get(&record.name);
        if bind.expect.is_some_and(|expect| before.map_or(Generation::ABSENT, |r| r.generation) != expect) {
            return Err(Status::Stale);
        }
        let indexes = |runs: &[Run]| -> Vec<u64> {
            runs.iter().flat_map(|run| run.start.get()..run.start.get() + run.count).collect()
        };
        let wanted = indexes(&record.extents);
        if wanted.len() as u64 != self.block_size.blocks_for(record.length) {
            return Err(Status::Malformed);
        }
        for index in &wanted {
            if self.record_at(*index).is_some_and(|other| other != record.name) {
                return Err(Status::InRecord);
            }
            match bind.lease {
                0 if !self.blocks.contains_key(index) => return Err(Status::Absent),
                0 => {}
                _ if self.lease_at(*index) == Some(connection) => {}
                _ => return Err(Status::NoReservation),
            }
        }
        if bind.lease != 0 {
            let (owner, runs) = self.leases.remove(&bind.lease).ok_or(Status::NoReservation)?;
            let left = indexes(&runs).into_iter().filter(|index| !wanted.contains(index));
            let left = left.map(|index| Run { start: Index::new(index).unwrap(), count: 1 }).collect();
            self.leases.insert(bind.lease, (owner, left));
        }
        if let Some(old) = self.records.remove(&record.name) {
            let gone: Vec<Run> = indexes(&old.extents)
                .into_iter()
                .filter(|index| !wanted.contains(index))
                .map(|index| Run { start: Index::new(index).unwrap(), count: 1 })
                .collect();
            self.delete_runs(&gone);
        }
        self.changes.push(Change::Record(record.name.clone()));
        self.records.insert(record.name.clone(), record);
        Ok(())
    }
}

/// Serves one connection until it ends.
pub(crate) fn serve(world: Arc<Mutex<World>>, mut link: Box<dyn Link>) {
    let connection = {
        let mut world = world.lock().unwrap();
        world.connections += 1;
        world.connections
    };
    let (mut inbox, mut outbox) = (Inbox::new(okapi_base::limits::BODY_MAX), Outbox::<Bytes>::default());
    let mut visitor = Visitor { world, connection, hello: false, owner: false, open: Vec::new(), follow: None };
    let mut ends = false;
    loop {
        while let Some(frame) = inbox.next_frame().ok().flatten() {
            if frame.header.is_reply() {
                let follow = visitor.follow.as_mut().expect("only a follower is asked");
                assert_eq!(Status::from_code(frame.header.status), Status::Ok, "the follower refused");
                follow.waiting -= 1;
                continue;
            }
            if let Some(why) = visitor.world.lock().unwrap().goodbye.take() {
                let goodbye = Header { status: Status::Stopping as u16, ..Header::ask(Op::Goodbye, 0, 0) };
                outbox.message(goodbye, |body| body.extend_from_slice(why.as_bytes()));
                ends = true;
                break;
            }
            if visitor.world.lock().unwrap().silent && frame.header.operation() != Some(Op::Hello) {
                continue;
            }
            ends |= answer(&frame, &mut visitor, &mut outbox) == Answered::Last;
        }
        visitor.pump(&mut outbox);
        while !outbox.is_idle() {
            let mut parts: [&[u8]; 32] = [&[]; 32];
            let count = outbox.fill(&mut parts);
            match link.send(&parts.map(IoSlice::new)[..count]) {
                Ok(count) => outbox.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if link.about_to_wait(Interest::Send) {
                        link.wait(Interest::Send, None).unwrap();
                    }
                }
                Err(_) => return,
            }
        }
        if ends {
            return;
        }
        match link.receive(inbox.space()) {
            Ok(0) => return,
            Ok(count) => inbox.received(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let patience = visitor.follow.as_ref().map(|_| Duration::from_millis(2));
                if link.about_to_wait(Interest::Receive) {
                    link.wait(Interest::Receive, patience).unwrap();
                }
            }
            Err(_) => return,
        }
    }
}

/// What carries a toy node's links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Memory,
    Unix,
}

/// The way to a toy node.
pub(crate) struct ToToy {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) carrier: Carrier,
    /// What each new link can carry before it breaks; nothing: for ever.
    pub(crate) cuts: Option<Arc<Cuts>>,
    /// So many times nobody is there.
    pub(crate) down: Arc<AtomicI64>,
}

impl ToToy {
    pub(crate) fn new(world: &Arc<Mutex<World>>, carrier: Carrier) -> Self {
        Self { world: world.clone(), carrier, cuts: None, down: Arc::default() }
    }
}

/// Cuts links after a number of bytes drawn from a seed, in either direction.
pub(crate) struct Cuts {
    dice: AtomicU64,
    most: u64,
    /// Links still to be cut; then they hold.
    left: AtomicI64,
}

impl Cuts {
    pub(crate) fn new(seed: u64, most: u64, links: i64) -> Arc<Self> {
        Arc::new(Self { dice: AtomicU64::new(seed), most, left: AtomicI64::new(links) })
    }

    fn draw(&self) -> Option<u64> {
        (self.left.fetch_sub(1, Ordering::SeqCst) > 0).then(|| {
            let dice = self.dice.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
            let mixed = (dice ^ (dice >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            // The hello and the welcome get through, or nothing would ever happen.
            200 + (mixed ^ (mixed >> 29)) % self.most
        })
    }
}

impl Dial for ToToy {
    fn dial(&self, _: Duration) -> Result<Box<dyn Link>, ConnectError> {
        if self.down.load(Ordering::SeqCst) > 0 {
            self.down.fetch_sub(1, Ordering::SeqCst);
            let target = okapi_client::Target::Unix("/nobody/there".into());
            return Err(okapi_link::ConnectError::Refused { target }.into());
        }
        let (ours, theirs): (Box<dyn Link>, Box<dyn Link>) = match self.carrier {
            Carrier::Memory => {
                let (ours, theirs) = memory::pair(memory::CAPACITY).unwrap();
                (Box::new(ours), Box::new(theirs))
            }
            Carrier::Unix => {
                let (ours, theirs) = UnixLink::pair().unwrap();
                (Box::new(ours), Box::new(theirs))
            }
        };
        let world = self.world.clone();
        std::thread::spawn(move || serve(world, theirs));
        match self.cuts.as_ref().and_then(|cuts| cuts.draw()) {
            Some(left) => Ok(Box::new(Cutting { link: ours, left })),
            None => Ok(ours),
        }
    }

    fn address(&self) -> String {
        "toy".to_owned()
    }
}

/// A link that breaks after so many bytes.
struct Cutting {
    link: Box<dyn Link>,
    left: u64,
}

impl Cutting {
    fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
        if self.left == 0 {
            self.link.close();
        }
    }
}

impl Link for Cutting {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(self.left.max(1) as usize);
        let count = self.link.receive(&mut into[..most])?;
        self.spend(count);
        Ok(count)
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let first = parts.iter().find(|part| !part.is_empty()).expect("something is sent");
        let most = first.len().min(self.left.max(1) as usize);
        let count = self.link.send(&[IoSlice::new(&first[..most])])?;
        self.spend(count);
        Ok(count)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }

    fn about_to_wait(&mut self, interest: Interest) -> bool {
        self.link.about_to_wait(interest)
    }

    fn wait(&mut self, interest: Interest, timeout: Option<Duration>) -> io::Result<bool> {
        self.link.wait(interest, timeout)
    }

    fn take_fds(&mut self) -> Vec<OwnedFd> {
        self.link.take_fds()
    }

    fn facts(&self) -> &okapi_link::Facts {
        self.link.facts()
    }

    fn close(&mut self) {
        self.link.close();
    }
}
