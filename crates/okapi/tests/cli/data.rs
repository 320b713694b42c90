//! Records, blocks, grids: what goes in comes out.

use crate::house::{House, noise, read};
use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

#[test]
fn a_large_file_comes_back_whole_and_in_part() {
    let house = House::new();
    let _node = house.up(&[]);
    let content = noise(64 << 20);
    let file = house.file("in/large.bin", &content);
    let said = house.ok(&format!("put {file}"));
    assert!(said.starts_with("large.bin  64 MiB  1,024 blocks  "), "{said}");
    let hash = blake3::hash(&content).to_hex().to_string();
    assert!(said.trim_end().ends_with(&format!("blake3 {}", &hash[..8])), "{said}");
    let said = house.ok("get large.bin -o out.bin");
    assert!(said.starts_with("large.bin -> out.bin  64 MiB  ") && said.ends_with("verified\n"), "{said}");
    assert!(read(&house.path("out.bin")) == content);
    for (range, bytes) in [
        ("10M-20M", 10 << 20..20 << 20),
        ("10M+5", 10 << 20..(10 << 20) + 5),
        ("65535-65537", 65_535..65_537),
        ("67108863-", (64 << 20) - 1..64 << 20),
        ("64M-65M", 64 << 20..64 << 20),
    ] {
        let ended = house.run(&format!("get large.bin --range {range}"));
        assert!(ended.code == 0 && ended.out == content[bytes], "{range}: {}", ended.err);
    }
    let ended = house.run("slice large.bin 1M+1K");
    assert!(ended.out == content[1 << 20..(1 << 20) + 1024]);
    let json = &house.json("get large.bin -o again.bin")[0];
    assert_eq!((&json["bytes"], &json["verified"]), (&json!(64 << 20), &json!(true)));
    let json = &house.json("stat large.bin")[0];
    assert_eq!(json["blake3"], json!(hash));
    assert_eq!(json["blocks"], json!(1024));
    let left: Vec<_> = std::fs::read_dir(house.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".part-")), "{left:?}");
}

#[test]
fn pipes_go_in_and_out() {
    let house = House::new();
    let _node = house.up(&[]);
    let content = noise(300_001);
    house.run_with(&["put", "a/b c", "-", "-q"], &content).ok("put from a pipe");
    assert!(house.run_with(&["get", "a/b c"], b"").out == content);
    assert!(house.run_with(&["get", "a/b c", "-o", "-"], b"").out == content);
    house.run_with(&["put", "-", "empty", "-q"], b"").ok("an empty record");
    assert_eq!(house.ok("get empty"), "");
    house.run_with(&["put", "-i", "7..", "-", "-q"], &content).ok("over blocks");
    assert!(house.run_with(&["get", "--index", "7..100"], b"").out == content);
    assert!(house.run_with(&["get", "#8", "-r", "10-20"], b"").out == content[65_546..65_556]);
    assert_eq!(house.ok("ls"), "a/b c\nempty\n");
    // Nobody who reads on: no failure, no complaint.
    house.ok("grid create small --block-size 512");
    house.run_with(&["put", "-g", "small", "-i0..", "-"], &noise(8 << 20));
    let mut command = house.command(["ls", "--blocks", "-g", "small"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    drop(out);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((line.as_str(), errors.as_str(), child.wait().unwrap().code()), ("#0\n", "", Some(0)));
}

#[test]
fn blocks_are_put_got_changed_and_deleted() {
    let house = House::new();
    let _node = house.up(&[]);
    assert!(house.ok("put --index 5 --text hello").starts_with("#5  5 B  generation "));
    assert_eq!(house.ok("get --index 5"), "hello");
    assert_eq!(house.ok("get #5 --range 1+3"), "ell");
    house.ok("put -i5 --text LL --at 2 -q");
    assert_eq!(house.ok("get #5"), "heLLo");
    assert_eq!(house.ok("slice -i5 0+2 --text HE"), "#5  2 bytes at 0\n");
    assert_eq!(house.ok("slice #5 0+4"), "HELL");
    let stat = &house.json("stat #5")[0];
    assert_eq!((&stat["index"], &stat["bytes"]), (&json!(5), &json!(5)));
    let generation = stat["generation"].as_u64().unwrap();
    house.ok(&format!("put -i5 --text new --if-generation {generation} -q"));
    let stale = house.run(&format!("put -i5 --text newer --if-generation {generation}"));
    assert!(
        stale.code == 1 && stale.err.contains("it has changed meanwhile; get it again and decide anew"),
        "{stale:?}"
    );
    assert_eq!(house.json("get #5")[0]["text"], json!("new"));
    house.ok("put -i6 --text once --if-generation 0 -q");
    assert_eq!(house.run("put -i6 --text twice --if-generation 0").code, 1);
    // The last index there is, and nothing where nothing was put.
    house.ok("put -i281474976710655 --text end -q");
    assert_eq!(house.ok("ls --blocks"), "#5\n#6\n#281474976710655\n");
    assert!(house.ok("ls --blocks #5..7 -l").starts_with("#5                      3 B  crc32c "));
    let absent = house.run("get #9");
    absent.failed(3, "error: block #9 of grid `main`: absent, nothing is stored there\n");
    assert!(absent.out.is_empty());
    assert!(house.ok("put -i6 --text=").starts_with("#6  deleted"));
    assert_eq!(house.run("get #6").code, 3);
    assert_eq!(house.ok("del -i 0..100"), "deleted 1 block\n");
    assert_eq!(house.ok("del #0..100"), "nothing to delete\n");
    house.run("del #5").failed(3, "error: block #5 of grid `main`: absent, nothing is stored there\n");
}

#[test]
fn records_are_listed_patched_and_deleted() {
    let house = House::new();
    let _node = house.up(&[]);
    let file = house.file("x.txt", "0123456789");
    for name in ["p/a", "p/b", "p/c", "q"] {
        house.ok(&format!("put {file} {name} --type text/plain -q"));
    }
    assert_eq!(house.ok("ls p/"), "p/a\np/b\np/c\n");
    assert_eq!(house.ok("ls --limit 1"), "p/a\n");
    let long = house.ok("ls -l q");
    assert!(long.starts_with("10 B  20") && long.trim_end().ends_with("  q"), "{long}");
    let json = house.json("ls p/");
    assert_eq!(json.len(), 3);
    assert_eq!((&json[1]["name"], &json[1]["type"]), (&json!("p/b"), &json!("text/plain")));
    assert_eq!(house.ok("put p/b --at 3 --text XYZ"), "p/b  3 bytes at 3\n");
    assert_eq!(house.ok("get p/b"), "012XYZ6789");
    assert_eq!(house.json("stat p/b")[0]["blake3"], json!(null), "the hash of a changed record is not known");
    assert_eq!(house.run("slice p/b 8+4 --text WXYZ").code, 2, "past the end");
    let generation = house.json("stat q")[0]["generation"].clone();
    house.ok(&format!("put {file} q --if-generation {generation} -q"));
    assert_eq!(house.run(&format!("put {file} q --if-generation {generation}")).code, 1);
    assert_eq!(house.run(&format!("del q --if-generation {generation}")).code, 1);
    assert_eq!(house.ok("rm q p/a"), "deleted 2 records\n");
    assert_eq!(house.ok("del --all-under p/"), "deleted 2 records\n");
    assert_eq!(house.ok("ls --blocks"), "", "their blocks are gone too");
    house.run("get q").failed(3, "error: record `q` of grid `main`: opening it failed: there is no record named `q`\n");
    house.run("stat q").failed(3, "error: record `q` of grid `main`: there is no such record\n");
    assert_eq!(house.run("del q").code, 3);
}

#[test]
fn grids_are_made_listed_and_dropped() {
    let house = House::new();
    let _node = house.up(&[]);
    let made = house.ok("grid create photos -s 4K -d interval");
    let lines: Vec<&str> = made.lines().collect();
    assert_eq!(lines[0], "photos  blocks of 4 KiB, interval, engine log");
    assert!(lines[1].starts_with("token ") && lines[1].len() == 70, "{made}");
    assert_eq!(
        house.ok("grid ls"),
        "\
name    blocks of  occupied  stored  records  kept      engine
main       64 KiB         0     0 B        0  always    log
photos      4 KiB         0     0 B        0  interval  log
"
    );
    let json = &house.json("grid create fast -d memory")[0];
    assert_eq!((&json["durability"], &json["engine"]), (&json!("memory"), &json!("memory")));
    let again = house.run("grid create photos");
    assert!(again.code == 1 && again.err.contains("there is a grid named `photos` already"), "{again:?}");
    house.ok("put --grid photos -i1 --text x -q");
    assert_eq!(house.json("stat --grid photos")[0]["blocks"], json!(1));
    house.run("grid drop photos").failed(2, "error: dropping grid `photos` deletes all that is in it; say --yes\n");
    assert_eq!(house.ok("grid drop photos --yes"), "dropped photos\n");
    assert_eq!(house.run("stat --grid photos").code, 3);
    assert_eq!(house.run("grid drop photos --yes").code, 3);
}

#[test]
fn copies_go_between_names_blocks_and_grids() {
    let house = House::new();
    let _node = house.up(&[]);
    let other = house.up_in("other", &[]);
    let there = other.target("unix:");
    house.ok("grid create backup -s 4K -q");
    let content = noise(100_000);
    house.file("x", &content);
    house.ok("put x -q");
    house.run_with(&["put", "-i0..", "-", "-q"], &noise(9_000)).ok("blocks");
    house.ok("put -i3 --text three -q");
    assert!(house.ok("cp x backup:").starts_with("backup:  1 record  97.7 KiB"));
    assert!(house.run("get x --grid backup").out == content, "from blocks of 64 KiB to blocks of 4 KiB");
    house.ok("cp x y -q");
    assert!(house.ok("cp #3 backup:#5000").starts_with("backup:#5000  1 block  5 B"));
    assert_eq!(house.ok("get #5000 --grid backup"), "three");
    house.ok("cp main:#0..4 main:#10 -q");
    assert_eq!(house.ok("get #13"), "three");
    let all = house.ok(&format!("cp main: {there}//main:"));
    assert!(all.contains("2 records and 4 blocks"), "{all}");
    let over = house.ok(&format!("ls --node {there}"));
    assert_eq!(over, "x\ny\n");
    assert_eq!(house.ok(&format!("get #3 -n {there}")), "three");
    house.ok(&format!("cp {there}//main:x back -q"));
    assert!(house.run("get back").out == content);
    for (line, code, text) in [
        ("cp x backup:#1", 2, "a record cannot be copied to blocks"),
        ("cp main: backup:x", 2, "all of a grid cannot be copied to one name"),
        ("cp #0..4 #2", 2, "overlap"),
        ("cp none z", 3, "error: record `none` of grid `main`: "),
        ("cp #77 #78", 3, "absent"),
        ("cp x nowhere:", 3, "there is no such grid"),
    ] {
        let ended = house.run(line);
        assert!(ended.code == code && ended.err.contains(text), "{line}: {ended:?}");
    }
}

#[test]
fn the_map_shows_what_there_is() {
    let house = House::new();
    let _node = house.up(&[]);
    assert!(house.ok("map").contains("nothing is stored here yet"));
    house.run_with(&["put", "-i0..", "-", "-q"], &noise(10 * 65_536)).ok("blocks");
    house.file("x", noise(100 * 65_536));
    house.ok("put x -q");
    let map = house.ok("map");
    assert!(map.lines().all(|line| line.chars().count() <= 80), "{map}");
    assert!(!map.contains('\u{1b}'), "no colours in a pipe");
    assert!(house.ok("map --color always").contains('\u{1b}'));
    let expected = "\
main · blocks of 64 KiB · always
┌─────────────┬────────────────────────────────────────────────────────────────┐
│           0 │██████████                                                      │
│             │┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ 1,099,511 M empty ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄│
│        2^40 │▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇│
│     2^40+64 │▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇                            │
└─────────────┴────────────────────────────────────────────────────────────────┘
  a cell: 1 block, 64 KiB    ░▒▓█ own blocks  ▂▄▆▇ records  · empty
";
    assert!(map.starts_with(expected), "{map}");
    assert!(map.contains("full        110 blocks, 6.88 MiB stored (100 % of their room)\n"), "{map}");
    assert!(map.contains("fragmented  2 runs, the largest 100 blocks, 55 on average\n"), "{map}");
    assert!(map.contains("store       1 segment, 8 MiB held, 86 % of it live\n"), "{map}");
    assert!(house.ok("map --ascii").is_ascii());
    let json = &house.json("map")[0];
    assert_eq!((&json["own"], &json["records"]), (&json!([[0, 10]]), &json!([[1u64 << 40, 100]])));
}

/// Deleting many blocks takes a while, and nobody is to find some of them meanwhile.
#[test]
fn the_blocks_of_a_removed_record_are_gone_at_once() {
    let house = House::new();
    let node = house.up(&[]);
    house.ok("grid create small -s 512 -d interval -q");
    let grid = crate::storm::connect(&node).grid("small", None).unwrap();
    let content = noise(20_000 * 512);
    for _ in 0..3 {
        grid.write_record("many", "", None, &mut &content[..], &mut |_| ()).unwrap();
        assert!(grid.remove("many", None).unwrap());
        let left = grid.list(okapi_client::Index::MIN, false).count();
        assert_eq!(left, 0);
    }
}
