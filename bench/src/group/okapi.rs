//! Okapi itself: real `okapi up` processes, each with an identity and a disk of its own, joined by tickets.

mod node;

use super::pool::{Figures, Payload, Pool, SMALL_BYTES, Step, until};
use crate::sample::Latencies;
use crate::{Fault, random};
use node::Node;
use okapi_client::Index;
use okapi_client::group::{GroupState, GroupStatus, MemberPresence, NodeId, Shape};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Four of twelve needs twelve others, also once nodes are lost. All are there from the beginning: a list of members that
/// has just changed must rest for minutes before anything is moved for it.
const NODES: usize = 13 + LOST;
/// Nodes that are lost.
const LOST: usize = 2;
/// The name of the file as a record.
const RECORD: &str = "payload";
/// How often a block is put and got.
const SMALL_COUNT: u64 = 1000;
/// How long anything may take: far longer than it does.
const PATIENCE: Duration = Duration::from_secs(600);

/// A group of nodes; the first one owns the file.
pub(super) struct Okapi {
    program: PathBuf,
    folder: PathBuf,
    /// Bytes each node gives.
    give: u64,
    nodes: Vec<Node>,
    made: usize,
    /// Those that are lost, and what they held.
    lost: Vec<NodeId>,
    lost_bytes: u64,
    /// What the others held for each node before.
    held_before: Vec<u64>,
}

impl Okapi {
    /// Starts the nodes and waits until all data would be coded four of twelve.
    pub(super) fn start(folder: &Path) -> Result<Self, Fault> {
        let program = std::env::current_exe()?.with_file_name("okapi");
        std::fs::create_dir_all(folder)?;
        let give = what_to_give(folder)?;
        let folder = folder.to_owned();
        let mut okapi = Self {
            program,
            folder,
            give,
            nodes: Vec::new(),
            made: 0,
            lost: Vec::new(),
            lost_bytes: 0,
            held_before: Vec::new(),
        };
        okapi.grow(NODES)?;
        Ok(okapi)
    }

    /// Adds nodes until there are so many.
    fn grow(&mut self, count: usize) -> Result<(), Fault> {
        while self.nodes.len() < count {
            let data = self.folder.join(format!("node-{}", self.made));
            self.made += 1;
            let node = Node::found(&self.program, &data, self.give)?;
            if let Some(first) = self.nodes.first() {
                let ticket = first.client.invite(PATIENCE)?.ticket;
                node.client.join(&ticket)?;
                until("the join of a node", PATIENCE, || {
                    let status = node.status()?;
                    if !status.note.is_empty() {
                        return Err(format!("a node cannot join: {}", status.note).into());
                    }
                    Ok(status.state == GroupState::Member)
                })?;
            }
            self.nodes.push(node);
        }
        let whole = |status: &GroupStatus| {
            let here = status.members.iter().filter(|member| is_here(member.presence)).count();
            here == count && status.shape == Shape::FourOfTwelve
        };
        self.until_all("the whole group", whole)
    }

    fn until_all(&self, what: &str, is: impl Fn(&GroupStatus) -> bool) -> Result<(), Fault> {
        for node in &self.nodes {
            until(what, PATIENCE, || Ok(is(&node.status()?)))?;
        }
        Ok(())
    }

    fn owner(&self) -> &Node {
        &self.nodes[0]
    }

    /// Everything lies safely with the others, and nobody has anything to do.
    fn settle(&self) -> Result<(), Fault> {
        self.until_all("rest", |status| {
            status.own.safe_segments == status.own.segments && status.work.placing == 0 && status.work.mending == 0
        })
    }

    /// Kills nodes and removes their disks, and waits until the others have noticed.
    fn lose(&mut self) -> Result<(), Fault> {
        let owner = self.owner();
        until("that all others hold a part", PATIENCE, || {
            let status = owner.status()?;
            let mut others = status.members.iter().filter(|member| member.node != owner.id);
            Ok(others.all(|member| member.holds_for_us > status.own.bytes / 100))
        })?;
        self.settle()?;
        let mut lost = self.nodes.split_off(NODES - LOST);
        for node in &lost {
            self.lost_bytes += node.status()?.halves.server_used;
        }
        self.held_before = self.nodes.iter().map(|node| Ok(held_for(&node.status()?))).collect::<Result<_, Fault>>()?;
        lost.iter_mut().try_for_each(Node::burn)?;
        self.lost = lost.iter().map(|node| node.id).collect();
        let lost = &self.lost;
        let missed = |status: &GroupStatus| {
            let mut others = status.members.iter().filter(|member| lost.contains(&member.node));
            others.all(|member| !is_here(member.presence))
        };
        self.until_all("that a node is missed", missed)
    }

    /// Says everywhere that nodes are lost, and waits until what they held lies elsewhere.
    fn repair(&self) -> Result<Figures, Fault> {
        let before = self.moved()?;
        for node in &self.nodes {
            self.lost.iter().try_for_each(|lost| node.client.lost(*lost))?;
        }
        for (node, before) in self.nodes.iter().zip(&self.held_before) {
            until("the repair", PATIENCE, || Ok(held_for_without(&node.status()?, &self.lost) >= *before))?;
        }
        let moved = self.moved()? - before;
        Ok(Figures::from([("repair.moved".to_owned(), moved as f64 / self.lost_bytes.max(1) as f64)]))
    }

    /// Bytes that went over the links between all nodes so far.
    fn moved(&self) -> Result<u64, Fault> {
        self.nodes.iter().map(|node| Ok(node.status()?.work.received_bytes)).sum()
    }

    /// Single blocks, acknowledged once they are durable on this machine.
    fn small(&self) -> Result<Figures, Fault> {
        let grid = self.owner().client.grid("main", None)?;
        let (mut puts, mut gets) = (Latencies::when(true)?, Latencies::when(true)?);
        let mut bytes = vec![0; SMALL_BYTES];
        let index = |block: u64| Index::new(block).expect("it is below 2^40");
        for block in 0..SMALL_COUNT {
            random::fill(block, &mut bytes);
            let start = Instant::now();
            grid.put(index(block), &bytes)?;
            puts.record(start.elapsed());
        }
        for block in 0..SMALL_COUNT {
            random::fill(block, &mut bytes);
            let start = Instant::now();
            let found = grid.get(index(block))?;
            gets.record(start.elapsed());
            if found.is_none_or(|found| found.bytes != bytes) {
                return Err("a block came back different".into());
            }
        }
        Ok(Figures::from([("small.put".to_owned(), puts.p50()), ("small.get".to_owned(), gets.p50())]))
    }

    /// From the words on paper and the address of another node to everything, on an empty disk.
    fn restore(&mut self) -> Result<Figures, Fault> {
        let via = self.nodes[1].member_address()?;
        let readable = self.nodes[0].restore(&self.program, &via, self.give)?;
        Ok(readable.map(|after| ("restore.readable".to_owned(), after.as_secs_f64() * 1e6)).into_iter().collect())
    }
}

impl Pool for Okapi {
    fn name(&self) -> &'static str {
        super::OKAPI
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn prepare(&mut self, step: Step) -> Result<bool, Fault> {
        match step {
            Step::Idle => self.settle()?,
            Step::Repair => self.lose()?,
            Step::Restore => {
                self.settle()?;
                self.nodes[0].burn()?;
            }
            Step::Put | Step::Get | Step::Small => {}
        }
        Ok(true)
    }

    fn take(&mut self, step: Step, payload: &Payload) -> Result<Figures, Fault> {
        let owner = self.owner();
        match step {
            Step::Put => owner.run(&self.program, |put| put.args(["put", "--safe"]).arg(&payload.path).arg(RECORD))?,
            Step::Get => owner.run(&self.program, |get| get.args(["get", RECORD, "-o"]).arg(&payload.back))?,
            Step::Small => return self.small(),
            Step::Idle => {}
            Step::Repair => return self.repair(),
            Step::Restore => return self.restore(),
        }
        Ok(Figures::new())
    }

    fn check(&mut self, step: Step, payload: &Payload) -> Result<(), Fault> {
        match step {
            Step::Get => payload.check(),
            Step::Restore => {
                self.nodes[0].run_again(&self.program)?;
                self.take(Step::Get, payload)?;
                payload.check()
            }
            _ => Ok(()),
        }
    }

    fn nodes(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(Node::process).collect()
    }
}

/// Most of the free disk, which all nodes promise together though they share it: what they are promised is never
/// written.
fn what_to_give(folder: &Path) -> Result<u64, Fault> {
    const GIB: u64 = 1 << 30;
    let disk = rustix::fs::statvfs(folder)?;
    let free = disk.f_bavail * disk.f_frsize;
    let give = (free / 4 * 3).min(64 * GIB);
    if give < 16 * GIB {
        return Err(format!("{} has {} GiB free, and the bench needs 22", folder.display(), free / GIB).into());
    }
    Ok(give / GIB * GIB)
}

const fn is_here(presence: MemberPresence) -> bool {
    matches!(presence, MemberPresence::Here | MemberPresence::This)
}

/// Bytes that the others hold for a node.
fn held_for(status: &GroupStatus) -> u64 {
    held_for_without(status, &[])
}

fn held_for_without(status: &GroupStatus, lost: &[NodeId]) -> u64 {
    let left = status.members.iter().filter(|member| !lost.contains(&member.node));
    left.map(|member| member.holds_for_us).sum()
}
