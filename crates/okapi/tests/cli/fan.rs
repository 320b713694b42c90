//! A clone for every address of a network, and what is burned into each, seen by other programs.

use crate::house::{House, noise};
use crate::nbd::{Guest, serve};
use serde_json::json;
use std::process::Command;

/// A disk of 4 MiB with one partition in the old table, from 1 to 2 MiB.
pub(crate) fn partitioned() -> Vec<u8> {
    let mut image = noise(2 << 20);
    image.resize(4 << 20, 0);
    image[446..512].fill(0);
    image[446 + 4] = 0x83;
    image[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
    image[446 + 12..446 + 16].copy_from_slice(&2048u32.to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xAA]);
    image
}

/// What a program says of files of the house.
fn said(house: &House, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(house.path("")).env("MTOOLSRC", "/dev/null").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn machines_of_a_whole_network_know_their_addresses() {
    let house = House::new();
    let _node = house.up(&[]);
    house.file("debian.raw", partitioned());
    house.ok("image import debian.raw -q");
    let prepared = &house.json("image prepare debian fan")[0];
    assert_eq!(prepared["seed"], json!({"offset": 2 << 20, "bytes": 1 << 20}), "where nothing was");
    house.file("user.yaml", "#cloud-config\npackages: [nginx]\n");
    let fan = "image fan fan --net 10.1.2.0/24 --dns 9.9.9.9,1.1.1.1 --user-data user.yaml";
    let planned = house.json(&format!("{fan} --dry-run"));
    assert_eq!(house.ok("image ls"), "debian\nfan\n", "nothing is made by planning");
    let before = house.json("stat -g disks")[0]["blocks"].as_u64().unwrap();
    let made = house.json(fan);
    assert_eq!((made.len(), planned.len()), (254, 254));
    for (planned, made) in planned.iter().zip(&made) {
        for key in ["name", "ip", "mac"] {
            assert_eq!(planned[key], made[key]);
        }
    }
    assert_eq!(made[6]["name"], json!("fan-10.1.2.7"));
    let after = house.json("stat -g disks")[0]["blocks"].as_u64().unwrap();
    assert_eq!(after - before, 2 * 254, "a head each, and a block");
    house.ok("image export fan-10.1.2.7 -q");
    let volume = "fan-10.1.2.7.raw@@2M";
    assert!(said(&house, "mdir", &["-i", volume, "::"]).contains("Volume in drive : is CIDATA"));
    let file = |name: &str| said(&house, "mtype", &["-i", volume, &format!("::{name}")]);
    assert_eq!(file("meta-data"), "instance-id: \"fan-10.1.2.7\"\nlocal-hostname: \"fan-10-1-2-7\"\n");
    assert_eq!(file("user-data"), "#cloud-config\npackages: [nginx]\n");
    let network = file("network-config");
    for part in ["macaddress: \"02:00:0a:01:02:07\"", "addresses: [10.1.2.7/24]", "addresses: [9.9.9.9, 1.1.1.1]"] {
        assert!(network.contains(part), "{network}");
    }
    let told = house.run("image fan fan --net 10.9.9.0/30 --gateway 10.9.9.1 --name x-{host}");
    assert!(told.ok("one").starts_with("fan  1 clone  x-2 to x-2  "));
    assert_eq!(house.ok("image rm --all debian"), "removed 257 disks\n");
}

#[test]
fn a_newer_table_gets_its_place_too_and_is_sound_for_others() {
    let house = House::new();
    let _node = house.up(&[]);
    let blank = house.file("gpt.raw", vec![0; 8 << 20]);
    let table = house.file("table", "label: gpt\nstart=2048, size=4096, name=root\n");
    said(&house, "sh", &["-c", &format!("PATH=$PATH:/usr/sbin:/sbin; sfdisk -q {blank} < {table}")]);
    // Longer than the table knows, as an image that was given its final size.
    house.ok("image import gpt.raw --size 12M -q");
    house.ok("image prepare gpt fan -q");
    house.ok("image fan fan --net 10.1.2.4/31 -q");
    house.ok("image export fan-10.1.2.5 a.raw -q");
    let listed =
        said(&house, "sh", &["-c", "PATH=$PATH:/usr/sbin:/sbin; sfdisk --verify a.raw && sfdisk --dump a.raw"]);
    assert!(listed.contains("No errors detected") && listed.contains("last-lba: 24542"), "{listed}");
    assert!(listed.contains("name=\"root\"") && listed.contains("name=\"CIDATA\""), "{listed}");
    assert!(said(&house, "mtype", &["-i", "a.raw@@20K", "::network-config"]).contains("10.1.2.5/31"), "{listed}");
    let again = house.run("image prepare fan more");
    assert!(again.code == 1 && again.err.contains("has a place for a seed already, at 20480"), "{again:?}");
}

#[test]
fn templates_go_where_they_say() {
    let house = House::new();
    let _node = house.up(&[]);
    let content = noise(1 << 20);
    house.file("appliance.raw", &content);
    house.ok("image import appliance.raw -q");
    let template = "offset = 5000\nsize = 256\ntext = 'ip={ip}/{prefix} gw={gateway} dns={dns} {name} {mac}'\n";
    house.file("place.toml", template);
    house.ok("image fan appliance --net 10.0.0.0/29 --gateway 10.0.0.6 --dns 8.8.8.8 --skip 10.0.0.2 --template place.toml -q");
    assert_eq!(
        house.ok("image ls"),
        "appliance\nappliance-10.0.0.1\nappliance-10.0.0.3\nappliance-10.0.0.4\nappliance-10.0.0.5\n"
    );
    let out = house.run("image export appliance-10.0.0.4 -").out;
    let text = b"ip=10.0.0.4/29 gw=10.0.0.6 dns=8.8.8.8 appliance-10.0.0.4 02:00:0a:00:00:04";
    assert_eq!(&out[5000..5000 + text.len()], text);
    assert!(out[5000 + text.len()..5256].iter().all(|byte| *byte == 0));
    assert!(out[..5000] == content[..5000] && out[5256..] == content[5256..], "all else is the image's");
}

#[test]
fn what_cannot_be_fanned_out_is_said_and_nothing_is_made() {
    let house = House::new();
    let _node = house.up(&[]);
    house.file("a.raw", partitioned());
    house.ok("image import a.raw -q");
    house.ok("image prepare a b -q");
    house.ok("image create plain 1M -q");
    house.ok("image create b-10.0.0.9 1M -q");
    house.file("far.toml", "offset = '1M'\nsize = 512\ntext = '{ip}'\n");
    house.file("odd.json", "{\"offset\": 0, \"size\": 512, \"text\": \"{ipp}\"}");
    house.file("big", noise(200_000));
    let before = house.ok("image ls");
    for (line, code, text) in [
        (
            "a --net 10.0.0.0/24",
            1,
            "error: disk `a` has no place for a seed (a partition called CIDATA); `okapi image prepare a NAME`",
        ),
        ("plain --net 10.0.0.0/24", 1, "error: disk `plain` has no place for a seed"),
        (
            "plain --net 10.0.0.0/24 --template far.toml",
            2,
            "error: far.toml: the 512 bytes at 1048576 are not all within the 1048576",
        ),
        ("plain --net 10.0.0.0/24 --template odd.json", 2, "error: odd.json: {ipp} stands for nothing; there are {ip}"),
        ("plain --net 10.0.0.0/24 --template none", 3, "error: none: there is no such file"),
        ("b --net 10.0.0.0/24", 1, "error: there is a disk `b-10.0.0.9` already"),
        ("b --net 10.0.0.0/24 --dry-run", 1, "error: there is a disk `b-10.0.0.9` already"),
        ("b --net 10.0.0.0/24 --name web", 2, "error: --name: all would be called `web`"),
        ("b --net 10.0.0.0/24 --name .{host}", 2, "error: `.1` is no name for a disk"),
        ("b --net 10.0.0.0/30 --name {gateway}", 2, "error: --name: {gateway} is not known; say it with --gateway"),
        ("b --net 10.0.0.0/30 --user-data big", 2, "error: the files of a seed need"),
        ("b --net 10.0.0.1/24", 2, "the network itself is 10.0.0.0/24"),
        ("b --net fd00::/64", 2, "only IPv4 networks"),
        ("b --net 10.0.0.0/16", 2, "error: 10.0.0.0/16 has more than 4096 addresses"),
        ("c --net 10.0.0.0/24", 3, "error: there is no disk `c`"),
    ] {
        let ended = house.run(&format!("image fan {line}"));
        assert!(ended.code == code && ended.err.contains(text), "{line}: {ended:?}");
        assert_eq!(house.ok("image ls"), before, "{line}");
    }
    let error: serde_json::Value =
        serde_json::from_str(&house.run("image fan a --net 10.0.0.0/24 --json").err).unwrap();
    assert_eq!(error["error"]["kind"], json!("no-place"));
    for (line, text) in [
        ("plain x", "disk `plain` has no partition table"),
        ("b x", "has a place for a seed already"),
        ("a b", "there is a disk `b` already"),
    ] {
        let ended = house.run(&format!("image prepare {line}"));
        assert!(ended.code == 1 && ended.err.contains(text), "{line}: {ended:?}");
    }
    // Somebody writes to it.
    let mut server = serve(&house, &["b"]);
    server.line().unwrap();
    let guest = Guest::enter(&house, "b");
    let busy = house.run("image fan b --net 10.0.1.0/24");
    assert!(busy.code == 1 && busy.err.contains("error: disk `b` is in use by process "), "{busy:?}");
    assert_eq!(house.ok("image ls"), before);
    drop(guest);
}
