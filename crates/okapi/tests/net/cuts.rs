//! Twelve machines on a network that fails: what was written meanwhile is safe once it is whole again, and nobody's log
//! or books have come apart.

use crate::house::noise;
use crate::lab::Lab;
use crate::machine::{GIVE, Machine, group, is_complete, is_safe, member};
use crate::relay::Relay;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::time::Duration;

const COUNT: usize = 12;
/// Who was cut off is looked for after as long again as that was: longer than anything else takes.
const REUNION: Duration = Duration::from_secs(600);

#[test]
fn twelve_machines_are_cut_off_and_divided_and_nothing_is_lost() {
    let Some(lab) = Lab::new() else { return };
    let machines = group(&lab, COUNT);
    let film = noise(24 << 20);
    machines[0].put_safe("before", &film);

    // One is cut off. It goes on by itself, and so do the others without it.
    let lonely = &machines[5];
    lab.cut(lonely.address);
    put(lonely, "alone", &film[..5 << 20]);
    machines[0].put_safe("while-one-is-away", &film[..9 << 20]);
    let status = lonely.until("it knows that this is only here", |status| status["own"]["at_risk"].as_u64() > Some(0));
    assert!(status["own"]["local_bytes"].as_u64() >= Some(5 << 20), "{status}");
    machines[0].until("it is missed", |status| member(status, lonely)["presence"] == "away");
    lab.heal(None);
    all_is_well(&machines);

    // One hears the others, and is not heard.
    let mute = &machines[3];
    lab.mute_all(mute.address);
    put(mute, "unheard", &film[..3 << 20]);
    machines[7].put_safe("while-one-is-mute", &film[..2 << 20]);
    mute.until("it knows that this is only here", |status| status["own"]["at_risk"].as_u64() > Some(0));
    lab.heal(None);
    all_is_well(&machines);

    // Two halves, and both are written to.
    let (some, others) = machines.split_at(COUNT / 2);
    lab.divide(&addresses(some), &addresses(others));
    for (half, name) in [(some, "here"), (others, "there")] {
        for machine in &half[..2] {
            put(machine, name, &film[..4 << 20]);
        }
    }
    for machine in &machines {
        machine.until("one half is away", |status| is_complete(status, COUNT / 2));
    }
    lab.heal(None);
    all_is_well(&machines);
    for (half, name) in [(some, "here"), (others, "there")] {
        assert!(half[..2].iter().all(|machine| machine.get(name) == film[..4 << 20]));
    }
    assert!(machines[0].get("before") == film && lonely.get("alone") == film[..5 << 20]);
    assert!(mute.get("unheard") == film[..3 << 20]);
}

#[test]
fn a_machine_that_is_far_away_is_as_good_as_any() {
    let Some(lab) = Lab::new() else { return };
    let mut far = Machine::new(&lab, "far");
    // Whoever wants to reach it goes a long way, and knows of no other.
    let delay = Duration::from_millis(80);
    let relay = Relay::new(&lab, far.member_address(), delay);
    far.found(GIVE, &format!("--advertise {}", relay.address));
    far.start();
    let near = ["near", "nearer"].map(|name| Machine::up(&lab, name));
    near.iter().for_each(|machine| machine.join(&far));
    let film = noise(12 << 20);
    far.put_safe("film", &film);
    near[0].put_safe("film", &film[..6 << 20]);
    far.until("all is safe", is_safe);
    near[0].until("it is known how far that is", |status| {
        let round_trip = member(status, &far)["round_trip_us"].as_u64();
        round_trip.is_some_and(|us| Duration::from_micros(us) >= 2 * delay)
    });
    assert!(relay.connections() >= 2, "{}", relay.connections());
}

/// Stores something, and does not wait until it is anywhere else.
fn put(machine: &Machine, name: &str, content: &[u8]) {
    let path = machine.house.file("content", content);
    machine.ok(&format!("put {path} {name}"));
}

fn addresses(machines: &[Machine]) -> Vec<Ipv4Addr> {
    machines.iter().map(|machine| machine.address).collect()
}

/// All see each other, all lies safely, the books of any two agree, and no log has two ends.
fn all_is_well(machines: &[Machine]) {
    for machine in machines {
        let is_well = |status: &Value| is_complete(status, machines.len()) && is_safe(status);
        machine.within(REUNION, "all are there and all is safe", is_well);
    }
    for owner in machines {
        for holder in machines.iter().filter(|holder| holder.id != owner.id) {
            let agree = |status: &Value| member(status, holder)["holds_for_us"] == holder.sees(owner)["held_for_it"];
            if !agree(&owner.status()) {
                owner.until("both books say the same", agree);
            }
        }
        assert!(!owner.whole_log().contains("two logs are signed"), "{}", owner.log());
        assert_ne!(owner.status()["state"], "halted");
    }
}
