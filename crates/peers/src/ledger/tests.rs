use super::*;
use crate::pretend::{Dice, NOON, at, member};
use alloc::vec;
use okapi_wire::{BodyWriter, Message};

const GB: u64 = 1 << 30;

/// In window `number` from the first.
fn window(number: u64) -> Moment {
    at(NOON + number * WINDOW_MS)
}

/// What three members attest in a window.
fn windows_with(conduct: &mut Conduct, number: u64, answered: u32, failed: u32) {
    for by in 1..=3 {
        conduct.note(window(number), member(by), NOON + number * WINDOW_MS, answered, failed).unwrap();
    }
}

#[test]
fn good_windows_raise_the_line_from_a_quarter_to_the_whole() {
    let mut conduct = Conduct::new(window(0));
    assert_eq!(conduct.standing(window(0)), Standing::NEW);
    let parts: Vec<u16> = (0..5)
        .map(|number| {
            windows_with(&mut conduct, number, 100, 0);
            assert_eq!(conduct.standing(window(number)).grade, Grade::Full);
            conduct.standing(window(number)).part
        })
        .collect();
    // A window counts once it is over.
    assert_eq!(parts, [64, 128, 192, 256, 256]);
    assert_eq!(Standing::NEW.line(400 * GB), 100 * GB);
    assert_eq!(conduct.standing(window(9)).line(400 * GB), 400 * GB);
    assert_eq!(conduct.standing(window(9)).line(u64::MAX), LINE_MAX);
}

#[test]
fn penalties_are_graded_and_earned_back_step_by_step() {
    let mut conduct = Conduct::new(window(0));
    windows_with(&mut conduct, 0, 100, 0);
    let mut grades = Vec::new();
    for number in 1..5 {
        windows_with(&mut conduct, number, 80, 20);
        // Failures count as soon as they are known.
        grades.push(conduct.standing(window(number)).grade);
    }
    assert_eq!(grades, [Grade::NoNewData, Grade::Drain, Grade::Out, Grade::Out]);
    assert_eq!(conduct.standing(window(4)).line(400 * GB), 0);
    grades.clear();
    for number in 5..9 {
        windows_with(&mut conduct, number, 100, 1);
        grades.push(conduct.standing(window(number + 1)).grade);
    }
    assert_eq!(grades, [Grade::Drain, Grade::NoNewData, Grade::Full, Grade::Full]);
    assert_eq!(conduct.standing(window(8)), Standing::NEW, "a quarter of the line, as a newcomer");
    assert_eq!(conduct.standing(window(9)).part, 128);
}

#[test]
fn gross_failure_costs_two_steps_and_a_few_failures_none() {
    let mut gross = Conduct::new(window(0));
    windows_with(&mut gross, 0, 10, 90);
    assert_eq!(gross.standing(window(0)).grade, Grade::Drain);
    let mut fair = Conduct::new(window(0));
    windows_with(&mut fair, 0, 97, 3);
    assert_eq!(fair.standing(window(1)), Standing::NEW);
    let mut first = Conduct::new(window(0));
    windows_with(&mut first, 0, 85, 15);
    assert_eq!(first.standing(window(0)), Standing { grade: Grade::NoNewData, part: 32 });
}

#[test]
fn neither_one_liar_nor_one_flatterer_moves_a_standing() {
    let mut conduct = Conduct::new(window(0));
    for (by, answered, failed) in [(1, 50, 0), (2, 50, 0), (3, 0, 50)] {
        conduct.note(window(0), member(by), NOON, answered, failed).unwrap();
    }
    assert_eq!(conduct.standing(window(0)), Standing::NEW);
    let mut flattered = Conduct::new(window(0));
    for (by, answered, failed) in [(1, 80, 20), (2, 80, 20), (3, 100, 0)] {
        flattered.note(window(0), member(by), NOON, answered, failed).unwrap();
    }
    assert_eq!(flattered.standing(window(0)).grade, Grade::NoNewData);
    // Of two voices the worse one counts, and one with too few probes is none.
    let mut two = Conduct::new(window(0));
    two.note(window(0), member(1), NOON, 100, 0).unwrap();
    two.note(window(0), member(2), NOON, 0, PROBES_MIN - 1).unwrap();
    assert_eq!(two.standing(window(0)).grade, Grade::Full);
    two.note(window(0), member(2), NOON, 0, PROBES_MIN).unwrap();
    assert_eq!(two.standing(window(0)).grade, Grade::Drain);
}

#[test]
fn words_in_any_order_and_twice_say_the_same() {
    let mut dice = Dice(11);
    let mut words: Vec<(u8, u64, u32, u32)> = Vec::new();
    for by in 1..6 {
        for number in 0..3 {
            // Counts grow within a window.
            let (answered, failed) = (dice.below(60) as u32, dice.below(5) as u32);
            words.push((by, number, answered / 2, failed / 2));
            words.push((by, number, answered, failed));
        }
    }
    let tell = |words: &[(u8, u64, u32, u32)]| {
        let mut conduct = Conduct::new(window(0));
        for (by, number, answered, failed) in words {
            conduct.note(window(2), member(*by), NOON + number * WINDOW_MS, *answered, *failed).unwrap();
        }
        conduct
    };
    let told = tell(&words);
    for _ in 0..20 {
        let mut shuffled = words.clone();
        shuffled.extend(words.iter().take(7).copied());
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, dice.below(at as u64 + 1) as usize);
        }
        assert_eq!(tell(&shuffled), told);
    }
}

#[test]
fn words_that_come_too_late_too_early_or_too_many_are_refused_by_name() {
    let mut conduct = Conduct::new(window(0));
    assert_eq!(conduct.note(window(0), member(1), NOON + 2 * SKEW_MAX_MS, 9, 0), Err(NoteError::Future));
    assert_eq!(conduct.note(window(0), member(1), NOON + SKEW_MAX_MS, 9, 0), Ok(()));
    let before = conduct.clone();
    assert_eq!(conduct.note(window(0), member(1), NOON - 2 * WINDOW_MS, 9, 0), Err(NoteError::Old));
    assert_eq!(conduct, before);
    windows_with(&mut conduct, 0, 10, 90);
    assert_eq!(conduct.note(window(3), member(1), NOON, 90, 0), Err(NoteError::Old));
    assert_eq!(conduct.standing(window(3)).grade, Grade::Drain, "what is closed stays");
    for by in 0..VOICES_MAX {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&(by as u64 + 1000).to_le_bytes());
        conduct.note(window(3), MemberId(name), NOON + 3 * WINDOW_MS, 9, 0).unwrap();
    }
    assert_eq!(conduct.note(window(3), member(1), NOON + 3 * WINDOW_MS, 9, 0), Err(NoteError::Full));
}

#[test]
fn conduct_comes_back_from_its_bytes_and_damage_does_not() {
    let mut conduct = Conduct::new(window(0));
    windows_with(&mut conduct, 0, 80, 20);
    windows_with(&mut conduct, 1, 80, 2);
    let encode = |conduct: &Conduct| {
        let mut bytes = Vec::new();
        conduct.encode(&mut BodyWriter::new(&mut bytes));
        bytes
    };
    let bytes = encode(&conduct);
    assert_eq!(bytes[..12], [1, 188, 2, 0, 0, 0, 64, 0, 6, 0, 0, 0]);
    assert_eq!(Conduct::parse(&bytes), Ok(conduct));
    (0..bytes.len()).for_each(|cut| assert!(Conduct::parse(&bytes[..cut]).is_err(), "cut at {cut}"));
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0xff;
        // What is read all the same is another conduct, and writes the same bytes.
        if let Ok(read) = Conduct::parse(&damaged) {
            assert_eq!(encode(&read), damaged, "byte {place}");
            let _ = read.standing(window(3));
        }
    }
}

fn pledge(number: u8, promise: u64) -> Pledge {
    Pledge { member: member(number), promise, standing: Standing::NEW }
}

fn word(by: u8, subject: u8, bytes: u64) -> Attested {
    Attested { subject: member(subject), by: member(by), bytes, stamp: NOON }
}

#[test]
fn what_one_holds_for_others_one_may_place() {
    let all = accounts(
        at(NOON),
        &[pledge(1, 400 * GB), pledge(2, 400 * GB), pledge(3, 0)],
        &[word(1, 2, 30 * GB), word(2, 1, 20 * GB), word(2, 3, 50 * GB)],
    );
    let one = &all[&member(1)];
    assert_eq!((one.line, one.proven, one.out()), (100 * GB, 20 * GB, 30 * GB));
    assert_eq!(one.allowance(&member(2)).most(), 120 * GB, "what is with the holder itself is not elsewhere");
    assert_eq!(one.allowance(&member(3)).most(), 90 * GB);
    assert_eq!(all[&member(3)].allowance(&member(1)).most(), 50 * GB, "who promises nothing places what it holds");
}

#[test]
fn words_about_oneself_by_strangers_old_or_from_the_future_do_not_count() {
    let pledges = [pledge(1, 400 * GB), pledge(2, 400 * GB)];
    let stamped = |stamp| Attested { stamp, ..word(1, 2, GB) };
    for empty in [
        word(1, 1, GB),
        word(9, 2, GB),
        word(1, 9, GB),
        stamped(NOON - ATTESTED_FOR_MS - 1),
        stamped(NOON + SKEW_MAX_MS + 1),
    ] {
        let all = accounts(at(NOON), &pledges, &[empty]);
        assert_eq!(all[&member(2)].proven, 0, "{empty:?}");
    }
    for good in [stamped(NOON - ATTESTED_FOR_MS), stamped(NOON + SKEW_MAX_MS)] {
        assert_eq!(accounts(at(NOON), &pledges, &[good])[&member(2)].proven, GB);
    }
    // A member with two nodes is attested twice.
    assert_eq!(accounts(at(NOON), &pledges, &[word(1, 2, GB), word(1, 2, GB)])[&member(2)].proven, 2 * GB);
}

#[test]
fn however_members_collude_they_place_no_more_than_their_lines_and_what_the_rest_says() {
    let mut dice = Dice(5);
    for _ in 0..300 {
        let pledges: Vec<Pledge> = (0..8).map(|number| pledge(number, dice.below(1000) * GB)).collect();
        // Members 0 to 3 collude and attest each other anything; the rest is honest and modest.
        let mut words = vec![];
        for _ in 0..20 {
            let (by, subject) = (dice.below(4) as u8, dice.below(4) as u8);
            words.push(word(by, subject, (1 << 50) >> dice.below(50)));
        }
        let mut honest = 0;
        for _ in 0..10 {
            let (by, subject) = (4 + dice.below(4) as u8, dice.below(8) as u8);
            let bytes = dice.below(2 * GB);
            words.push(word(by, subject, bytes));
            if subject < 4 {
                honest += bytes;
            }
        }
        let all = accounts(at(NOON), &pledges, &words);
        for account in all.values() {
            assert!(account.out() <= account.budget());
        }
        let gang = |account: &MemberId| account.0[0] < 4;
        let lines: u64 = all.iter().filter(|(name, _)| gang(name)).map(|(_, account)| account.line).sum();
        // What they may place with an honest member, all of them together and each having placed with nobody outside.
        let placeable: u64 = all
            .iter()
            .filter(|(name, _)| gang(name))
            .map(|(_, account)| {
                account.budget() - account.placed.iter().filter(|(to, _)| gang(to)).map(|(_, b)| b).sum::<u64>()
            })
            .sum();
        assert!(placeable <= lines + honest, "{placeable} > {lines} + {honest}");
        let proven: u64 = all.values().map(|account| account.proven).sum();
        let placed: u64 = all.values().map(Account::out).sum();
        assert_eq!(proven, placed, "credit is moved, never made");
    }
}

#[test]
fn the_figure_in_a_record_is_a_power_of_two() {
    for (bytes, in_record) in [(0, 0), (1, 1), (3, 2), (4, 4), (1000 * GB, 512 * GB), (u64::MAX, 1 << 63)] {
        assert_eq!(proven_in_record(bytes), in_record);
    }
    let worse = Standing { grade: Grade::Drain, part: 0 };
    assert_eq!(Standing::NEW.worse(worse), worse);
    assert_eq!(Standing { grade: Grade::Out, part: 9 }.worse(Standing::NEW), Standing { grade: Grade::Out, part: 9 });
}
