//! What shows through a disk that has no block of its own somewhere: its parent, that one's parent, and so on.

use crate::cache::{Cache, PAGE, Page, Pages};
use crate::fault::DiskError;
use crate::head::Head;
use crate::limits::LISTED_MAX;
use crate::place::Number;
use crate::presence::{Presence, State};
use crate::puts::ZEROES;
use okapi_base::crc32c;
use okapi_base::limits::DESCRIPTORS_MAX;
use okapi_client::{GetAsk, Grid, GridError, Listed, Slice, Status};
use std::ops::Range;
use std::sync::Arc;

/// Blocks of its own that most disks do not exceed: as many are asked for at first, since those of other disks follow.
const OWN_EXPECTED: u16 = 64;
/// Blocks looked at for several disks together: a page of a list.
const LISTED_TOGETHER: usize = DESCRIPTORS_MAX as usize - 1;
/// Pages read in one go: what a large read lacks, not more.
const TOGETHER: u64 = 64;

/// The blocks of one disk of a chain.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) number: Number,
    /// Bytes of a block.
    pub(crate) block: u64,
    /// Bytes of it that show.
    pub(crate) visible: u64,
    pub(crate) presence: Presence,
}

/// What a disk and those below it show, none of which can change.
#[derive(Debug)]
pub(crate) struct View {
    name: String,
    grid: Grid,
    /// Youngest first.
    layers: Vec<Layer>,
    /// Nothing: of a disk that may be written to after all nothing is kept.
    pages: Option<Arc<Pages>>,
    cache: Arc<Cache>,
}

/// Part of a block that is wanted at a place of somebody's buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    /// Whose block.
    pub(crate) number: Number,
    pub(crate) block: u64,
    /// Bytes before the part.
    pub(crate) from: u64,
    /// Where in the buffer, and how much.
    pub(crate) at: usize,
    pub(crate) length: usize,
    /// Which layer of a view it is.
    layer: usize,
}

impl Layer {
    /// The layer of a disk of which `visible` bytes show: asks the node which blocks there are.
    pub(crate) fn load(grid: &Grid, head: &Head, visible: u64) -> Result<Self, GridError> {
        let (number, visible) = (head.number, visible.min(head.size));
        let blocks = head.block_size.blocks_for(visible);
        let presence = Presence::new(blocks);
        let inside = |index| number.block_of(index).filter(|block| *block < blocks);
        let mut listed = 0;
        for entry in grid.list(number.data(0), true).expecting(OWN_EXPECTED) {
            let entry = entry?;
            let Some(block) = inside(entry.index) else { break };
            presence.set(block, state_of(&entry));
            listed += 1;
            if listed == LISTED_MAX {
                // So many that their lengths would take longer than they save.
                for run in grid.runs(entry.index) {
                    let run = run?;
                    let Some(first) = inside(run.start) else { break };
                    let end = (first + run.count).min(blocks);
                    (first.max(block + 1)..end).for_each(|block| presence.set(block, State::Data));
                }
                break;
            }
        }
        Ok(Self { number, block: u64::from(head.block_size.bytes()), visible, presence })
    }

    /// The layers of disks, all of each, asked for together where they follow each other and have few blocks.
    pub(crate) fn load_all(grid: &Grid, heads: &[&Head]) -> Result<Vec<Self>, GridError> {
        let mut order: Vec<usize> = (0..heads.len()).collect();
        order.sort_unstable_by_key(|at| heads[*at].number);
        let [first, _, ..] = order[..] else {
            return heads.iter().map(|head| Self::load(grid, head, head.size)).collect();
        };
        let empty = |head: &&Head| Self { presence: Presence::new(head.blocks()), ..Self::none(head) };
        let mut layers: Vec<Self> = heads.iter().map(empty).collect();
        // The first that was not looked at.
        let mut reached = None;
        for (listed, entry) in grid.list(heads[first].number.data(0), true).enumerate() {
            let entry = entry?;
            if listed == LISTED_TOGETHER {
                reached = Some(entry.index);
                break;
            }
            let before = order.partition_point(|at| heads[*at].number.data(0) <= entry.index);
            let at = order[before - 1];
            let block = heads[at].number.block_of(entry.index).filter(|block| *block < heads[at].blocks());
            if let Some(block) = block {
                layers[at].presence.set(block, state_of(&entry));
            }
        }
        for (head, layer) in heads.iter().zip(&mut layers) {
            let ends = |reached| head.number.next().is_some_and(|next| next.data(0) <= reached);
            if reached.is_some_and(|reached| !ends(reached)) {
                *layer = Self::load(grid, head, head.size)?;
            }
        }
        Ok(layers)
    }

    /// The layer of a disk that has no blocks of its own.
    pub(crate) fn none(head: &Head) -> Self {
        let block = u64::from(head.block_size.bytes());
        Self { number: head.number, block, visible: head.size, presence: Presence::new(0) }
    }

    /// The pieces of `length` bytes at `offset`, which lie within what is visible: each with its state, its offset and
    /// its length. A piece that is there is one block's; one that is missing may be many.
    pub(crate) fn pieces(&self, offset: u64, length: u64) -> impl Iterator<Item = (State, u64, u64)> {
        let end = offset + length;
        let mut at = offset;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let block = at / self.block;
            let (state, run_end) = match self.presence.state(block) {
                State::Data => (State::Data, block + 1),
                _ => self.presence.run(block..end.div_ceil(self.block)),
            };
            let from = std::mem::replace(&mut at, (run_end * self.block).min(end));
            Some((state, from, at - from))
        })
    }

    /// The want of a piece that is one block's.
    pub(crate) fn want(&self, layer: usize, offset: u64, length: usize, at: usize) -> Want {
        Want { number: self.number, block: offset / self.block, from: offset % self.block, at, length, layer }
    }
}

/// What is known of a block that is there.
fn state_of(entry: &Listed) -> State {
    let is_zeroes = entry.length as usize == ZEROES.len() && entry.crc == crc32c(ZEROES);
    if is_zeroes { State::Zeroes } else { State::Data }
}

impl View {
    /// What these layers show, youngest first. `keep`: nobody can write to any of them.
    pub(crate) fn new(name: &str, grid: &Grid, layers: Vec<Layer>, cache: &Arc<Cache>, keep: bool) -> Self {
        let size = layers.first().map_or(0, |layer| layer.visible);
        let pages = keep.then(|| Arc::new(Pages::new(size)));
        Self { name: name.to_owned(), grid: grid.clone(), layers, pages, cache: cache.clone() }
    }

    /// Bytes it shows; past them are zeros.
    pub(crate) fn size(&self) -> u64 {
        self.layers.first().map_or(0, |layer| layer.visible)
    }

    /// What it shows from `offset` on.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let shown = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(into.len());
        let (into, past) = into.split_at_mut(shown);
        past.fill(0);
        let Some(pages) = &self.pages else { return self.compose(0, offset, into) };
        let page_size = PAGE as u64;
        let mut done = 0;
        while done < into.len() {
            let at = offset + done as u64;
            let (page, from) = (at / page_size, (at % page_size) as usize);
            let length = (PAGE - from).min(into.len() - done);
            match pages.get(page) {
                Some(kept) => {
                    let kept = kept.as_ref().expect("only pages that are here are handed out");
                    kept.copy(from, &mut into[done..done + length]);
                    done += length;
                }
                None => done += self.read_new(pages, page, from, &mut into[done..])?,
            }
        }
        Ok(())
    }

    /// Reads the page that is not here and those after it that `into` wants and that are not here either, keeps them, and
    /// says how much of `into` that was.
    fn read_new(&self, pages: &Arc<Pages>, first: u64, from: usize, into: &mut [u8]) -> Result<usize, DiskError> {
        let page_size = PAGE as u64;
        let last = first + ((from + into.len() - 1) as u64 / page_size).min(TOGETHER - 1);
        let end = (first + 1..=last).find(|page| pages.get(*page).is_some()).unwrap_or(last + 1);
        let start = first * page_size;
        let length = (end * page_size).min(self.size()) - start;
        let mut bytes = vec![0; usize::try_from(length).expect("64 pages fit into memory")];
        self.compose(0, start, &mut bytes)?;
        for (page, bytes) in (first..).zip(bytes.chunks(PAGE)) {
            self.cache.keep(pages, page, Page::new(bytes));
        }
        let wanted = (bytes.len() - from).min(into.len());
        into[..wanted].copy_from_slice(&bytes[from..from + wanted]);
        Ok(wanted)
    }

    /// Reads from the layers, from `layer` down, what they show.
    fn compose(&self, layer: usize, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let mut wants = Vec::new();
        self.plan(layer, offset, 0, into, &mut wants);
        while !wants.is_empty() {
            let gone = fetch(&self.name, &self.grid, &wants, into)?;
            let mut further = Vec::new();
            for want in gone {
                // It was there when the disk was opened; what is below shows now.
                let offset = want.block * self.layers[want.layer].block + want.from;
                self.plan(want.layer + 1, offset, want.at, &mut into[want.at..want.at + want.length], &mut further);
            }
            wants = further;
        }
        Ok(())
    }

    /// Fills in the zeros, and notes what is wanted of the node. `into` lies at `place` of the whole buffer.
    fn plan(&self, layer: usize, offset: u64, place: usize, into: &mut [u8], wants: &mut Vec<Want>) {
        let Some(this) = self.layers.get(layer) else { return into.fill(0) };
        let shown = usize::try_from(this.visible.saturating_sub(offset)).unwrap_or(usize::MAX).min(into.len());
        into[shown..].fill(0);
        for (state, from, length) in this.pieces(offset, shown as u64) {
            let at = (from - offset) as usize;
            let length = length as usize;
            let part = &mut into[at..at + length];
            match state {
                State::Data => wants.push(this.want(layer, from, length, place + at)),
                State::Zeroes => part.fill(0),
                State::Missing => self.plan(layer + 1, from, place + at, part, wants),
            }
        }
    }

    /// Whether the first of the bytes at `offset` are known to be zeros, and how many (at most `length`) are alike in that.
    pub(crate) fn status(&self, offset: u64, length: u64) -> (bool, u64) {
        self.status_of(0, offset, length)
    }

    fn status_of(&self, layer: usize, offset: u64, length: u64) -> (bool, u64) {
        let Some(this) = self.layers.get(layer).filter(|this| offset < this.visible) else { return (true, length) };
        let mut alike: Option<(bool, u64)> = None;
        let shown = length.min(this.visible - offset);
        for (state, from, piece) in this.pieces(offset, shown) {
            let (zero, count) = match state {
                State::Data => (false, piece),
                State::Zeroes => (true, piece),
                State::Missing => self.status_of(layer + 1, from, piece),
            };
            match &mut alike {
                Some((before, _)) if *before != zero => break,
                Some((_, total)) => *total += count,
                None => alike = Some((zero, count)),
            }
            if count < piece {
                break;
            }
        }
        alike.expect("there is at least one piece")
    }

    /// The parts of `range` that may be other than zeros.
    pub(crate) fn not_zero(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            while at < range.end {
                let (zero, length) = self.status(at, range.end - at);
                let from = at;
                at += length;
                if !zero {
                    return Some(from..at);
                }
            }
            None
        })
    }
}

/// Gets what is wanted, each to its place in `into`; those whose block is not there.
pub(crate) fn fetch(name: &str, grid: &Grid, wants: &[Want], into: &mut [u8]) -> Result<Vec<Want>, DiskError> {
    let failed = |error| DiskError::Block { name: name.to_owned(), error: Box::new(error) };
    let slice = |want: &Want| Slice {
        offset: u32::try_from(want.from).expect("blocks are at most 1 MiB"),
        length: u32::try_from(want.length).expect("blocks are at most 1 MiB"),
    };
    let mut gone = Vec::new();
    if let [want] = wants {
        let into = &mut into[want.at..want.at + want.length];
        match grid.get_into(want.number.data(want.block), slice(want), into).map_err(failed)? {
            Some(got) => into[got.filled..].fill(0),
            None => gone.push(*want),
        }
        return Ok(gone);
    }
    let ask = |want: &Want| GetAsk { index: Some(want.number.data(want.block)), slice: slice(want) };
    let asks: Vec<GetAsk> = wants.iter().map(ask).collect();
    let mut refused = None;
    grid.get_many(&asks, |number, outcome, bytes| {
        let want = &wants[number];
        match outcome.status {
            Status::Ok => {
                let into = &mut into[want.at..want.at + want.length];
                let (filled, rest) = into.split_at_mut(bytes.len());
                filled.copy_from_slice(bytes);
                rest.fill(0);
            }
            Status::Absent => gone.push(*want),
            status => refused = refused.or(Some((want.block, status))),
        }
    })
    .map_err(failed)?;
    match refused {
        None => Ok(gone),
        Some((block, status)) => Err(DiskError::Refused { name: name.to_owned(), block, what: "a read", status }),
    }
}
