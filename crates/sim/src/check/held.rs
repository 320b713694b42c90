//! What a peer says it holds lies on its disk, and nothing else does but for what is being written or removed.

use super::Breach;
use crate::world::World;
use okapi_peers::{Thing, Work};
use std::collections::BTreeSet;

pub(super) fn look(world: &World) -> Result<(), Breach> {
    for (at, host) in world.running().filter(|(_, host)| host.is_honest()) {
        let peer = host.peer.as_ref().expect("it runs");
        let moving: BTreeSet<_> = host
            .working
            .values()
            .filter_map(|work| match work {
                Work::StoreShard { shard, .. } | Work::DropShard { shard } => Some(*shard),
                _ => None,
            })
            .collect();
        let held: BTreeSet<_> = peer.held().map(|(shard, _)| shard).collect();
        let lies: BTreeSet<_> = host.disk.shards.keys().copied().collect();
        if let Some(shard) = held.symmetric_difference(&lies).find(|shard| !moving.contains(shard)) {
            let there = if lies.contains(shard) { "lies there and is not held" } else { "is held and not there" };
            return Err(Breach::new("held", world.now, format!("host {at}: {:?} {there}", Thing::Shard(*shard))));
        }
    }
    Ok(())
}
