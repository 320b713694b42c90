//! For tests: a host that stalls, waits and breaks at will, and a client made of the protocol's bare boxes.

use crate::host::HostSettings;
use crate::listen::Listener;
use crate::mailbox::Mailbox;
use crate::node::Serving;
use crate::seam::{Hosting, Visiting, Wake};
use crate::settings::NodeSettings;
use okapi_base::{BlockSize, Generation, Index, Ticket, crc32c};
use okapi_grid::{Backend, Control, Fetched, Hold, Inbox, Outbox, Reply, Stored};
use okapi_link::{Facts, Interest, Link, UnixLink, UnixListen};
use okapi_store::Payload;
use okapi_store::engine::Broken;
use okapi_wire::{Frame, Listed, Op, PutAsk, Run, Status};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a test waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Blocks from this index on are "on disk": a hurried get says not now.
pub(crate) const ON_DISK: u64 = 1 << 20;
/// Blocks from this index on are durable only once the test says so.
pub(crate) const SLOW: u64 = 1 << 30;

#[derive(Default)]
pub(crate) struct Toy {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    blocks: BTreeMap<u64, Vec<u8>>,
    puts: u64,
    durable: u64,
    broken: Option<String>,
    /// Whether the disk answers.
    disk_stuck: bool,
    wakes: Vec<Wake>,
    visitors: usize,
}

pub(crate) struct ToyVisitor {
    toy: Arc<Toy>,
    hello: bool,
    patient: bool,
    /// Frames to say on the next pump.
    to_say: usize,
    later: Vec<okapi_wire::Header>,
    fds: Vec<OwnedFd>,
}

impl Toy {
    pub(crate) fn put(&self, index: u64, bytes: Vec<u8>) {
        self.state.lock().blocks.insert(index, bytes);
    }

    pub(crate) fn make_durable(&self, serving: &Serving<Self>) {
        self.finish(&serving.mailboxes);
    }

    /// Everything put so far is durable.
    pub(crate) fn finish(&self, mailboxes: &[Arc<Mailbox>]) {
        let mut state = self.state.lock();
        state.durable = state.puts;
        drop(state);
        mailboxes.iter().for_each(|mailbox| mailbox.durable_moved());
    }

    pub(crate) fn break_down(&self, serving: &Serving<Self>) {
        self.state.lock().broken = Some("the test broke it".to_owned());
        serving.mailboxes.iter().for_each(|mailbox| mailbox.durable_moved());
    }

    pub(crate) fn stick_disk(&self, stuck: bool) {
        self.state.lock().disk_stuck = stuck;
        self.changed.notify_all();
    }

    pub(crate) fn puts(&self) -> u64 {
        self.state.lock().puts
    }

    /// Waits until `what` is so.
    pub(crate) fn wait_until(&self, what: impl Fn(&Self) -> bool) {
        let deadline = std::time::Instant::now() + SOON;
        while !what(self) {
            assert!(std::time::Instant::now() < deadline, "it never came to that");
            std::thread::yield_now();
        }
    }

    pub(crate) fn visitors(&self) -> usize {
        self.state.lock().visitors
    }

    /// Has every visitor pumped.
    pub(crate) fn wake_all(&self) {
        let wakes = self.state.lock().wakes.clone();
        wakes.iter().for_each(|wake| wake());
    }
}

impl Hosting for Toy {
    type Visitor = ToyVisitor;

    fn visitor(self: &Arc<Self>, _: &Facts, wake: Wake) -> ToyVisitor {
        let mut state = self.state.lock();
        state.wakes.push(wake);
        state.visitors += 1;
        let toy = self.clone();
        ToyVisitor { toy, hello: false, patient: false, to_say: 0, later: Vec::new(), fds: Vec::new() }
    }

    fn durable(&self, _: u8) -> Result<Ticket, Broken> {
        let state = self.state.lock();
        match &state.broken {
            Some(why) => Err(Broken { why: why.clone() }),
            None => Ok(Ticket(state.durable)),
        }
    }

    fn engines(&self) -> u8 {
        1
    }
}

impl Drop for ToyVisitor {
    fn drop(&mut self) {
        if !self.patient {
            self.toy.state.lock().visitors -= 1;
        }
    }
}

impl Visiting for ToyVisitor {
    type Patient = Self;

    fn patient(&self) -> Self {
        let toy = self.toy.clone();
        Self { toy, hello: true, patient: true, to_say: 0, later: Vec::new(), fds: Vec::new() }
    }

    fn pump(&mut self, outbox: &mut Outbox<Payload>, room: usize) {
        let full = outbox.waiting() + room;
        for ask in self.later.drain(..) {
            outbox.message(okapi_grid::outbox::reply_header(&ask, Status::Ok), |body| body.extend_from_slice(b"later"));
        }
        while self.to_say > 0 && outbox.waiting() < full {
            let header = okapi_wire::Header::ask(Op::Mark, u32::try_from(self.to_say).unwrap(), 0);
            outbox.message(header, |body| body.extend_from_slice(&[7; 50_000]));
            self.to_say -= 1;
        }
    }

    fn answered(&mut self, reply: &Frame<'_>) -> Result<(), String> {
        if reply.header.request == 0 { Err("nobody asked".to_owned()) } else { Ok(()) }
    }

    fn has_said_hello(&self) -> bool {
        self.hello
    }

    fn owes(&self) -> bool {
        !self.later.is_empty()
    }

    fn take_onward(&mut self) -> Option<crate::group::Onward> {
        None
    }

    fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }
}

impl Backend for ToyVisitor {
    type Payload = Payload;

    fn grid(&mut self, handle: u32) -> Result<BlockSize, Status> {
        if handle == 1 { Ok(BlockSize::DEFAULT) } else { Err(Status::UnknownGrid) }
    }

    fn get(&mut self, _: u32, index: Index) -> Fetched<Payload> {
        let mut state = self.toy.state.lock();
        if index.get() >= ON_DISK {
            if !self.patient {
                return Fetched::NotNow;
            }
            while state.disk_stuck {
                self.toy.changed.wait(&mut state);
            }
        }
        match state.blocks.get(&index.get()) {
            None => Fetched::Absent,
            Some(bytes) => {
                Fetched::Block { generation: Generation(1), crc: crc32c(bytes), payload: Payload::Owned(bytes.clone()) }
            }
        }
    }

    fn put(&mut self, _: u32, ask: &PutAsk, payload: &[u8], _: u16) -> Stored {
        let mut state = self.toy.state.lock();
        state.puts += 1;
        let ticket = if ask.index.get() >= SLOW { Ticket(state.puts) } else { Ticket::NOW };
        state.blocks.insert(ask.index.get(), payload.to_vec());
        let hold = Some(Hold { engine: 0, ticket });
        Stored { status: Status::Ok, generation: Generation(state.puts), length: ask.length, hold }
    }

    fn list(&mut self, _: u32, _: Index, _: usize, detail: bool, _: &mut Vec<Listed>) -> Result<bool, Status> {
        assert!(!detail || self.patient, "details are read from the disk");
        Ok(false)
    }

    fn runs(&mut self, _: u32, _: Index, _: usize, _: &mut Vec<Run>) -> Result<bool, Status> {
        Ok(false)
    }

    fn control(&mut self, ask: &Frame<'_>, reply: &mut Reply<'_>) -> Control {
        match ask.header.operation() {
            Some(Op::Hello) => {
                self.hello = true;
                Control::Done(Status::Ok)
            }
            Some(Op::Ping) => {
                reply.body.extend_from_slice(ask.descriptors);
                Control::Done(Status::Ok)
            }
            Some(Op::Follow) => {
                self.to_say = ask.header.credit as usize;
                Control::Done(Status::Ok)
            }
            Some(Op::Verify) => {
                self.later.push(ask.header);
                Control::Later
            }
            Some(Op::Map) => {
                let (one, other) = rustix::pipe::pipe().expect("a pipe");
                self.fds = vec![one, other];
                reply.body.extend_from_slice(b"map");
                Control::Done(Status::Ok)
            }
            Some(Op::Goodbye) => Control::Last(Status::Ok),
            _ => Control::Done(Status::UnknownOp),
        }
    }
}

/// Settings that make tests quick.
pub(crate) fn settings() -> NodeSettings {
    let host = HostSettings::new(PathBuf::new());
    NodeSettings { threads: 2, ..NodeSettings::new(host) }
}

/// Threads that serve a toy on a unix socket.
pub(crate) struct Stage {
    pub(crate) toy: Arc<Toy>,
    pub(crate) serving: Serving<Toy>,
    pub(crate) socket: PathBuf,
    _home: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn set(settings: &NodeSettings) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let socket = home.path().join("s");
        let listener = Listener::Unix(UnixListen::bind(&socket, 0o600).expect("a socket"));
        let toy = Arc::new(Toy::default());
        let serving = Serving::start(&toy, settings, vec![listener]).expect("threads");
        Self { toy, serving, socket, _home: home }
    }

    pub(crate) fn client(&self) -> Client {
        let link = UnixLink::connect(&self.socket, SOON).expect("a connection");
        let mut client = Client::new(Box::new(link));
        client.hello();
        client
    }
}

/// The other end, waiting for everything.
pub(crate) struct Client {
    pub(crate) link: Box<dyn Link>,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox<Vec<u8>>,
}

/// A frame, copied.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) header: okapi_wire::Header,
    pub(crate) descriptors: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Got {
    pub(crate) fn status(&self) -> Status {
        Status::from_code(self.header.status)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.descriptors).into_owned()
    }
}

impl Client {
    pub(crate) fn new(link: Box<dyn Link>) -> Self {
        Self { link, inbox: Inbox::new(1 << 30), outbox: Outbox::default() }
    }

    pub(crate) fn hello(&mut self) {
        okapi_grid::ask::bare(&mut self.outbox, Op::Hello, 0, 0);
        assert!(self.next().expect("a welcome").status().is_ok());
    }

    /// Sends what is in the outbox, as far as it goes now.
    pub(crate) fn send_some(&mut self) -> io::Result<usize> {
        let mut parts: [&[u8]; 16] = [&[]; 16];
        let count = self.outbox.fill(&mut parts);
        let slices: Vec<_> = parts[..count].iter().map(|part| IoSlice::new(part)).collect();
        let sent = self.link.send(&slices)?;
        self.outbox.sent(sent);
        Ok(sent)
    }

    pub(crate) fn send_all(&mut self) {
        while !self.outbox.is_idle() {
            match self.send_some() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(self.link.wait(Interest::Send, Some(SOON)).expect("waiting"), "nobody reads");
                }
                // Whoever was cut off still has something to read.
                Err(_) => return,
            }
        }
    }

    /// The next frame; none at the end.
    pub(crate) fn next(&mut self) -> Option<Got> {
        self.send_all();
        loop {
            if let Some(frame) = self.inbox.next_frame().expect("the node makes no malformed frames") {
                let (descriptors, payload) = (frame.descriptors.to_vec(), frame.payload.to_vec());
                return Some(Got { header: frame.header, descriptors, payload });
            }
            match self.link.receive(self.inbox.space()) {
                Ok(0) => return None,
                Ok(count) => self.inbox.received(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(self.link.wait(Interest::Receive, Some(SOON)).expect("waiting"), "nothing came");
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn get(&mut self, request: u32, indexes: &[u64]) {
        let asks: Vec<_> =
            indexes.iter().map(|index| okapi_wire::GetAsk::whole(Index::new(*index).expect("48 bits"))).collect();
        okapi_grid::ask::get(&mut self.outbox, request, 1, u32::MAX, &asks);
    }

    pub(crate) fn put(&mut self, request: u32, index: u64, bytes: &[u8]) {
        let ask = PutAsk::whole(Index::new(index).expect("48 bits"), bytes, crc32c(bytes));
        okapi_grid::ask::put(&mut self.outbox, request, 1, 0, &[(ask, bytes)]);
    }

    pub(crate) fn ping(&mut self, request: u32) {
        okapi_grid::ask::bare(&mut self.outbox, Op::Ping, request, 0);
    }
}
