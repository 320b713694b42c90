//! Scripts, the shell, completions, manual pages, and everything that is said about wrong input.

use crate::house::House;
use serde_json::{Value, json};

#[test]
fn scripts_run_in_sequence_and_stop_at_the_first_error() {
    let house = House::new();
    let _node = house.up(&[]);
    house.file("a b.txt", "spaced");
    let script = "\
# a comment, and an empty line

grid create photos -q   # another comment
use photos
put --index 5 --text 'hello there' -q
get #5
put 'a b.txt' \"c d\" -q
ls
stat --grid main --json
exit
get never
";
    let path = house.file("good.okapi", script);
    let out = house.ok(&format!("run {path}"));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("token "), "{out}");
    assert_eq!(lines[1], "hello therec d");
    assert!(lines[2].starts_with('{') && lines[2].contains("\"name\":\"main\""), "{out}");
    let path = house.file("bad.okapi", "put -i1 --text x -q\nget #1 # fine\nget #2\nput -i3 --text never\n");
    let ended = house.run(&format!("run {path}"));
    ended.failed(1, &format!("error: {path}:3: block #2 of grid `main`: absent, nothing is stored there\n"));
    assert_eq!(ended.out, b"x");
    assert_eq!(house.run("get #3").code, 3, "nothing after the error was run");
    let ended = house.run_with(&["shell"], b"use main\nput 'unclosed\n");
    ended.failed(1, "error: standard input:2: a ' is not closed\n");
    let ended = house.run_with(&["run", "-"], b"gett x\n");
    ended.failed(1, "error: standard input:1: unrecognized subcommand 'gett' - a similar subcommand exists: 'get'\n");
    let ended = house.run_with(&["run", "-"], b"up\n");
    assert!(ended.code == 1 && ended.err.contains("unrecognized subcommand 'up'"), "{ended:?}");
    assert!(house.run_with(&["run", "-"], b"help\n").ok("help").contains("  put          Store a file"));
    let ended = house.run_with(&["run", "-"], b"use nowhere\n");
    ended.failed(
        1,
        "error: standard input:1: grid `nowhere`: opening it failed: there is no such grid, or it is private; \
         see `okapi grid ls`, or give its token\n",
    );
    house.run("run none.okapi").failed(3, "error: none.okapi: there is no such file\n");
    let ended = house.run_with(&["shell", "--json"], b"stat none\n");
    let error: Value = serde_json::from_str(&ended.err).unwrap();
    assert_eq!(error["error"]["kind"], json!("unknown-record"));
}

#[test]
fn completions_and_manual_pages_come_from_the_list() {
    let house = House::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = house.ok(&format!("completions {shell}"));
        for word in ["replicate", "if-generation", "compaction-rate"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert!(house.ok("man").starts_with(".ie"), "{}", house.ok("man"));
    assert_eq!(house.ok("man pages"), "70 pages in pages\n");
    let page = std::fs::read_to_string(house.path("pages/okapi-grid-create.1")).unwrap();
    assert!(page.contains("block\\-size"), "{page}");
    assert_eq!(house.ok("version"), concat!("okapi ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(house.ok("--version"), house.ok("version"));
    assert!(house.ok("--help").contains("Exit codes: 0 done, 1 failed"));
}

/// Whatever is wrong is named, in one line where it is ours to say, and with the exit code of its kind.
#[test]
fn wrong_input_is_named() {
    let house = House::new();
    let _node = house.up(&[]);
    house.file("file", "x");
    house.file("big", vec![1; 70_000]);
    house.file("bigger", vec![1; 140_000]);
    let long_name = "n".repeat(1025);
    let rename = format!("put file {long_name}");
    for (line, code, text) in [
        ("get", 2, "error: what? name a record, or a block with --index\n"),
        ("put", 2, "error: what to store? name a file, or - for standard input, or give --text\n"),
        ("put -", 2, "error: under which name? write `okapi put NAME -`, or give --index\n"),
        ("put none", 3, "error: none: there is no such file; to store from a pipe, write `okapi put none -`\n"),
        ("put .", 2, "error: .: give a name to store it under\n"),
        ("put . x", 2, "error: .: that is a directory; name a file\n"),
        ("put file -i5 x", 2, "error: a name and --index cannot both be meant; leave one out\n"),
        (
            "put -i5 big",
            1,
            "error: big is longer than a block (64 KiB); let it span blocks with #5.., or store a record\n",
        ),
        ("put -i5..7 bigger", 1, "error: bigger is longer than #5..7 hold; nothing was stored\n"),
        ("slice file", 2, "error: which bytes? write a range, as in 10M-20M or 512+16\n"),
        ("slice file x", 2, "error: `x` is not a range; write 10M-20M, 10M+5M, 10M- or -1M\n"),
        ("get nothing -o out", 3, "there is no record named `nothing`"),
        ("get -i281474976710656", 2, "reaches past the last index, 281474976710655 (2^48 - 1)"),
        ("get -i-1", 2, "is not an index; write 5, 5..10 (5 to 9), 5+10 (ten from 5) or 5.."),
        ("get file --range 5", 2, "is not a range; write 10M-20M, 10M+5M, 10M- or -1M"),
        ("get file --range 9-5", 2, "ends before it begins"),
        ("put -i5 --text x --at 70000", 1, "offset 70000 is past the end of block #5"),
        ("put -i5 --text xy --at 65535", 1, "the slice reaches past the end of the block"),
        ("put file --at 0 --if-generation 3", 2, "cannot be used with"),
        ("ls --grid no-such", 3, "there is no such grid, or it is private; see `okapi grid ls`"),
        ("ls --node x", 2, "`x` does not say where a node is; write unix:/path/to/socket or tcp://host:port"),
        ("ls --node ftp://x", 2, "scheme that is not known"),
        ("ls --token xyz", 2, "a token is 64 hexadecimal digits"),
        ("grid create .x", 2, "a grid's name has 1 to 64 letters"),
        ("grid create x -s 1000", 2, "a block size is a power of two from 512 to 1M"),
        ("grid create x -d never", 2, "a durability is always, interval or memory"),
        ("cp tcp://h:1//x y", 2, "names a node and no grid; write NODE//GRID:NAME"),
        ("replicate main :", 2, "is not a grid's name"),
        ("fsck --node tcp://127.0.0.1:1", 4, "nobody answers there"),
        ("up --interval soon", 2, "is not a time; write 250ms, 5s, 2m, 1h or 1d"),
        ("up --memory-max lots", 2, "is not a size; write 512, 64K, 10M, 1.5G or 2T"),
        ("gte", 2, "unrecognized subcommand"),
        (&rename, 1, "the name is empty, too long or has characters that names may not have"),
    ] {
        let ended = house.run(line);
        let fits = if text.starts_with("error:") { ended.err == text } else { ended.err.contains(text) };
        assert!(ended.code == code && fits, "{line}\n{ended:?}");
        assert!(ended.err.starts_with("error: "), "{line}: {}", ended.err);
        let json = house.run(&format!("{line} --json"));
        let error: Value = serde_json::from_str(&json.err).unwrap_or_else(|error| panic!("{line}: {error}: {json:?}"));
        assert!(error["error"]["kind"].is_string() && error["error"]["message"].is_string(), "{line}: {error}");
        assert_eq!(json.code, code, "{line}");
    }
}
