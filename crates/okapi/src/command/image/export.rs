//! `okapi image export`: a disk becomes a file or goes down a pipe.

use super::disks;
use super::foreign::{self, Temporary};
use crate::failure::Failure;
use crate::session::Session;
use crate::size::{Size, lasted, rate};
use crate::transfer::Sink;
use crate::view::{Progress, Tone, shown};
use okapi_volume::{Access, Disk, Part};
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Write a disk to a file or a pipe
///
/// A raw file has holes where the disk has zeros, and appears under its name only when all of it is there.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi image export web-01                   to web-01.raw
  okapi image export web-01 web-01.qcow2 --format qcow2
  okapi image export web-01 - | gzip > web-01.raw.gz")]
pub(crate) struct Args {
    /// The disk
    #[arg(value_name = "NAME")]
    name: String,

    /// The file; `-`: standard output [default: the disk's name and the format as its ending]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// What the file is to be: raw, or any format that qemu-img writes
    #[arg(long, value_name = "FORMAT", default_value = "raw")]
    format: String,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let started = Instant::now();
        let disk = disks(session, false)?.disk(&self.name, Access::Read)?;
        let default = format!("{}.{}", self.name.rsplit('/').next().unwrap_or_default(), self.format);
        let file = self.file.unwrap_or_else(|| default.clone().into());
        let is_pipe = file == Path::new("-");
        if session.view.json && is_pipe {
            return Err(Failure::usage("with --json the disk goes to a file: name one"));
        }
        let path = if self.format == "raw" {
            write(session, &disk, &file, &default)?
        } else if is_pipe {
            return Err(Failure::usage(format!("{} cannot go down a pipe; name a file", self.format)));
        } else {
            let raw = Temporary::new();
            write(session, &disk, raw.path(), &default)?;
            foreign::convert(raw.path(), "raw", &file, &self.format)?;
            Some(file)
        };
        let Some(path) = path else { return Ok(()) };
        let (bytes, took) = (disk.size(), started.elapsed());
        let json = json!({
            "name": disk.name(),
            "bytes": bytes,
            "file": path.display().to_string(),
            "seconds": took.as_secs_f64(),
        });
        let view = &mut session.view;
        let file = view.paint(Tone::Strong, path.display());
        let name = shown(disk.name());
        view.report(format_args!("{name} -> {file}  {}  {}  {}", Size(bytes), lasted(took), rate(bytes, took)), &json)
    }
}

/// Writes a disk as it is; where to, if that is a file.
fn write(session: &mut Session, disk: &Disk, file: &Path, default: &str) -> Result<Option<PathBuf>, Failure> {
    let view = &mut session.view;
    let watched = file != Path::new("-") || !view.is_terminal();
    let progress = if watched { view.progress(disk.name(), Some(disk.size())) } else { Progress::hidden() };
    let mut sink = Sink::open(Some(file), default, view)?;
    disk.each_part(&mut |at, part| {
        let (taken, length) = match part {
            Part::Data(bytes) => (sink.take(bytes), bytes.len() as u64),
            Part::Zeroes(count) => (sink.skip(count), count),
        };
        progress.at(at + length);
        taken.map_err(io::Error::other)
    })?;
    drop(progress);
    sink.finish()
}
