//! Seeded dice for tests that spoil bytes.

/// Throws the same numbers every time.
pub(crate) struct Dice(blake3::OutputReader);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % sides as u64) as usize
    }

    /// Changes bytes in one of the ways in which they get changed: flipped, set, cut, doubled, inserted, swapped.
    pub(crate) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(3) {
            if bytes.is_empty() {
                return;
            }
            let at = self.roll(bytes.len());
            match self.roll(6) {
                0 => bytes[at] ^= 1 << self.roll(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.roll(5)],
                2 => bytes.truncate(at),
                3 => bytes.extend_from_within(at..),
                4 => bytes.insert(at, self.roll(256) as u8),
                _ => {
                    let other = self.roll(bytes.len());
                    bytes.swap(at, other);
                }
            }
        }
    }
}
