//! Getting everything back when not all goes well.

use crate::house::noise;
use crate::lab::Lab;
use crate::machine::{GIVE, Machine, group, is_complete, is_safe};

#[test]
fn a_restore_says_how_many_more_it_needs_and_goes_on_when_they_come() {
    let Some(lab) = Lab::new() else { return };
    let machines = group(&lab, 7);
    let owner = &machines[0];
    let content = noise(40 << 20);
    owner.put_safe("film", &content);
    assert_eq!(owner.status()["shape"], "2of6");
    owner.wipe();
    machines[1..6].iter().for_each(Machine::kill);
    // One shard of each segment is left to be had, and it takes two.
    let mut restore = owner.restore(&owner.phrase, &machines[6].member_address().to_string());
    let told = restore.until("it says what it lacks", |told| told["members_needed"].as_u64() > Some(0));
    assert_eq!((&told["members_needed"], &told["restored"]), (&1.into(), &0.into()), "{told}");
    assert!(told["waiting"] == told["segments"] && told["segments"].as_u64() >= Some(5), "{told}");
    owner.refused("ls", "nothing of it can be read yet: 5 members have not answered, who may know of more");
    machines[3].start();
    // The four who are silent may know of more than those two.
    let told = restore.until("all that is known of is back", |told| told["restored"] == told["segments"]);
    assert_eq!(told["members_silent"], 4, "{told}");
    [1, 2].into_iter().for_each(|at| machines[at].start());
    owner.adopt(restore.finish());
    assert!(owner.get("film") == content);
    [4, 5].into_iter().for_each(|at| machines[at].start());
    owner.until("all are back", |status| is_complete(status, 7));
    owner.put_safe("note", b"and on it goes");
    owner.until("all is safe again", is_safe);
}

#[test]
fn a_restore_that_was_killed_goes_on_where_it_was() {
    let Some(lab) = Lab::new() else { return };
    let machines = group(&lab, 4);
    let owner = &machines[0];
    let content = noise(48 << 20);
    owner.put_safe("film", &content);
    owner.put_safe("note", b"short");
    owner.wipe();
    let ticket = machines[2].ticket();
    // Slowly, so that there is a middle.
    let mut restore = owner.restore_at(&owner.phrase, &ticket, "12M");
    let told = restore.until("some is back", |told| told["restored"].as_u64() > Some(0));
    assert!(told["restored"].as_u64() < told["segments"].as_u64(), "{told}");
    restore.kill();
    let ended = owner.run("up");
    assert!(ended.code == 1 && ended.err.contains("`okapi restore`"), "{ended:?}");
    let mut restore = owner.go_on_restoring();
    let first = restore.until("it is told what there is", |now| now["segments"] == told["segments"]);
    assert!(first["restored"].as_u64() >= told["restored"].as_u64(), "{told} then {first}");
    owner.adopt(restore.finish());
    assert!(owner.get("film") == content);
    assert_eq!(owner.get("note"), b"short");
}

#[test]
fn what_is_not_back_yet_is_read_from_the_others_and_written_once_it_is() {
    let Some(lab) = Lab::new() else { return };
    let machines = group(&lab, 7);
    let owner = &machines[0];
    let (film, letter) = (noise(64 << 20), noise(300_000));
    owner.put_safe("film", &film);
    owner.put_safe("letter", &letter);
    assert_eq!(owner.status()["shape"], "2of6");
    owner.wipe();
    // Two who are silent can hide nothing that was safe.
    machines[1..3].iter().for_each(Machine::kill);
    let mut restore = owner.restore_at(&owner.phrase, &machines[5].member_address().to_string(), "4M");
    let told = restore.readable();
    assert_eq!((&told["grids"], &told["records"], &told["members_silent"]), (&1.into(), &2.into(), &2.into()));
    assert_eq!(owner.ok("ls"), "film\nletter\n");
    assert!(owner.get("letter") == letter);
    let part = owner.run("get film --range 50M-51201K -q");
    assert_eq!((part.code, &*part.err), (0, ""));
    assert!(part.out == film[50 << 20..51_201 << 10]);
    let status = owner.status();
    assert_eq!(status["state"], "restoring");
    let (back, all) = (status["restore"]["restored"].as_u64(), status["restore"]["segments"].as_u64());
    assert!(back < all, "something was read that had not come back: {status:#}");
    let words = owner.house.path("words.txt");
    for line in [&format!("put {} new", words.display()), "del letter", "grid create other"] {
        let ended = owner.run(line);
        let said = "still coming back; it can be read, and written once the restore is done";
        assert!(ended.code != 0 && ended.err.contains(said), "{line}: {ended:?}");
    }
    let ended = owner.run("leave -y");
    assert!(ended.code != 0 && ended.err.contains("still coming back"), "{ended:?}");
    owner.adopt(restore.finish());
    machines[1..3].iter().for_each(Machine::start);
    owner.put_safe("note", b"and on it goes");
    assert!(owner.get("film") == film);
    assert_eq!(owner.ok("ls"), "film\nletter\nnote\n");
}

#[test]
fn wrong_words_are_named_and_nobody_elses_data_comes() {
    let Some(lab) = Lab::new() else { return };
    let machines = group(&lab, 2);
    let lost = Machine::new(&lab, "lost");
    let words: Vec<&str> = machines[0].phrase.split(' ').collect();
    let via = machines[1].member_address();
    let refused = |words: &[&str], said: &str| {
        let file = lost.words(&words.join(" "));
        let line = format!("restore {via} --phrase-file {file} --no-passphrase --give {GIVE} --listen none");
        let ended = lost.run(&line);
        assert!(ended.code != 0 && ended.err.contains(said), "{said}: {ended:?}");
        assert!(!lost.data().join("node.id").exists());
    };
    let with = |at: usize, word: &'static str| {
        let mut all = words.clone();
        all[at] = word;
        all
    };
    refused(&with(4, "zoological"), "word 5");
    refused(&words[..23], "23");
    let (one, other) = if words[7] == "zoo" { ("abandon", "ability") } else { ("zoo", "zone") };
    // One of two other words at most fits the checksum.
    let wrong = [one, other].map(|word| with(7, word));
    let wrong = wrong.into_iter().find(|all| okapi_seal::RecoveryPhrase::parse(&all.join(" ")).is_err());
    refused(&wrong.expect("one of them does not fit"), "do not belong together");
}
