use super::*;
use crate::pretend::{Dice, member};
use alloc::string::ToString;
use alloc::vec;

const HOME: u64 = 822_030;
const WEEK: Pace = Pace { notice_ms: 7 * 86_400_000, repair_ms: 86_400_000 };

fn holder(number: u8, lost_ppm: u32, loss_rate: u64) -> Holder {
    Holder { member: member(number), lost_ppm, loss_rate }
}

fn healthy(count: u8, loss_rate: u64) -> Vec<Holder> {
    (0..count).map(|number| holder(number, 0, loss_rate)).collect()
}

fn near(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= expected * tolerance
}

/// Expected days to the loss of `slack` of `owners`, by solving the linear equations of the chain in floating point:
/// with h(m) the days from m missing, (d + b) h(m) = 1 + d h(m + 1) + b h(m - 1).
fn by_equations(slack: usize, owners: usize, rate: f64, mend_days: f64) -> f64 {
    let mut rows = vec![vec![0.0; slack + 1]; slack];
    for (missing, row) in rows.iter_mut().enumerate() {
        let (losses, mendings) = ((owners - missing) as f64 * rate, missing as f64 / mend_days);
        row[missing] += losses + mendings;
        if missing + 1 < slack {
            row[missing + 1] -= losses;
        }
        if missing > 0 {
            row[missing - 1] -= mendings;
        }
        row[slack] = 1.0;
    }
    for pivot in 0..slack {
        let scale = rows[pivot][pivot];
        rows[pivot].iter_mut().for_each(|value| *value /= scale);
        let row = rows[pivot].clone();
        for other in (0..slack).filter(|other| *other != pivot) {
            let times = rows[other][pivot];
            rows[other].iter_mut().zip(&row).for_each(|(value, of)| *value -= times * of);
        }
    }
    rows[0][slack]
}

#[test]
fn equals_the_chain_solved_in_floating_point() {
    for shape in Shape::ALL.into_iter().filter(|shape| *shape != Shape::EightOfTwentyFour) {
        for (rate, mend_days) in [(HOME, 8_u64), (HOME * 10, 8), (HOME * 10, 30), (40_000_000, 10)] {
            let pace = Pace { notice_ms: (mend_days - 1) * 86_400_000, repair_ms: 86_400_000 };
            let found = days_of_shape(shape, rate, pace);
            let expected = by_equations(shape.n() - shape.k() + 1, shape.n(), rate as f64 / 1e9, mend_days as f64);
            if expected < 1e12 {
                let (least, most) = (expected.floor() * 0.999 - 1.0, expected * 1.001 + 1.0);
                assert!((least..=most).contains(&(found.0 as f64)), "{shape} {rate}: {found}, not {expected}");
            }
            let of_holders = days(shape, &healthy(shape.n() as u8, rate), pace);
            assert!(of_holders.0.abs_diff(found.0) <= found.0 / 1_000_000, "{shape}: {of_holders}, not {found}");
        }
    }
}

/// Plays the losing and mending of shards until fewer than k are left, again and again; the mean of days.
fn by_playing(shape: Shape, rate: f64, mend_days: f64, plays: u32) -> f64 {
    let mut dice = Dice(7);
    let mut sum = 0.0;
    for _ in 0..plays {
        // Each shard's next change: lost at `rate`, or mended after it was.
        let wait = |mean: f64, dice: &mut Dice| -dice.part().ln() * mean;
        let mut changes: Vec<(f64, bool)> = (0..shape.n()).map(|_| (wait(1.0 / rate, &mut dice), true)).collect();
        loop {
            let next = (0..changes.len()).min_by(|a, b| changes[*a].0.total_cmp(&changes[*b].0)).unwrap();
            let (now, was_there) = changes[next];
            let mean = if was_there { mend_days } else { 1.0 / rate };
            changes[next] = (now + wait(mean, &mut dice), !was_there);
            if changes.iter().filter(|(_, there)| *there).count() < shape.k() {
                sum += now;
                break;
            }
        }
    }
    sum / f64::from(plays)
}

#[test]
fn equals_what_playing_it_shows() {
    for (shape, rate, mend_days) in
        [(Shape::OneOfTwo, 10_000_000, 8), (Shape::OneOfThree, 20_000_000, 10), (Shape::TwoOfSix, 40_000_000, 12)]
    {
        let pace = Pace { notice_ms: mend_days * 86_400_000, repair_ms: 0 };
        let found = days_of_shape(shape, rate, pace).0 as f64;
        let played = by_playing(shape, rate as f64 / 1e9, mend_days as f64, 4000);
        assert!(near(found, played, 0.06), "{shape}: {found} days, played {played}");
    }
}

#[test]
fn more_redundancy_is_never_less_safe() {
    let mut dice = Dice(3);
    for _ in 0..2000 {
        let shape = *dice.of(&Shape::ALL);
        let pace = Pace { notice_ms: dice.below(30) * 86_400_000, repair_ms: dice.below(86_400_000) };
        let count = 1 + dice.below(shape.n() as u64);
        // Rates are averaged over the owners, so that only equal ones compare.
        let rate = 1 + dice.below(10_000_000);
        let mut holders: Vec<Holder> =
            (0..count as u8).map(|number| holder(number, dice.below(3) as u32 * 1000, rate)).collect();
        let before = days(shape, &holders, pace);
        holders.push(holder(200, 0, rate));
        let more = days(shape, &holders, pace);
        assert!(more >= before, "{shape}: {before}, with one more {more}");
        let doubtful: Vec<Holder> = holders.iter().map(|it| Holder { lost_ppm: it.lost_ppm + 10_000, ..*it }).collect();
        assert!(days(shape, &doubtful, pace) <= more, "doubt makes nothing safer");
        let mortal: Vec<Holder> = holders.iter().map(|it| Holder { loss_rate: rate * 3, ..*it }).collect();
        assert!(days(shape, &mortal, pace) <= more, "mortal holders make nothing safer");
        let slow = Pace { notice_ms: pace.notice_ms + 86_400_000, ..pace };
        assert!(days(shape, &holders, slow) <= more, "slow mending makes nothing safer");
    }
    for pair in Shape::ALL.windows(2) {
        assert!(days_of_shape(pair[0], HOME, WEEK) < days_of_shape(pair[1], HOME, WEEK), "{pair:?}");
    }
}

/// The fewest owners whose loss leaves fewer than k shards, by trying all sets.
fn slack_by_force(k: usize, shards: &[usize]) -> usize {
    let left =
        |set: usize| shards.iter().enumerate().filter(|(at, _)| set >> at & 1 == 0).map(|(_, s)| s).sum::<usize>();
    (0..1_usize << shards.len()).filter(|set| left(*set) < k).map(|set| set.count_ones() as usize).min().unwrap_or(0)
}

#[test]
fn shards_of_one_member_are_lost_together() {
    let mut dice = Dice(4);
    for _ in 0..500 {
        let k = 1 + dice.below(8) as usize;
        let shards: Vec<usize> = (0..1 + dice.below(8)).map(|_| 1 + dice.below(3) as usize).collect();
        let holders: Vec<Holder> =
            shards.iter().enumerate().flat_map(|(at, count)| vec![holder(at as u8, 0, HOME); *count]).collect();
        assert_eq!(slack(k, &owners(&holders)), slack_by_force(k, &shards), "{k} of {shards:?}");
    }
    // Six shards of two members are no safer than two copies.
    let two: Vec<Holder> = (0..6).map(|at| holder(at % 2, 0, HOME)).collect();
    let copies = days(Shape::OneOfTwo, &healthy(2, HOME), WEEK);
    assert_eq!(days(Shape::TwoOfSix, &two, WEEK), copies);
}

#[test]
fn what_may_be_lost_already_weighs_in() {
    // By trying which are lost: the mean of the rates of loss, weighed by how likely each case is.
    let ppm = [0_u32, 300_000, 20_000, 500_000, 1_000, 0];
    let holders: Vec<Holder> = ppm.iter().zip(0..).map(|(ppm, at)| holder(at, *ppm, HOME)).collect();
    let mut risk = 0.0;
    for set in 0..1_usize << ppm.len() {
        let lost = |at: usize| set >> at & 1 == 1;
        let chance: f64 = (0..ppm.len())
            .map(|at| if lost(at) { f64::from(ppm[at]) / 1e6 } else { 1.0 - f64::from(ppm[at]) / 1e6 })
            .product();
        let left = 5_usize.saturating_sub(set.count_ones() as usize);
        let owners = ppm.len() - set.count_ones() as usize;
        let life = if left == 0 { 1.0 } else { by_equations(left, owners, HOME as f64 / 1e9, 8.0).max(1.0) };
        risk += chance / life;
    }
    let found = days(Shape::TwoOfSix, &holders, WEEK).0 as f64;
    assert!(near(found, 1.0 / risk, 0.001), "{found}, not {}", 1.0 / risk);
    // One in a hundred that it is gone is about a hundred days, however splendid the rest.
    let one = days(Shape::OneOfOne, &[holder(1, 10_000, 1)], WEEK);
    assert!((95..=100).contains(&one.0), "{one}");
}

#[test]
fn extremes() {
    assert_eq!(days(Shape::TwoOfSix, &healthy(1, HOME), WEEK), Days::NONE);
    assert_eq!(days(Shape::OneOfOne, &[], WEEK), Days::NONE);
    let gone: Vec<Holder> = (0..6).map(|at| holder(at, 1_000_000, HOME)).collect();
    assert_eq!(days(Shape::TwoOfSix, &gone, WEEK), Days::NONE);
    assert_eq!(days(Shape::EightOfTwentyFour, &healthy(24, 0), Pace { notice_ms: 0, repair_ms: 0 }), Days::MAX);
    let hopeless = Pace { notice_ms: u64::MAX, repair_ms: u64::MAX };
    assert!(days(Shape::OneOfTwo, &healthy(2, u64::MAX), hopeless) <= Days(1), "no overflow");
    assert!(Days(DANGER_DAYS - 1).danger() && !Days(DANGER_DAYS).danger());
}

#[test]
fn healthy_homes_are_out_of_danger_and_one_copy_is_not() {
    assert!(!days_of_shape(Shape::OneOfThree, HOME, WEEK).danger());
    assert!(days(Shape::OneOfThree, &healthy(1, HOME), WEEK).danger());
    assert!(!days(Shape::TwoOfSix, &healthy(5, HOME), WEEK).danger(), "one of six missing is no emergency");
    assert!(days(Shape::TwoOfSix, &healthy(2, HOME), WEEK).danger());
}

#[test]
fn days_are_shown_as_a_plain_number() {
    for (days, shown) in [
        (0, "0 days"),
        (1, "1 day"),
        (9_999_999, "9999999 days"),
        (10_000_000, "1e7 days"),
        (98_765_432_100, "9e10 days"),
        (DAYS_MAX, "10^18 days or more"),
    ] {
        assert_eq!(Days(days).to_string(), shown);
    }
}

#[test]
fn a_spread_counts_by_powers_of_ten() {
    let mut spread = Spread::EMPTY;
    assert_eq!((spread.least, spread.below(DAYS_MAX)), (Days::MAX, 0));
    let all = [0, 1, 9, 10, 99, 100, 5_000, 1_000_000, DAYS_MAX];
    all.iter().for_each(|days| spread.add(Days(*days)));
    assert_eq!(spread.least, Days::NONE);
    for power in [1, 10, 100, 1_000, 10_000, 1_000_000_000] {
        let below = all.iter().filter(|days| **days < power).count() as u64;
        assert_eq!(spread.below(power), below, "below {power}");
    }
    assert_eq!(spread.segments.iter().sum::<u64>(), all.len() as u64);
    let mut two = spread;
    two.merge(&Spread { least: Days(3), ..Spread::EMPTY });
    assert_eq!(two, spread);
    let mut one = Spread::EMPTY;
    one.merge(&spread);
    assert_eq!(one, spread);
}
