//! `okapi defrag`: compacts the node's store now.

use crate::failure::Failure;
use crate::session::Session;
use crate::size::{Size, counted, lasted};
use serde_json::json;
use std::time::Instant;

/// Compact the node's store now
///
/// The node compacts by itself as it goes; this does all that can be done at once, and shows what it gained.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let client = session.client()?;
        let started = Instant::now();
        let ticker = session.view.ticker();
        ticker.say("compacting");
        let report = client.compact()?;
        drop(ticker);
        let took = started.elapsed();
        let gained = report.held_before.saturating_sub(report.held_after);
        let view = &mut session.view;
        if view.json {
            return view.json(&json!({
                "held_before": report.held_before,
                "held_after": report.held_after,
                "gained": gained,
                "moved": report.moved_bytes,
                "segments": report.segments,
                "seconds": took.as_secs_f64(),
            }));
        }
        if view.quiet {
            return Ok(());
        }
        view.facts(&[
            ("before", Size(report.held_before).to_string()),
            ("after", Size(report.held_after).to_string()),
            (
                "gained",
                if gained == 0 { "nothing: there was nothing to gain".to_owned() } else { Size(gained).to_string() },
            ),
            ("moved", format!("{} out of {}", Size(report.moved_bytes), counted(report.segments, "segment"))),
            ("took", lasted(took)),
        ])
    }
}
