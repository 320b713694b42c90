//! In peace all gets well by itself: everyone is in the group and knows the same list, every segment is live with its
//! owner and whole with the others, and whoever lied was caught.

use super::Breach;
use crate::host::{Fate, Host};
use crate::truth::Intact;
use crate::world::World;
use okapi_base::Shape;
use okapi_peers::Peer;

pub(super) fn ill(world: &World) -> Option<String> {
    group(world).or_else(|| quiet(world)).or_else(|| segments(world)).or_else(|| orphans(world))
}

fn there(world: &World) -> impl Iterator<Item = (usize, &Host, &Peer)> {
    let there = world.hosts.iter().enumerate().filter(|(_, host)| host.fate == Fate::There);
    there.filter_map(|(at, host)| host.peer.as_ref().map(|peer| (at, host, peer)))
}

fn group(world: &World) -> Option<String> {
    let there = |host: &&Host| host.fate == Fate::There;
    if let Some(at) = world.hosts.iter().position(|host| there(&host) && !host.is_up()) {
        return Some(format!("host {at} does not run"));
    }
    let mut lists = self::there(world).map(|(at, host, peer)| (at, host, peer.members().version()));
    let (_, _, first) = lists.next()?;
    for (at, host, version) in lists {
        if !host.joined || host.restores {
            return Some(format!(
                "host {at} has not {} the group",
                if host.restores { "come back to" } else { "joined" }
            ));
        }
        if version != first {
            return Some(format!("hosts 0 and {at} know different member lists"));
        }
    }
    None
}

fn quiet(world: &World) -> Option<String> {
    there(world)
        .find(|(_, host, peer)| host.is_honest() && !peer.is_quiet())
        .map(|(at, ..)| format!("host {at} is at work"))
}

/// Segments whose owner is there.
fn segments(world: &World) -> Option<String> {
    let intact = Intact::on(&world.hosts, |_| false);
    for (name, fact) in world.truth.wanted() {
        let host = &world.hosts[fact.owner];
        if host.fate != Fate::There || host.leaving || !host.is_honest() {
            continue;
        }
        let peer = host.peer.as_ref()?;
        let ill = |what: String| Some(format!("segment {name} of host {}: {what}", fact.owner));
        if !host.disk.segments.get(&name).is_some_and(|(_, good)| *good) {
            return ill("is not live".to_owned());
        }
        let Some(view) = peer.segments().find(|view| view.name == name) else {
            return ill("is not known to its peer".to_owned());
        };
        let Some(deed) = view.deed.filter(|_| view.safe && fact.safe) else {
            return ill("is not safe".to_owned());
        };
        let count = intact.count(host.node, name, deed.shape.k() as u8);
        let holders = deed.slots.iter().filter_map(|slot| slot.holder).filter_map(|node| world.number(node));
        let counted = holders.filter(|at| world.hosts[*at].is_honest() && world.hosts[*at].fate == Fate::There);
        if (count as usize) < counted.count() {
            return ill(format!("only {count} shards of {} are intact", deed.shape));
        }
        // A liar may or may not be there when it is needed.
        let others =
            there(world).filter(|(_, other, _)| other.is_honest() && !other.leaving && other.member != host.member);
        let sure = Shape::for_others(others.count()).min(peer.wanted_shape());
        // What really lies there counts, not what its owner believes.
        let survives = (count as usize).saturating_sub(deed.shape.k());
        if deed.shape.k() < sure.k() || survives < sure.n() - sure.k() {
            return ill(format!("lies as {} that survives {survives} and should as {sure}", deed.shape));
        }
    }
    None
}

/// Segments whose owner is gone: the others have mended them as far as there are nodes for it.
fn orphans(world: &World) -> Option<String> {
    let intact = Intact::on(&world.hosts, |_| false);
    let nodes = there(world).filter(|(_, host, _)| host.is_honest()).count() as u32;
    for (name, fact) in world.truth.promises() {
        let owner = &world.hosts[fact.owner];
        if owner.fate != Fate::Lost || !owner.is_honest() {
            continue;
        }
        let whole = [1, 2, 4, 8].into_iter().any(|k: u8| {
            let count = intact.count(owner.node, name, k);
            // Only its owner could have given it a shape with more shards.
            count >= (3 * u32::from(k)).min(nodes).min(fact.shards) && count >= u32::from(k)
        });
        if !whole {
            return Some(format!("segment {name} of host {}, which is gone, is not mended", fact.owner));
        }
    }
    None
}

pub(super) fn last_look(world: &World) -> Result<(), Breach> {
    for (name, fact) in world.truth.wanted() {
        let host = &world.hosts[fact.owner];
        // Who lies does not look for what rots on its own disk.
        let counts = |(_, good): &&(_, bool)| host.fate == Fate::There && (*good || host.is_honest());
        let Some((bytes, _)) = host.disk.segments.get(&name).filter(counts) else { continue };
        let key = host.disk.keys.get(&name).unwrap_or(&fact.key);
        if !crate::sealing::opens(&world.marks, &host.secret, bytes, key) {
            let what = format!("host {} cannot read its segment {name}", fact.owner);
            return Err(Breach::new("restore", world.now, what));
        }
    }
    Ok(())
}
