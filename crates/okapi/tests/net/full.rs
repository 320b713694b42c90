//! Halves and disks that are full.

use crate::house::noise;
use crate::lab::Lab;
use crate::machine::{Machine, PATIENCE, ends, is_complete, is_safe};
use std::fs;

/// The least that can be given: halves of 128 MiB.
const LEAST: &str = "256M";

#[test]
fn a_full_server_half_takes_no_more_and_nobody_loses_anything() {
    let Some(lab) = Lab::new() else { return };
    let small = Machine::up_giving(&lab, "small", LEAST);
    let [first, second] = ["first", "second"].map(|name| Machine::up(&lab, name));
    first.join(&small);
    second.join(&small);
    let film = noise(96 << 20);
    first.put_safe("film", &film);

    // Each has a copy of all that the others have, and in the smallest half there is no room for a second film.
    let path = second.house.file("content", &film);
    let mut waiting = second.house.command(["put", &path, "film", "--safe", "-q"]).spawn().unwrap();
    let status = second.until("it says what is only here", |status| {
        status["own"]["at_risk"].as_u64() > Some(0) && status["work"]["placing"] == 0
    });
    assert!(status["own"]["local_bytes"].as_u64() > Some(32 << 20), "{status}");
    assert!(waiting.try_wait().unwrap().is_none(), "it is not safe, and must not be said to be");
    for machine in [&small, &first, &second] {
        let half = &machine.status()["server_half"];
        assert!(half["used"].as_u64() <= half["bytes"].as_u64(), "{half}");
    }
    assert!(first.get("film") == film && second.get("film") == film);
    first.until("nothing of it was pushed out", is_safe);

    // It gives more, and all that waited for that goes on. Less than is used it cannot give any more.
    small.ok("give 1G");
    second.until("all of it is safe", is_safe);
    assert!(ends(&mut waiting, PATIENCE).is_some_and(|status| status.success()));
    let ended = small.run(&format!("give {LEAST}"));
    assert!(ended.code != 0 && ended.err.contains("held for others"), "{ended:?}");
}

#[test]
fn a_full_disk_is_said_to_be_full_and_keeps_what_it_has() {
    let Some(lab) = Lab::new() else { return };
    let small = Machine::new(&lab, "small").with_disk(420 << 20);
    let mut machines = vec![small];
    machines[0].found(LEAST, "");
    machines[0].start();
    for name in ["big", "bigger"] {
        let machine = Machine::up(&lab, name);
        machine.join(&machines[0]);
        machines.push(machine);
    }
    let (small, big) = (&machines[0], &machines[1]);
    // A quarter of what it promises may lie with each of the others before it has proven itself: both films do.
    let film = noise(12 << 20);
    small.put_safe("film", &film);
    big.put_safe("film", &film);

    // Somebody else fills the disk up.
    let filler = small.data().join("filler");
    fill(&filler);
    let path = small.house.file("content", &film);
    let ended = small.run(&format!("put {path} another"));
    assert!(ended.code != 0 && ended.err.contains("space"), "{ended:?}");
    assert!(small.get("film") == film && big.get("film") == film);

    // With room again, and started again, it is as before.
    fs::remove_file(&filler).unwrap();
    small.stop();
    small.start();
    for machine in &machines {
        machine.until("all are there and safe", |status| is_complete(status, 3) && is_safe(status));
    }
    small.put_safe("another", &film);
    assert!(small.get("film") == film && small.get("another") == film && big.get("film") == film);
}

/// Writes until there is no room left.
fn fill(path: &std::path::Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(path).unwrap();
    let (block, mut length) = (vec![7; 1 << 20], 1 << 20);
    while length > 0 {
        match file.write(&block[..length]) {
            Ok(0) | Err(_) => length /= 2,
            Ok(_) => {}
        }
    }
}
