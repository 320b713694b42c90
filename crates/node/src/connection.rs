//! One connection: a link, what came, what goes, and the visitor in between.
//!
//! [`Connection::drive`] does all that can be done without waiting: it receives and answers until nothing is left or
//! a fair share is done, and sends. It leaves a frame unanswered (and then reads no further) while the replies before
//! it have filled the window, while too many are on their way, or while a budget of the whole node is used up.

use crate::budget::Charge;
use crate::disk_workers::Job;
use crate::mailbox::{Key, Mailbox};
use crate::seam::{Hosting, Visiting};
use crate::shared::{Seat, Shared};
use okapi_base::Ticket;
use okapi_base::limits::{BODY_MAX, FRAMES_IN_FLIGHT_MAX, IDLE_CONNECTION_MAX, REPLY_WINDOW};
use okapi_grid::{Answered, Inbox, Outbox, answer, look_ahead};
use okapi_link::{Interest, Kind, Link};
use okapi_store::Payload;
use okapi_wire::{Header, Op, Status};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Bytes received from one connection before the others have their turn.
const TURN_BYTES: usize = 1 << 20;
/// Bytes of replies that are sent while the next frames are still being answered.
const SEND_EARLY: usize = 256 << 10;
/// Parts of one send.
const PARTS: usize = 64;
/// Bytes of its inbox, and of replies, that every connection may have without asking a budget.
pub(crate) const FREE_BYTES: usize = 64 << 10;
/// A connection with replies waiting has more only while so many times as much is free: however many never read,
/// something is left for those who do.
const REPLY_MODESTY: usize = 16;
/// Drives without a full link after which room to send is no longer listened for.
const WRITABLE_DRIVES: u32 = 64;

const _: () = assert!(size_of::<Connection<crate::Visitor>>() <= IDLE_CONNECTION_MAX);

mod room;
mod sweep;

pub(crate) use sweep::Sweep;

/// See the module's text.
pub(crate) struct Connection<V> {
    link: Box<dyn Link>,
    inbox: Inbox,
    outbox: Outbox<Payload>,
    visitor: V,
    /// The visitor has asked to be driven.
    called: Arc<AtomicBool>,
    key: Key,
    mailbox: Arc<Mailbox>,
    seat: Seat,
    /// Receiving, sending is worth trying.
    readable: bool,
    writable: bool,
    /// The other end has closed: receive until it shows.
    hung_up: bool,
    /// There is no memory for the next bytes.
    starved: bool,
    /// The next frame waits for something of ours.
    blocked: bool,
    /// Frames that disk workers have, and the bytes their replies may have.
    at_workers: u32,
    expected: usize,
    inbox_charge: Charge,
    reply_charge: Charge,
    ending: Ending,
    /// Descriptors to go with the byte of this number.
    handovers: VecDeque<(u64, Vec<OwnedFd>)>,
    sent: u64,
    clock: Clock,
    drives_since_full: u32,
    /// What the reactor keeps of it.
    pub(crate) place: Place,
}

/// In which of the reactor's lists a connection is.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// To be driven.
    pub(crate) ready: bool,
    /// With held replies.
    pub(crate) holding: bool,
    /// To be looked at by the sweep.
    pub(crate) warm: bool,
    /// Driven since it was last armed.
    pub(crate) unarmed: bool,
    /// Registered for room to send.
    pub(crate) hears_writable: bool,
}

#[derive(Debug)]
enum Ending {
    No,
    /// Once what was asked is answered, after this last word.
    Answering(Option<(Status, String)>),
    /// Once a route leads somewhere, or nowhere, and the asker knows.
    Routing,
    /// Once everything is sent.
    Sending,
    Now,
}

/// When what happened, for the sweep.
#[derive(Debug)]
struct Clock {
    opened: Instant,
    /// Last time bytes moved.
    moved: Instant,
    /// Since when part of a frame is there, and bytes of it that came since.
    partial: Option<(Instant, u64)>,
    /// Since when the connection is ending.
    ending: Option<Instant>,
}

/// What a drive leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing more can be done now.
    Rest,
    /// Others first, then more.
    Again,
    /// It is over.
    Gone,
}

/// What stands in the way of the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It is not there yet.
    Bytes,
    /// Something of ours must move first.
    Room,
    /// None is wanted.
    Nothing,
}

impl<V: Visiting> Connection<V> {
    pub(crate) fn new<H: Hosting<Visitor = V>>(
        link: Box<dyn Link>,
        seat: Seat,
        key: Key,
        mailbox: &Arc<Mailbox>,
        shared: &Shared<H>,
        now: Instant,
    ) -> Self {
        // However often the visitor calls before it is driven, one letter is enough.
        let called = Arc::new(AtomicBool::new(false));
        let wake = {
            let (mailbox, called) = (mailbox.clone(), called.clone());
            Arc::new(move || {
                if !called.swap(true, Ordering::SeqCst) {
                    mailbox.drive(key);
                }
            })
        };
        let visitor = shared.host.visitor(link.facts(), wake);
        Self {
            visitor,
            called,
            link,
            inbox: Inbox::new(BODY_MAX),
            outbox: Outbox::default(),
            key,
            mailbox: mailbox.clone(),
            seat,
            readable: true,
            writable: true,
            hung_up: false,
            starved: false,
            blocked: false,
            at_workers: 0,
            expected: 0,
            inbox_charge: Charge::new(shared.receive_budget.clone(), FREE_BYTES, 1),
            reply_charge: Charge::new(shared.reply_budget.clone(), FREE_BYTES, REPLY_MODESTY),
            ending: Ending::No,
            handovers: VecDeque::new(),
            sent: 0,
            clock: Clock { opened: now, moved: now, partial: None, ending: None },
            drives_since_full: 0,
            place: Place::default(),
        }
    }

    pub(crate) fn link(&self) -> &dyn Link {
        &*self.link
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// What the poll said.
    pub(crate) fn heard(&mut self, readable: bool, writable: bool, hung_up: bool) {
        self.readable |= readable;
        // A bell does not say for what it rings.
        self.writable |= writable || self.link.facts().kind == Kind::Memory;
        self.hung_up |= hung_up;
    }

    /// Whether somebody waits for a disk.
    pub(crate) fn holds(&self) -> bool {
        self.outbox.held() > 0
    }

    /// Whether room to send is worth listening for. Links of memory ring their own bell.
    pub(crate) fn wants_writable(&mut self) -> bool {
        if self.link.facts().kind == Kind::Memory {
            return false;
        }
        if !self.writable {
            self.drives_since_full = 0;
        } else {
            self.drives_since_full = self.drives_since_full.saturating_add(1);
        }
        !self.writable || (self.place.hears_writable && self.drives_since_full < WRITABLE_DRIVES)
    }

    /// Whether a look at what came shows all that can happen to it.
    pub(crate) fn only_receives(&self) -> bool {
        self.outbox.is_idle()
    }

    /// Says that the reactor is about to sleep; false if there is something to do after all.
    pub(crate) fn arm(&mut self) -> bool {
        let sends = !self.outbox.is_idle();
        let receives = matches!(self.ending, Ending::No) && !self.readable;
        let interest = match (receives, sends) {
            (_, false) => Interest::Receive,
            (true, true) => Interest::Both,
            (false, true) => Interest::Send,
        };
        // A connection that does not read now is woken by whatever it waits for.
        if !receives && !sends {
            return true;
        }
        let sleep = self.link.about_to_wait(interest);
        if !sleep {
            self.readable = true;
            self.writable = true;
        }
        sleep
    }

    /// Receives if there is something: whether the connection is to be driven.
    #[inline]
    pub(crate) fn try_receive(&mut self) -> bool {
        let closed = self.readable || self.blocked || !matches!(self.ending, Ending::No);
        if closed || self.inbox.memory_wanted() > FREE_BYTES {
            return false;
        }
        match self.link.receive(self.inbox.space()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // An end or an error comes again when driven.
            Ok(0) | Err(_) => {
                self.readable = true;
                true
            }
            Ok(count) => {
                self.inbox.received(count);
                self.readable = true;
                true
            }
        }
    }

    /// Does all that can be done without waiting.
    pub(crate) fn drive<H: Hosting<Visitor = V>>(&mut self, shared: &Shared<H>, now: Instant) -> Turn {
        let mut moved = 0;
        let mut turn = Turn::Rest;
        self.starved = false;
        self.called.store(false, Ordering::SeqCst);
        let need = loop {
            let need = self.answer_frames(shared);
            if need == Need::Bytes && self.readable && !self.starved {
                if moved < TURN_BYTES {
                    moved += self.receive(now);
                    continue;
                }
                turn = Turn::Again;
            }
            self.release(&*shared.host);
            let spoke = self.pump();
            let sent = self.flush(now);
            moved += sent;
            if matches!(self.ending, Ending::Now) {
                return Turn::Gone;
            }
            let more = (need == Need::Room && sent > 0) || (spoke && self.outbox.is_idle());
            if more && moved >= TURN_BYTES {
                turn = Turn::Again;
            }
            if turn == Turn::Again || !more {
                break need;
            }
        };
        self.settle();
        self.blocked = need == Need::Room || self.starved;
        if self.blocked || !self.inbox.is_partial() {
            // Nobody may be blamed for a frame that we do not read.
            self.clock.partial = None;
        } else {
            self.clock.partial.get_or_insert((now, 0));
        }
        self.end_if_done(now);
        if matches!(self.ending, Ending::Now) { Turn::Gone } else { turn }
    }

    /// Takes a disk worker's answer.
    pub(crate) fn take_answer(&mut self, answer: &mut Outbox<Payload>, expected: usize) {
        self.at_workers -= 1;
        self.expected -= expected;
        self.outbox.append(answer);
    }

    /// Ends the connection in good order: what was read is answered, then it is told why.
    pub(crate) fn stop<H: Hosting<Visitor = V>>(&mut self, shared: &Shared<H>) {
        self.answer_frames(shared);
        self.end(Status::Stopping, Status::Stopping.text().to_owned());
    }

    fn end(&mut self, status: Status, text: String) {
        if matches!(self.ending, Ending::No) {
            tracing::debug!("{}: {text}", self.link.facts().name);
            self.ending = Ending::Answering(Some((status, text)));
        }
    }

    fn answer_frames<H: Hosting<Visitor = V>>(&mut self, shared: &Shared<H>) -> Need {
        let mut ahead = 0;
        while matches!(self.ending, Ending::No) {
            if ahead == 0 {
                ahead = look_ahead(&self.inbox, &mut self.visitor).max(1);
            }
            ahead -= 1;
            if self.outbox.held() + self.at_workers as usize >= FRAMES_IN_FLIGHT_MAX as usize {
                return Need::Room;
            }
            if self.outbox.ready() >= SEND_EARLY {
                self.send();
            }
            match self.answer_one(shared) {
                None => {}
                Some(need) => return need,
            }
        }
        Need::Nothing
    }

    /// Answers the next frame, or says what stands in its way.
    fn answer_one<H: Hosting<Visitor = V>>(&mut self, shared: &Shared<H>) -> Option<Need> {
        let frame = match self.inbox.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Some(Need::Bytes),
            Err(error) => {
                self.end(Status::Malformed, error.to_string());
                return Some(Need::Nothing);
            }
        };
        self.clock.partial = None;
        if frame.header.is_reply() {
            if let Err(why) = self.visitor.answered(&frame) {
                self.end(Status::Malformed, why);
            }
            return None;
        }
        let expected = room::reply_room(&frame, &mut self.visitor);
        let waiting = self.outbox.waiting() + self.expected;
        self.reply_charge.settle(waiting);
        if waiting > 0 && waiting + expected > REPLY_WINDOW as usize {
            self.inbox.put_back();
            return Some(Need::Room);
        }
        if let Err(need) = self.reply_charge.cover(waiting + expected) {
            self.inbox.put_back();
            // What waits of its own will be sent, and then it is driven anyway.
            if waiting == 0 {
                self.reply_charge.budget().wait(need, &self.mailbox, self.key);
            }
            return Some(Need::Room);
        }
        let (is_map, is_route) = (frame.header.op == Op::Map as u8, frame.header.op == Op::Route as u8);
        let at = self.sent + self.outbox.ready() as u64;
        let answered = if room::is_for_disks(&frame) {
            Answered::NotNow
        } else {
            answer(&frame, &mut self.visitor, &mut self.outbox)
        };
        match answered {
            Answered::Yes if is_map => {
                let fds = self.visitor.take_fds();
                if !fds.is_empty() {
                    self.handovers.push_back((at, fds));
                }
            }
            Answered::Later if is_route => self.ending = Ending::Routing,
            Answered::Yes | Answered::Later => {}
            Answered::Last => self.ending = Ending::Answering(None),
            Answered::NotNow => {
                if !shared.workers.has_room(&self.mailbox, self.key) {
                    self.inbox.put_back();
                    return Some(Need::Room);
                }
                let Some(copy) = shared.workers.copy(&frame) else {
                    let text = "a frame that asks for blocks has no payload";
                    self.outbox.refuse(&frame.header, Status::Malformed, text);
                    return None;
                };
                let (backend, mailbox) = (self.visitor.patient(), self.mailbox.clone());
                shared.workers.push(Job { frame: copy, backend, expected, key: self.key, mailbox });
                self.at_workers += 1;
                self.expected += expected;
            }
        }
        None
    }

    /// Receives once, and says how many bytes came.
    fn receive(&mut self, now: Instant) -> usize {
        let wanted = self.inbox.memory_wanted();
        if let Err(need) = self.inbox_charge.cover(wanted) {
            // Whoever waits holds nothing, or those who wait could hold all there is.
            self.inbox.tighten();
            self.inbox_charge.settle(self.inbox.memory());
            self.inbox_charge.budget().wait(need, &self.mailbox, self.key);
            self.starved = true;
            return 0;
        }
        let space = self.inbox.space();
        let room = space.len();
        match self.link.receive(space) {
            Ok(0) => {
                self.ending = Ending::Answering(None);
                0
            }
            Ok(count) => {
                self.inbox.received(count);
                // A stream that gives less than there was room for is empty.
                self.readable = count == room || self.hung_up;
                self.clock.moved = now;
                let (_, bytes) = self.clock.partial.get_or_insert((now, 0));
                *bytes += count as u64;
                count
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                0
            }
            Err(error) => {
                tracing::debug!("{}: {error}", self.link.facts().name);
                self.ending = Ending::Now;
                0
            }
        }
    }

    /// Lets go of the replies whose puts are durable.
    fn release<H: Hosting<Visitor = V>>(&mut self, host: &H) {
        if self.outbox.held() == 0 {
            return;
        }
        for engine in 0..host.engines() {
            if let Err(broken) = host.durable(engine) {
                self.outbox.fail_held(engine, Status::ReadOnly, &broken.to_string());
            }
        }
        self.outbox.release(|engine| host.durable(engine).unwrap_or(Ticket::NOW));
    }

    /// Lets the visitor speak for itself, and says whether it did.
    fn pump(&mut self) -> bool {
        if !matches!(self.ending, Ending::No | Ending::Answering(_) | Ending::Routing) {
            return false;
        }
        let before = self.outbox.waiting();
        let total = before + self.expected;
        let room = (REPLY_WINDOW as usize).saturating_sub(total).min(self.reply_charge.room(total));
        if room > 0 {
            self.visitor.pump(&mut self.outbox, room);
        }
        self.outbox.waiting() > before
    }

    fn flush(&mut self, now: Instant) -> usize {
        let before = self.sent;
        self.send();
        if self.sent > before {
            self.clock.moved = now;
        }
        usize::try_from(self.sent - before).expect("less was sent than memory holds")
    }

    fn send(&mut self) {
        while self.writable && !self.outbox.is_idle() {
            let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
            let count = self.outbox.fill(&mut parts);
            let mut until = u64::MAX;
            let mut fds: &[OwnedFd] = &[];
            let mut handovers = self.handovers.iter().peekable();
            if let Some((_, those)) = handovers.next_if(|(at, _)| *at == self.sent) {
                fds = those;
            }
            if let Some((at, _)) = handovers.next() {
                until = *at - self.sent;
            }
            let mut slices = [IoSlice::new(&[]); PARTS];
            let (mut used, mut offered) = (0, 0);
            for part in &parts[..count] {
                let left = usize::try_from(until - offered as u64).unwrap_or(usize::MAX);
                if left == 0 {
                    break;
                }
                let part = &part[..part.len().min(left)];
                slices[used] = IoSlice::new(part);
                (used, offered) = (used + 1, offered + part.len());
            }
            let result = if fds.is_empty() {
                self.link.send(&slices[..used])
            } else {
                let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                self.link.send_with_fds(&slices[..used], &borrowed)
            };
            match result {
                Ok(count) => {
                    if count > 0 && !fds.is_empty() {
                        self.handovers.pop_front();
                    }
                    self.outbox.sent(count);
                    self.sent += count as u64;
                    self.writable = count == offered;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) => {
                    tracing::debug!("{}: {error}", self.link.facts().name);
                    self.ending = Ending::Now;
                    return;
                }
            }
        }
    }

    /// Pays for what there is now.
    fn settle(&mut self) {
        self.reply_charge.settle(self.outbox.waiting() + self.expected);
        let memory = self.inbox.memory();
        if memory > FREE_BYTES && !self.inbox.is_partial() {
            if self.inbox_charge.budget().anyone_waits() {
                self.inbox.relax();
            }
            self.inbox_charge.settle(self.inbox.memory());
        }
    }

    fn end_if_done(&mut self, now: Instant) {
        if matches!(self.ending, Ending::No) {
            return;
        }
        self.clock.ending.get_or_insert(now);
        if let Ending::Answering(last_word) = &mut self.ending
            && self.at_workers == 0
            && self.outbox.held() == 0
        {
            if let Some((status, text)) = last_word.take() {
                say_goodbye(&mut self.outbox, status, &text);
            }
            self.ending = Ending::Sending;
        }
        self.flush(now);
        let over = match self.ending {
            Ending::Sending => self.outbox.is_idle(),
            Ending::Routing => self.outbox.is_idle() && !self.visitor.owes(),
            _ => false,
        };
        if over {
            self.ending = Ending::Now;
        }
    }

    /// What is to be done with a connection that is over and whose link nobody waits for any more: one with a route goes
    /// on to another member's node.
    pub(crate) fn part(mut self) {
        if let Some(onward) = self.visitor.take_onward() {
            onward(self.link, self.inbox.rest().to_vec(), Box::new(self.seat));
        }
    }
}

/// Writes the last frame of a connection.
pub(crate) fn say_goodbye(outbox: &mut Outbox<Payload>, status: Status, text: &str) {
    let header = Header { status: status as u16, ..Header::ask(Op::Goodbye, 0, 0) };
    outbox.message(header, |body| body.extend_from_slice(text.as_bytes()));
}
