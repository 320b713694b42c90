//! Halves and disks that are full.

use crate::house::noise;
use crate::lab::Lab;
use crate::machine::{Machine, group_giving, is_complete, is_safe};
use std::fs;

/// The least that can be given: halves of 128 MiB.
const LEAST: &str = "256M";

#[test]
fn a_full_server_half_takes_no_more_and_nobody_loses_anything() {
    let Some(lab) = Lab::new() else { return };
    let machines = group_giving(&lab, 3, LEAST);
    let film = noise(56 << 20);
    for machine in &machines[..2] {
        machine.put_safe("film", &film);
    }
    // There is room for two of them, in each of the three server halves.
    let third = &machines[2];
    let path = third.house.file("content", &film);
    let mut waiting = third.house.command(["put", &path, "film", "--safe", "-q"]).spawn().unwrap();
    let status = third.until("it says what is only here", |status| {
        status["own"]["at_risk"].as_u64() > Some(0) && status["work"]["placing"] == 0
    });
    assert!(status["own"]["local_bytes"].as_u64() > Some(16 << 20), "{status}");
    assert!(waiting.try_wait().unwrap().is_none(), "it is not safe, and must not be said to be");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    for machine in &machines {
        assert!(machine.get("film") == film);
        let half = &machine.status()["server_half"];
        assert!(half["used"].as_u64() <= half["bytes"].as_u64(), "{half}");
    }
    // The others give more, and there is room again.
    machines.iter().for_each(|machine| drop(machine.ok("give 1G")));
    third.until("all of it is safe", is_safe);
    assert!(third.get("film") == film);
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
    let film = noise(24 << 20);
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
