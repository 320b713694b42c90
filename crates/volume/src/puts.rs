//! Puts gathered for one multi-put, and what the node said of each.

use okapi_base::{crc32c, limits};
use okapi_client::{BlockError, Generation, Grid, Index, Outcome, PutAsk, Status};

/// What a block of zeros is stored as.
pub(crate) const ZEROES: &[u8] = &[0];

/// Puts that go together, in order.
#[derive(Debug, Default)]
pub(crate) struct Puts<'a> {
    puts: Vec<(PutAsk, &'a [u8])>,
}

impl<'a> Puts<'a> {
    /// Puts that one frame has room for.
    pub(crate) const FRAME: usize = limits::DESCRIPTORS_MAX as usize;

    /// One whole block.
    pub(crate) fn whole(&mut self, index: Index, bytes: &'a [u8]) -> &mut Self {
        self.puts.push((PutAsk::whole(index, bytes, crc32c(bytes)), bytes));
        self
    }

    /// One whole block, if it is still at a generation.
    pub(crate) fn whole_if(&mut self, index: Index, bytes: &'a [u8], expect: Generation) -> &mut Self {
        self.puts.push((PutAsk { expect: Some(expect), ..PutAsk::whole(index, bytes, crc32c(bytes)) }, bytes));
        self
    }

    /// Away with a block.
    pub(crate) fn delete(&mut self, index: Index) -> &mut Self {
        self.puts.push((PutAsk::delete(index), &[]));
        self
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.puts.len()
    }

    /// Puts them all; the first that was refused and why. A deletion of what is not there is no refusal.
    pub(crate) fn put(&self, grid: &Grid, put_flags: u16) -> Result<Result<(), (usize, Status)>, BlockError> {
        let outcomes = self.put_each(grid, put_flags)?;
        let refused = |(number, outcome): (usize, &Outcome)| {
            let gone = outcome.status == Status::Absent && self.puts[number].0.payload == 0;
            (!outcome.status.is_ok() && !gone).then_some((number, outcome.status))
        };
        Ok(outcomes.iter().enumerate().find_map(refused).map_or(Ok(()), Err))
    }

    /// Puts them all, and what became of each.
    pub(crate) fn put_each(&self, grid: &Grid, put_flags: u16) -> Result<Vec<Outcome>, BlockError> {
        let mut outcomes = Vec::with_capacity(self.puts.len());
        if !self.puts.is_empty() {
            grid.put_many(&self.puts, put_flags, |_, outcome| outcomes.push(outcome))?;
        }
        Ok(outcomes)
    }

    /// Which block the put `number` is of.
    pub(crate) fn index(&self, number: usize) -> Index {
        self.puts[number].0.index
    }
}

/// A block as it is stored: without the zeros at its end, of which one stays if there is nothing else.
pub(crate) fn cut(block: &[u8]) -> &[u8] {
    if block.last() != Some(&0) {
        return block;
    }
    // Eight bytes at a time: most blocks that end in zeros are zeros.
    let mut end = block.len();
    while end >= 8 && block[end - 8..end] == [0; 8] {
        end -= 8;
    }
    while end > 1 && block[end - 1] == 0 {
        end -= 1;
    }
    &block[..end.max(1)]
}

/// Whether these bytes are zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_after_their_last_byte() {
        for length in [1usize, 7, 8, 9, 16, 100] {
            assert_eq!(cut(&vec![0; length]), ZEROES);
            for last in 0..length {
                let mut block = vec![0; length];
                block[last] = 3;
                assert_eq!(cut(&block), &block[..=last]);
                assert!(!is_zero(&block));
            }
            assert!(is_zero(&vec![0; length]));
        }
    }
}
