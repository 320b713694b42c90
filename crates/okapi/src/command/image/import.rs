//! `okapi image import`: a file or a pipe becomes a disk.

use super::foreign::{self, Format};
use super::{disks, head_json};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::size::{Size, lasted, rate};
use crate::transfer::Source;
use crate::view::{Tone, shown};
use okapi_client::BlockSize;
use okapi_volume::NewDisk;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

/// Make a disk of an image file or a pipe
///
/// Raw images are read as they are, and blocks of zeros take no room. qcow2, vmdk, vdi and vhdx are told by their first
/// bytes and read through qemu-img, which must be installed for them. When the command ends well, the disk is on disk.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi image import debian.raw               the disk debian
  okapi image import debian.qcow2 base        under another name
  xz -dc debian.raw.xz | okapi image import - debian
  okapi image import disk.raw mine --block-size 4K    to write to it as it is")]
pub(crate) struct Args {
    /// The image; `-`: standard input, which must be raw
    #[arg(value_name = "FILE")]
    file: String,

    /// The disk's name [default: the file's, without its ending]
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// What the file is: raw, or any format qemu-img knows [default: what its first bytes say]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// The disk's size, if it is to be larger than the image
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,

    /// The size of its blocks: 64K suits images that are cloned, 4K disks that are written to
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = block_size)]
    block_size: BlockSize,

    /// Nobody is ever to write to it
    #[arg(long)]
    read_only: bool,
}

/// A block size that disks can have.
pub(super) fn block_size(text: &str) -> Result<BlockSize, String> {
    let size = u32::try_from(text.parse::<Size>()?.0).ok().and_then(BlockSize::new);
    let fits = size.filter(|size| (4 << 10..=64 << 10).contains(&size.bytes()));
    fits.ok_or_else(|| "a disk's block size is a power of two from 4K to 64K".to_owned())
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let started = Instant::now();
        let source = Source::from_word(&self.file);
        let name = match (&self.name, &source) {
            (Some(name), _) => name.clone(),
            (None, Source::File(path)) => stem(path),
            _ => return Err(Failure::usage("name the disk that standard input becomes: okapi image import - NAME")),
        };
        let disks = disks(session, true)?;
        let new = NewDisk {
            size: self.size.map(|size| size.0),
            block_size: self.block_size,
            read_only: self.read_only,
            ..NewDisk::base(&name)
        };
        let format = match (&self.format, &source) {
            (Some(format), _) => Format::named(format),
            (None, Source::File(path)) => Format::of_file(path)?,
            _ => Format::Raw,
        };
        let stop = interrupt::watch()?;
        let converted = match (&format, &source) {
            (Format::Raw, _) => None,
            (Format::Other(format), Source::File(path)) => {
                let ticker = session.view.ticker();
                ticker.say(format_args!("qemu-img reads {}", path.display()));
                Some(foreign::to_raw(path, format)?)
            }
            (Format::Other(format), _) => {
                return Err(Failure::usage(format!("{format} cannot come through a pipe; name a file")));
            }
        };
        let source = converted.as_ref().map_or(source, |raw| Source::File(raw.path().to_owned()));
        let (from, length) = source.open()?;
        let progress = session.view.progress(&name, length);
        let mut from = Stoppable { from, stop };
        let head = disks.import(&new, &mut from, &mut |bytes| progress.at(bytes))?;
        drop(progress);
        let took = started.elapsed();
        let mut json = head_json(&head);
        json["seconds"] = took.as_secs_f64().into();
        let view = &mut session.view;
        let name = view.paint(Tone::Strong, shown(&head.name));
        view.report(format_args!("{name}  {}  {}  {}", Size(head.size), lasted(took), rate(head.size, took)), &json)
    }
}

/// A file's name without its ending.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// A stream that ends with a failure once the user wants it to.
struct Stoppable {
    from: Box<dyn Read>,
    stop: interrupt::Flag,
}

impl Read for Stoppable {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            return Err(io::Error::other(Failure::of("interrupted", "interrupted; no disk was made")));
        }
        self.from.read(into)
    }
}
