//! What a peer says it holds lies on its disk, and nothing else does for long.

use super::Breach;
use crate::world::World;
use okapi_peers::{ShardId, Thing, Work};
use std::collections::BTreeSet;

/// What lay on a disk at the last look without being held, by host.
#[derive(Debug, Default)]
pub(crate) struct Held {
    strays: BTreeSet<(usize, ShardId)>,
}

impl Held {
    pub(super) fn look(&mut self, world: &World) -> Result<(), Breach> {
        let mut strays = BTreeSet::new();
        for (at, host) in world.running().filter(|(_, host)| host.is_honest()) {
            let peer = host.peer.as_ref().expect("it runs");
            let moving = |shard: &ShardId| {
                let is_it = |work: &Work| match work {
                    Work::StoreShard { shard: other, .. } | Work::DropShard { shard: other } => other == shard,
                    _ => false,
                };
                host.working.values().any(is_it)
            };
            let held: BTreeSet<ShardId> = peer.held().map(|(shard, _)| shard).collect();
            let lies: BTreeSet<ShardId> = host.disk.shards.keys().copied().collect();
            if let Some(shard) = held.difference(&lies).find(|shard| !moving(shard)) {
                let what = format!("host {at}: {:?} is held and not there", Thing::Shard(*shard));
                return Err(Breach::new("held", world.now, what));
            }
            strays.extend(lies.difference(&held).map(|shard| (at, *shard)));
        }
        // Bytes go after the record of them, so for a moment they may lie there without one.
        let stays = strays.intersection(&self.strays).next().copied();
        self.strays = strays;
        match stays {
            None => Ok(()),
            Some((at, shard)) => {
                let what = format!("host {at}: {:?} lies there and is not held", Thing::Shard(shard));
                Err(Breach::new("held", world.now, what))
            }
        }
    }
}
