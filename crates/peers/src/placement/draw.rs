//! The draw of a node for a placement group: a seeded pseudo-random number u in (0, 1), as its log-odds
//! log2(u / (1 - u)) in fixed point. Integers only, so it is the same number on every machine.

/// Bits after the point of a log-odds.
const POINT: u32 = 24;
/// One, as a log-odds.
pub(super) const ONE: i32 = 1 << POINT;
/// One, as a probability.
pub(super) const CERTAIN: u64 = 1 << 32;

/// The log-odds of the draw of the node with this key in this group: within -32 and 32.
pub(super) fn draw(key: u64, group: u16) -> i32 {
    let mixed = mix(key.wrapping_add((u64::from(group) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    log_odds(mixed >> 32)
}

/// log2(p / (1 - p)) of a probability of which [`CERTAIN`] is one. None and certainty are drawn in by one part in 2^32.
pub(super) fn log_odds(probability: u64) -> i32 {
    let p = probability.clamp(1, CERTAIN - 1);
    log2(p as u32) - log2((CERTAIN - p) as u32)
}

/// The finisher of SplitMix64: every bit of the result hangs on every bit of the input.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// log2 of a number that is not 0, by a table of its leading bits and a straight line between the table's points.
fn log2(number: u32) -> i32 {
    let whole = number.ilog2();
    let fraction = number << (31 - whole);
    let (at, between) = ((fraction >> 23) as usize & 0xff, (fraction & 0x7f_ffff) as i32);
    let (low, high) = (LOGS[at], LOGS[at + 1]);
    ((whole as i32) << POINT) + low + ((i64::from(high - low) * i64::from(between)) >> 23) as i32
}

/// log2(1 + i / 256).
const LOGS: [i32; 257] = {
    let mut logs = [ONE; 257];
    let mut at = 0;
    while at < 256 {
        // Squaring doubles the logarithm; whenever the square passes 2, the next bit is a one.
        let mut square = (256 + at as u64) << 23;
        let (mut log, mut bit) = (0, 0);
        while bit < POINT {
            square = (square * square) >> 31;
            log <<= 1;
            if square >= 1 << 32 {
                square >>= 1;
                log |= 1;
            }
            bit += 1;
        }
        logs[at] = log;
        at += 1;
    }
    logs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right_and_rise() {
        assert_eq!(log2(1), 0);
        assert_eq!(log2(1 << 31), 31 * ONE);
        assert_eq!(log_odds(CERTAIN / 2), 0);
        for number in [3, 5, 1000, 0x1234_5678, u32::MAX] {
            let near = f64::from(log2(number)) / f64::from(ONE);
            assert!((near - f64::from(number).log2()).abs() < 1e-5, "log2({number}) is not {near}");
        }
        let mut before = i32::MIN;
        for p in (0..=CERTAIN).step_by(99_991) {
            let now = log_odds(p);
            assert!(now > before, "log-odds fall at {p}");
            before = now;
        }
        assert_eq!(log_odds(0), -log_odds(CERTAIN));
        assert!(log_odds(CERTAIN) <= 32 * ONE);
    }

    #[test]
    fn draws_are_spread_evenly() {
        let below = (0..100u64).flat_map(|key| (0..1000).map(move |group| draw(mix(key), group)));
        let quarter = below.filter(|&d| d < log_odds(CERTAIN / 4)).count();
        assert!((24_500..25_500).contains(&quarter), "{quarter} of 100000 draws lie in the first quarter");
    }
}
