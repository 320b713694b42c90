//! The promise: machines are lost, and nobody loses anything.

use crate::lab::Lab;
use crate::machine::{Machine, group, is_safe, member};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Bytes of the file: more than two hundred megabytes.
const FILM: usize = 208 << 20;

#[test]
fn two_machines_are_lost_and_then_the_owners_own_and_all_is_there_again() {
    let Some(lab) = Lab::new() else { return };
    // Each was let in by the one before it, only the second by the founder.
    let machines = group(&lab, 5);
    // The last to come places by a list with all others in it; those before it only once the list has rested.
    let (owner, others) = machines.split_last().unwrap();
    let film = film(&owner.house.path("film"));
    let name = owner.house.path("film");
    owner.ok(&format!("put {} films/holiday --safe", name.display()));
    fs::remove_file(&name).unwrap();
    let status = owner.until("it is safe", is_safe);
    assert!(status["own"]["safe_bytes"].as_u64() >= Some(FILM as u64), "{status}");

    // The two that hold most of it are lost.
    let mut others: Vec<&Machine> = others.iter().collect();
    others.sort_by_key(|other| std::cmp::Reverse(member(&status, other)["holds_for_us"].as_u64()));
    let (lost, left) = others.split_at(2);
    for machine in lost {
        assert!(member(&status, machine)["holds_for_us"].as_u64() > Some(0), "{status}");
        machine.wipe();
    }
    for machine in left.iter().chain([&owner]) {
        for gone in lost {
            machine.until("it is seen to be away", |status| member(status, gone)["presence"] != "here");
            machine.ok(&format!("lost {} --yes", gone.name));
        }
    }
    let status = owner.until("it is repaired", |status| {
        let held: Vec<&Value> = vec![&status["own"]["at_risk"], &status["work"]["placing"]];
        let missing = lost.iter().any(|gone| member(status, gone)["holds_for_us"].as_u64() > Some(0));
        is_safe(status) && held.iter().all(|count| **count == 0) && !missing
    });
    assert!(status["work"]["repaired_shards"].as_u64() > Some(0), "{status}");

    // Now the owner's own machine is lost. What is left of it is paper.
    let (phrase, ticket) = (owner.phrase.clone(), left[1].ticket());
    owner.wipe();
    let phoenix = Machine::new(&lab, "phoenix");
    phoenix.adopt(phoenix.restore(&phrase, &ticket).finish());
    let back = phoenix.house.path("back");
    phoenix.ok(&format!("get films/holiday -o {}", back.display()));
    assert_eq!(hash(&back), film);
    // It goes on where it was, as safely as the group allows, once it knows of those who will not come back.
    lost.iter().for_each(|gone| drop(phoenix.ok(&format!("lost {} --yes", gone.id))));
    phoenix.put_safe("note", b"and on it goes");
    phoenix.until("all is safe again", is_safe);
}

/// Makes a file up; its hash.
fn film(path: &Path) -> blake3::Hash {
    fs::write(path, crate::house::noise(FILM)).unwrap();
    hash(path)
}

fn hash(path: &Path) -> blake3::Hash {
    blake3::hash(&fs::read(path).unwrap())
}
