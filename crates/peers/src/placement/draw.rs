//! The draw of a node for a placement group: a seeded pseudo-random number in (0, 1), and logarithms of such, in fixed
//! point. Integers only, so they are the same numbers on every machine.
//!
//! Each node has one draw in each 1,024th of (0, 1), in an order of its own. Independent draws would leave it to luck
//! how often a node draws low, and with it how much it holds: a small node, of which few draws matter, by a quarter.

use super::GROUPS;

/// Bits after the point of a logarithm.
const POINT: u32 = 24;
/// One, as a logarithm.
pub(super) const ONE: i32 = 1 << POINT;
/// One, as a probability.
pub(super) const CERTAIN: u64 = 1 << 32;

/// Rounds of mixing by which a node's order of draws is made.
const ROUNDS: u64 = 4;
/// Bits of a group's number.
const GROUP_BITS: u32 = GROUPS.ilog2();
const _: () = assert!(GROUPS == 1 << GROUP_BITS);

/// The draw of the node with this key in this group, of which [`CERTAIN`] is one.
pub(super) fn draw(key: u64, group: u16) -> u64 {
    let within = mix(key.wrapping_add((u64::from(group) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))) >> (32 + GROUP_BITS);
    shuffled(key, group) << (32 - GROUP_BITS) | within
}

/// log2(p) of a probability of which [`CERTAIN`] is one: between -32 and 0. None and certainty are drawn in by one part
/// in 2^32.
pub(super) fn log(probability: u64) -> i32 {
    log2(probability.clamp(1, CERTAIN - 1) as u32) - 32 * ONE
}

/// log2(p / (1 - p)), likewise: between -32 and 32.
pub(super) fn log_odds(probability: u64) -> i32 {
    log(probability) - log(CERTAIN - probability.min(CERTAIN))
}

/// Where a group stands in the node's own order of all groups. Each round is a bijection: an odd factor and a shift.
fn shuffled(key: u64, group: u16) -> u64 {
    let mask = u64::from(GROUPS) - 1;
    let key = mix(key);
    let mut at = (u64::from(group) ^ key) & mask;
    for round in 0..ROUNDS {
        let key = mix(key.wrapping_add(round));
        at = (at * (key & mask | 1) + (key >> GROUP_BITS & mask)) & mask;
        at ^= at >> (GROUP_BITS / 2);
    }
    at
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
    use alloc::collections::BTreeSet;

    #[test]
    fn logarithms_are_right_and_rise() {
        assert_eq!(log2(1), 0);
        assert_eq!(log2(1 << 31), 31 * ONE);
        assert_eq!(log(CERTAIN / 2), -ONE);
        for number in [3, 5, 1000, 0x1234_5678, u32::MAX] {
            let near = f64::from(log2(number)) / f64::from(ONE);
            assert!((near - f64::from(number).log2()).abs() < 1e-5, "log2({number}) is not {near}");
        }
        let mut before = i32::MIN;
        for p in (0..=CERTAIN).step_by(99_991) {
            let now = log(p);
            assert!(now > before, "logarithms fall at {p}");
            before = now;
        }
        assert_eq!(log(0), -32 * ONE);
        assert!(log(CERTAIN) <= 0);
        assert_eq!((log_odds(CERTAIN / 2), log_odds(0)), (0, -log_odds(CERTAIN)));
        assert!(log_odds(CERTAIN) <= 32 * ONE);
    }

    #[test]
    fn a_node_draws_once_in_every_part() {
        for key in (0..200).map(mix) {
            let parts: BTreeSet<u64> = (0..GROUPS).map(|group| shuffled(key, group)).collect();
            assert_eq!(parts.len(), usize::from(GROUPS));
            let quarter = (0..GROUPS).filter(|&group| draw(key, group) < CERTAIN / 4).count();
            assert_eq!(quarter, usize::from(GROUPS) / 4);
        }
    }

    #[test]
    fn one_nodes_draws_say_nothing_of_anothers() {
        // Of two nodes' draws a sixteenth should be in the lowest quarter of both.
        let low = |key: u64, group| draw(mix(key), group) < CERTAIN / 4;
        let mut worst = 0;
        let mut all = 0;
        for (one, other) in (0..400).map(|pair| (2 * pair, 2 * pair + 1)) {
            let both = (0..GROUPS).filter(|&group| low(one, group) && low(other, group)).count();
            worst = worst.max(both.abs_diff(64));
            all += both;
        }
        // Six and a half is the deviation of independent shuffles.
        assert!(worst < 33, "a pair is off by {worst} of 64");
        assert!(all.abs_diff(400 * 64) < 400 * 64 / 50, "{all} in all");
    }
}
