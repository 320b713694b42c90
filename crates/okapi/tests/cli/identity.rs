//! Beginning a node's part in a group: what can be wrong with `okapi init` and `okapi restore`.

use crate::house::House;
use crate::terminal::Terminal;
use rustix::process::Signal;

const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                     abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art";

/// A run that fails with this exit code, says this and leaves no key behind.
fn fails(house: &House, line: &str, code: i32, said: &str) {
    let ended = house.run(line);
    assert!(ended.code == code && ended.err.contains(said) && ended.out.is_empty(), "{line}: {ended:?}");
    assert!(!house.path("data/member.key").exists(), "{line}");
}

#[test]
fn init_says_what_it_needs_where_nobody_can_be_asked() {
    let house = House::new();
    let all = "--give 64M --listen none --no-passphrase";
    fails(&house, "init", 2, "how much disk do you give? say --give SIZE");
    fails(&house, "init --give 64M", 2, "say --listen 0.0.0.0:7072 (every address of this machine) or --listen none");
    fails(&house, "init --give 1P --listen none", 2, "1 PiB cannot be given");
    fails(&house, "init --give 1M --listen none", 2, "1 MiB is too little: give at least 64 MiB");
    fails(&house, "init --give lots", 2, "is not a size");
    fails(&house, "init --listen 7072", 2, "is not an address; write 0.0.0.0:7072");
    fails(&house, &format!("init {all} --number 3"), 2, "a further node needs your member key");
    fails(&house, &format!("init {all} --advertise a/b,"), 2, "an address has no blanks");
    let name = "x".repeat(65);
    fails(&house, &format!("init {all} --name {name}"), 2, "a name has 1 to 64 bytes");
    assert!(!house.path("data").exists(), "not even a directory was made");
    fails(&house, "init --give 64M --listen none", 1, "a passphrase is needed");
}

#[test]
fn init_never_touches_a_directory_in_which_a_node_runs() {
    let house = House::new();
    let node = house.up(&[]);
    let all = "--give 64M --listen none --no-passphrase";
    for line in [format!("init {all}"), format!("restore 10.0.0.7:7072 {all} --phrase-file none")] {
        fails(&house, &line, 1, "is in use by process ");
    }
    assert_eq!(node.end(Signal::TERM).0.code(), Some(0));
}

#[test]
fn init_asks_on_a_terminal() {
    let house = House::new();
    let mut terminal = Terminal::open(&house, "init --no-passphrase", 100, 30);
    terminal.until("How much disk do you give?");
    terminal.until("give [");
    terminal.types("900P\n");
    terminal.until("900 PiB cannot be given");
    terminal.until("give [");
    terminal.types("64M\n");
    terminal.until("Listen at 0.0.0.0:7072, every address of this machine? [Y/n] ");
    // Ctrl-D: whoever has second thoughts has done nothing yet.
    terminal.types("\u{4}");
    terminal.until("no answer was given; nothing was done");
    assert_eq!(terminal.end(), 1);
    assert!(!house.path("data").exists());
}

#[test]
fn restore_names_the_wrong_word_and_the_wrong_place() {
    let house = House::new();
    let all = "--give 64M --listen none --no-passphrase";
    for via in ["nowhere", "host:0", ":7072"] {
        fails(&house, &format!("restore {via} {all}"), 2, "is neither a ticket nor the address of a node");
    }
    fails(&house, &format!("restore okapi-06CG0000 {all}"), 2, "the ticket is cut off");
    fails(&house, "restore", 2, "whom to ask? name a node of the group");
    let restore = |words: &str| {
        let line = format!("restore 10.0.0.7:7072 {all}");
        let args: Vec<&str> = line.split_whitespace().collect();
        let ended = house.run_with(&args, words.as_bytes());
        assert!(ended.code == 1 && !house.path("data").exists(), "{ended:?}");
        ended.err
    };
    assert_eq!(
        restore(&WORDS.replacen("abandon", "abandom", 1)),
        "error: word 1, `abandom`, is not a word of recovery phrases; did you mean `abandon`?\n"
    );
    assert!(restore("abandon art").contains("has 24 words and this has 2"));
    assert!(restore(&WORDS.replace("art", "arm")).contains("the words do not belong together"));
    fails(&house, &format!("restore 10.0.0.7:7072 {all} --phrase-file none"), 3, "there is no such file");
    // Typed on a terminal, the words come first: before any question about disks.
    let mut terminal = Terminal::open(&house, "restore 10.0.0.7:7072 --no-passphrase", 100, 30);
    terminal.until("type the 24 words, and Enter after the last:");
    terminal.types(&format!("{}\n", WORDS.replace("art", "arm")));
    terminal.until("do not belong together");
    assert_eq!(terminal.end(), 1);
    let mut terminal = Terminal::open(&house, "restore 10.0.0.7:7072 --no-passphrase", 100, 30);
    terminal.until("type the 24 words");
    terminal.types(&format!("{WORDS}\n"));
    terminal.until("How much disk do you give?");
    terminal.types("\u{4}");
    assert_eq!(terminal.end(), 1);
    assert!(!house.path("data").exists());
}
