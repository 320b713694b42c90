//! Disks: images in, clones, images out.

use crate::house::{House, noise, read};
use serde_json::json;
use std::process::Command;

/// An image of so many bytes with zeros in the middle.
fn image(length: usize) -> Vec<u8> {
    let mut bytes = noise(length);
    bytes[length / 3..length / 2].fill(0);
    bytes
}

#[test]
fn an_image_is_cloned_changed_and_comes_out_again() {
    let house = House::new();
    let _node = house.up(&[]);
    assert_eq!(house.ok("image ls"), "", "nothing is made by looking");
    assert_eq!(house.json("grid ls").len(), 1);
    let content = image(10 << 20);
    let file = house.file("debian.raw", &content);
    assert!(house.ok(&format!("image import {file}")).starts_with("debian  10 MiB  "));
    assert!(house.ok("image clone debian web-01 web-02").starts_with("debian  2 clones  "));
    assert_eq!(house.ok("image ls"), "debian\nweb-01\nweb-02\n");
    let long = house.ok("image ls -l web");
    let row: Vec<&str> = long.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((&row[..5], &row[7..]), (&["10", "MiB", "0", "B", "0"][..], &["web-01", "debian", "-"][..]), "{long}");
    assert_eq!(house.ok("image export web-01 -q"), "");
    assert!(read(&house.path("web-01.raw")) == content);
    assert!(house.run("image export web-02 -").out == content);
    let blocks = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        house.path(path).metadata().unwrap().blocks() * 512
    };
    assert!(blocks("web-01.raw") <= (10 << 20) - (1 << 20), "zeros are a hole");
    // A disk of its own, changed by what is beside it.
    house.ok("image snapshot web-01 web-01@monday -q");
    house.ok("image resize web-01 +2M -q");
    assert_eq!(house.json("image ls web-01")[0]["bytes"], json!(12 << 20));
    assert_eq!(house.json("image ls web-01")[0]["parent"], json!("web-01@monday"));
    house.ok("image resize web-01 1M --shrink -q");
    house.ok("image flatten web-01 -q");
    assert_eq!(house.json("image ls web-01")[0]["parent"], json!(null));
    assert!(house.run("image export web-01 -").out == content[..1 << 20]);
    assert_eq!(house.ok("image rm --all debian"), "removed 3 disks\n");
    assert_eq!(house.ok("image rm web-01"), "removed 1 disk\n");
    assert_eq!(house.json("stat -g disks")[0]["blocks"], json!(0), "nothing is left of what is gone");
}

#[test]
fn what_cannot_be_done_is_said() {
    let house = House::new();
    let _node = house.up(&[]);
    house.ok("image create a 1M -q");
    house.ok("image clone a b c -q");
    for (line, code, text) in [
        ("image create a 1M", 1, "error: there is a disk `a` already; choose another name, or remove it first\n"),
        ("image rm a", 1, "error: disk `a` has children, and what they show would change: `b`, `c`\n"),
        ("image commit b", 1, "error: the parent `a` of disk `b` has other children, which would change: `c`\n"),
        ("image flatten a", 1, "error: disk `a` has children"),
        ("image clone no x", 3, "error: there is no disk `no`; `okapi image ls` shows those there are\n"),
        ("image resize b 4K", 2, "error: disk `b` would lose its last 1020 KiB; say --shrink"),
        ("image create d 1000", 2, "error: a disk of 1000 bytes cannot be"),
        ("image import none.raw", 3, "error: none.raw: there is no such file\n"),
        ("image import -", 2, "error: name the disk that standard input becomes"),
        ("image ls -g nowhere", 3, "grid `nowhere`"),
        ("image ls -g main", 0, ""),
    ] {
        let ended = house.run(line);
        assert!(ended.code == code && ended.err.contains(text), "{line}: {ended:?}");
    }
    let error: serde_json::Value = serde_json::from_str(house.run("image rm a --json").err.trim()).unwrap();
    assert_eq!(error["error"]["kind"], json!("has-children"));
    house.ok("put -q --index 3 --text x");
    house.run_with(&["put", "r", "-", "-q"], b"x").ok("a record");
    let ended = house.run("image create x 1M -g main");
    assert!(ended.code == 1 && ended.err.contains("has 1 records, and no disks can be where records are"), "{ended:?}");
    let ended = house.run_with(&["image", "import", "-", "long", "--size", "1M"], &noise(2 << 20));
    assert!(ended.code == 1 && ended.err.contains("is longer than the 1048576 bytes asked for"), "{ended:?}");
    assert_eq!(house.ok("image ls"), "a\nb\nc\n");
}

#[test]
fn pipes_and_the_formats_of_others() {
    let house = House::new();
    let _node = house.up(&[]);
    let content = image(3 << 20);
    house.run_with(&["image", "import", "-", "piped", "--block-size", "4K", "-q"], &content).ok("a pipe");
    assert!(house.run("image export piped -").out == content);
    house.ok("image export piped out.qcow2 --format qcow2 -q");
    assert!(read(&house.path("out.qcow2")).starts_with(b"QFI\xFB"));
    assert!(house.ok("image import out.qcow2").starts_with("out  3 MiB  "));
    assert!(house.run("image export out -").out == content);
    house.file("raw", &content);
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", "vmdk", "raw", "disk.vmdk"]).current_dir(house.path(""));
    assert!(convert.status().unwrap().success());
    house.ok("image import disk.vmdk -q");
    assert!(house.run("image export disk -").out == content);
    let ended = house.run("image export piped x --format nonsense");
    assert!(ended.code == 1 && ended.err.contains("qemu-img could not convert"), "{ended:?}");
    let mut without = house.command(["image", "import", "disk.vmdk", "again"]);
    let said = without.env("PATH", "/nowhere").output().unwrap();
    let said = (said.status.code(), String::from_utf8(said.stderr).unwrap());
    assert!(said.0 == Some(3) && said.1.contains("not installed (on Debian: apt-get install qemu-utils)"), "{said:?}");
}

#[test]
fn disks_outlive_a_killed_node() {
    let house = House::new();
    let node = house.up(&[]);
    let content = image(5 << 20);
    let file = house.file("a.raw", &content);
    house.ok(&format!("image import {file} -q"));
    house.ok("image clone a b c d -q");
    house.ok("image resize d 6M -q");
    node.end(rustix::process::Signal::KILL);
    let _node = house.up(&[]);
    assert_eq!(house.ok("image ls"), "a\nb\nc\nd\n");
    assert!(house.run("image export c -").out == content);
    assert_eq!(house.json("image ls d")[0]["bytes"], json!(6 << 20));
}
