//! `okapi status` and `okapi ping`: is the node there, and how is it?

mod sheet;

use crate::failure::Failure;
use crate::session::Session;
use crate::size::{Size, lasted};
use crate::standing;
use crate::view::{Tone, hex, shown};
use serde_json::{Value, json};
use std::time::Duration;

/// Tell how the node and its data are
///
/// In a group: the two halves of the disk it gives and what is in them, how much of your data lies safely with the
/// others and for how long, what is only here yet, what is at risk and which records that is, repair and restore, and
/// the links. Without one, or with -v: what the node and its stores are and hold.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Days of safety are the expected days until a segment is lost if it is always
mended to the state in which it is now: the worst segment and the middle one are
told. Segments at risk are those that the next losses could take.")]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let client = session.client()?;
        let status = client.status()?;
        let group = standing::of(&client)?;
        let welcome = client.welcome();
        let address = client.address().to_owned();
        let view = &mut session.view;
        if view.json {
            let facts: serde_json::Map<String, Value> =
                status.facts.into_iter().map(|(name, value)| (name, json!(value))).collect();
            return view.json(&json!({
                "node": hex(&welcome.node),
                "address": address,
                "owner": welcome.owner,
                "facts": facts,
                "group": group.as_ref().map(standing::json),
            }));
        }
        let all = session.global.verbose > 0;
        if let Some(group) = &group {
            sheet::lines(view, group, all).iter().try_for_each(|line| view.line(line))?;
            if !all {
                return Ok(());
            }
            view.line("")?;
        }
        let mut facts = vec![
            ("node".to_owned(), view.paint(Tone::Strong, hex(&welcome.node))),
            ("reached at".to_owned(), address),
            ("you are".to_owned(), if welcome.owner { "its owner" } else { "a guest" }.to_owned()),
        ];
        let others = status.facts.into_iter().filter(|(name, _)| name != "node.id");
        facts.extend(others.map(|(name, value)| {
            let size = value.parse().ok().filter(|_| name.ends_with("_bytes"));
            let value = match size {
                Some(0) if name.ends_with(".limit_bytes") => "none but the disk's".to_owned(),
                Some(bytes) => Size(bytes).to_string(),
                None => shown(&value),
            };
            (shown(&name), value)
        }));
        view.facts(&facts)
    }
}

/// Ask the node for nothing but an answer
#[derive(Debug, clap::Args)]
pub(crate) struct Ping {
    /// How often
    #[arg(long, short = 'c', value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    count: u64,
}

impl Ping {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let client = session.client()?;
        let mut times: Vec<Duration> = (0..self.count).map(|_| client.ping()).collect::<Result<_, _>>()?;
        times.sort_unstable();
        let (first, middle, last) = (times[0], times[times.len() / 2], times[times.len() - 1]);
        let json = json!({
            "address": client.address(),
            "count": self.count,
            "median_seconds": middle.as_secs_f64(),
            "min_seconds": first.as_secs_f64(),
            "max_seconds": last.as_secs_f64(),
        });
        let text = match self.count {
            1 => format!("{} answers in {}", client.address(), lasted(first)),
            count => format!(
                "{} answered {count} times in {} (median; {} to {})",
                client.address(),
                lasted(middle),
                lasted(first),
                lasted(last)
            ),
        };
        session.view.report(text, &json)
    }
}
