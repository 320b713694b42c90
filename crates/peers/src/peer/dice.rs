//! The driver's dice, stretched: a stream nobody else can foresee, the same for the same entropy.

use okapi_seal::Hasher;

/// Unpredictable numbers from the entropy of this run.
#[derive(Debug)]
pub(crate) struct Dice {
    entropy: [u8; 32],
    thrown: u64,
}

impl Dice {
    pub(crate) const fn new(entropy: [u8; 32]) -> Self {
        Self { entropy, thrown: 0 }
    }

    /// 32 bytes that were never thrown before.
    pub(crate) fn seed(&mut self) -> [u8; 32] {
        self.thrown += 1;
        Hasher::new("okapi 2026 peer: dice").add(&self.entropy).add(&self.thrown.to_le_bytes()).digest().0
    }

    /// A number below `below`, which is not 0. The bias of the remainder is below 2^-32 for all uses here.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        let seed = self.seed();
        u64::from_le_bytes(core::array::from_fn(|at| seed[at])) % below
    }
}
