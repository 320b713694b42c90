//! How a node ends: in good order when asked, at once when told twice, and never losing what it acknowledged.

use crate::house::House;
use crate::storm::connect;
use okapi_client::{Index, Settings};
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_stop_under_load_loses_nothing_acknowledged() {
    let house = House::new();
    for (round, signal) in [Signal::TERM, Signal::INT, Signal::TERM].into_iter().enumerate() {
        let node = house.up(&[]);
        let acknowledged = AtomicU64::new(0);
        let target = node.target("unix:").parse().unwrap();
        let settings = Settings { reconnect: None, ..Settings::default() };
        let grid = okapi_client::Client::connect(&target, settings).unwrap().grid("main", None).unwrap();
        let lasts: Vec<u64> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4_u64)
                .map(|writer| {
                    let (grid, acknowledged) = (&grid, &acknowledged);
                    scope.spawn(move || {
                        (0_u64..)
                            .take_while(|number| {
                                let index = Index::new((round as u64) << 40 | writer << 32 | number).unwrap();
                                let done = grid.put(index, &index.get().to_le_bytes());
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                                done.map_err(|error| assert!(error.fault().is_link(), "{error}")).is_ok()
                            })
                            .count() as u64
                    })
                })
                .collect();
            while acknowledged.load(Ordering::Relaxed) < 200 {
                std::thread::yield_now();
            }
            let (status, _, errors) = node.end(signal);
            assert_eq!((status.code(), errors.as_str()), (Some(0), "stopping; Ctrl-C again to end at once\n"));
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let node = house.up(&[]);
        let grid = connect(&node).grid("main", None).unwrap();
        for (writer, last) in lasts.into_iter().enumerate() {
            for number in 0..last {
                let index = (round as u64) << 40 | (writer as u64) << 32 | number;
                let block = grid.get(Index::new(index).unwrap()).unwrap();
                assert_eq!(block.expect("it was acknowledged").bytes, index.to_le_bytes());
            }
        }
        assert_eq!(node.end(Signal::TERM).0.code(), Some(0));
    }
}

/// Somebody sends half a frame and waits: a stop would give it some seconds. The second Ctrl-C does not.
#[test]
fn a_second_interrupt_ends_at_once() {
    let house = House::new();
    let mut node = house.up(&[]);
    let path = house.path("data/okapi.sock");
    house.ok("put -i1 --text kept -q");
    let _rude = std::os::unix::net::UnixStream::connect(path).map(|mut socket| {
        std::io::Write::write_all(&mut socket, &[0; 7]).unwrap();
        socket
    });
    house.ok("ping -q");
    node.signal(Signal::INT);
    // It says so once the first has been seen.
    assert_eq!(node.error_line(), "stopping; Ctrl-C again to end at once");
    node.signal(Signal::INT);
    let status = node.wait();
    assert!(status.code() == Some(130) || status.signal() == Some(2) || status.code() == Some(0), "{status:?}");
    let node = house.up(&[]);
    assert_eq!(house.ok("get #1"), "kept");
    drop(node);
}

#[test]
fn the_second_node_is_told_of_the_first_and_takes_nothing_from_it() {
    let house = House::new();
    let node = house.up(&[]);
    house.ok("put -i1 --text first -q");
    let second = house.run("up");
    let said =
        format!("error: data directory {} is in use by process {}, started ", house.path("data").display(), node.pid());
    assert!(second.code == 1 && second.err.starts_with(&said), "{second:?}");
    assert!(second.err.ends_with("okapi.sock; stop that node, or give this one another directory\n"), "{second:?}");
    let json: serde_json::Value = serde_json::from_str(&house.run("up --json").err).unwrap();
    assert_eq!(json["error"]["kind"], serde_json::json!("in-use"));
    // Another directory and the same socket: that is not taken away from the first either.
    let socket = house.path("data/okapi.sock");
    let third = house.run(&format!("up --data other --socket {}", socket.display()));
    assert!(third.code == 1 && third.err.contains(socket.to_str().unwrap()), "{third:?}");
    assert_eq!(house.ok("get #1"), "first");
    drop(node);
    // Killed, it leaves its socket's file and its lock's; neither is in anybody's way.
    let node = house.up(&[]);
    assert_eq!(house.ok("get #1"), "first");
    assert_eq!(node.end(Signal::TERM).0.code(), Some(0));
}
