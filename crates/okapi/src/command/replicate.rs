//! `okapi replicate`: makes one grid like another, once or for as long as wanted.

use crate::failure::Failure;
use crate::interrupt;
use crate::place::GridPlace;
use crate::session::Session;
use crate::settings::state_dir;
use crate::size::{Count, Size, counted, lasted};
use crate::view::{Tone, hex};
use okapi_client::replicate::{Position, copy, follow};
use okapi_client::{Durability, Grid};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the position of a follower is written down, and told where no terminal is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Make one grid like another, once or for as long as wanted
///
/// FROM and TO are [NODE//]GRID. Afterwards TO holds what FROM holds: blocks that differ are moved, what FROM does not
/// have is deleted from TO. Begun again after a cut it moves only what is missing. With --follow it goes on with what
/// changes, until Ctrl-C, and shows how far behind TO is.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi replicate main tcp://nas:7070//main --token-file nas.token
  okapi replicate unix:/run/a.sock//photos photos --follow")]
pub(crate) struct Args {
    /// The grid to take from
    from: GridPlace,

    /// The grid to make like it
    to: GridPlace,

    /// Go on with what changes, until stopped
    #[arg(long, short = 'f')]
    follow: bool,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (from, to) = (session.grid_at(&self.from)?, session.grid_at(&self.to)?);
        let same_node = from.client().welcome().node == to.client().welcome().node;
        if same_node && from.info().id == to.info().id {
            return Err(Failure::usage("FROM and TO are the same grid"));
        }
        if self.follow { keep_up(session, &from, &to) } else { once(session, &from, &to) }
    }
}

fn once(session: &mut Session, from: &Grid, to: &Grid) -> Result<(), Failure> {
    let started = Instant::now();
    let ticker = session.view.ticker();
    let report = copy(from, to, &mut |progress| {
        ticker.say(format_args!(
            "{} of {} compared, {} moved ({})",
            Count(progress.compared),
            counted(progress.total, "block"),
            Count(progress.moved),
            Size(progress.moved_bytes)
        ));
    })?;
    drop(ticker);
    let took = started.elapsed();
    let view = &mut session.view;
    if view.json {
        return view.json(&json!({
            "compared": report.compared,
            "moved": report.moved,
            "moved_bytes": report.moved_bytes,
            "deleted": report.deleted,
            "bound": report.bound,
            "removed": report.removed,
            "resumed": report.resumed,
            "seconds": took.as_secs_f64(),
        }));
    }
    if view.quiet {
        return Ok(());
    }
    let mut facts = vec![
        ("compared", counted(report.compared, "block")),
        ("moved", format!("{}, {}", counted(report.moved, "block"), Size(report.moved_bytes))),
        ("deleted", counted(report.deleted, "block")),
        ("records", format!("{} bound, {} removed", Count(report.bound), Count(report.removed))),
        ("took", lasted(took)),
    ];
    if report.resumed > 0 {
        facts.push(("resumed", format!("{} after a broken link", counted(report.resumed, "time"))));
    }
    view.facts(&facts)
}

fn keep_up(session: &mut Session, from: &Grid, to: &Grid) -> Result<(), Failure> {
    let stop = interrupt::watch()?;
    let file = position_file(from, to)?;
    let position = file.as_deref().and_then(read_position);
    let view = &mut session.view;
    view.aside(match position {
        Some(_) => format!("following {} from where it was left; Ctrl-C stops", from.name()),
        None => format!("following {} from the beginning; Ctrl-C stops", from.name()),
    });
    let ticker = view.ticker();
    let started = Instant::now();
    let (mut told, mut complete, mut failed) = (None::<Instant>, false, None);
    let last = follow(
        from,
        to,
        position,
        &mut |position, mark| {
            let lag = mark.head.saturating_sub(position.sequence);
            ticker.say(match mark.behind {
                0 => format!("lag {}", counted(lag, "change")),
                behind => format!("{} to come", counted(behind, "block")),
            });
            let whole = mark.behind == 0 && position.sequence != 0;
            let due = told.is_none_or(|told| told.elapsed() >= TELL_EVERY) || (whole && !complete);
            if due && failed.is_none() {
                told = Some(Instant::now());
                let kept = file.as_deref().map_or(Ok(()), |file| write_position(file, position));
                let json = json!({"sequence": position.sequence, "head": mark.head, "lag": lag, "behind": mark.behind});
                let said = if view.json { view.json(&json).and_then(|()| view.flush()) } else { Ok(()) };
                failed = kept.and(said).err();
            }
            if whole && !complete {
                complete = true;
                let text = view.paint(Tone::Good, "has everything");
                view.aside(format_args!(
                    "{} {text} after {}; goes on with what changes",
                    to.name(),
                    lasted(started.elapsed())
                ));
            }
        },
        &|| stop.is_set(),
    )?;
    drop(ticker);
    if let Some(file) = &file {
        write_position(file, last)?;
    }
    failed.map_or(Ok(()), Err)?;
    view.report(format_args!("stopped at change {}", Count(last.sequence)), &json!({"stopped": last.sequence}))
}

/// Where the position of this pair of grids is kept. It is bound to both grids, not to their names: a grid made anew
/// has nothing of what the position promises. One in memory may have lost it any time, so it has none.
fn position_file(from: &Grid, to: &Grid) -> Result<Option<PathBuf>, Failure> {
    if to.info().durability == Durability::Memory {
        return Ok(None);
    }
    let mut hash = blake3::Hasher::new();
    for grid in [from, to] {
        hash.update(&grid.client().welcome().node);
        hash.update(&grid.info().id.to_le_bytes());
    }
    let directory = state_dir()?.join("replicate");
    std::fs::create_dir_all(&directory).map_err(|error| Failure::io(directory.display(), &error))?;
    Ok(Some(directory.join(hex(&hash.finalize().as_bytes()[..16]))))
}

/// Sixteen bytes: epoch and sequence. A file of another length counts as none: then everything is compared.
fn read_position(file: &Path) -> Option<Position> {
    let bytes: [u8; 16] = std::fs::read(file).ok()?.try_into().ok()?;
    let (epoch, sequence) = bytes.split_at(8);
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
    Some(Position { epoch: number(epoch)?, sequence: number(sequence)? }).filter(|position| position.sequence != 0)
}

fn write_position(file: &Path, position: Position) -> Result<(), Failure> {
    let mut bytes = position.epoch.to_le_bytes().to_vec();
    bytes.extend(position.sequence.to_le_bytes());
    let new = file.with_extension("new");
    std::fs::write(&new, bytes)
        .and_then(|()| std::fs::rename(&new, file))
        .map_err(|error| Failure::io(file.display(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_and_broken_ones_count_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p");
        assert_eq!(read_position(&file), None);
        let position = Position { epoch: 1 << 63, sequence: 7 };
        write_position(&file, position).unwrap();
        assert_eq!(read_position(&file), Some(position));
        write_position(&file, Position { epoch: 3, sequence: 0 }).unwrap();
        assert_eq!(read_position(&file), None, "there is nothing to resume from yet");
        std::fs::write(&file, "short").unwrap();
        assert_eq!(read_position(&file), None);
    }
}
