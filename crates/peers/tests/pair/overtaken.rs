//! Letters of one owner may overtake each other, as each is sent again until it is answered.

use crate::voice::{Voice, signed};
use crate::world::*;
use okapi_base::SegmentName;
use okapi_peers::ShardId;
use okapi_wire::peer::letter::Body;
use okapi_wire::peer::shard::Deed;
use std::time::Duration;

/// A deed that was long on its way says nothing of a shard which has come
/// by a newer draft since, and for which a receipt was given.
#[test]
fn a_late_deed_takes_nothing_that_came_by_a_newer_draft() {
    let mut world = World::group(5);
    for _ in 0..8 {
        world.put(4, 8_000);
    }
    world.settle(DAY);
    let lacks = |name: &SegmentName| !world.holders(4, *name).contains(&Some(0));
    let name = world.peer(4).segments().map(|segment| segment.name).find(lacks).expect("node 0 does not hold all");
    let named = world.peer(4).segments().find(|segment| segment.name == name);
    let old = named.and_then(|segment| segment.deed).expect("it lies").clone();
    let content = world.nodes[4].disk.segments[&name].clone();
    let mut voice = Voice::new(&mut world, 4);
    let key = voice.key();
    let newer = |by: u32, open: bool| {
        let mut deed = Deed { revision: old.revision + by, ..old.clone() };
        deed.slots[0].holder = deed.slots[0].holder.filter(|_| !open);
        signed(deed, &key, |deed, signature| deed.signature = signature)
    };
    let shard = ShardId { owner: old.owner, segment: name, k: 1, index: 0 };
    let holds = |world: &World| world.peer(0).held().any(|(held, _)| held == shard);
    voice.say(&mut world, 0, Body::Offer(newer(2, true), 0, None));
    let place = voice.letter(&world, Body::Place(shard)).to_bytes();
    voice.hand(&mut world, 0, place, content);
    world.run(Duration::from_secs(1));
    assert!(holds(&world), "it was taken: {:?}", world.peer(0).refusals());
    voice.say(&mut world, 0, Body::Revise(newer(1, false)));
    world.run(Duration::from_secs(1));
    assert!(holds(&world), "an older deed took what was promised by a receipt");
    voice.say(&mut world, 0, Body::Revise(newer(3, false)));
    world.run(Duration::from_secs(1));
    assert!(!holds(&world), "the deed after the draft gives it to another");
}
