//! The block protocol between two ends in memory: no link, no store, no clock.

use okapi_base::{BlockSize, Generation, Index, Slice, Ticket, crc32c, limits};
use okapi_grid::{Answered, Backend, Control, Fetched, Hold, Inbox, Outbox, Reply, Stored, answer, ask};
use okapi_wire::{
    Frame, FrameError, GetAsk, HEADER_BYTES, Header, ListAsk, Listed, Op, Outcome, PutAsk, PutKind, Run, Status, flags,
};
use proptest::prelude::{Strategy, any, proptest};
use proptest::test_runner::Config;
use std::collections::BTreeMap;

/// A grid in a map. Handle 1 is open, everything else is not.
#[derive(Default)]
struct Shelf {
    blocks: BTreeMap<u64, (u64, Vec<u8>)>,
    puts: u64,
    not_now: bool,
    hold: Option<Hold>,
}

const BLOCK: u32 = 64 << 10;

impl Backend for Shelf {
    type Payload = Vec<u8>;

    fn grid(&mut self, handle: u32) -> Result<BlockSize, Status> {
        if handle == 1 { Ok(BlockSize::new(BLOCK).unwrap()) } else { Err(Status::UnknownGrid) }
    }

    fn get(&mut self, _: u32, index: Index) -> Fetched<Vec<u8>> {
        match self.blocks.get(&index.get()) {
            _ if self.not_now => Fetched::NotNow,
            None => Fetched::Absent,
            Some((generation, bytes)) => {
                Fetched::Block { generation: Generation(*generation), crc: crc32c(bytes), payload: bytes.clone() }
            }
        }
    }

    fn put(&mut self, _: u32, ask: &PutAsk, payload: &[u8], _: u16) -> Stored {
        self.puts += 1;
        let key = ask.index.get();
        let found = self.blocks.get(&key).map_or(0, |(generation, _)| *generation);
        if ask.expect.is_some_and(|expected| expected.0 != found) {
            return Stored { generation: Generation(found), ..Stored::refused(Status::Stale) };
        }
        let mut bytes = self.blocks.remove(&key).map(|(_, bytes)| bytes).unwrap_or_default();
        let end = (ask.offset + ask.length) as usize;
        match ask.kind {
            PutKind::Whole => bytes = payload.to_vec(),
            PutKind::Truncate => bytes.resize(ask.length as usize, 0),
            PutKind::Slice | PutKind::Zeroes => {
                bytes.resize(bytes.len().max(end), 0);
                let part = &mut bytes[ask.offset as usize..end];
                if ask.kind == PutKind::Slice { part.copy_from_slice(payload) } else { part.fill(0) }
            }
        }
        let length = u32::try_from(bytes.len()).unwrap();
        if !bytes.is_empty() {
            self.blocks.insert(key, (self.puts, bytes));
        }
        let generation = Generation(if length == 0 { 0 } else { self.puts });
        Stored { status: Status::Ok, generation, length, hold: self.hold }
    }

    fn list(&mut self, _: u32, from: Index, limit: usize, _: bool, out: &mut Vec<Listed>) -> Result<bool, Status> {
        let mut left = self.blocks.range(from.get()..);
        out.extend(left.by_ref().take(limit).map(|(index, (generation, bytes))| Listed {
            index: Index::new(*index).unwrap(),
            length: u32::try_from(bytes.len()).unwrap(),
            crc: crc32c(bytes),
            generation: Generation(*generation),
        }));
        Ok(left.next().is_some())
    }

    fn runs(&mut self, _: u32, from: Index, limit: usize, out: &mut Vec<Run>) -> Result<bool, Status> {
        for index in self.blocks.range(from.get()..).map(|(index, _)| *index) {
            let full = out.len() == limit;
            match out.last_mut() {
                Some(run) if run.last().get() + 1 == index => run.count += 1,
                _ if full => return Ok(true),
                _ => out.push(Run { start: Index::new(index).unwrap(), count: 1 }),
            }
        }
        Ok(false)
    }

    fn control(&mut self, ask: &Frame<'_>, reply: &mut Reply<'_>) -> Control {
        match ask.header.operation() {
            Some(Op::Ping) => {
                reply.body.extend_from_slice(ask.descriptors);
                Control::Done(Status::Ok)
            }
            Some(Op::Sync) => self.hold.map_or(Control::Done(Status::Ok), Control::Held),
            Some(Op::Goodbye) => Control::Last(Status::Stopping),
            Some(Op::Verify) => Control::Later,
            _ => {
                reply.text.push_str("not on this shelf");
                Control::Done(Status::Unsupported)
            }
        }
    }
}

/// Moves all that waits in `from` into `to`, `step` bytes at a time.
fn carry<P: AsRef<[u8]>>(from: &mut Outbox<P>, to: &mut Vec<u8>, step: usize) {
    while !from.is_idle() {
        let mut parts: [&[u8]; 8] = [&[]; 8];
        let filled = from.fill(&mut parts);
        let bytes: Vec<u8> = parts[..filled].concat();
        let taken = bytes.len().min(step);
        to.extend_from_slice(&bytes[..taken]);
        from.sent(taken);
    }
}

fn bytes_of<P: AsRef<[u8]>>(outbox: &mut Outbox<P>) -> Vec<u8> {
    let mut bytes = Vec::new();
    carry(outbox, &mut bytes, usize::MAX);
    bytes
}

/// Answers all asks in `bytes` and returns the replies' bytes.
fn replies(shelf: &mut Shelf, bytes: &[u8]) -> Vec<u8> {
    let mut inbox = Inbox::new(limits::BODY_MAX);
    let mut outbox = Outbox::default();
    feed(&mut inbox, bytes, usize::MAX, |frame| assert_ne!(answer(&frame, shelf, &mut outbox), Answered::NotNow))
        .expect("the asks are well formed");
    bytes_of(&mut outbox)
}

/// Feeds bytes to an inbox in steps and shows each frame.
fn feed(inbox: &mut Inbox, mut bytes: &[u8], step: usize, mut each: impl FnMut(Frame<'_>)) -> Result<(), FrameError> {
    while !bytes.is_empty() {
        let space = inbox.space();
        let taken = space.len().min(bytes.len()).min(step);
        space[..taken].copy_from_slice(&bytes[..taken]);
        inbox.received(taken);
        bytes = &bytes[taken..];
        while let Some(frame) = inbox.next_frame()? {
            each(frame);
        }
    }
    Ok(())
}

fn index(value: u64) -> Index {
    Index::new(value).unwrap()
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    let (frame, length) = Frame::parse(bytes, limits::BODY_MAX).unwrap().unwrap();
    assert_eq!(length, bytes.len(), "just one frame");
    frame
}

fn put_whole(shelf: &mut Shelf, at: u64, payload: &[u8]) -> Outcome {
    put_one(shelf, PutAsk::whole(index(at), payload, crc32c(payload)), payload)
}

fn put_one(shelf: &mut Shelf, wanted: PutAsk, payload: &[u8]) -> Outcome {
    let mut outbox: Outbox<Vec<u8>> = Outbox::default();
    ask::put(&mut outbox, 7, 1, 0, &[(wanted, payload)]);
    let bytes = replies(shelf, &bytes_of(&mut outbox));
    let (outcome, rest) = ask::outcomes(&frame(&bytes), Op::Put, 1).unwrap().next().unwrap();
    assert!(rest.is_empty());
    outcome
}

fn get_one(shelf: &mut Shelf, wanted: GetAsk, credit: u32) -> (Outcome, Vec<u8>) {
    let mut outbox: Outbox<Vec<u8>> = Outbox::default();
    ask::get(&mut outbox, 8, 1, credit, &[wanted]);
    let bytes = replies(shelf, &bytes_of(&mut outbox));
    let (outcome, payload) = ask::outcomes(&frame(&bytes), Op::Get, 1).unwrap().next().unwrap();
    (outcome, payload.to_vec())
}

#[test]
fn what_is_put_is_got_whole_and_in_slices() {
    let mut shelf = Shelf::default();
    let payload: Vec<u8> = (0..BLOCK).map(|i| ((i * 31) >> 3) as u8).collect();
    assert_eq!(put_whole(&mut shelf, 5, &payload).status, Status::Ok);
    let (outcome, got) = get_one(&mut shelf, GetAsk::whole(index(5)), limits::REPLY_WINDOW);
    assert_eq!((outcome.status, outcome.length, outcome.generation), (Status::Ok, BLOCK, Generation(1)));
    assert_eq!(got, payload);
    for (offset, length) in [(0, 1), (100, 5000), (BLOCK - 1, 1), (BLOCK - 1, 100), (BLOCK, 1), (3, Slice::TO_END)] {
        let slice = Slice { offset, length };
        let (outcome, got) = get_one(&mut shelf, GetAsk { index: Some(index(5)), slice }, limits::REPLY_WINDOW);
        assert_eq!((outcome.status, outcome.length), (Status::Ok, BLOCK), "{slice:?}");
        assert_eq!(got, payload[slice.within(BLOCK)], "{slice:?}");
    }
}

#[test]
fn absent_blocks_say_so_and_give_nothing() {
    let mut shelf = Shelf::default();
    let (outcome, got) = get_one(&mut shelf, GetAsk::whole(Index::MAX), 1000);
    assert_eq!((outcome, got), (Outcome::bare(Status::Absent), vec![]));
    assert_eq!(put_whole(&mut shelf, 9, b"x").status, Status::Ok);
    assert_eq!(put_whole(&mut shelf, 9, b"").generation, Generation::ABSENT);
    assert_eq!(get_one(&mut shelf, GetAsk::whole(index(9)), 1000).0.status, Status::Absent);
}

#[test]
fn each_descriptor_has_a_status_of_its_own() {
    let mut shelf = Shelf::default();
    put_whole(&mut shelf, 1, b"one");
    let asks = [
        GetAsk { index: None, slice: Slice::WHOLE },
        GetAsk::whole(index(1)),
        GetAsk { index: Some(index(1)), slice: Slice { offset: BLOCK + 1, length: 1 } },
        GetAsk::whole(index(2)),
    ];
    let mut outbox: Outbox<Vec<u8>> = Outbox::default();
    ask::get(&mut outbox, 1, 1, 1000, &asks);
    let bytes = replies(&mut shelf, &bytes_of(&mut outbox));
    let got: Vec<_> = ask::outcomes(&frame(&bytes), Op::Get, 4).unwrap().map(|(o, p)| (o.status, p.to_vec())).collect();
    assert_eq!(
        got,
        [
            (Status::BadIndex, vec![]),
            (Status::Ok, b"one".to_vec()),
            (Status::PastBlock, vec![]),
            (Status::Absent, vec![])
        ]
    );
}

#[test]
fn bad_puts_are_refused_one_by_one_and_change_nothing() {
    let mut shelf = Shelf::default();
    put_whole(&mut shelf, 1, b"one");
    let whole = PutAsk::whole(index(1), b"two", crc32c(b"two"));
    let past = PutAsk { kind: PutKind::Slice, offset: BLOCK - 2, ..whole };
    let zeroes = PutAsk { kind: PutKind::Zeroes, offset: u32::MAX, length: u32::MAX, payload: 0, ..whole };
    for (wanted, payload, status) in [
        (PutAsk { crc: 1, ..whole }, &b"two"[..], Status::BadChecksum),
        (past, b"two", Status::PastBlock),
        (zeroes, b"", Status::PastBlock),
        (PutAsk { kind: PutKind::Truncate, length: BLOCK + 1, payload: 0, ..whole }, b"", Status::PastBlock),
        (PutAsk { kind: PutKind::Truncate, length: 1, payload: 3, ..whole }, b"two", Status::Malformed),
        (PutAsk { length: 2, ..whole }, b"two", Status::Malformed),
        (PutAsk { expect: Some(Generation(77)), ..whole }, b"two", Status::Stale),
    ] {
        assert_eq!(put_one(&mut shelf, wanted, payload).status, status, "{wanted:?}");
        assert_eq!(shelf.blocks[&1].1, b"one");
    }
    assert_eq!(put_one(&mut shelf, PutAsk { expect: Some(Generation(1)), ..whole }, b"two").status, Status::Ok);
}

#[test]
fn payloads_that_do_not_add_up_refuse_the_whole_frame() {
    let mut shelf = Shelf::default();
    let mut head = Vec::new();
    let wanted = PutAsk::whole(index(1), b"four", crc32c(b"four"));
    ask::put_head(&mut head, 3, 1, 0, &[wanted, PutAsk { payload: 9, ..wanted }]);
    let mut bytes = head.clone();
    bytes[24..28].copy_from_slice(&(64u32 + 8).to_le_bytes());
    okapi_wire::frame::sign(&mut bytes);
    bytes.extend_from_slice(b"fourfour");
    let bytes = replies(&mut shelf, &bytes);
    let refused = ask::outcomes(&frame(&bytes), Op::Put, 2).err().unwrap();
    assert!(matches!(refused, ask::ReplyError::Refused { status: Status::Malformed, .. }), "{refused:?}");
    assert!(shelf.blocks.is_empty());
}

#[test]
fn replies_keep_to_the_credit() {
    let mut shelf = Shelf::default();
    for at in 0..4 {
        put_whole(&mut shelf, at, &[at as u8; 6000]);
    }
    let asks: Vec<_> = (0..4).map(|at| GetAsk::whole(index(at))).collect();
    let mut outbox: Outbox<Vec<u8>> = Outbox::default();
    ask::get(&mut outbox, 1, 1, 4 * 32 + 12_000, &asks);
    let bytes = replies(&mut shelf, &bytes_of(&mut outbox));
    let got: Vec<_> =
        ask::outcomes(&frame(&bytes), Op::Get, 4).unwrap().map(|(o, p)| (o.status, o.length, p.len())).collect();
    let (ok, cut) = ((Status::Ok, 6000, 6000), (Status::NoCredit, 6000, 0));
    assert_eq!(got, [ok, ok, cut, cut]);
}

#[test]
fn a_get_that_needs_the_disk_leaves_no_trace() {
    let mut shelf = Shelf { not_now: true, ..Shelf::default() };
    let mut asks: Outbox<Vec<u8>> = Outbox::default();
    ask::get(&mut asks, 1, 1, 1000, &[GetAsk::whole(index(0))]);
    let bytes = bytes_of(&mut asks);
    let mut outbox = Outbox::default();
    outbox.message(Header::ask(Op::Ping, 9, 0), |body| body.extend_from_slice(b"before"));
    let before = outbox.waiting();
    assert_eq!(answer(&frame(&bytes), &mut shelf, &mut outbox), Answered::NotNow);
    assert_eq!(outbox.waiting(), before);
    let sent = bytes_of(&mut outbox);
    assert_eq!(frame(&sent).descriptors, b"before");
}

#[test]
fn durable_puts_are_held_until_their_ticket() {
    let hold = |ticket| Hold { engine: 3, ticket: Ticket(ticket) };
    let mut shelf = Shelf { hold: Some(hold(10)), ..Shelf::default() };
    let mut asks: Outbox<Vec<u8>> = Outbox::default();
    ask::put(&mut asks, 1, 1, 0, &[(PutAsk::whole(index(1), b"a", crc32c(b"a")), b"a")]);
    ask::bare(&mut asks, Op::Sync, 2, 0);
    let bytes = bytes_of(&mut asks);
    let mut outbox = Outbox::default();
    let mut inbox = Inbox::new(limits::BODY_MAX);
    feed(&mut inbox, &bytes, usize::MAX, |frame| {
        assert_eq!(answer(&frame, &mut shelf, &mut outbox), Answered::Yes);
    })
    .unwrap();
    assert_eq!((outbox.is_idle(), outbox.held()), (true, 2));
    assert!(!outbox.release(|engine| if engine == 3 { Ticket(9) } else { Ticket(99) }));
    assert!(outbox.release(|_| Ticket(10)));
    let sent = bytes_of(&mut outbox);
    let mut seen = Vec::new();
    feed(&mut Inbox::new(limits::BODY_MAX), &sent, 5, |frame| seen.push((frame.header.request, frame.header.status)))
        .unwrap();
    assert_eq!(seen, [(1, 0), (2, 0)]);
}

#[test]
fn held_replies_of_a_broken_engine_become_refusals() {
    let mut shelf = Shelf { hold: Some(Hold { engine: 1, ticket: Ticket(10) }), ..Shelf::default() };
    let mut asks: Outbox<Vec<u8>> = Outbox::default();
    ask::put(&mut asks, 1, 1, 0, &[(PutAsk::whole(index(1), b"a", crc32c(b"a")), b"a")]);
    let bytes = bytes_of(&mut asks);
    let mut outbox = Outbox::default();
    answer(&frame(&bytes), &mut shelf, &mut outbox);
    outbox.fail_held(0, Status::ReadOnly, "another engine");
    assert_eq!(outbox.held(), 1);
    outbox.fail_held(1, Status::ReadOnly, "fsync failed");
    assert_eq!((outbox.held(), outbox.is_idle()), (0, false));
    let sent = bytes_of(&mut outbox);
    let refused = ask::outcomes(&frame(&sent), Op::Put, 1).err().unwrap();
    assert_eq!(refused, ask::ReplyError::Refused { status: Status::ReadOnly, text: "fsync failed".into() });
}

#[test]
fn asks_without_sense_are_refused_with_the_reason() {
    let mut shelf = Shelf::default();
    let mut asks: Outbox<Vec<u8>> = Outbox::default();
    ask::get(&mut asks, 1, 2, 100, &[GetAsk::whole(index(0))]);
    ask::list(&mut asks, Op::List, 2, 1, 0, ListAsk { from: None, limit: 5 });
    asks.message(Header { op: 0x6F, ..Header::ask(Op::Ping, 3, 0) }, |_| ());
    ask::bare(&mut asks, Op::GridList, 4, 0);
    asks.message(Header::ask(Op::List, 5, 1), |_| ());
    let bytes = replies(&mut shelf, &bytes_of(&mut asks));
    let mut seen = Vec::new();
    feed(&mut Inbox::new(limits::BODY_MAX), &bytes, usize::MAX, |frame| {
        let text = String::from_utf8(frame.descriptors.to_vec()).unwrap();
        seen.push((frame.header.request, Status::from_code(frame.header.status), text));
    })
    .unwrap();
    let text = |status: Status| status.text().to_owned();
    assert_eq!(
        seen,
        [
            (1, Status::UnknownGrid, text(Status::UnknownGrid)),
            (2, Status::BadIndex, text(Status::BadIndex)),
            (3, Status::UnknownOp, text(Status::UnknownOp)),
            (4, Status::Unsupported, "not on this shelf".to_owned()),
            (5, Status::Malformed, text(Status::Malformed)),
        ]
    );
}

#[test]
fn lists_and_runs_page() {
    let mut shelf = Shelf::default();
    for at in [0, 1, 2, 10, 11, 1 << 40, limits::INDEX_MAX] {
        put_whole(&mut shelf, at, b"x");
    }
    let mut asks: Outbox<Vec<u8>> = Outbox::default();
    ask::list(&mut asks, Op::List, 1, 1, flags::DETAIL, ListAsk { from: Some(index(2)), limit: 3 });
    let bytes = replies(&mut shelf, &bytes_of(&mut asks));
    let listed: Vec<_> = ask::listed(&frame(&bytes)).unwrap().map(|block| block.unwrap().index.get()).collect();
    assert_eq!((listed, frame(&bytes).header.flags), (vec![2, 10, 11], flags::MORE));
    ask::list(&mut asks, Op::Runs, 1, 1, 0, ListAsk { from: Some(index(0)), limit: u32::MAX });
    let bytes = replies(&mut shelf, &bytes_of(&mut asks));
    let runs: Vec<_> =
        ask::runs(&frame(&bytes)).unwrap().map(|run| run.map(|run| (run.start.get(), run.count)).unwrap()).collect();
    assert_eq!(runs, [(0, 3), (10, 2), (1 << 40, 1), (limits::INDEX_MAX, 1)]);
    assert_eq!(frame(&bytes).header.flags, 0);
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let mut inbox = Inbox::new(limits::BODY_MAX);
    let head = Header { body: limits::BODY_MAX, ..Header::ask(Op::Put, 1, 1) }.encode();
    let space = inbox.space();
    space[..HEADER_BYTES].copy_from_slice(&head);
    inbox.received(HEADER_BYTES);
    assert!(inbox.next_frame().unwrap().is_none());
    inbox.space();
    assert!(inbox.memory() <= 8 << 10, "{} bytes for 32 received", inbox.memory());
    assert_eq!(Inbox::new(1).memory(), 0);
}

#[test]
fn appended_outboxes_send_everything_in_order() {
    let mut first: Outbox<Vec<u8>> = Outbox::default();
    let mut second: Outbox<Vec<u8>> = Outbox::default();
    ask::bare(&mut first, Op::Ping, 1, 0);
    let mut draft = second.draft(Header::ask(Op::Get, 2, 0), 0, 16);
    draft.copy(b"head");
    draft.lend(b"lent payload".to_vec(), 5..12);
    draft.copy(b"tail");
    draft.finish(0);
    let alone = bytes_of(&mut { second });
    let mut second: Outbox<Vec<u8>> = Outbox::default();
    second.draft(Header::ask(Op::Get, 2, 0), 0, 16).finish(0);
    let mut both = bytes_of(&mut first);
    ask::bare(&mut first, Op::Ping, 1, 0);
    assert!(alone.ends_with(b"headpayloadtail"));
    first.append(&mut second);
    let sent = bytes_of(&mut first);
    both.extend_from_slice(&{
        let mut third: Outbox<Vec<u8>> = Outbox::default();
        third.draft(Header::ask(Op::Get, 2, 0), 0, 16).finish(0);
        bytes_of(&mut third)
    });
    assert_eq!(sent, both);
    assert_eq!(first.waiting(), 0);
}

/// A stream of asks of all kinds, and the replies to it.
fn conversation() -> Vec<u8> {
    let mut asks: Outbox<Vec<u8>> = Outbox::default();
    let large: Vec<u8> = (0..9000u32).map(|i| (i % 251) as u8).collect();
    let puts = [
        (PutAsk::whole(index(3), &large, crc32c(&large)), &large[..]),
        (PutAsk::slice(index(3), 10, b"slice", crc32c(b"slice")), b"slice"),
        (PutAsk::whole(index(4), b"small", crc32c(b"small")), b"small"),
    ];
    ask::put(&mut asks, 1, 1, 0, &puts);
    ask::bare(&mut asks, Op::Ping, 2, 0);
    ask::get(&mut asks, 3, 1, 100_000, &[3, 4, 5].map(|at| GetAsk::whole(index(at))));
    ask::list(&mut asks, Op::List, 4, 1, flags::DETAIL, ListAsk { from: Some(index(0)), limit: 10 });
    ask::get(&mut asks, 5, 1, 100_000, &[]);
    bytes_of(&mut asks)
}

#[test]
fn the_stream_may_be_cut_at_every_byte() {
    let asks = conversation();
    let whole = replies(&mut Shelf::default(), &asks);
    for cut in 0..=asks.len() {
        let (mut inbox, mut outbox, mut shelf) = (Inbox::new(limits::BODY_MAX), Outbox::default(), Shelf::default());
        for part in [&asks[..cut], &asks[cut..]] {
            feed(&mut inbox, part, usize::MAX, |frame| {
                answer(&frame, &mut shelf, &mut outbox);
            })
            .unwrap();
        }
        assert_eq!(bytes_of(&mut outbox), whole, "cut at {cut}");
    }
    for step in [1, 2, 31, 32, 33, 4095, 4096, 4097] {
        let (mut inbox, mut outbox, mut shelf) = (Inbox::new(limits::BODY_MAX), Outbox::default(), Shelf::default());
        let mut sent = Vec::new();
        feed(&mut inbox, &asks, step, |frame| {
            answer(&frame, &mut shelf, &mut outbox);
            carry(&mut outbox, &mut sent, step);
        })
        .unwrap();
        assert_eq!(sent, whole, "in steps of {step}");
    }
}

#[test]
fn payloads_may_be_taken_as_they_come() {
    let mut shelf = Shelf::default();
    for at in 0..40 {
        put_whole(&mut shelf, at, &vec![at as u8; (at * 911 % 9000) as usize]);
    }
    let asks: Vec<_> = (0..40).map(|at| GetAsk::whole(index(at))).collect();
    let mut outbox: Outbox<Vec<u8>> = Outbox::default();
    ask::get(&mut outbox, 1, 1, limits::REPLY_WINDOW, &asks);
    ask::bare(&mut outbox, Op::Ping, 2, 0);
    let sent = replies(&mut shelf, &bytes_of(&mut outbox));
    for step in [1, 33, 4096, 5000, usize::MAX] {
        let mut inbox = Inbox::new(limits::BODY_MAX);
        let (mut outcomes, mut taken, mut bytes) = (Vec::new(), 0, &sent[..]);
        let mut more = |inbox: &mut Inbox| {
            let space = inbox.space();
            let count = space.len().min(bytes.len()).min(step);
            assert!(count > 0, "no bytes are left, or no room for them");
            space[..count].copy_from_slice(&bytes[..count]);
            inbox.received(count);
            bytes = &bytes[count..];
        };
        loop {
            let head = inbox.next_head().unwrap().map(|head| head.header);
            inbox.put_back();
            if let Some(header) = head {
                assert_eq!(header, head_of(&sent));
                break;
            }
            more(&mut inbox);
        }
        ask::outcomes_ahead(&inbox.next_head().unwrap().unwrap(), Op::Get, 40, &mut outcomes).unwrap();
        for (at, outcome) in outcomes.iter().enumerate() {
            loop {
                if let Some(payload) = inbox.next_piece(outcome.payload as usize) {
                    assert!(payload.iter().all(|byte| *byte == at as u8));
                    let status = if payload.is_empty() { Status::Absent } else { Status::Ok };
                    assert_eq!(ask::check(*outcome, payload).status, status);
                    taken += payload.len();
                    break;
                }
                more(&mut inbox);
            }
        }
        assert_eq!(taken, (0..40).map(|at| at * 911 % 9000).sum());
        // What comes after is found as ever.
        while inbox.next_frame().unwrap().is_none() {
            more(&mut inbox);
        }
    }
}

fn head_of(bytes: &[u8]) -> Header {
    Frame::parse_head(bytes, limits::BODY_MAX).unwrap().unwrap().0.header
}

#[test]
fn every_flipped_bit_of_a_head_is_seen() {
    let mut asks: Outbox<Vec<u8>> = Outbox::default();
    ask::get(&mut asks, 3, 1, 100, &[GetAsk::whole(index(3))]);
    let bytes = bytes_of(&mut asks);
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let seen = Frame::parse(&bad, limits::BODY_MAX);
        // A longer body is believed until the bytes are there; then the checksum tells.
        assert!(matches!(seen, Err(_) | Ok(None)), "bit {bit} of {}", bytes.len());
        if let Ok(None) = seen {
            bad.resize(HEADER_BYTES + limits::BODY_MAX as usize, 0);
            assert!(Frame::parse(&bad, limits::BODY_MAX).is_err(), "bit {bit}, padded");
        }
    }
}

/// One change of a byte stream.
#[derive(Debug, Clone)]
enum Mangle {
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, u8),
    /// Overwrites a header field and signs the frame again, so that what is behind the checksum is reached too.
    Field(usize, u32),
}

fn mangles() -> impl Strategy<Value = Vec<Mangle>> {
    let one = proptest::prop_oneof![
        (any::<usize>(), 1u8..).prop_map(|(at, mask)| Mangle::Flip(at, mask)),
        any::<usize>().prop_map(Mangle::Cut),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Mangle::Insert(at, byte)),
        (8usize..32, any::<u32>()).prop_map(|(at, value)| Mangle::Field(at, value)),
    ];
    proptest::collection::vec(one, 1..4)
}

proptest! {
    #![proptest_config(Config { cases: 4000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_stream_of_bytes_harms(changes in mangles(), step in 1usize..5000) {
        let mut bytes = conversation();
        for change in changes {
            let length = bytes.len().max(1);
            match change {
                Mangle::Flip(at, mask) => if let Some(byte) = bytes.get_mut(at % length) { *byte ^= mask },
                Mangle::Cut(at) => bytes.truncate(at % length),
                Mangle::Insert(at, byte) => bytes.insert((at % length).min(bytes.len()), byte),
                Mangle::Field(at, value) if bytes.len() > 200 => {
                    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                    let described = 32 + 3 * 32;
                    okapi_wire::frame::sign(&mut bytes[..described]);
                }
                Mangle::Field(..) => {}
            }
        }
        let (mut inbox, mut outbox, mut shelf) = (Inbox::new(1 << 20), Outbox::default(), Shelf::default());
        // An error ends the connection, as in life; nothing may panic, and memory stays within the limit.
        let _ = feed(&mut inbox, &bytes, step, |frame| {
            if !frame.header.is_reply() {
                answer(&frame, &mut shelf, &mut outbox);
            }
        });
        proptest::prop_assert!(inbox.memory() <= (1 << 20) + (64 << 10));
        for (_, block) in shelf.blocks.values() {
            proptest::prop_assert!(block.len() <= BLOCK as usize);
        }
        // Whatever was answered is a sequence of good frames.
        let sent = bytes_of(&mut outbox);
        feed(&mut Inbox::new(limits::BODY_MAX), &sent, usize::MAX, |frame| assert!(frame.header.is_reply())).unwrap();
    }
}
