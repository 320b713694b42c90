//! BLAKE3 hashes: the names of things.

use okapi_base::Digest;

/// The hash of `bytes`.
#[must_use]
pub fn hash(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// Hashes fields one after the other under a context that no other use shares, so that the hash of one kind of thing
/// can never be passed off as that of another.
#[derive(Debug, Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// A hasher for the things that `context` names: a fixed text, unique in the world, never changed.
    #[must_use]
    pub fn new(context: &'static str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// Adds bytes. Fields of varying length need their length put before them by the caller.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "it is no sum: the order counts")]
    pub fn add(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// The hash of all that was added.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }

    /// As many pseudo-random bytes as are asked for: a seeded, recomputable stream.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.finalize_xof().fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_part_equal_bytes() {
        let one = Hasher::new("okapi test: one").add(b"same");
        assert_ne!(one.digest(), Hasher::new("okapi test: two").add(b"same").digest());
        assert_eq!(one.digest(), Hasher::new("okapi test: one").add(b"sa").add(b"me").digest());
        assert_ne!(one.digest(), hash(b"same"));
        let mut stream = [0; 40];
        one.fill(&mut stream);
        assert_eq!(stream[..32], one.digest().0);
    }
}
