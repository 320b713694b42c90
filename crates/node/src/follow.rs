//! Replication as a stream: one follower of one grid.
//!
//! First everything is sent in the order of indexes, then the names, then what changes. A block is read when it is
//! sent, so it is always its newest content that goes. What a follower holds must make sense at every moment, so
//!
//! - a block that has changed again later is sent at its latest change only: until then it may be, for the follower,
//!   part of a record that is yet to go;
//! - a name that has changed again later is not bound, but what it freed is: its removal is sent;
//! - before a name is bound, those of its blocks are sent whose latest change is still to come, and it is bound only
//!   if it is still the same record after they were read.
//!
//! Whoever resumes after a cut may be ahead of its last mark. Until it is again where it was, a record that was edited
//! meanwhile may have newer blocks than its hash says.

mod marks;
mod replies;

use crate::changes::{Renamed, What};
use crate::grid::Grid;
use crate::host::Host;
use crate::owners::{bounds, run};
use crate::records::Record;
use okapi_base::Index;
use okapi_base::limits::DESCRIPTORS_MAX;
use okapi_grid::{Fetched, Outbox, ask};
use okapi_store::{Patience, Payload};
use okapi_wire::message::{RecordBind, RecordRemove};
use okapi_wire::{Header, Limits, Op, PutAsk, Run, Status};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes asked of a follower that it has not answered yet.
const WINDOW: usize = 4 << 20;
/// Asks a follower has not answered yet.
const ASKS_MAX: usize = 64;
/// Bytes of blocks that go in one frame, if they are more than one.
const BATCH: usize = 256 << 10;
/// Blocks sent before a mark says so.
const BLOCKS_A_MARK: u64 = 1024;
/// Bytes a message without blocks takes at most: a binding with the most extents and the longest texts.
pub(crate) const MESSAGE_MAX: usize = 96 << 10;

pub use replies::AskError;

type Wake = Arc<dyn Fn() + Send + Sync>;

/// One follower of one grid.
pub(crate) struct Stream {
    grid: Arc<Grid>,
    handle: u32,
    /// The watcher's number.
    id: u64,
    body_max: usize,
    asks_max: usize,
    phase: Phase,
    /// All changes up to this one have been sent (or will be by the sweep).
    position: u64,
    /// What the last mark said.
    marked: u64,
    unmarked: u64,
    sent_blocks: u64,
    /// Steps that come before all else.
    steps: VecDeque<Step>,
    reading: Option<Arc<Mutex<Option<Vec<Read>>>>>,
    /// Blocks read and not yet sent.
    read: VecDeque<Read>,
    /// Blocks of the range at hand that cannot be read.
    unreadable: Vec<Index>,
    asked: HashMap<u32, Asked>,
    window: usize,
    /// Set while the stream waits for changes.
    idle: Arc<AtomicBool>,
    said_goodbye: bool,
}

enum Phase {
    /// Everything, in the order of indexes.
    Sweep(Sweep),
    /// The names, after this one.
    Names(Option<String>),
    /// What changes.
    Live,
}

/// All blocks of a range.
#[derive(Clone, Copy)]
struct Sweep {
    /// The next to be looked at; nothing at the end.
    next: Option<Index>,
    last: Index,
    /// Where the range of the next mark begins.
    unmarked: Index,
    /// Blocks that have changed after this are left out: they come with that change.
    sequence: u64,
}

enum Step {
    /// All blocks of a range, and a mark.
    Range(Sweep),
    /// These blocks of a record, part by part, and then its binding, if it is still the same.
    Bind {
        record: Arc<Record>,
        sequence: u64,
        runs: VecDeque<Run>,
    },
    Send(Message),
}

enum Message {
    Bind(Arc<Record>, u64),
    Remove(String),
    /// How far it has come, and a range up to which change.
    Mark(Option<(Index, Index, u64)>),
}

/// A block on its way.
struct Read {
    index: Index,
    fetched: Fetched<Payload>,
    reason: Reason,
}

/// Why a block is sent, and so, once it is read, whether it still is.
#[derive(Clone)]
enum Reason {
    /// It is in a range, and has not changed after this; if it is absent, the range's mark says so.
    Range(u64),
    /// This change, if it is still the block's latest.
    Change(u64),
    /// It is a block of this record, if that is still what its name stands for.
    Of(Arc<Record>),
}

struct Asked {
    bytes: usize,
    what: Sent,
}

enum Sent {
    Puts(Index, usize),
    Bind(Arc<Record>, u64),
    Remove(String),
    Mark,
}

impl Stream {
    /// Begins to follow: after the change `sequence` of this very epoch if all later ones are still known, otherwise
    /// with everything. Says whether it is the former, and after which change the stream begins.
    pub(crate) fn begin(
        grid: Arc<Grid>,
        handle: u32,
        id: u64,
        after: (u64, u64),
        limits: Limits,
        wake: &Wake,
    ) -> (Self, bool) {
        let idle = Arc::new(AtomicBool::new(false));
        let (its, wake) = (Arc::clone(&idle), Arc::clone(wake));
        let resumable = after.0 == grid.changes.epoch && grid.changes.is_on();
        grid.changes.watch(
            id,
            Arc::new(move || {
                if its.swap(false, Ordering::SeqCst) {
                    wake();
                }
            }),
        );
        let resumed = resumable && grid.changes.reaches(after.1);
        let mut stream = Self {
            handle,
            id,
            body_max: limits.body_max as usize,
            asks_max: (limits.frames_in_flight as usize).clamp(1, ASKS_MAX),
            phase: Phase::Live,
            position: after.1,
            marked: after.1,
            unmarked: 0,
            sent_blocks: 0,
            steps: VecDeque::new(),
            reading: None,
            read: VecDeque::new(),
            unreadable: Vec::new(),
            asked: HashMap::new(),
            window: 0,
            idle,
            said_goodbye: false,
            grid,
        };
        if !resumed {
            stream.sweep();
        }
        (stream, resumed)
    }

    /// The handle by which the follower opened the grid.
    pub(crate) fn handle(&self) -> u32 {
        self.handle
    }

    /// The name of the grid that is followed.
    pub(crate) fn grid_name(&self) -> &str {
        &self.grid.definition.name
    }

    /// The change the stream begins after.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Begins again with everything.
    fn sweep(&mut self) {
        self.position = self.grid.changes.head();
        self.marked = 0;
        self.sent_blocks = 0;
        self.steps.clear();
        self.read.clear();
        self.unreadable.clear();
        self.reading = None;
        self.phase =
            Phase::Sweep(Sweep { next: Some(Index::MIN), last: Index::MAX, unmarked: Index::MIN, sequence: u64::MAX });
        // Tells the follower that everything begins: names not bound from here to the first mark with a sequence go.
        self.steps.push_back(Step::Send(Message::Mark(None)));
    }

    /// Sends what can be sent while `room` bytes are free.
    pub(crate) fn pump(
        &mut self,
        outbox: &mut Outbox<Payload>,
        room: usize,
        requests: &mut u32,
        host: &Arc<Host>,
        wake: &Wake,
    ) {
        let full = outbox.waiting() + room;
        loop {
            if self.grid.is_dropped() {
                return self.say_goodbye(outbox, Status::UnknownGrid, "the followed grid has been dropped");
            }
            let room = full.saturating_sub(outbox.waiting());
            if self.window >= WINDOW || self.asked.len() >= self.asks_max || room < MESSAGE_MAX {
                return;
            }
            if !self.collect() {
                return;
            }
            if !self.read.is_empty() {
                if !self.send_blocks(outbox, room, requests) {
                    return;
                }
                continue;
            }
            if !self.step(outbox, requests, host, wake) {
                return;
            }
        }
    }

    /// Tells the follower, once, why nothing more comes.
    pub(crate) fn say_goodbye(&mut self, outbox: &mut Outbox<Payload>, status: Status, text: &str) {
        if !std::mem::replace(&mut self.said_goodbye, true) {
            let header = Header { status: status as u16, ..Header::ask(Op::Goodbye, 0, self.handle) };
            outbox.message(header, |body| body.extend_from_slice(text.as_bytes()));
        }
    }

    /// Takes what was read in the background. False: it is still being read.
    fn collect(&mut self) -> bool {
        if let Some(reading) = &self.reading {
            let Some(read) = reading.lock().take() else { return false };
            self.read.extend(read);
            self.reading = None;
        }
        true
    }

    /// Does the next thing; false if there is nothing to do.
    fn step(&mut self, outbox: &mut Outbox<Payload>, requests: &mut u32, host: &Arc<Host>, wake: &Wake) -> bool {
        match self.steps.pop_front() {
            Some(Step::Send(message)) => self.send(message, outbox, requests),
            Some(Step::Range(mut sweep)) => {
                let mark = self.sweep_on(&mut sweep, host, wake);
                if sweep.next.is_some() {
                    self.steps.push_front(Step::Range(sweep));
                }
                if let Some(mark) = mark {
                    self.steps.push_front(mark);
                }
            }
            Some(Step::Bind { record, sequence, mut runs }) => match runs.pop_front() {
                Some(part) => {
                    let (start, end) = bounds(&part);
                    let until = end.min(start + self.batch_blocks());
                    if until < end {
                        runs.push_front(run(until, end));
                    }
                    let indexes = (start..until).map(|index| Index::new(index).expect("a run lies within the grid"));
                    let wanted = indexes.map(|index| (index, Reason::Of(Arc::clone(&record)))).collect();
                    self.steps.push_front(Step::Bind { record, sequence, runs });
                    self.read_blocks(wanted, host, wake);
                }
                None => {
                    if self.is_current(&record) {
                        self.send(Message::Bind(record, sequence), outbox, requests);
                    }
                }
            },
            None => return self.advance(outbox, requests, host, wake),
        }
        true
    }

    fn advance(&mut self, outbox: &mut Outbox<Payload>, requests: &mut u32, host: &Arc<Host>, wake: &Wake) -> bool {
        match &mut self.phase {
            Phase::Sweep(sweep) => {
                let mut sweep = *sweep;
                let mark = self.sweep_on(&mut sweep, host, wake);
                self.phase = if sweep.next.is_some() { Phase::Sweep(sweep) } else { Phase::Names(None) };
                self.steps.extend(mark);
                true
            }
            Phase::Names(after) => {
                let next = self.grid.records.read().after(after.as_deref()).cloned();
                match next {
                    Some(record) => {
                        let name = record.info.name.clone();
                        // One that has changed since is sent as a change: its blocks may not be there yet.
                        let fresh = self.grid.changes.newest_of_name(&name).1 <= self.position;
                        self.phase = Phase::Names(Some(name));
                        if fresh {
                            self.send(Message::Bind(record, self.position), outbox, requests);
                        }
                    }
                    None => {
                        self.phase = Phase::Live;
                        if self.grid.changes.reaches(self.position) {
                            self.send(Message::Mark(None), outbox, requests);
                        } else {
                            self.sweep();
                        }
                    }
                }
                true
            }
            Phase::Live => self.live(outbox, requests, host, wake),
        }
    }

    fn live(&mut self, outbox: &mut Outbox<Payload>, requests: &mut u32, host: &Arc<Host>, wake: &Wake) -> bool {
        if self.unmarked >= BLOCKS_A_MARK {
            self.send(Message::Mark(None), outbox, requests);
            return true;
        }
        let mut indexes = Vec::new();
        let most = self.batch_blocks();
        loop {
            let sequence = self.position + 1;
            match self.grid.changes.at(sequence) {
                Some(What::Blocks(changed)) if changed.count == 1 => {
                    if self.grid.changes.newest_of(changed.start) <= sequence {
                        indexes.push((changed.start, Reason::Change(sequence)));
                    }
                    self.position = sequence;
                    if indexes.len() as u64 >= most {
                        break;
                    }
                }
                Some(_) if !indexes.is_empty() => break,
                // The mark after a range has the follower delete there what has not come since the mark before: what came
                // of those blocks before their change must not count.
                Some(What::Blocks(_)) if self.unmarked > 0 => {
                    self.send(Message::Mark(None), outbox, requests);
                    return true;
                }
                Some(What::Blocks(changed)) => {
                    self.position = sequence;
                    self.ranges(changed.start, changed.last(), sequence, &[]);
                    return true;
                }
                Some(What::Name { name, how }) => {
                    self.name_changed(&name, how, sequence);
                    self.position = sequence;
                    return true;
                }
                None => break,
            }
        }
        if !indexes.is_empty() {
            self.read_blocks(indexes, host, wake);
            return true;
        }
        // No change after this one is known: either there is none, or too many have been made meanwhile.
        self.idle.store(true, Ordering::SeqCst);
        if !self.grid.changes.reaches(self.position) {
            self.sweep();
            return true;
        }
        if self.grid.changes.head() > self.position {
            return true;
        }
        if self.marked != self.position {
            self.send(Message::Mark(None), outbox, requests);
            return true;
        }
        false
    }

    fn name_changed(&mut self, name: &str, how: Renamed, sequence: u64) {
        let (newest, moved) = self.grid.changes.newest_of_name(name);
        let moved_later = moved > sequence;
        if how == Renamed::Freed {
            // Met again, once the name has changed once more, it would be a removal, and a follower that has what came
            // after would lose that: a mark is due before anything else is sent.
            self.unmarked = BLOCKS_A_MARK;
        }
        match (how, self.grid.find_record(name)) {
            (Renamed::Freed, _) if moved_later => self.steps.push_back(Step::Send(Message::Remove(name.to_owned()))),
            _ if moved_later => {}
            (Renamed::Edited, _) if newest > sequence => {}
            // Its blocks are there already; that its hash is no longer known goes before what was edited.
            (Renamed::Edited, Ok(record)) => {
                self.steps.push_back(Step::Bind { record, sequence, runs: VecDeque::new() });
            }
            (_, Ok(record)) => {
                let runs = record.info.extents.iter().flat_map(|run| self.grid.changes.newer(run, sequence)).collect();
                self.steps.push_back(Step::Bind { record, sequence, runs });
            }
            (_, Err(_)) => self.steps.push_back(Step::Send(Message::Remove(name.to_owned()))),
        }
    }

    /// Reads the next blocks of a range; the mark that is to follow them, if it is time for one.
    fn sweep_on(&mut self, sweep: &mut Sweep, host: &Arc<Host>, wake: &Wake) -> Option<Step> {
        let next = sweep.next?;
        let mut page = Vec::new();
        let most = usize::try_from(self.batch_blocks()).expect("a batch is small");
        if let Err(error) = self.grid.blocks.list(next, most, false, &mut page) {
            // Nothing is marked as swept: the follower keeps what it has there.
            tracing::error!(grid = %self.grid.definition.name, "a follower is not sent some blocks: {error}");
            sweep.next = None;
            return None;
        }
        let all = page.len() < most;
        page.retain(|block| block.index <= sweep.last);
        let reached = match page.last() {
            Some(last) if !all && last.index < sweep.last => last.index,
            _ => sweep.last,
        };
        sweep.next = reached.next().filter(|next| *next <= sweep.last);
        self.unmarked += page.len() as u64;
        let wanted = page.iter().map(|block| (block.index, Reason::Range(sweep.sequence))).collect();
        self.read_blocks(wanted, host, wake);
        if self.unmarked < BLOCKS_A_MARK && sweep.next.is_some() {
            return None;
        }
        let from = std::mem::replace(&mut sweep.unmarked, sweep.next.unwrap_or(reached));
        Some(Step::Send(Message::Mark(Some((from, reached, sweep.sequence)))))
    }

    /// Whether a record is still what its name stands for.
    fn is_current(&self, record: &Record) -> bool {
        let now = self.grid.find_record(&record.info.name);
        now.is_ok_and(|now| now.info.generation == record.info.generation)
    }

    fn batch_blocks(&self) -> u64 {
        let block = self.grid.definition.shape.block_size.bytes() as usize + PutAsk::BYTES;
        (BATCH.min(self.body_max) / block).clamp(1, usize::from(DESCRIPTORS_MAX)) as u64
    }

    /// Reads blocks; those that would have to wait for a disk, and all after them, in the background.
    fn read_blocks(&mut self, wanted: Vec<(Index, Reason)>, host: &Arc<Host>, wake: &Wake) {
        let mut wanted = wanted.into_iter();
        while let Some((index, reason)) = wanted.next() {
            let fetched = self.grid.get(index, Patience::Hurried);
            if !matches!(fetched, Fetched::NotNow) {
                self.read.push_back(Read { index, fetched, reason });
                continue;
            }
            let place = Arc::new(Mutex::new(None));
            self.reading = Some(Arc::clone(&place));
            let (grid, wake) = (Arc::clone(&self.grid), Arc::clone(wake));
            host.reading.add(move || {
                let rest = std::iter::once((index, reason)).chain(wanted);
                let read =
                    rest.map(|(index, reason)| Read { index, fetched: grid.get(index, Patience::Waiting), reason });
                *place.lock() = Some(read.collect());
                wake();
            });
            return;
        }
    }

    /// Sends blocks that have been read, in one frame; false if there is no room for it.
    fn send_blocks(&mut self, outbox: &mut Outbox<Payload>, room: usize, requests: &mut u32) -> bool {
        let mut size = 0;
        let mut taken = 0;
        for read in &self.read {
            let more = PutAsk::BYTES
                + if let Fetched::Block { payload, .. } = &read.fetched { payload.as_ref().len() } else { 0 };
            if taken > 0 && (size + more > BATCH.min(self.body_max) || taken == usize::from(DESCRIPTORS_MAX)) {
                break;
            }
            size += more;
            taken += 1;
        }
        if size + okapi_wire::HEADER_BYTES > room {
            return false;
        }
        let batch: Vec<Read> = self.read.drain(..taken).collect();
        let mut puts = Vec::new();
        for read in &batch {
            let still = match &read.reason {
                // Changed again since: it goes with that change.
                Reason::Range(sequence) | Reason::Change(sequence) => {
                    self.grid.changes.newest_of(read.index) <= *sequence
                }
                Reason::Of(record) => self.is_current(record),
            };
            match &read.fetched {
                _ if !still => {}
                Fetched::Block { crc, payload, .. } => {
                    puts.push((PutAsk::whole(read.index, payload.as_ref(), *crc), payload.as_ref()));
                }
                Fetched::Absent if matches!(read.reason, Reason::Range(_)) => {}
                Fetched::Absent => puts.push((PutAsk::delete(read.index), &[][..])),
                // What cannot be read here may be whole at the follower: it is left as it is.
                Fetched::Failed(_) | Fetched::NotNow => {
                    if matches!(read.reason, Reason::Range(_)) {
                        self.unreadable.push(read.index);
                    }
                }
            }
        }
        if puts.is_empty() {
            return true;
        }
        let request = next(requests);
        ask::put(outbox, request, self.handle, 0, &puts);
        let (first, count) = (puts[0].0.index, puts.len());
        if !matches!(batch[0].reason, Reason::Range(_)) {
            self.unmarked += count as u64;
        }
        self.sent_blocks += count as u64;
        self.note(request, size, Sent::Puts(first, count));
        true
    }

    fn note(&mut self, request: u32, bytes: usize, what: Sent) {
        self.window += bytes;
        self.asked.insert(request, Asked { bytes, what });
    }

    fn send(&mut self, message: Message, outbox: &mut Outbox<Payload>, requests: &mut u32) {
        let before = outbox.waiting();
        match message {
            Message::Bind(record, sequence) => {
                let bind = RecordBind { lease: 0, expect: None, record: record.info.clone() };
                let request = next(requests);
                ask::message(outbox, Op::RecordBind, request, self.handle, &bind);
                self.note(request, outbox.waiting() - before, Sent::Bind(record, sequence));
            }
            Message::Remove(name) => {
                let remove = RecordRemove { expect: None, name };
                let request = next(requests);
                ask::message(outbox, Op::RecordRemove, request, self.handle, &remove);
                self.note(request, outbox.waiting() - before, Sent::Remove(remove.name));
            }
            Message::Mark(swept) => self.send_mark(swept, outbox, requests),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.grid.changes.unwatch(self.id);
    }
}

fn next(requests: &mut u32) -> u32 {
    *requests = requests.wrapping_add(1);
    *requests
}
