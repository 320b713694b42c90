//! Who this node is, and proof of who others are: Ed25519, as TLS has it.
//!
//! What a node signs besides its handshakes is the BLAKE3 hash of a record under a context of its own, as everywhere in
//! Okapi, so a signature of one kind of record is worth nothing under another. TLS signs texts that are no such hash.

use super::settings::StartError;
use okapi_base::NodeId;
use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::sync::{Arc, LazyLock};
use zeroize::Zeroizing;

/// Under what announcements are signed.
pub(crate) const ANNOUNCEMENT: &str = "okapi 2026 link: announcement";
/// Under what presences are signed.
pub(crate) const PRESENCE: &str = "okapi 2026 link: presence";

/// PKCS #8 before the 32 bytes of an Ed25519 seed (RFC 8410).
const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// A public key as TLS sends it, before the 32 bytes of the key (RFC 8410).
const PUBLIC_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// The one cryptography of all links.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// The key of this node.
pub(crate) struct Identity {
    node: NodeId,
    key: Arc<dyn SigningKey>,
}

impl Identity {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, StartError> {
        let mut der = Zeroizing::new([0; PKCS8_HEAD.len() + 32]);
        der[..PKCS8_HEAD.len()].copy_from_slice(&PKCS8_HEAD);
        der[PKCS8_HEAD.len()..].copy_from_slice(seed);
        let der = PrivatePkcs8KeyDer::from(&der[..]);
        let key = aws_lc_rs::sign::any_eddsa_type(&der).map_err(|why| StartError::Key(why.to_string()))?;
        let public = key.public_key().and_then(|public| node_of(&public));
        let node = public.ok_or_else(|| StartError::Key("it has no public half".to_owned()))?;
        Ok(Self { node, key })
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// The key in the form in which TLS proves it: a raw public key (RFC 7250), no certificate.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        let public = [&PUBLIC_HEAD[..], &self.node.0].concat();
        Arc::new(CertifiedKey::new(vec![CertificateDer::from(public)], self.key.clone()))
    }

    pub(crate) fn sign(&self, context: &'static str, record: &[u8]) -> [u8; 64] {
        let signer = self.key.choose_scheme(&[SignatureScheme::ED25519]).expect("the key is an Ed25519 key");
        let signature = signer.sign(&blake3::derive_key(context, record)).expect("an Ed25519 key signs anything");
        signature.try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// Whether `signature` of `record` is by `node`.
pub(crate) fn verify(node: &NodeId, context: &'static str, record: &[u8], signature: &[u8; 64]) -> bool {
    let mut schemes = PROVIDER.signature_verification_algorithms.mapping.iter();
    let ed25519 = schemes.find(|(scheme, _)| *scheme == SignatureScheme::ED25519).expect("the provider knows Ed25519");
    let digest = blake3::derive_key(context, record);
    ed25519.1.iter().any(|algorithm| algorithm.verify_signature(&node.0, &digest, signature).is_ok())
}

/// The node whose key this is, as TLS sends it; nothing if it is another kind of key.
pub(crate) fn node_of(public: &[u8]) -> Option<NodeId> {
    public.strip_prefix(&PUBLIC_HEAD[..])?.try_into().ok().map(NodeId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_agrees() {
        // RFC 8032, test 1: the public key of this secret.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let node = Identity::from_seed(&seed).unwrap().node();
        assert_eq!(node.to_string(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    }

    #[test]
    fn only_the_key_signs_and_only_under_its_context() {
        let (one, other) = (Identity::from_seed(&[1; 32]).unwrap(), Identity::from_seed(&[2; 32]).unwrap());
        let signature = one.sign(ANNOUNCEMENT, b"record");
        assert!(verify(&one.node(), ANNOUNCEMENT, b"record", &signature));
        assert!(!verify(&one.node(), PRESENCE, b"record", &signature));
        assert!(!verify(&one.node(), ANNOUNCEMENT, b"records", &signature));
        assert!(!verify(&other.node(), ANNOUNCEMENT, b"record", &signature));
        assert!(!verify(&NodeId([0xff; 32]), ANNOUNCEMENT, b"record", &signature), "not a point");
    }

    #[test]
    fn keys_of_other_kinds_are_nobodys() {
        let public = one_public();
        assert_eq!(node_of(&public), Some(Identity::from_seed(&[1; 32]).unwrap().node()));
        assert_eq!(node_of(&public[..43]), None);
        assert_eq!(node_of(&[&public[..], &[0]].concat()), None);
        let mut other = public;
        other[8] = 0x6e;
        assert_eq!(node_of(&other), None, "X25519");
    }

    fn one_public() -> Vec<u8> {
        Identity::from_seed(&[1; 32]).unwrap().certified().cert[0].to_vec()
    }
}
