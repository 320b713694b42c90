//! AES-256-GCM under one key, with nonces chosen by the caller.

use crate::Secret;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

/// The byte that stands for AES-256-GCM wherever an algorithm is named.
pub const ALGORITHM_AES_256_GCM: u8 = 1;
/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;

/// A number used once per key. Whoever seals answers for that.
pub type Nonce = [u8; NONCE_BYTES];

/// The sealed bytes are not what was sealed under this key and nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the authentication tag does not match")]
pub struct Forged;

/// Seals and opens under one key.
pub struct Sealer {
    key: LessSafeKey,
    stream: DecryptingKey,
}

impl Sealer {
    /// A sealer with this key.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, secret.bytes()).expect("a secret has the key length of AES-256");
        let stream = UnboundCipherKey::new(&cipher::AES_256, secret.bytes())
            .and_then(DecryptingKey::ctr)
            .expect("a secret has the key length of AES-256");
        Self { key: LessSafeKey::new(key), stream }
    }

    /// Seals `head` in place and after it `tail`, whose sealed bytes and the tag go to `tail_out`
    /// (`tail.len() + TAG_BYTES` long). One message, two pieces: the tail is never copied first.
    pub fn seal(&self, nonce: Nonce, head: &mut [u8], tail: &[u8], tail_out: &mut [u8]) {
        assert_eq!(tail_out.len(), tail.len() + TAG_BYTES, "room for the sealed tail and the tag");
        self.key
            .seal_in_place_scatter(
                aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                head,
                tail,
                tail_out,
            )
            .expect("the lengths fit AES-256-GCM");
    }

    /// Seals all of `message` but its last [`TAG_BYTES`], which become the tag.
    pub fn seal_in_place(&self, nonce: Nonce, message: &mut [u8]) {
        let plain = message.len().checked_sub(TAG_BYTES).expect("room for the tag");
        let (plain, tag) = message.split_at_mut(plain);
        let made = self
            .key
            .seal_in_place_separate_tag(aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce), Aad::empty(), plain)
            .expect("the lengths fit AES-256-GCM");
        tag.copy_from_slice(made.as_ref());
    }

    /// Opens `sealed` (ciphertext, then tag) in place and gives the plain bytes, which lie at its start.
    ///
    /// # Errors
    /// [`Forged`]; `sealed` then holds nothing of use.
    pub fn open_in_place<'a>(&self, nonce: Nonce, sealed: &'a mut [u8]) -> Result<&'a mut [u8], Forged> {
        self.key
            .open_in_place(aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce), Aad::empty(), sealed)
            .map_err(|_| Forged)
    }

    /// Opens `sealed` (ciphertext, then tag) into `plain`, which is [`TAG_BYTES`] shorter.
    ///
    /// # Errors
    /// [`Forged`], also when the lengths do not fit; `plain` then holds nothing of use.
    pub fn open(&self, nonce: Nonce, sealed: &[u8], plain: &mut [u8]) -> Result<(), Forged> {
        let cut = sealed.len().checked_sub(TAG_BYTES).ok_or(Forged)?;
        let (text, tag) = sealed.split_at(cut);
        self.key
            .open_separate_gather(aws_lc_rs::aead::Nonce::assume_unique_for_key(nonce), Aad::empty(), text, tag, plain)
            .map_err(|_| Forged)
    }

    /// Decrypts the start of a sealed message WITHOUT authenticating it: a hint about where to look for its end, of
    /// which nothing may be believed until the whole has been opened.
    pub fn peek(&self, nonce: Nonce, start: &mut [u8]) {
        // GCM numbers its blocks after the nonce from 1, and the first one masks the tag.
        let mut counter = [0; 16];
        counter[..NONCE_BYTES].copy_from_slice(&nonce);
        counter[15] = 2;
        self.stream
            .decrypt(start, DecryptionContext::Iv128(FixedLength::from(counter)))
            .expect("counter mode decrypts any length");
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(key not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&Secret::from_bytes([7; 32]))
    }

    #[test]
    fn both_ways_of_sealing_make_the_same_bytes() {
        let tail = [0x5a; 4096];
        let mut head = [0x11; 48];
        let mut tail_out = vec![0; tail.len() + TAG_BYTES];
        sealer().seal([3; 12], &mut head, &tail, &mut tail_out);
        let mut whole = [&[0x11; 48][..], &tail, &[0; TAG_BYTES]].concat();
        sealer().seal_in_place([3; 12], &mut whole);
        assert_eq!(whole, [&head[..], &tail_out].concat());

        let mut plain = vec![0; whole.len() - TAG_BYTES];
        sealer().open([3; 12], &whole, &mut plain).unwrap();
        assert_eq!(plain, [&[0x11; 48][..], &tail].concat());
        assert_eq!(sealer().open_in_place([3; 12], &mut whole).unwrap(), plain);
    }

    #[test]
    fn a_flipped_bit_or_another_nonce_is_refused() {
        let mut message = [&[9; 100][..], &[0; TAG_BYTES]].concat();
        sealer().seal_in_place([1; 12], &mut message);
        for at in 0..message.len() {
            let mut bad = message.clone();
            bad[at] ^= 0x10;
            assert_eq!(sealer().open([1; 12], &bad, &mut [0; 100]), Err(Forged), "byte {at}");
        }
        assert_eq!(sealer().open([2; 12], &message, &mut [0; 100]), Err(Forged));
        assert_eq!(sealer().open([1; 12], &message[..10], &mut []), Err(Forged));
        assert_eq!(sealer().open([1; 12], &message, &mut [0; 99]), Err(Forged));
        assert_eq!(sealer().open([1; 12], &message, &mut [0; 100]), Ok(()));
    }

    #[test]
    fn a_peek_sees_the_start() {
        let mut message: Vec<u8> = (0..=255).chain([0; TAG_BYTES]).collect();
        sealer().seal_in_place([4; 12], &mut message);
        sealer().peek([4; 12], &mut message[..48]);
        assert_eq!(message[..48], (0..48).collect::<Vec<u8>>());
    }

    #[test]
    fn the_standard_agrees() {
        // NIST's GCM test case 14: an all-zero key, nonce and block.
        let sealer = Sealer::new(&Secret::from_bytes([0; 32]));
        let mut message = [0; 32];
        sealer.seal_in_place([0; 12], &mut message);
        let expected = [
            0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e, 0x07, 0x4e, 0xc5, 0xd3, 0xba, 0xf3, 0x9d, 0x18, 0xd0, 0xd1,
            0xc8, 0xa7, 0x99, 0x99, 0x6b, 0xf0, 0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19,
        ];
        assert_eq!(message, expected);
    }
}
