//! Iterators that fetch page after page.

use crate::client::stub;
use crate::fault::{GridError, RecordError};
use okapi_wire::message::RecordInfo;
use okapi_wire::{Listed, Run};

/// The occupied blocks of a grid, ascending. After an error it ends.
#[derive(Debug)]
pub struct Blocks(());

/// The runs of occupied blocks of a grid, ascending; runs that touch at the end of a page are joined. After an error
/// it ends.
#[derive(Debug)]
pub struct Runs(());

/// The records of a grid whose names begin alike, in the order of their names' bytes, each with at most its first
/// extent. After an error it ends.
#[derive(Debug)]
pub struct Records(());

impl Iterator for Blocks {
    type Item = Result<Listed, GridError>;

    fn next(&mut self) -> Option<Self::Item> {
        stub(())
    }
}

impl Iterator for Runs {
    type Item = Result<Run, GridError>;

    fn next(&mut self) -> Option<Self::Item> {
        stub(())
    }
}

impl Iterator for Records {
    type Item = Result<RecordInfo, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        stub(())
    }
}
