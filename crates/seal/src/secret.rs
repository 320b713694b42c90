//! 32 secret bytes: what every key is made of.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes: wiped when dropped, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret made elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new random secret, kept nowhere.
    #[must_use]
    pub fn random() -> Self {
        Self::made_by(crate::random)
    }

    /// The secret that `make` writes, straight to where it stays: no copy is left behind.
    pub(crate) fn made_by(make: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Self([0; 32]);
        make(&mut secret.0);
        secret
    }

    /// A copy of 32 bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        Self::made_by(|secret| secret.copy_from_slice(bytes))
    }

    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Fills `into` with its first bytes: for what was derived to be a mask or a name, and no key.
    ///
    /// # Panics
    /// If `into` is longer than 32 bytes.
    pub fn fill(&self, into: &mut [u8]) {
        into.copy_from_slice(&self.0[..into.len()]);
    }

    /// The secret that `context` and `salt` make of this one. Each use has its own `context`, for ever.
    #[must_use]
    pub fn derive(&self, context: &'static str, salt: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0);
        hasher.update(salt);
        let mut stream = hasher.finalize_xof();
        let secret = Self::made_by(|bytes| stream.fill(bytes));
        stream.zeroize();
        hasher.zeroize();
        secret
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_and_contexts_part_them() {
        let secret = Secret::from_bytes([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "Secret(not shown)");
        let one = secret.derive("okapi test one", b"salt");
        assert_ne!(one.bytes(), secret.derive("okapi test two", b"salt").bytes());
        assert_ne!(one.bytes(), secret.derive("okapi test one", b"tlas").bytes());
        assert_eq!(one.bytes(), secret.derive("okapi test one", b"salt").bytes());
        // What stores on disks depend on.
        let mut hasher = blake3::Hasher::new_derive_key("okapi test one");
        hasher.update(&[0xab; 32]).update(b"salt");
        assert_eq!(one.bytes(), hasher.finalize().as_bytes());
    }

    #[test]
    fn a_wiped_secret_is_gone() {
        let mut secret = Secret::random();
        assert_ne!(secret.bytes(), &[0; 32]);
        secret.zeroize();
        assert_eq!(secret.bytes(), &[0; 32]);
    }
}
