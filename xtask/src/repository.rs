//! Where the repository lies and what is in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's top folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in a folder of the repository").to_path_buf()
}

/// The cargo that runs this very program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A file of the repository, by its path from the top.
pub(crate) fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(root().join(path)).map_err(|why| format!("{path} cannot be read: {why}"))
}

/// Every file that is tracked or about to be, by its path from the top; ignored ones are left out.
pub(crate) fn files() -> Result<Vec<String>, String> {
    let listed = said(Command::new("git").current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]))?;
    let there = |path: &&str| !path.is_empty() && root().join(path).is_file();
    Ok(listed.split('\0').filter(there).map(str::to_owned).collect())
}

/// What a command writes to its standard output; its complaint if it fails.
pub(crate) fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|why| format!("{command:?} did not start: {why}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|why| format!("{command:?} wrote something that is not text: {why}"))
}

/// Runs a command that shows its own output; a complaint if it fails.
pub(crate) fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|why| format!("{command:?} did not start: {why}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}
