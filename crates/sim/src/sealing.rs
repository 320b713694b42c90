//! What owners store: segments really sealed, under data keys really wrapped, with a mark in the clear text and another
//! in every secret, so that whoever should not see them can be searched for both.

use crate::dice::Dice;
use okapi_base::SegmentName;
use okapi_peers::Blob;
use okapi_seal::{NONCE_BYTES, Sealer, Secret, TAG_BYTES, hash};

/// Bytes of a mark.
pub const MARK_BYTES: usize = 12;

/// The marks of one world.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// Stands in every clear text.
    pub plain: [u8; MARK_BYTES],
    /// Stands in every data key.
    pub key: [u8; MARK_BYTES],
}

impl Marks {
    /// The marks that dice make.
    pub fn new(dice: &mut Dice) -> Self {
        let mut marks = Self { plain: [0; MARK_BYTES], key: [0; MARK_BYTES] };
        dice.fill(&mut marks.plain);
        dice.fill(&mut marks.key);
        marks
    }

    /// Whether either stands somewhere in `bytes`.
    #[must_use]
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        memchr::memmem::find(bytes, &self.plain).is_some() || memchr::memmem::find(bytes, &self.key).is_some()
    }
}

/// A segment as the local store closes it.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Its name.
    pub name: SegmentName,
    /// Its bytes, sealed.
    pub bytes: Blob,
    /// Its data key, wrapped to its owner.
    pub key: Blob,
}

/// Makes and seals a segment of about `bytes`.
pub fn close(dice: &mut Dice, marks: &Marks, owner: &Secret, bytes: usize) -> Closed {
    let mut data_key = dice.seed();
    data_key[..MARK_BYTES].copy_from_slice(&marks.key);
    let mut message = vec![0; bytes.max(64) + TAG_BYTES];
    dice.fill(&mut message);
    for at in [0, bytes.max(64) / 2] {
        message[at..at + MARK_BYTES].copy_from_slice(&marks.plain);
    }
    Sealer::new(&Secret::from_bytes(data_key)).seal_in_place([0; NONCE_BYTES], &mut message);
    let name = SegmentName(hash(&message).0);
    let mut nonce = [0; NONCE_BYTES];
    dice.fill(&mut nonce);
    let mut wrapped = [data_key.as_slice(), &[0; TAG_BYTES]].concat();
    Sealer::new(owner).seal_in_place(nonce, &mut wrapped);
    Closed { name, bytes: Blob::from(message), key: Blob::from([nonce.as_slice(), &wrapped].concat()) }
}

/// Whether a segment that came back can be read with the key that came with it.
#[must_use]
pub fn opens(marks: &Marks, owner: &Secret, bytes: &[u8], key: &[u8]) -> bool {
    let Some((nonce, wrapped)) = key.split_first_chunk::<NONCE_BYTES>() else { return false };
    let mut wrapped = wrapped.to_vec();
    let Ok(data_key) = Sealer::new(owner).open_in_place(*nonce, &mut wrapped) else { return false };
    let Ok(data_key) = <[u8; 32]>::try_from(&*data_key) else { return false };
    let mut message = bytes.to_vec();
    let plain = Sealer::new(&Secret::from_bytes(data_key)).open_in_place([0; NONCE_BYTES], &mut message);
    plain.is_ok_and(|plain| plain.starts_with(&marks.plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_reads_a_segment() {
        let mut dice = Dice::new(1);
        let marks = Marks::new(&mut dice);
        let (owner, other) = (Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
        let closed = close(&mut dice, &marks, &owner, 1000);
        assert!(opens(&marks, &owner, &closed.bytes, &closed.key));
        assert!(!opens(&marks, &other, &closed.bytes, &closed.key));
        assert!(!marks.is_in(&closed.bytes) && !marks.is_in(&closed.key));
        assert!(marks.is_in(&[b"..".as_slice(), &marks.plain].concat()));
    }
}
