//! Which blocks of a disk are there: two bits each, in memory.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Blocks a page knows of.
const PAGE: u64 = 4096;
/// Blocks a word knows of.
const WORD: u64 = 32;

/// What is known of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It is not there: the parent shows.
    Missing,
    /// It is there.
    Data,
    /// It is there, and zeros.
    Zeroes,
}

type Page = [AtomicU64; (PAGE / WORD) as usize];

/// What is known of the blocks of one disk. Pages without a block take no memory.
#[derive(Debug)]
pub(crate) struct Presence {
    pages: Box<[OnceLock<Box<Page>>]>,
}

impl State {
    const fn bits(self) -> u64 {
        match self {
            Self::Missing => 0,
            Self::Data => 1,
            Self::Zeroes => 2,
        }
    }

    const fn of(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Missing,
            2 => Self::Zeroes,
            _ => Self::Data,
        }
    }

    /// A word whose blocks are all so.
    const fn word(self) -> u64 {
        self.bits() * 0x5555_5555_5555_5555
    }
}

impl Presence {
    /// Of `blocks` blocks, none of which is there.
    pub(crate) fn new(blocks: u64) -> Self {
        let pages = usize::try_from(blocks.div_ceil(PAGE)).expect("a disk has at most 2^28 blocks");
        Self { pages: (0..pages).map(|_| OnceLock::new()).collect() }
    }

    /// What is known of a block. Those past the end are missing.
    pub(crate) fn state(&self, block: u64) -> State {
        let page = usize::try_from(block / PAGE).ok().and_then(|page| self.pages.get(page)?.get());
        page.map_or(State::Missing, |page| State::of(word(page, block).load(Ordering::Acquire) >> shift(block)))
    }

    /// Notes it of a block that the disk has room for.
    pub(crate) fn set(&self, block: u64, state: State) {
        let page = &self.pages[usize::try_from(block / PAGE).expect("a disk has at most 2^28 blocks")];
        let page = match page.get() {
            None if state == State::Missing => return,
            None => page.get_or_init(|| Box::new([const { AtomicU64::new(0) }; (PAGE / WORD) as usize])),
            Some(page) => page,
        };
        let (shift, word) = (shift(block), word(page, block));
        let put = |before: u64| Some(before & !(3 << shift) | state.bits() << shift);
        word.fetch_update(Ordering::AcqRel, Ordering::Acquire, put).expect("it always puts something");
    }

    /// The state of the first of `blocks`, which are not none, and the end of the run of those that have it.
    pub(crate) fn run(&self, blocks: Range<u64>) -> (State, u64) {
        let state = self.state(blocks.start);
        let mut at = blocks.start + 1;
        while at < blocks.end {
            let page = usize::try_from(at / PAGE).ok().and_then(|page| self.pages.get(page)?.get());
            match page {
                None if state == State::Missing => at = (at / PAGE + 1) * PAGE,
                Some(page) if at.is_multiple_of(WORD) && word(page, at).load(Ordering::Acquire) == state.word() => {
                    at += WORD;
                }
                _ if self.state(at) == state => at += 1,
                _ => break,
            }
        }
        (state, at.min(blocks.end))
    }

    /// The next run of blocks within `blocks` that are not missing.
    pub(crate) fn next_there(&self, blocks: Range<u64>) -> Option<Range<u64>> {
        let mut from = blocks.start;
        if from < blocks.end && self.state(from) == State::Missing {
            from = self.run(from..blocks.end).1;
        }
        let mut end = from;
        while end < blocks.end && self.state(end) != State::Missing {
            end = self.run(end..blocks.end).1;
        }
        (from < end).then_some(from..end)
    }

    /// Becomes what `other`, of the same disk, is, a word at a time: no block seems to be what it never was.
    pub(crate) fn become_like(&self, other: &Self) {
        for (ours, theirs) in self.pages.iter().zip(&other.pages) {
            let Some(theirs) = theirs.get() else {
                ours.get().into_iter().flat_map(|page| page.iter()).for_each(|word| word.store(0, Ordering::Release));
                continue;
            };
            let ours = ours.get_or_init(|| Box::new([const { AtomicU64::new(0) }; (PAGE / WORD) as usize]));
            for (ours, theirs) in ours.iter().zip(theirs.iter()) {
                ours.store(theirs.load(Ordering::Relaxed), Ordering::Release);
            }
        }
    }
}

fn word(page: &Page, block: u64) -> &AtomicU64 {
    &page[(block % PAGE / WORD) as usize]
}

fn shift(block: u64) -> u64 {
    block % WORD * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_a_list_of_states_is() {
        let blocks = PAGE * 3 + 77;
        let presence = Presence::new(blocks);
        let mut model = vec![State::Missing; blocks as usize];
        let mut dice = 7u64;
        let mut draw = |below: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % below
        };
        for _ in 0..200 {
            let from = draw(blocks);
            let to = (from + 1 + draw(500)).min(blocks);
            let state = [State::Missing, State::Data, State::Zeroes][draw(3) as usize];
            for block in from..to {
                presence.set(block, state);
                model[block as usize] = state;
            }
            let from = draw(blocks);
            let end = model[from as usize..].iter().position(|state| *state != model[from as usize]);
            let end = end.map_or(blocks, |end| from + end as u64);
            assert_eq!(presence.run(from..blocks), (model[from as usize], end));
            let is_there = |block: &u64| model[*block as usize] != State::Missing;
            let first = (from..blocks).find(is_there);
            let there = first.map(|first| first..(first..blocks).find(|block| !is_there(block)).unwrap_or(blocks));
            assert_eq!(presence.next_there(from..blocks), there);
        }
        let other = Presence::new(blocks);
        other.set(PAGE * 3 + 70, State::Data);
        other.become_like(&presence);
        assert!((0..blocks).all(|block| other.state(block) == model[block as usize]));
        assert_eq!(presence.state(blocks * 9), State::Missing);
    }
}
