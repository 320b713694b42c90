//! Two nodes with one identity: a copied disk that is started elsewhere.

use crate::house::{noise, walk};
use crate::lab::Lab;
use crate::machine::{Machine, events, group, is_complete, is_safe};
use std::fs;
use std::path::Path;

#[test]
fn of_two_nodes_with_one_identity_the_second_stops_and_nothing_forks() {
    let Some(lab) = Lab::new() else { return };
    let machines = group(&lab, 4);
    let first = &machines[1];
    first.put_safe("film", &noise(10 << 20));
    let twin = Machine::new(&lab, "twin");
    first.stop();
    copy(&first.data(), &twin.data());
    first.start();
    first.until("it is back", |status| is_complete(status, 4));

    twin.start_at_its_own_address();
    let status = twin.until("it has stopped taking part", |status| status["state"] == "halted");
    let note = status["note"].as_str().unwrap();
    assert!(note.contains("another process") && note.contains("identity"), "{note}");
    assert!(twin.log().contains("takes no further part"), "{}", twin.log());
    // What it is asked for it refuses, in the same words; what it has it still gives.
    let ended = twin.run("invite");
    assert!(ended.code == 1 && ended.err.contains("identity"), "{ended:?}");
    assert!(twin.get("film") == noise(10 << 20));

    // The first goes on, and again after the twin was started once more.
    first.put_safe("another", &noise(2 << 20));
    twin.stop();
    twin.start_at_its_own_address();
    twin.until("it has stopped again", |status| status["state"] == "halted");
    first.put_safe("a-third", &noise(2 << 20));
    assert_eq!(first.until("all is safe", is_safe)["state"], "member");
    // The copy is of long ago by now. Alone it must not go on where it was: it asks the others first.
    twin.kill();
    for machine in &machines {
        let status = machine.status();
        let forks = events(&status).into_iter().filter(|text| text.contains("two logs") || text.contains("halted"));
        assert_eq!(forks.collect::<Vec<_>>(), Vec::<String>::new(), "{}", machine.name);
    }
}

/// Copies a directory as somebody would who moves to another disk, all but what is of the running node.
fn copy(from: &Path, to: &Path) {
    for file in walk(from) {
        let place = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(file, place).unwrap();
    }
}
