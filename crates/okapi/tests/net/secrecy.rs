//! Nothing that is secret leaves a machine, and nothing goes to anybody who is no member: every packet, and every file
//! of the others, is looked through.

use crate::house::{read, walk};
use crate::lab::Lab;
use crate::machine::{Machine, group, is_safe};
use crate::packets::Capture;
use memchr::memmem::Finder;
use std::net::Ipv4Addr;

/// What is planted: bytes that stand nowhere else.
const PLANTED: &[u8; 64] = b"<<the plaintext that was planted here is for nobody else's eye>>";
/// How often it stands in the file.
const TIMES: usize = 256 << 10;

#[test]
fn what_is_secret_stays_on_its_machine_and_nobody_else_is_spoken_to() {
    let Some(lab) = Lab::new() else { return };
    let capture = Capture::start(&lab);
    let machines = group(&lab, 5);
    let content = PLANTED.repeat(TIMES);
    let owner = &machines[0];
    owner.put_safe("diary", &content);
    machines[1].put_safe("copy-of-the-diary", &content[..1 << 20]);
    owner.until("it is safe", is_safe);
    let mut secrets: Vec<(String, Vec<u8>)> = machines.iter().flat_map(secrets_of).collect();
    secrets.push(("the plaintext".to_owned(), PLANTED.to_vec()));
    secrets.push(("half of it".to_owned(), PLANTED[16..48].to_vec()));

    // What is on a disk is nobody else's, and the plaintext is on none.
    for machine in &machines {
        let strange = secrets.iter().filter(|(what, _)| !what.ends_with(&format!(" of {}", machine.name)));
        assert_eq!(found_on(machine, strange), Vec::<String>::new());
    }
    // Those that may be on a disk are found there: it is the secrets that are looked for.
    for what in ["node key", "seed", "token"].map(|what| format!("{what} of m0")) {
        assert_eq!(found_on(owner, secrets.iter().filter(|(name, _)| *name == what)).len(), 1, "{what}");
    }

    // Everything comes back over the wire, the key with it.
    owner.wipe();
    owner.adopt(owner.restore(&owner.phrase, &machines[4].ticket()).finish());
    assert!(owner.get("diary") == content);
    let again = secrets_of(owner);
    assert!(again.iter().filter(|secret| secrets.contains(secret)).count() >= 4, "its keys are the same");
    secrets.extend(again);

    let members: Vec<Ipv4Addr> = machines.iter().map(|machine| machine.address).collect();
    drop(machines);
    let packets = capture.stop();
    // Two copies went out and one came back, and each packet is seen twice.
    assert!(packets.said() > 2 * 3 * content.len() as u64, "{} bytes", packets.said());
    assert_eq!(packets.find(&secrets), []);
    assert_eq!(packets.strangers(&members), Vec::<String>::new());
}

/// Which of these stand in files of a machine's node.
fn found_on<'s>(machine: &Machine, wanted: impl Iterator<Item = &'s (String, Vec<u8>)>) -> Vec<String> {
    let wanted: Vec<_> = wanted.map(|(what, bytes)| (what, Finder::new(bytes))).collect();
    let mut found = Vec::new();
    for file in walk(&machine.data()) {
        let bytes = read(&file);
        let here = wanted.iter().filter(|(_, finder)| finder.find(&bytes).is_some());
        found.extend(here.map(|(what, _)| format!("{what} in {}", file.display())));
    }
    found
}

/// What of a machine nobody else may see, as bytes and as they are written.
fn secrets_of(machine: &Machine) -> Vec<(String, Vec<u8>)> {
    let data = machine.data();
    let part = |file: &str, at: usize| read(&data.join(file))[at..at + 32].to_vec();
    let member = read(&machine.member_key)[104..136].to_vec();
    let mut keys = vec![("node key", part("node.key", 12)), ("seed", part("node.id", 32)), ("member secret", member)];
    let hex: Vec<_> = keys.iter().map(|(what, key)| (*what, crate::machine::hex(key).into_bytes())).collect();
    keys.extend(hex);
    let token = read(&data.join("token"));
    keys.push(("token", token.trim_ascii().to_vec()));
    let words: Vec<&str> = machine.phrase.split(' ').collect();
    keys.extend(words.windows(3).map(|some| ("words", some.join(" ").into_bytes())));
    keys.into_iter().map(|(what, bytes)| (format!("{what} of {}", machine.name), bytes)).collect()
}
