//! No acknowledged byte is lost: of every segment that was reported safe the owner's copy is whole, or k of its shards lie
//! on honest hosts. Faults never destroy so much by themselves.

use super::Breach;
use crate::host::Fate;
use crate::truth::Intact;
use crate::world::World;

pub(super) fn look(world: &World) -> Result<(), Breach> {
    let intact = Intact::on(&world.hosts, |_| false);
    for (name, fact) in world.truth.promises() {
        let owner = &world.hosts[fact.owner];
        let live = owner.fate == Fate::There && owner.disk.segments.get(&name).is_some_and(|(_, good)| *good);
        if owner.fate == Fate::Left || live || intact.spare(owner.node, name).is_some() {
            continue;
        }
        let what = format!("segment {name} of host {} was safe and is lost", fact.owner);
        return Err(Breach::new("loss", world.now, what));
    }
    Ok(())
}
