//! Anyone recomputes the placement that an honest host goes by, from its member list alone, whatever the order.

use super::Breach;
use crate::world::World;
use okapi_base::{Digest, Shape};
use okapi_peers::placement::{GROUPS, Map};
use std::collections::BTreeMap;

pub(super) fn look(world: &World) -> Result<(), Breach> {
    let mut recomputed: BTreeMap<(Digest, Shape), Map> = BTreeMap::new();
    for (at, host) in world.running().filter(|(_, host)| host.is_honest()) {
        let peer = host.peer.as_ref().expect("it runs");
        let version = peer.members().version().digest;
        for shape in Shape::ALL {
            let Some((map, list)) = peer.map(shape).filter(|(_, list)| *list == version) else { continue };
            let again = recomputed.entry((list, shape)).or_insert_with(|| {
                let mut places = peer.present_places();
                places.reverse();
                Map::new(&places, &Digest(peer.group().0), shape)
            });
            let differs = |group: &u16| {
                map.holders(*group, &host.member, &host.node) != again.holders(*group, &host.member, &host.node)
            };
            if let Some(group) = (0..GROUPS).step_by(61).find(differs) {
                let what = format!("host {at} places group {group} as {shape} otherwise than its list says");
                return Err(Breach::new("placement", world.now, what));
            }
        }
    }
    Ok(())
}
