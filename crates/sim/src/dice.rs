//! Dice thrown from a seed: the same seed, the same throws, on every machine.

use std::time::Duration;

/// One stream of throws.
#[derive(Debug, Clone)]
pub struct Dice(u64);

/// A million, as chances are counted.
pub const MILLION: u64 = 1_000_000;

impl Dice {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for one purpose: throwing it does not move this one on.
    #[must_use]
    pub fn fork(&self, purpose: u64) -> Self {
        let mut fork = Self(self.0 ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Self(fork.throw())
    }

    /// 64 bits: SplitMix64, by Steele, Lea and Flood.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `below`, which is not 0.
    pub fn below(&mut self, below: u64) -> u64 {
        assert!(below > 0, "there is no number below 0");
        ((u128::from(self.throw()) * u128::from(below)) >> 64) as u64
    }

    /// A number from `least` up to and including `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Whether something happens that has so many chances in a million.
    pub fn happens(&mut self, ppm: u64) -> bool {
        self.below(MILLION) < ppm
    }

    /// A time between two, evenly.
    pub fn time(&mut self, least: Duration, most: Duration) -> Duration {
        Duration::from_micros(self.between(least.as_micros() as u64, most.as_micros() as u64))
    }

    /// A time until the next of events that come once in `mean` on average, without a memory; up to 20 times `mean`.
    pub fn wait(&mut self, mean: Duration) -> Duration {
        // -ln of a number in (0, 1], in integers: 32 fair coins an octave would be slow, a table coarse. The float here
        // is IEEE multiplication and one `ln`, whose last bit does not matter once it is cut to a thousandth.
        let unit = (self.below(1 << 32) + 1) as f64 / (1u64 << 32) as f64;
        let thousandths = (-unit.ln() * 1000.0).round() as u64;
        Duration::from_micros((mean.as_micros() as u64 / 1000).saturating_mul(thousandths.min(20_000)))
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// Bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let throw = self.throw().to_le_bytes();
            chunk.copy_from_slice(&throw[..chunk.len()]);
        }
    }

    /// 32 bytes.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throws_are_even_and_repeat() {
        let mut dice = Dice::new(7);
        let mut counts = [0; 6];
        (0..60_000).for_each(|_| counts[dice.below(6) as usize] += 1);
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        let (mut one, mut other) = (Dice::new(7).fork(3), Dice::new(7).fork(3));
        assert!((0..100).all(|_| one.throw() == other.throw()));
        assert_ne!(Dice::new(7).fork(1).throw(), Dice::new(7).fork(2).throw());
    }

    #[test]
    fn waits_have_their_mean() {
        let mut dice = Dice::new(1);
        let sum: u64 = (0..20_000).map(|_| dice.wait(Duration::from_secs(100)).as_secs()).sum();
        assert!((95 * 20_000..105 * 20_000).contains(&sum), "{}", sum / 20_000);
    }
}
