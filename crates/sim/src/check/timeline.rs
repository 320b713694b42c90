//! Logs of honest hosts never fork, whatever happens to their disks: no two witnesses, and no author, keep different
//! entries in one place of a log. In peace every entry has both its witnesses, drawn by place alone.

use super::Breach;
use crate::host::{Fate, Host};
use crate::world::World;
use okapi_base::{Digest, NodeId};
use okapi_peers::Peer;
use okapi_timeline::chain::entry_hash;
use std::collections::BTreeMap;

fn running(world: &World) -> impl Iterator<Item = (usize, &Host, &Peer)> {
    world
        .running()
        .filter(|(_, host)| host.is_honest())
        .map(|(at, host)| (at, host, host.peer.as_ref().expect("it runs")))
}

pub(super) fn look(world: &World) -> Result<(), Breach> {
    let mut entries: BTreeMap<(NodeId, u64), (usize, Digest)> = BTreeMap::new();
    let mut keep = |at: usize, log: NodeId, sequence: u64, hash: Digest| {
        let (other, known) = *entries.entry((log, sequence)).or_insert((at, hash));
        let honest = world.number(log).is_some_and(|number| world.hosts[number].is_honest());
        let what = format!("hosts {other} and {at} keep two entries {sequence} of one log");
        if known == hash || !honest { Ok(()) } else { Err(Breach::new("timeline", world.now, what)) }
    };
    for (at, host, peer) in running(world) {
        // Only what somebody confirmed counts: before that nobody was told.
        for line in peer.log_lines().filter(|line| !line.tally.confirmations().is_empty()) {
            keep(at, host.node, line.head.header.sequence, line.hash)?;
        }
        let watched: Vec<NodeId> = peer.watched().map(|(log, ..)| log).collect();
        for log in watched {
            for entry in peer.watched_entries(log) {
                keep(at, log, entry.head.header.sequence, entry_hash(&entry.head.header))?;
            }
        }
        if let Some((log, _)) =
            peer.forks().find(|(log, _)| world.number(*log).is_some_and(|at| world.hosts[at].is_honest()))
        {
            let what = format!("host {at} has proof that the log of {log}, which is honest, was forked");
            return Err(Breach::new("timeline", world.now, what));
        }
    }
    Ok(())
}

pub(super) fn ill(world: &World) -> Option<String> {
    let there = world.hosts.iter().filter(|host| host.fate == Fate::There && host.is_honest()).count();
    for (at, host, peer) in running(world).filter(|(_, host, _)| !host.leaving) {
        let log = peer.log();
        if log.seeking || log.drafts > 0 {
            return Some(format!("host {at} has not found the end of its log"));
        }
        // Where some are gone or lie, the lot may fall on them.
        if there == world.hosts.len() && log.unwitnessed > 0 {
            return Some(format!("{} entries of host {at} ({}) lack a witness", log.unwitnessed, host.node));
        }
    }
    None
}
