//! What can go wrong: with the directory of disks, and with one that is open.

use crate::lease::Lease;
use crate::partition::PartitionError;
use crate::place::Number;
use okapi_client::{BlockError, GridError, Status};

/// Why something about the disks of a grid failed.
#[derive(Debug, thiserror::Error)]
pub enum DisksError {
    /// The grid as a whole.
    #[error(transparent)]
    Grid(Box<GridError>),
    /// Blocks of it.
    #[error(transparent)]
    Block(Box<BlockError>),
    /// A disk's content.
    #[error(transparent)]
    Disk(Box<DiskError>),
    /// One block was refused.
    #[error("disk `{name}`: {what} failed: {}", status.text())]
    Refused {
        /// Which disk.
        name: String,
        /// What was being done.
        what: &'static str,
        /// The node's reason.
        status: Status,
    },
    /// There is no such disk.
    #[error("there is no disk `{name}`; `okapi image ls` shows those there are")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error("there is a disk `{name}` already; choose another name, or remove it first")]
    Exists {
        /// The name.
        name: String,
    },
    /// The name may not be a disk's.
    #[error(
        "`{name}` is no name for a disk: it has 1 to 128 letters, digits or any of `._@/+-`, and begins with none of \
         `.`, `-` and `/`"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// The size cannot be a disk's.
    #[error("a disk of {size} bytes cannot be: it is a multiple of 512 bytes, and at most {most} in blocks of {block}")]
    BadSize {
        /// The size.
        size: u64,
        /// Bytes at most.
        most: u64,
        /// Bytes of a block.
        block: u32,
    },
    /// The grid's blocks are too small.
    #[error(
        "the grid `{grid}` has blocks of {has} bytes, and disks of it need blocks of {needed}; choose another grid"
    )]
    SmallBlocks {
        /// The grid.
        grid: String,
        /// Bytes of its blocks.
        has: u32,
        /// Bytes needed.
        needed: u32,
    },
    /// The grid has records.
    #[error(
        "the grid `{grid}` has {records} records, and no disks can be where records are; give disks a grid of their own"
    )]
    Records {
        /// The grid.
        grid: String,
        /// How many.
        records: u64,
    },
    /// Somebody writes to it.
    #[error("disk `{name}` is in use by {by}; end that first")]
    InUse {
        /// Which disk.
        name: String,
        /// Who.
        by: Box<Lease>,
    },
    /// Others are built on it.
    #[error("disk `{name}` has children, and what they show would change: {}", some(children))]
    HasChildren {
        /// Which disk.
        name: String,
        /// Those that are built on it.
        children: Vec<String>,
    },
    /// It is not to be written to.
    #[error("disk `{name}` is read-only; clone it and write to the clone")]
    ReadOnly {
        /// Which disk.
        name: String,
    },
    /// What was to be burned into clones has no room in them.
    #[error("{length} bytes at {offset} of clones of disk `{name}` reach past their end at {size}")]
    BurnedPastEnd {
        /// What they are clones of.
        name: String,
        /// Where.
        offset: u64,
        /// How many.
        length: u64,
        /// Their size.
        size: u64,
    },
    /// Its partitions.
    #[error(transparent)]
    Partitions(Box<PartitionError>),
    /// It is built on none.
    #[error("disk `{name}` has no parent")]
    NoParent {
        /// Which disk.
        name: String,
    },
    /// The parent has other children too.
    #[error("the parent `{parent}` of disk `{name}` has other children, which would change: {}", some(others))]
    Shared {
        /// Which disk.
        name: String,
        /// Its parent.
        parent: String,
        /// The parent's other children.
        others: Vec<String>,
    },
    /// What it is built on is gone.
    #[error("disk `{name}` is built on disk {parent}, which is not there any more")]
    Orphan {
        /// Which disk.
        name: String,
        /// Its parent.
        parent: Number,
    },
    /// Too long a chain.
    #[error("disk `{name}` would be the {}th in its chain; flatten one of those before it", crate::limits::CHAIN_MAX + 1)]
    TooDeep {
        /// Which disk.
        name: String,
    },
    /// Too many at once, or all in all.
    #[error("{count} disks are more than {most}, which is the limit")]
    TooMany {
        /// How many there would be.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A head that cannot be read.
    #[error("the head of disk {number} makes no sense: {why}")]
    Damaged {
        /// Which disk.
        number: Number,
        /// Why.
        why: &'static str,
    },
    /// Others change the same all the time.
    #[error("disk `{name}` was changed by somebody else meanwhile; look again")]
    Changed {
        /// Which disk.
        name: String,
    },
    /// What is imported ends too late.
    #[error("what is imported as `{name}` is longer than the {size} bytes asked for")]
    Longer {
        /// Which disk.
        name: String,
        /// Its size.
        size: u64,
    },
    /// The caller's own stream failed.
    #[error("{what} failed: {why}")]
    Stream {
        /// What was being done.
        what: &'static str,
        /// The stream's own words.
        #[source]
        why: std::io::Error,
    },
    /// The operating system gave no random bytes or no thread.
    #[error("the operating system refused {what}: {why}")]
    System {
        /// What.
        what: &'static str,
        /// Its own words.
        why: String,
    },
}

macro_rules! boxed {
    ($($error:ident as $variant:ident),*) => { $(
        impl From<$error> for DisksError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        }
    )* };
}

boxed!(GridError as Grid, BlockError as Block, DiskError as Disk);

/// Why reading or writing an open disk failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The grid as a whole.
    #[error("disk `{name}`: {error}")]
    Grid {
        /// Which disk.
        name: String,
        /// What is wrong with it.
        #[source]
        error: Box<GridError>,
    },
    /// Blocks of it.
    #[error("disk `{name}`: {error}")]
    Block {
        /// Which disk.
        name: String,
        /// What is wrong with them.
        #[source]
        error: Box<BlockError>,
    },
    /// One block was refused.
    #[error("disk `{name}`, block {block}: {what} failed: {}", status.text())]
    Refused {
        /// Which disk.
        name: String,
        /// Which of its blocks.
        block: u64,
        /// What was being done.
        what: &'static str,
        /// The node's reason.
        status: Status,
    },
    /// Past the end.
    #[error("disk `{name}`: {length} bytes at {offset} reach past its end at {size}")]
    PastEnd {
        /// Which disk.
        name: String,
        /// Where.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// Its size.
        size: u64,
    },
    /// It was opened for reading.
    #[error("disk `{name}` was opened for reading only")]
    ReadOnly {
        /// Which disk.
        name: String,
    },
    /// Somebody else has taken it.
    #[error(
        "disk `{name}` was taken over by somebody else while the node could not be reached; nothing is written to it any more"
    )]
    Fenced {
        /// Which disk.
        name: String,
    },
    /// Writes that were not flushed may be gone.
    #[error("disk `{name}`: the node went away since the last flush; what was written since then may be lost")]
    Lost {
        /// Which disk.
        name: String,
    },
}

/// The first few of many names.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..7).map(|number| number.to_string()).collect();
        assert_eq!(some(&names), "`0`, `1`, `2`, `3`, `4` and 2 more");
        assert_eq!(some(&names[..2]), "`0`, `1`");
    }
}
