//! Parting, full disks, and halves that are made smaller.

use crate::world::*;
use okapi_base::{SegmentName, Shape};
use okapi_peers::{Event, Order};

#[test]
fn who_leaves_gives_away_first_and_nothing_is_less_safe_meanwhile() {
    let mut world = World::group(8);
    let mut all: Vec<(usize, SegmentName)> = Vec::new();
    for at in 0..8 {
        all.push((at, world.put(at, 10_000)));
        all.push((at, world.put(at, 3_000)));
    }
    assert!(world.run_until(DAY, |world| all.iter().all(|(at, name)| world.is_complete(*at, *name, Shape::TwoOfSix))));
    world.settle(DAY);
    let leaver = 5;
    assert!(world.peer(leaver).held().count() > 0);
    all.retain(|(at, _)| *at != leaver);
    world.order(leaver, Order::Leave);
    let mut least = 4;
    let parted = world.run_until(3 * DAY, |world| {
        least = all.iter().filter_map(|(at, name)| world.survives(*at, *name)).min().unwrap_or(0).min(least);
        world.nodes[leaver].events.contains(&Event::Parted)
    });
    assert!(parted);
    assert_eq!(least, 4, "nothing was less safe while it left");
    assert!(world.nodes[leaver].disk.shards.keys().all(|shard| shard.owner == world.nodes[leaver].id));
    world.crash(leaver);
    world.nodes[leaver].disk.shards.clear();
    world.settle(DAY);
    assert!(all.iter().all(|(at, name)| world.survives(*at, *name) == Some(4)));
    // What it made is left behind by the others too.
    let mine = world.nodes[leaver].id;
    assert!(world.nodes.iter().all(|node| node.disk.shards.keys().all(|shard| shard.owner != mine)));
}

#[test]
fn who_has_parted_takes_no_orders_that_need_a_group() {
    let mut world = World::group(3);
    world.order(2, Order::Leave);
    assert!(world.run_until(DAY, |world| world.nodes[2].events.contains(&Event::Parted)));
    world.order(2, Order::Promise { bytes: 5 });
    world.order(2, Order::Leave);
    world.run(MINUTE);
    world.crash(2);
    world.open(2);
    world.order(2, Order::Promise { bytes: 6 });
    world.run(DAY);
    assert_eq!(world.peer(0).members().active().count(), 2);
    assert!(!world.peer(2).members().is_active(world.nodes[2].id));
}

#[test]
fn a_full_disk_takes_nothing_and_others_take_it_instead() {
    let mut world = World::group(4);
    let small = world.add_with(1 << 20, 64_000);
    world.join(small, 0);
    world.run(HOUR);
    let names: Vec<SegmentName> = (0..12).map(|_| world.put(0, 20_000)).collect();
    assert!(world.run_until(DAY, |world| names.iter().all(|name| world.safe(0, *name) == Some(Shape::OneOfThree))));
    world.settle(DAY);
    assert!(world.nodes[small].disk.peak <= 64_000);
}

#[test]
fn a_user_half_that_is_full_says_so_and_takes_no_more() {
    let mut world = World::new();
    world.add_with(25_000, 1 << 20);
    let (fits, over) = (world.put(0, 20_000), world.put(0, 20_000));
    assert!(world.run_until(MINUTE, |world| world.safe(0, fits).is_some()));
    assert!(world.nodes[0].events.contains(&Event::UserHalfFull { segment: over }));
    assert_eq!(world.peer(0).books().own_bytes(), 20_000);
}

#[test]
fn a_server_half_that_is_made_smaller_takes_nothing_more_and_drains() {
    let mut world = World::group(6);
    let names: Vec<SegmentName> = (0..8).map(|_| world.put(0, 20_000)).collect();
    assert!(world.run_until(DAY, |world| names.iter().all(|name| world.safe(0, *name) == Some(Shape::OneOfThree))));
    world.settle(DAY);
    let at = (1..6).max_by_key(|at| world.nodes[*at].disk.used).expect("there are some");
    let before = world.nodes[at].disk.used;
    let less = before / 2;
    world.order(at, Order::Promise { bytes: less });
    let drained = |world: &World| world.nodes[at].disk.used <= less;
    let mut most = 0;
    let ok = world.run_until(5 * DAY, |world| {
        most = most.max(world.nodes[at].disk.used);
        drained(world)
    });
    assert!(ok, "{} of {before} bytes are still there, {less} are wished", world.nodes[at].disk.used);
    assert_eq!(most, before, "nothing came");
    world.settle(DAY);
    assert!(names.iter().all(|name| world.survives(0, *name) == Some(2)));
}
