//! Nodes: starting, stopping, settings, reaching them, keeping two alike.

use crate::house::{House, Running, noise, walk};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;

#[test]
fn a_node_says_how_to_reach_it_and_stops_cleanly() {
    let house = House::new();
    let node = house.up(&["--tcp", "127.0.0.1:0"]);
    let data = house.path("data");
    assert!(node.said[0].starts_with("okapi is up"), "{:?}", node.said);
    assert_eq!(node.target("unix:"), format!("unix:{}", data.join("okapi.sock").display()));
    assert!(node.target("tcp:").starts_with("tcp://127.0.0.1:"));
    assert_eq!(house.run("up").code, 1);
    let second = house.run("up").err;
    assert!(second.contains("is in use by process ") && second.contains("okapi.sock"), "{second}");
    assert_eq!(second.lines().count(), 1, "{second}");
    house.ok("put -i1 --text kept -q");
    let status = &house.json("status")[0];
    assert_eq!(status["owner"], json!(true));
    assert!(house.ok("ping").contains(" answers in "));
    let (status, _, errors) = node.end(Signal::TERM);
    assert_eq!((status.code(), errors.as_str()), (Some(0), "stopping; Ctrl-C again to end at once\n"));
    // What was acknowledged is there again.
    let node = house.up(&[]);
    assert_eq!(house.ok("get #1"), "kept");
    assert_eq!(node.end(Signal::INT).0.code(), Some(0));
}

#[test]
fn nobody_there_is_told_apart_from_all_else() {
    let house = House::new();
    let socket = house.path("data/okapi.sock");
    house.run("ls").failed(
        4,
        &format!(
            "error: cannot connect to unix:{}: there is no such socket; is a node running? start one with `okapi up`\n",
            socket.display()
        ),
    );
    let refused = house.run("ls --node tcp://127.0.0.1:1 --json");
    assert_eq!(refused.code, 4);
    let error: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!(error["error"]["kind"], json!("unreachable"));
    assert!(error["error"]["message"].as_str().unwrap().contains("nobody answers there"));
}

#[test]
fn over_tcp_only_tokens_open_what_is_private() {
    let house = House::new();
    let node = house.up(&["--tcp", "127.0.0.1:0"]);
    let tcp = node.target("tcp:");
    let token = house.json("grid create shared")[0]["token"].as_str().unwrap().to_owned();
    house.ok("grid create open --public -q");
    let stranger = house.run(&format!("ls -n {tcp}"));
    assert!(stranger.code == 3 && stranger.err.contains("there is no such grid, or it is private"), "{stranger:?}");
    house.ok(&format!("put -n {tcp} -g open -i1 --text x -q"));
    house.ok(&format!("put -n {tcp} -g shared --grid-token {token} -i1 --text x -q"));
    let file = house.path("data/token");
    house.ok(&format!("put -n {tcp} --token-file {} -i1 --text x -q", file.display()));
    let wrong = "0b".repeat(32);
    let refused = house.run(&format!("ls -n {tcp} --token {wrong}"));
    assert!(refused.code == 1 && refused.err.contains("refused the connection: the token is wrong"), "{refused:?}");
    let refused = house.run(&format!("ls -n {tcp} -g shared --grid-token {wrong}"));
    assert!(refused.code == 1 && refused.err.contains("the token is wrong"), "{refused:?}");
    assert!(house.run("up --data other --tcp 0.0.0.0:0").err.contains("can be reached from other machines"));
}

#[test]
fn settings_come_in_layers() {
    let house = House::new();
    house.file(".config/okapi/okapi.toml", "memory-max = '2G'\ninterval = '5s'\n");
    let mut command = house.command(["config", "--interval", "9s", "--json"]);
    let output = command.env("OKAPI_STORE_MAX", "1T").output().unwrap();
    let config: Value = serde_json::from_slice(&output.stdout).unwrap();
    let setting = |name: &str| (config["settings"][name]["value"].clone(), config["settings"][name]["from"].clone());
    assert_eq!(setting("interval"), (json!("9s"), json!("flag")));
    assert_eq!(setting("store-max"), (json!("1T"), json!("environment: OKAPI_STORE_MAX")));
    assert_eq!(setting("memory-max"), (json!("2G"), json!("file")));
    assert_eq!(setting("engine"), (json!("log"), json!("default")));
    assert_eq!(setting("data").1, json!("environment: OKAPI_DATA"));
    let shown = house.ok("config");
    assert!(shown.lines().any(|line| line.split_whitespace().take(2).eq(["memory-max", "2G"])), "{shown}");
    let bad = house.file("bad.toml", "intervall = '1s'\n");
    house
        .run(&format!("up --config {bad}"))
        .failed(2, &format!("error: {bad}: `intervall` is not a setting; did you mean `interval`?\n"));
    assert_eq!(house.run("config --config none.toml").code, 3);
    // Every setting is in the help of `up`, with its variable.
    let help = house.ok("up --help");
    for name in config["settings"].as_object().unwrap().keys().filter(|name| *name != "data") {
        let variable = format!("OKAPI_{}", name.replace('-', "_").to_uppercase());
        assert!(help.contains(&format!("--{name}")) && help.contains(&variable), "{name}");
    }
}

#[test]
fn stores_are_verified_and_compacted() {
    let house = House::new();
    let node = house.up(&[]);
    house.run_with(&["put", "-i0..", "-", "-q"], &noise(1 << 20)).ok("blocks");
    let report = &house.json("fsck")[0];
    assert_eq!(report["damages"], json!(0));
    assert!(house.ok("fsck").contains("all is well"));
    assert!(house.json("defrag")[0]["held_before"].is_u64());
    assert_eq!(node.end(Signal::TERM).0.code(), Some(0));
    let alone = house.run("fsck");
    assert_eq!((alone.code, alone.err.as_str()), (0, "no node runs: opening the store\n"));
    house.run("fsck --data none").failed(3, "error: there is no data directory none; name one with --data\n");
}

#[test]
fn damage_is_reported_and_hides_nothing_else() {
    let house = House::new();
    let node = house.up(&[]);
    house.run_with(&["put", "-i0..", "-", "-q"], &noise(1 << 20)).ok("blocks");
    assert_eq!(node.end(Signal::TERM).0.code(), Some(0));
    let is_segment =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"segment-"));
    let segments = walk(&house.path("data")).into_iter().filter(is_segment);
    let largest = segments.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    bytes[500_000] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let _node = house.up(&[]);
    let found = house.run("fsck --json");
    let report: Value = serde_json::from_slice(&found.out).unwrap();
    assert_eq!((found.code, found.err.as_str(), &report["damages"]), (1, "", &json!(1)), "{report}");
    let lost = &report["list"][0]["block"]["index"];
    let said = house.run("fsck");
    let text = String::from_utf8(said.out).unwrap();
    assert!(said.code == 1 && text.contains(&format!("block #{lost} of grid `main` is lost")), "{text}");
    for index in 0..16 {
        let got = house.run(&format!("get -i{index}"));
        assert_eq!(got.code, i32::from(*lost == json!(index)), "{index}: {}", got.err);
    }
}

#[test]
fn two_grids_are_kept_alike() {
    let house = House::new();
    let _node = house.up(&[]);
    let other = house.up_in("other", &[]);
    let there = other.target("unix:");
    house.file("x", noise(200_000));
    house.ok("put x -q");
    house.ok("put -i1 --text one -q");
    house.ok(&format!("put -n {there} -i2 --text goes -q"));
    let report = &house.json(&format!("replicate main {there}//main"))[0];
    assert_eq!((&report["bound"], &report["deleted"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(house.ok(&format!("get #1 -n {there}")), "one");
    assert!(house.run(&format!("get x -n {there}")).out == noise(200_000));
    let mut command = house.command(["replicate", "main", &format!("{there}//main"), "--follow", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut follower = Running::new(child);
    let caught_up = |follower: &mut Running| loop {
        let mark: Value = serde_json::from_str(&follower.line().expect("a mark")).unwrap();
        if mark["behind"] == json!(0) && mark["lag"] == json!(0) && mark["sequence"] != json!(0) {
            return;
        }
    };
    caught_up(&mut follower);
    house.ok("put -i3 --text three -q");
    house.ok("del #1 -q");
    // Changes arrive in order, so once the last is there all are.
    house.until(&format!("get #1 -n {there}"), 3);
    assert_eq!(house.ok(&format!("get #3 -n {there}")), "three");
    let (status, rest, errors) = follower.end(Signal::INT);
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
    assert!(rest.last().unwrap().starts_with("{\"stopped\":"), "{rest:?}");
    // Begun again it goes on from there.
    let mut command = house.command(["replicate", "main", &format!("{there}//main"), "-f"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let follower = Running::new(child);
    house.ok("put -i4 --text four -q");
    house.until(&format!("get #4 -n {there}"), 0);
    let (status, rest, errors) = follower.end(Signal::INT);
    assert!(errors.starts_with("following main from where it was left; Ctrl-C stops\n"), "{errors}");
    assert!(status.success() && rest[0].starts_with("stopped at change "), "{rest:?}");
    house.run("replicate main main").failed(2, "error: FROM and TO are the same grid\n");
}
