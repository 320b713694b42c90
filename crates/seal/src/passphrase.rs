//! Passphrases, and the slow way from one to a key (Argon2id): 28 bytes say which way was gone.
//!
//! ```text
//! 0             4         8         12       28
//! +-------------+---------+---------+--------+
//! | memory, KiB | passes  | lanes   | salt   |
//! +-------------+---------+---------+--------+
//! ```

use crate::Secret;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

/// Bytes of a passphrase, at most.
pub const PASSPHRASE_MAX: usize = 1024;
/// Bytes of a [`Stretch`].
pub const STRETCH_BYTES: usize = 28;

/// The second choice of RFC 9106, for all but dedicated machines: about a fifth of a second here.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// What a stranger's file may ask of this machine: memory, and memory times passes (a few seconds).
const MEMORY_KIB_MAX: u32 = 1 << 20;
const WORK_KIB_MAX: u64 = 4 << 20;
const LANES_MAX: u32 = 16;

/// What a person typed. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A passphrase as it was typed: every byte counts.
    ///
    /// # Errors
    /// [`PassphraseError`] if it is empty or too long.
    pub fn new(text: impl Into<Zeroizing<String>>) -> Result<Self, PassphraseError> {
        let text = text.into();
        match text.len() {
            0 => Err(PassphraseError::Empty),
            1..=PASSPHRASE_MAX => Ok(Self(text)),
            bytes => Err(PassphraseError::TooLong { bytes }),
        }
    }

    /// Whether the other is the same.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(not shown)")
    }
}

/// Why a text cannot be a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// There is none.
    #[error("the passphrase is empty; choose some words that nobody can guess")]
    Empty,
    /// It is too long.
    #[error("a passphrase has at most {PASSPHRASE_MAX} bytes and this has {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// How a key is made of a passphrase. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; 16],
}

impl Stretch {
    /// Today's way, with a salt of its own.
    #[must_use]
    pub fn random() -> Self {
        let mut salt = [0; 16];
        crate::random(&mut salt);
        Self { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt }
    }

    /// A way for tests that are not about being slow.
    #[cfg(test)]
    pub(crate) fn quick(salt: [u8; 16]) -> Self {
        Self { memory_kib: 32, passes: 1, lanes: 4, salt }
    }

    /// The key that the passphrase makes.
    pub(crate) fn key(&self, passphrase: &Passphrase) -> Secret {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).expect("they are in bounds");
        // The crate's own memory would not be wiped.
        let mut memory = Zeroizing::new(vec![Block::default(); params.block_count()]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Secret::made_by(|key| {
            let made =
                argon2.hash_password_into_with_memory(passphrase.0.as_bytes(), &self.salt, key, memory.as_mut_slice());
            made.expect("lengths are in bounds");
        })
    }

    pub(crate) fn bytes(&self) -> [u8; STRETCH_BYTES] {
        let mut bytes = [0; STRETCH_BYTES];
        bytes[..4].copy_from_slice(&self.memory_kib.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.passes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.lanes.to_le_bytes());
        bytes[12..].copy_from_slice(&self.salt);
        bytes
    }

    /// Nothing, if it asks for more than anyone should, or for what Argon2 does not do.
    pub(crate) fn parse(bytes: &[u8; STRETCH_BYTES]) -> Option<Self> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (memory_kib, passes, lanes) = (number(0), number(4), number(8));
        let sane = (1..=LANES_MAX).contains(&lanes)
            && passes >= 1
            && (8 * lanes..=MEMORY_KIB_MAX).contains(&memory_kib)
            && u64::from(memory_kib) * u64::from(passes) <= WORK_KIB_MAX;
        let salt = bytes[12..].try_into().expect("16 bytes are left");
        sane.then_some(Self { memory_kib, passes, lanes, salt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    /// The key that the reference implementation makes: `argon2 somesalt........ -id -t 1 -k 32 -p 4 -l 32 -r`.
    #[test]
    fn the_reference_agrees() {
        let key = Stretch::quick(*b"somesalt........").key(&passphrase("password"));
        let hex: String = key.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "a0d9a7cdc767eb7e268e801b08e62b96caad55cc4b3d43403c87cc10c2963245");
    }

    #[test]
    fn passphrase_and_salt_make_the_key() {
        let quick = Stretch::quick([1; 16]);
        let key = quick.key(&passphrase("one"));
        assert_eq!(key.bytes(), quick.key(&passphrase("one")).bytes());
        assert_ne!(key.bytes(), quick.key(&passphrase("two")).bytes());
        assert_ne!(key.bytes(), Stretch::quick([2; 16]).key(&passphrase("one")).bytes());
        assert_ne!(Stretch::random(), Stretch::random());
        assert!(passphrase("one").is(&passphrase("one")) && !passphrase("one").is(&passphrase("onE")));
        assert_eq!(format!("{:?}", passphrase("one")), "Passphrase(not shown)");
    }

    #[test]
    fn no_file_may_ask_for_too_much() {
        let today = Stretch::random();
        assert_eq!(Stretch::parse(&today.bytes()), Some(today));
        let with = |at: usize, number: u32| {
            let mut bytes = today.bytes();
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
            Stretch::parse(&bytes)
        };
        for (at, number) in
            [(0, 0), (0, 31), (0, (1 << 20) + 1), (0, u32::MAX), (4, 0), (4, 65), (4, u32::MAX), (8, 0), (8, 17)]
        {
            assert_eq!(with(at, number), None, "{at}: {number}");
        }
        assert!(with(0, 32).is_some() && with(4, 64).is_some() && with(8, 16).is_some());
    }

    #[test]
    fn none_and_endless_ones_are_refused() {
        let new = |text: String| Passphrase::new(Zeroizing::new(text)).map(|_| ());
        assert_eq!(new(String::new()), Err(PassphraseError::Empty));
        assert_eq!(new("x".repeat(1025)), Err(PassphraseError::TooLong { bytes: 1025 }));
        assert_eq!(new("x".repeat(1024)), Ok(()));
    }
}
