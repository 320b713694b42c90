//! Two houses of one group, each with a node of its own, that use each other's grids.

use crate::house::{House, Running, noise};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A house with a member's node of its own, called so.
fn founded(name: &str) -> (House, Running) {
    let house = House::new();
    let init = format!("init --give 1G --listen 127.0.0.1:0 --no-passphrase --name {name} -q");
    let ended = house.run(&init);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let node = house.up(&[]);
    (house, node)
}

/// Two houses in one group.
pub(crate) fn neighbours() -> [(House, Running); 2] {
    let (barn, attic) = (founded("barn"), founded("attic"));
    let invited: Value = serde_json::from_str(&barn.0.ok("invite --json")).unwrap();
    let joined = attic.0.run(&format!("join {} -q", invited["ticket"].as_str().unwrap()));
    assert_eq!(joined.code, 0, "{}", joined.err);
    for house in [&barn.0, &attic.0] {
        let known = |members: &[Value]| members.len() == 2 && members.iter().all(|member| member["name"] != json!(""));
        let met = (0..5000).any(|_| known(&house.json("members")));
        assert!(met, "they know each other");
    }
    [barn, attic]
}

#[test]
fn a_neighbour_reads_and_writes_what_it_may() {
    let [(barn, _node), (attic, attics)] = neighbours();
    barn.file("x", noise(300_000));
    barn.ok("grid create photos -q");
    barn.ok("put x -g photos -q");
    let refused = attic.run("--member barn get x -g photos");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("has no right to read grid photos; its owner can give it: okapi grant photos attic read")
    );
    let unknown = attic.run("--member nobody ls");
    assert!(unknown.code == 3 && unknown.err.contains("nobody in this group is called `nobody`"), "{unknown:?}");
    assert!(barn.ok("grant photos attic read").starts_with("attic (member "));
    assert_eq!(attic.run("--member barn get x -g photos").out, noise(300_000));
    assert_eq!(attic.run("--member barn slice x 1000+24 -g photos").out, noise(300_000)[1000..1024]);
    let mut command = attic.command(["ls", "-g", "photos", "--json"]);
    let listed: Value = serde_json::from_slice(&command.env("OKAPI_MEMBER", "barn").output().unwrap().stdout).unwrap();
    assert_eq!(listed["name"], json!("x"));
    for line in ["stat x", "map", "grid ls", "ping"] {
        attic.ok(&format!("--member barn {line} -g photos"));
    }
    let script = attic.run_with(&["--member", "barn", "shell"], b"use photos\nls\nput -i5 --text no\n");
    assert!(
        script.code == 1 && script.err.contains("standard input:3") && script.err.contains("no right to write"),
        "{script:?}"
    );
    // Into a grid of one's own, and as a copy that is kept.
    attic.ok("grid create copy -q");
    attic.ok("cp @barn//photos:x copy:y -q");
    assert_eq!(attic.run("get y -g copy").out, noise(300_000));
    attic.ok("replicate @barn//photos copy -q");
    assert_eq!(attic.run("get x -g copy").out, noise(300_000));
    let rights = |house: &House| house.json("grants").iter().map(|its| its["right"].clone()).collect::<Vec<_>>();
    assert_eq!(rights(&barn), [json!("read")]);
    assert!(rights(&attic).is_empty());
    barn.ok("grant photos attic write -q");
    attic.run_with(&["--member", "barn", "put", "-", "z", "-g", "photos", "-q"], b"from the attic").ok("put");
    assert_eq!(barn.ok("get z -g photos"), "from the attic");
    assert!(attic.ok("--member barn grants").contains("write"));
    let about = attic.run("--member barn leave --now --yes");
    assert!(about.code == 2 && about.err.contains("about your own node"), "{about:?}");
    // What was granted is still so after a restart, and then no more.
    assert!(barn.ok("revoke photos attic").contains("may no longer write grid photos"));
    assert_eq!(attic.run("--member barn ls -g photos").code, 1);
    assert_eq!(attics.end(Signal::TERM).0.code(), Some(0));
    let away = barn.run("--member attic ls");
    assert_eq!(away.code, 4, "{away:?}");
    assert!(
        away.err.contains("is away") && away.err.contains("it was last heard") && away.err.contains("once it is back")
    );
}

#[test]
fn what_a_neighbour_granted_is_read_while_it_is_away() {
    let [(barn, node), (attic, _attics)] = neighbours();
    barn.file("x", noise(300_000));
    barn.ok("grid create photos -q");
    barn.ok("put x -g photos -q");
    barn.ok("grant photos attic read");
    let until = |house: &House, fact: &str, wanted: &str| {
        let met = (0..5000).any(|_| house.json("status")[0]["facts"][fact] == json!(wanted));
        assert!(met, "{fact} is {wanted}");
    };
    until(&barn, "log.moving_segments", "0");
    until(&attic, "keys_received", "1");
    barn.ok("put x y --safe -g photos -q");
    assert_eq!(node.end(Signal::TERM).0.code(), Some(0));
    let got = attic.run("--member barn get x -g photos");
    assert!(got.code == 0 && got.out == noise(300_000), "{}", got.err);
    assert!(got.err.contains("barn is away: this is what others hold of it, as it was "), "{}", got.err);
    assert_eq!(attic.run("--member barn slice y 1000+24 -g photos").out, noise(300_000)[1000..1024]);
    let names: Vec<Value> = ["x", "y"].map(|name| json!(name)).into();
    let listed = attic.json("--member barn ls -g photos");
    assert_eq!(listed.iter().map(|record| record["name"].clone()).collect::<Vec<_>>(), names);
    let refused = attic.run_with(&["--member", "barn", "put", "-", "z", "-g", "photos"], b"no");
    assert!(refused.code != 0 && refused.err.contains("read-only"), "{refused:?}");
    assert_ne!(attic.run("--member barn ls -g main").code, 0);
}
