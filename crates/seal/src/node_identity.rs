//! Who a node is, on its disk: its own signing key and what its member signed of it. The member's secret is not in it.
//!
//! Its file, 256 bytes, little endian, as `docs/format/node-identity.md` draws it.

use crate::key_file::{self, KeyError};
use crate::{MemberSecret, Secret, SigningKey};
use okapi_base::{MemberId, NodeId, crc32c};
use std::path::Path;
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"OKAPINID";
const VERSION: u16 = 1;
const FILE_BYTES: usize = 256;

/// Who a node is.
#[derive(Debug)]
pub struct NodeIdentity {
    seed: Secret,
    /// Which of the member's nodes it is.
    pub number: u32,
    /// Where it stands: nodes of one site may fail together.
    pub site: u64,
    /// The member it belongs to.
    pub member: MemberId,
    /// The member's X25519 key, to which data keys are wrapped.
    pub recipient: [u8; 32],
    /// The member's signature that this node is its own.
    pub member_signature: [u8; 64],
}

impl NodeIdentity {
    /// The member's node of this number; `bind` makes the member's signature of it.
    ///
    /// # Panics
    /// Never: a member's own key is an X25519 key.
    #[must_use]
    pub fn new(
        secret: &MemberSecret,
        number: u32,
        site: u64,
        bind: impl FnOnce(&SigningKey, NodeId, [u8; 32]) -> [u8; 64],
    ) -> Self {
        let crate::Recipient::X25519(recipient) = secret.recipient_key().recipient() else {
            unreachable!("a member's own key is an X25519 key")
        };
        let member_signature = bind(&secret.signing_key(), secret.node_id(number), recipient);
        Self { seed: secret.node_seed(number), number, site, member: secret.id(), recipient, member_signature }
    }

    /// The key with which the node signs.
    #[must_use]
    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_secret(&self.seed)
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.signing_key().public())
    }

    /// The Ed25519 seed of that key, for a transport that proves it to others.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.seed.bytes())
    }

    /// Loads it from its file.
    ///
    /// # Errors
    /// [`KeyError`]; a file that others may read is refused.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let bytes = key_file::read(path, FILE_BYTES)?;
        Self::parse(&bytes).map_err(|what| KeyError::Damaged { path: path.to_owned(), what })
    }

    /// Makes its file, which must not be there yet. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`KeyError`]; an existing file is never touched.
    pub fn create(&self, path: &Path) -> Result<(), KeyError> {
        key_file::create(path, &*self.file_bytes())
    }

    fn file_bytes(&self) -> Zeroizing<[u8; FILE_BYTES]> {
        let mut bytes = Zeroizing::new([0; FILE_BYTES]);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.site.to_le_bytes());
        bytes[32..64].copy_from_slice(self.seed.bytes());
        bytes[64..96].copy_from_slice(&self.member.0);
        bytes[96..128].copy_from_slice(&self.recipient);
        bytes[128..192].copy_from_slice(&self.member_signature);
        let crc = crc32c(&bytes[..FILE_BYTES - 4]);
        bytes[FILE_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; FILE_BYTES] = bytes.try_into().map_err(|_| "it is not 256 bytes long")?;
        if bytes[..8] != MAGIC {
            return Err("it does not begin as the identity of a node does");
        }
        if bytes[FILE_BYTES - 4..] != crc32c(&bytes[..FILE_BYTES - 4]).to_le_bytes() {
            return Err("its checksum does not match");
        }
        if bytes[8..10] != VERSION.to_le_bytes() {
            return Err("it was made by a newer version");
        }
        let array = |at: usize| -> [u8; 32] { bytes[at..at + 32].try_into().expect("32 bytes") };
        Ok(Self {
            number: u32::from_le_bytes(bytes[12..16].try_into().expect("4 bytes")),
            site: u64::from_le_bytes(bytes[16..24].try_into().expect("8 bytes")),
            seed: Secret::copy_of(&bytes[32..64]),
            member: MemberId(array(64)),
            recipient: array(96),
            member_signature: bytes[128..192].try_into().expect("64 bytes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> NodeIdentity {
        NodeIdentity::new(&MemberSecret::from_bytes([7; 32]), 3, 9, |key, node, recipient| {
            assert_eq!(key.public(), MemberSecret::from_bytes([7; 32]).id().0);
            let mut signature = [1; 64];
            signature[..32].copy_from_slice(&node.0);
            signature[32..].copy_from_slice(&recipient);
            signature
        })
    }

    #[test]
    fn an_identity_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.id");
        let made = identity();
        made.create(&path).unwrap();
        assert!(matches!(made.create(&path), Err(KeyError::Exists { .. })));
        let loaded = NodeIdentity::load(&path).unwrap();
        assert_eq!(loaded.node(), MemberSecret::from_bytes([7; 32]).node_id(3));
        assert_eq!((loaded.number, loaded.site, loaded.member), (3, 9, made.member));
        assert_eq!((loaded.recipient, loaded.member_signature), (made.recipient, made.member_signature));
        assert_eq!(SigningKey::from_secret(&Secret::from_bytes(*loaded.seed())).public(), loaded.node().0);
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed() {
        let good = identity().file_bytes();
        for at in 0..good.len() {
            let mut bad = *good;
            bad[at] ^= 1;
            assert!(NodeIdentity::parse(&bad).is_err(), "byte {at}");
            assert!(NodeIdentity::parse(&good[..at]).is_err(), "cut at {at}");
        }
        let mut newer = *good;
        newer[8] = 2;
        let crc = crc32c(&newer[..FILE_BYTES - 4]);
        newer[FILE_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(NodeIdentity::parse(&newer).unwrap_err(), "it was made by a newer version");
    }

    #[test]
    fn its_bytes_are_for_ever() {
        let identity = NodeIdentity {
            seed: Secret::from_bytes([1; 32]),
            number: 2,
            site: 3,
            member: MemberId([4; 32]),
            recipient: [5; 32],
            member_signature: [6; 64],
        };
        let digest = crate::hash(&*identity.file_bytes());
        let hex: String = digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "016a36f20ac93394c221929e0c895496e62069ed6deb7869a2ccb2c15e77690c");
    }
}
