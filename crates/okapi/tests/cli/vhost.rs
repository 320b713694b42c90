//! Disks of virtual machines that share their memory, with a real machine at the other end.

use crate::house::{House, Running, noise};
use guest::Guest;
use rustix::process::Signal;
use std::process::{Command, Stdio};

mod guest;

const MIB: usize = 1 << 20;

fn serve(house: &House, args: &[&str]) -> Running {
    let mut command = house.command([&["vhost"], args].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    Running::new(child)
}

/// What a server that has just begun tells people to paste for so many disks: for the memory, and for each disk.
fn pieces(server: &mut Running, disks: usize) -> Vec<Vec<String>> {
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines: Vec<_> = (0..1 + disks * 2 + 2).map(|_| server.line().expect("it serves")).collect();
    let memory = lines.pop().unwrap().replace("size=1G", "size=128M");
    let disks = lines[1..=disks * 2].chunks(2).map(|pair| words(pair[1].clone()));
    [words(memory)].into_iter().chain(disks).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use std::io::Write;
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap().split_once(' ').unwrap().0.to_owned()
}

fn export(house: &House, disk: &str) -> Vec<u8> {
    house.run(&format!("image export {disk} - -q")).out
}

#[test]
fn a_machine_reads_writes_discards_and_flushes_its_disk() {
    let house = House::new();
    let _node = house.up(&[]);
    let mut content = noise(9 * MIB);
    content[2 * MIB..3 * MIB].fill(0);
    let file = house.file("base.raw", &content);
    house.ok(&format!("image import {file} -q"));
    house.ok("image clone base web-01 -q");
    let mut server = serve(&house, &["web-01", "base"]);
    let pieces = pieces(&mut server, 2).concat();
    let script = "
        cd /sys/block/vda
        say $(cat size ro) $(cat serial) $(cat queue/logical_block_size queue/physical_block_size queue/write_cache)
        say $(ls mq | wc -l) $(cat queue/max_segments queue/max_segment_size queue/discard_max_bytes) $(cat /sys/block/vdb/ro)
        say $(sha256sum < /dev/vda) $(sha256sum < /dev/vdb)
        for at in 0 1 2 3; do yes $at | dd of=/dev/vda bs=256k seek=$at count=1 conv=fsync iflag=fullblock 2>&- & done
        wait
        yes odd | dd of=/dev/vda bs=512 seek=8193 count=3 oflag=direct iflag=fullblock 2>&- && say odd
        blkdiscard -o 5242880 -l 1048576 /dev/vda && say gone
        (echo no > /dev/vdb) 2>&- || say no
        sync
        echo 3 > /proc/sys/vm/drop_caches
        for part in 0 1 2; do dd if=/dev/vda bs=3M skip=$part count=1 iflag=fullblock 2>&- | sha256sum > /$part & done
        wait
        say $(cat /0 /1 /2)";
    let mut guest = Guest::start(&house, script, &pieces);
    assert_eq!(guest.line(), format!("{} 0 web-01 512 4096 write back", 9 * MIB / 512));
    // A queue for each processor of the machine, of the four that it might have.
    assert_eq!(guest.line(), format!("2 126 524288 {} 1", 64 * MIB));
    let sum = sha256(&content);
    assert_eq!(guest.line(), format!("{sum} - {sum} -"));
    for said in ["odd", "gone", "no"] {
        assert_eq!(guest.line(), said);
    }
    for at in 0..4 {
        let text = format!("{at}\n").repeat(MIB / 8);
        content[at * MIB / 4..(at + 1) * MIB / 4].copy_from_slice(text.as_bytes());
    }
    content[8193 * 512..8196 * 512].copy_from_slice("odd\n".repeat(384).as_bytes());
    content[5 * MIB..6 * MIB].fill(0);
    let sums: Vec<_> = content.chunks(3 * MIB).map(|part| sha256(part) + " -").collect();
    assert_eq!(guest.line(), sums.join(" "));
    guest.end();
    let (status, _, errors) = server.end(Signal::TERM);
    assert!(status.success() && errors.is_empty(), "{status} {errors}");
    assert!(!house.path("data/vhost/web-01.sock").exists());
    assert!(export(&house, "web-01") == content);
}

#[test]
fn a_machine_waits_for_a_server_that_was_killed_and_loses_nothing() {
    let house = House::new();
    let _node = house.up(&[]);
    house.ok("image create a 8M -q");
    let socket = house.path("a.sock").display().to_string();
    let args = ["--socket", &socket, "--queues", "2", "a"];
    let mut server = serve(&house, &args);
    let pieces = pieces(&mut server, 1).concat();
    let pieces: Vec<_> = pieces.iter().map(|piece| piece.replace(&socket, &format!("{socket},reconnect=1"))).collect();
    let script = "
        dd if=/dev/urandom of=/all bs=1M count=8 iflag=fullblock 2>&-
        say begins
        for at in $(seq 0 127); do
            dd if=/all of=/dev/vda bs=64k skip=$at seek=$at count=1 oflag=direct conv=notrunc 2>&- || say $at failed
            [ $at = 9 ] && say nine
        done
        dd if=/dev/null of=/dev/vda conv=fsync,notrunc 2>&- && say flushed
        say $(sha256sum < /all)
        read line < /dev/console
        say $line $(dd if=/dev/vda bs=1M iflag=direct 2>&- | sha256sum)";
    let mut guest = Guest::start(&house, script, &pieces);
    assert_eq!(guest.line(), "begins");
    assert_eq!(guest.line(), "nine");
    server.kill();
    let mut server = serve(&house, &args);
    server.line().unwrap();
    assert_eq!(guest.line(), "flushed");
    let sum = guest.line();
    guest.type_line("now");
    assert_eq!(guest.line(), format!("now {sum}"));
    guest.end();
    drop(server);
    assert_eq!(format!("{} -", sha256(&export(&house, "a"))), sum);
}

#[test]
fn what_is_served_is_said_and_what_makes_no_sense_refused() {
    let house = House::new();
    let _node = house.up(&[]);
    house.ok("image create a 1M -q");
    house.ok("image create b/c 1M -q");
    let refused = |line: &str, code: i32, text: &str| {
        let ended = house.run(line);
        assert!(ended.code == code && ended.err.contains(text), "{ended:?}");
    };
    refused("vhost none", 3, "there is no disk `none`");
    refused("vhost --socket s.sock", 2, "--socket is for one disk, and these are 2 disks");
    refused("vhost --queues 17 a", 2, "17 is not in 1..=16");
    let mut server = serve(&house, &["--socket-dir", "d,r", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&server.line().unwrap()).unwrap();
    let path = house.path("d,r").canonicalize().unwrap().display().to_string();
    assert_eq!(said["disks"][1]["name"], "b/c");
    assert_eq!(said["disks"][1]["socket"], format!("{path}/b%2Fc.sock"));
    let chardev = format!("socket,id=okapi1,path={}/b%2Fc.sock", path.replace(',', ",,"));
    assert_eq!(said["disks"][1]["qemu"][1], chardev);
    refused("vhost --socket-dir d,r a", 1, "somebody listens on");
    let (status, _, errors) = server.end(Signal::INT);
    assert!(status.success() && errors.is_empty(), "{status} {errors}");
}
