//! Answering one frame.

use crate::backend::{Backend, Control, Fetched, Reply, Stored};
use crate::inbox::Inbox;
use crate::outbox::{Hold, Outbox, reply_header};
use alloc::string::String;
use alloc::vec::Vec;
use okapi_base::{BlockSize, Index, Ticket, crc32c, limits};
use okapi_wire::{Frame, GetAsk, ListAsk, Listed, Op, Outcome, PutAsk, PutKind, Run, Status, flags};

/// Blocks that a backend is told of before the first of them is got.
const AHEAD: usize = 16;

/// What became of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// The reply is in the outbox, perhaps held.
    Yes,
    /// A disk would have to be waited for; the outbox is as before. Answer the frame again where that harms nobody.
    NotNow,
    /// The backend keeps the ask and will answer later.
    Later,
    /// The reply is in the outbox; after it the connection ends.
    Last,
}

/// Puts an ask to the backend and writes the reply. Descriptors are carried out in their order.
pub fn answer<B: Backend>(ask: &Frame<'_>, backend: &mut B, outbox: &mut Outbox<B::Payload>) -> Answered {
    debug_assert!(!ask.header.is_reply());
    let described = usize::from(ask.header.count) * ask.header.operation().map_or(0, Op::ask_bytes);
    let refusal = match ask.header.operation() {
        None => Status::UnknownOp,
        // Without descriptors the whole body is one piece: then there must be none.
        Some(Op::Get | Op::Put) if ask.descriptors.len() != described => Status::Malformed,
        Some(Op::Get) => match backend.grid(ask.header.grid) {
            Ok(block_size) => return get(ask, block_size, backend, outbox),
            Err(status) => status,
        },
        Some(Op::Put) => match backend.grid_to_put(ask.header.grid) {
            Ok(block_size) => return put(ask, block_size, backend, outbox),
            Err(status) => status,
        },
        Some(Op::List | Op::Runs) => match list(ask, backend, outbox) {
            Ok(()) => return Answered::Yes,
            Err(status) => status,
        },
        Some(_) => return control(ask, backend, outbox),
    };
    let words = backend.words(&ask.header, refusal);
    outbox.refuse(&ask.header, refusal, words.as_deref().unwrap_or(refusal.text()));
    Answered::Yes
}

fn get<B: Backend>(
    ask: &Frame<'_>,
    block_size: BlockSize,
    backend: &mut B,
    outbox: &mut Outbox<B::Payload>,
) -> Answered {
    if !ask.payload.is_empty() {
        outbox.refuse(&ask.header, Status::Malformed, "a get has no payload");
        return Answered::Yes;
    }
    let credit = ask.header.credit.min(limits::REPLY_WINDOW) as usize;
    let header = reply_header(&ask.header, Status::Ok);
    let mut draft = outbox.draft(header, ask.header.count, Outcome::BYTES);
    let asks = ask.descriptors.as_chunks::<{ GetAsk::BYTES }>().0;
    for (number, bytes) in asks.iter().enumerate() {
        if asks.len() > 1 && number % AHEAD == 0 {
            prefetch(ask.header.grid, &asks[number..], backend);
        }
        let wanted = GetAsk::decode(bytes);
        let outcome = match wanted.index {
            None => Outcome::bare(Status::BadIndex),
            Some(_) if wanted.slice.offset > block_size.bytes() => Outcome::bare(Status::PastBlock),
            Some(index) => match backend.get(ask.header.grid, index) {
                Fetched::Absent => Outcome::bare(Status::Absent),
                Fetched::Failed(status) => Outcome::bare(status),
                // The draft is dropped, and with it all that was written of the reply.
                Fetched::NotNow => return Answered::NotNow,
                Fetched::Block { generation, crc, payload } => {
                    let stored = payload.as_ref().len();
                    let length = u32::try_from(stored).expect("a block is shorter than 4 GiB");
                    let range = wanted.slice.within(length);
                    let mut outcome = Outcome { status: Status::Ok, payload: 0, length, crc: 0, generation };
                    if draft.body() + range.len() > credit {
                        outcome.status = Status::NoCredit;
                    } else {
                        outcome.payload = u32::try_from(range.len()).expect("a slice is within its block");
                        outcome.crc =
                            if range.len() == stored { crc } else { crc32c(&payload.as_ref()[range.clone()]) };
                        if range.len() <= limits::COPY_MAX {
                            draft.copy(&payload.as_ref()[range]);
                        } else {
                            draft.lend(payload, range);
                        }
                    }
                    outcome
                }
            },
        };
        draft.descriptor(number, &outcome.encode());
    }
    draft.finish(0);
    Answered::Yes
}

/// Tells the backend of the blocks that the next few single gets in an inbox are about. To be called once for what one
/// receive brought, and again after as many frames as it returns.
pub fn look_ahead<B: Backend>(inbox: &Inbox, backend: &mut B) -> usize {
    let mut indexes = [Index::MIN; AHEAD];
    let (mut grid, mut count, mut frames) = (0, 0, 0);
    for (header, descriptors) in inbox.unchecked().take(AHEAD) {
        frames += 1;
        if header.op != Op::Get as u8 || header.count != 1 || (count > 0 && header.grid != grid) {
            continue;
        }
        let Some(bytes) = descriptors.first_chunk::<{ GetAsk::BYTES }>() else { continue };
        if let Some(index) = GetAsk::decode(bytes).index {
            (grid, indexes[count]) = (header.grid, index);
            count += 1;
        }
    }
    if count > 1 {
        backend.prefetch(grid, &indexes[..count]);
    }
    frames
}

/// Tells the backend of the next few blocks.
fn prefetch<B: Backend>(handle: u32, asks: &[[u8; GetAsk::BYTES]], backend: &mut B) {
    let mut indexes = [Index::MIN; AHEAD];
    let mut count = 0;
    for index in asks.iter().take(AHEAD).filter_map(|bytes| GetAsk::decode(bytes).index) {
        indexes[count] = index;
        count += 1;
    }
    backend.prefetch(handle, &indexes[..count]);
}

fn put<B: Backend>(
    ask: &Frame<'_>,
    block_size: BlockSize,
    backend: &mut B,
    outbox: &mut Outbox<B::Payload>,
) -> Answered {
    let asks = ask.descriptors.as_chunks::<{ PutAsk::BYTES }>().0;
    // The lengths are settled before anything is done: a frame whose payloads do not add up is refused whole.
    let announced: u64 = asks.iter().map(|bytes| u64::from(announced_payload(bytes))).sum();
    if announced != ask.payload.len() as u64 {
        outbox.refuse(&ask.header, Status::Malformed, "the payloads' lengths do not add up to the frame's");
        return Answered::Yes;
    }
    let mut hold = Hold { engine: 0, ticket: Ticket::NOW };
    let mut rest = ask.payload;
    let mut draft = outbox.draft(reply_header(&ask.header, Status::Ok), ask.header.count, Outcome::BYTES);
    for (number, bytes) in asks.iter().enumerate() {
        let (payload, after) = rest.split_at(announced_payload(bytes) as usize);
        rest = after;
        let stored = match PutAsk::decode(bytes).and_then(|wanted| check_put(&wanted, payload, block_size)) {
            Ok(wanted) => backend.put(ask.header.grid, &wanted, payload, ask.header.flags),
            Err(status) => Stored::refused(status),
        };
        if let Some(wait) = stored.hold {
            hold = Hold { engine: wait.engine, ticket: hold.ticket.max(wait.ticket) };
        }
        let Stored { status, generation, length, .. } = stored;
        draft.descriptor(number, &Outcome { status, payload: 0, length, crc: 0, generation }.encode());
    }
    draft.finish_held(0, hold);
    Answered::Yes
}

/// The payload length a put's descriptor announces, whatever else is wrong with it.
fn announced_payload(bytes: &[u8; PutAsk::BYTES]) -> u32 {
    u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]])
}

fn check_put(ask: &PutAsk, payload: &[u8], block_size: BlockSize) -> Result<PutAsk, Status> {
    if u64::from(ask.offset) + u64::from(ask.length) > u64::from(block_size.bytes()) {
        return Err(Status::PastBlock);
    }
    if matches!(ask.kind, PutKind::Whole | PutKind::Slice) && crc32c(payload) != ask.crc {
        return Err(Status::BadChecksum);
    }
    Ok(*ask)
}

fn list<B: Backend>(ask: &Frame<'_>, backend: &mut B, outbox: &mut Outbox<B::Payload>) -> Result<(), Status> {
    backend.grid(ask.header.grid)?;
    let ([bytes], []) = ask.descriptors.as_chunks::<{ ListAsk::BYTES }>() else {
        return Err(Status::Malformed);
    };
    let wanted = ListAsk::decode(bytes);
    let from = wanted.from.ok_or(Status::BadIndex)?;
    let limit = (wanted.limit as usize).min(usize::from(limits::DESCRIPTORS_MAX));
    let header = reply_header(&ask.header, Status::Ok);
    let count = |length: usize| u16::try_from(length).expect("a backend lists no more than its limit");
    let more;
    if ask.header.operation() == Some(Op::List) {
        let mut found: Vec<Listed> = Vec::new();
        more = backend.list(ask.header.grid, from, limit, ask.header.flags & flags::DETAIL != 0, &mut found)?;
        let mut draft = outbox.draft(header, count(found.len()), Listed::BYTES);
        for (number, block) in found.iter().enumerate() {
            draft.descriptor(number, &block.encode());
        }
        draft.finish(if more { flags::MORE } else { 0 });
    } else {
        let mut found: Vec<Run> = Vec::new();
        more = backend.runs(ask.header.grid, from, limit, &mut found)?;
        let mut draft = outbox.draft(header, count(found.len()), Run::BYTES);
        for (number, run) in found.iter().enumerate() {
            draft.descriptor(number, &run.encode());
        }
        draft.finish(if more { flags::MORE } else { 0 });
    }
    Ok(())
}

fn control<B: Backend>(ask: &Frame<'_>, backend: &mut B, outbox: &mut Outbox<B::Payload>) -> Answered {
    let (mut body, mut text) = (Vec::new(), String::new());
    let verdict = backend.control(ask, &mut Reply { body: &mut body, text: &mut text });
    let (status, answered) = match verdict {
        Control::Later => return Answered::Later,
        Control::Held(hold) => {
            let header = reply_header(&ask.header, Status::Ok);
            outbox.message_held(header, hold, |out| out.extend_from_slice(&body));
            return Answered::Yes;
        }
        Control::Done(status) => (status, Answered::Yes),
        Control::Last(status) => (status, Answered::Last),
    };
    if status.is_ok() {
        outbox.message(reply_header(&ask.header, status), |out| out.extend_from_slice(&body));
    } else {
        outbox.refuse(&ask.header, status, if text.is_empty() { status.text() } else { &text });
    }
    answered
}
