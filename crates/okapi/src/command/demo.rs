//! `okapi demo`: a group of five machines on this one, what it promises shown on a real file, and left running to play with.

mod machine;
mod stage;
mod story;

use crate::failure::Failure;
use crate::session::Session;
use crate::size::Size;
use machine::Machine;
use stage::Stage;
use std::path::{Path, PathBuf};
use story::Story;

/// Bytes of the file that is made where none is given.
const MADE_BYTES: u64 = 200 << 20;

/// See it all work: five machines, two burn down, nothing is lost
///
/// Starts five nodes on this machine, each with an identity, a disk and a process of its own, talking over loopback as
/// they would over the internet. Stores a file, shows it spatter, kills two nodes and wipes their disks, shows the
/// repair, wipes the first one's disk too, brings it back from its 24 words, and compares. The group then stays, to play
/// with; the last line says how to stop it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi demo                        with 200 MiB of random bytes
  okapi demo holiday.mov            with a file of yours (it is only read)
  okapi demo --stop                 ends the nodes and removes what they had")]
pub(crate) struct Args {
    /// The file to store [otherwise: 200 MiB of random bytes]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Where the five machines keep their data [default: `okapi-demo` in the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    at: Option<PathBuf>,

    /// End the group of an earlier demo, and remove its data
    #[arg(long, conflicts_with = "file")]
    stop: bool,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let place = self.at.clone().unwrap_or_else(|| std::env::temp_dir().join("okapi-demo"));
        let place = std::path::absolute(&place).map_err(|error| Failure::io(place.display(), &error))?;
        if self.stop {
            return stop(session, &place);
        }
        let file = match &self.file {
            Some(file) => Some(std::path::absolute(file).map_err(|error| Failure::io(file.display(), &error))?),
            None => None,
        };
        if let Some(file) = &file {
            let facts = std::fs::metadata(file).map_err(|error| Failure::io(file.display(), &error))?;
            if !facts.is_file() || facts.len() == 0 {
                return Err(Failure::usage(format!("{} is no file with anything in it", file.display())));
            }
        }
        if place.exists() {
            let text = "is there already, perhaps from a demo before; `okapi demo --stop` removes it";
            return Err(Failure::of("exists", format!("{} {text}", place.display())));
        }
        std::fs::create_dir_all(&place).map_err(|error| Failure::io(place.display(), &error))?;
        let file = match file {
            Some(file) => file,
            None => made(&place)?,
        };
        let interrupted = crate::interrupt::watch()?;
        let told = Story::new(Stage::new(session), place.clone(), file, interrupted).tell();
        if told.is_err() {
            // What was begun is not left lying about.
            let _ = Machine::end_all(&place);
            let _ = std::fs::remove_dir_all(&place);
        }
        told
    }
}

fn stop(session: &mut Session, place: &Path) -> Result<(), Failure> {
    if !place.join(machine::MARK).exists() {
        return Err(Failure::not_found(format!("no demo is at {}", place.display())));
    }
    let ended = Machine::end_all(place)?;
    std::fs::remove_dir_all(place).map_err(|error| Failure::io(place.display(), &error))?;
    let text = format!("{ended} nodes ended, {} removed", place.display());
    session.view.report(text, &serde_json::json!({"ended": ended, "removed": place.display().to_string()}))
}

/// A file that no compression could make smaller.
fn made(place: &Path) -> Result<PathBuf, Failure> {
    let path = place.join("photos.tar");
    let wrong = |error: std::io::Error| Failure::io(path.display(), &error);
    let from = std::fs::File::open("/dev/urandom").map_err(wrong)?;
    let mut to = std::fs::File::create(&path).map_err(wrong)?;
    std::io::copy(&mut std::io::Read::take(from, MADE_BYTES), &mut to).map_err(wrong)?;
    Ok(path)
}

/// A size as the demo shows it.
fn size(bytes: u64) -> String {
    Size(bytes).to_string()
}
