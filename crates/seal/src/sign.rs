//! Ed25519 signatures of members and nodes.

use crate::Secret;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use okapi_base::Digest;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// A private key that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// The key that a secret makes.
    ///
    /// # Panics
    /// Never: any 32 bytes are an Ed25519 seed.
    #[must_use]
    pub fn from_secret(secret: &Secret) -> Self {
        Self { pair: Ed25519KeyPair::from_seed_unchecked(secret.bytes()).expect("32 bytes are a seed") }
    }

    /// The public key, which is the name of the member or node.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
    }

    /// The key as PKCS#8; wiped when dropped.
    pub(crate) fn pkcs8(&self) -> Pkcs8V1Der<'static> {
        self.pair.as_der().expect("a key that was made can be written")
    }

    /// Signs a digest. What is signed is always the hash of a whole record under a context of its own
    /// ([`crate::Hasher`]), so a signature of one kind of record is worth nothing under another.
    #[must_use]
    pub fn sign(&self, digest: &Digest) -> Signature {
        Signature(self.pair.sign(&digest.0).as_ref().try_into().expect("an Ed25519 signature has 64 bytes"))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(not shown)")
    }
}

/// Whether `signature` of `digest` is by the owner of `public`.
#[must_use]
pub fn verify(public: &[u8; 32], digest: &Digest, signature: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(&digest.0, &signature.0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_signs_and_only_this_digest() {
        let key = SigningKey::from_secret(&Secret::from_bytes([1; 32]));
        let other = SigningKey::from_secret(&Secret::from_bytes([2; 32]));
        let digest = crate::hash(b"one");
        let signature = key.sign(&digest);
        assert!(verify(&key.public(), &digest, &signature));
        assert!(!verify(&other.public(), &digest, &signature));
        assert!(!verify(&key.public(), &crate::hash(b"two"), &signature));
        let mut bad = signature;
        bad.0[10] ^= 1;
        assert!(!verify(&key.public(), &digest, &bad));
        assert!(!verify(&[0xff; 32], &digest, &signature), "not a point");
    }

    #[test]
    fn the_standard_agrees() {
        // RFC 8032, test 1: the public key of this secret.
        let secret = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let public = SigningKey::from_secret(&Secret::from_bytes(secret)).public();
        assert_eq!(public[..4], [0xd7, 0x5a, 0x98, 0x01]);
        assert_eq!(public[28..], [0xf7, 0x07, 0x51, 0x1a]);
    }
}
