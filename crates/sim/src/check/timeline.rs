//! Logs of honest hosts never fork, whatever happens to their disks: no two witnesses, and no author, keep different
//! entries in one place of a log. In peace every entry has both its witnesses, drawn by place alone.

use super::Breach;
use crate::host::{Fate, Host};
use crate::world::World;
use okapi_base::{Digest, NodeId};
use okapi_peers::Peer;
use okapi_timeline::DrawBy;
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
        for line in peer.log_lines() {
            let header = &line.head.header;
            for one in line.tally.confirmations() {
                let Some(roster) = peer.rosters().get(&one.list) else { continue };
                if !roster.draw(header.log, header.sequence, &one.list.digest, DrawBy::Place).contains(one.witness) {
                    let what = format!("entry {} of host {at} was confirmed by one not drawn for it", header.sequence);
                    return Err(Breach::new("timeline", world.now, what));
                }
            }
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
    let is_here = |node| running(world).any(|(_, host, _)| host.node == node && host.fate == Fate::There);
    for (at, host, peer) in running(world).filter(|(_, host, _)| !host.leaving) {
        let log = peer.log();
        if log.seeking || log.drafts > 0 {
            return Some(format!("host {at} has not found the end of its log"));
        }
        // An entry whose witness is gone waits until the list changes; one whose witnesses are all here does not.
        let rosters = peer.rosters();
        for line in peer.log_lines().filter(|line| !line.settled) {
            let sequence = line.head.header.sequence;
            let drawn = rosters.present().draw(host.node, sequence, &rosters.version().digest, DrawBy::Place);
            if !drawn.is_empty() && drawn.iter().all(is_here) {
                return Some(format!("entry {sequence} of host {at} waits for witnesses that are here"));
            }
        }
    }
    None
}
