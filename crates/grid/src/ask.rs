//! Writing asks and reading replies.

use crate::outbox::Outbox;
use alloc::string::String;
use alloc::vec::Vec;
use okapi_base::crc32c;
use okapi_wire::{
    BodyError, BodyWriter, Frame, GetAsk, HEADER_BYTES, Header, ListAsk, Listed, Message, Op, Outcome, PutAsk, Run,
    Status,
};

/// Asks for slices of blocks; `credit` is how many bytes the reply's body may have.
pub fn get<P: AsRef<[u8]>>(outbox: &mut Outbox<P>, request: u32, grid: u32, credit: u32, asks: &[GetAsk]) {
    let count = u16::try_from(asks.len()).expect("a frame has at most 1,024 descriptors");
    let mut draft = outbox.draft(Header { credit, ..Header::ask(Op::Get, request, grid) }, count, GetAsk::BYTES);
    for (number, ask) in asks.iter().enumerate() {
        draft.descriptor(number, &ask.encode());
    }
    draft.finish(0);
}

/// Asks for changes of blocks. `payloads` are copied; see [`put_head`] for a way without.
pub fn put<P: AsRef<[u8]>>(outbox: &mut Outbox<P>, request: u32, grid: u32, flags: u16, puts: &[(PutAsk, &[u8])]) {
    let count = u16::try_from(puts.len()).expect("a frame has at most 1,024 descriptors");
    let mut draft = outbox.draft(Header::ask(Op::Put, request, grid), count, PutAsk::BYTES);
    for (number, (ask, payload)) in puts.iter().enumerate() {
        assert!(ask.payload as usize == payload.len(), "a put's descriptor counts its payload");
        draft.descriptor(number, &ask.encode());
        draft.copy(payload);
    }
    draft.finish(flags);
}

/// Writes only the head (header and descriptors) of a put to `head`, replacing what is in it: whoever sends it must
/// send the payloads right behind, in order.
pub fn put_head(head: &mut Vec<u8>, request: u32, grid: u32, flags: u16, asks: &[PutAsk]) {
    let count = u16::try_from(asks.len()).expect("a frame has at most 1,024 descriptors");
    let payload: usize = asks.iter().map(|ask| ask.payload as usize).sum();
    let body = u32::try_from(asks.len() * PutAsk::BYTES + payload).expect("a frame is shorter than 4 GiB");
    head.clear();
    head.extend_from_slice(&Header { flags, count, body, ..Header::ask(Op::Put, request, grid) }.encode());
    for ask in asks {
        head.extend_from_slice(&ask.encode());
    }
    okapi_wire::frame::sign(head);
}

/// Asks for a list ([`Op::List`]) or runs ([`Op::Runs`]).
pub fn list<P: AsRef<[u8]>>(outbox: &mut Outbox<P>, op: Op, request: u32, grid: u32, flags: u16, ask: ListAsk) {
    assert!(matches!(op, Op::List | Op::Runs));
    let mut draft = outbox.draft(Header::ask(op, request, grid), 1, ListAsk::BYTES);
    draft.descriptor(0, &ask.encode());
    draft.finish(flags);
}

/// Asks with a message.
pub fn message<P: AsRef<[u8]>>(outbox: &mut Outbox<P>, op: Op, request: u32, grid: u32, message: &impl Message) {
    outbox.message(Header::ask(op, request, grid), |body| message.encode(&mut BodyWriter::new(body)));
}

/// Asks without a body.
pub fn bare<P: AsRef<[u8]>>(outbox: &mut Outbox<P>, op: Op, request: u32, grid: u32) {
    outbox.message(Header::ask(op, request, grid), |_| ());
}

/// Why a reply is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The other end refused, and says why.
    #[error("{text}")]
    Refused {
        /// The reason as a number.
        status: Status,
        /// The reason in the other end's words.
        text: String,
    },
    /// The reply breaks a rule of the format.
    #[error("the reply breaks a rule of the format: {0}")]
    Malformed(&'static str),
    /// The reply's message cannot be read.
    #[error("the reply cannot be read: {0}")]
    Body(#[from] BodyError),
}

/// Makes sure a reply is to `op` and not a refusal.
///
/// # Errors
/// [`ReplyError`].
pub fn accept(frame: &Frame<'_>, op: Op) -> Result<(), ReplyError> {
    if frame.header.op != op as u8 | Op::REPLY {
        return Err(ReplyError::Malformed("it answers another operation"));
    }
    let status = Status::from_code(frame.header.status);
    if status.is_ok() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(frame.descriptors);
    let text = if text.is_empty() { String::from(status.text()) } else { text.into_owned() };
    Err(ReplyError::Refused { status, text })
}

/// The message in a reply.
///
/// # Errors
/// [`ReplyError`].
pub fn read<M: Message>(frame: &Frame<'_>, op: Op) -> Result<M, ReplyError> {
    accept(frame, op)?;
    Ok(M::parse(frame.descriptors)?)
}

/// The outcomes in the reply to a get or put of `count` descriptors, each with its payload; payloads are checked
/// against their CRC-32C as they are handed out: a mismatch turns the outcome into [`Status::BadChecksum`].
///
/// # Errors
/// [`ReplyError`] if the reply is a refusal or does not add up.
pub fn outcomes<'a>(
    frame: &Frame<'a>,
    op: Op,
    count: usize,
) -> Result<impl ExactSizeIterator<Item = (Outcome, &'a [u8])> + use<'a>, ReplyError> {
    accept(frame, op)?;
    let (descriptors, _) = frame.descriptors.as_chunks::<{ Outcome::BYTES }>();
    if frame.header.count as usize != count || (count > 0 && descriptors.len() != count) {
        return Err(ReplyError::Malformed("it has another number of outcomes than were asked for"));
    }
    let announced: u64 = descriptors.iter().map(|bytes| u64::from(Outcome::decode(bytes).payload)).sum();
    if announced != frame.payload.len() as u64 {
        return Err(ReplyError::Malformed("its payloads do not add up"));
    }
    let mut rest = frame.payload;
    Ok(descriptors[..count].iter().map(move |bytes| {
        let outcome = Outcome::decode(bytes);
        let (payload, after) = rest.split_at(outcome.payload as usize);
        rest = after;
        (check(outcome, payload), payload)
    }))
}

/// The outcomes in the head of the reply to a get or put of `count` descriptors whose payloads are still on their
/// way; replaces what is in `into`. [`check`] each payload against its outcome.
///
/// # Errors
/// [`ReplyError`] if the reply is a refusal or does not add up.
pub fn outcomes_ahead(frame: &Frame<'_>, op: Op, count: usize, into: &mut Vec<Outcome>) -> Result<(), ReplyError> {
    accept(frame, op)?;
    let (descriptors, _) = frame.descriptors.as_chunks::<{ Outcome::BYTES }>();
    if frame.header.count as usize != count || descriptors.len() != count {
        return Err(ReplyError::Malformed("it has another number of outcomes than were asked for"));
    }
    into.clear();
    into.extend(descriptors.iter().map(Outcome::decode));
    let announced: u64 = into.iter().map(|outcome| u64::from(outcome.payload)).sum();
    if announced != u64::from(frame.header.body) - frame.descriptors.len() as u64 {
        return Err(ReplyError::Malformed("its payloads do not add up"));
    }
    Ok(())
}

/// The outcome, once its payload is there: a payload that does not match its CRC-32C is [`Status::BadChecksum`].
#[must_use]
pub fn check(mut outcome: Outcome, payload: &[u8]) -> Outcome {
    if outcome.status.is_ok() && outcome.payload > 0 && crc32c(payload) != outcome.crc {
        outcome.status = Status::BadChecksum;
    }
    outcome
}

/// The blocks in the reply to a list.
///
/// # Errors
/// [`ReplyError`].
pub fn listed<'a>(frame: &Frame<'a>) -> Result<impl Iterator<Item = Result<Listed, ReplyError>> + use<'a>, ReplyError> {
    accept(frame, Op::List)?;
    let (descriptors, _) = frame.descriptors.as_chunks::<{ Listed::BYTES }>();
    let bad = ReplyError::Malformed("it lists an index of more than 48 bits");
    Ok(descriptors.iter().map(move |bytes| Listed::decode(bytes).map_err(|_| bad.clone())))
}

/// The runs in the reply to [`Op::Runs`].
///
/// # Errors
/// [`ReplyError`].
pub fn runs<'a>(frame: &Frame<'a>) -> Result<impl Iterator<Item = Result<Run, ReplyError>> + use<'a>, ReplyError> {
    accept(frame, Op::Runs)?;
    let (descriptors, _) = frame.descriptors.as_chunks::<{ Run::BYTES }>();
    let bad = ReplyError::Malformed("it lists a run that reaches past the last index");
    Ok(descriptors.iter().map(move |bytes| Run::decode(bytes).map_err(|_| bad.clone())))
}

const _: () = assert!(HEADER_BYTES == 32);
