//! Mending: what holders do while an owner is gone, and what is left of it when it comes back.

use crate::world::*;
use okapi_base::{SegmentName, Shape};
use okapi_peers::Event;

/// A group in which a segment of node 0 lies with six others.
fn placed(nodes: usize) -> (World, SegmentName) {
    let mut world = World::group(nodes);
    let name = world.put(0, 10_000);
    assert!(world.run_until(DAY, |world| world.is_complete(0, name, Shape::TwoOfSix)));
    world.settle(DAY);
    (world, name)
}

/// Node 0 of nine is gone, and later a holder of its segment with all it had.
fn mended() -> (World, SegmentName, usize) {
    let (mut world, name) = placed(9);
    let victim = world.holders(0, name)[2].expect("it lies");
    world.crash(0);
    world.run(HOUR);
    world.crash(victim);
    world.nodes[victim].disk.shards.clear();
    assert_eq!(world.survives(0, name), Some(3));
    let whole = |world: &World| world.survives(0, name) == Some(4);
    assert!(world.run_until(14 * DAY, whole), "nobody mends");
    world.run(2 * DAY);
    (world, name, victim)
}

#[test]
fn the_first_holder_mends_and_the_owner_takes_it_over() {
    let (mut world, name, victim) = mended();
    let owner = world.nodes[0].id;
    let menders: Vec<(usize, u32, u64, u64)> = (1..9)
        .flat_map(|at| world.nodes[at].events.iter().map(move |event| (at, event)))
        .filter_map(|(at, event)| match event {
            Event::Repaired { owner: of, shards, read, sent, .. } if *of == owner => Some((at, *shards, *read, *sent)),
            _ => None,
        })
        .collect();
    // The mender has one shard itself: it fetches one more, and sends the missing one.
    assert!(matches!(menders[..], [(_, 1, 5_000, 5_000)]), "{menders:?}");
    world.open(0);
    let settled =
        |world: &World| world.is_complete(0, name, Shape::TwoOfSix) && !world.holders(0, name).contains(&Some(victim));
    // It has not seen itself how long the lost one has been silent, and gives it the usual grace. Nobody drops anything
    // meanwhile.
    let whole = |world: &World| assert_eq!(world.survives(0, name), Some(4), "{:?}", world.holders(0, name));
    let sent = world.traffic.get(&12).copied();
    let taken_over = world.run_until(9 * DAY, |world| {
        whole(world);
        settled(world)
    });
    assert!(taken_over, "{:?}", world.holders(0, name));
    world.settle(2 * DAY);
    whole(&world);
    assert_eq!(world.traffic.get(&12).copied(), sent, "what the mender made is taken over as it lies");
    let shards: usize = world.nodes.iter().map(|node| node.disk.shards.len()).sum();
    assert_eq!(shards, 6, "nothing is left over");
}

#[test]
fn when_all_come_back_the_surplus_is_dropped() {
    let (mut world, name) = placed(9);
    let victim = world.holders(0, name)[2].expect("it lies");
    world.crash(0);
    world.crash(victim);
    let more = |world: &World| world.nodes.iter().map(|node| node.disk.shards.len()).sum::<usize>() == 7;
    assert!(world.run_until(14 * DAY, more), "nobody mends");
    world.open(victim);
    world.run(HOUR);
    world.open(0);
    world.settle(2 * DAY);
    assert!(world.is_complete(0, name, Shape::TwoOfSix));
    let shards: usize = world.nodes.iter().map(|node| node.disk.shards.len()).sum();
    assert_eq!(shards, 6, "nothing is left over");
}

#[test]
fn a_mender_that_dies_is_followed_by_the_next() {
    let (mut world, name) = placed(9);
    let holders: Vec<usize> = world.holders(0, name).into_iter().flatten().collect();
    world.crash(0);
    world.crash(holders[5]);
    world.nodes[holders[5]].disk.shards.clear();
    // The first in line works slowly, and dies over it.
    for at in &holders[..5] {
        world.nodes[*at].pace = |_| MINUTE;
    }
    let fetching =
        |world: &World| (1..9).find(|at| world.nodes[*at].peer.as_ref().is_some_and(|peer| !peer.is_quiet()));
    assert!(world.run_until(14 * DAY, |world| fetching(world).is_some()), "nobody mends");
    let mender = fetching(&world).expect("it was just seen");
    world.crash(mender);
    world.nodes[mender].disk.shards.clear();
    assert!(world.run_until(14 * DAY, |world| world.survives(0, name) == Some(4)), "{:?}", world.survives(0, name));
}

#[test]
fn too_few_shards_are_mended_once_more_come_back() {
    let (mut world, name) = placed(12);
    let holders: Vec<usize> = world.holders(0, name).into_iter().flatten().collect();
    world.crash(0);
    for at in &holders[1..5] {
        world.crash(*at);
        world.nodes[*at].disk.shards.clear();
    }
    // The second shard that is needed is away as well, with its disk whole.
    world.crash(holders[5]);
    world.run(14 * DAY);
    world.open(holders[5]);
    assert!(world.run_until(14 * DAY, |world| world.survives(0, name) >= Some(3)), "{:?}", world.survives(0, name));
}
