//! A whole node: its stores, its threads, its sockets.

#![allow(dead_code, reason = "the client is shared with other tests")]

mod raw;
mod returning;
mod route;

use okapi_base::Durability;
use okapi_grid::ask;
use okapi_link::{Target, UnixLink};
use okapi_node::{LockError, Node, NodeSettings, StartError};
use okapi_wire::{Op, Status};
use raw::{Raw, SOON, connect, settings};
use std::os::unix::fs::PermissionsExt;

#[test]
fn blocks_come_back_over_every_link_and_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let mut settings = settings(&home);
    settings.tcp = vec!["127.0.0.1:0".parse().unwrap()];
    let node = Node::start(settings.clone()).unwrap();
    let [Target::Unix(socket), Target::Tcp { port, .. }] = node.targets() else { panic!("{:?}", node.targets()) };
    assert_eq!(*socket, home.path().join("data/okapi.sock"));
    assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_ne!(*port, 0);
    Raw::open(&node, "main").put_now(5, b"unix");
    Raw::over(node.in_process().unwrap(), "main").put_now(6, b"within");
    assert_eq!(Raw::open(&node, "main").get_now(6), b"within");
    // Nobody proves who asks over TCP, so there the node's grids are not to be seen without a token.
    let mut stranger = Raw { link: connect(&node.targets()[1]), ..Raw::open(&node, "main") };
    ask::bare(&mut stranger.outbox, Op::Ping, 1, 0);
    let status = stranger.next(|frame| Status::from_code(frame.header.status));
    assert_eq!(status, Status::NoHello);
    let facts = node.status();
    assert!(facts.iter().any(|(name, _)| name == "connections"), "{facts:?}");
    node.stop().unwrap();
    let node = Node::start(settings).unwrap();
    assert_eq!(Raw::open(&node, "main").get_now(5), b"unix");
    assert_eq!(Raw::open(&node, "main").get_now(6), b"within");
}

#[test]
fn the_second_start_is_told_who_was_first() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(settings(&home)).unwrap();
    let error = Node::start(settings(&home)).unwrap_err();
    assert!(matches!(error, StartError::Data(LockError::InUse { .. })), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("is in use by process {}, started ", std::process::id())), "{text}");
    assert!(text.contains(&format!("listening on unix:{}", home.path().join("data/okapi.sock").display())), "{text}");
    Raw::open(&node, "main").put_now(1, b"the first goes on");
    drop(node);
    Node::start(settings(&home)).unwrap().stop().unwrap();
}

#[test]
fn addresses_that_others_can_reach_are_refused() {
    let home = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "192.0.2.1:7070", "[::]:0", "[2001:db8::1]:7070"] {
        let settings = NodeSettings { tcp: vec![address.parse().unwrap()], ..settings(&home) };
        let error = Node::start(settings).unwrap_err();
        assert!(matches!(error, StartError::TcpBeyondLoopback { .. }), "{error:?}");
        assert!(error.to_string().contains("ssh -L"), "{error}");
    }
    assert!(!home.path().join("data").exists(), "nothing was begun");
}

#[test]
fn what_was_acknowledged_before_a_stop_is_there_after_it() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(settings(&home)).unwrap();
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let mut raw = Raw::open(&node, "main");
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for round in 0u32.. {
                    let index = writer << 32 | u64::from(round);
                    raw.put(round, index, &index.to_le_bytes());
                    let done = raw.next_or_end(|frame| {
                        if frame.header.op == Op::Goodbye as u8 {
                            assert_eq!(Status::from_code(frame.header.status), Status::Stopping);
                            return false;
                        }
                        let mut outcomes = ask::outcomes(frame, Op::Put, 1).expect("a reply");
                        outcomes.next().expect("an outcome").0.status.is_ok()
                    });
                    if done != Some(true) {
                        return acknowledged;
                    }
                    acknowledged.push(index);
                }
                acknowledged
            })
        })
        .collect();
    let mut watcher = Raw::open(&node, "main");
    while watcher.get_now(3 << 32 | 20).is_empty() {}
    node.stop().unwrap();
    let acknowledged: Vec<u64> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    assert!(acknowledged.len() > 20);
    let node = Node::start(settings(&home)).unwrap();
    let mut raw = Raw::open(&node, "main");
    for index in acknowledged {
        assert_eq!(raw.get_now(index), index.to_le_bytes(), "{index:x}");
    }
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

#[test]
fn silent_and_deaf_clients_cost_bounded_memory() {
    let home = tempfile::tempdir().unwrap();
    let budget = 96 << 20;
    let node = Node::start(NodeSettings { reply_budget: budget, ..settings(&home) }).unwrap();
    Raw::create(&node, "blocks", Durability::Interval);
    let mut raw = Raw::open(&node, "blocks");
    for index in 0..16 {
        raw.put_now(index, &vec![index as u8; 65_536]);
    }
    let before = resident();
    let idle: Vec<Raw> = (0..1000).map(|_| Raw::open(&node, "blocks")).collect();
    let with_idle = resident();
    // Both ends are in this process: 64 KiB would be the two busy ends of each.
    assert!(with_idle - before.min(with_idle) < 1000 * (64 << 10), "{} bytes", with_idle - before);
    let mut deaf: Vec<Raw> = (0..50).map(|_| Raw::open(&node, "blocks")).collect();
    for raw in &mut deaf {
        for request in 0..64 {
            raw.get(request, 0..16);
        }
        raw.send_some();
    }
    for _ in 0..50 {
        raw.get(1, 0..16);
        raw.next(|frame| assert_eq!(frame.payload.len(), 16 * 65_536));
    }
    // Unbounded it would be 3.2 GiB; a window for each would be 400 MiB.
    let grown = resident() - before;
    assert!(grown < budget + (64 << 20), "{grown} bytes");
    drop((idle, deaf));
    raw.put_now(1, b"and on it goes");
    node.stop().unwrap();
}

#[test]
fn a_dropped_node_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(settings(&home)).unwrap();
    let Target::Unix(socket) = node.targets()[0].clone() else { panic!("a unix socket comes first") };
    let raw = Raw::open(&node, "main");
    drop(node);
    assert!(UnixLink::connect(&socket, SOON).is_err());
    assert!(!socket.exists());
    drop(raw);
}
