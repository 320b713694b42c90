//! No moment with less safety than before: as long as nothing is destroyed, no shard is dropped while fewer losses would
//! be survived than an hour ago.

use super::Breach;
use crate::host::Fate;
use crate::truth::Intact;
use crate::world::World;
use okapi_base::SegmentName;
use okapi_peers::ShardId;
use okapi_wire::peer::shard::Slot;
use std::collections::BTreeMap;

/// How many losses each promised segment survived at the last look.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    floors: BTreeMap<SegmentName, u32>,
}

impl Floor {
    pub(super) fn look(&mut self, world: &World) {
        self.floors.clear();
        // What lies with liars was never there.
        if world.hosts.iter().any(|host| !host.is_honest()) {
            return;
        }
        for (name, fact) in world.truth.promises() {
            let host = &world.hosts[fact.owner];
            let Some(peer) = host.peer.as_ref().filter(|_| host.fate == Fate::There && !host.leaving) else { continue };
            let deed = peer.segments().find(|view| view.name == name).and_then(|view| view.deed);
            // What lies elsewhere by a plan that came to nothing may go.
            let spare = deed.and_then(|deed| {
                let k = deed.shape.k() as u8;
                let lies = |(index, slot): &(u8, Slot)| {
                    let shard = ShardId { owner: host.node, segment: name, k, index: *index };
                    let holder = slot.holder.and_then(|node| world.number(node)).map(|at| &world.hosts[at]);
                    let there = holder.filter(|holder| holder.fate == Fate::There);
                    there.is_some_and(|holder| holder.disk.shards.get(&shard).is_some_and(|lying| lying.good))
                };
                let count = (0..).zip(deed.slots.iter().copied()).filter(lies).count() as u32;
                count.checked_sub(u32::from(k))
            });
            self.floors.extend(spare.map(|spare| (name, spare)));
        }
    }

    /// Something was destroyed, or somebody wants to leave: less may be left now.
    pub(crate) fn forget(&mut self) {
        self.floors.clear();
    }

    /// A host dropped a shard.
    pub(crate) fn dropped(&self, world: &World, at: usize, shard: ShardId) -> Result<(), Breach> {
        let Some(floor) = self.floors.get(&shard.segment) else { return Ok(()) };
        if world.truth.of(shard.segment).is_none_or(|fact| fact.released) {
            return Ok(());
        }
        let spare = Intact::of_segment(&world.hosts, shard.owner, shard.segment).spare(shard.owner, shard.segment);
        if spare.is_some_and(|spare| spare >= *floor) {
            return Ok(());
        }
        let what = format!("host {at} dropped {shard:?}, of which {floor} losses were survived and now {spare:?} are");
        Err(Breach::new("floor", world.now, what))
    }
}
