//! Both ends of a connection in one test, with nothing but bytes between them.

use crate::toy::Toy;
use okapi_base::{BlockSize, Durability, Generation, Index, crc32c};
use okapi_grid::{Answered, Backend, Inbox, Outbox, answer, ask};
use okapi_link::{Facts, Kind, Peer};
use okapi_node::{AskError, Host, HostSettings, Opened, Stores, Visitor};
use okapi_store::Payload;
use okapi_wire::message::*;
use okapi_wire::{
    BodyWriter, Frame, GetAsk, Hello, Limits, ListAsk, Listed, Message, Op, Outcome, PutAsk, Run, Status, Token,
    Welcome,
};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub const NODE_TOKEN: Token = Token([7; 32]);
const BODY_MAX: u32 = okapi_base::limits::BODY_MAX;

/// A host over a toy engine for everything durable and another for memory.
pub fn host(log: &Toy) -> Arc<Host> {
    open(log, &settings()).0
}

pub fn settings() -> HostSettings {
    HostSettings::new("/nowhere".into())
}

pub fn open(log: &Toy, settings: &HostSettings) -> (Arc<Host>, Opened) {
    let stores = Stores::new(Arc::new(log.clone()), Arc::new(Toy::default()), None);
    let (host, opened) = Host::over(stores, NODE_TOKEN, settings).expect("the toy opens");
    (Arc::new(host), opened)
}

/// A reply, owned.
#[derive(Debug, Clone)]
pub struct Got {
    pub status: Status,
    pub flags: u16,
    pub head: Vec<u8>,
    pub payload: Vec<u8>,
    pub text: String,
}

impl Got {
    pub fn message<M: Message>(&self) -> M {
        assert_eq!(self.status, Status::Ok, "{}", self.text);
        M::parse(&self.head).expect("the reply is the message")
    }
}

#[derive(Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until it is rung. A minute means that it never will be.
    fn wait(&self, what: &str) {
        let mut rung = self.rung.lock();
        while !*rung {
            let late = self.changed.wait_for(&mut rung, Duration::from_secs(60)).timed_out();
            assert!(!late, "nothing came for a minute: {what}");
        }
        *rung = false;
    }
}

pub struct Conn {
    pub host: Arc<Host>,
    pub visitor: Visitor,
    pub bell: Arc<Bell>,
    pub node_out: Outbox<Payload>,
    node_in: Inbox,
    pub out: Outbox<Vec<u8>>,
    inbox: Inbox,
    pub replies: HashMap<u32, Got>,
    pub requests: u32,
    /// Frames from the node that have been handled here.
    pub frames: u64,
    pub last: bool,
    pub not_now: u64,
    pub goodbye: Option<Status>,
}

pub fn facts(kind: Kind, peer: Peer) -> Facts {
    Facts { kind, peer, name: "test".to_owned() }
}

/// A backend for whoever has no use for asks.
pub struct Nobody;

impl Backend for Nobody {
    type Payload = Vec<u8>;

    fn grid(&mut self, _: u32) -> Result<BlockSize, Status> {
        Err(Status::UnknownGrid)
    }
    fn get(&mut self, _: u32, _: Index) -> okapi_grid::Fetched<Vec<u8>> {
        unreachable!()
    }
    fn put(&mut self, _: u32, _: &PutAsk, _: &[u8], _: u16) -> okapi_grid::Stored {
        unreachable!()
    }
    fn list(&mut self, _: u32, _: Index, _: usize, _: bool, _: &mut Vec<Listed>) -> Result<bool, Status> {
        unreachable!()
    }
    fn runs(&mut self, _: u32, _: Index, _: usize, _: &mut Vec<Run>) -> Result<bool, Status> {
        unreachable!()
    }
    fn control(&mut self, _: &Frame<'_>, _: &mut okapi_grid::Reply<'_>) -> okapi_grid::Control {
        okapi_grid::Control::Done(Status::Unsupported)
    }
}

/// Moves some bytes, if there are any.
fn carry<P: AsRef<[u8]>>(from: &mut Outbox<P>, to: &mut Inbox) -> bool {
    let mut parts: [&[u8]; 8] = [&[]; 8];
    let filled = from.fill(&mut parts);
    let Some(part) = parts[..filled].iter().find(|part| !part.is_empty()) else { return false };
    let space = to.space();
    let count = part.len().min(space.len());
    assert!(count > 0, "an inbox without a whole frame has room");
    space[..count].copy_from_slice(&part[..count]);
    to.received(count);
    from.sent(count);
    true
}

impl Conn {
    pub fn new(host: &Arc<Host>, kind: Kind, peer: Peer) -> Self {
        let bell = Arc::new(Bell::default());
        let its = Arc::clone(&bell);
        let visitor = host.visitor(&facts(kind, peer), Arc::new(move || its.ring()));
        Self {
            host: Arc::clone(host),
            visitor,
            bell,
            node_out: Outbox::default(),
            node_in: Inbox::new(BODY_MAX),
            out: Outbox::default(),
            inbox: Inbox::new(BODY_MAX),
            replies: HashMap::new(),
            requests: 0,
            frames: 0,
            last: false,
            not_now: 0,
            goodbye: None,
        }
    }

    /// The owner's connection, after the hello.
    pub fn owner(host: &Arc<Host>) -> Self {
        let mut conn = Self::new(host, Kind::Memory, Peer::Same);
        assert!(conn.hello(Token::NONE).message::<Welcome>().owner);
        conn
    }

    /// A stranger's connection, after the hello.
    pub fn stranger(host: &Arc<Host>) -> Self {
        let mut conn = Self::new(host, Kind::Tcp, Peer::Unknown);
        assert!(!conn.hello(Token::NONE).message::<Welcome>().owner);
        conn
    }

    pub fn hello(&mut self, token: Token) -> Got {
        self.hello_with(Limits::default(), token)
    }

    pub fn hello_with(&mut self, limits: Limits, token: Token) -> Got {
        self.ask(Op::Hello, 0, &Hello { oldest: 1, newest: 1, limits, token })
    }

    pub fn next(&mut self) -> u32 {
        self.requests += 1;
        self.requests
    }

    pub fn ask(&mut self, op: Op, grid: u32, message: &impl Message) -> Got {
        let request = self.next();
        ask::message(&mut self.out, op, request, grid, message);
        self.reply(request)
    }

    pub fn bare(&mut self, op: Op, grid: u32) -> Got {
        let request = self.next();
        ask::bare(&mut self.out, op, request, grid);
        self.reply(request)
    }

    /// Drives both ends until this reply has come.
    pub fn reply(&mut self, request: u32) -> Got {
        loop {
            while self.turn(&mut Nobody, usize::MAX).expect("no reply is out of place") {}
            if let Some(got) = self.replies.remove(&request) {
                return got;
            }
            self.bell.wait(&format!("reply {request}"));
        }
    }

    /// Whether the reply is there without waiting.
    pub fn has_reply(&mut self, request: u32) -> bool {
        while self.turn(&mut Nobody, usize::MAX).expect("no reply is out of place") {}
        self.replies.contains_key(&request)
    }

    /// One turn of both ends, at most `frames` frames of the node handled; whether anything moved.
    pub fn turn<B: Backend<Payload = Vec<u8>>>(&mut self, backend: &mut B, frames: usize) -> Result<bool, AskError> {
        let mut any = false;
        loop {
            let Some(frame) = self.node_in.next_frame().expect("the client writes good frames") else {
                if carry(&mut self.out, &mut self.node_in) {
                    continue;
                }
                break;
            };
            any = true;
            if frame.header.is_reply() {
                self.visitor.answered(&frame)?;
                continue;
            }
            match answer(&frame, &mut self.visitor, &mut self.node_out) {
                Answered::Yes | Answered::Later => {}
                Answered::Last => self.last = true,
                Answered::NotNow => {
                    self.not_now += 1;
                    let mut own = Outbox::default();
                    assert_eq!(answer(&frame, &mut self.visitor.patient(), &mut own), Answered::Yes);
                    self.node_out.append(&mut own);
                }
            }
        }
        let room = (okapi_base::limits::REPLY_WINDOW as usize).saturating_sub(self.node_out.waiting());
        self.visitor.pump(&mut self.node_out, room);
        self.release();
        let mut left = frames;
        while left > 0 {
            let Some(frame) = self.inbox.next_frame().expect("the node writes good frames") else {
                if carry(&mut self.node_out, &mut self.inbox) {
                    continue;
                }
                break;
            };
            left -= 1;
            any = true;
            self.frames += 1;
            if frame.header.is_reply() {
                let got = Got {
                    status: Status::from_code(frame.header.status),
                    flags: frame.header.flags,
                    head: frame.descriptors.to_vec(),
                    payload: frame.payload.to_vec(),
                    text: String::from_utf8_lossy(frame.descriptors).into_owned(),
                };
                self.replies.insert(frame.header.request, got);
            } else if frame.header.operation() == Some(Op::Goodbye) {
                self.goodbye = Some(Status::from_code(frame.header.status));
            } else {
                answer(&frame, backend, &mut self.out);
            }
        }
        Ok(any)
    }

    fn release(&mut self) {
        for engine in 0..self.host.engines() {
            if let Err(broken) = self.host.durable(engine) {
                self.node_out.fail_held(engine, Status::ReadOnly, &broken.to_string());
            }
        }
        let host = Arc::clone(&self.host);
        self.node_out.release(|engine| host.durable(engine).unwrap_or_default());
    }

    // What a client does, in short.

    pub fn create(&mut self, name: &str, block: u32, durability: Durability, public: bool, engine: &str) -> Got {
        let block_size = BlockSize::new(block).unwrap();
        let ask = GridCreate { name: name.into(), block_size, durability, public, engine: engine.into() };
        self.ask(Op::GridCreate, 0, &ask)
    }

    pub fn try_open(&mut self, name: &str, token: Token) -> Got {
        self.ask(Op::GridOpen, 0, &GridOpen { token, name: name.into() })
    }

    pub fn open(&mut self, name: &str) -> u32 {
        self.try_open(name, Token::NONE).message::<GridInfo>().handle
    }

    /// A grid of 512-byte blocks named `name`, made and opened.
    pub fn grid(&mut self, name: &str) -> u32 {
        assert_eq!(self.create(name, 512, Durability::Always, false, "").status, Status::Ok);
        self.open(name)
    }

    pub fn start_puts(&mut self, grid: u32, flags: u16, puts: &[(PutAsk, &[u8])]) -> u32 {
        let request = self.next();
        ask::put(&mut self.out, request, grid, flags, puts);
        request
    }

    pub fn puts(&mut self, grid: u32, flags: u16, puts: &[(PutAsk, &[u8])]) -> Vec<Outcome> {
        let request = self.start_puts(grid, flags, puts);
        outcomes(&self.reply(request))
    }

    pub fn put(&mut self, grid: u32, flags: u16, at: u64, bytes: &[u8]) -> Status {
        self.puts(grid, flags, &[(PutAsk::whole(index(at), bytes, crc32c(bytes)), bytes)])[0].status
    }

    pub fn get(&mut self, grid: u32, at: u64) -> (Status, Vec<u8>) {
        let request = self.next();
        ask::get(&mut self.out, request, grid, 1 << 20, &[GetAsk::whole(index(at))]);
        let got = self.reply(request);
        if got.status != Status::Ok {
            return (got.status, Vec::new());
        }
        (outcomes(&got)[0].status, got.payload)
    }

    pub fn list(&mut self, grid: u32, op: Op, from: u64, limit: u32, flags: u16) -> Got {
        let request = self.next();
        let from = Index::new(from);
        ask::list(&mut self.out, op, request, grid, flags, ListAsk { from, limit });
        self.reply(request)
    }

    pub fn reserve(&mut self, grid: u32, lease: u64, blocks: u64, from: Option<u64>) -> Got {
        self.ask(Op::RecordReserve, grid, &RecordReserve { lease, blocks, from: from.map(index) })
    }

    pub fn bind(&mut self, grid: u32, lease: u64, expect: Option<Generation>, record: RecordInfo) -> Got {
        self.ask(Op::RecordBind, grid, &RecordBind { lease, expect, record })
    }

    pub fn find(&mut self, grid: u32, name: &str) -> Got {
        self.ask(Op::RecordFind, grid, &RecordFind { name: name.into() })
    }

    pub fn remove(&mut self, grid: u32, name: &str, expect: Option<Generation>) -> Got {
        self.ask(Op::RecordRemove, grid, &RecordRemove { expect, name: name.into() })
    }

    pub fn rename(&mut self, grid: u32, from: &str, to: &str) -> Got {
        self.ask(Op::RecordRename, grid, &RecordRename { from: from.into(), to: to.into() })
    }

    /// Writes a whole record the usual way.
    pub fn write_record(&mut self, grid: u32, name: &str, content: &[u8], block: usize) -> RecordInfo {
        let blocks = content.len().div_ceil(block) as u64;
        let mut info = record(name, content, Vec::new());
        let mut lease = 0;
        if blocks > 0 {
            let reserved: Reserved = self.reserve(grid, 0, blocks, None).message();
            lease = reserved.lease;
            info.extents = reserved.extents;
            for (at, part) in indexes(&info.extents).into_iter().zip(content.chunks(block)) {
                use okapi_wire::flags::{RECORD, RELAXED};
                assert_eq!(self.put(grid, RECORD | RELAXED, at, part), Status::Ok);
            }
        }
        let bound: RecordBound = self.bind(grid, lease, None, info.clone()).message();
        info.generation = bound.generation;
        info
    }

    /// The content of a record, or nothing.
    pub fn read_record(&mut self, grid: u32, name: &str) -> Option<(RecordInfo, Vec<u8>)> {
        let got = self.find(grid, name);
        if got.status == Status::UnknownRecord {
            return None;
        }
        let info: RecordInfo = got.message();
        let content = indexes(&info.extents).into_iter().flat_map(|at| self.get(grid, at).1).collect();
        Some((info, content))
    }
}

pub fn index(at: u64) -> Index {
    Index::new(at).expect("a test's index")
}

pub fn outcomes(got: &Got) -> Vec<Outcome> {
    assert_eq!(got.status, Status::Ok, "{}", got.text);
    got.head.as_chunks::<{ Outcome::BYTES }>().0.iter().map(Outcome::decode).collect()
}

pub fn indexes(extents: &[Run]) -> Vec<u64> {
    extents.iter().flat_map(|run| run.start.get()..run.start.get() + run.count).collect()
}

/// What the tests take for a hash of a record's content.
pub fn hash(content: &[u8]) -> [u8; 32] {
    let mut hash = [1; 32];
    hash[..4].copy_from_slice(&crc32c(content).to_le_bytes());
    hash
}

pub fn record(name: &str, content: &[u8], extents: Vec<Run>) -> RecordInfo {
    RecordInfo {
        name: name.into(),
        length: content.len() as u64,
        modified: 5,
        generation: Generation::ABSENT,
        blake3: hash(content),
        content_type: String::new(),
        extents,
    }
}

pub fn body(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut BodyWriter::new(&mut bytes));
    bytes
}
