//! Seeded dice.

pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % sides
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll(256) as u8).collect()
    }
}

/// How many times as many seeds as usual are wanted: `OKAPI_SEEDS`.
fn factor() -> u64 {
    std::env::var("OKAPI_SEEDS").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// The seeds of a test: that of `OKAPI_SEED`, or the first so many.
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("OKAPI_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count * factor()).collect(),
    }
}
