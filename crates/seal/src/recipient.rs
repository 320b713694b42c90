//! Those to whom secrets are sealed: X25519 keys, as members have them, and RSA keys from elsewhere.

use crate::rsa::{RsaPrivateKey, RsaPublicKey};
use crate::{Hasher, Secret, hpke, pem};
use okapi_base::Digest;

const ID: &str = "okapi 2026 envelope: recipient";

/// A public key that secrets can be sealed to.
#[derive(Debug, Clone)]
pub enum Recipient {
    /// An X25519 key.
    X25519([u8; 32]),
    /// An RSA key.
    Rsa(RsaPublicKey),
}

/// The private key of a recipient.
#[derive(Debug, Clone)]
pub enum RecipientKey {
    /// An X25519 key.
    X25519(Secret),
    /// An RSA key.
    Rsa(RsaPrivateKey),
}

impl Recipient {
    /// The name by which envelopes know it: a hash of the key as SubjectPublicKeyInfo.
    #[must_use]
    pub fn id(&self) -> Digest {
        let hasher = Hasher::new(ID);
        match self {
            Self::X25519(public) => hasher.add(&pem::x25519_spki(public)),
            Self::Rsa(public) => hasher.add(public.spki().as_ref()),
        }
        .digest()
    }

    /// What kind of key it is, in words.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::X25519(_) => "X25519".to_owned(),
            Self::Rsa(public) => format!("RSA {}", public.bits()),
        }
    }
}

impl RecipientKey {
    /// Its public half.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        match self {
            Self::X25519(secret) => Recipient::X25519(hpke::public(secret)),
            Self::Rsa(private) => Recipient::Rsa(private.public()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsa::RsaSize;

    #[test]
    fn a_key_and_its_public_half_have_one_name() {
        let keys =
            [RecipientKey::X25519(Secret::random()), RecipientKey::Rsa(RsaPrivateKey::generate(RsaSize::Bits2048))];
        let [x25519, rsa] = keys.each_ref().map(RecipientKey::recipient);
        assert_ne!(x25519.id(), rsa.id());
        assert_eq!(x25519.id(), x25519.clone().id());
        assert_eq!((x25519.kind().as_str(), rsa.kind().as_str()), ("X25519", "RSA 2048"));
        assert_eq!(format!("{:?} {:?}", keys[0], keys[1]), "X25519(Secret(not shown)) Rsa(RsaPrivateKey(not shown))");
    }
}
