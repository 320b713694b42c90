//! Where the bytes of a record are.

use crate::fault::Fault;
use okapi_base::{BlockSize, Index};
use okapi_wire::Run;
use okapi_wire::message::RecordInfo;

/// The runs of a record, with the number of the record's block each begins at.
#[derive(Debug, Clone)]
pub(crate) struct Extents {
    runs: Vec<(u64, Run)>,
    block_size: BlockSize,
}

impl Extents {
    /// Those of a record, if they hold as many blocks as its length needs.
    pub(crate) fn new(record: &RecordInfo, block_size: BlockSize) -> Result<Self, Fault> {
        let mut blocks = 0u64;
        let mut runs = Vec::with_capacity(record.extents.len());
        for run in &record.extents {
            runs.push((blocks, *run));
            blocks = blocks.saturating_add(run.count);
        }
        let needed = block_size.blocks_for(record.length);
        if blocks != needed {
            let why = format!("{} bytes need {needed} blocks, and the record has {blocks}", record.length);
            return Err(Fault::Nonsense { why });
        }
        Ok(Self { runs, block_size })
    }

    /// The block that holds the record's byte `at`, which must be within the record, and its place in the block.
    pub(crate) fn place(&self, at: u64) -> (Index, u32) {
        let size = u64::from(self.block_size.bytes());
        let block = at / size;
        let after = self.runs.partition_point(|(first, _)| *first <= block);
        let (first, run) = self.runs[after.checked_sub(1).expect("the first run begins at block 0")];
        let index = run.start.plus(block - first).expect("a run ends within the grid");
        assert!(block - first < run.count, "the byte is within the record");
        (index, u32::try_from(at % size).expect("a block is shorter than 4 GiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use okapi_base::Generation;

    fn record(length: u64, runs: &[(u64, u64)]) -> RecordInfo {
        let run = |(start, count): &(u64, u64)| Run { start: Index::new(*start).unwrap(), count: *count };
        RecordInfo {
            name: "r".into(),
            length,
            modified: 0,
            generation: Generation(1),
            blake3: [0; 32],
            content_type: String::new(),
            extents: runs.iter().map(run).collect(),
        }
    }

    #[test]
    fn bytes_are_found_in_every_run() {
        let size = BlockSize::new(512).unwrap();
        let extents = Extents::new(&record(512 * 5 + 1, &[(10, 2), (3, 1), (90, 3)]), size).unwrap();
        for (at, index, within) in
            [(0, 10, 0), (511, 10, 511), (512, 11, 0), (1024, 3, 0), (1536, 90, 0), (2047, 90, 511), (2560, 92, 0)]
        {
            assert_eq!(extents.place(at), (Index::new(index).unwrap(), within), "byte {at}");
        }
    }

    #[test]
    fn runs_must_be_as_many_as_the_length_needs() {
        let size = BlockSize::new(512).unwrap();
        assert!(Extents::new(&record(513, &[(0, 1)]), size).is_err());
        assert!(Extents::new(&record(512, &[(0, 2)]), size).is_err());
        assert!(Extents::new(&record(0, &[]), size).is_ok());
    }
}
