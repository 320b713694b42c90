//! Whole stories, from a seed: authors and witnesses in a pretend world that loses, doubles and reorders what they say,
//! stops them between any two steps, and gives them back an old disk.

use super::world::{Disk, Tale, Trouble};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// A story in which everyone writes while the world is as unkind as it is told to be.
fn troubled(seed: u64, count: u8, trouble: Trouble) -> Tale {
    let mut tale = Tale::new(seed, count);
    tale.trouble = trouble;
    for round in 0..40 {
        let at = tale.dice.below(u64::from(count)) as usize;
        for number in 0..tale.dice.below(4) {
            tale.say(at, &format!("{round}.{number}"));
        }
        if tale.dice.one_in(10) {
            tale.new_list();
        }
        let long = Duration::from_secs(tale.dice.below(30));
        tale.run(long);
    }
    tale.rest();
    tale
}

#[test]
fn everything_said_is_witnessed_in_a_kind_world() {
    for seed in 0..10 {
        let tale = troubled(seed, 2 + seed as u8, Trouble::default());
        tale.check_at_rest(seed);
        for at in 0..tale.nodes.len() {
            assert_eq!(tale.bodies(at), tale.nodes[at].said, "seed {seed}");
            let of = |line: crate::author::LineView<'_>| line.tally.confirmations().len();
            assert!(tale.nodes[at].author.lines().all(|line| of(line) == tale.nodes.len().min(3) - 1), "seed {seed}");
        }
    }
}

#[test]
fn lost_doubled_and_late_words_change_nothing() {
    for seed in 0..20 {
        let trouble = Trouble { lost: 4, doubled: 3, late: 3, crash: 0 };
        let tale = troubled(seed, 3 + seed as u8 % 6, trouble);
        tale.check_at_rest(seed);
        for at in 0..tale.nodes.len() {
            assert_eq!(tale.bodies(at), tale.nodes[at].said, "seed {seed}");
        }
    }
}

#[test]
fn whoever_stops_between_two_steps_goes_on_from_what_was_durable() {
    for seed in 0..40 {
        let trouble = Trouble { lost: 6, doubled: 6, late: 6, crash: 60 };
        let tale = troubled(seed, 3 + seed as u8 % 6, trouble);
        tale.check_at_rest(seed);
        for at in 0..tale.nodes.len() {
            // What was not durable may be missing, and nothing comes twice or out of order.
            let mut said = tale.nodes[at].said.iter();
            for body in tale.bodies(at) {
                assert!(said.any(|one| *one == body), "seed {seed}: {:?}", String::from_utf8_lossy(&body));
            }
        }
    }
}

/// Everything is written and witnessed; then the author gets back the disk it had at `backup` of `rounds` rounds.
fn restored(seed: u64, count: u8, ask_head: bool, empty: bool) -> (Tale, usize) {
    let mut tale = Tale::new(seed, count);
    let mut backup = Disk::new();
    for round in 0..12 {
        if round == 5 && !empty {
            backup = tale.nodes[0].disk.clone();
        }
        for number in 0..1 + tale.dice.below(3) {
            tale.say(0, &format!("{round}.{number}"));
        }
        tale.run(MINUTE);
    }
    let before = tale.nodes[0].author.head().0 as usize;
    tale.crash(0);
    tale.nodes[0].disk = backup;
    tale.ask_head = ask_head;
    tale.start(0);
    tale.say(0, "after");
    tale.run(MINUTE);
    tale.say(0, "later");
    tale.rest();
    (tale, before)
}

#[test]
fn a_backup_goes_on_behind_its_true_end() {
    for seed in 0..20 {
        let (tale, before) = restored(seed, 2 + seed as u8 % 7, true, seed % 2 == 0);
        tale.check_at_rest(seed);
        assert_eq!(tale.bodies(0), tale.nodes[0].said, "seed {seed}: all it ever said is there");
        assert_eq!(tale.nodes[0].author.head().0 as usize, before + 2, "seed {seed}");
    }
}

#[test]
fn a_backup_that_does_not_ask_forks_its_log() {
    let forks = (0..10).filter(|seed| !restored(*seed, 5, false, false).0.forked.is_empty()).count();
    assert!(forks > 5, "only {forks} of 10 careless backups were noticed");
}

#[test]
fn nothing_is_written_while_two_who_may_know_the_end_are_away() {
    for seed in 0..10 {
        let mut tale = Tale::new(seed, 6);
        for round in 0..10 {
            tale.say(0, &format!("{round}"));
            tale.run(MINUTE);
        }
        // Two of the others are away when the disk is lost, and come back much later.
        tale.crash(1);
        tale.crash(2);
        tale.crash(0);
        tale.nodes[0].disk = Disk::new();
        tale.start(0);
        tale.say(0, "after");
        tale.run(MINUTE * 60);
        assert!(tale.nodes[0].author.is_seeking(), "seed {seed}: two who may know the end have not answered");
        tale.rest();
        tale.check(seed);
        assert!(tale.nodes[0].author.lines().map(|line| line.head.header.sequence).eq(1..=11), "seed {seed}");
        assert_eq!(tale.nodes[0].author.unwitnessed(), 0, "seed {seed}");
    }
}

/// One key, two disks: the author is copied, and both copies write.
#[test]
fn two_copies_of_an_author_are_proven_to_fork() {
    for seed in 0..10 {
        let mut tale = Tale::new(seed, 5);
        tale.say(0, "one");
        tale.run(MINUTE);
        let copy = tale.nodes[0].disk.clone();
        tale.say(0, "two");
        tale.say(0, "three");
        tale.run(MINUTE);
        tale.crash(0);
        tale.nodes[0].disk = copy;
        tale.ask_head = false;
        tale.start(0);
        for number in 0..4 {
            tale.say(0, &format!("other {number}"));
            if tale.nodes[0].author.is_forked() {
                break;
            }
            tale.run(MINUTE);
            if tale.nodes[0].author.is_forked() {
                break;
            }
        }
        let log = tale.nodes[0].id;
        assert!(tale.forked.contains(&log), "seed {seed}");
        assert!(tale.nodes[0].author.is_forked(), "seed {seed}: it is told, and stops");
        let refused = tale.with(0, |author, _, world| author.append(world, 9, Vec::new()));
        assert_eq!(refused, Err(crate::author::AppendError::Forked));
        for ((_, sequence), hashes) in &tale.confirmed {
            assert_eq!(hashes.len(), 1, "seed {seed}: both copies were confirmed at {sequence}");
        }
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let trouble = Trouble { lost: 6, doubled: 6, late: 6, crash: 60 };
    let tell = |seed| {
        let tale = troubled(seed, 5, trouble);
        (tale.sent, tale.traffic, (0..5).map(|at| tale.nodes[at].author.head()).collect::<Vec<_>>())
    };
    assert_eq!(tell(3), tell(3));
    assert_ne!(tell(3), tell(4));
}

/// Messages, and bytes with the 32 of each letter's head, for each entry written.
fn per_entry(traffic: &BTreeMap<&'static str, (u64, u64)>, entries: u64) -> (f64, f64) {
    let (messages, bytes) = traffic.values().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1 + 32 * one.0));
    (messages as f64 / entries as f64, bytes as f64 / entries as f64)
}

/// What everybody telling everybody would cost, by the same forms: each entry to all others, each other's confirmation
/// to the author; `together` entries in one message.
fn all_to_all(members: u64, together: u64, body: u64) -> (f64, f64) {
    let (others, together) = ((members - 1) as f64, together as f64);
    let message = 32.0 + 1.0 + 4.0;
    let submit = message + 40.0 + 163.0 + (together - 1.0) * 47.0 + together * (223.0 + body as f64);
    let confirmed = message + together * 209.0;
    (2.0 * others / together, others * (submit + confirmed) / together)
}

/// The figures of `docs/notes/network.md`, "Timeline": run with `--nocapture` to see them.
#[test]
#[allow(clippy::print_stdout, reason = "the table is what the test is run for")]
fn two_witnesses_cost_a_fraction_of_everybody() {
    const MEMBERS: u8 = 100;
    const AUTHORS: usize = 4;
    let body = "d".repeat(68);
    std::println!("{MEMBERS} members, per entry         messages      bytes   all to all: messages      bytes");
    for together in [1, 4, 16] {
        let mut tale = Tale::new(1, MEMBERS);
        let rounds = 128 / together;
        for round in 0..rounds * 2 {
            if round == rounds {
                // The first half is how they meet; what it costs then, it costs for ever.
                tale.traffic.clear();
            }
            for at in 0..AUTHORS {
                (0..together).for_each(|_| tale.say(at, &body));
            }
            tale.run(MINUTE);
        }
        let (messages, bytes) = per_entry(&tale.traffic, (rounds * together) as u64 * AUTHORS as u64);
        let (all_messages, all_bytes) = all_to_all(u64::from(MEMBERS), together as u64, 68);
        std::println!(
            "{together:>2} entries a round         {messages:>10.1} {bytes:>10.0} {all_messages:>22.1} {all_bytes:>10.0}"
        );
        tale.check(1);
        assert_eq!((0..AUTHORS).map(|at| tale.nodes[at].author.unwitnessed()).sum::<usize>(), 0);
        assert!(messages <= 4.5, "{messages} messages an entry");
        let worth = if together == 1 { (40.0, 8.0) } else { (0.0, 5.0) };
        assert!(all_messages / messages > worth.0, "{all_messages} : {messages}");
        assert!(all_bytes / bytes > worth.1, "{all_bytes} : {bytes}");
    }
}
