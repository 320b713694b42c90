//! The node key: the one secret from which every key of a node's store is derived.
//!
//! Its file, 48 bytes, little endian:
//!
//! ```text
//! 0        8          10      12       44       48
//! +--------+----------+-------+--------+--------+
//! | magic  | version  | zero  | key    | CRC    |
//! +--------+----------+-------+--------+--------+
//! ```

use okapi_base::crc32c;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, ZeroizeOnDrop};

const MAGIC: [u8; 8] = *b"OKAPIKEY";
const VERSION: u16 = 1;
const FILE_BYTES: usize = 48;

/// 32 secret bytes: wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret made elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The secret that `context` and `salt` make of this one. Each use has its own `context`, for ever.
    #[must_use]
    pub fn derive(&self, context: &'static str, salt: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0);
        hasher.update(salt);
        let secret = Self(*hasher.finalize().as_bytes());
        hasher.zeroize();
        secret
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// The secret of one node.
#[derive(Debug, Clone)]
pub struct NodeKey(Secret);

impl NodeKey {
    /// A key of given bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// A new random key, kept nowhere.
    #[must_use]
    pub fn random() -> Self {
        let mut secret = Secret([0; 32]);
        crate::random(&mut secret.0);
        Self(secret)
    }

    /// The secret that `context` and `salt` make of this key.
    #[must_use]
    pub fn derive(&self, context: &'static str, salt: &[u8]) -> Secret {
        self.0.derive(context, salt)
    }

    /// Loads the key from its file.
    ///
    /// # Errors
    /// [`KeyError`]; a file that others may read is refused.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
            _ => io(source),
        })?;
        let mode = file.metadata().map_err(io)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::TooOpen { path: path.to_owned(), mode });
        }
        let mut bytes = zeroize::Zeroizing::new([0; FILE_BYTES + 1]);
        let mut filled = 0;
        loop {
            match file.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(error)),
            }
        }
        Self::parse(&bytes[..filled]).map_err(|what| KeyError::Damaged { path: path.to_owned(), what })
    }

    /// Makes a new random key and its file, which must not be there yet. The key is on the disk when this returns.
    ///
    /// # Errors
    /// [`KeyError`]; an existing file is never touched.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let key = Self::random();
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|s| match s.kind() {
                io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
                _ => io(s),
            })?;
        let written = file.write_all(&*key.file_bytes()).and_then(|()| file.sync_all());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Err(source) = written.and_then(|()| File::open(folder)?.sync_all()) {
            // Half a key file would only stand in the way of the next attempt; nothing was sealed with it yet.
            drop(std::fs::remove_file(path));
            return Err(io(source));
        }
        Ok(key)
    }

    fn file_bytes(&self) -> zeroize::Zeroizing<[u8; FILE_BYTES]> {
        let mut bytes = zeroize::Zeroizing::new([0; FILE_BYTES]);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..44].copy_from_slice(self.0.bytes());
        let crc = crc32c(&bytes[..44]);
        bytes[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() != FILE_BYTES {
            return Err("it is not 48 bytes long");
        }
        if bytes[..8] != MAGIC {
            return Err("it does not begin as a key file does");
        }
        if bytes[44..] != crc32c(&bytes[..44]).to_le_bytes() {
            return Err("its checksum does not match");
        }
        if bytes[8..10] != VERSION.to_le_bytes() || bytes[10..12] != [0, 0] {
            return Err("it was made by a newer version");
        }
        let mut secret = Secret([0; 32]);
        secret.0.copy_from_slice(&bytes[12..44]);
        Ok(Self(secret))
    }
}

/// Why there is no node key.
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
    fn a_key_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        assert!(matches!(NodeKey::load(&path), Err(KeyError::Missing { .. })));
        let key = NodeKey::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(NodeKey::load(&path).unwrap().0.bytes(), key.0.bytes());
        assert!(matches!(NodeKey::create(&path), Err(KeyError::Exists { .. })));
        assert_eq!(NodeKey::load(&path).unwrap().0.bytes(), key.0.bytes());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        NodeKey::create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = NodeKey::load(&path).unwrap_err();
            assert!(matches!(error, KeyError::TooOpen { .. }), "{mode:o}: {error}");
            assert!(error.to_string().contains("chmod 600"));
        }
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed() {
        let good = NodeKey::from_bytes([5; 32]).file_bytes();
        assert!(NodeKey::parse(&*good).is_ok());
        for at in 0..good.len() {
            let mut bad = *good;
            bad[at] ^= 1;
            assert!(NodeKey::parse(&bad).is_err(), "byte {at}");
            assert!(NodeKey::parse(&good[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn secrets_are_not_shown_and_contexts_part_them() {
        let key = NodeKey::from_bytes([0xab; 32]);
        assert_eq!(format!("{key:?}"), "NodeKey(Secret(not shown))");
        let one = key.derive("okapi test one", b"salt");
        assert_ne!(one.bytes(), key.derive("okapi test two", b"salt").bytes());
        assert_ne!(one.bytes(), key.derive("okapi test one", b"tlas").bytes());
        assert_eq!(one.bytes(), key.derive("okapi test one", b"salt").bytes());
    }
}
