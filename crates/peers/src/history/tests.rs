use super::*;
use crate::pretend::{Dice, NOON, at, node};

const MINUTE: u64 = 60_000;
/// A Monday at midnight.
const MONDAY: u64 = NOON - 12 * HOUR_MS + 4 * DAY_MS;

/// Hears `who` every ten minutes of `days` whenever `is_up` (day from the Monday on, hour) says so.
fn live(histories: &mut Histories, who: &[NodeId], days: core::ops::Range<u64>, is_up: impl Fn(u64, u64) -> bool) {
    for day in days {
        for tick in 0..144 {
            if is_up(day, tick / 6) {
                let now = at(MONDAY + day * DAY_MS + tick * 10 * MINUTE);
                who.iter().for_each(|node| histories.heard(now, *node));
            }
        }
    }
}

fn day(number: u64) -> Moment {
    at(MONDAY + number * DAY_MS)
}

fn always(_: u64, _: u64) -> bool {
    true
}

fn days_of_work(day: u64, hour: u64) -> bool {
    day % 7 < 5 && (8..18).contains(&hour)
}

#[test]
fn a_group_that_knows_nothing_waits_a_week() {
    let mut histories = Histories::new(day(0));
    assert_eq!(histories.grace(&node(1)), GRACE_DEFAULT_MS);
    assert_eq!(histories.presence(day(0), &node(1)), None);
    histories.watch(day(0), node(1));
    assert_eq!(histories.grace(&node(1)), GRACE_DEFAULT_MS);
}

#[test]
fn grace_follows_from_what_a_node_usually_does() {
    let mut histories = Histories::new(day(0));
    let (server, desktop, office) = (node(1), node(2), node(3));
    for number in 0..70 {
        live(&mut histories, &[server], number..number + 1, always);
        live(&mut histories, &[desktop], number..number + 1, |_, hour| (8..23).contains(&hour));
        live(&mut histories, &[office], number..number + 1, days_of_work);
    }
    assert_eq!(histories.grace(&server), GRACE_MIN_MS);
    assert_eq!(histories.grace(&desktop), GRACE_MIN_MS, "a night is nothing");
    // From Friday, 17:50, to Monday, 8:00.
    assert_eq!(histories.grace(&office), 2 * 63 * HOUR_MS);
    let office_is_up = histories.of(&office).unwrap().availability_ppm();
    assert!((270_000..330_000).contains(&office_is_up), "{office_is_up}");
    assert!(histories.of(&server).unwrap().availability_ppm() > 990_000);
}

#[test]
fn a_holiday_is_not_a_habit_and_long_habits_have_a_bound() {
    let mut histories = Histories::new(day(0));
    let (traveller, seasonal) = (node(1), node(2));
    live(&mut histories, &[traveller], 0..60, always);
    live(&mut histories, &[traveller], 80..200, always);
    assert_eq!(histories.grace(&traveller), GRACE_MIN_MS);
    live(&mut histories, &[seasonal], 0..300, |day, _| day % 20 < 2);
    assert_eq!(histories.grace(&seasonal), GRACE_MAX_MS);
}

#[test]
fn a_newcomer_has_at_least_the_groups_median() {
    let mut histories = Histories::new(day(0));
    let old = [node(1), node(2), node(3)];
    for number in 0..28 {
        // Somebody is always there: else this node could not tell their sleep from its own deafness.
        live(&mut histories, &[node(4)], number..number + 1, always);
        live(&mut histories, &old, number..number + 1, days_of_work);
    }
    let median = histories.median_grace();
    assert_eq!(median, 2 * 63 * HOUR_MS);
    histories.heard(day(28), node(9));
    assert_eq!(histories.grace(&node(9)), median);
    assert_eq!(histories.grace(&node(8)), median, "also for one never heard");
    for number in 28..50 {
        live(&mut histories, &[node(9)], number..number + 1, always);
        live(&mut histories, &old, number..number + 1, days_of_work);
    }
    assert_eq!(histories.grace(&node(9)), GRACE_MIN_MS);
}

#[test]
fn silence_is_first_usual_then_missing_then_for_good() {
    let mut histories = Histories::new(day(0));
    let (quiet, other) = (node(1), node(2));
    live(&mut histories, &[quiet, other], 0..30, always);
    let last = MONDAY + 30 * DAY_MS - 10 * MINUTE;
    for (ms, expected) in [
        (UP_GAP_MS - 1, Presence::Live),
        (UP_GAP_MS, Presence::Away { ms: UP_GAP_MS }),
        (GRACE_MIN_MS - 1, Presence::Away { ms: GRACE_MIN_MS - 1 }),
        (GRACE_MIN_MS, Presence::Missing { ms: GRACE_MIN_MS }),
        (GONE_MIN_MS, Presence::Gone { ms: GONE_MIN_MS }),
    ] {
        assert_eq!(histories.presence(at(last + ms), &quiet), Some(expected));
    }
    assert_eq!(gone_after(GRACE_MAX_MS), GONE_GRACES * GRACE_MAX_MS);
}

#[test]
fn a_watcher_that_hears_nobody_blames_nobody() {
    let mut histories = Histories::new(day(0));
    let all = [node(1), node(2), node(3), node(4)];
    live(&mut histories, &all, 0..30, always);
    let later = day(50);
    assert!(histories.is_blind(later));
    assert!(matches!(histories.presence(later, &node(1)), Some(Presence::Away { .. })));
    // The line is back; the first one heard shows it, and the others are not to blame for the time before.
    histories.heard(later, node(2));
    assert!(!histories.is_blind(later));
    assert_eq!(histories.presence(later, &node(1)), Some(Presence::Live));
    let missing = at(MONDAY + 53 * DAY_MS + HOUR_MS);
    histories.heard(missing, node(2));
    assert!(matches!(histories.presence(missing, &node(1)), Some(Presence::Missing { .. })), "from now on it is");
    // With two others one cannot tell.
    let mut few = Histories::new(day(0));
    live(&mut few, &all[..2], 0..30, always);
    assert!(!few.is_blind(later));
    assert!(matches!(few.presence(later, &node(1)), Some(Presence::Missing { .. })));
}

#[test]
fn what_passed_while_this_node_was_down_is_not_silence() {
    let mut histories = Histories::new(day(0));
    live(&mut histories, &[node(1), node(2)], 0..30, always);
    histories.woke(day(60));
    assert_eq!(histories.presence(day(60), &node(1)), Some(Presence::Live));
    histories.heard(at(MONDAY + 60 * DAY_MS + MINUTE), node(1));
    assert_eq!(histories.grace(&node(1)), GRACE_MIN_MS, "it was no absence of the other");
}

#[test]
fn the_rate_of_loss_begins_with_homes_and_learns() {
    let mut histories = Histories::new(day(0));
    assert_eq!(histories.loss_rate(), 2_000_000_000 / 2433);
    let all = [node(1), node(2), node(3), node(4)];
    live(&mut histories, &all, 0..100, always);
    let before = histories.loss_rate();
    assert!(before < 2_000_000_000 / 2433 * 9 / 10, "400 days without a loss speak for them");
    assert!(histories.loss_rate_of(&node(1)) < before, "and the days of its own for each");
    histories.count_lost(&node(1));
    histories.count_lost(&node(1));
    let after = histories.loss_rate();
    assert!(after > before);
    histories.forget(&node(1));
    assert_eq!(histories.loss_rate(), after, "the dead are not forgotten");
    histories.count_lost(&node(2));
    histories.heard(day(101), node(2));
    assert!(histories.loss_rate() <= after, "it was not lost after all");
    histories.count_lost(&node(77));
}

#[test]
fn a_longer_silence_is_more_likely_for_good() {
    let mut histories = Histories::new(day(0));
    let (server, desktop) = (node(1), node(2));
    for number in 0..90 {
        live(&mut histories, &[server], number..number + 1, always);
        live(&mut histories, &[desktop], number..number + 1, |_, hour| (8..23).contains(&hour));
    }
    let last = MONDAY + 90 * DAY_MS - 10 * MINUTE;
    assert_eq!(histories.lost_ppm(at(last), &server), 0);
    let night = at(last + 9 * HOUR_MS);
    assert!(histories.lost_ppm(night, &desktop) < 2_000, "it does that every night");
    let mut before = 0;
    for hours in 1..30 * 24 {
        let now = histories.lost_ppm(at(last + hours * HOUR_MS), &server);
        assert!(now >= before, "after {hours} hours");
        before = now;
    }
    assert!((100_000..1_000_000).contains(&before), "{before}");
    assert_eq!(histories.lost_ppm(at(last + GONE_MIN_MS), &server), 1_000_000);
    assert_eq!(histories.lost_ppm(at(last), &node(9)), 1_000_000, "nobody has seen it");
}

/// The head and the lines, as they are kept.
fn keep(histories: &mut Histories, now: Moment) -> (Vec<u8>, Vec<(NodeId, Vec<u8>)>) {
    let head = histories.head(now, true);
    let lines = histories.nodes().map(|(node, _)| (*node, histories.line(node).unwrap())).collect();
    (head, lines)
}

fn read(head: &[u8], lines: &[(NodeId, Vec<u8>)]) -> Result<Histories, okapi_wire::BodyError> {
    Histories::read(day(0), Some(head), lines.iter().map(|(node, line)| (*node, line.as_slice())))
}

#[test]
fn histories_come_back_from_their_bytes_and_damage_never_panics() {
    let mut histories = Histories::new(day(0));
    live(&mut histories, &[node(1)], 0..40, |day, hour| days_of_work(day, hour) || day % 9 == 0);
    live(&mut histories, &[node(2)], 0..41, always);
    histories.count_lost(&node(1));
    let (head, lines) = keep(&mut histories, day(41));
    assert_eq!(read(&head, &lines).as_ref(), Ok(&histories));
    assert_eq!(Histories::read(day(3), None, []), Ok(Histories::new(day(3))));
    (0..head.len()).for_each(|cut| assert!(read(&head[..cut], &lines).is_err(), "cut at {cut}"));
    let whole = lines[0].1.clone();
    let damaged_line = |line: Vec<u8>| read(&head, &[(node(1), line)]);
    (0..whole.len()).for_each(|cut| assert!(damaged_line(whole[..cut].to_vec()).is_err(), "cut at {cut}"));
    let mut dice = Dice(1);
    let mut taken = 0;
    for round in 0..4000 {
        let (mut head, mut line) = (head.clone(), whole.clone());
        if round % 8 == 0 {
            head[dice.below(29) as usize] = dice.throw() as u8;
        }
        let place = dice.below(whole.len() as u64) as usize;
        line[place] = dice.throw() as u8;
        if let Ok(mut other) = read(&head, &[(node(1), line.clone())]) {
            taken += 1;
            assert_eq!(other.line(&node(1)), Some(line), "byte {place}");
            let _ = (other.presence(day(50), &node(1)), other.lost_ppm(day(50), &node(1)));
            other.resume(day(50));
            other.heard(day(50), node(1));
            let _ = (other.grace(&node(1)), other.loss_rate_of(&node(1)));
        }
    }
    assert!(taken > 100, "some damage cannot be told from truth");
}

#[test]
fn what_was_silent_before_a_restart_is_still_silent_and_nobody_else() {
    let mut histories = Histories::new(day(0));
    live(&mut histories, &[node(1)], 0..30, always);
    for number in 30..32 {
        live(&mut histories, &[node(2)], number..number + 1, always);
    }
    // Lines are kept on day 32, and the head once more a day later; the node was down for ten days.
    let (_, lines) = keep(&mut histories, day(32));
    live(&mut histories, &[node(2)], 32..33, always);
    let head = histories.head(day(33), false);
    let mut again = read(&head, &lines).unwrap();
    again.resume(day(43));
    assert_eq!(again.presence(day(43), &node(2)), Some(Presence::Live));
    let Some(Presence::Missing { ms }) = again.presence(day(43), &node(1)) else { panic!("it has been silent") };
    assert_eq!(ms / HOUR_MS, 72, "for the three days that this node has listened");
    again.heard(day(43), node(1));
    assert_eq!(again.presence(day(43), &node(1)), Some(Presence::Live));
}

#[test]
fn where_each_is_heard_less_often_a_gap_is_no_absence() {
    let mut histories = Histories::new(day(0));
    histories.expect(3 * HOUR_MS);
    for hour in 0..40 * 24 {
        histories.heard(at(MONDAY + hour * HOUR_MS), node(1));
    }
    assert_eq!(histories.of(&node(1)).unwrap().availability_ppm(), 1_000_000);
    let last = MONDAY + (40 * 24 - 1) * HOUR_MS;
    assert_eq!(histories.presence(at(last + 3 * HOUR_MS - 1), &node(1)), Some(Presence::Live));
}

#[test]
fn golden_bytes() {
    let mut histories = Histories::new(at(MONDAY));
    histories.heard(at(MONDAY), node(7));
    histories.heard(at(MONDAY + 2 * HOUR_MS), node(7));
    let (head, lines) = keep(&mut histories, at(MONDAY + 3 * HOUR_MS));
    let mut golden = Vec::from([1]);
    for value in [MONDAY + 2 * HOUR_MS, MONDAY + 3 * HOUR_MS, 2 * HOUR_MS] {
        golden.extend_from_slice(&value.to_le_bytes());
    }
    golden.extend_from_slice(&[0; 4]);
    assert_eq!(head, golden);
    let mut golden = Vec::from([1]);
    for value in [MONDAY, MONDAY + 2 * HOUR_MS, 0, 0, 2 * HOUR_MS] {
        golden.extend_from_slice(&value.to_le_bytes());
    }
    let week = MONDAY / (7 * DAY_MS);
    golden.extend_from_slice(&(week as u32).to_le_bytes());
    for at in 0..WEEKS as u64 {
        golden.extend_from_slice(if at == week % WEEKS as u64 { &[2, 0] } else { &[0, 0] });
    }
    for length in 0..LENGTHS {
        golden.extend_from_slice(if length == 1 { &[1, 0] } else { &[0, 0] });
    }
    golden.push(0);
    assert_eq!(lines, [(node(7), golden)]);
}
