//! The file that holds a member's secret, under a passphrase or alone. `docs/format/member-key.md` has the bytes.
//!
//! What is public stands in it in clear, so that showing it needs no passphrase.

use crate::envelope::ALGORITHM_ARGON2ID;
use crate::identity::MemberSecret;
use crate::key_file::{self, KeyError};
use crate::passphrase::{Passphrase, STRETCH_BYTES, Stretch};
use crate::recipient::Recipient;
use crate::{Sealer, Secret, TAG_BYTES};
use okapi_base::{MemberId, crc32c};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"OKAPIMEM";
const VERSION: u16 = 1;
const UNPROTECTED: u8 = 0;
const FILE_BYTES: usize = 156;
const KEY: &str = "okapi 2026 member: key of the key file";

/// Where things lie in the file.
const STRETCH_AT: usize = 12;
const MEMBER_AT: usize = STRETCH_AT + STRETCH_BYTES;
const RECIPIENT_AT: usize = MEMBER_AT + 32;
const SECRET_AT: usize = RECIPIENT_AT + 32;
const CRC_AT: usize = SECRET_AT + 32 + TAG_BYTES;
const _: () = assert!(CRC_AT + 4 == FILE_BYTES);

/// A member key as it lies on the disk. Wiped when dropped.
pub struct MemberKey {
    bytes: Zeroizing<[u8; FILE_BYTES]>,
}

impl MemberKey {
    /// The file of a secret, protected by a passphrase if there is one.
    #[must_use]
    pub fn new(secret: &MemberSecret, passphrase: Option<&Passphrase>) -> Self {
        let protection = passphrase.map(|passphrase| (passphrase, Stretch::random()));
        Self::with(secret, protection.as_ref().map(|(passphrase, stretch)| (*passphrase, stretch)))
    }

    fn with(secret: &MemberSecret, protection: Option<(&Passphrase, &Stretch)>) -> Self {
        let Recipient::X25519(recipient) = secret.recipient_key().recipient() else {
            unreachable!("a member's recipient key is X25519")
        };
        let mut bytes = Zeroizing::new([0; FILE_BYTES]);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[MEMBER_AT..RECIPIENT_AT].copy_from_slice(&secret.id().0);
        bytes[RECIPIENT_AT..SECRET_AT].copy_from_slice(&recipient);
        bytes[SECRET_AT..][..32].copy_from_slice(secret.secret().bytes());
        if let Some((passphrase, stretch)) = protection {
            bytes[10] = ALGORITHM_ARGON2ID;
            bytes[STRETCH_AT..MEMBER_AT].copy_from_slice(&stretch.bytes());
            let sealer = sealer(passphrase, stretch, &bytes[..SECRET_AT]);
            // The salt makes it a key of this one use, so its one nonce may be zero.
            sealer.seal_in_place([0; 12], &mut bytes[SECRET_AT..CRC_AT]);
        }
        let crc = crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        Self { bytes }
    }

    /// Loads the file.
    ///
    /// # Errors
    /// [`MemberKeyError`]; a file that others may read is refused.
    pub fn load(path: &Path) -> Result<Self, MemberKeyError> {
        let bytes = key_file::read(path, FILE_BYTES).map_err(|error| match error {
            KeyError::Missing { path } => MemberKeyError::Missing { path },
            error => error.into(),
        })?;
        Self::parse(&bytes).map_err(|what| KeyError::Damaged { path: path.to_owned(), what }.into())
    }

    /// Writes the file, which must not be there yet. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`KeyError`]; an existing file is never touched.
    pub fn create(&self, path: &Path) -> Result<(), KeyError> {
        key_file::create(path, self.bytes.as_slice())
    }

    fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; FILE_BYTES] = bytes.try_into().map_err(|_| "it is not 156 bytes long")?;
        if bytes[..8] != MAGIC {
            return Err("it does not begin as a member key does");
        }
        if bytes[CRC_AT..] != crc32c(&bytes[..CRC_AT]).to_le_bytes() {
            return Err("its checksum does not match");
        }
        if bytes[8..10] != VERSION.to_le_bytes() || bytes[11] != 0 {
            return Err("it was made by a newer version");
        }
        let key = Self { bytes: Zeroizing::new(*bytes) };
        match bytes[10] {
            UNPROTECTED => Ok(key),
            ALGORITHM_ARGON2ID if key.stretch().is_some() => Ok(key),
            ALGORITHM_ARGON2ID => Err("it asks for more memory or time than any passphrase should need"),
            _ => Err("it is protected in a way that only a newer version knows"),
        }
    }

    fn stretch(&self) -> Option<Stretch> {
        Stretch::parse(self.bytes[STRETCH_AT..].first_chunk().expect("the file goes on after it"))
    }

    /// Whether a passphrase protects it.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.bytes[10] != UNPROTECTED
    }

    /// Who the member is. Proven only by [`MemberKey::unlock`].
    #[must_use]
    pub fn id(&self) -> MemberId {
        MemberId(*self.bytes[MEMBER_AT..].first_chunk().expect("the file goes on after it"))
    }

    /// The member's public key for what is sealed to it. Proven only by [`MemberKey::unlock`].
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient::X25519(*self.bytes[RECIPIENT_AT..].first_chunk().expect("the file goes on after it"))
    }

    /// The secret. The passphrase is not looked at where none protects it.
    ///
    /// # Errors
    /// [`UnlockError`].
    pub fn unlock(&self, passphrase: Option<&Passphrase>) -> Result<MemberSecret, UnlockError> {
        let sealed = &self.bytes[SECRET_AT..CRC_AT];
        let mut opened = Ok(());
        let secret = if self.is_protected() {
            let passphrase = passphrase.ok_or(UnlockError::NeedsPassphrase)?;
            let stretch = self.stretch().expect("it was looked at when the file was read");
            let sealer = sealer(passphrase, &stretch, &self.bytes[..SECRET_AT]);
            Secret::made_by(|secret| opened = sealer.open([0; 12], sealed, secret))
        } else {
            Secret::copy_of(&sealed[..32])
        };
        opened.map_err(|_| UnlockError::WrongPassphrase)?;
        let secret = MemberSecret::from_secret(secret);
        if secret.id() != self.id() || secret.recipient_key().recipient().id() != self.recipient().id() {
            return Err(UnlockError::OtherMember);
        }
        Ok(secret)
    }
}

/// The key hangs on all that stands before the secret, so that nothing of it can be changed.
fn sealer(passphrase: &Passphrase, stretch: &Stretch, before: &[u8]) -> Sealer {
    Sealer::new(&stretch.key(passphrase).derive(KEY, before))
}

impl std::fmt::Debug for MemberKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemberKey(of {:?})", self.id())
    }
}

/// Why there is no member key.
#[derive(Debug, thiserror::Error)]
pub enum MemberKeyError {
    /// There is no such file.
    #[error("there is no member key {}; make one with `okapi key new`, or bring yours back with `okapi key import`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] KeyError),
}

/// Why a member key does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnlockError {
    /// A passphrase is needed and none was given.
    #[error("the member key is protected by a passphrase, and none was given")]
    NeedsPassphrase,
    /// It is another passphrase.
    #[error(
        "the passphrase of the member key is wrong; try again, or bring the key back from its phrase with `okapi key import`"
    )]
    WrongPassphrase,
    /// The public part of the file is not that of its secret.
    #[error("the member key names another member than its secret makes; it was changed, bring it back from its phrase")]
    OtherMember,
}

#[cfg(test)]
mod tests;
