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

use crate::envelope::{Context, DataKey, Envelope, EnvelopeError, OpenError};
use crate::key_file::{self, KeyError};
use crate::recipient::{Recipient, RecipientKey};
use crate::secret::Secret;
use okapi_base::{NodeId, crc32c};
use std::path::Path;
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"OKAPIKEY";
const VERSION: u16 = 1;
const FILE_BYTES: usize = 48;

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
        Self(Secret::random())
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
        let bytes = key_file::read(path, FILE_BYTES)?;
        Self::parse(&bytes).map_err(|what| KeyError::Damaged { path: path.to_owned(), what })
    }

    /// Makes a new random key and its file, which must not be there yet. The key is on the disk when this returns.
    ///
    /// # Errors
    /// [`KeyError`]; an existing file is never touched.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let key = Self::random();
        key.keep(path)?;
        Ok(key)
    }

    /// Makes the file of a key that came back, which must not be there yet.
    ///
    /// # Errors
    /// [`KeyError`]; an existing file is never touched.
    pub fn keep(&self, path: &Path) -> Result<(), KeyError> {
        key_file::create(path, &*self.file_bytes())
    }

    /// The envelope of this key that its member can open: it lies beside every shard of the node's segments.
    ///
    /// # Panics
    /// If `recipient` is no point of the curve: a member's key always is.
    #[must_use]
    pub fn seal_to(&self, recipient: [u8; 32], node: NodeId) -> Vec<u8> {
        let key = DataKey::from_secret(self.0.clone());
        key.seal_to(&[Recipient::X25519(recipient)], &context(node)).expect("a member's key is a key")
    }

    /// The key that an envelope of [`NodeKey::seal_to`] holds.
    ///
    /// # Errors
    /// [`NodeKeyLost`], which says why it is none.
    pub fn open_sealed(envelope: &[u8], key: &RecipientKey, node: NodeId) -> Result<Self, NodeKeyLost> {
        let envelope = Envelope::parse(envelope)?;
        Ok(Self(envelope.open_with(key, &context(node))?.secret().clone()))
    }

    fn file_bytes(&self) -> Zeroizing<[u8; FILE_BYTES]> {
        let mut bytes = Zeroizing::new([0; FILE_BYTES]);
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
        Ok(Self(Secret::copy_of(&bytes[12..44])))
    }
}

fn context(node: NodeId) -> Context {
    Context::new("okapi 2026 envelope: key of node", &node.0)
}

/// Why a node's key did not come back from its envelope.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyLost {
    /// The envelope is none.
    #[error("the node's key cannot be taken from its envelope: {0}")]
    Envelope(#[from] EnvelopeError),
    /// It is somebody else's.
    #[error("the node's key cannot be opened: {0}")]
    Open(#[from] OpenError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

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
    fn its_member_alone_opens_it_again() {
        let (member, other) = (crate::MemberSecret::random(), crate::MemberSecret::random());
        let Recipient::X25519(recipient) = member.recipient_key().recipient() else { panic!("X25519") };
        let (key, node) = (NodeKey::random(), member.node_id(0));
        let sealed = key.seal_to(recipient, node);
        assert!(sealed.len() <= 1024, "{}", sealed.len());
        let open =
            |sealed: &[u8], by: &crate::MemberSecret, node| NodeKey::open_sealed(sealed, &by.recipient_key(), node);
        assert_eq!(open(&sealed, &member, node).unwrap().0.bytes(), key.0.bytes());
        assert!(open(&sealed, &other, node).is_err() && open(&sealed, &member, member.node_id(1)).is_err());
        assert!((0..sealed.len()).all(|end| open(&sealed[..end], &member, node).is_err()));
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
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", NodeKey::from_bytes([0xab; 32])), "NodeKey(Secret(not shown))");
    }
}
