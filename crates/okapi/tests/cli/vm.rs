//! Machines from fanned images: Debian's kernel, by software emulation, whoever's processor this is.

use crate::boot::{Boot, boot};
use crate::fan::partitioned;
use crate::grants::neighbours;
use crate::house::{House, Running};
use crate::terminal::Terminal;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

/// What the guest does: says who it is, as its disk says; and if it is to stay, does what it is told until its button is
/// pressed.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
mount -t vfat -o ro $(findfs LABEL=CIDATA) /seed
ip=$(sed -n 's/^    addresses: \[\([0-9.]*\).*/\1/p' /seed/network-config)
dns=$(sed -n 's/^    nameservers: {addresses: \[\(.*\)\]}.*/\1/p' /seed/network-config)
echo "I am $ip and ask $dns"
cat /seed/meta-data
if grep -q okapi.stay /proc/cmdline; then
    read word
    echo "I heard $word"
    echo "$word" | dd of=/dev/vda bs=512 seek=6000 conv=fsync 2>/dev/null
    echo "I wrote it down"
    button=$(sed -n '/"Power Button"/,/^H/s/^H.*\(event[0-9]*\).*/\1/p' /proc/bus/input/devices)
    dd if=/dev/input/$button of=/dev/null bs=24 count=1 2>/dev/null
    echo "I am told to go"
fi
poweroff -f
"#;

/// What is there to boot.
struct Guest {
    kernel: PathBuf,
    initrd: String,
}

impl Guest {
    fn new(house: &House) -> Self {
        let Boot { kernel, initrd } = boot(INIT);
        Self { kernel, initrd: house.file("initrd", initrd) }
    }

    /// A command to run it; the last of `more` is for the kernel.
    fn words(&self, image: &str, more: &[&str]) -> Vec<String> {
        let (kernel, initrd) = (self.kernel.display().to_string(), self.initrd.clone());
        let words = ["vm", "run", image, "--emulate", "--memory", "128M", "--net", "none", "--kernel", &kernel];
        let append = ["quiet panic=-1 no_timer_check", more.last().copied().unwrap_or_default()].join(" ");
        // A guest that fails ends, and the test with it.
        let rest = ["--initrd", &initrd, "--append", &append, "--", "-no-reboot"];
        let more = &more[..more.len().saturating_sub(1)];
        words.iter().chain(more).chain(&rest).map(|word| (*word).to_owned()).collect()
    }
}

fn fanned(house: &House) -> String {
    let file = house.file("tiny.raw", partitioned());
    house.ok(&format!("image import {file} disk -q"));
    house.ok("image prepare disk tiny -q");
    house.ok("image fan tiny --net 10.1.2.0/24 --dns 9.9.9.9,1.1.1.1 -q");
    assert_eq!(house.ok("image ls tiny-").lines().count(), 254);
    "tiny".to_owned()
}

fn spoke(log: &str, ip: &str) -> bool {
    let name = format!("instance-id: \"tiny-{ip}\"");
    log.contains(&format!("I am {ip} and ask 9.9.9.9, 1.1.1.1")) && log.contains(&name)
}

#[test]
fn three_of_254_machines_boot_and_know_who_they_are() {
    let house = House::new();
    let node = house.up(&[]);
    let guest = Guest::new(&house);
    fanned(&house);
    let start = |ip: &str, more: &[&str]| {
        let mut command = house.command(guest.words(&format!("tiny-{ip}"), more));
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // One here, to its end.
    let ended = start("10.1.2.254", &[]).wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && spoke(&out, "10.1.2.254"), "{out} {err}");
    let said =
        "tiny-10.1.2.254 runs, by software emulation, which is many times slower than KVM; Ctrl-] turns it off\n";
    assert_eq!(err, said);
    assert_eq!(house.ok("vm ls"), "");
    // Two by themselves, until they are told to go.
    for ip in ["10.1.2.1", "10.1.2.77"] {
        let started = start(ip, &["--detach", "okapi.stay"]).wait_with_output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let said = String::from_utf8(started.stdout).unwrap();
        assert!(said.starts_with(&format!("tiny-{ip} runs as process ")), "{said}");
    }
    let listed = house.json("vm ls");
    let field = |key: &str| listed.iter().map(|machine| machine[key].clone()).collect::<Vec<Value>>();
    assert_eq!(field("image"), ["tiny-10.1.2.1", "tiny-10.1.2.77"]);
    assert_eq!(field("mac"), ["02:00:0a:01:02:01", "02:00:0a:01:02:4d"]);
    for ip in ["10.1.2.1", "10.1.2.77"] {
        let mut command = house.command(["vm", "console", &format!("tiny-{ip}"), "-q"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut keys = child.stdin.take().unwrap();
        let mut console = Running::new(child);
        // What is typed before somebody listens is lost, as with any serial line.
        let heard = lines_until(&mut console, "local-hostname: ");
        assert!(spoke(&heard, ip), "{heard}");
        keys.write_all(format!("hello-{ip}\n").as_bytes()).unwrap();
        let heard = lines_until(&mut console, "I wrote it down");
        assert!(heard.contains(&format!("I heard hello-{ip}")), "{heard}");
        console.end(Signal::TERM);
    }
    let used = &house.json("vm ls")[1];
    assert_eq!(used["own_bytes"], json!(2 * 4096), "its identity, and what it wrote");
    assert!(used["written_bytes"].as_u64() >= Some(512) && used["read_bytes"].as_u64() > Some(0), "{used}");
    assert!(used["cpu_seconds"].as_f64() > Some(0.1) && used["memory_bytes"].as_u64() > Some(16 << 20), "{used}");
    let stopped = house.json("vm stop tiny-10.1.2.1 tiny-10.1.2.77 --patience 5m");
    assert_eq!(stopped.iter().map(|one| one["forced"].clone()).collect::<Vec<_>>(), [json!(false), json!(false)]);
    assert!(house.ok("vm console tiny-10.1.2.77 --log").contains("I am told to go"));
    assert_eq!(house.ok("vm ls"), "");
    let out = house.run("image export tiny-10.1.2.77 -").out;
    assert!(out[6000 * 512..].starts_with(b"hello-10.1.2.77\n"), "what it wrote is there");
    drop(node);
}

fn lines_until(running: &mut Running, text: &str) -> String {
    let mut all = String::new();
    loop {
        let line = running.line().unwrap_or_else(|| panic!("it ended without `{text}`: {all}"));
        all += &format!("{line}\n");
        if line.contains(text) {
            return all;
        }
    }
}

/// The disk stays where it is, sealed; who runs it was given the right to it, and sees what it is sent over a link of two keys.
#[test]
fn a_machine_runs_at_a_neighbour_who_was_granted_its_disk() {
    let [(barn, _node), (attic, _attics)] = neighbours();
    fanned(&barn);
    let guest = Guest::new(&attic);
    let run = || {
        let mut command = attic.command(guest.words("tiny-10.1.2.9", &[]));
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("OKAPI_MEMBER", "barn").stdin(Stdio::null());
        let ended = command.output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
    };
    let refused = run();
    assert!(refused.0 == Some(1) && refused.2.contains("okapi grant disks attic"), "{refused:?}");
    barn.ok("grant disks attic write -q");
    let ran = run();
    assert!(ran.0 == Some(0) && spoke(&ran.1, "10.1.2.9"), "{ran:?}");
    barn.ok("image rm tiny-10.1.2.9 -q");
}

#[test]
fn a_machine_whose_server_is_killed_is_swept_and_starts_again() {
    let house = House::new();
    let _node = house.up(&[]);
    house.ok("image create a 1M -q");
    let path = std::env::var_os("PATH").unwrap();
    let detach = || {
        let mut command =
            house.command(["vm", "run", "a", "--detach", "--emulate", "--memory", "16M", "--net", "none", "--json"]);
        let output = command.env("PATH", &path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let first = detach();
    let second = house.command(["vm", "run", "a"]).env("PATH", &path).output().unwrap();
    let second = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second, "error: machine `a` runs already; `okapi vm ls` shows it\n");
    let busy = house.run("image rm a");
    assert!(busy.code == 1 && busy.err.contains("is in use by process"), "{busy:?}");
    let kill = |record: &Value, key: &str| {
        let pid = rustix::process::Pid::from_raw(record[key].as_i64().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        // Its first thread may be over before the others, and its files are open until the last of them is.
        let number = record[key].as_i64().unwrap();
        let threads = || fs::read_dir(format!("/proc/{number}/task")).map_or(0, Iterator::count);
        while rustix::process::test_kill_process(pid).is_ok() && (state(number) != Some('Z') || threads() > 1) {
            std::thread::yield_now();
        }
    };
    kill(&first, "server");
    assert_eq!(house.ok("vm ls"), "");
    let again = detach();
    assert_ne!(again["pid"], first["pid"]);
    let mut terminal = Terminal::open(&house, "vm console a", 80, 24);
    terminal.until("the console of a; Ctrl-] leaves");
    // Keys are the machine's, Ctrl-C too, but for the one that leaves.
    terminal.until_raw();
    terminal.types("\u{3}\u{1d}");
    assert_eq!(terminal.end(), 0, "{}", terminal.shown);
    assert_eq!(house.json("vm ls")[0]["pid"], again["pid"], "it goes on");
    assert!(house.json("vm stop a --force")[0]["forced"] == json!(true));
    house.run("vm stop a").failed(3, "error: no machine `a` runs; `okapi vm ls` shows those that do\n");
    house.ok("image rm a -q");
}

/// The state of a process, if there is one.
fn state(pid: i64) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[test]
fn what_cannot_be_run_is_said() {
    let house = House::new();
    let _node = house.up(&[]);
    house.ok("image create a 1M -q");
    house.ok("image clone a b -q");
    let without = house.run("vm run a");
    let said = "error: machines are run by qemu-system-";
    assert!(
        without.code == 3 && without.err.starts_with(said) && without.err.contains("apt-get install"),
        "{without:?}"
    );
    for (line, code, text) in [
        ("vm run none", 3, "error: there is no disk `none`"),
        ("vm run a", 1, "error: disk `a` has children"),
        ("vm run b --kernel nowhere", 3, "error: nowhere: there is no such file"),
        ("vm run b --net tap=tap0 --forward 1:2", 2, "error: --forward is for --net user"),
        ("vm run b --memory 1K", 2, "error: a machine with a memory of 1 KiB does not start"),
        ("vm run b --emulate --net none -- -nonsense", 1, "error: qemu: "),
        ("vm console c", 3, "error: no machine `c` runs"),
    ] {
        let mut command = house.command(line.split_whitespace());
        let ended = command.env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null()).output().unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(code) && err.contains(text), "{line}: {:?} {err}", ended.status);
    }
    assert_eq!(house.ok("vm ls"), "");
}
