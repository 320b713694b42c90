//! cargo-deny, whole: the lists of deny.toml against every feature and every target.

use crate::{debian, repository};
use std::process::Command;

const INSTALL: [&str; 3] = ["install", "cargo-deny", "--locked"];

/// Installs cargo-deny if it is missing, then runs it.
pub(crate) fn run() -> Result<(), String> {
    if !is_there() {
        println!("cargo-deny is missing here. Installing it: cargo {} (some minutes)", INSTALL.join(" "));
        repository::succeed(repository::cargo().args(INSTALL))?;
    }
    repository::succeed(&mut command())
}

/// Whether cargo-deny is installed.
pub(crate) fn is_there() -> bool {
    debian::program("cargo-deny").is_some()
}

/// What this repository asks of cargo-deny. Advisories are left out: their database needs the network.
pub(crate) fn command() -> Command {
    let mut command = repository::cargo();
    command.args(["deny", "--all-features", "check", "bans", "licenses", "sources"]);
    command
}
