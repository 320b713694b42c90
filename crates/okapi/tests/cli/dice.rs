//! Seeded dice.

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % sides
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = (0..count.div_ceil(4)).flat_map(|_| (self.roll(1 << 32) as u32).to_le_bytes());
        words.take(count).collect()
    }
}

/// The seed of this run: `OKAPI_SEED`, or the time. It is printed, and so seen when a test fails.
#[expect(clippy::print_stderr, reason = "the harness shows it when a test fails")]
pub(crate) fn seed() -> u64 {
    let given = std::env::var("OKAPI_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = || std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").subsec_nanos().into();
    let seed = given.unwrap_or_else(now);
    eprintln!("OKAPI_SEED={seed}");
    seed
}
