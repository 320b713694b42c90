//! Repeatable dice and the contents of blocks.

/// SplitMix64: fast, repeatable, good enough to scatter keys.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Dice that throw the same numbers for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Fills `bytes` with what block `index` holds: not compressible, and different for each index.
pub(crate) fn fill(index: u64, bytes: &mut [u8]) {
    let mut random = Random::new(index.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
    }
}
