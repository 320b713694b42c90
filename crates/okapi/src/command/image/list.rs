//! `okapi image ls` and `diff`: what disks there are, and what one has of its own.

use super::{GRID, disks, head_json};
use crate::failure::Failure;
use crate::session::Session;
use crate::size::{Size, counted, moment};
use crate::view::{Tone, columns, shown};
use okapi_volume::Listed;
use serde_json::json;

/// List disks
#[derive(Debug, clap::Args)]
#[command(visible_alias = "list")]
pub(crate) struct Ls {
    /// Only names that begin so
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,

    /// More about each: what it has of its own, its clones, who writes to it, when it was made
    #[arg(long, short = 'l')]
    long: bool,
}

/// Show what a disk has of its own, and not from its parent
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The disk
    #[arg(value_name = "NAME")]
    name: String,
}

impl Ls {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let wanted = |disk: &Listed| disk.head.name.starts_with(&self.prefix);
        let mut listed = match disks(session, false) {
            Ok(disks) => disks.list(self.long || session.view.json)?,
            // Nobody has made a disk yet.
            Err(failure) if failure.kind == "unknown-grid" && session.global.grid.is_none() => Vec::new(),
            Err(failure) => return Err(failure),
        };
        listed.retain(wanted);
        let view = &mut session.view;
        if view.json {
            return listed.iter().try_for_each(|disk| {
                let mut json = head_json(&disk.head);
                json["parent"] = disk.parent.clone().into();
                json["children"] = disk.children.clone().into();
                json["blocks"] = disk.blocks.into();
                json["in_use"] = disk.in_use.as_ref().map(ToString::to_string).into();
                view.json(&json)
            });
        }
        if listed.is_empty() && view.is_terminal() {
            view.aside(format_args!("no disks in grid `{GRID}`; `okapi image import FILE` makes one"));
        }
        if !self.long {
            return listed.iter().try_for_each(|disk| view.line(shown(&disk.head.name)));
        }
        if listed.is_empty() {
            return Ok(());
        }
        let mut rows = vec![["size", "own", "clones", "made", "name", "parent", "used by"].map(str::to_owned).to_vec()];
        rows.extend(listed.iter().map(row));
        let lines = columns(&rows, &[0, 1, 2]);
        view.line(view.paint(Tone::Faint, &lines[0]))?;
        lines[1..].iter().try_for_each(|line| view.line(line))
    }
}

fn row(disk: &Listed) -> Vec<String> {
    let own = disk.blocks * u64::from(disk.head.block_size.bytes());
    vec![
        Size(disk.head.size).to_string(),
        // Of the last block only what the disk has.
        Size(own.min(disk.head.size)).to_string(),
        disk.children.len().to_string(),
        moment(disk.head.made),
        shown(&disk.head.name),
        disk.parent.as_deref().map_or_else(|| "-".to_owned(), shown),
        match &disk.in_use {
            Some(lease) => shown(&lease.to_string()),
            None if disk.head.read_only => "nobody, read-only".to_owned(),
            None => "-".to_owned(),
        },
    ]
}

impl Diff {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let changed = disks(session, false)?.diff(&self.name)?;
        let view = &mut session.view;
        let (mut bytes, mut zeroes) = (0, 0);
        for run in &changed {
            let length = run.bytes.end - run.bytes.start;
            *(if run.zeroes { &mut zeroes } else { &mut bytes }) += length;
            if view.json {
                view.json(&json!({"offset": run.bytes.start, "bytes": length, "zeroes": run.zeroes}))?;
            } else {
                let note = if run.zeroes { "  zeros" } else { "" };
                view.line(format_args!("{:>14}+{:<12}{note}", run.bytes.start, length).to_string().trim_end())?;
            }
        }
        if !view.json {
            let runs = counted(changed.len() as u64, "run");
            view.aside(format_args!("{} of its own and {} of zeros, in {runs}", Size(bytes), Size(zeroes)));
        }
        Ok(())
    }
}
