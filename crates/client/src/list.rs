//! Iterators that fetch page after page.

use crate::fault::{Fault, GridError, RecordError};
use crate::grid::Grid;
use okapi_base::Index;
use okapi_base::limits::{DESCRIPTORS_MAX, RECORD_NAME_MAX};
use okapi_grid::ask::{self, ReplyError};
use okapi_wire::message::{RecordInfo, RecordList, RecordPage};
use okapi_wire::{Frame, ListAsk, Listed, Op, Run, Status, flags};

/// Records in one page: their names may be long.
const RECORDS_PAGE: u32 = 256;

/// The occupied blocks of a grid, ascending. After an error it ends.
#[derive(Debug)]
pub struct Blocks {
    grid: Grid,
    detail: bool,
    from: Option<Index>,
    /// Blocks of the next page, at most.
    limit: u16,
    page: std::vec::IntoIter<Listed>,
}

/// The runs of occupied blocks of a grid, ascending; runs that touch at the end of a page are joined. After an error
/// it ends.
#[derive(Debug)]
pub struct Runs {
    grid: Grid,
    from: Option<Index>,
    page: std::vec::IntoIter<Run>,
    /// The run at hand, which the next may continue.
    open: Option<Run>,
}

/// The records of a grid whose names begin alike, in the order of their names' bytes, each with at most its first
/// extent. After an error it ends.
#[derive(Debug)]
pub struct Records {
    grid: Grid,
    prefix: String,
    after: String,
    more: bool,
    page: std::vec::IntoIter<RecordInfo>,
}

impl Blocks {
    pub(crate) fn new(grid: &Grid, from: Index, detail: bool) -> Self {
        Self { grid: grid.clone(), detail, from: Some(from), limit: DESCRIPTORS_MAX, page: Vec::new().into_iter() }
    }

    /// Asks for no more than `count` blocks at first: for whoever expects few, in a grid where more follow.
    #[must_use]
    pub fn expecting(self, count: u16) -> Self {
        Self { limit: count.clamp(1, DESCRIPTORS_MAX), ..self }
    }
}

impl Iterator for Blocks {
    type Item = Result<Listed, GridError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(block) = self.page.next() {
                return Some(Ok(block));
            }
            let from = self.from.take()?;
            let limit = std::mem::replace(&mut self.limit, DESCRIPTORS_MAX);
            match page(&self.grid, Op::List, self.detail, from, limit, |frame| ask::listed(frame)?.collect()) {
                Ok((blocks, more)) => {
                    self.from = blocks.last().filter(|_| more).and_then(|last: &Listed| last.index.next());
                    self.page = blocks.into_iter();
                }
                Err(fault) => return Some(Err(self.grid.error("listing its blocks", fault))),
            }
        }
    }
}

impl Runs {
    pub(crate) fn new(grid: &Grid, from: Index) -> Self {
        Self { grid: grid.clone(), from: Some(from), page: Vec::new().into_iter(), open: None }
    }
}

impl Iterator for Runs {
    type Item = Result<Run, GridError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            for run in self.page.by_ref() {
                match &mut self.open {
                    Some(open) if open.last().next() == Some(run.start) => open.count += run.count,
                    open => {
                        if let Some(whole) = open.replace(run) {
                            return Some(Ok(whole));
                        }
                    }
                }
            }
            let Some(from) = self.from.take() else { return self.open.take().map(Ok) };
            match page(&self.grid, Op::Runs, false, from, DESCRIPTORS_MAX, |frame| ask::runs(frame)?.collect()) {
                Ok((runs, more)) => {
                    self.from = runs.last().filter(|_| more).and_then(|last: &Run| last.last().next());
                    self.page = runs.into_iter();
                }
                Err(fault) => {
                    self.open = None;
                    return Some(Err(self.grid.error("listing its runs", fault)));
                }
            }
        }
    }
}

/// What lists: where each entry begins.
trait Entry {
    fn start(&self) -> Index;
}

impl Entry for Listed {
    fn start(&self) -> Index {
        self.index
    }
}

impl Entry for Run {
    fn start(&self) -> Index {
        self.start
    }
}

/// One page of a list, and whether there is more.
fn page<T: Entry>(
    grid: &Grid,
    op: Op,
    detail: bool,
    from: Index,
    limit: u16,
    mut read: impl FnMut(&Frame<'_>) -> Result<Vec<T>, ReplyError>,
) -> Result<(Vec<T>, bool), Fault> {
    grid.ask(op, true, |connection, handle, deadline| {
        let wanted = ListAsk { from: Some(from), limit: u32::from(limit) };
        let request = connection.list(op, handle, detail, wanted);
        connection.reply(request, deadline, |frame| {
            let (entries, more) = (read(frame)?, frame.header.flags & flags::MORE != 0);
            // Out of order it could go round in circles.
            let ascending = entries.is_sorted_by(|a, b| a.start() < b.start());
            if !ascending || entries.first().is_some_and(|first| first.start() < from) || (more && entries.is_empty()) {
                return Err(ReplyError::Malformed("its list is not in order"));
            }
            Ok((entries, more))
        })
    })
}

impl Records {
    pub(crate) fn new(grid: &Grid, prefix: &str) -> Self {
        let (prefix, after) = (prefix.to_owned(), String::new());
        Self { grid: grid.clone(), prefix, after, more: true, page: Vec::new().into_iter() }
    }

    fn fetch(&mut self) -> Result<RecordPage, Fault> {
        if self.prefix.len() > RECORD_NAME_MAX {
            return Err(Fault::refused(Status::BadName));
        }
        let list = RecordList { limit: RECORDS_PAGE, prefix: self.prefix.clone(), after: self.after.clone() };
        self.grid.ask(Op::RecordList, true, |connection, handle, deadline| {
            let request = connection.message(Op::RecordList, handle, &list);
            connection.reply(request, deadline, |frame| {
                let page: RecordPage = ask::read(frame, Op::RecordList)?;
                let ascending = page.records.is_sorted_by(|a, b| a.name < b.name);
                let behind = page.records.first().is_some_and(|first| first.name <= list.after);
                if !ascending || (behind && !list.after.is_empty()) || (page.more && page.records.is_empty()) {
                    return Err(ReplyError::Malformed("its list is not in order"));
                }
                Ok(page)
            })
        })
    }
}

impl Iterator for Records {
    type Item = Result<RecordInfo, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.page.next() {
                return Some(Ok(record));
            }
            if !std::mem::take(&mut self.more) {
                return None;
            }
            match self.fetch() {
                Ok(page) => {
                    self.more = page.more;
                    if let Some(last) = page.records.last() {
                        self.after.clone_from(&last.name);
                    }
                    self.page = page.records.into_iter();
                }
                Err(fault) => return Some(Err(self.grid.record_error(&self.prefix, "listing records", fault))),
            }
        }
    }
}
