use super::*;
use crate::pretend::{Dice, node};
use alloc::vec;

const SECOND: u64 = 1_000_000;

#[test]
fn the_median_of_the_last_samples_counts() {
    let mut speed = Speed::default();
    assert_eq!(speed.latency(), None);
    let mut dice = Dice(1);
    let mut all = Vec::new();
    for _ in 0..100 {
        let took = 1 + dice.below(50_000);
        speed.answered(10, took);
        all.push(took);
        let mut last: Vec<u64> = all.iter().rev().take(SAMPLES).copied().collect();
        last.sort_unstable();
        assert_eq!(speed.latency(), Some(last[last.len() / 2]));
        assert_eq!(speed.base_latency(), Some(last[0]));
    }
    assert_eq!(speed.throughput(), None, "small answers say nothing of throughput");
}

#[test]
fn one_slow_answer_moves_nothing() {
    let mut speed = Speed::default();
    (0..5).for_each(|_| speed.answered(10, 20_000));
    speed.answered(10, 30 * SECOND);
    assert_eq!(speed.latency(), Some(20_000));
}

#[test]
fn latency_is_taken_out_of_throughput() {
    let mut speed = Speed::default();
    speed.answered(100, 80_000);
    // 4 MiB at 16 MiB a second, and 80 ms on the way.
    speed.answered(4 << 20, SECOND / 4 + 80_000);
    assert_eq!(speed.throughput(), Some(16 << 20));
    // Where an answer is as quick as the latency alone, half of it is taken to be transfer.
    let mut quick = Speed::default();
    quick.answered(100, 80_000);
    quick.answered(1 << 20, 80_000);
    assert_eq!(quick.throughput(), Some((1 << 20) * 25));
    quick.answered(u64::MAX, 0);
    assert!(quick.throughput().is_some());
}

#[test]
fn what_is_overdue_doubles_until_an_answer_comes() {
    let mut speeds = Speeds::new();
    let (known, other) = (node(1), node(2));
    speeds.answered(known, 10, 100_000);
    assert_eq!(speeds.expected(&known, 0), 100_000);
    for times in 1..=LATE_MAX + 3 {
        speeds.late(known);
        assert_eq!(speeds.expected(&known, 0), 100_000 << times.min(LATE_MAX));
    }
    assert_eq!(speeds.expected(&other, 0), 100_000, "others are not slower for that");
    speeds.answered(known, 10, 100_000);
    assert_eq!(speeds.expected(&known, 0), 100_000);
}

#[test]
fn a_newcomer_is_taken_to_be_as_quick_as_the_middle_one() {
    let mut speeds = Speeds::new();
    assert_eq!(speeds.expected(&node(9), 0), LATENCY_DEFAULT_US);
    assert_eq!(speeds.expected(&node(9), THROUGHPUT_DEFAULT), LATENCY_DEFAULT_US + SECOND);
    for (number, took) in [(1, 10_000), (2, 50_000), (3, 90_000)] {
        speeds.answered(node(number), 10, took);
        speeds.answered(node(number), 1 << 20, took + SECOND);
    }
    assert_eq!(speeds.expected(&node(9), 1 << 20), 50_000 + SECOND);
    let mut order = vec![node(3), node(9), node(2), node(1)];
    speeds.order(&mut order, 1 << 20);
    assert_eq!(order, [node(1), node(2), node(9), node(3)], "equals by their names");
    speeds.forget(&node(1));
    assert_eq!(speeds.of(&node(1)), None);
}

#[test]
fn who_is_quick_depends_on_how_much_is_asked() {
    let mut speeds = Speeds::new();
    let (near, wide) = (node(1), node(2));
    speeds.answered(near, 10, 1_000);
    speeds.answered(near, 1 << 20, 1_000 + SECOND);
    speeds.answered(wide, 10, 200_000);
    speeds.answered(wide, 1 << 20, 200_000 + SECOND / 100);
    let mut order = vec![wide, near];
    speeds.order(&mut order, 100);
    assert_eq!(order, [near, wide]);
    speeds.order(&mut order, 4 << 20);
    assert_eq!(order, [wide, near]);
}

#[test]
fn patience_has_bounds() {
    let mut speeds = Speeds::new();
    let quick = node(1);
    speeds.answered(quick, 10, 50);
    assert_eq!(speeds.timeout(&quick, 0), TIMEOUT_MIN_US);
    let slow = node(2);
    speeds.answered(slow, 10, 3600 * SECOND);
    assert_eq!(speeds.timeout(&slow, 0), TIMEOUT_MAX_US);
    // A large shard over the slowest line is waited for.
    speeds.answered(slow, 1 << 20, 1 << 40);
    let shard = 8_u64 << 20;
    assert_eq!(speeds.timeout(&slow, shard), shard * SECOND / THROUGHPUT_MIN);
    assert!(speeds.timeout(&slow, u64::MAX) >= TIMEOUT_MAX_US, "no overflow");
}
