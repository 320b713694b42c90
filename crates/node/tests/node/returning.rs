//! A node whose machine burnt down: while its data comes back it is read, and written once all is there.

use crate::raw::{Raw, SOON, connect, settings};
use crate::route::{block, founding, group};
use okapi_base::{BlockSize, Durability};
use okapi_client::{Client, Settings};
use okapi_grid::ask;
use okapi_link::Target;
use okapi_node::group::{RestoreVia, begin_restore};
use okapi_node::{Node, NodeSettings, Readable};
use okapi_wire::message::{GridCreate, GroupLeave, GroupState};
use okapi_wire::{Op, Status};
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::time::Instant;

fn film() -> Vec<u8> {
    (0..200).flat_map(block).collect()
}

/// The status and words that a whole frame is refused with.
fn refused(raw: &mut Raw) -> (Status, String) {
    raw.next(|frame| (Status::from_code(frame.header.status), String::from_utf8_lossy(frame.descriptors).into_owned()))
}

/// Nothing can be read yet, and whoever asks is told so; unless this was a slow machine, and it can.
fn ask_too_early(socket: &Target) {
    let mut raw = Raw::bare(connect(socket));
    raw.hello();
    raw.next(|frame| ask::accept(frame, Op::Hello).unwrap());
    if let Err(error) = raw.open_grid("photos") {
        let text = error.to_string();
        assert!(text.contains("this node's data is still coming back; nothing of it can be read yet"), "{text}");
    }
}

/// All is read as it was, and nothing is changed.
fn look_at(socket: &Target) {
    let mut raw = Raw::over(connect(socket), "photos");
    for number in (0..20).filter(|number| *number != 5) {
        assert_eq!(raw.get_now(number), block(number));
    }
    assert_eq!(raw.get_now(5), b"");
    let said = "still coming back; it can be read, and written once the restore is done";
    raw.put(9, 1, b"x");
    let (status, text) = refused(&mut raw);
    assert!(status == Status::ReadOnly && text.contains(said), "{text}");
    ask::message(&mut raw.outbox, Op::GridCreate, 10, 0, &wanted_grid());
    let (status, text) = refused(&mut raw);
    assert!(status == Status::ReadOnly && text.contains(said), "{text}");
    ask::message(&mut raw.outbox, Op::GroupLeave, 11, 0, &GroupLeave { now: true });
    let (status, text) = refused(&mut raw);
    assert!(status == Status::ReadOnly && text.contains("wait until the restore is done"), "{text}");
    let grid = Client::connect(socket, Settings::default()).unwrap().grid("main", None).unwrap();
    let mut back = Vec::new();
    grid.read("film").unwrap().read_to_end(&mut back).unwrap();
    assert!(back == film());
    let mut writer = grid.write("other", None).unwrap();
    let written = writer.write_all(&film()).map_err(|error| error.to_string());
    let error = written.and_then(|()| writer.finish("").map(drop).map_err(|error| error.to_string())).unwrap_err();
    assert!(error.contains(said), "{error}");
}

fn wanted_grid() -> GridCreate {
    let (name, engine) = ("other".to_owned(), String::new());
    GridCreate { name, block_size: BlockSize::DEFAULT, durability: Durability::Always, public: false, engine }
}

#[test]
fn what_comes_back_is_read_before_it_is_back() {
    let [barn, attic, shed] = group(["barn", "attic", "shed"]);
    Raw::create(&barn.node, "photos", Durability::Interval);
    let mut own = Raw::open(&barn.node, "photos");
    (0..20).for_each(|number| own.put_now(number, &block(number)));
    own.put_now(5, b"");
    // With the first segment that is back comes the key, and this one is short.
    barn.make_safe();
    let client = Client::connect(&barn.node.targets()[0], Settings::default()).unwrap();
    let mut writer = client.grid("main", None).unwrap().write("film", None).unwrap();
    writer.write_all(&film()).unwrap();
    writer.finish("").unwrap();
    drop((client, own));
    barn.make_safe();
    let (secret, burnt) = barn.stop();
    drop(burnt);
    let via = RestoreVia::Address(attic.node.group_addresses().remove(0));
    let home = tempfile::tempdir().unwrap();
    begin_restore(&home.path().join("data"), &secret, &founding("barn"), &via).unwrap();
    let mut wanted = NodeSettings { tcp: vec!["127.0.0.1:0".parse().unwrap()], ..settings(&home) };
    // Slowly, so that there is a time before.
    wanted.group.download_rate = 2 << 20;
    let socket = Target::Unix(home.path().join("data/okapi.sock"));
    let (mut asked, mut looked, begun) = (false, None, Instant::now());
    let node = Node::restore(wanted, secret.recipient_key(), &mut |status, readable| {
        if !std::mem::replace(&mut asked, true) {
            assert_eq!(status.state, GroupState::Restoring);
            ask_too_early(&socket);
        }
        if let Some(readable) = readable.filter(|_| looked.is_none()) {
            assert_eq!(readable, Readable { grids: 2, records: 1, silent: 0 });
            look_at(&socket);
            looked = Some(status.restore);
        }
        if begun.elapsed() > SOON * 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let node = node.unwrap();
    let then = looked.expect("it could be read before it was back");
    assert!(then.restored < then.segments, "{then:?}");
    assert!(matches!(node.targets(), [Target::Unix(_), Target::Tcp { .. }]));
    let mut raw = Raw::open(&node, "photos");
    assert_eq!(raw.get_now(7), block(7));
    raw.put_now(7, b"and on it goes");
    assert_eq!(raw.get_now(7), b"and on it goes");
    drop(shed);
}
