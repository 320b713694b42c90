//! `okapi image`: disks for virtual machines, one image under many.

mod change;
mod export;
pub(crate) mod fan;
mod foreign;
mod import;
mod list;

use crate::failure::Failure;
use crate::session::Session;
use okapi_volume::limits::CACHE_DEFAULT;
use okapi_volume::{DiskError, Disks, DisksError, Head};
use serde_json::{Value, json};

/// The grid that disks are in unless another is named.
pub(crate) const GRID: &str = "disks";

/// Keep disks of virtual machines: one image, a difference for each
///
/// A disk is a row of blocks with a name. Cloning one takes no time and no room: the clone shows what the disk shows,
/// and has of its own only what is written to it. `okapi nbd` serves disks to qemu and others.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi image import debian.qcow2 debian      raw, qcow2, vmdk and what else qemu-img reads
  okapi image clone debian web-01 web-02      at once, whatever its size
  okapi image fan debian --net 10.1.2.0/24    one for each address, with the address in it
  okapi image ls -l                           what there is, and what each has of its own
  okapi image snapshot web-01 web-01@monday   keeps what it is now
  okapi image export web-01 - | gzip > web-01.gz
  okapi image rm --all debian                 the image and all its clones

Disks are in the grid `disks`, which is made on first use; --grid names another.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Import(import::Args),
    Create(change::Create),
    Export(export::Args),
    Ls(list::Ls),
    Clone(change::Clone),
    Prepare(fan::Prepare),
    Fan(fan::Args),
    Snapshot(change::Snapshot),
    Resize(change::Resize),
    Diff(list::Diff),
    Commit(change::Commit),
    Flatten(change::Flatten),
    Rm(change::Rm),
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        match self.command {
            Command::Import(args) => args.run(session),
            Command::Create(args) => args.run(session),
            Command::Export(args) => args.run(session),
            Command::Ls(args) => args.run(session),
            Command::Clone(args) => args.run(session),
            Command::Prepare(args) => args.run(session),
            Command::Fan(args) => args.run(session),
            Command::Snapshot(args) => args.run(session),
            Command::Resize(args) => args.run(session),
            Command::Diff(args) => args.run(session),
            Command::Commit(args) => args.run(session),
            Command::Flatten(args) => args.run(session),
            Command::Rm(args) => args.run(session),
        }
    }
}

/// The disks in use. The grid is made if it is not there and `make` says so.
pub(crate) fn disks(session: &mut Session, make: bool) -> Result<Disks, Failure> {
    let client = session.client()?;
    let grid = session.global.grid.clone().unwrap_or_else(|| GRID.to_owned());
    let token = session.global.grid_token()?;
    let opened = match make {
        true => Disks::open_or_make(&client, &grid, token, CACHE_DEFAULT),
        false => Disks::open(&client, &grid, token, CACHE_DEFAULT),
    };
    Ok(opened?)
}

/// A disk as JSON.
fn head_json(head: &Head) -> Value {
    json!({
        "name": head.name,
        "bytes": head.size,
        "block_bytes": head.block_size.bytes(),
        "read_only": head.read_only,
        "made": crate::size::moment(head.made).replace(' ', "T") + "Z",
    })
}

impl From<DisksError> for Failure {
    fn from(error: DisksError) -> Self {
        use DisksError as E;
        let text = error.to_string();
        match error {
            E::Grid(error) => (*error).into(),
            E::Block(error) => (*error).into(),
            E::Disk(error) => (*error).into(),
            E::Refused { status, .. } => Self::of(crate::session::kind(status), text),
            E::Unknown { .. } => Self::not_found(text),
            E::Exists { .. } => Self::of("exists", text),
            E::BadName { .. } | E::BadSize { .. } | E::TooMany { .. } | E::BurnedPastEnd { .. } => Self::usage(text),
            E::InUse { .. } => Self::of("in-use", text),
            E::HasChildren { .. } | E::Shared { .. } => Self::of("has-children", text),
            E::ReadOnly { .. } => Self::of("read-only", text),
            E::Stream { why, .. } => crate::transfer::from_io(why, "the stream"),
            _ => Self::new(text),
        }
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        let text = error.to_string();
        match error {
            DiskError::Grid { error, .. } => Self { message: text, ..(*error).into() },
            DiskError::Block { error, .. } => Self { message: text, ..(*error).into() },
            DiskError::Refused { status, .. } => Self::of(crate::session::kind(status), text),
            DiskError::Fenced { .. } => Self::of("in-use", text),
            DiskError::ReadOnly { .. } => Self::of("read-only", text),
            _ => Self::new(text),
        }
    }
}
