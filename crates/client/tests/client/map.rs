//! Gets over a shared map, from a memory engine behind a unix socket.

use super::toy::{Carrier, ToToy};
use super::{bytes, connect, settings, world};
use okapi_base::map::Layout;
use okapi_base::{BlockSize, Durability, GridId, Slice};
use okapi_client::{Client, ConnectError, Dial, Index};
use okapi_grid::{Answered, Backend, Control, Fetched, Inbox, Outbox, Reply, Stored, answer};
use okapi_link::{Interest, Link, UnixLink};
use okapi_store::memory::{Memory, Settings as MemorySettings};
use okapi_store::{Blocks, Change, Edit, Engine, Got, Patience, Payload, Shape};
use okapi_wire::message::GridInfo;
use okapi_wire::{BodyWriter, Frame, Limits, Listed, Message, Op, PutAsk, Run, Status, Welcome};
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const BLOCK: u32 = 4096;

fn at(index: u64) -> Index {
    Index::new(index).unwrap()
}

/// A node with one grid in shared memory. What is stored is lost when it is started anew.
struct Node {
    grid: Mutex<(Memory, Arc<dyn Blocks>)>,
    /// Gets that came over the socket.
    gets: AtomicU64,
    /// The sockets of all connections.
    links: Mutex<Vec<UnixStream>>,
}

impl Node {
    fn new() -> Arc<Self> {
        Arc::new(Self { grid: Mutex::new(engine()), gets: AtomicU64::new(0), links: Mutex::default() })
    }

    fn gets(&self) -> u64 {
        self.gets.swap(0, Ordering::SeqCst)
    }

    /// Dies, and comes back without memory.
    fn restart(&self) {
        for link in self.links.lock().unwrap().drain(..) {
            let _ = link.shutdown(std::net::Shutdown::Both);
        }
        let fresh = engine();
        // The old engine is forgotten and not dropped: a node that is killed revokes nothing.
        std::mem::forget(std::mem::replace(&mut *self.grid.lock().unwrap(), fresh));
    }
}

fn engine() -> (Memory, Arc<dyn Blocks>) {
    let engine = Memory::new(MemorySettings { limit_bytes: 1 << 30, shared: true });
    let shape = Shape { block_size: BlockSize::new(BLOCK).unwrap(), durability: Durability::Memory };
    let grid = engine.open_grid(GridId(1), shape).unwrap();
    (engine, grid)
}

struct Visitor {
    node: Arc<Node>,
    grid: Arc<dyn Blocks>,
    fds: Vec<OwnedFd>,
}

impl Backend for Visitor {
    type Payload = Payload;

    fn grid(&mut self, _: u32) -> Result<BlockSize, Status> {
        Ok(BlockSize::new(BLOCK).unwrap())
    }

    fn get(&mut self, _: u32, index: Index) -> Fetched<Payload> {
        self.node.gets.fetch_add(1, Ordering::SeqCst);
        match self.grid.get(index, Patience::Waiting).unwrap() {
            Got::Block(okapi_store::Block { generation, crc, payload }) => Fetched::Block { generation, crc, payload },
            _ => Fetched::Absent,
        }
    }

    fn put(&mut self, _: u32, ask: &PutAsk, payload: &[u8], _: u16) -> Stored {
        let edit = Edit::Whole { bytes: payload, crc: ask.crc };
        let placed = self.grid.put(ask.index, &Change { edit, expect: None, relaxed: false }).unwrap();
        Stored { status: Status::Ok, generation: placed.generation, length: ask.length, hold: None }
    }

    fn list(&mut self, _: u32, _: Index, _: usize, _: bool, _: &mut Vec<Listed>) -> Result<bool, Status> {
        Err(Status::Unsupported)
    }

    fn runs(&mut self, _: u32, _: Index, _: usize, _: &mut Vec<Run>) -> Result<bool, Status> {
        Err(Status::Unsupported)
    }

    fn control(&mut self, ask: &Frame<'_>, reply: &mut Reply<'_>) -> Control {
        match ask.header.operation() {
            Some(Op::Hello) => {
                let welcome = Welcome { version: 1, owner: true, limits: Limits::default(), node: [1; 16] };
                welcome.encode(&mut BodyWriter::new(reply.body));
            }
            Some(Op::GridOpen) => {
                let info = GridInfo {
                    handle: 1,
                    id: 1,
                    block_size: BlockSize::new(BLOCK).unwrap(),
                    durability: Durability::Memory,
                    public: true,
                    blocks: 0,
                    bytes: 0,
                    records: 0,
                    name: "main".to_owned(),
                    engine: "memory".to_owned(),
                };
                info.encode(&mut BodyWriter::new(reply.body));
            }
            Some(Op::Map) => {
                let from = u32::from_le_bytes(ask.descriptors.try_into().unwrap());
                let map = self.grid.shared_map().unwrap();
                let (layout, fds) = map.part(from);
                let mut bytes = [0; Layout::BYTES_MAX];
                let length = layout.encode(&mut bytes);
                reply.body.extend_from_slice(&bytes[..length]);
                self.fds = fds.into_iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect();
            }
            _ => return Control::Done(Status::Unsupported),
        }
        Control::Done(Status::Ok)
    }
}

fn serve(node: Arc<Node>, mut link: UnixLink) {
    let grid = node.grid.lock().unwrap().1.clone();
    let mut visitor = Visitor { node, grid, fds: Vec::new() };
    let (mut inbox, mut outbox) = (Inbox::new(1 << 24), Outbox::<Payload>::default());
    loop {
        while let Ok(Some(frame)) = inbox.next_frame() {
            assert_eq!(answer(&frame, &mut visitor, &mut outbox), Answered::Yes);
            while !outbox.is_idle() {
                let mut parts: [&[u8]; 8] = [&[]; 8];
                let count = outbox.fill(&mut parts);
                let fds: Vec<_> = visitor.fds.iter().map(AsFd::as_fd).collect();
                let sent = match link.send_with_fds(&parts.map(IoSlice::new)[..count], &fds) {
                    Ok(sent) => sent,
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        link.wait(Interest::Send, None).unwrap();
                        continue;
                    }
                    Err(_) => return,
                };
                outbox.sent(sent);
                visitor.fds.clear();
            }
        }
        match link.receive(inbox.space()) {
            Ok(0) => return,
            Ok(count) => inbox.received(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                link.wait(Interest::Receive, None).unwrap();
            }
            Err(_) => return,
        }
    }
}

struct ToNode(Arc<Node>);

impl Dial for ToNode {
    fn dial(&self, _: Duration) -> Result<Box<dyn Link>, ConnectError> {
        let (ours, theirs) = UnixLink::pair().unwrap();
        self.0.links.lock().unwrap().push(UnixStream::from(theirs.fd().try_clone_to_owned().unwrap()));
        let node = self.0.clone();
        std::thread::spawn(move || serve(node, theirs));
        Ok(Box::new(ours))
    }

    fn address(&self) -> String {
        "mapped".to_owned()
    }
}

#[test]
fn gets_go_over_the_map_and_not_over_the_socket() {
    let node = Node::new();
    let grid = Client::through(Box::new(ToNode(node.clone())), settings()).unwrap().grid("main", None).unwrap();
    let map = grid.map().expect("a memory grid over a unix socket has a map");
    assert_eq!(map.get(at(1)).unwrap(), None);
    for round in 0..3000u64 {
        // Enough for the index to move and for more segments to come.
        let (index, content) = (round * 17, bytes(round, 1 + (round as usize * 31) % BLOCK as usize));
        let placed = grid.put(at(index), &content).unwrap();
        let block = map.get(at(index)).unwrap().unwrap();
        assert_eq!((block.bytes, block.generation), (content, placed.generation), "block {index}");
    }
    let missed = node.gets();
    assert!(missed < 30, "{missed} of 3,001 gets went over the socket");
    let mut into = [0; 8];
    let slice = Slice { offset: 3, length: 5 };
    let got = map.get_into(at(17 * 40), slice, &mut into).unwrap().unwrap();
    assert_eq!((got.filled, &into[..5]), (5, &bytes(40, 1241)[3..8]));
    grid.delete(at(17)).unwrap();
    assert_eq!(map.get(at(17)).unwrap(), None);
    assert_eq!(node.gets(), 0);
}

#[test]
fn a_map_ends_with_its_node() {
    let node = Node::new();
    let grid = Client::through(Box::new(ToNode(node.clone())), settings()).unwrap().grid("main", None).unwrap();
    grid.put(at(1), b"before").unwrap();
    let map = grid.map().unwrap();
    assert_eq!(map.get(at(1)).unwrap().unwrap().bytes, b"before");
    node.restart();
    while map.is_mapped() {
        std::thread::yield_now();
    }
    // The old memory is still mapped, and says otherwise.
    assert_eq!(map.get(at(1)).unwrap(), None);
    grid.put(at(1), b"after").unwrap();
    assert_eq!(map.get(at(1)).unwrap().unwrap().bytes, b"after");
}

#[test]
fn where_there_is_no_map_there_is_none() {
    let world = world(512);
    assert!(connect(&world, Carrier::Memory).grid("main", None).unwrap().map().is_none());
    let grid = Client::through(Box::new(ToToy::new(&world, Carrier::Unix)), settings()).unwrap();
    assert!(grid.grid("main", None).unwrap().map().is_none());
}
