//! Programs that come from the Python package index, each in an environment of its own below the target folder.

use crate::{debian, repository};
use std::path::Path;
use std::process::Command;

/// Installs `package` below `folder` unless its `program` is there.
pub(crate) fn install(program: &str, package: &str, folder: &Path) -> Result<(), String> {
    if folder.join("bin").join(program).is_file() {
        return Ok(());
    }
    println!("Missing here: {package}. Installing it with pip into {}", folder.display());
    // The interpreter alone is not enough: Debian keeps what makes environments apart.
    debian::install(&[("python3", "python3")])?;
    let made = || repository::said(Command::new("python3").args(["-m", "venv"]).arg(folder));
    if made().is_err() {
        debian::get(&["python3-venv"])?;
        made()?;
    }
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", package]);
    repository::succeed(&mut pip)
}
