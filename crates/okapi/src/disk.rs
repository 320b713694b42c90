//! How much room there is on the disk of a directory.

use crate::failure::Failure;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Room on a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// What this user may still write.
    pub free: u64,
    /// What the directory itself takes already.
    pub taken: u64,
}

impl Room {
    /// The room where `directory` is, or will be made.
    ///
    /// # Errors
    /// [`Failure`] if the system does not tell.
    pub(crate) fn at(directory: &Path) -> Result<Self, Failure> {
        let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let disk = rustix::fs::statvfs(there).map_err(|error| Failure::io(there.display(), &error.into()))?;
        Ok(Self { free: disk.f_bavail.saturating_mul(disk.f_frsize), taken: taken(directory) })
    }

    /// All that could be given: what is free, and what is taken already by what it is given for.
    pub(crate) fn most(self) -> u64 {
        self.free.saturating_add(self.taken)
    }
}

/// Bytes on the disk of all files below. What cannot be looked at takes nothing: it only makes the answer more careful.
fn taken(path: &Path) -> u64 {
    let Ok(found) = path.symlink_metadata() else { return 0 };
    let own = found.blocks() * 512;
    if !found.is_dir() {
        return own;
    }
    let Ok(entries) = std::fs::read_dir(path) else { return own };
    entries.filter_map(Result::ok).map(|entry| taken(&entry.path())).fold(own, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_directory_takes_may_be_given() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("a/b");
        let before = Room::at(&data).unwrap();
        assert!(before.free > 0 && before.taken == 0, "{before:?}");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("c"), vec![1; 1 << 20]).unwrap();
        let after = Room::at(home.path()).unwrap();
        assert!(after.taken >= 1 << 20, "{after:?}");
        assert_eq!(after.most(), after.free + after.taken);
    }
}
