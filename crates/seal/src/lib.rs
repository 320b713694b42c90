//! Encrypting, deriving, sharing and keeping keys: everything that touches a secret.
//!
//! At the bottom are AES-256-GCM ([`aead`]), Ed25519 ([`sign`]), HPKE and RSA-OAEP (all through aws-lc-rs), Argon2id
//! ([`passphrase`]) and BLAKE3 ([`hash`]). On them stand the node's key ([`node_key`]), keys of
//! grids that others may read ([`grid_key`]), who a member is ([`identity`],
//! [`phrase`], [`member_key`]), keys sealed to others ([`recipient`], [`envelope`], [`pem`]) and whole files
//! ([`sealed_file`]). What else is sealed is laid out by those who seal it.

pub mod aead;
pub mod code;
#[cfg(test)]
mod dice;
pub mod envelope;
mod fill;
pub mod grid_key;
pub mod hash;
mod hpke;
pub mod identity;
pub mod key_file;
pub mod member_key;
pub mod node_identity;
mod node_key;
pub mod passphrase;
pub mod pem;
pub mod phrase;
pub mod proof;
pub mod recipient;
pub mod rsa;
pub mod sealed_file;
mod secret;
pub mod sign;

pub use aead::{ALGORITHM_AES_256_GCM, Forged, NONCE_BYTES, Nonce, Sealer, TAG_BYTES};
pub use envelope::{Context, DataKey, Envelope};
pub use grid_key::{GridKey, KEY_NUMBER_MAX};
pub use hash::{Hasher, hash};
pub use identity::MemberSecret;
pub use key_file::KeyError;
pub use member_key::MemberKey;
pub use node_identity::NodeIdentity;
pub use node_key::{NodeKey, NodeKeyLost};
pub use passphrase::Passphrase;
pub use phrase::RecoveryPhrase;
pub use recipient::{Recipient, RecipientKey};
pub use secret::Secret;
pub use sign::{SIGNATURE_BYTES, Signature, SigningKey, verify};

/// Fills `bytes` from the operating system's source of randomness.
///
/// # Panics
/// If the operating system has no randomness to give: nothing can be sealed then.
pub fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
