//! Encrypting, deriving keys and keeping the node key: everything that touches a secret.
//!
//! The algorithms are AES-256-GCM (through aws-lc-rs) and BLAKE3. What is sealed is laid out by those who seal it.

pub mod aead;
pub mod node_key;

pub use aead::{ALGORITHM_AES_256_GCM, Forged, NONCE_BYTES, Nonce, Sealer, TAG_BYTES};
pub use node_key::{KeyError, NodeKey, Secret};

/// Fills `bytes` from the operating system's source of randomness.
///
/// # Panics
/// If the operating system has no randomness to give: nothing can be sealed then.
pub fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
