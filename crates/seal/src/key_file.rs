//! Files that hold keys: made once, never written over, read only if nobody else can read them.

use crate::fill::fill;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Reads a key file of at most `bytes_max`; a longer one is cut one byte after that, which no format can miss.
///
/// # Errors
/// [`KeyError`]; a file that others may read is refused.
pub fn read(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => io(source),
    })?;
    let mode = file.metadata().map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { path: path.to_owned(), mode });
    }
    // Never grown while it is filled: that would leave copies behind.
    let mut bytes = Zeroizing::new(vec![0; bytes_max + 1]);
    let filled = fill(&mut file, &mut bytes).map_err(io)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Makes a key file, which must not be there yet. It is on the disk when this returns.
///
/// # Errors
/// [`KeyError`]; an existing file is never touched.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|source| {
            match source.kind() {
                io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
                _ => io(source),
            }
        })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(source) = written.and_then(|()| File::open(folder)?.sync_all()) {
        // Half a key file would only stand in the way of the next attempt; nothing was sealed with it yet.
        drop(std::fs::remove_file(path));
        return Err(io(source));
    }
    Ok(())
}

/// Why a key file could not be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no such file.
    #[error("there is no key file {}; without it the store cannot be read, bring it back from your copy", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is such a file already.
    #[error("there already is a key file {}; it is never written over, move it away first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read it.
    #[error("key file {} has mode {mode:04o}, so others can read it; run `chmod 600 {}`", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not what was written.
    #[error("key file {} cannot be used: {what}; bring it back from your copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The operating system could not read or write it.
    #[error("key file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_others_can_read_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.key");
        assert!(matches!(read(&path, 10), Err(KeyError::Missing { .. })));
        create(&path, b"secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path, 10).unwrap_err();
            assert!(matches!(error, KeyError::TooOpen { .. }), "{mode:o}: {error}");
            assert!(error.to_string().contains("chmod 600"));
        }
    }

    #[test]
    fn nothing_is_written_over_and_no_more_is_read_than_can_be_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.key");
        create(&path, b"secret").unwrap();
        assert!(matches!(create(&path, b"other"), Err(KeyError::Exists { .. })));
        assert_eq!(read(&path, 10).unwrap().as_slice(), b"secret");
        assert_eq!(read(&path, 6).unwrap().as_slice(), b"secret");
        assert_eq!(read(&path, 3).unwrap().as_slice(), b"secr", "one more than can be right");
        assert!(matches!(create(&folder.path().join("no/some.key"), b"x"), Err(KeyError::Io { .. })));
    }
}
