//! No clear text and no data key lies on any disk but in what is sealed. Letters are searched as they are sent.

use super::Breach;
use crate::world::World;

pub(super) fn look(world: &World) -> Result<(), Breach> {
    for (at, host) in world.hosts.iter().enumerate() {
        let shards = host.disk.shards.values().map(|lying| &*lying.bytes);
        let records = host.disk.records.iter().flat_map(|(key, value)| [key.as_slice(), value.as_slice()]);
        if shards.chain(records).any(|bytes| world.marks.is_in(bytes)) {
            let what = format!("clear text or a data key lies on host {at}");
            return Err(Breach::new("secrecy", world.now, what));
        }
    }
    Ok(())
}
