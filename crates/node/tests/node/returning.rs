//! A node whose machine burnt down: while its data comes back it is read, and written once all is there.

use crate::raw::{Raw, SOON, connect, settings};
use crate::route::{House, block, founding, group};
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
    for number in (0..40).filter(|number| *number != 5) {
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
    let error = grid.write("other", None).map(drop).unwrap_err();
    assert!(error.status() == Some(Status::ReadOnly) && error.to_string().contains(said), "{error}");
}

fn wanted_grid() -> GridCreate {
    let (name, engine) = ("other".to_owned(), String::new());
    GridCreate { name, block_size: BlockSize::DEFAULT, durability: Durability::Always, public: false, engine }
}

#[test]
fn what_comes_back_is_read_before_it_is_back() {
    let [barn, helps @ ..] = group(["barn", "one", "two", "three", "four", "five"]);
    Raw::create(&barn.node, "photos", Durability::Interval);
    let mut own = Raw::open(&barn.node, "photos");
    (0..40).for_each(|number| own.put_now(number, &block(number)));
    own.put_now(5, b"");
    let client = Client::connect(&barn.node.targets()[0], Settings::default()).unwrap();
    let mut writer = client.grid("main", None).unwrap().write("film", None).unwrap();
    writer.write_all(&film()).unwrap();
    writer.finish("").unwrap();
    drop((client, own));
    barn.make_safe();
    let (secret, burnt) = barn.stop();
    drop(burnt);
    // Whoever is silent may know of more, so it cannot end without one of three.
    let [one, two, three, four, five] = helps;
    let mut silent = Vec::from([one, two, three].map(House::stop));
    let via = RestoreVia::Address(four.node.group_addresses().remove(0));
    let home = tempfile::tempdir().unwrap();
    begin_restore(&home.path().join("data"), &secret, &founding("barn"), &via).unwrap();
    let wanted = NodeSettings { tcp: vec!["127.0.0.1:0".parse().unwrap()], ..settings(&home) };
    let socket = Target::Unix(home.path().join("data/okapi.sock"));
    let (mut asked, mut begun, mut woken) = (false, Instant::now(), None);
    let node = Node::restore(wanted, secret.recipient_key(), &mut |status, readable| {
        if !std::mem::replace(&mut asked, true) {
            assert_eq!(status.state, GroupState::Restoring);
            ask_too_early(&socket);
        }
        if let Some(readable) = readable.filter(|_| woken.is_none()) {
            assert_eq!(readable, Readable { grids: 2, records: 1, silent: 3 });
            look_at(&socket);
            let (secret, home) = silent.pop().expect("nobody was woken yet");
            woken = Some(House { node: Node::start(settings(&home)).unwrap(), secret, home });
            begun = Instant::now();
        }
        if begun.elapsed() > SOON { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let node = node.unwrap();
    assert!(woken.is_some() && matches!(node.targets(), [Target::Unix(_), Target::Tcp { .. }]));
    let mut raw = Raw::open(&node, "photos");
    assert_eq!(raw.get_now(7), block(7));
    raw.put_now(7, b"and on it goes");
    assert_eq!(raw.get_now(7), b"and on it goes");
    drop((four, five));
}
