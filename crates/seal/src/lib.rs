//! Encrypting, deriving keys and keeping the node key: everything that touches a secret.
//!
//! The algorithms are AES-256-GCM (through aws-lc-rs) and BLAKE3. What is sealed is laid out by those who seal it.

pub mod aead;
pub mod code;
pub mod hash;
pub mod node_key;
pub mod proof;
pub mod sign;

pub use aead::{ALGORITHM_AES_256_GCM, Forged, NONCE_BYTES, Nonce, Sealer, TAG_BYTES};
pub use hash::{Hasher, hash};
pub use node_key::{KeyError, NodeKey, Secret};
pub use sign::{SIGNATURE_BYTES, Signature, SigningKey, verify};

/// Fills `bytes` from the operating system's source of randomness.
///
/// # Panics
/// If the operating system has no randomness to give: nothing can be sealed then.
pub fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
