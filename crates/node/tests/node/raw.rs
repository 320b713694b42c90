//! A client made of the protocol's bare boxes, and a node in a directory of its own.

use okapi_base::{BlockSize, Durability, Index, crc32c};
use okapi_grid::{Inbox, Outbox, ask};
use okapi_link::{Interest, Link, Target};
use okapi_node::{HostSettings, Node, NodeSettings};
use okapi_wire::message::grid::{GridCreate, GridInfo, GridOpen};
use okapi_wire::{Frame, GetAsk, Hello, Op, PutAsk, Token};
use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Raw {
    pub(crate) link: Box<dyn Link>,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox<Vec<u8>>,
    pub(crate) grid: u32,
}

pub(crate) fn settings(home: &tempfile::TempDir) -> NodeSettings {
    let host = HostSettings::new(home.path().join("data"));
    NodeSettings { threads: 1, ..NodeSettings::new(host) }
}

impl Raw {
    /// Says hello and opens `grid`.
    pub(crate) fn open(node: &Node, grid: &str) -> Self {
        Self::over(connect(&node.targets()[0]), grid)
    }

    pub(crate) fn over(link: Box<dyn Link>, grid: &str) -> Self {
        let mut raw = Self::bare(link);
        raw.hello();
        raw.next(|frame| ask::accept(frame, Op::Hello).expect("a welcome"));
        raw.grid = raw.open_grid(grid).expect("the grid is there");
        raw
    }

    /// Nothing is said yet.
    pub(crate) fn bare(link: Box<dyn Link>) -> Self {
        Self { link, inbox: Inbox::new(1 << 30), outbox: Outbox::default(), grid: 0 }
    }

    /// Writes a hello.
    pub(crate) fn hello(&mut self) {
        let hello = Hello { oldest: 1, newest: 1, limits: okapi_wire::Limits::default(), token: Token::NONE };
        ask::message(&mut self.outbox, Op::Hello, 0, 0, &hello);
    }

    /// The handle of a grid, or the status and words of the refusal.
    pub(crate) fn open_grid(&mut self, grid: &str) -> Result<u32, ask::ReplyError> {
        let open = GridOpen { token: Token::NONE, name: grid.to_owned() };
        ask::message(&mut self.outbox, Op::GridOpen, 0, 0, &open);
        self.next(|frame| ask::read::<GridInfo>(frame, Op::GridOpen).map(|info| info.handle))
    }

    /// Makes a grid, through the default one's connection.
    pub(crate) fn create(node: &Node, name: &str, durability: Durability) {
        let mut raw = Self::open(node, "main");
        let (name, engine) = (name.to_owned(), String::new());
        let create = GridCreate { name, block_size: BlockSize::DEFAULT, durability, public: false, engine };
        ask::message(&mut raw.outbox, Op::GridCreate, 1, 0, &create);
        raw.next(|frame| ask::accept(frame, Op::GridCreate).expect("it is made"));
    }

    pub(crate) fn get(&mut self, request: u32, indexes: impl Iterator<Item = u64>) {
        let mut asks = [GetAsk::whole(Index::new(0).expect("an index")); 1024];
        let mut count = 0;
        for (ask, index) in asks.iter_mut().zip(indexes) {
            ask.index = Index::new(index);
            count += 1;
        }
        ask::get(&mut self.outbox, request, self.grid, u32::MAX, &asks[..count]);
    }

    pub(crate) fn put(&mut self, request: u32, index: u64, bytes: &[u8]) {
        let ask = PutAsk::whole(Index::new(index).expect("an index"), bytes, crc32c(bytes));
        ask::put(&mut self.outbox, request, self.grid, 0, &[(ask, bytes)]);
    }

    /// Sends as much as fits now.
    pub(crate) fn send_some(&mut self) {
        let mut parts: [&[u8]; 16] = [&[]; 16];
        let count = self.outbox.fill(&mut parts);
        let mut slices = [IoSlice::new(&[]); 16];
        for (slice, part) in slices.iter_mut().zip(&parts[..count]) {
            *slice = IoSlice::new(part);
        }
        match self.link.send(&slices[..count]) {
            Ok(sent) => self.outbox.sent(sent),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Whoever was cut off still has something to read.
            Err(_) => self.outbox = Outbox::default(),
        }
    }

    /// Hands over the next frame; panics at the end.
    pub(crate) fn next<T>(&mut self, take: impl FnOnce(&Frame<'_>) -> T) -> T {
        self.next_or_end(take).expect("a frame and not the end")
    }

    pub(crate) fn next_or_end<T>(&mut self, take: impl FnOnce(&Frame<'_>) -> T) -> Option<T> {
        loop {
            while !self.outbox.is_idle() {
                let before = self.outbox.ready();
                self.send_some();
                if self.outbox.ready() == before {
                    break;
                }
            }
            if self.inbox.next_frame().expect("the node makes no malformed frames").is_some() {
                self.inbox.put_back();
                let frame = self.inbox.next_frame().expect("as before").expect("as before");
                return Some(take(&frame));
            }
            let interest = if self.outbox.is_idle() { Interest::Receive } else { Interest::Both };
            match self.link.receive(self.inbox.space()) {
                Ok(0) => return None,
                Ok(count) => self.inbox.received(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(self.link.wait(interest, Some(SOON)).expect("waiting"), "nothing came");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Puts and waits for the acknowledgement.
    pub(crate) fn put_now(&mut self, index: u64, bytes: &[u8]) {
        self.put(1, index, bytes);
        self.next(|frame| {
            let mut outcomes = ask::outcomes(frame, Op::Put, 1).expect("it is put");
            assert!(outcomes.next().expect("an outcome").0.status.is_ok());
        });
    }

    /// Gets one block.
    pub(crate) fn get_now(&mut self, index: u64) -> Vec<u8> {
        self.get(1, std::iter::once(index));
        self.next(|frame| {
            let mut outcomes = ask::outcomes(frame, Op::Get, 1).expect("an answer");
            outcomes.next().expect("an outcome").1.to_vec()
        })
    }
}

pub(crate) fn connect(target: &Target) -> Box<dyn Link> {
    target.connect(SOON).expect("a connection")
}
