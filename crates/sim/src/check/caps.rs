//! Both halves of every disk are hard caps, for the bytes that really lie there.

use super::Breach;
use crate::world::World;

pub(super) fn look(world: &World) -> Result<(), Breach> {
    for (at, host) in world.hosts.iter().enumerate() {
        let (shards, segments) = host.disk.used();
        let over = |half: &str, used: u64, cap: u64| {
            let what = format!("host {at} has {used} bytes in its {half} half of {cap}");
            (used > cap).then(|| Breach::new("caps", world.now, what))
        };
        let breach =
            over("server", shards, host.cast.server_half).or_else(|| over("user", segments, host.cast.user_half));
        if let Some(breach) = breach {
            return Err(breach);
        }
        if let Some(peer) = &host.peer {
            peer.books().recount();
        }
    }
    Ok(())
}
