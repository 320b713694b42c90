//! Everything done to this repository: its tests, its checks and its benches. `cargo xtask` lists them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks through its standard streams")]

mod bench;
mod debian;
mod deny;
mod guest;
mod layering;
mod python;
mod repository;
mod source;
mod suite;
mod supply;
mod tidy;
mod tour;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask demo [FILE]      builds okapi and shows what a group of five machines survives, all of them on this one
cargo xtask tour [FILE]      builds okapi and shows it at work: a node, a file put, listed, sliced, got back, compared
cargo xtask test             everything a change must pass: format, lints, house checks, all tests, doc tests
cargo xtask check            only the house checks: layering, licences and sources, tidiness
cargo xtask guest            only the kernel that the tests boot, got from Debian
cargo xtask bench grid       Okapi beside redis and memcached   [--quick] [--only NAME] [--scenario WORD]
cargo xtask bench store      the segment log beside fjall, redb and LMDB   [--quick] [--only NAME] [--dir DIR]
cargo xtask bench disk       disks over NBD beside nbdkit and qemu-nbd   [--quick] [--rounds N] [--scenario WORD] [--dir DIR]
cargo xtask bench link       links between members beside bare TLS over TCP   [--quick]
cargo xtask bench route      another member's grid by way of one's own node   [--quick]
cargo xtask bench group      15 nodes beside GlusterFS and Tahoe-LAFS   [--quick] [--rounds N] [--only NAME] [--dir DIR]
cargo xtask bench keys       data keys wrapped, files encrypted, passphrases stretched   [--quick]
cargo xtask deny             the full cargo-deny, installed first if it is missing (slow)";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo", rest @ ..] => tour::demo(rest),
        ["tour", rest @ ..] => tour::run(rest),
        ["test"] => suite::run(),
        ["guest"] => guest::fetch(),
        ["check"] => check(),
        ["bench", what, rest @ ..] if is_task(&format!("bench {what}")) => bench::run(what, rest),
        ["deny"] => deny::run(),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("`{}` is not a task. There are:\n{USAGE}", other.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The house checks, all of them even when one finds something.
fn check() -> Result<(), String> {
    let faults: Vec<String> = [layering::faults()?, supply::faults()?, tidy::faults()?].into_iter().flatten().collect();
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("{} faults", faults.len())) }
}

/// Whether this is one of the tasks.
fn is_task(words: &str) -> bool {
    USAGE.lines().any(|line| {
        line.strip_prefix("cargo xtask ")
            .and_then(|rest| rest.strip_prefix(words))
            .is_some_and(|rest| rest.starts_with(' '))
    })
}

#[test]
fn tasks_that_papers_speak_of_are_there() {
    let mut seen = 0;
    for path in repository::files().unwrap().into_iter().filter(|path| path.ends_with(".md")) {
        let text = std::fs::read_to_string(repository::root().join(&path)).unwrap();
        for rest in text.split("cargo xtask ").skip(1) {
            let words: Vec<&str> = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '|').take(2).collect();
            let [first, second] = words[..] else { panic!("{path}: {words:?}") };
            for which in second.split('|') {
                let task = if first == "bench" { format!("bench {which}") } else { first.to_owned() };
                assert!(is_task(&task), "{path}: `cargo xtask {task}` is no task");
                seen += 1;
            }
        }
    }
    assert!(seen > 5 && !is_task("bench nothing") && !is_task("te"), "{seen}");
}
