//! `okapi fsck`: reads and verifies everything that is stored.

use crate::command::up::{node_settings, start_failure};
use crate::failure::{Exit, Failure};
use crate::session::Session;
use crate::settings::Effective;
use crate::size::{Count, Size, lasted};
use crate::view::{Tone, shown};
use okapi_client::{Client, Settings, VerifyReport};
use okapi_node::Node;
use serde_json::{Value, json};
use std::time::Instant;

/// Read and verify everything that is stored
///
/// Every record of every segment is read, its seal and its checksum are verified, and each damage is reported with the
/// block that is lost by it. One damage never hides others. The running node does it; if none runs on this machine,
/// the store is opened just for this. Ends with exit code 1 if anything is damaged.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let started = Instant::now();
        let ticker = session.view.ticker();
        ticker.say("verifying");
        let report = match session.client() {
            Ok(client) => client.verify()?,
            Err(failure) if failure.exit == Exit::Unreachable && session.global.node.is_none() => {
                by_ourselves(session)?
            }
            Err(failure) => return Err(failure),
        };
        drop(ticker);
        tell(session, &report, lasted(started.elapsed()))?;
        if report.damages == 0 { Ok(()) } else { Err(Failure { kind: "damaged", ..Failure::said() }) }
    }
}

/// Opens the store as a node does, without any socket that others could come by.
fn by_ourselves(session: &Session) -> Result<VerifyReport, Failure> {
    let settings = Effective::for_clients(&session.global)?;
    if !settings.data.is_dir() {
        let text = format!("there is no data directory {}; name one with --data", settings.data.display());
        return Err(Failure::not_found(text));
    }
    session.view.aside("no node runs: opening the store");
    let mut node = node_settings(&settings)?;
    node.tcp.clear();
    let node = Node::start(node).map_err(|error| start_failure(&error))?;
    let link = node.in_process().map_err(|error| Failure::io("the node just started", &error))?;
    let report = Client::over(link, Settings::default())?.verify()?;
    node.stop().map_err(|error| Failure::new(error.to_string()))?;
    Ok(report)
}

fn tell(session: &mut Session, report: &VerifyReport, took: String) -> Result<(), Failure> {
    let view = &mut session.view;
    if view.json {
        let list: Vec<Value> = report
            .list
            .iter()
            .map(|damage| {
                let block = damage.block.as_ref().map(|(_, grid, index)| json!({"grid": grid, "index": index}));
                json!({"block": block, "place": damage.place, "what": damage.what})
            })
            .collect();
        return view.json(&json!({
            "segments": report.segments,
            "records": report.records,
            "blocks": report.blocks,
            "bytes": report.bytes,
            "damages": report.damages,
            "list": list,
        }));
    }
    for damage in &report.list {
        let lost = match &damage.block {
            Some((_, grid, index)) => format!("block #{index} of grid `{}` is lost", shown(grid)),
            None => "no live block is lost".to_owned(),
        };
        let bad = view.paint(Tone::Bad, "damaged");
        view.line(format_args!("{bad}  {}: {}; {lost}", shown(&damage.place), shown(&damage.what)))?;
    }
    let more = report.damages.saturating_sub(report.list.len() as u64);
    if more > 0 {
        view.line(format_args!("and {} more", Count(more)))?;
    }
    if view.quiet && report.damages == 0 {
        return Ok(());
    }
    let verdict = match report.damages {
        0 => view.paint(Tone::Good, "all is well"),
        1 => view.paint(Tone::Bad, "1 damage"),
        many => view.paint(Tone::Bad, format_args!("{} damages", Count(many))),
    };
    view.facts(&[
        ("verdict", verdict),
        ("blocks", format!("{} verified, {}", Count(report.blocks), Size(report.bytes))),
        ("records", format!("{} in {} segments", Count(report.records), Count(report.segments))),
        ("took", took),
    ])
}
