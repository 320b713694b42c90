//! Growth: from one node to twenty-five and back, by itself, and at no moment with less safety than before.

use crate::world::*;
use okapi_base::machine::Moment;
use okapi_base::{SegmentName, Shape};
use okapi_peers::{Event, Order};
use okapi_wire::peer::letter::Body;
use std::collections::BTreeSet;
use std::time::Duration;

/// The segments that were reported safe, with how many losses each survived when the change began.
fn floors(world: &World, all: &[(usize, SegmentName)]) -> Vec<(usize, SegmentName, usize)> {
    let safe = all.iter().filter(|(at, name)| world.safe(*at, *name).is_some());
    safe.map(|(at, name)| (*at, *name, world.survives(*at, *name).expect("what is safe is there"))).collect()
}

/// Runs until `is_it`; panics as soon as a segment survives fewer losses than its floor.
fn run_safely(
    world: &mut World,
    limit: Duration,
    floors: &[(usize, SegmentName, usize)],
    mut is_it: impl FnMut(&World) -> bool,
) -> bool {
    let until = Moment(world.now.0 + limit);
    while !is_it(world) {
        let before: Vec<u64> = world.nodes.iter().map(|node| node.disk.changes).collect();
        let Some(at) = world.step(until) else { return is_it(world) };
        if before.get(at) == Some(&world.nodes[at].disk.changes) {
            continue;
        }
        for (at, name, floor) in floors {
            let now = world.survives(*at, *name);
            assert!(now >= Some(*floor), "{at}'s {name:?} survives {now:?} losses, and {floor} before");
        }
    }
    true
}

/// Runs until all of these lie whole in one of these shapes and both sides' books agree.
fn becomes(world: &mut World, all: &[(usize, SegmentName)], shape: Shape) {
    let floors = floors(world, all);
    let mut looked = world.now;
    let whole = run_safely(world, 2 * DAY, &floors, |world| {
        if world.now.0 < looked.0 + SECOND {
            return false;
        }
        looked = world.now;
        all.iter().all(|(at, name)| world.is_complete(*at, *name, shape) && world.safe(*at, *name) == Some(shape))
            && world.is_quiet()
            && world.faults().is_empty()
    });
    let lie = |(at, name): &(usize, SegmentName)| (*at, world.holders(*at, *name), world.safe(*at, *name));
    assert!(whole, "not all are {shape}: {:?} {:#?}", all.iter().map(lie).collect::<Vec<_>>(), world.faults());
}

/// Bytes of shards that a node got from another in `Place` letters.
fn placed(world: &World, from: usize, to: usize) -> u64 {
    let all = world.sent.as_ref().expect("letters are seen");
    let is_it = |sent: &&Sent| sent.from == from && sent.to == to && matches!(sent.body(), Body::Place(_));
    all.iter().filter(is_it).map(|sent| sent.payload.len() as u64).sum()
}

#[test]
fn one_two_three_step_by_step() {
    let mut world = World::new();
    // Alone: a copy in one's own server half.
    world.add();
    let first: Vec<SegmentName> = (0..6).map(|_| world.put(0, 20_000)).collect();
    let of_first: Vec<_> = first.iter().map(|name| (0, *name)).collect();
    becomes(&mut world, &of_first, Shape::OneOfOne);
    assert!(first.iter().all(|name| world.holders(0, *name) == [Some(0)]));

    // The second comes with data of its own: each sends the other a full copy, and has three copies in all: the live
    // segment, one in its own half, one in the other's.
    world.add();
    let second: Vec<SegmentName> = (0..6).map(|_| world.put(1, 20_000)).collect();
    world.settle(HOUR);
    world.sent = Some(Vec::new());
    world.join(1, 0);
    let all: Vec<_> = of_first.iter().copied().chain(second.iter().map(|name| (1, *name))).collect();
    becomes(&mut world, &all, Shape::OneOfTwo);
    for (at, name) in &all {
        let holders: BTreeSet<_> = world.holders(*at, *name).into_iter().flatten().collect();
        assert_eq!(holders, BTreeSet::from([0, 1]));
        assert!(world.nodes[*at].disk.segments.contains_key(name));
    }
    assert_eq!((placed(&world, 0, 1), placed(&world, 1, 0)), (120_000, 120_000), "one full copy each way, once");

    // The third: it receives from both at the same time, in equal portions, and what it makes goes to both.
    world.sent = Some(Vec::new());
    world.welcome();
    let third = world.put(2, 20_000);
    becomes(&mut world, &[all, vec![(2, third)]].concat(), Shape::OneOfThree);
    assert_eq!((placed(&world, 0, 2), placed(&world, 1, 2)), (120_000, 120_000));
    assert_eq!((placed(&world, 2, 0), placed(&world, 2, 1)), (20_000, 20_000));
    assert_eq!((placed(&world, 0, 1), placed(&world, 1, 0)), (0, 0), "what lies well stays");
    let order: Vec<usize> = world
        .sent
        .as_ref()
        .expect("letters are seen")
        .iter()
        .filter(|sent| sent.to == 2 && matches!(sent.body(), Body::Place(_)))
        .map(|sent| sent.from)
        .collect();
    let mut ahead = 0_i32;
    for from in &order {
        ahead += if *from == 0 { 1 } else { -1 };
        assert!(ahead.abs() <= 1, "equal portions at every moment: {order:?}");
    }
}

#[test]
fn what_is_closed_while_alone_together_and_many_has_the_shape_of_its_time() {
    let mut world = World::group(4);
    let early = world.put(0, 12_000);
    becomes(&mut world, &[(0, early)], Shape::OneOfThree);
    let holders: BTreeSet<_> = world.holders(0, early).into_iter().flatten().collect();
    assert_eq!(holders, BTreeSet::from([1, 2, 3]), "the own half is free again once there are three others");
    let mut all = vec![(0, early)];
    for count in 5..=7 {
        let newcomer = world.welcome();
        assert_eq!(newcomer + 1, count);
    }
    // Closed before the list has rested: it lies as it can now, and both follow.
    all.push((3, world.put(3, 9_001)));
    becomes(&mut world, &all, Shape::TwoOfSix);
}

/// Lets nodes in one by one up to `count`, each with a segment of its own.
fn grow(world: &mut World, all: &mut Vec<(usize, SegmentName)>, count: usize) {
    while world.nodes.len() < count {
        let floors = floors(world, all);
        let newcomer = world.add();
        let order = world.ticket(newcomer / 2, newcomer as u8);
        world.order(newcomer, order);
        let joined = |world: &World| world.nodes[newcomer].events.contains(&Event::Joined);
        assert!(run_safely(world, HOUR, &floors, joined));
        all.push((newcomer, world.put(newcomer, 5_000)));
        run_safely(world, 20 * MINUTE, &floors, |_| false);
    }
}

#[test]
fn seven_thirteen_twenty_five_and_back() {
    let mut world = World::new();
    world.add();
    let mut all = vec![(0, world.put(0, 8_000)), (0, world.put(0, 7_777))];
    for (count, shape) in [(7, Shape::TwoOfSix), (13, Shape::FourOfTwelve), (25, Shape::EightOfTwentyFour)] {
        grow(&mut world, &mut all, count);
        becomes(&mut world, &all, shape);
    }
    // They leave again, those who came last first; what they made goes with them.
    for leaver in (3..25).rev() {
        all.retain(|(at, _)| *at != leaver);
        let left = leaver - 1;
        // With so many others left no more can be had than that.
        let bound = |survives: usize| survives.min(Shape::for_others(left).n() - Shape::for_others(left).k());
        let floors: Vec<_> =
            floors(&world, &all).into_iter().map(|(at, name, survives)| (at, name, bound(survives))).collect();
        world.order(leaver, Order::Leave);
        let parted = |world: &World| world.nodes[leaver].events.contains(&Event::Parted);
        assert!(run_safely(&mut world, 3 * DAY, &floors, parted), "{leaver} cannot leave");
        // Its disk is gone with it.
        world.crash(leaver);
        world.nodes[leaver].disk.shards.clear();
        run_safely(&mut world, HOUR, &floors, |_| false);
    }
    world.settle(2 * DAY);
    for (at, name) in &all {
        assert!(world.survives(*at, *name) >= Some(2), "{at}: {:?}", world.holders(*at, *name));
    }
}
