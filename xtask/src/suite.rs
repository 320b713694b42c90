//! The whole test suite: what `cargo xtask test` runs, in order, all of it even when one part fails.

use crate::{debian, deny, guest, repository};
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};
use std::time::Instant;

/// One part of the suite.
struct Part {
    name: &'static str,
    command: Command,
    /// Whether its output ends in counts of tests.
    counts: bool,
}

/// How many tests passed and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// Panics of failed tests that are shown again at the end.
const CAUSES_SHOWN: usize = 5;
/// Lines of each, and characters of a line.
const CAUSE_LINES: usize = 16;
const CAUSE_COLUMNS: usize = 400;

/// Programs that the tests themselves run, and the packages they come from. A test that lacks one fails.
const PROGRAMS: &[(&str, &str)] = &[
    ("openssl", "openssl"),
    ("script", "bsdutils"),
    ("setsid", "util-linux"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("qemu-img", "qemu-utils"),
    ("nbdinfo", "libnbd-bin"),
    ("fio", "fio"),
    ("mtype", "mtools"),
    ("sfdisk", "fdisk"),
    QEMU,
    ("busybox", "busybox-static"),
];

/// What runs machines like this one.
const QEMU: (&str, &str) = if cfg!(target_arch = "aarch64") {
    ("qemu-system-aarch64", "qemu-system-arm")
} else {
    ("qemu-system-x86_64", "qemu-system-x86")
};

/// What the tests are built with besides the default: with two choices of features everything would be built twice.
const FEATURES: &str = "--features=okapi/wan";
/// What of that is in a crate by itself.
const FEATURES_OF_LINK: &str = "wan";

/// Runs everything and closes with one line of counts.
pub(crate) fn run() -> Result<(), String> {
    // Twice: of another version qemu's machines and its tools may exclude each other, and the first call removes what the
    // second one gets.
    debian::install(PROGRAMS)?;
    debian::install(PROGRAMS)?;
    guest::fetch()?;
    let mut total = Tally::default();
    let (mut broken, mut causes) = (Vec::new(), Vec::new());
    for Part { name, command, counts } in parts() {
        println!("== {name}");
        let start = Instant::now();
        let Passed { ok, tally, panics } = run_part(command)?;
        causes.extend(panics);
        if counts {
            total.passed += tally.passed;
            total.failed += tally.failed;
        }
        println!("== {name}: {} in {:.1} s\n", if ok { "ok" } else { "FAILED" }, start.elapsed().as_secs_f64());
        if !ok {
            broken.push(name);
        }
    }
    // Whoever sees no more than the end of all this sees why.
    for cause in causes.iter().take(CAUSES_SHOWN) {
        println!("{cause}\n");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    match (broken.is_empty(), total.passed) {
        (false, _) => Err(format!("these parts failed: {}", broken.join(", "))),
        (true, 0) => Err("not one test ran".to_owned()),
        (true, _) => Ok(()),
    }
}

fn parts() -> Vec<Part> {
    let check = |name, words: &[&str]| Part { name, command: cargo(words), counts: false };
    let mut parts = vec![
        check("format", &["fmt", "--all", "--check"]),
        check("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        check(
            "lints of features",
            &["clippy", "-p", "okapi-link", "--features", FEATURES_OF_LINK, "--locked", "--", "-D", "warnings"],
        ),
    ];
    if deny::is_there() {
        parts.push(Part { name: "cargo-deny", command: deny::command(), counts: false });
    }
    parts.extend(test_parts(debian::program("cargo-nextest").is_some()));
    parts
}

/// The tests that see the inside, the doc tests, and the black-box tests: those that drive the real `okapi` command.
fn test_parts(nextest: bool) -> Vec<Part> {
    let tests = |name, words: &[&str]| Part { name, command: cargo(words), counts: true };
    let doc = tests("doc tests", &["test", "--workspace", FEATURES, "--locked", "--doc", "--no-fail-fast"]);
    if nextest {
        let run = ["nextest", "run", "--workspace", FEATURES, "--locked", "--no-fail-fast", "--no-tests", "pass", "-E"];
        let with = |filter| [run.as_slice(), &[filter]].concat();
        return vec![
            tests("tests", &with("not (package(=okapi) and kind(test))")),
            doc,
            tests("black-box tests", &with("package(=okapi) and kind(test)")),
        ];
    }
    println!("cargo-nextest is not installed; cargo test does it, only slower.");
    // Always the whole workspace: another choice of packages is another choice of features, and builds all anew.
    vec![
        tests(
            "tests, black-box tests among them",
            &["test", "--workspace", FEATURES, "--locked", "--no-fail-fast", "--tests"],
        ),
        doc,
    ]
}

fn cargo(words: &[&str]) -> Command {
    let mut command = repository::cargo();
    command.args(words);
    command.env("CARGO_TERM_COLOR", if std::io::stdout().is_terminal() { "always" } else { "never" });
    command
}

/// What became of a part.
#[derive(Default)]
struct Passed {
    ok: bool,
    tally: Tally,
    /// The first lines of each panic. Runners show the output of tests that fail, and of no others.
    panics: Vec<String>,
}

/// Runs a part, showing its output as it comes, and adds up the counts in it.
fn run_part(mut command: Command) -> Result<Passed, String> {
    let shown = format!("{command:?}");
    let start = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = start.map_err(|why| format!("{shown} did not start: {why}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err) = std::thread::scope(|scope| {
        let err = scope.spawn(|| pass_on(err, |line| eprintln!("{line}")));
        let out = pass_on(out, |line| println!("{line}"));
        (out, err.join().expect("passing lines on does not panic"))
    });
    let status = child.wait().map_err(|why| format!("{shown}: {why}"))?;
    let tally = out.summary.or(err.summary).unwrap_or(Tally {
        passed: out.results.passed + err.results.passed,
        failed: out.results.failed + err.results.failed,
    });
    Ok(Passed { ok: status.success(), tally, panics: [out.panics, err.panics].concat() })
}

/// What a stream of lines tells.
#[derive(Default)]
struct Told {
    /// What nextest sums up. It also shows what tests that fail say of themselves, which is not to count twice.
    summary: Option<Tally>,
    /// What the tests of each binary say of themselves, added up.
    results: Tally,
    panics: Vec<String>,
}

fn pass_on(stream: Option<impl Read>, mut show: impl FnMut(&str)) -> Told {
    let mut told = Told::default();
    let Some(stream) = stream else { return told };
    let mut left = 0;
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        show(&line);
        match counted(&line) {
            Some(tally) if plain(&line).trim_start().starts_with("Summary") => told.summary = Some(tally),
            Some(tally) => {
                told.results.passed += tally.passed;
                told.results.failed += tally.failed;
            }
            None => {}
        }
        let short: String = line.chars().take(CAUSE_COLUMNS).collect();
        if line.contains("' panicked at ") || line.contains(") panicked at ") {
            told.panics.push(short);
            left = CAUSE_LINES;
        } else if left > 0 && !line.contains("stack backtrace:") {
            let panic = told.panics.last_mut().expect("one was begun");
            panic.push('\n');
            panic.push_str(&short);
            left -= 1;
        } else {
            left = 0;
        }
    }
    told
}

/// The counts in a test runner's closing line: cargo test's `test result: ...` or nextest's `Summary [...] ...`.
fn counted(line: &str) -> Option<Tally> {
    let line = plain(line);
    let line = line.trim_start();
    if !line.starts_with("test result: ") && !line.starts_with("Summary [") {
        return None;
    }
    let words: Vec<&str> = line.split([' ', ',', ';', ':']).filter(|word| !word.is_empty()).collect();
    let before = |what: &str| {
        let number = words.windows(2).find(|pair| pair[1] == what).and_then(|pair| pair[0].parse().ok());
        number.unwrap_or(0)
    };
    Some(Tally { passed: before("passed"), failed: before("failed") + before("timed") })
}

/// A line without its colours.
fn plain(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str(piece.split_once('m').map_or("", |(_, rest)| rest));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_others_are_not() {
        let tally = |passed, failed| Some(Tally { passed, failed });
        assert_eq!(counted("test result: ok. 5 passed; 0 failed; 0 ignored; finished in 0.00s"), tally(5, 0));
        assert_eq!(counted("test result: FAILED. 3 passed; 2 failed; 0 ignored"), tally(3, 2));
        assert_eq!(counted("     Summary [   0.004s] 5 tests run: 5 passed, 0 skipped"), tally(5, 0));
        assert_eq!(counted("     Summary [   1.0s] 5 tests run: 3 passed (1 slow), 2 failed, 1 skipped"), tally(3, 2));
        assert_eq!(
            counted(
                "\u{1b}[32;1m     Summary\u{1b}[0m [ 1.0s] \u{1b}[1m5\u{1b}[0m tests run: \u{1b}[1m5\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m"
            ),
            tally(5, 0)
        );
        assert_eq!(counted("12 passed, 0 failed"), None);
    }

    #[test]
    fn a_failure_is_counted_once_and_its_cause_kept() {
        let output = "
    running 1 test
    thread 'it_works' (42) panicked at src/it.rs:1:1:
    never so
    and this
    stack backtrace:
       0: main
    test result: FAILED. 0 passed; 1 failed
     Summary [   1.0s] 5 tests run: 4 passed, 1 failed, 0 skipped";
        let told = pass_on(Some(output.as_bytes()), |_| {});
        assert_eq!(told.summary, Some(Tally { passed: 4, failed: 1 }));
        assert_eq!(told.results, Tally { passed: 0, failed: 1 });
        let lines: Vec<&str> = told.panics[0].lines().map(str::trim).collect();
        assert_eq!(lines, ["thread 'it_works' (42) panicked at src/it.rs:1:1:", "never so", "and this"]);
        assert_eq!(told.panics.len(), 1);
    }
}
