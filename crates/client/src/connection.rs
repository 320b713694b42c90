//! One connection: asks go out, replies come back, in whatever order.

mod bytes;
mod serve;
mod spin;

use crate::fault::{ConnectError, Fault};
use crate::grid::Key;
use crate::settings::{Settings, Whom};
use okapi_base::{NodeId, limits};
use okapi_grid::ask::{self, ReplyError};
use okapi_grid::{Inbox, Outbox};
use okapi_link::Link;
use okapi_wire::message::{GridInfo, GridOpen, Route, RoutedAway};
use okapi_wire::{
    Frame, GetAsk, Header, Hello, Limits, ListAsk, Message, Op, Outcome, PutAsk, Status, Token, Welcome, flags,
};
use spin::Spin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Parts handed to one send.
const PARTS: usize = 64;
/// Bytes of small frames that are gathered before they are sent.
const GATHERED: usize = 64 << 10;
/// Emptied buffers of replies set aside that are kept for the next ones.
const SPARE_KEPT: usize = 8;
/// Characters of the other end's words that are passed on.
const WORDS_MAX: usize = 512;
/// The least a node must take in one frame: a whole block, a bind with all its extents.
const BODY_LEAST: u32 = limits::BLOCK_SIZE_MAX + (128 << 10);

/// When to give up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    pub(crate) whole: Duration,
}

impl Deadline {
    pub(crate) fn after(whole: Duration) -> Self {
        // A time too long for the clock is no limit.
        Self { at: Instant::now().checked_add(whole), whole }
    }

    pub(crate) fn left(&self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }
}

/// A client lends nothing to its outbox.
#[derive(Debug)]
pub(crate) enum Nothing {}

impl AsRef<[u8]> for Nothing {
    fn as_ref(&self) -> &[u8] {
        match *self {}
    }
}

/// A connection that has been welcomed. Used by one thread at a time.
pub(crate) struct Connection {
    link: Box<dyn Link>,
    inbox: Inbox,
    outbox: Outbox<Nothing>,
    welcome: Welcome,
    as_of: Option<u64>,
    request: u32,
    /// Asks without a reply so far.
    outstanding: Vec<u32>,
    /// Replies that came before they were waited for.
    aside: Vec<Aside>,
    spare: Vec<Vec<u8>>,
    head: Vec<u8>,
    asks: Vec<PutAsk>,
    /// What the head of a reply says whose payloads are coming.
    outcomes: Vec<Outcome>,
    /// Handles of the grids opened on this connection.
    grids: Vec<(Arc<Key>, u32)>,
    spin: Spin,
    broken: bool,
    farewell: Option<(Status, String)>,
    sent_bytes: u64,
    /// The last relaxed put, in the order of the whole client; 0 if there was none.
    pub(crate) relaxed: u64,
    pub(crate) used: Instant,
}

/// A reply kept for whoever will wait for it.
struct Aside {
    header: Header,
    bytes: Vec<u8>,
}

impl Aside {
    fn frame(&self) -> Frame<'_> {
        let (descriptors, payload) = self.bytes.split_at(self.header.described());
        Frame { header: self.header, descriptors, payload }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("to", &self.link.facts().name)
            .field("outstanding", &self.outstanding.len())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Says hello over `link` and waits for the welcome.
    pub(crate) fn open(
        link: Box<dyn Link>,
        settings: &Settings,
        address: &str,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let unknown = Welcome { version: 0, owner: false, limits: Limits::default(), node: [0; 16] };
        let mut this = Self {
            link,
            inbox: Inbox::new(limits::BODY_MAX),
            outbox: Outbox::default(),
            welcome: unknown,
            as_of: None,
            request: 0,
            outstanding: Vec::new(),
            aside: Vec::new(),
            spare: Vec::new(),
            head: Vec::new(),
            asks: Vec::new(),
            outcomes: Vec::new(),
            grids: Vec::new(),
            spin: Spin::new(settings.spin),
            broken: false,
            farewell: None,
            sent_bytes: 0,
            relaxed: 0,
            used: Instant::now(),
        };
        let deadline = Deadline::after(timeout);
        this.hello(settings.token, address, &deadline)?;
        if let Some(member) = &settings.member {
            this.go_on(member, address, &deadline)?;
            // The node's token is not for others.
            this.hello(Token::NONE, address, &deadline)?;
        }
        Ok(this)
    }

    /// Says who asks, and hears whether it is welcome.
    fn hello(&mut self, token: Token, address: &str, deadline: &Deadline) -> Result<(), ConnectError> {
        let version = okapi_wire::frame::VERSION;
        let hello = Hello { oldest: version, newest: version, limits: Limits::default(), token };
        let request = self.message(Op::Hello, 0, &hello);
        let welcome: Result<Welcome, Fault> = self.read(request, Op::Hello, deadline);
        let welcome = match (welcome, self.farewell.take()) {
            (Ok(welcome), _) => welcome,
            (Err(Fault::Refused { status, text }), _) | (Err(_), Some((status, text))) => {
                return Err(ConnectError::Refused { address: address.to_owned(), status, text });
            }
            (Err(fault), None) => return Err(ConnectError::NoWelcome { address: address.to_owned(), fault }),
        };
        if welcome.version != version || welcome.limits.body_max < BODY_LEAST || welcome.limits.reply_window == 0 {
            let why = format!("it welcomes us to version {} with limits {:?}", welcome.version, welcome.limits);
            return Err(ConnectError::NoWelcome { address: address.to_owned(), fault: Fault::Nonsense { why } });
        }
        self.welcome = welcome;
        Ok(())
    }

    /// Has the node go on to a member's: what follows is said to that one.
    fn go_on(&mut self, member: &Whom, address: &str, deadline: &Deadline) -> Result<(), ConnectError> {
        let route = match member {
            Whom::Node(node) => Route { node: *node, name: String::new() },
            Whom::Called(name) => Route { node: NodeId([0; 32]), name: name.clone() },
        };
        let request = self.message(Op::Route, 0, &route);
        let gone = self.reply(request, deadline, |frame| {
            ask::accept(frame, Op::Route)?;
            // Nothing is said of a member that is here.
            let away = if frame.descriptors.is_empty() { None } else { Some(RoutedAway::parse(frame.descriptors)?) };
            Ok(away.map(|away| away.as_of))
        });
        match (gone, self.farewell.take()) {
            (Ok(as_of), _) => {
                self.as_of = as_of;
                Ok(())
            }
            (Err(Fault::Refused { status, text }), _) | (Err(_), Some((status, text))) => {
                Err(ConnectError::NoWay { address: address.to_owned(), status, text })
            }
            (Err(fault), None) => Err(ConnectError::NoWelcome { address: address.to_owned(), fault }),
        }
    }

    pub(crate) fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// As of when what is seen is, where the member that was gone on to is away.
    pub(crate) fn as_of(&self) -> Option<u64> {
        self.as_of
    }

    /// Bytes the body of one frame may have in either direction.
    pub(crate) fn body_max(&self) -> usize {
        self.welcome.limits.body_max.min(limits::BODY_MAX) as usize
    }

    /// Bytes the body of the reply to one get may have.
    pub(crate) fn credit(&self) -> u32 {
        self.welcome.limits.reply_window.min(limits::REPLY_WINDOW)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Asks sent or about to be, and not answered.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len() + self.aside.len()
    }

    /// How much was ever sent: what has not grown was not asked.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Ends the connection: whatever the other end holds for it is let go.
    pub(crate) fn end(&mut self) {
        self.broken = true;
        self.link.close();
    }

    /// Looks without waiting whether the other end is still there.
    pub(crate) fn is_alive(&mut self) -> bool {
        if self.broken || !self.outbox.is_idle() || self.outstanding() > 0 {
            return false;
        }
        // Whatever comes without having been asked for is a goodbye, or no sense.
        !matches!(self.try_receive(), Ok(true) | Err(_))
    }

    fn next_request(&mut self) -> u32 {
        self.request = self.request.wrapping_add(1).max(1);
        self.outstanding.push(self.request);
        self.request
    }
}

/// Asking.
impl Connection {
    pub(crate) fn get(&mut self, handle: u32, asks: &[GetAsk]) -> u32 {
        let (request, credit) = (self.next_request(), self.credit());
        ask::get(&mut self.outbox, request, handle, credit, asks);
        request
    }

    /// Sends what is written once it is worth a call of the system by itself; the rest goes with the next wait.
    pub(crate) fn flush_if_much(&mut self, deadline: &Deadline) -> Result<(), Fault> {
        if self.outbox.waiting() >= GATHERED { self.flush(deadline) } else { Ok(()) }
    }

    /// Asks for puts. Large payloads are sent when this returns; small ones are copied and go at the latest with the
    /// next wait.
    pub(crate) fn put(
        &mut self,
        handle: u32,
        put_flags: u16,
        puts: &[(PutAsk, &[u8])],
        deadline: &Deadline,
    ) -> Result<u32, Fault> {
        let request = self.next_request();
        let bytes: usize = puts.iter().map(|(_, payload)| payload.len()).sum();
        if bytes <= limits::COPY_MAX * puts.len() {
            ask::put(&mut self.outbox, request, handle, put_flags, puts);
            self.flush_if_much(deadline)?;
            return Ok(request);
        }
        self.flush(deadline)?;
        let mut head = std::mem::take(&mut self.head);
        self.asks.clear();
        self.asks.extend(puts.iter().map(|(ask, _)| *ask));
        ask::put_head(&mut head, request, handle, put_flags, &self.asks);
        let sent = self.send_with_payloads(&head, puts, deadline);
        self.head = head;
        sent.map(|()| request)
    }

    pub(crate) fn list(&mut self, op: Op, handle: u32, detail: bool, ask: ListAsk) -> u32 {
        let request = self.next_request();
        ask::list(&mut self.outbox, op, request, handle, if detail { flags::DETAIL } else { 0 }, ask);
        request
    }

    pub(crate) fn message(&mut self, op: Op, handle: u32, message: &impl Message) -> u32 {
        let request = self.next_request();
        ask::message(&mut self.outbox, op, request, handle, message);
        request
    }

    pub(crate) fn bare(&mut self, op: Op, handle: u32) -> u32 {
        let request = self.next_request();
        ask::bare(&mut self.outbox, op, request, handle);
        request
    }

    /// The handle of a grid on this connection, which is opened if it was not yet.
    pub(crate) fn handle(&mut self, key: &Arc<Key>, deadline: &Deadline) -> Result<u32, Fault> {
        let known = |(other, _): &&(Arc<Key>, u32)| Arc::ptr_eq(other, key) || **other == **key;
        if let Some((_, handle)) = self.grids.iter().find(known) {
            return Ok(*handle);
        }
        let open = GridOpen { token: key.token, name: key.name.to_string() };
        let request = self.message(Op::GridOpen, 0, &open);
        let info: GridInfo = self.read(request, Op::GridOpen, deadline)?;
        let handle = info.handle;
        let first = key.info.get_or_init(|| info.clone());
        if (first.id, first.block_size) != (info.id, info.block_size) {
            return Err(Fault::OtherGrid);
        }
        self.grids.push((key.clone(), handle));
        Ok(handle)
    }
}

/// Replies.
impl Connection {
    /// Waits for the reply to `request` and reads the message in it.
    pub(crate) fn read<M: Message>(&mut self, request: u32, op: Op, deadline: &Deadline) -> Result<M, Fault> {
        self.reply(request, deadline, |frame| ask::read(frame, op))
    }

    /// Waits for the reply to `request`, which says no more than that it was done.
    pub(crate) fn accept(&mut self, request: u32, op: Op, deadline: &Deadline) -> Result<(), Fault> {
        self.reply(request, deadline, |frame| ask::accept(frame, op))
    }

    /// Waits for the reply to `request` and reads it where it lies.
    pub(crate) fn reply<T>(
        &mut self,
        request: u32,
        deadline: &Deadline,
        read: impl FnOnce(&Frame<'_>) -> Result<T, ReplyError>,
    ) -> Result<T, Fault> {
        self.flush(deadline)?;
        if let Some(at) = self.aside.iter().position(|aside| aside.header.request == request) {
            return self.take_aside(at, read);
        }
        loop {
            let header = self.arrived(deadline)?;
            if header.request == request {
                return self.take_front(request, read);
            }
            self.put_aside()?;
        }
    }

    /// Whether a reply is here, as far as can be told without waiting. Sends what is written first, waiting for room.
    pub(crate) fn has_reply(&mut self, deadline: &Deadline) -> Result<bool, Fault> {
        self.flush(deadline)?;
        Ok(!self.aside.is_empty() || self.front()?.is_some() || (self.try_receive()? && self.front()?.is_some()))
    }

    /// Waits for the reply to a get or put (`wanted`, or whichever comes first) and hands over its outcomes one by one,
    /// each as soon as its payload is there. `asked` says of a reply's number what was asked and of how many blocks.
    /// Says which reply it was. Fails for good in the midst of a reply: the rest of it cannot be told from what follows.
    pub(crate) fn outcomes(
        &mut self,
        wanted: Option<u32>,
        deadline: &Deadline,
        asked: impl Fn(u32) -> Option<(Op, usize)>,
        mut each: impl FnMut(u32, usize, Outcome, &[u8]) -> Result<(), ReplyError>,
    ) -> Result<u32, Fault> {
        self.flush(deadline)?;
        let mut all = |request: u32, frame: &Frame<'_>| {
            let (op, count) = asked(request).ok_or(ReplyError::Malformed("it answers another kind of ask"))?;
            let mut outcomes = ask::outcomes(frame, op, count)?.enumerate();
            outcomes.try_for_each(|(number, (outcome, payload))| each(request, number, outcome, payload))
        };
        let aside = self.aside.iter().position(|aside| wanted.is_none_or(|wanted| aside.header.request == wanted));
        if let Some(at) = aside {
            let request = self.aside[at].header.request;
            return self.take_aside(at, |frame| all(request, frame)).map(|()| request);
        }
        loop {
            if let Some(header) = self.front()? {
                if !header.is_reply() {
                    return Err(self.nonsense("the other end asks where it should answer"));
                }
                if wanted.is_none_or(|wanted| header.request == wanted) {
                    return self
                        .take_front(header.request, |frame| all(header.request, frame))
                        .map(|()| header.request);
                }
                self.put_aside()?;
                continue;
            }
            if let Some(request) = self.front_head(wanted)?
                && let Some((Op::Get, count)) = asked(request)
            {
                return self.stream(request, count, deadline, each).map(|()| request);
            }
            self.receive(deadline)?;
        }
    }

    /// The number of the reply to a get at the front of the inbox, if its head is there, it is `wanted` and not a
    /// refusal.
    fn front_head(&mut self, wanted: Option<u32>) -> Result<Option<u32>, Fault> {
        let header = match self.inbox.next_head() {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => frame.header,
            Err(error) => return Err(self.nonsense(error)),
        };
        self.inbox.put_back();
        let is_got = header.op == Op::Get as u8 | Op::REPLY && header.status == Status::Ok as u16;
        Ok((is_got && wanted.is_none_or(|wanted| header.request == wanted)).then_some(header.request))
    }

    /// Takes the reply whose head is at the front of the inbox piece by piece.
    fn stream(
        &mut self,
        request: u32,
        count: usize,
        deadline: &Deadline,
        mut each: impl FnMut(u32, usize, Outcome, &[u8]) -> Result<(), ReplyError>,
    ) -> Result<(), Fault> {
        if !self.settle(request) {
            return Err(self.nonsense("it answers what was never asked"));
        }
        let mut outcomes = std::mem::take(&mut self.outcomes);
        let head = self.inbox.next_head();
        let head = head.expect("the head was whole a moment ago").expect("the head was there a moment ago");
        let mut read = ask::outcomes_ahead(&head, Op::Get, count, &mut outcomes);
        for (number, outcome) in outcomes.iter().enumerate() {
            let length = outcome.payload as usize;
            while read.is_ok() {
                if let Some(payload) = self.inbox.next_piece(length) {
                    read = each(request, number, ask::check(*outcome, payload), payload);
                    break;
                }
                if let Err(fault) = self.receive(deadline) {
                    self.end();
                    return Err(fault);
                }
            }
        }
        self.outcomes = outcomes;
        read.map_err(|error| self.nonsense(error))
    }

    fn take_aside<T>(&mut self, at: usize, read: impl FnOnce(&Frame<'_>) -> Result<T, ReplyError>) -> Result<T, Fault> {
        let aside = self.aside.remove(at);
        let result = read(&aside.frame());
        if self.spare.len() < SPARE_KEPT {
            self.spare.push(aside.bytes);
        }
        self.judge(result)
    }

    fn take_front<T>(
        &mut self,
        request: u32,
        read: impl FnOnce(&Frame<'_>) -> Result<T, ReplyError>,
    ) -> Result<T, Fault> {
        if !self.settle(request) {
            return Err(self.nonsense("it answers what was never asked"));
        }
        let frame = self.inbox.next_frame();
        let frame = frame.expect("the frame was whole a moment ago").expect("the frame was there a moment ago");
        let result = read(&frame);
        self.judge(result)
    }

    /// Copies the reply at the front of the inbox out of the way of those behind it.
    fn put_aside(&mut self) -> Result<(), Fault> {
        let frame = self.inbox.next_frame();
        let frame = frame.expect("the frame was whole a moment ago").expect("the frame was there a moment ago");
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame.descriptors);
        bytes.extend_from_slice(frame.payload);
        let header = frame.header;
        if !self.settle(header.request) {
            return Err(self.nonsense("it answers what was never asked"));
        }
        self.aside.push(Aside { header, bytes });
        Ok(())
    }

    fn settle(&mut self, request: u32) -> bool {
        match self.outstanding.iter().position(|other| *other == request) {
            Some(at) => {
                self.outstanding.remove(at);
                true
            }
            None => false,
        }
    }

    fn judge<T>(&mut self, result: Result<T, ReplyError>) -> Result<T, Fault> {
        result.map_err(|error| match error {
            ReplyError::Refused { status, text } => Fault::Refused { status, text: readable(&text) },
            other => self.nonsense(other),
        })
    }

    /// Waits until a reply is at the front of the inbox, and leaves it there.
    fn arrived(&mut self, deadline: &Deadline) -> Result<Header, Fault> {
        loop {
            if let Some(header) = self.front()? {
                if !header.is_reply() {
                    return Err(self.nonsense("the other end asks where it should answer"));
                }
                return Ok(header);
            }
            self.receive(deadline)?;
        }
    }

    /// The header of the frame at the front of the inbox, if all of it is there.
    fn front(&mut self) -> Result<Option<Header>, Fault> {
        let header = match self.inbox.next_frame() {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) if frame.header.operation() == Some(Op::Goodbye) => {
                let status = Status::from_code(frame.header.status);
                let text = readable(&String::from_utf8_lossy(frame.descriptors));
                let text = if text.is_empty() { status.text().to_owned() } else { text };
                self.farewell = Some((status, text.clone()));
                return Err(self.break_off(&format!("the node said goodbye: {text}")));
            }
            Ok(Some(frame)) => frame.header,
            Err(error) => return Err(self.nonsense(error)),
        };
        self.inbox.put_back();
        Ok(Some(header))
    }
}

/// The other end's words, fit for a terminal: no control characters, not too many.
fn readable(text: &str) -> String {
    text.chars().take(WORDS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
