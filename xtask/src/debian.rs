//! Programs that come from Debian.

use crate::repository;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the newest kernel that is made for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

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
    let _ = apt(&["update"]);
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(list.split(' '));
    apt(&words).map_err(|why| format!("{why}; install {list} yourself and run this again"))
}

/// Unpacks Debian's kernel for virtual machines into `guest` beside what is built, unless one is there, and says so. It is
/// not installed: it is not to start this machine.
pub(crate) fn unpack_kernel() -> Result<(), String> {
    let built = std::env::current_exe().map_err(|why| format!("where this program lies is unknown: {why}"))?;
    let folder = built.parent().and_then(Path::parent).ok_or("this program lies in no folder")?.join("guest");
    if folder.join("boot").is_dir() {
        return Ok(());
    }
    println!("Missing here: a kernel for virtual machines. Getting Debian's {KERNEL}");
    let _ = apt(&["update"]);
    let listed = repository::said(Command::new("apt-cache").args(["depends", "--important", KERNEL]))?;
    let package = listed.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let package = format!("linux-image-{}", package.ok_or_else(|| format!("{KERNEL} names no kernel: {listed}"))?);
    std::fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    repository::said(Command::new("apt-get").args(["download", &package]).current_dir(&folder))?;
    let entries = std::fs::read_dir(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    let archive = files.find(|path| path.extension().is_some_and(|end| end == "deb"));
    let archive = archive.ok_or_else(|| format!("{package} did not come"))?;
    repository::said(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&folder))?;
    std::fs::remove_file(&archive).map_err(|why| format!("{}: {why}", archive.display()))
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
