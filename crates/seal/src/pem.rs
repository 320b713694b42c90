//! Keys as PEM, as the `openssl` command reads and writes them: SubjectPublicKeyInfo and PKCS#8, and PKCS#1 for RSA.

use crate::recipient::{Recipient, RecipientKey};
use crate::rsa::{RsaError, RsaPrivateKey, RsaPublicKey};
use crate::{Secret, SigningKey};
use pem_rfc7468::LineEnding;
use zeroize::Zeroizing;

/// Bytes of a PEM text, at most; RSA 4096 has 3.3 KB.
pub const PEM_MAX: usize = 16 << 10;

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";
const RSA_PUBLIC: &str = "RSA PUBLIC KEY";
const RSA_PRIVATE: &str = "RSA PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

// RFC 8410: what stands before the 32 bytes of a key is always the same.
const X25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00];
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const X25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20];
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
/// `rsaEncryption`, with its empty parameters.
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// The identifier `id-ecPublicKey` in DER: keys on the NIST curves.
const EC_ALGORITHM: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// A key that was read from PEM.
#[derive(Debug)]
pub enum PemKey {
    /// A public key that secrets can be sealed to.
    Recipient(Recipient),
    /// The private key of a recipient.
    RecipientKey(RecipientKey),
    /// An Ed25519 public key.
    Verifying([u8; 32]),
    /// An Ed25519 private key.
    Signing(SigningKey),
}

impl PemKey {
    /// Reads the one key in a PEM text.
    ///
    /// # Errors
    /// [`PemError`].
    pub fn parse(text: &[u8]) -> Result<Self, PemError> {
        if text.len() > PEM_MAX {
            return Err(PemError::TooLong);
        }
        let text = text.trim_ascii();
        if contains(text, b"Proc-Type: 4,ENCRYPTED") {
            return Err(PemError::Encrypted);
        }
        let mut buffer = Zeroizing::new(vec![0; text.len()]);
        let (label, der) = pem_rfc7468::decode(text, &mut buffer).map_err(|error| PemError::of(text, error))?;
        match label {
            PUBLIC => public(der),
            PRIVATE => private(der),
            RSA_PUBLIC => Ok(Self::Recipient(Recipient::Rsa(RsaPublicKey::from_spki(&spki_of_pkcs1(der))?))),
            RSA_PRIVATE => Ok(Self::RecipientKey(RecipientKey::Rsa(RsaPrivateKey::from_pkcs8(&pkcs8_of_pkcs1(der))?))),
            ENCRYPTED => Err(PemError::Encrypted),
            "EC PRIVATE KEY" => Err(PemError::Kind { what: "an elliptic-curve key" }),
            label => Err(PemError::Label { label: label.to_owned() }),
        }
    }
}

fn public(der: &[u8]) -> Result<PemKey, PemError> {
    if let Some(key) = der.strip_prefix(&X25519_SPKI).and_then(|key| key.try_into().ok()) {
        return Ok(PemKey::Recipient(Recipient::X25519(key)));
    }
    if let Some(key) = der.strip_prefix(&ED25519_SPKI).and_then(|key| key.try_into().ok()) {
        return Ok(PemKey::Verifying(key));
    }
    match RsaPublicKey::from_spki(der) {
        Ok(key) => Ok(PemKey::Recipient(Recipient::Rsa(key))),
        Err(error) => Err(why_not(der, error)),
    }
}

fn private(der: &[u8]) -> Result<PemKey, PemError> {
    if let Some(key) = der.strip_prefix(&X25519_PKCS8).filter(|key| key.len() == 32) {
        return Ok(PemKey::RecipientKey(RecipientKey::X25519(Secret::copy_of(key))));
    }
    if let Some(key) = der.strip_prefix(&ED25519_PKCS8).filter(|key| key.len() == 32) {
        return Ok(PemKey::Signing(SigningKey::from_secret(&Secret::copy_of(key))));
    }
    match RsaPrivateKey::from_pkcs8(der) {
        Ok(key) => Ok(PemKey::RecipientKey(RecipientKey::Rsa(key))),
        Err(error) => Err(why_not(der, error)),
    }
}

/// What kind of key it is, if it is one, only not for us.
fn why_not(der: &[u8], error: RsaError) -> PemError {
    let begin = &der[..der.len().min(40)];
    match error {
        RsaError::Malformed if contains(begin, &EC_ALGORITHM) => PemError::Kind { what: "an elliptic-curve key" },
        RsaError::Malformed if !contains(begin, &RSA_ALGORITHM[2..13]) => PemError::Kind { what: "of another kind" },
        error => PemError::Rsa(error),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn spki_of_pkcs1(der: &[u8]) -> Vec<u8> {
    let key = element(BIT_STRING, &[&[0], der]);
    element(SEQUENCE, &[&RSA_ALGORITHM, &key]).to_vec()
}

fn pkcs8_of_pkcs1(der: &[u8]) -> Zeroizing<Vec<u8>> {
    let key = element(OCTET_STRING, &[der]);
    element(SEQUENCE, &[&[0x02, 0x01, 0x00], &RSA_ALGORITHM, &key])
}

/// A DER element of less than 64 KiB.
fn element(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let [high, low] = u16::try_from(length).expect("a PEM text is shorter").to_be_bytes();
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 + length));
    bytes.push(tag);
    match length {
        0..=0x7f => bytes.push(low),
        0x80..=0xff => bytes.extend_from_slice(&[0x81, low]),
        _ => bytes.extend_from_slice(&[0x82, high, low]),
    }
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

impl Recipient {
    /// The key as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        match self {
            Self::X25519(public) => write(PUBLIC, &x25519_spki(public)),
            Self::Rsa(public) => write(PUBLIC, public.spki().as_ref()),
        }
        .to_string()
    }
}

impl RecipientKey {
    /// The private key as PEM.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        match self {
            Self::X25519(private) => {
                let mut der = Zeroizing::new([0; X25519_PKCS8.len() + 32]);
                der[..X25519_PKCS8.len()].copy_from_slice(&X25519_PKCS8);
                der[X25519_PKCS8.len()..].copy_from_slice(private.bytes());
                write(PRIVATE, der.as_slice())
            }
            Self::Rsa(private) => write(PRIVATE, private.pkcs8().as_ref()),
        }
    }
}

impl SigningKey {
    /// The private key as PEM.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        write(PRIVATE, self.pkcs8().as_ref())
    }
}

/// An Ed25519 public key as PEM.
#[must_use]
pub fn verifying_pem(public: &[u8; 32]) -> String {
    write(PUBLIC, &[ED25519_SPKI.as_slice(), public].concat()).to_string()
}

/// An X25519 public key as SubjectPublicKeyInfo.
pub(crate) fn x25519_spki(public: &[u8; 32]) -> Vec<u8> {
    [X25519_SPKI.as_slice(), public].concat()
}

fn write(label: &str, der: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(pem_rfc7468::encode_string(label, LineEnding::LF, der).expect("a key is short and the label plain"))
}

/// Why a text gives no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// It has no PEM in it.
    #[error("it is no PEM: there is no line `-----BEGIN ...-----`; `okapi key show --pem` and openssl write keys so")]
    NotPem,
    /// It has PEM in it that cannot be read.
    #[error("its PEM is damaged ({why}); get it anew")]
    Damaged {
        /// The reason.
        why: pem_rfc7468::Error,
    },
    /// There is more than one PEM block.
    #[error("there are several PEM blocks in it; keep the one key and leave out the rest")]
    Several,
    /// It is too long for a key.
    #[error("it is longer than any key as PEM ({PEM_MAX} bytes)")]
    TooLong,
    /// It is a private key under a passphrase, by openssl's own way.
    #[error(
        "the private key is encrypted; decrypt it with `openssl pkey -in FILE -out PLAIN.pem`, which asks for its \
         passphrase, and take PLAIN.pem"
    )]
    Encrypted,
    /// It is no key.
    #[error("it holds `{label}` and no key; okapi reads `PUBLIC KEY` and `PRIVATE KEY`")]
    Label {
        /// What it is.
        label: String,
    },
    /// It is a key that Okapi has no use for.
    #[error("it is {what}; okapi uses RSA, X25519 and Ed25519 (`openssl genpkey -algorithm X25519`)")]
    Kind {
        /// What kind of key.
        what: &'static str,
    },
    /// It is an RSA key that cannot be used.
    #[error(transparent)]
    Rsa(#[from] RsaError),
}

impl PemError {
    fn of(text: &[u8], why: pem_rfc7468::Error) -> Self {
        let begin = b"-----BEGIN ";
        match text.windows(begin.len()).filter(|window| window == begin).count() {
            0 => Self::NotPem,
            1 => Self::Damaged { why },
            _ => Self::Several,
        }
    }
}

#[cfg(test)]
mod tests;
