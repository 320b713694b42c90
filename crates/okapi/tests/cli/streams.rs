//! Files of any size go through the program without ever being in its memory.

use crate::house::{House, peak};
use std::io::{Read, Write};
use std::process::Stdio;

const MIB: usize = 1 << 20;
const LENGTH: usize = 300 * MIB;
/// What `put` and `get` may take, whatever the file's size.
const COMMAND_MAX: u64 = 64 << 20;
/// What the node may be given for what it receives and what it is about to send.
const BUDGET: u64 = 24 << 20;
/// What it takes besides: chunks of the log on their way to the disk (40 of 256 KiB and a block of at most 1 MiB),
/// the index, threads, the program itself.
const BESIDES: u64 = 96 << 20;

/// The stream's MiB number `number`: mostly zeros, nowhere twice the same.
fn fill(piece: &mut [u8], number: usize) {
    piece.fill(0);
    for (at, page) in piece.chunks_mut(4096).enumerate() {
        page[..8].copy_from_slice(&((number << 8 | at) as u64).to_le_bytes());
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "the harness shows it when asked to")]
fn a_stream_is_never_held_in_memory() {
    let house = House::new();
    let budget = (BUDGET >> 20).to_string() + "M";
    let node = house.up(&["--receive-budget", &budget, "--reply-budget", &budget]);
    let mut hash = blake3::Hasher::new();
    let mut piece = vec![0; MIB];
    let mut put = house.command(["put", "-", "stream", "-q"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = put.stdin.take().unwrap();
    for number in 0..LENGTH / MIB {
        fill(&mut piece, number);
        hash.update(&piece);
        stdin.write_all(&piece).unwrap();
    }
    // It waits for the end of its input: all it will ever hold it has held.
    let putting = peak(put.id());
    drop(stdin);
    assert!(put.wait().unwrap().success());
    assert!(putting < COMMAND_MAX, "put took {putting} bytes");
    let mut get = house.command(["get", "stream"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = get.stdout.take().unwrap();
    let mut back = blake3::Hasher::new();
    let mut getting = 0;
    for number in 0..LENGTH / MIB {
        if number == LENGTH / MIB - 1 {
            // More is left than a pipe holds, so it cannot have ended.
            getting = peak(get.id());
        }
        stdout.read_exact(&mut piece).unwrap();
        back.update(&piece);
    }
    assert_eq!(stdout.read(&mut piece).unwrap(), 0, "and not a byte more");
    assert!(get.wait().unwrap().success());
    assert!(getting < COMMAND_MAX, "get took {getting} bytes");
    assert_eq!(hash.finalize(), back.finalize());
    let serving = node.peak();
    assert!(serving < 2 * BUDGET + BESIDES, "the node took {serving} bytes");
    eprintln!("peaks: put {} MiB, get {} MiB, node {} MiB", putting >> 20, getting >> 20, serving >> 20);
}
