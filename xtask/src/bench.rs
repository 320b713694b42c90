//! The benches: what they need, built as it ships, then run.

use crate::{debian, python, repository};
use std::path::PathBuf;

/// Runs the bench `what` with the given words.
pub(crate) fn run(what: &str, words: &[&str]) -> Result<(), String> {
    if what == "grid" {
        debian::install(&[("redis-server", "redis-server"), ("memcached", "memcached")])?;
    }
    if what == "disk" {
        let rivals = [("nbdkit", "nbdkit"), ("qemu-nbd", "qemu-utils"), ("nbdcopy", "libnbd-bin"), ("fio", "fio")];
        debian::install(&rivals)?;
    }
    let target = target();
    if what == "group" {
        rivals_of_group(&target);
    }
    let mut build = repository::cargo();
    build.args(["build", "--release", "--locked", "--package", "okapi-bench", "--package", "okapi"]);
    repository::succeed(&mut build)?;
    repository::succeed(std::process::Command::new(target.join("release/okapi-bench")).arg(what).args(words))
}

/// One that cannot be had is left out, and the bench says so.
fn rivals_of_group(target: &std::path::Path) {
    let gluster =
        [("glusterd", "glusterfs-server"), ("gluster", "glusterfs-cli"), ("mount.glusterfs", "glusterfs-client")];
    let tahoe = target.join("rivals/tahoe");
    for missing in [debian::install(&gluster), python::install("tahoe", "tahoe-lafs", &tahoe)] {
        if let Err(why) = missing {
            println!("{why}");
        }
    }
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository::root().join("target"), Into::into)
}
