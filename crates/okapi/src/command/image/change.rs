//! `okapi image create`, `clone`, `snapshot`, `resize`, `commit`, `flatten` and `rm`.

use super::import::block_size;
use super::{disks, head_json};
use crate::failure::Failure;
use crate::session::Session;
use crate::size::{Size, counted, lasted};
use crate::view::{Tone, shown};
use okapi_client::BlockSize;
use okapi_volume::{DisksError, Head, NewDisk};
use serde_json::json;
use std::time::Instant;

/// Make an empty disk
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    /// Its size
    #[arg(value_name = "SIZE")]
    size: Size,

    /// The size of its blocks, from 4K to 64K
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = block_size)]
    block_size: BlockSize,
}

/// Make clones of a disk: at once, and taking no room
///
/// Each shows what the disk shows, and has of its own only what is written to it. The disk cannot be written to as long as
/// it has clones. Either all are made or none.
#[derive(Debug, clap::Args)]
pub(crate) struct Clone {
    /// The disk
    #[arg(value_name = "DISK")]
    disk: String,

    /// The clones' names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Keep what a disk is now, under another name
///
/// The disk goes on as a clone of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Snapshot {
    /// The disk
    #[arg(value_name = "DISK")]
    disk: String,

    /// The name for what it is now
    #[arg(value_name = "NAME")]
    name: String,
}

/// Give a disk another size
#[derive(Debug, clap::Args)]
pub(crate) struct Resize {
    /// The disk
    #[arg(value_name = "NAME")]
    name: String,

    /// The size; +SIZE: so much more
    #[arg(value_name = "SIZE")]
    size: String,

    /// It may become smaller: what is past its new end is gone
    #[arg(long)]
    shrink: bool,
}

/// Write what a disk has of its own into its parent
///
/// The parent must have no other clone. The disk stays, and shows what it showed.
#[derive(Debug, clap::Args)]
pub(crate) struct Commit {
    /// The disk
    #[arg(value_name = "NAME")]
    name: String,
}

/// Copy to a disk what it shows of its parents, and make it stand alone
#[derive(Debug, clap::Args)]
pub(crate) struct Flatten {
    /// The disk
    #[arg(value_name = "NAME")]
    name: String,
}

/// Remove disks
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// The disks
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// And all clones of them, and theirs
    #[arg(long)]
    all: bool,
}

impl Create {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let new = NewDisk { block_size: self.block_size, ..NewDisk::empty(&self.name, self.size.0) };
        let head = disks(session, true)?.make(&new)?;
        say(session, &head, &Size(head.size).to_string())
    }
}

impl Clone {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let started = Instant::now();
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let made = disks(session, false)?.clone_disk(&self.disk, &names)?;
        let view = &mut session.view;
        if view.json {
            return made.iter().try_for_each(|head| view.json(&head_json(head)));
        }
        let name = view.paint(Tone::Strong, shown(&self.disk));
        let count = counted(made.len() as u64, "clone");
        view.report(format_args!("{name}  {count}  {}", lasted(started.elapsed())), &json!(null))
    }
}

impl Snapshot {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let head = disks(session, false)?.snapshot(&self.disk, &self.name)?;
        say(session, &head, &format!("{}, what {} was", Size(head.size), shown(&self.disk)))
    }
}

impl Resize {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let disks = disks(session, false)?;
        let before = disks.find(&self.name)?;
        let more = self.size.strip_prefix('+');
        let size = more.unwrap_or(&self.size).parse::<Size>().map_err(Failure::usage)?.0;
        let size = if more.is_some() { before.size.saturating_add(size) } else { size };
        if size < before.size && !self.shrink {
            let cut = Size(before.size - size);
            let text = format!("disk `{}` would lose its last {cut}; say --shrink if they are not needed", self.name);
            return Err(Failure::usage(text));
        }
        let head = disks.resize(&self.name, size)?;
        say(session, &head, &format!("{}, was {}", Size(head.size), Size(before.size)))
    }
}

impl Commit {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let disks = disks(session, false)?;
        let whole = disks.find(&self.name)?;
        moved(session, &whole, "written to its parent", |progress| disks.commit(&self.name, progress))
    }
}

impl Flatten {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let disks = disks(session, false)?;
        let whole = disks.find(&self.name)?;
        moved(session, &whole, "looked at; it stands alone", |progress| disks.flatten(&self.name, progress))
    }
}

impl Rm {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let disks = disks(session, false)?;
        let mut gone = Vec::new();
        for name in &self.names {
            // Named together with what it was built on, and gone with that.
            if !gone.contains(name) {
                gone.extend(disks.remove(name, self.all)?);
            }
        }
        let text = format!("removed {}", counted(gone.len() as u64, "disk"));
        session.view.report(text, &json!({"removed": gone}))
    }
}

/// Does something that moves bytes, and says how many.
fn moved(
    session: &mut Session,
    disk: &Head,
    what: &str,
    work: impl FnOnce(&mut dyn FnMut(u64)) -> Result<u64, DisksError>,
) -> Result<(), Failure> {
    let started = Instant::now();
    let progress = session.view.progress(&disk.name, None);
    let bytes = work(&mut |bytes| progress.at(bytes))?;
    drop(progress);
    let took = started.elapsed();
    let view = &mut session.view;
    let name = view.paint(Tone::Strong, shown(&disk.name));
    let json = json!({"name": disk.name, "moved_bytes": bytes, "seconds": took.as_secs_f64()});
    view.report(format_args!("{name}  {} {what}  {}", Size(bytes), lasted(took)), &json)
}

fn say(session: &mut Session, head: &Head, what: &str) -> Result<(), Failure> {
    let view = &mut session.view;
    let name = view.paint(Tone::Strong, shown(&head.name));
    view.report(format_args!("{name}  {what}"), &head_json(head))
}
