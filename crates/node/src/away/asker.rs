//! Asking another member's node, one ask at a time, on whatever thread can wait.

use okapi_base::NodeId;
use okapi_base::limits::BODY_MAX;
use okapi_link::{Interest, Link};
use okapi_wire::frame::{VERSION, sign};
use okapi_wire::{
    BodyError, BodyWriter, Frame, FrameError, HEADER_BYTES, Header, Hello, Limits, Message, Op, Status, Token,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections to one node that are kept for the next ask.
const IDLE_MAX: usize = 4;
/// Bytes received at a time.
const GULP: usize = 64 << 10;

/// Why an ask was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// There is no way to the node.
    #[error("{0}")]
    Link(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What came is not the answer.
    #[error("its answer makes no sense: {0}")]
    Answer(#[from] BodyError),
    /// It says no.
    #[error("it says: {text}")]
    Refused { status: Status, text: String },
    /// It takes too long.
    #[error("it does not answer within {PATIENCE:?}")]
    Slow,
}

/// A connection to another member's node.
pub(crate) struct Asker {
    link: Box<dyn Link>,
    received: Vec<u8>,
    request: u32,
}

impl Asker {
    /// Says hello.
    pub(crate) fn begin(link: Box<dyn Link>) -> Result<Self, AskError> {
        let mut this = Self { link, received: Vec::new(), request: 0 };
        let hello = Hello { oldest: VERSION, newest: VERSION, limits: Limits::default(), token: Token::NONE };
        this.ask(Op::Hello, &hello)?;
        Ok(this)
    }

    /// Asks, and gives the body of the answer.
    pub(crate) fn ask(&mut self, op: Op, body: &impl Message) -> Result<Vec<u8>, AskError> {
        let deadline = Instant::now() + PATIENCE;
        self.request += 1;
        let mut frame = vec![0; HEADER_BYTES];
        body.encode(&mut BodyWriter::new(&mut frame));
        let length = u32::try_from(frame.len() - HEADER_BYTES).expect("asks are short");
        let header = Header { body: length, credit: BODY_MAX, ..Header::ask(op, self.request, 0) };
        frame[..HEADER_BYTES].copy_from_slice(&header.encode());
        sign(&mut frame);
        self.send(&frame, deadline)?;
        loop {
            while let Some((frame, length)) = Frame::parse(&self.received, BODY_MAX)? {
                let (header, body) = (frame.header, [frame.descriptors, frame.payload].concat());
                self.received.drain(..length);
                let is_goodbye = header.operation() == Some(Op::Goodbye);
                let is_answer = header.is_reply() && header.request == self.request;
                if !is_answer && !is_goodbye {
                    continue;
                }
                match Status::from_code(header.status) {
                    Status::Ok if !is_goodbye => return Ok(body),
                    status => {
                        return Err(AskError::Refused { status, text: String::from_utf8_lossy(&body).into_owned() });
                    }
                }
            }
            self.receive(deadline)?;
        }
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), AskError> {
        while !bytes.is_empty() {
            match self.link.send(&[IoSlice::new(bytes)]) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(Interest::Send, deadline)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<(), AskError> {
        let from = self.received.len();
        self.received.resize(from + GULP, 0);
        loop {
            match self.link.receive(&mut self.received[from..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => {
                    self.received.truncate(from + count);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(Interest::Receive, deadline)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&mut self, interest: Interest, deadline: Instant) -> Result<(), AskError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(AskError::Slow);
        }
        if self.link.about_to_wait(interest) {
            self.link.wait(interest, Some(left))?;
        }
        Ok(())
    }
}

/// Opens a stream to a node.
pub(crate) type Opener = Box<dyn Fn(NodeId) -> Result<Box<dyn Link>, String> + Send + Sync>;

/// Connections to other members' nodes that wait for the next ask.
pub(crate) struct Pool {
    open: Opener,
    idle: Mutex<BTreeMap<NodeId, Vec<Asker>>>,
}

impl Pool {
    pub(crate) fn new(open: Opener) -> Self {
        Self { open, idle: Mutex::default() }
    }

    /// Closes the connections that wait.
    pub(crate) fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }

    /// Asks a node, over a connection that is there or a new one.
    pub(crate) fn ask<M: Message>(&self, node: NodeId, op: Op, body: &impl Message) -> Result<M, AskError> {
        let kept = self.idle.lock().get_mut(&node).and_then(Vec::pop);
        let answer = kept.map(|mut kept| (kept.ask(op, body), kept));
        let (answer, asker) = match answer {
            // One that was kept may have been closed since.
            None | Some((Err(AskError::Broken(_)), _)) => {
                let mut asker = Asker::begin((self.open)(node).map_err(AskError::Link)?)?;
                (asker.ask(op, body), asker)
            }
            Some(answered) => answered,
        };
        if matches!(answer, Ok(_) | Err(AskError::Refused { .. })) {
            let mut idle = self.idle.lock();
            let kept = idle.entry(node).or_default();
            if kept.len() < IDLE_MAX {
                kept.push(asker);
            }
        }
        Ok(M::parse(&answer?)?)
    }
}
