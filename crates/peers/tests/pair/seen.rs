//! What nodes remember of each other, and what follows: who is missed and when, how safe a segment is, who is asked first.

use crate::world::*;
use okapi_base::{SegmentName, Shape};
use okapi_peers::history::{GRACE_DEFAULT_MS, GRACE_MIN_MS};
use okapi_peers::measure::Speed;
use okapi_peers::safety::{DANGER_DAYS, Days};
use okapi_peers::{Contact, Event, Input, Thing, Work};
use okapi_wire::peer::letter::Body;
use std::time::Duration;

/// The nodes that one has said are missing.
fn missed(world: &World, by: usize) -> Vec<usize> {
    let node = |event: &Event| match event {
        Event::Missing { node } => Some(world.at(*node)),
        _ => None,
    };
    world.nodes[by].events.iter().filter_map(node).collect()
}

/// Bytes of shards that are placed while so much time goes by.
fn placed_in(world: &mut World, time: Duration) -> usize {
    world.sent = Some(Vec::new());
    world.run(time);
    let all = world.sent.take().expect("letters are seen");
    all.iter().filter(|sent| matches!(sent.body(), Body::Place(_))).map(|sent| sent.payload.len()).sum()
}

fn grace(world: &World, of: usize) -> u64 {
    world.peer(0).histories().grace(&world.nodes[of].id)
}

/// A world of so many nodes with a segment of 10,000 bytes of node 0, in copies.
fn copies(count: usize) -> (World, SegmentName) {
    let mut world = World::group(count);
    world.run(10 * MINUTE);
    let name = world.put(0, 10_000);
    assert!(world.run_until(DAY, |world| world.is_complete(0, name, Shape::OneOfThree)));
    world.settle(DAY);
    (world, name)
}

fn holders(world: &World, name: SegmentName) -> Vec<usize> {
    world.holders(0, name).into_iter().flatten().collect()
}

#[test]
fn who_sleeps_every_night_is_not_missed_and_who_stays_away_is_after_its_own_grace() {
    let (mut world, name) = copies(5);
    let sleeper = holders(&world, name)[0];
    assert_eq!(grace(&world, sleeper), GRACE_DEFAULT_MS);
    for day in 0..17 {
        world.run(14 * HOUR);
        world.crash(sleeper);
        world.run(10 * HOUR);
        world.open(sleeper);
        if day == 9 {
            world.crash(0);
            world.run(HOUR);
            world.open(0);
        }
    }
    world.run(HOUR);
    assert_eq!(missed(&world, 0), []);
    // What was learnt outlasts a restart.
    let spells = world.peer(0).histories().of(&world.nodes[sleeper].id).expect("it is watched").clone();
    assert!((400_000..700_000).contains(&spells.availability_ppm()), "{}", spells.availability_ppm());
    assert!(spells.watched() > 16 * DAY.as_millis() as u64, "its first days are not forgotten");
    assert_eq!(grace(&world, sleeper), GRACE_MIN_MS);
    world.crash(sleeper);
    assert_eq!(placed_in(&mut world, Duration::from_millis(GRACE_MIN_MS) - HOUR), 0);
    assert_eq!(missed(&world, 0), []);
    let placed = placed_in(&mut world, 4 * HOUR);
    assert_eq!((missed(&world, 0), placed), (vec![sleeper], 10_000));
}

#[test]
fn who_was_silent_before_a_restart_is_missed_after_it() {
    let (mut world, name) = copies(5);
    let gone = holders(&world, name)[1];
    world.crash(gone);
    // A machine that runs for some hours a day hears a week of silence only after many days, but does.
    let mut days = 0;
    while missed(&world, 0).is_empty() {
        world.run(16 * HOUR);
        world.crash(0);
        world.run(8 * HOUR);
        world.open(0);
        days += 1;
        assert!(days < 20, "it is never missed");
    }
    assert_eq!(missed(&world, 0), [gone]);
    assert!((7..14).contains(&days), "{days} days");
}

#[test]
fn who_hears_nobody_or_few_blames_nobody() {
    let (mut world, _) = copies(5);
    let all: Vec<(usize, usize)> = (1..5).flat_map(|at| [(0, at), (at, 0)]).collect();
    world.cut.extend(all);
    world.run(10 * DAY);
    assert_eq!(missed(&world, 0), [], "it is more likely deaf");
    assert_eq!(missed(&world, 1), [0], "the others hear each other");
    world.cut.clear();
    world.run(DAY);
    assert_eq!(missed(&world, 0), []);
    // Two against three: the smaller side waits until the silence is for good.
    let sides = (0..2).flat_map(|few| (2..5).flat_map(move |many| [(few, many), (many, few)]));
    world.cut.extend(sides);
    world.run(20 * DAY);
    assert_eq!(missed(&world, 0), []);
    assert_eq!(missed(&world, 2).last(), Some(&1));
    world.run(12 * DAY);
    assert_eq!(missed(&world, 0).len(), 3, "a group that lost its larger half goes on");
}

#[test]
fn when_danger_is_near_nobody_waits_and_what_is_one_too_many_is_dropped() {
    let (mut world, name) = copies(6);
    let healthy = world.peer(0).days_of(name).expect("there is a deed");
    let before = holders(&world, name);
    before.iter().for_each(|at| world.crash(*at));
    assert_eq!(placed_in(&mut world, 2 * DAY), 0, "two days are nothing");
    assert!(world.peer(0).days_of(name) < Some(healthy));
    // Long before the week that is their grace: all three at once are more than bad luck.
    assert_eq!(placed_in(&mut world, 2 * DAY), 20_000, "{:?}", world.peer(0).days_of(name));
    let contacts: Vec<Contact> = before.iter().map(|at| world.peer(0).contact(world.nodes[*at].id)).collect();
    assert_eq!(contacts, [Contact::Away; 3]);
    assert!(world.peer(0).days_of(name) > Some(Days(DANGER_DAYS)));
    before.iter().for_each(|at| world.open(*at));
    world.settle(2 * DAY);
    let shards: usize = world.nodes.iter().map(|node| node.disk.shards.len()).sum();
    assert_eq!((shards, missed(&world, 0)), (3, vec![]));
    // The member list may change with what is proven now, and then two go where they belong: once, and no more.
    let placed = placed_in(&mut world, 5 * DAY);
    assert!(placed <= 20_000, "{placed}: {:?}", world.nodes[0].events);
    assert_eq!(placed_in(&mut world, 5 * DAY), 0, "it comes to rest");
}

#[test]
fn all_see_how_safe_what_they_hold_is() {
    let (mut world, name) = copies(5);
    let days = world.peer(0).days_of(name).expect("there is a deed");
    assert!(days > Days(1_000_000), "{days}");
    let group = world.peer(0).days_of_group();
    assert_eq!((group.least, group.segments.iter().sum::<u64>()), (days, 1));
    // A holder knows as much of it.
    let owner = world.peer(0).members().owner(world.nodes[0].id).expect("it is a member");
    let seen = world.peer(holders(&world, name)[0]).days_by_member()[&owner];
    assert!(seen.least.0.abs_diff(days.0) < days.0 / 10, "{} and {days}", seen.least);
    // One is lost: it is less safe until that is mended.
    let lost = holders(&world, name)[1];
    world.crash(lost);
    world.nodes[lost].disk.shards.clear();
    assert!(world.run_until(9 * DAY, |world| !missed(world, 0).is_empty()));
    assert!(world.peer(0).days_of(name).is_some_and(|now| now < Days(days.0 / 10)));
    assert!(world.run_until(DAY, |world| world.peer(0).days_of(name).is_some_and(|now| now > Days(days.0 / 2))));
    // What is not placed yet has none.
    let fresh = world.put(0, 5_000);
    assert_eq!((world.peer(0).days_of(fresh), world.peer(0).days_of_group().least), (None, Days::NONE));
}

#[test]
fn the_least_safe_is_mended_first() {
    let mut world = World::group(9);
    let names: Vec<SegmentName> = (0..12).map(|_| world.put(0, 10_000)).collect();
    let whole = |world: &World| names.iter().all(|name| world.is_complete(0, *name, Shape::TwoOfSix));
    assert!(world.run_until(DAY, whole));
    world.settle(DAY);
    // Three holders of the last segment are lost, and with them one to three shards of the others.
    let dead: Vec<usize> = holders(&world, names[11]).into_iter().take(3).collect();
    let lost = |name: &SegmentName| holders(&world, *name).iter().filter(|at| dead.contains(at)).count();
    let missing: Vec<usize> = names.iter().map(lost).collect();
    assert!(missing.iter().any(|count| *count < 3), "{missing:?}");
    for at in &dead {
        world.crash(*at);
        world.nodes[*at].disk.shards.clear();
    }
    assert!(world.run_until(9 * DAY, |world| missed(world, 0).len() == 3));
    world.run(10 * MINUTE);
    let mended = |event: &Event| match event {
        Event::Repaired { segment, .. } => names.iter().position(|name| name == segment),
        _ => None,
    };
    let order: Vec<usize> = world.nodes[0].events.iter().filter_map(mended).map(|at| missing[at]).collect();
    // Four are under way at a time, and end in any order; so they do when the last of the three is missed. Whatever
    // ends four later was begun later, and not before it was its turn by days.
    assert!(order.len() >= 6, "{order:?} of {missing:?}");
    let turns = order[4..].iter().zip(order.iter().skip(8));
    assert!(turns.clone().all(|(first, later)| first >= later), "{order:?}");
    assert!(order[4..8.min(order.len())].contains(&3), "{order:?}");
}

#[test]
fn the_least_safe_of_an_owner_that_is_gone_is_mended_first() {
    let mut world = World::group(9);
    let names: Vec<SegmentName> = (0..40).map(|_| world.put(0, 1_000)).collect();
    let whole = |world: &World| names.iter().all(|name| world.is_complete(0, *name, Shape::TwoOfSix));
    assert!(world.run_until(DAY, whole));
    world.settle(DAY);
    let dead = [3, 6];
    let lost = |name: &SegmentName| holders(&world, *name).iter().filter(|at| dead.contains(at)).count();
    let missing: Vec<usize> = names.iter().map(lost).collect();
    world.crash(0);
    world.run(HOUR);
    for at in dead {
        world.crash(at);
        world.nodes[at].disk.shards.clear();
    }
    // Slow enough that those who wait see all that is lost.
    for node in &mut world.nodes {
        node.pace = |work| if matches!(work, Work::Rebuild { .. }) { 20 * MINUTE } else { Duration::ZERO };
    }
    world.run(9 * DAY);
    let mut seen = 0;
    for at in [1, 2, 4, 5, 7, 8] {
        let mended = |event: &Event| match event {
            Event::Repaired { segment, .. } => names.iter().position(|name| name == segment),
            _ => None,
        };
        let order: Vec<usize> = world.nodes[at].events.iter().filter_map(mended).map(|name| missing[name]).collect();
        // Two are under way when the second of the dead is missed; and of the two that are at a time either may be done
        // first.
        let rest = order.get(2..).unwrap_or(&[]);
        assert!(rest.windows(3).all(|three| three[0] >= three[2]), "{order:?} by {at}");
        seen += usize::from(rest.contains(&2) && rest.contains(&1));
    }
    assert!(seen > 0, "nobody had a choice");
}

#[test]
fn the_quickest_are_asked_first_by_what_was_measured() {
    let mut world = World::group(8);
    let name = world.put(0, 200_000);
    assert!(world.run_until(DAY, |world| world.is_complete(0, name, Shape::TwoOfSix)));
    let all = holders(&world, name);
    let (slow, quick) = all.split_at(4);
    let behind = slow.to_vec();
    world.fate = Box::new(move |sent| {
        let late = behind.contains(&sent.from) || behind.contains(&sent.to);
        if late { Fate::Late(2 * SECOND) } else { Fate::Arrives }
    });
    world.run(2 * DAY);
    world.settle(DAY);
    let speed = |world: &World, of: &usize| world.peer(0).speeds().of(&world.nodes[*of].id).cloned();
    let latency = |world: &World, of: &usize| speed(world, of).and_then(|speed| Speed::latency(&speed));
    assert!(slow.iter().all(|at| latency(&world, at) >= Some(4_000_000)));
    assert!(quick.iter().all(|at| latency(&world, at) < Some(100_000)));
    world.sent = Some(Vec::new());
    world.nodes[0].disk.segments.remove(&name);
    world.input(0, Input::Damaged(Thing::Segment(name)));
    assert!(world.run_until(HOUR, |world| world.nodes[0].disk.segments.contains_key(&name)));
    let letters = world.sent.take().expect("letters are seen");
    let mut asked: Vec<usize> =
        letters.iter().filter(|sent| matches!(sent.body(), Body::Fetch(_))).map(|sent| sent.to).collect();
    asked.sort_unstable();
    let mut expected = quick.to_vec();
    expected.sort_unstable();
    assert_eq!(asked, expected, "{slow:?} are slow");
    // And what came was measured as a transfer: 100,000 bytes in 40 ms, half of which is latency at most.
    let throughput = |of: &usize| speed(&world, of).and_then(|speed| speed.throughput());
    assert!(
        asked.iter().all(|at| throughput(at) >= Some(2_500_000)),
        "{:?}",
        asked.iter().map(throughput).collect::<Vec<_>>()
    );
}

#[test]
fn each_member_is_in_the_ledger_of_the_others() {
    let (mut world, name) = copies(5);
    world.run(9 * DAY);
    let holders = holders(&world, name);
    let standings = world.peer(0).standings();
    assert_eq!(standings.len(), 5);
    for at in 1..5 {
        let owner = world.peer(0).members().owner(world.nodes[at].id).expect("it is a member");
        let view = standings.iter().find(|view| view.member == owner).expect("it is there");
        let holds = if holders.contains(&at) { 10_000 } else { 0 };
        assert_eq!((view.sums.confirmed, view.account.proven > 0), (holds, holds > 0), "{view:?}");
    }
}

#[test]
fn who_cannot_be_reached_is_away_at_once_and_waited_for_as_ever() {
    let (mut world, name) = copies(6);
    let before = holders(&world, name);
    let node = world.nodes[before[0]].id;
    world.crash(before[0]);
    assert_eq!(world.peer(0).contact(node), Contact::Here);
    world.input(0, Input::Unreached { node });
    assert_eq!(world.peer(0).contact(node), Contact::Away);
    // What is new goes to others at once.
    let second = world.put(0, 5_000);
    assert!(world.run_until(5 * MINUTE, |world| world.is_complete(0, second, Shape::OneOfThree)));
    assert!(!holders(&world, second).contains(&before[0]));
    let placed = placed_in(&mut world, DAY);
    assert_eq!((placed, &holders(&world, name), missed(&world, 0).len()), (0, &before, 0));
    world.open(before[0]);
    assert!(world.run_until(HOUR, |world| world.peer(0).contact(node) == Contact::Here));
}

#[test]
fn who_goes_away_once_it_was_asked_is_not_waited_for() {
    let (mut world, name) = copies(6);
    let lost = holders(&world, name)[0];
    world.crash(lost);
    // More than are placed at a time, and it still seems to be here.
    let names: Vec<SegmentName> = (0..12).map(|_| world.put(0, 5_000)).collect();
    let all_safe = |world: &World| names.iter().all(|name| world.safe(0, *name).is_some());
    assert!(!world.run_until(5 * MINUTE, all_safe), "it was asked for none of them");
    let node = world.nodes[lost].id;
    world.input(0, Input::Unreached { node });
    assert!(world.run_until(MINUTE, all_safe));
}

#[test]
fn who_could_not_be_reached_is_tried_again_before_it_is_away_for_twice_as_long() {
    let mut world = World::group(6);
    let (one, other) = (world.nodes[0].id, world.nodes[3].id);
    let here =
        |world: &World| [(0, other), (3, one)].iter().all(|(by, of)| world.peer(*by).contact(*of) == Contact::Here);
    // Whenever the next ping would be due, which is within five minutes.
    for start in 0..5 {
        world.run(HOUR + start * MINUTE);
        world.cut.extend([(0, 3), (3, 0)]);
        world.run(MINUTE);
        world.input(0, Input::Unreached { node: other });
        world.input(3, Input::Unreached { node: one });
        world.run(30 * SECOND);
        assert!(!here(&world));
        world.cut.clear();
        assert!(world.run_until(2 * MINUTE, here), "{start}");
    }
}

#[test]
fn who_is_known_to_be_lost_is_not_waited_for_and_counts_again_once_heard() {
    let (mut world, name) = copies(6);
    let lost = holders(&world, name)[0];
    let node = world.nodes[lost].id;
    world.crash(lost);
    world.run(HOUR);
    assert!(holders(&world, name).contains(&lost));
    world.order(0, okapi_peers::Order::Lost { node });
    assert_eq!((world.peer(0).contact(node), missed(&world, 0)), (Contact::Gone, vec![lost]));
    assert!(world.run_until(HOUR, |world| !holders(world, name).contains(&lost)));
    world.order(0, okapi_peers::Order::Lost { node });
    assert_eq!(missed(&world, 0), [lost], "told once");
    world.open(lost);
    assert!(world.run_until(HOUR, |world| world.peer(0).contact(node) == Contact::Here));
    world.settle(DAY);
}

#[test]
fn where_too_few_are_left_the_own_half_takes_what_the_first_to_go_had() {
    let mut world = World::group(5);
    let name = world.put(0, 10_000);
    assert!(world.run_until(DAY, |world| world.is_complete(0, name, Shape::OneOfThree)));
    world.settle(DAY);
    let first = holders(&world, name)[0];
    let second = (1..5).find(|at| !holders(&world, name).contains(at)).expect("three of four hold it");
    for at in [first, second] {
        world.crash(at);
        let node = world.nodes[at].id;
        world.input(0, Input::Unreached { node });
    }
    // When the first is given up there is nobody for what it had: the second is away.
    for at in [first, second] {
        let node = world.nodes[at].id;
        world.order(0, okapi_peers::Order::Lost { node });
        world.run(SECOND);
    }
    let is_mended = |world: &World| !holders(world, name).contains(&first) && holders(world, name).contains(&0);
    assert!(world.run_until(MINUTE, is_mended), "{:?}", holders(&world, name));
}

#[test]
fn what_was_on_its_way_when_a_connection_broke_is_sent_again_once_there_is_another() {
    let is_lost: [(&str, fn(&Body) -> bool); 6] = [
        ("offer", |body| matches!(body, Body::Offer(..))),
        ("want", |body| matches!(body, Body::Want(_))),
        ("place", |body| matches!(body, Body::Place(_))),
        ("receipt", |body| matches!(body, Body::Receipt(_))),
        ("fetch", |body| matches!(body, Body::Fetch(_))),
        ("shard", |body| matches!(body, Body::Shard(_))),
    ];
    for (what, is_lost) in is_lost {
        let mut world = World::group(6);
        let first = world.put(0, 10_000);
        assert!(world.run_until(DAY, |world| world.is_complete(0, first, Shape::OneOfThree)));
        world.settle(DAY);
        // All that is sent of this kind is lost until the connections break.
        world.fate = Box::new(move |sent| if is_lost(&sent.body()) { Fate::Lost } else { Fate::Arrives });
        let second = world.put(0, 5_000);
        world.nodes[0].disk.segments.remove(&first).expect("it is there");
        world.input(0, Input::Damaged(Thing::Segment(first)));
        let is_done = |world: &World| {
            let live = world.peer(0).segments().all(|view| view.live);
            live && world.is_complete(0, second, Shape::OneOfThree)
        };
        assert!(!world.run_until(9 * SECOND, is_done), "{what}");
        world.fate = Box::new(|_| Fate::Arrives);
        for (one, other) in (1..6).flat_map(|at| [(0, at), (at, 0)]) {
            let node = world.nodes[other].id;
            world.input(one, Input::Relinked { node });
        }
        assert!(world.run_until(11 * SECOND, is_done), "{what}");
        world.settle(DAY);
    }
}
