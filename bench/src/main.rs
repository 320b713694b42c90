//! Okapi beside its peers, measured in one run: `grid` against redis and memcached, `store` against fjall, redb and LMDB.
//! `disk` is disks over NBD, against nbdkit and qemu-nbd. `group` is several nodes that keep each other's data, against GlusterFS and Tahoe-LAFS. `link` measures links between
//! members beside the bare stream below them, `route`
//! another member's grid by way of one's own node, `keys` what keys cost.
//!
//! Start it with `cargo xtask bench grid` and so on: that builds it as it ships and installs the
//! servers it needs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks through its standard streams")]

mod contender;
mod disk;
mod goal;
mod grid;
mod group;
mod keys;
mod link;
mod memory_copy;
mod options;
mod random;
mod route;
mod sample;
mod scenario;
mod server;
mod socket;
mod store;
mod table;

use options::Options;
use std::process::ExitCode;

/// Whatever went wrong, in words: a bench that meets an error has nothing to report.
type Fault = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((what, rest)) if what == "grid" => Options::read(rest).and_then(|options| grid::run(&options)),
        Some((what, rest)) if what == "disk" => Options::read(rest).and_then(|options| disk::run(&options)),
        Some((what, rest)) if what == "store" => Options::read(rest).and_then(|options| store::run(&options)),
        Some((what, rest)) if what == "group" => Options::read(rest).and_then(|options| group::run(&options)),
        Some((what, rest)) if what == "keys" => Options::read(rest).map(|options| keys::run(&options)),
        Some((what, rest)) if what == "link" => Options::read(rest).and_then(|options| link::run(&options)),
        Some((what, rest)) if what == "route" => Options::read(rest).and_then(|options| route::run(&options)),
        Some((what, rest)) if what == store::LIFE => store::live(rest),
        _ => Err(options::USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("okapi-bench: {why}");
            ExitCode::FAILURE
        }
    }
}
