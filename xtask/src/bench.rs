//! The benches: what they need, built as it ships, then run.

use crate::{debian, repository};

/// Runs the bench `what` with the given words.
pub(crate) fn run(what: &str, words: &[&str]) -> Result<(), String> {
    if what == "grid" {
        debian::install(&[("redis-server", "redis-server"), ("memcached", "memcached")])?;
    }
    let mut build = repository::cargo();
    build.args(["build", "--release", "--locked", "--package", "okapi-bench", "--package", "okapi"]);
    repository::succeed(&mut build)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository::root().join("target"), Into::into);
    repository::succeed(std::process::Command::new(target.join("release/okapi-bench")).arg(what).args(words))
}
