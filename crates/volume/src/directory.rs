//! The heads of all disks, as they were last seen.

use crate::fault::DisksError;
use crate::head::Head;
use crate::limits::{CHAIN_MAX, DISKS_MAX};
use crate::place::Number;
use okapi_client::{Generation, GetAsk, Grid, Index, Status};
use std::collections::BTreeMap;

/// The heads of all disks, as they were last seen. Others may change them: whoever decides something looks again, and puts
/// with what it expects.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    heads: BTreeMap<Number, (Generation, Head)>,
}

impl Directory {
    /// Sees what there is now: one list, and a get for each head that is new or has changed.
    pub(crate) fn look(&mut self, grid: &Grid) -> Result<(), DisksError> {
        let mut asks = Vec::new();
        let mut there = BTreeMap::new();
        for entry in grid.list(Index::MIN, true) {
            let entry = entry?;
            let Some(number) = Number::of_head(entry.index) else {
                if entry.index == Index::MIN {
                    continue;
                }
                break;
            };
            match self.heads.remove(&number) {
                Some((generation, head)) if generation == entry.generation => {
                    there.insert(number, (generation, head));
                }
                _ => asks.push(GetAsk::whole(entry.index)),
            }
        }
        self.heads = there;
        let mut damaged = None;
        let heads = &mut self.heads;
        grid.get_many(&asks, |at, outcome, bytes| {
            let number = asks[at].index.and_then(Number::of_head).expect("only heads are asked for");
            match (outcome.status, Head::decode(number, bytes)) {
                (Status::Ok, Ok(head)) => {
                    heads.insert(number, (outcome.generation, head));
                }
                (Status::Ok, Err(why)) => damaged = Some(DisksError::Damaged { number, why }),
                // Gone since it was listed.
                (Status::Absent, _) => {}
                (status, _) => {
                    let name = format!("number {number}");
                    damaged = Some(DisksError::Refused { name, what: "reading its head", status });
                }
            }
        })?;
        damaged.map_or(Ok(()), Err)
    }

    /// Notes a head that was just put.
    pub(crate) fn note(&mut self, generation: Generation, head: Head) {
        self.heads.insert(head.number, (generation, head));
    }

    /// All heads, partial ones included.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Head> {
        self.heads.values().map(|(_, head)| head)
    }

    /// The disk of this name, partial ones included if nothing else has it.
    pub(crate) fn named(&self, name: &str) -> Option<&Head> {
        self.heads().filter(|head| head.name == name).min_by_key(|head| (head.partial, head.number))
    }

    /// The disk of this name that is whole.
    pub(crate) fn find(&self, name: &str) -> Result<&Head, DisksError> {
        self.named(name).filter(|head| !head.partial).ok_or_else(|| DisksError::Unknown { name: name.to_owned() })
    }

    /// A disk by its number, and its head's generation.
    pub(crate) fn get(&self, number: Number) -> Option<&(Generation, Head)> {
        self.heads.get(&number)
    }

    /// Those that are built on a disk.
    pub(crate) fn children(&self, parent: &Head) -> Vec<&Head> {
        let built =
            |head: &&Head| head.parent.is_some_and(|found| (found.number, found.id) == (parent.number, parent.id));
        self.heads().filter(built).collect()
    }

    /// The names of those that are built on each disk.
    pub(crate) fn all_children(&self) -> BTreeMap<Number, Vec<String>> {
        let mut all: BTreeMap<Number, Vec<String>> = BTreeMap::new();
        for head in self.heads() {
            let parent = head.parent.filter(|parent| self.get(parent.number).is_some_and(|(_, it)| it.id == parent.id));
            if let Some(parent) = parent {
                all.entry(parent.number).or_default().push(head.name.clone());
            }
        }
        all
    }

    /// The names of those that are built on a disk.
    pub(crate) fn children_names(&self, parent: &Head) -> Vec<String> {
        self.children(parent).into_iter().map(|head| head.name.clone()).collect()
    }

    /// A disk, its parent, that one's parent, and so on.
    pub(crate) fn chain(&self, disk: &Head) -> Result<Vec<Head>, DisksError> {
        let mut chain = vec![disk.clone()];
        while let Some(parent) = chain.last().and_then(|head| head.parent) {
            let found = self.heads.get(&parent.number).map(|(_, head)| head).filter(|head| head.id == parent.id);
            let orphan = || DisksError::Orphan { name: disk.name.clone(), parent: parent.number };
            // A ring could only come from damage; it is as good as a parent that is not there.
            if chain.len() >= CHAIN_MAX {
                return Err(orphan());
            }
            chain.push(found.ok_or_else(orphan)?.clone());
        }
        Ok(chain)
    }

    /// `count` numbers one after the other that nobody has and whose blocks are free.
    pub(crate) fn free_numbers(&self, grid: &Grid, count: usize) -> Result<Vec<Number>, DisksError> {
        let too_many = || DisksError::TooMany { count: self.heads.len() + count, most: DISKS_MAX as usize };
        let mut first = Number::new(1).ok_or_else(too_many)?;
        // Behind all others, so that numbers are seldom used again soon; only once the end is reached in between.
        let after = self.heads.keys().next_back().map_or(Some(first), |last| last.next());
        if let Some(after) = after
            && after.get() as usize + count <= DISKS_MAX as usize + 1
        {
            first = after;
        }
        loop {
            let last = u32::try_from(first.get() as usize + count - 1).ok().and_then(Number::new);
            let last = last.ok_or_else(too_many)?;
            if let Some((taken, _)) = self.heads.range(first..=last).next_back() {
                first = taken.next().ok_or_else(too_many)?;
                continue;
            }
            match grid.runs(first.data(0)).next().transpose()? {
                // Blocks without a head: not ours to take.
                Some(run) if run.start.get() >> crate::limits::BLOCK_BITS <= u64::from(last.get()) => {
                    let number = (run.last().get() >> crate::limits::BLOCK_BITS) as u32;
                    first = Number::new(number).and_then(Number::next).ok_or_else(too_many)?;
                }
                _ => return Ok((first.get()..=last.get()).filter_map(Number::new).collect()),
            }
        }
    }
}
