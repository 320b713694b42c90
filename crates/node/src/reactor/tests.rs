use crate::node::Serving;
use crate::settings::NodeSettings;
use crate::toy::{Client, ON_DISK, SLOW, SOON, Stage, Toy, settings};
use okapi_grid::ask;
use okapi_link::{Interest, Kind, UnixLink};
use okapi_wire::{HEADER_BYTES, Header, ListAsk, Op, Outcome, Status, flags, frame::sign};
use std::io::IoSlice;
use std::time::Duration;

fn outcome(reply: &crate::toy::Got, number: usize) -> Outcome {
    let bytes = &reply.descriptors[number * Outcome::BYTES..][..Outcome::BYTES];
    Outcome::decode(bytes.try_into().expect("32 bytes"))
}

#[test]
fn pipelined_asks_are_all_answered() {
    let stage = Stage::set(&settings());
    for mut client in [stage.client(), in_process(&stage.serving)] {
        let block: Vec<u8> = (0..50_000u32).map(|at| (at % 251) as u8).collect();
        for number in 0..200 {
            client.put(number, u64::from(number), &block[..number as usize * 250]);
        }
        for number in 0..200 {
            assert_eq!(client.next().expect("a reply").header.request, number);
        }
        for number in 0..200 {
            client.get(number, &[u64::from(number), 5000]);
        }
        client.ping(999);
        for number in 0..200 {
            let reply = client.next().expect("a reply");
            assert_eq!(reply.header.request, number);
            assert_eq!(outcome(&reply, 1).status, Status::Absent);
            assert_eq!(reply.payload, &block[..number as usize * 250]);
        }
        assert_eq!(client.next().expect("a pong").header.request, 999);
    }
    let Stage { serving, toy, .. } = stage;
    toy.wait_until(|toy| toy.visitors() == 0);
    assert!(serving.stop());
}

fn in_process(serving: &Serving<Toy>) -> Client {
    let link = serving.in_process().expect("a link");
    assert_eq!(link.facts().kind, Kind::Memory);
    let mut client = Client::new(link);
    client.hello();
    client
}

#[test]
fn disk_workers_answer_what_would_have_to_wait() {
    let stage = Stage::set(&settings());
    stage.toy.put(ON_DISK + 1, vec![5; 60_000]);
    stage.toy.put(1, vec![6; 10]);
    stage.toy.stick_disk(true);
    let mut client = stage.client();
    client.get(1, &[1, ON_DISK + 1]);
    client.get(2, &[1]);
    ask::list(&mut client.outbox, Op::List, 3, 1, flags::DETAIL, ListAsk { from: okapi_base::Index::new(0), limit: 9 });
    let early = [client.next().expect("a reply").header.request, client.next().expect("a reply").header.request];
    assert!(early.contains(&2) && early.contains(&3), "the disk holds nobody else up: {early:?}");
    stage.toy.stick_disk(false);
    let late = client.next().expect("a reply");
    assert_eq!(late.header.request, 1);
    assert_eq!(late.payload.len(), 60_010);
    assert!(stage.serving.stop());
}

#[test]
fn a_full_queue_of_the_disk_leaves_frames_unread_and_loses_none() {
    let stage = Stage::set(&NodeSettings { disk_threads: 1, ..settings() });
    stage.toy.put(ON_DISK, vec![5; 10]);
    stage.toy.stick_disk(true);
    // A window has room for 128 frames of one block, so 12 connections have more than the queue holds.
    let mut clients: Vec<_> = (0..12).map(|_| stage.client()).collect();
    for client in &mut clients {
        for number in 0..400 {
            client.get(number, &[ON_DISK]);
        }
        client.send_all();
    }
    // Who was refused is told only when half of it is done, so one place may stay free.
    stage.toy.wait_until(|_| stage.serving.shared.workers.waiting() >= 1023);
    stage.toy.stick_disk(false);
    for client in &mut clients {
        let mut seen: Vec<u32> = (0..400).map(|_| client.next().expect("a reply").header.request).collect();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..400));
    }
    assert!(stage.serving.stop());
}

#[test]
fn durable_puts_are_answered_once_they_are_durable() {
    let stage = Stage::set(&settings());
    let mut client = stage.client();
    client.put(1, SLOW, b"slow");
    client.put(2, 1, b"quick");
    assert_eq!(client.next().expect("a reply").header.request, 2);
    stage.toy.make_durable(&stage.serving);
    let reply = client.next().expect("a reply");
    assert_eq!((reply.header.request, reply.status()), (1, Status::Ok));
    client.put(3, SLOW, b"never");
    client.ping(4);
    assert_eq!(client.next().expect("a reply").header.request, 4);
    stage.toy.break_down(&stage.serving);
    let reply = client.next().expect("a reply");
    assert_eq!((reply.header.request, reply.status()), (3, Status::ReadOnly));
    assert!(reply.text().contains("the test broke it"), "{}", reply.text());
    assert!(stage.serving.stop());
}

#[test]
fn no_more_frames_are_taken_than_may_be_on_their_way() {
    let stage = Stage::set(&settings());
    let mut client = stage.client();
    for number in 0..1000 {
        client.put(number, SLOW, b"x");
    }
    client.send_all();
    let most = u64::from(okapi_base::limits::FRAMES_IN_FLIGHT_MAX);
    stage.toy.wait_until(|toy| toy.puts() == most);
    for _ in 0..100 {
        std::thread::yield_now();
        assert_eq!(stage.toy.puts(), most);
    }
    for number in 0..1000 {
        while stage.toy.puts() <= number {
            stage.toy.make_durable(&stage.serving);
        }
        stage.toy.make_durable(&stage.serving);
        assert_eq!(u64::from(client.next().expect("a reply").header.request), number);
    }
    assert!(stage.serving.stop());
}

#[test]
fn visitors_speak_for_themselves() {
    let stage = Stage::set(&settings());
    for mut client in [stage.client(), in_process(&stage.serving)] {
        // 300 asks of 50,000 bytes are more than the window, so they come only as they are read.
        client.outbox.message(Header { credit: 300, ..Header::ask(Op::Follow, 1, 0) }, |_| ());
        assert!(client.next().expect("a reply").status().is_ok());
        for number in (1..=300).rev() {
            let said = client.next().expect("an ask");
            assert_eq!((said.header.op, said.header.request), (Op::Mark as u8, number));
        }
        ask::bare(&mut client.outbox, Op::Verify, 7, 0);
        client.send_all();
        stage.toy.wake_all();
        let reply = client.next().expect("the answer that came later");
        assert_eq!((reply.header.request, reply.text().as_str()), (7, "later"));
    }
    assert!(stage.serving.stop());
}

#[test]
fn descriptors_go_with_their_reply() {
    let stage = Stage::set(&settings());
    stage.toy.put(1, vec![1; 60_000]);
    let mut client = stage.client();
    client.link.expect_fds(true);
    let mut fds = Vec::new();
    for number in 0..20 {
        client.get(number, &[1; 4]);
        ask::bare(&mut client.outbox, Op::Map, 100 + number, 0);
        client.ping(200 + number);
    }
    for number in 0..20 {
        assert_eq!(client.next().expect("a reply").header.request, number);
        let map = client.next().expect("a reply");
        assert_eq!((map.header.request, map.text().as_str()), (100 + number, "map"));
        fds.extend(client.link.take_fds());
        assert!(fds.len() >= 2, "both are there when the reply is");
        let (reader, writer) = (fds.remove(0), fds.remove(0));
        assert_eq!(rustix::io::write(&writer, b"pipe").expect("a pipe"), 4);
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]).expect("a pipe"), 4);
        assert_eq!(client.next().expect("a reply").header.request, 200 + number);
    }
    assert!(stage.serving.stop());
}

/// Every kind of bytes that are no frame, with a word of what the node says to it.
fn malformed() -> Vec<(&'static str, Vec<u8>, Status)> {
    let frame = |change: &dyn Fn(&mut Vec<u8>), signed: bool| {
        let mut bytes = Header { body: 32, ..Header::ask(Op::Ping, 1, 0) }.encode().to_vec();
        bytes.extend_from_slice(&[1; 32]);
        change(&mut bytes);
        if signed {
            sign(&mut bytes);
        }
        bytes
    };
    let four = |bytes: &mut Vec<u8>, at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    vec![
        ("OKPI", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Status::Malformed),
        ("OKPI", b"x".to_vec(), Status::Malformed),
        ("version 9", frame(&|bytes| bytes[8] = 9, true), Status::Malformed),
        ("at most", frame(&|bytes| four(bytes, 24, (16 << 20) + 1), true), Status::Malformed),
        ("at most", frame(&|bytes| four(bytes, 24, u32::MAX), true), Status::Malformed),
        (
            "1025 descriptors",
            frame(&|bytes| bytes[12..14].copy_from_slice(&1025u16.to_le_bytes()), true),
            Status::Malformed,
        ),
        ("announces 3", frame(&|bytes| (bytes[9], bytes[12]) = (Op::Get as u8, 3), true), Status::Malformed),
        ("checksum", frame(&|bytes| bytes[40] ^= 1, false), Status::Malformed),
        ("nobody asked", frame(&|bytes| (bytes[9], bytes[16]) = (0x82, 0), true), Status::Malformed),
    ]
}

#[test]
fn malformed_frames_end_their_own_connection_with_a_reason() {
    let stage = Stage::set(&settings());
    let mut bystander = stage.client();
    for (word, bytes, status) in malformed() {
        let mut client = stage.client();
        client.ping(1);
        client.send_all();
        client.link.send(&[IoSlice::new(&bytes)]).expect("room for a frame");
        assert_eq!(client.next().expect("what came before is answered").header.request, 1);
        let goodbye = client.next().expect("a goodbye");
        assert_eq!((goodbye.header.op, goodbye.status()), (Op::Goodbye as u8, status));
        assert!(goodbye.text().contains(word), "{word}: {}", goodbye.text());
        assert!(client.next().is_none(), "{word}: the connection ends");
        bystander.ping(5);
        assert_eq!(bystander.next().expect("others go on").header.request, 5);
    }
    assert!(stage.serving.stop());
}

#[test]
fn one_too_many_is_told_so() {
    let stage = Stage::set(&NodeSettings { connections_max: 2, ..settings() });
    let (one, _two) = (stage.client(), stage.client());
    let mut third = Client::new(Box::new(UnixLink::connect(&stage.socket, SOON).expect("a connection")));
    let goodbye = third.next().expect("a goodbye");
    assert_eq!((goodbye.header.op, goodbye.status()), (Op::Goodbye as u8, Status::Busy));
    assert!(third.next().is_none());
    assert!(stage.serving.in_process().is_err());
    drop(one);
    stage.toy.wait_until(|toy| toy.visitors() == 1);
    stage.client();
    assert!(stage.serving.stop());
}

#[test]
fn who_dawdles_is_sent_away() {
    let stage = Stage::set(&NodeSettings { patience: Duration::from_millis(1), ..settings() });
    let mut silent = Client::new(Box::new(UnixLink::connect(&stage.socket, SOON).expect("a connection")));
    let mut slow = stage.client();
    slow.ping(1);
    slow.next().expect("a pong");
    let bytes = Header { body: 1000, ..Header::ask(Op::Ping, 1, 0) }.encode();
    for length in [1, HEADER_BYTES] {
        let mut slow = stage.client();
        slow.link.send(&[IoSlice::new(&bytes[..length])]).expect("room");
        let goodbye = slow.next().expect("a goodbye");
        assert!(goodbye.text().contains("part of a frame"), "{}", goodbye.text());
        assert!(slow.next().is_none());
    }
    let goodbye = silent.next().expect("a goodbye");
    assert_eq!(goodbye.status(), Status::NoHello);
    slow.ping(2);
    assert_eq!(slow.next().expect("who is only quiet stays").header.request, 2);
    assert!(stage.serving.stop());
}

#[test]
fn those_who_never_read_leave_memory_for_others() {
    let budget = 96 << 20;
    let stage = Stage::set(&NodeSettings { reply_budget: budget, ..settings() });
    let (mut deaf, indexes) = deaf_clients(&stage);
    let mut reader = stage.client();
    for round in 0..20 {
        reader.get(round, &indexes);
        assert_eq!(reader.next().expect("a reply").payload.len(), 16 * 65_536);
        assert!(stage.serving.shared.reply_budget.used() <= budget);
    }
    // Once they read, they get everything.
    for client in &mut deaf[..5] {
        for number in 0..20 {
            let reply = client.next().expect("a reply");
            assert_eq!((reply.header.request, reply.payload.len()), (number, 16 * 65_536));
        }
    }
    drop((deaf, reader));
    stage.toy.wait_until(|toy| toy.visitors() == 0);
    assert_eq!(stage.serving.shared.reply_budget.used(), 0);
    assert!(stage.serving.stop());
}

/// 50 clients that never read and each ask 20 times for 1 MiB, and for what.
fn deaf_clients(stage: &Stage) -> (Vec<Client>, Vec<u64>) {
    for index in 0..16 {
        stage.toy.put(index, vec![index as u8; 65_536]);
    }
    let indexes: Vec<u64> = (0..16).collect();
    let mut deaf: Vec<Client> = (0..50).map(|_| stage.client()).collect();
    for client in &mut deaf {
        for number in 0..20 {
            client.get(number, &indexes);
        }
        while client.send_some().is_ok_and(|_| !client.outbox.is_idle()) {}
    }
    (deaf, indexes)
}

#[test]
fn those_who_never_read_are_cut_off_when_others_wait_for_the_memory() {
    let budget = crate::settings::BUDGET_MIN;
    let stage = Stage::set(&NodeSettings { reply_budget: budget, patience: Duration::from_millis(500), ..settings() });
    let (mut deaf, indexes) = deaf_clients(&stage);
    let mut reader = stage.client();
    reader.get(1, &indexes);
    assert_eq!(reader.next().expect("a reply, late").payload.len(), 16 * 65_536);
    // What was on its way to them still comes; then it is over.
    let cut_off = deaf.iter_mut().filter_map(|client| (0..20).map(|_| client.next()).find(Option::is_none)).count();
    assert!(cut_off > 0);
    assert!(stage.serving.stop());
}

#[test]
fn large_frames_wait_for_memory_and_all_come_through() {
    let budget = crate::settings::BUDGET_MIN;
    let stage = Stage::set(&NodeSettings { reply_budget: budget, receive_budget: budget, ..settings() });
    let body = vec![9; 12 << 20];
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (mut client, body) = (stage.client(), body.clone());
            std::thread::spawn(move || {
                client.outbox.message(Header::ask(Op::Verify, number, 0), |out| out.extend_from_slice(&body));
                client.ping(100);
                client.send_all();
                loop {
                    if client.next().expect("a pong").header.request == 100 {
                        return;
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("all are served");
    }
    stage.toy.wait_until(|toy| toy.visitors() == 0);
    assert_eq!(stage.serving.shared.receive_budget.used(), 0);
    assert!(stage.serving.stop());
}

#[test]
fn stopping_answers_what_was_read_and_says_goodbye() {
    let stage = Stage::set(&settings());
    let mut clients = [stage.client(), in_process(&stage.serving)];
    for client in &mut clients {
        client.ping(1);
        assert_eq!(client.next().expect("a pong").header.request, 1);
        client.put(2, SLOW, b"on its way");
        client.send_all();
    }
    stage.toy.wait_until(|toy| toy.puts() == 2);
    let Stage { toy, serving, socket, .. } = stage;
    let mailboxes = serving.mailboxes.clone();
    let stopping = std::thread::spawn(move || serving.stop());
    // The acknowledgement still comes once the disk has it, and only then the goodbye.
    let mut moved = false;
    for client in &mut clients {
        assert!(!client.link.wait(Interest::Receive, Some(Duration::ZERO)).expect("waiting") || moved);
        toy.finish(&mailboxes);
        moved = true;
        let reply = client.next().expect("a reply");
        assert_eq!((reply.header.request, reply.status()), (2, Status::Ok));
        let goodbye = client.next().expect("a goodbye");
        assert_eq!((goodbye.header.op, goodbye.status()), (Op::Goodbye as u8, Status::Stopping));
        assert!(client.next().is_none());
    }
    assert!(stopping.join().expect("it stops"));
    assert!(UnixLink::connect(&socket, SOON).is_err(), "nobody listens any more");
}

#[test]
fn who_never_reads_does_not_keep_a_node_from_stopping() {
    let stage = Stage::set(&NodeSettings { stop_patience: Duration::from_millis(50), ..settings() });
    stage.toy.put(1, vec![1; 65_536]);
    let mut deaf = stage.client();
    deaf.get(1, &[1; 100]);
    deaf.put(2, SLOW, b"never durable");
    deaf.send_all();
    stage.toy.wait_until(|toy| toy.puts() == 1);
    assert!(stage.serving.stop());
}

#[test]
fn random_bytes_harm_nobody() {
    let stage = Stage::set(&settings());
    let mut bystander = stage.client();
    let seed = 0x0AC1_F00D_u64;
    let mut state = seed;
    let mut dice = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..400u32 {
        let mut client = stage.client();
        let mut bytes = Vec::new();
        for _ in 0..dice() % 8 {
            let mut frame = Header {
                op: (dice() % 0x60) as u8 | if dice() % 9 == 0 { 0x80 } else { 0 },
                flags: dice() as u16,
                count: (dice() % 5) as u16,
                body: (dice() % 300) as u32,
                credit: dice() as u32,
                ..Header::ask(Op::Get, dice() as u32, (dice() % 3) as u32)
            };
            // Half of them are whole and signed, so that what comes after the parser meets them too.
            if dice() % 2 == 0 {
                frame.body = frame.body.max(frame.described().min(4096) as u32);
            }
            let mut frame_bytes = frame.encode().to_vec();
            frame_bytes.extend((0..frame.body).map(|_| dice() as u8));
            let signed = (HEADER_BYTES + frame.described()).min(frame_bytes.len());
            sign(&mut frame_bytes[..signed]);
            if dice() % 4 == 0 {
                let at = dice() as usize % frame_bytes.len();
                frame_bytes[at] ^= 1 << (dice() % 8);
            }
            bytes.extend(frame_bytes);
        }
        let cut = dice() as usize % (bytes.len() + 1);
        let _ = client.link.send(&[IoSlice::new(&bytes[..cut])]);
        if dice() % 2 == 0 {
            let _ = client.link.send(&[IoSlice::new(&bytes[cut..])]);
        }
        drop(client);
        if round % 16 == 0 {
            bystander.ping(round);
            let pong = bystander.next().unwrap_or_else(|| panic!("seed {seed:#x}, round {round}"));
            assert_eq!(pong.header.request, round, "seed {seed:#x}");
        }
    }
    drop(bystander);
    stage.toy.wait_until(|toy| toy.visitors() == 0);
    assert!(stage.serving.stop());
}
