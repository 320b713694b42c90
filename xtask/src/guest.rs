//! What the tests boot: Debian's own kernel and the few of its modules that a guest needs to see its disk.

use crate::{debian, repository};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Modules, in the order in which they can be loaded.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "fat",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "button",
    "evdev",
];

/// Puts the kernel and its modules where the tests look for them, if they are not there.
///
/// The package is unpacked and not installed: installed it would make a first file system for this machine, and want to
/// start it.
pub(crate) fn fetch() -> Result<(), String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository::root().join("target"), PathBuf::from);
    let place = target.join("tmp/guest");
    // Written last, so that nothing is taken for whole that is not.
    let order = place.join("order");
    if order.is_file() {
        return Ok(());
    }
    let arch = said(Command::new("dpkg").arg("--print-architecture"))?;
    let named = said(Command::new("apt-cache").args(["depends", &format!("linux-image-cloud-{}", arch.trim())]));
    let package = named.as_deref().ok().and_then(dependency).map(str::to_owned);
    let package = match package {
        Some(package) => package,
        None => {
            debian::update();
            let named =
                said(Command::new("apt-cache").args(["depends", &format!("linux-image-cloud-{}", arch.trim())]))?;
            dependency(&named).ok_or("Debian has no kernel for machines in clouds here")?.to_owned()
        }
    };
    println!("The tests boot a kernel. Getting Debian's: apt-get download {package}");
    let failed = |why: std::io::Error| format!("{}: {why}", place.display());
    let unpacked = place.join("unpacked");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&unpacked).map_err(failed)?;
    let download = || said(Command::new("apt-get").args(["download", &package]).current_dir(&place));
    if download().is_err() {
        // An old list names what is no longer there.
        debian::update();
        download()?;
    }
    let files = || walk(&place);
    let archive = files().into_iter().find(|path| path.extension().is_some_and(|ending| ending == "deb"));
    let archive = archive.ok_or("apt-get downloaded nothing")?;
    said(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&unpacked))?;
    let named = |file: &str| {
        let starts = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(file));
        files().into_iter().find(starts).ok_or(format!("{package} has no {file}"))
    };
    fs::rename(named("vmlinu")?, place.join("kernel")).map_err(failed)?;
    for module in MODULES {
        let file = format!("{module}.ko");
        fs::rename(named(&file)?, place.join(&file)).map_err(failed)?;
    }
    fs::remove_dir_all(&unpacked).and_then(|()| fs::remove_file(&archive)).map_err(failed)?;
    fs::write(order, MODULES.join("\n")).map_err(failed)
}

/// The package that one which stands for the newest depends on.
fn dependency(listed: &str) -> Option<&str> {
    listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
}

fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|why| format!("{command:?} did not start: {why}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_what_the_list_depends_on() {
        let listed = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-1-cloud-amd64\n  Suggests: x\n";
        assert_eq!(dependency(listed), Some("linux-image-6.1.0-1-cloud-amd64"));
        assert_eq!(dependency("nothing\n"), None);
    }
}
