//! The client side of the rivals: requests formatted beforehand, replies read past without being copied again.
//!
//! One thread drives all connections. Each keeps so many frames in flight: whatever one read completes is made up for
//! by one write of as many further frames.

pub(crate) mod replies;

use crate::sample::{Latencies, Sample};
use crate::scenario::{Deed, Path, Scenario};
use crate::server::{self, Server};
use crate::{Fault, random};
use replies::{Grammar, Replies};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes read at a time. From 64 KiB to 256 KiB made no difference to either rival, less and more cost them.
const READ_BYTES: usize = 128 << 10;
/// Requests formatted beforehand, in frames and in bytes; they are sent round and round.
const FRAMES_MAX: usize = 4096;
const FRAMES_BYTES_MAX: usize = 32 << 20;
/// The part of a run before the counting starts.
const WARM_UP: Duration = Duration::from_millis(50);
/// Blocks read back whole, and compared, before anything is measured.
const CHECKS: u64 = 64;

/// How a rival spells its requests and replies.
pub(crate) trait Dialect {
    /// What its replies look like.
    type Grammar: Grammar;

    /// Appends a request for these blocks.
    fn get(&self, size: usize, indexes: &[u64], out: &mut Vec<u8>);

    /// Appends a request that stores these blocks, each with the content [`random::fill`] gives it.
    fn put(&self, size: usize, indexes: &[u64], out: &mut Vec<u8>);

    /// The grammar of the replies to requests for `batch` blocks of `size` bytes.
    fn grammar(&self, deed: Deed, size: usize, batch: usize) -> Self::Grammar;
}

/// A block's key: as short as keys come that tell blocks of different sizes apart.
pub(crate) fn key(size: usize, index: u64) -> String {
    format!("{:x}:{index:06x}", size.trailing_zeros())
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A unix socket.
    Unix(PathBuf),
    /// A port of loopback.
    Tcp(u16),
}

/// A connection that blocks.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over a unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

impl Place {
    /// Connects.
    pub(crate) fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Self::Tcp(port) => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    /// The place of a scenario among a rival's two; nothing for shared memory, which no rival has.
    pub(crate) fn of<'a>(path: Path, unix: &'a Self, tcp: &'a Self) -> Result<&'a Self, Fault> {
        match path {
            Path::Unix => Ok(unix),
            Path::Tcp => Ok(tcp),
            Path::SharedMap => Err("this rival shares no memory".into()),
        }
    }
}

impl Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tcp(stream) => stream.read(into),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.write_all(bytes),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

/// Stores all blocks of a scenario, then reads some back whole and compares them.
pub(crate) fn prepare(place: &Place, dialect: &impl Dialect, scenario: &Scenario) -> Result<(), Fault> {
    let (size, blocks) = (scenario.size, scenario.blocks());
    let mut stream = place.connect()?;
    let mut buffer = vec![0; READ_BYTES];
    let batch = ((1 << 20) / size as u64).clamp(1, 256);
    let mut request = Vec::new();
    for first in (0..blocks).step_by(batch as usize) {
        let indexes: Vec<u64> = (first..blocks.min(first + batch)).collect();
        request.clear();
        dialect.put(size, &indexes, &mut request);
        stream.write(&request)?;
        let mut replies = Replies::new(dialect.grammar(Deed::Put, size, indexes.len()));
        while replies.feed(received(&mut stream, &mut buffer)?)? == 0 {}
    }
    let mut random = random::Random::new(11);
    let mut expected = vec![0; size];
    for index in (0..CHECKS).map(|_| random.below(blocks)) {
        random::fill(index, &mut expected);
        request.clear();
        dialect.get(size, &[index], &mut request);
        stream.write(&request)?;
        let mut reply = Vec::new();
        let mut replies = Replies::new(dialect.grammar(Deed::Get, size, 1));
        loop {
            let bytes = received(&mut stream, &mut buffer)?;
            reply.extend_from_slice(bytes);
            if replies.feed(bytes)? > 0 {
                break;
            }
        }
        let payload = reply.iter().position(|&byte| byte == b'\n').map(|end| &reply[end + 1..]);
        if !payload.is_some_and(|payload| payload.starts_with(&expected)) {
            return Err(format!("block {index} of {size} bytes came back different").into());
        }
    }
    Ok(())
}

/// Drives a scenario for about `time`.
pub(crate) fn run(
    place: &Place,
    server: &Server,
    dialect: &impl Dialect,
    scenario: &Scenario,
    time: Duration,
) -> Result<Sample, Fault> {
    let requests = Requests::new(dialect, scenario);
    let mut lanes = (0..scenario.connections)
        .map(|at| Lane::new(place, dialect, scenario, at * requests.frames() / scenario.connections))
        .collect::<Result<Vec<_>, Fault>>()?;
    let mut buffer = vec![0; READ_BYTES];
    for lane in &mut lanes {
        lane.ask(&requests, scenario.depth)?;
    }
    let mut waiter = Waiter::new(&lanes)?;
    let mut warming = Latencies::when(false)?;
    pump(&mut lanes, &mut waiter, &requests, &mut buffer, Instant::now() + WARM_UP, &mut warming)?;
    let mut latencies = Latencies::when(scenario.is_single())?;
    let (client, other, start) = (server::own_cpu(), server.cpu()?, Instant::now());
    let frames = pump(&mut lanes, &mut waiter, &requests, &mut buffer, start + time, &mut latencies)?;
    let seconds = start.elapsed().as_secs_f64();
    let (client, other) = (server::own_cpu() - client, server.cpu()? - other);
    Ok(Sample::new((frames * scenario.batch) as u64, scenario.size, seconds, client, other).taking(&latencies))
}

/// Keeps every lane full until `end` and says how many frames were answered.
fn pump<G: Grammar>(
    lanes: &mut [Lane<G>],
    waiter: &mut Waiter,
    requests: &Requests,
    buffer: &mut [u8],
    end: Instant,
    latencies: &mut Latencies,
) -> Result<usize, Fault> {
    let mut frames = 0;
    let mut last = Instant::now();
    while last < end {
        waiter.wait(|at| {
            let lane = &mut lanes[at];
            let answered = lane.replies.feed(received(&mut lane.stream, buffer)?)?;
            lane.ask(requests, answered)?;
            frames += answered;
            Ok(())
        })?;
        let now = Instant::now();
        latencies.record(now - last);
        last = now;
    }
    Ok(frames)
}

fn received<'a>(stream: &mut Stream, buffer: &'a mut [u8]) -> Result<&'a [u8], Fault> {
    match stream.read(buffer)? {
        0 => Err("the server closed the connection".into()),
        length => Ok(&buffer[..length]),
    }
}

/// Requests in one run of bytes.
struct Requests {
    bytes: Vec<u8>,
    /// Where each frame begins, and where the last one ends.
    bounds: Vec<usize>,
}

impl Requests {
    fn new(dialect: &impl Dialect, scenario: &Scenario) -> Self {
        let mut random = random::Random::new(3);
        let (mut bytes, mut bounds) = (Vec::new(), vec![0]);
        while bounds.len() <= FRAMES_MAX && (bytes.len() < FRAMES_BYTES_MAX || bounds.len() <= scenario.depth) {
            let indexes: Vec<u64> = (0..scenario.batch).map(|_| random.below(scenario.blocks())).collect();
            match scenario.deed {
                Deed::Get => dialect.get(scenario.size, &indexes, &mut bytes),
                Deed::Put => dialect.put(scenario.size, &indexes, &mut bytes),
            }
            bounds.push(bytes.len());
        }
        Self { bytes, bounds }
    }

    fn frames(&self) -> usize {
        self.bounds.len() - 1
    }
}

/// One connection and how far it is.
struct Lane<G> {
    stream: Stream,
    replies: Replies<G>,
    next: usize,
}

impl<G: Grammar> Lane<G> {
    fn new(
        place: &Place,
        dialect: &impl Dialect<Grammar = G>,
        scenario: &Scenario,
        first: usize,
    ) -> Result<Self, Fault> {
        let grammar = dialect.grammar(scenario.deed, scenario.size, scenario.batch);
        Ok(Self { stream: place.connect()?, replies: Replies::new(grammar), next: first })
    }

    /// Sends the next `frames` frames, in one piece unless they begin anew.
    fn ask(&mut self, requests: &Requests, mut frames: usize) -> io::Result<()> {
        while frames > 0 {
            let end = requests.frames().min(self.next + frames);
            self.stream.write(&requests.bytes[requests.bounds[self.next]..requests.bounds[end]])?;
            frames -= end - self.next;
            self.next = end % requests.frames();
        }
        Ok(())
    }
}

/// Says which lanes have something to read. A single one is simply read: nothing waits more cheaply.
enum Waiter {
    Single,
    Many { poll: rustix::fd::OwnedFd, events: Vec<epoll::Event> },
}

impl Waiter {
    fn new<G>(lanes: &[Lane<G>]) -> Result<Self, Fault> {
        if lanes.len() == 1 {
            return Ok(Self::Single);
        }
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, lane) in lanes.iter().enumerate() {
            epoll::add(&poll, &lane.stream, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        }
        Ok(Self::Many { poll, events: Vec::with_capacity(lanes.len()) })
    }

    /// Waits, then calls `ready` with the number of each lane that can be read.
    fn wait(&mut self, mut ready: impl FnMut(usize) -> Result<(), Fault>) -> Result<(), Fault> {
        match self {
            Self::Single => ready(0),
            Self::Many { poll, events } => {
                events.clear();
                epoll::wait(&*poll, spare_capacity(events), None)?;
                events.iter().try_for_each(|event| ready(event.data.u64() as usize))
            }
        }
    }
}
