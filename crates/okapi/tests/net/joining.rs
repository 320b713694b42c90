//! Tickets, good and bad, and who comes in without one.

use crate::lab::Lab;
use crate::machine::{Machine, PATIENCE, ends, group, is_complete, is_safe, member};
use okapi_client::group::Ticket;
use okapi_client::{Client, Target};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A day, in milliseconds.
const DAY: u64 = 86_400_000;

#[test]
fn tickets_open_once_in_time_and_as_they_were_made() {
    let Some(lab) = Lab::new() else { return };
    let [one, two, three] = ["one", "two", "three"].map(|name| Machine::up(&lab, name));
    let refused = |by: &Machine, ticket: &str, code: i32, words: &str| {
        let ended = by.run(&format!("join {ticket}"));
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.err.contains(words), "{words}: {}", ended.err);
    };

    // One letter of the third group is another one.
    let good = one.ticket();
    let at = good.match_indices('-').nth(2).unwrap().0 + 1;
    let other = if good[at..].starts_with('7') { "8" } else { "7" };
    refused(&two, &format!("{}{other}{}", &good[..at], &good[at + 1..]), 2, "a character is wrong in group 3");
    refused(&two, &good[..good.len() - 12], 2, "cut off");
    refused(&two, "okapi", 2, "a ticket begins with `okapi-`");

    // Whole, and nobody made it.
    let ticket = Ticket::parse(&good).unwrap();
    let made_up = Ticket { secret: [7; 32], ..ticket.clone() };
    refused(&two, &made_up.to_text(), 1, "there is no such ticket; ask for a new one");

    // Over: as the newcomer sees it, and as the node that made it does.
    let expired = Ticket { expires: now() - 3 * DAY, ..ticket.clone() };
    refused(&two, &expired.to_text(), 1, "the ticket expired 3 days ago");
    let short = client(&one).invite(Duration::from_secs(1)).unwrap();
    let short = Ticket::parse(&short.ticket).unwrap();
    one.until("it is over", |_| now() > short.expires);
    let longer = Ticket { expires: short.expires + DAY, ..short };
    refused(&two, &longer.to_text(), 1, "the ticket has expired; ask for a new one");

    // Its maker's own, and one that somebody else has used.
    refused(&one, &good, 1, "this node made the ticket itself");
    two.ok(&format!("join {good}"));
    refused(&three, &good, 1, "the ticket was used by another node; ask for a new one");
    refused(&two, &three.ticket(), 1, "in a group with others already");

    // All of that changed nothing, and a good one is as good as ever.
    let status = three.status();
    assert_eq!((&status["state"], status["members"].as_array().unwrap().len()), (&"alone".into(), 1), "{status}");
    three.join(&two);
    for machine in [&one, &two, &three] {
        machine.until("all three are there", |status| is_complete(status, 3));
    }
}

#[test]
fn a_join_waits_for_whoever_made_the_ticket_and_takes_nobody_elses_word() {
    let Some(lab) = Lab::new() else { return };
    let [one, two, three] = ["one", "two", "three"].map(|name| Machine::up(&lab, name));
    // The address is that of another node now.
    let addresses = vec![format!("tcp://{}", three.member_address())];
    let astray = Ticket { addresses, ..Ticket::parse(&one.ticket()).unwrap() };
    let mut waiting = two.house.command(["join", &astray.to_text()]).stderr(Stdio::null()).spawn().unwrap();
    let status = two.until("it is told who is there", |status| {
        status["state"] == "joining" && status["note"].as_str().unwrap().contains("is another node")
    });
    let note = status["note"].as_str().unwrap();
    assert!(note.contains(&three.member_address().to_string()) && note.contains(&three.id[..8]), "{note}");
    assert_eq!(three.status()["members"].as_array().unwrap().len(), 1);
    waiting.kill().unwrap();
    waiting.wait().unwrap();

    // Who made it is not there for now.
    let ticket = one.ticket();
    one.kill();
    let mut command = three.house.command(["join", &ticket]);
    let mut waiting = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let place = one.member_address().to_string();
    three.until("it says whom it cannot reach", |status| {
        let note = status["note"].as_str().unwrap();
        status["state"] == "joining" && note.contains(&place) && note.contains("does not answer")
    });
    assert!(waiting.try_wait().unwrap().is_none());
    one.start();
    assert!(ends(&mut waiting, PATIENCE).is_some_and(|status| status.success()));
    three.until("both are there", |status| is_complete(status, 2));
}

#[test]
fn who_leaves_hands_over_first_and_is_a_stranger_afterwards() {
    let Some(lab) = Lab::new() else { return };
    let machines = group(&lab, 5);
    let content = crate::house::noise(20 << 20);
    machines[0].put_safe("film", &content);
    machines[1].put_safe("other-film", &content);

    // At once: what it held is made anew.
    let hasty = holder_of_most(&machines[0], &machines[2..]);
    hasty.ok("leave --now --yes");
    let done = [0, 1].map(|at: usize| {
        let status = machines[at].until("what is lost is made anew", |status| {
            is_safe(status) && lies_thrice(status) && is_complete_without(status, 4, hasty)
        });
        status["work"]["repaired_shards"].clone()
    });
    assert!(done.iter().any(|shards| shards.as_u64() > Some(0)), "{done:?}");

    // In good order: nobody has less for it. So few follow the member list at once; with more nodes in it, it must have
    // rested for minutes.
    let holder = holder_of_most(&machines[0], machines[2..].iter().filter(|machine| machine.id != hasty.id));
    holder.ok("leave --yes");
    assert_eq!(holder.status()["state"], "parted");
    for (owner, done) in machines.iter().zip(&done) {
        let status = owner.until("it has what it had", |status| {
            is_safe(status) && member(status, holder)["holds_for_us"] == 0 && is_complete_without(status, 3, holder)
        });
        assert_eq!(&status["work"]["repaired_shards"], done, "it moved, and nothing had to be repaired: {status}");
        assert!(owner.get(if owner.id == machines[0].id { "film" } else { "other-film" }) == content);
    }
    // What is its own it still has, and who has left is told so when it comes again.
    holder.ok("put --text mine note");
    assert_eq!(holder.get("note"), b"mine");
    holder.stop();
    holder.start();
    assert_eq!(holder.status()["state"], "parted");
    assert_eq!(holder.run("invite").code, 1);
}

/// Who of these holds most for an owner.
fn holder_of_most<'m>(owner: &Machine, among: impl IntoIterator<Item = &'m Machine>) -> &'m Machine {
    let status = owner.until("it is safe", is_safe);
    let held = |machine: &&Machine| member(&status, machine)["holds_for_us"].as_u64();
    let most = among.into_iter().max_by_key(held).unwrap();
    assert!(held(&most) > Some(0), "{status}");
    most
}

/// Whether those who are left hold three copies of everything.
fn lies_thrice(status: &serde_json::Value) -> bool {
    let bytes = |value: &serde_json::Value| value.as_u64().unwrap();
    let members = status["members"].as_array().unwrap();
    members.iter().map(|member| bytes(&member["holds_for_us"])).sum::<u64>() == 3 * bytes(&status["own"]["bytes"])
}

/// Whether so many are here, one who has left not among them.
fn is_complete_without(status: &serde_json::Value, count: usize, gone: &Machine) -> bool {
    let state = &member(status, gone)["state"];
    is_complete(status, count) && (state.is_null() || state == "parted")
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn client(machine: &Machine) -> Client {
    let socket = machine.data().join("okapi.sock");
    Client::connect(&Target::Unix(socket), okapi_client::Settings::default()).unwrap()
}
