//! Links that break, and nodes that misbehave.

use super::toy::{Carrier, Cuts, ToToy, World};
use super::{bytes, connect, cut, settings, world};
use okapi_client::{
    Client, ConnectError, Fault, Generation, GetAsk, Index, PutAsk, RecordError, Settings, Status, flags,
};
use okapi_grid::{Inbox, Outbox, ask};
use okapi_link::{Interest, Link, UnixLink};
use okapi_wire::{Header, Limits, Message, Op, Welcome};
use std::io::{IoSlice, Read, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn at(index: u64) -> Index {
    Index::new(index).unwrap()
}

#[test]
fn idempotent_asks_survive_cuts_at_every_point() {
    for seed in 0..60 {
        let world = world(512);
        let grid = match cut(&world, seed, 30_000, 12).grid("main", None) {
            Ok(grid) => grid,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let said = |error: &dyn std::fmt::Display| -> ! { panic!("seed {seed}: {error}") };
        let contents: Vec<Vec<u8>> = (0..100).map(|index| bytes(seed << 8 | index, 1 + index as usize * 5)).collect();
        let puts: Vec<(PutAsk, &[u8])> = (0..50)
            .map(|n| (PutAsk::whole(at(n as u64), &contents[n], okapi_base::crc32c(&contents[n])), &*contents[n]))
            .collect();
        let mut outcomes = 0;
        grid.put_many(&puts, 0, |n, outcome| {
            assert_eq!((n, outcome.status), (outcomes, Status::Ok), "seed {seed}");
            outcomes += 1;
        })
        .unwrap_or_else(|error| said(&error));
        for n in 50..100u64 {
            grid.put(at(n), &contents[n as usize]).unwrap_or_else(|error| said(&error));
        }
        let asks: Vec<GetAsk> = (0..100).map(|n| GetAsk::whole(at(n))).collect();
        let mut seen = 0;
        grid.get_many(&asks, |n, outcome, payload| {
            assert_eq!((n, outcome.status, payload), (seen, Status::Ok, &*contents[n]), "seed {seed}");
            seen += 1;
        })
        .unwrap_or_else(|error| said(&error));
        assert_eq!((outcomes, seen), (50, 100), "seed {seed}");
        grid.delete(at(7)).unwrap_or_else(|error| said(&error));
        let listed: Result<Vec<_>, _> = grid.list(at(0), true).collect();
        assert_eq!(listed.unwrap_or_else(|error| said(&error)).len(), 99, "seed {seed}");
    }
}

#[test]
fn what_must_not_be_done_twice_is_done_at_most_once() {
    let mut interrupted = 0;
    for seed in 0..60 {
        let world = world(512);
        let grid = cut(&world, seed, 2000, 6).grid("main", None).unwrap();
        let mut generation = Generation::ABSENT;
        for step in 0..40u64 {
            let content = bytes(step, 40);
            match grid.put_if(at(1), &content, generation) {
                Ok(placed) => generation = placed.generation,
                Err(error) => {
                    // A refusal as stale would mean that it was done twice.
                    assert!(matches!(error.fault(), Fault::Interrupted { op: Op::Put, .. }), "seed {seed}: {error}");
                    interrupted += 1;
                    let now = grid.get(at(1)).unwrap();
                    generation = now.map_or(Generation::ABSENT, |block| block.generation);
                    continue;
                }
            }
            assert_eq!(grid.get(at(1)).unwrap().unwrap().bytes, content, "seed {seed}");
        }
        let puts = world.lock().unwrap().puts.len();
        assert!(puts <= 40, "seed {seed}: {puts} puts");
    }
    assert!(interrupted > 0);
}

#[test]
fn a_record_is_written_whole_or_not_at_all() {
    let (mut whole, mut none) = (0, 0);
    for seed in 0..40 {
        let world = world(512);
        let content = bytes(seed, 20_000);
        let grid = cut(&world, seed, 40_000, 3).grid("main", None).unwrap();
        let written = grid.write_record("r", "", None, &mut &content[..], &mut |_| ());
        let found = grid.find("r").unwrap();
        match (&written, &found) {
            (Ok(_), Some(_)) => whole += 1,
            (Err(RecordError { fault: Fault::Interrupted { .. }, .. }), _) => {}
            (Err(error), None) if error.fault.is_link() => none += 1,
            _ => panic!("seed {seed}: {written:?}, {found:?}"),
        }
        if found.is_some() {
            let mut back = Vec::new();
            grid.read_record("r", None, &mut back, &mut |_| ()).unwrap();
            assert!(back == content, "seed {seed}");
        }
    }
    assert!(whole > 0 && none > 0, "{whole} {none}");
}

#[test]
fn reading_goes_on_after_a_cut_where_it_was() {
    let world = world(512);
    let content = bytes(5, 200_000);
    connect(&world, Carrier::Memory)
        .grid("main", None)
        .unwrap()
        .write_record("r", "", None, &mut &content[..], &mut |_| ())
        .unwrap();
    for seed in 0..40 {
        let grid = cut(&world, seed, 150_000, 5).grid("main", None).unwrap();
        let mut back = Vec::new();
        let read = grid.read_record("r", None, &mut back, &mut |_| ());
        assert!(read.is_ok() && back == content, "seed {seed}: {read:?}");
    }
}

#[test]
fn a_record_replaced_while_it_is_read_is_not_mixed() {
    let world = world(512);
    let dial = ToToy { cuts: Some(Cuts::new(1, 1, 0)), ..ToToy::new(&world, Carrier::Memory) };
    let grid = Client::through(Box::new(dial), settings()).unwrap().grid("main", None).unwrap();
    grid.write_record("r", "", None, &mut &bytes(1, 2 << 20)[..], &mut |_| ()).unwrap();
    let mut reader = grid.read("r").unwrap();
    reader.read_exact(&mut [0; 1000]).unwrap();
    grid.write_record("r", "", None, &mut &bytes(2, 2 << 20)[..], &mut |_| ()).unwrap();
    let mut rest = Vec::new();
    assert!(reader.read_to_end(&mut rest).is_err());
    assert!(rest.len() < (2 << 20) - 1000 && bytes(1, 2 << 20)[1000..].starts_with(&rest));
}

#[test]
fn a_wrong_checksum_is_an_error_and_not_bytes() {
    let world = world(512);
    let grid = connect(&world, Carrier::Unix).grid("main", None).unwrap();
    grid.put(at(3), b"right").unwrap();
    grid.write_record("r", "", None, &mut &b"abc"[..], &mut |_| ()).unwrap();
    world.lock().unwrap().wrong_crc = true;
    assert_eq!(grid.get(at(3)).unwrap_err().status(), Some(Status::BadChecksum));
    let mut into = [7; 5];
    assert!(grid.get_into(at(3), okapi_client::Slice::WHOLE, &mut into).is_err());
    assert_eq!(into, [7; 5]);
    grid.get_many(&[GetAsk::whole(at(3))], |_, outcome, payload| {
        assert_eq!((outcome.status, payload.len()), (Status::BadChecksum, 0));
    })
    .unwrap();
    let mut back = Vec::new();
    assert_eq!(grid.read_record("r", None, &mut back, &mut |_| ()).unwrap_err().status(), Some(Status::BadChecksum));
    assert_eq!(back, []);
}

#[test]
fn silence_is_a_timeout_with_a_hint() {
    let world = world(512);
    let hasty = Settings { answer_timeout: Duration::from_millis(30), ..settings() };
    let grid = Client::through(Box::new(ToToy::new(&world, Carrier::Unix)), hasty).unwrap().grid("main", None).unwrap();
    world.lock().unwrap().silent = true;
    let error = grid.get(at(1)).unwrap_err();
    assert!(matches!(error.fault(), Fault::TimedOut { changes: false, .. }), "{error}");
    let error = grid.put_if(at(1), b"x", Generation::ABSENT).unwrap_err();
    assert!(matches!(error.fault(), Fault::TimedOut { changes: true, .. }), "{error}");
    assert!(error.to_string().contains("may or may not have happened"), "{error}");
    world.lock().unwrap().silent = false;
    // The late answer, if it came, must not be taken for that of another ask.
    grid.put(at(1), b"y").unwrap();
    assert_eq!(grid.get(at(1)).unwrap().unwrap().bytes, b"y");
}

#[test]
fn a_goodbye_is_passed_on() {
    let world = world(512);
    let patient = Settings { reconnect: None, ..settings() };
    let grid =
        Client::through(Box::new(ToToy::new(&world, Carrier::Unix)), patient).unwrap().grid("main", None).unwrap();
    world.lock().unwrap().goodbye = Some("the node is\u{1b}[31m stopping for lunch".to_owned());
    let error = grid.put_if(at(1), b"x", Generation::ABSENT).unwrap_err().to_string();
    assert!(error.contains("stopping for lunch") && !error.contains('\u{1b}'), "{error}");
    assert!(error.contains("may or may not have happened"), "{error}");
}

#[test]
fn a_node_that_comes_back_is_found_again() {
    let world = world(512);
    let dial = ToToy::new(&world, Carrier::Memory);
    let down = dial.down.clone();
    let grid = Client::through(Box::new(dial), settings()).unwrap().grid("main", None).unwrap();
    grid.put(at(1), b"x").unwrap();
    down.store(5, Ordering::SeqCst);
    world.lock().unwrap().goodbye = Some("stopping".to_owned());
    assert_eq!(grid.get(at(1)).unwrap().unwrap().bytes, b"x");
    assert_eq!(down.load(Ordering::SeqCst), 0);
    // The first connection of all is tried once.
    down.store(5, Ordering::SeqCst);
    let dial = ToToy { down: down.clone(), ..ToToy::new(&world, Carrier::Memory) };
    assert!(matches!(Client::through(Box::new(dial), settings()), Err(ConnectError::Link(_))));
    assert_eq!(down.load(Ordering::SeqCst), 4);
}

#[test]
fn relaxed_puts_lost_with_their_link_fail_the_next_sync() {
    let world = world(512);
    let grid = connect(&world, Carrier::Unix).grid("main", None).unwrap();
    let put = (PutAsk::whole(at(1), b"x", okapi_base::crc32c(b"x")), &b"x"[..]);
    let relaxed = || grid.put_many(&[put], flags::RELAXED, |_, outcome| assert!(outcome.status.is_ok())).unwrap();
    relaxed();
    grid.sync().unwrap();
    // The link breaks after the sync: nothing is lost.
    world.lock().unwrap().goodbye = Some("stopping".to_owned());
    grid.get(at(1)).unwrap();
    grid.sync().unwrap();
    relaxed();
    world.lock().unwrap().goodbye = Some("stopping".to_owned());
    grid.get(at(1)).unwrap();
    let error = grid.sync().unwrap_err();
    assert!(matches!(error.fault, Fault::Interrupted { op: Op::Sync, .. }), "{error}");
    relaxed();
    grid.sync().unwrap();
}

/// Does `answer` with each ask of one connection, after the welcome.
fn rogue(mut answer: impl FnMut(&Header, &mut Outbox<Vec<u8>>) -> Vec<u8> + Send + 'static) -> UnixLink {
    let (ours, mut theirs) = UnixLink::pair().unwrap();
    std::thread::spawn(move || {
        let (mut inbox, mut outbox) = (Inbox::new(1 << 24), Outbox::<Vec<u8>>::default());
        loop {
            while let Ok(Some(frame)) = inbox.next_frame() {
                let raw = if frame.header.operation() == Some(Op::Hello) {
                    let welcome = Welcome { version: 1, owner: true, limits: Limits::default(), node: [0; 16] };
                    let header = okapi_grid::outbox::reply_header(&frame.header, Status::Ok);
                    outbox.message(header, |body| welcome.encode(&mut okapi_wire::BodyWriter::new(body)));
                    Vec::new()
                } else {
                    answer(&frame.header, &mut outbox)
                };
                let mut parts: [&[u8]; 8] = [&[]; 8];
                let count = outbox.fill(&mut parts);
                let mut all: Vec<u8> = parts[..count].concat();
                let sent = all.len();
                all.extend(raw);
                outbox.sent(sent);
                if !all.is_empty() && theirs.send(&[IoSlice::new(&all)]).is_err() {
                    return;
                }
            }
            match theirs.receive(inbox.space()) {
                Ok(0) => return,
                Ok(count) => inbox.received(count),
                Err(_) => {
                    if theirs.about_to_wait(Interest::Receive) {
                        theirs.wait(Interest::Receive, None).unwrap();
                    }
                }
            }
        }
    });
    ours
}

#[test]
fn a_node_that_answers_garbage_is_an_error() {
    type Answer = fn(&Header, &mut Outbox<Vec<u8>>) -> Vec<u8>;
    let answers: [(&str, Answer); 6] = [
        ("noise", |_, _| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("another request", |ask, outbox| {
            let ask = Header { request: ask.request + 7, ..*ask };
            outbox.refuse(&ask, Status::Ok, "");
            Vec::new()
        }),
        ("another operation", |ask, outbox| {
            let ask = Header { op: Op::GridStat as u8, ..*ask };
            outbox.refuse(&ask, Status::Ok, "");
            Vec::new()
        }),
        ("no message", |ask, outbox| {
            outbox.refuse(ask, Status::Ok, "x");
            Vec::new()
        }),
        ("an ask", |_, outbox| {
            ask::bare(outbox, Op::Ping, 1, 0);
            Vec::new()
        }),
        ("too long a frame", |ask, _| {
            let header = Header { op: ask.op | Op::REPLY, body: u32::MAX, ..*ask };
            header.encode().to_vec()
        }),
    ];
    for (what, answer) in answers {
        let client = Client::over(Box::new(rogue(answer)), settings()).unwrap();
        let error = client.status().unwrap_err();
        assert!(matches!(error.fault, Fault::Nonsense { .. }), "{what}: {error}");
        // The connection is not used again.
        assert!(client.status().is_err(), "{what}");
    }
}

#[test]
fn random_bytes_for_answers_never_panic_or_hang() {
    for seed in 0..200u64 {
        let answer = move |ask: &Header, _: &mut Outbox<Vec<u8>>| {
            // A frame that is whole and signed, with nonsense in it.
            let body = bytes(seed, (seed as usize * 13) % 200);
            let count = (seed % 5) as u16 * u16::from(seed % 2 == 0);
            let header = Header { op: ask.op | Op::REPLY, count, body: body.len() as u32, ..*ask };
            let mut frame = [header.encode().to_vec(), body].concat();
            let described = header.described().min(frame.len() - 32);
            okapi_wire::frame::sign(&mut frame[..32 + described]);
            frame
        };
        let hasty = Settings { answer_timeout: Duration::from_millis(500), ..settings() };
        let client = Client::over(Box::new(rogue(answer)), hasty).unwrap();
        // Some bytes may happen to be an answer; anything but a panic will do.
        let _ = (client.grids(), client.grid("main", None), client.verify());
    }
}

#[test]
fn streams_have_a_limit() {
    let world: Arc<Mutex<World>> = world(512);
    let few = Settings { streams: 2, ..settings() };
    let grid = Client::through(Box::new(ToToy::new(&world, Carrier::Memory)), few).unwrap().grid("main", None).unwrap();
    let mut one = grid.write("one", None).unwrap();
    let two = grid.pipeline().unwrap();
    let refused = grid.write("three", None).unwrap_err();
    assert!(matches!(refused.fault, Fault::TooManyStreams { most: 2 }), "{refused}");
    drop(two);
    one.write_all(b"x").unwrap();
    grid.write("three", None).unwrap();
    one.finish("").unwrap();
}
