//! Programs that come from Debian.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where a program lies, if it is installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps some servers where only root's PATH leads.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Installs those packages of `(program, package)` whose program is missing, and says so.
pub(crate) fn install(wanted: &[(&str, &str)]) -> Result<(), String> {
    let missing: Vec<&str> =
        wanted.iter().filter(|(name, _)| program(name).is_none()).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { get(&missing) }
}

/// Installs packages, and says so.
pub(crate) fn get(packages: &[&str]) -> Result<(), String> {
    let list = packages.join(" ");
    println!("Missing here: {list}. Installing from Debian: apt-get install {list}");
    update();
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(list.split(' '));
    apt(&words).map_err(|why| format!("{why}; install {list} yourself and run this again"))
}

/// Has the lists of packages renewed; what cannot be renewed stays as it is.
pub(crate) fn update() {
    let _ = apt(&["update"]);
}

fn apt(words: &[&str]) -> Result<(), String> {
    let as_root = std::env::var("USER").is_ok_and(|user| user == "root") || program("sudo").is_none();
    let mut command = if as_root { Command::new("apt-get") } else { Command::new("sudo") };
    if !as_root {
        command.args(["--preserve-env=RUNLEVEL,DEBIAN_FRONTEND", "apt-get"]);
    }
    // RUNLEVEL=1 keeps the packages from starting services of their own.
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").stdout(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("apt-get {} ended with {status}", words.join(" "))),
        Err(why) => Err(format!("apt-get does not run here: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_or_not() {
        assert!(program("sh").is_some());
        assert!(program("no-such-program-anywhere").is_none());
        assert!(install(&[("sh", "dash")]).is_ok());
    }
}
