//! RSA keys of 2048 to 4096 bits and RSA-OAEP with SHA-256 (also in MGF1) and an empty label, as `openssl pkeyutl` has it.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use zeroize::Zeroizing;

/// Bits that a key has at least and at most. Longer ones would not fit an envelope, and nobody needs them.
const BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Bytes of a ciphertext, at least and at most.
pub(crate) const SEALED_BYTES: std::ops::RangeInclusive<usize> = *BITS.start() / 8..=*BITS.end() / 8;

/// A size of new keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaSize {
    /// 2048 bits: what old software can take.
    Bits2048,
    /// 3072 bits: as strong as AES-128.
    Bits3072,
    /// 4096 bits.
    Bits4096,
}

/// A public RSA key: whoever has it can seal secrets to its owner.
#[derive(Debug, Clone)]
pub struct RsaPublicKey(PublicEncryptingKey);

/// A private RSA key.
#[derive(Clone)]
pub struct RsaPrivateKey(PrivateDecryptingKey);

impl RsaPublicKey {
    /// A key from its SubjectPublicKeyInfo.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, RsaError> {
        let key = PublicEncryptingKey::from_der(der).map_err(|_| RsaError::Malformed)?;
        fits(key.key_size_bits())?;
        Ok(Self(key))
    }

    /// The key as SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> PublicKeyX509Der<'static> {
        self.0.as_der().expect("a key that was read can be written")
    }

    /// Bits of the modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.0.key_size_bits()
    }

    /// Bytes of the longest secret that can be sealed to this key.
    #[must_use]
    pub fn secret_bytes_max(&self) -> usize {
        self.oaep().max_plaintext_size(&OAEP_SHA256_MGF1SHA256)
    }

    /// Seals a short secret.
    ///
    /// # Errors
    /// [`RsaError::TooLong`].
    pub fn seal(&self, secret: &[u8]) -> Result<Vec<u8>, RsaError> {
        let key = self.oaep();
        let most = self.secret_bytes_max();
        if secret.len() > most {
            return Err(RsaError::TooLong { bytes: secret.len(), most });
        }
        let mut sealed = vec![0; key.ciphertext_size()];
        let filled = key.encrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut sealed, None);
        let filled = filled.expect("a secret of this length can be sealed").len();
        assert_eq!(filled, sealed.len(), "a ciphertext is as long as the modulus");
        Ok(sealed)
    }

    fn oaep(&self) -> OaepPublicEncryptingKey {
        OaepPublicEncryptingKey::new(self.0.clone()).expect("any RSA key can do OAEP")
    }
}

impl RsaPrivateKey {
    /// A new key. Takes from a tenth of a second to some seconds.
    #[must_use]
    pub fn generate(size: RsaSize) -> Self {
        let size = match size {
            RsaSize::Bits2048 => KeySize::Rsa2048,
            RsaSize::Bits3072 => KeySize::Rsa3072,
            RsaSize::Bits4096 => KeySize::Rsa4096,
        };
        Self(PrivateDecryptingKey::generate(size).expect("the operating system gives random bytes"))
    }

    /// A key from PKCS#8.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, RsaError> {
        let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| RsaError::Malformed)?;
        fits(key.key_size_bits())?;
        Ok(Self(key))
    }

    /// The key as PKCS#8; wiped when dropped.
    pub(crate) fn pkcs8(&self) -> Pkcs8V1Der<'static> {
        self.0.as_der().expect("a key that was read can be written")
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> RsaPublicKey {
        RsaPublicKey(self.0.public_key())
    }

    /// Opens what was sealed to this key.
    ///
    /// # Errors
    /// [`RsaError::Length`], [`RsaError::NotForThisKey`].
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, RsaError> {
        let key = OaepPrivateDecryptingKey::new(self.0.clone()).expect("any RSA key can do OAEP");
        let expected = key.key_size_bytes();
        if sealed.len() != expected {
            return Err(RsaError::Length { found: sealed.len(), expected });
        }
        let mut secret = Zeroizing::new(vec![0; key.min_output_size()]);
        let opened = key.decrypt(&OAEP_SHA256_MGF1SHA256, sealed, &mut secret, None);
        let length = opened.map_err(|_| RsaError::NotForThisKey)?.len();
        secret.truncate(length);
        Ok(secret)
    }
}

fn fits(bits: usize) -> Result<(), RsaError> {
    if BITS.contains(&bits) { Ok(()) } else { Err(RsaError::Bits { bits }) }
}

impl std::fmt::Debug for RsaPrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RsaPrivateKey(not shown)")
    }
}

/// Why an RSA key cannot be used, or not for this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    /// It is no RSA key.
    #[error("it is no RSA key of 2048 to 4096 bits that can be read; make one with `okapi key rsa`")]
    Malformed,
    /// It is too short to be safe, or too long.
    #[error("an RSA key has 2048 to 4096 bits here and this has {bits}; make one with `okapi key rsa`")]
    Bits {
        /// Bits of its modulus.
        bits: usize,
    },
    /// The secret is too long.
    #[error(
        "{bytes} bytes are too long for this RSA key, which takes {most} at most; `okapi key encrypt` takes any length"
    )]
    TooLong {
        /// Bytes of the secret.
        bytes: usize,
        /// Bytes that fit.
        most: usize,
    },
    /// What was sealed has another length than this key makes.
    #[error("this RSA key seals {expected} bytes and here are {found}; it was sealed to another key, or is cut")]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes of the modulus.
        expected: usize,
    },
    /// It was not sealed to this key, or not by OAEP with SHA-256.
    #[error("it does not open with this RSA key: it was sealed to another one, in another way, or is damaged")]
    NotForThisKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_alone() {
        let key = RsaPrivateKey::generate(RsaSize::Bits2048);
        let public = RsaPublicKey::from_spki(key.public().spki().as_ref()).unwrap();
        assert_eq!((public.bits(), public.secret_bytes_max()), (2048, 190));
        for secret in [&b""[..], b"x", &[7; 190]] {
            let sealed = public.seal(secret).unwrap();
            assert_eq!(key.open(&sealed).unwrap().as_slice(), secret);
            let mut bad = sealed.clone();
            bad[100] ^= 1;
            assert_eq!(key.open(&bad).unwrap_err(), RsaError::NotForThisKey);
            assert_eq!(key.open(&sealed[1..]).unwrap_err(), RsaError::Length { found: 255, expected: 256 });
        }
        assert_eq!(public.seal(&[7; 191]).unwrap_err(), RsaError::TooLong { bytes: 191, most: 190 });
        let other = RsaPrivateKey::generate(RsaSize::Bits2048);
        assert_eq!(other.open(&public.seal(b"x").unwrap()).unwrap_err(), RsaError::NotForThisKey);
        assert_eq!(format!("{key:?}"), "RsaPrivateKey(not shown)");
    }

    #[test]
    fn a_key_comes_back_from_its_bytes() {
        let key = RsaPrivateKey::generate(RsaSize::Bits2048);
        let again = RsaPrivateKey::from_pkcs8(key.pkcs8().as_ref()).unwrap();
        assert_eq!(again.public().spki().as_ref(), key.public().spki().as_ref());
        let sealed = key.public().seal(b"x").unwrap();
        assert_eq!(again.open(&sealed).unwrap().as_slice(), b"x");
        assert_eq!(RsaPublicKey::from_spki(b"0").unwrap_err(), RsaError::Malformed);
        assert_eq!(RsaPrivateKey::from_pkcs8(key.public().spki().as_ref()).unwrap_err(), RsaError::Malformed);
    }
}
