//! HPKE (RFC 9180), base mode, one message: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
//!
//! Built here on aws-lc-rs's X25519, HKDF and AES-GCM: the crates that offer HPKE bring a second implementation of each
//! of these. The official test vectors hold it.

use crate::Secret;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// Bytes of an X25519 public key, which is also what the receiver needs to know of the sender.
pub(crate) const PUBLIC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

const VERSION: &[u8] = b"HPKE-v1";
/// "KEM", and 0x0020: DHKEM(X25519, HKDF-SHA256).
const KEM_SUITE: &[u8] = b"KEM\x00\x20";
/// "HPKE", that KEM, 0x0001: HKDF-SHA256, 0x0002: AES-256-GCM.
const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x02";
const MODE_BASE: u8 = 0;

/// The public half of a private key; any 32 bytes are one.
pub(crate) fn public(private: &Secret) -> [u8; PUBLIC_BYTES] {
    public_of(&private_key(private))
}

/// Seals `plain` to the owner of `recipient`: the encapsulated key, then the ciphertext with its tag. Nothing, if
/// `recipient` is one of the few points with which no secret can be shared.
pub(crate) fn seal(recipient: &[u8; PUBLIC_BYTES], info: &[u8], aad: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    seal_with(&Secret::random(), recipient, info, aad, plain)
}

/// Opens what [`seal`] made, if it was to this key with the same `info` and `aad`.
pub(crate) fn open(private: &Secret, info: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (encapsulated, sealed) = sealed.split_first_chunk::<PUBLIC_BYTES>()?;
    let private = private_key(private);
    let shared = shared_secret(&private, encapsulated, encapsulated, &public_of(&private))?;
    let (key, nonce) = schedule(&shared, info);
    let mut plain = Zeroizing::new(sealed.to_vec());
    let length = key.open_in_place(nonce, Aad::from(aad), &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

fn seal_with(
    ephemeral: &Secret,
    recipient: &[u8; PUBLIC_BYTES],
    info: &[u8],
    aad: &[u8],
    plain: &[u8],
) -> Option<Vec<u8>> {
    let ephemeral = private_key(ephemeral);
    let encapsulated = public_of(&ephemeral);
    let shared = shared_secret(&ephemeral, recipient, &encapsulated, recipient)?;
    let (key, nonce) = schedule(&shared, info);
    let mut sealed = Vec::with_capacity(PUBLIC_BYTES + plain.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(&encapsulated);
    sealed.extend_from_slice(plain);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut sealed[PUBLIC_BYTES..]);
    sealed.extend_from_slice(tag.expect("the length fits AES-256-GCM").as_ref());
    Some(sealed)
}

fn private_key(secret: &Secret) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, secret.bytes()).expect("any 32 bytes are an X25519 key")
}

fn public_of(private: &PrivateKey) -> [u8; PUBLIC_BYTES] {
    let public = private.compute_public_key().expect("a private key has a public one");
    public.as_ref().try_into().expect("an X25519 public key has 32 bytes")
}

/// ExtractAndExpand of RFC 9180, 4.1.
fn shared_secret(
    own: &PrivateKey,
    other: &[u8; PUBLIC_BYTES],
    encapsulated: &[u8; PUBLIC_BYTES],
    recipient: &[u8; PUBLIC_BYTES],
) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let other = UnparsedPublicKey::new(&X25519, other.as_slice());
    let context = [encapsulated.as_slice(), recipient].concat();
    agree(own, other, (), |dh| {
        let extracted = extract(&[], KEM_SUITE, b"eae_prk", dh);
        Ok(expand(&extracted, KEM_SUITE, b"shared_secret", &context))
    })
    .ok()
}

/// KeySchedule of RFC 9180, 5.1, without a pre-shared key, and the nonce of the first message.
fn schedule(shared: &[u8; KEY_BYTES], info: &[u8]) -> (LessSafeKey, Nonce) {
    let mut context = vec![MODE_BASE];
    context.extend_from_slice(&public_extract(b"psk_id_hash", &[]));
    context.extend_from_slice(&public_extract(b"info_hash", info));
    let secret = extract(shared, SUITE, b"secret", &[]);
    let key = expand::<KEY_BYTES>(&secret, SUITE, b"key", &context);
    let nonce = expand::<NONCE_BYTES>(&secret, SUITE, b"base_nonce", &context);
    let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("AES-256 has keys of 32 bytes");
    (LessSafeKey::new(key), Nonce::assume_unique_for_key(*nonce))
}

/// LabeledExtract.
fn extract(salt: &[u8], suite: &[u8], label: &[u8], secret: &[u8]) -> Prk {
    let length = VERSION.len() + suite.len() + label.len() + secret.len();
    let mut labeled = Zeroizing::new(Vec::with_capacity(length));
    for part in [VERSION, suite, label, secret] {
        labeled.extend_from_slice(part);
    }
    Salt::new(HKDF_SHA256, salt).extract(&labeled)
}

/// LabeledExtract of what is no secret, with its result, which a [`Prk`] keeps to itself: HKDF-Extract is one HMAC.
fn public_extract(label: &[u8], value: &[u8]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &[]));
    for part in [VERSION, SUITE, label, value] {
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// LabeledExpand.
fn expand<const N: usize>(secret: &Prk, suite: &[u8], label: &[u8], info: &[u8]) -> Zeroizing<[u8; N]> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let length = (N as u16).to_be_bytes();
    let parts = [length.as_slice(), VERSION, suite, label, info];
    let mut out = Zeroizing::new([0; N]);
    let expanded = secret.expand(&parts, Length(N)).and_then(|okm| okm.fill(out.as_mut_slice()));
    expanded.expect("the length is one of HKDF-SHA256");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn secret(hex: &str) -> Secret {
        Secret::copy_of(&bytes(hex))
    }

    /// From the official test vectors of RFC 9180: mode 0, KEM 0x0020, KDF 0x0001, AEAD 0x0002, message 0.
    #[test]
    fn the_standard_agrees() {
        let ephemeral = secret("179d4b53b6365c45b600c4163b61d95cbc2f4d9e36f1695558dce265ab8bab11");
        let private = secret("497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d");
        let recipient = bytes("430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c");
        let info = bytes("4f6465206f6e2061204772656369616e2055726e");
        let aad = bytes("436f756e742d30");
        let plain = bytes("4265617574792069732074727574682c20747275746820626561757479");
        let sealed = bytes(concat!(
            "6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256",
            "e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a",
        ));
        assert_eq!(public(&private).as_slice(), recipient);
        let recipient: [u8; 32] = recipient.try_into().unwrap();
        assert_eq!(seal_with(&ephemeral, &recipient, &info, &aad, &plain).unwrap(), sealed);
        assert_eq!(open(&private, &info, &aad, &sealed).unwrap().as_slice(), plain);
    }

    /// The same vector's steps between.
    #[test]
    fn the_steps_agree_with_the_standard() {
        let ephemeral = private_key(&secret("179d4b53b6365c45b600c4163b61d95cbc2f4d9e36f1695558dce265ab8bab11"));
        let recipient = bytes("430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c");
        let recipient: [u8; 32] = recipient.try_into().unwrap();
        let shared = shared_secret(&ephemeral, &recipient, &public_of(&ephemeral), &recipient).unwrap();
        assert_eq!(shared.to_vec(), bytes("3101c54c3a4f87439eaac080699ed9bbcc726ffe44e860c0424ccb7e3e2ead7b"));
        let context = bytes(concat!(
            "004ce5472ecdd5093ba0aecb8f871ff13f1fbc90ee76f0e18ace1a1b7e565bafa3",
            "06f6ef962c9ee7cea40407b5d60f0f26990472faae3ac44c78366f1cac1ecde1",
        ));
        assert_eq!(public_extract(b"psk_id_hash", &[]), context[1..33]);
        assert_eq!(public_extract(b"info_hash", &bytes("4f6465206f6e2061204772656369616e2055726e")), context[33..]);
        let prk = extract(&*shared, SUITE, b"secret", &[]);
        let key = expand::<32>(&prk, SUITE, b"key", &context);
        assert_eq!(key.to_vec(), bytes("f50b0609186798729ed0564b36ef2ef8044f1f9d05636874d1f46c819c7a669f"));
        assert_eq!(expand::<12>(&prk, SUITE, b"base_nonce", &context).to_vec(), bytes("151d9929e2449747889bc923"));
    }

    #[test]
    fn only_the_same_key_info_and_aad_open_it() {
        let private = Secret::random();
        let sealed = seal(&public(&private), b"info", b"aad", b"plain").unwrap();
        assert_eq!(open(&private, b"info", b"aad", &sealed).unwrap().as_slice(), b"plain");
        assert!(open(&Secret::random(), b"info", b"aad", &sealed).is_none());
        assert!(open(&private, b"inf", b"aad", &sealed).is_none());
        assert!(open(&private, b"info", b"aa", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&private, b"info", b"aad", &bad).is_none(), "byte {at}");
            assert!(open(&private, b"info", b"aad", &sealed[..at]).is_none(), "cut at {at}");
        }
        assert_ne!(seal(&public(&private), b"info", b"aad", b"plain").unwrap(), sealed, "each time another key");
    }

    #[test]
    fn points_that_share_nothing_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        for point in [[0; 32], one] {
            assert!(seal(&point, b"", b"", b"plain").is_none());
        }
    }
}
