//! `okapi invite`: makes a ticket by which one node may join.

use crate::failure::Failure;
use crate::qr::{self, Ink};
use crate::session::Session;
use crate::size::{Period, moment};
use crate::standing::when;
use crate::view::{Tone, View};
use okapi_client::group::Invited;
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Columns that a code is to fit in if nobody tells how many there are.
const COLUMNS: usize = 80;
/// The shortest and the longest life of a ticket.
const LIFETIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);

/// Make a ticket by which one node may join your group
///
/// The ticket works once, until it expires. Whoever has it may join, so give it to nobody else. It can be pasted, typed,
/// read aloud or photographed: small letters or capitals, and a mistyped group of letters is named.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi invite                      for a day
  okapi invite --for 2h
  okapi invite -q                   nothing but the ticket, for scripts
  okapi invite -q | ssh HOST okapi join -")]
pub(crate) struct Args {
    /// How long it is good for: 10m, 2h, 7d
    #[arg(long = "for", value_name = "TIME", default_value = "1d", value_parser = lifetime)]
    lifetime: Period,

    /// Draw no QR code
    #[arg(long)]
    no_qr: bool,
}

fn lifetime(text: &str) -> Result<Period, String> {
    let period: Period = text.parse()?;
    if LIFETIME.contains(&period.0) { Ok(period) } else { Err("a ticket is good for 1m to 30d".to_owned()) }
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let invited = session.client()?.invite(self.lifetime.0)?;
        let view = &mut session.view;
        if view.json {
            let expires = moment(invited.expires).replace(' ', "T") + "Z";
            return view.json(&json!({"ticket": invited.ticket, "expires": expires, "expires_ms": invited.expires}));
        }
        if view.quiet {
            return view.line(&invited.ticket);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if !self.no_qr {
            draw(view, &invited.ticket)?;
        }
        lines(view, &invited, now).iter().try_for_each(|line| view.line(line))
    }
}

/// The code, where there is room for it.
fn draw(view: &mut View, ticket: &str) -> Result<(), Failure> {
    let ink = if view.is_colored() { Ink::Colors } else { Ink::Light };
    match qr::lines(&dense(ticket), view.width().unwrap_or(COLUMNS), ink) {
        Some(code) => {
            code.iter().try_for_each(|line| view.line(line))?;
            view.line("")
        }
        None => {
            view.aside("the terminal is too narrow for the QR code; make it wider, or type the ticket");
            Ok(())
        }
    }
}

/// The same ticket in the letters that a QR code has the most room for, and without the dashes between them.
fn dense(ticket: &str) -> String {
    let ticket = ticket.to_uppercase();
    match ticket.split_once('-') {
        Some((prefix, groups)) => format!("{prefix}-{}", groups.replace('-', "")),
        None => ticket,
    }
}

fn lines(view: &View, invited: &Invited, now: Duration) -> Vec<String> {
    let left = Duration::from_millis(invited.expires).saturating_sub(now);
    let faint = |text: &str| view.paint(Tone::Faint, text);
    vec![
        // On one line, however long: what is marked with the mouse is then the whole ticket.
        view.paint(Tone::Strong, &invited.ticket),
        String::new(),
        format!(
            "{}  {} UTC, {} from now; once, for one node",
            faint("good until"),
            moment(invited.expires),
            when(left)
        ),
        format!("{}  okapi init, then okapi up, then okapi join TICKET", faint("used there")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use okapi_client::group::{GroupId, NodeId, Ticket};

    #[test]
    fn a_code_says_the_same_ticket() {
        let ticket = Ticket {
            group: GroupId([1; 32]),
            via: NodeId([2; 32]),
            secret: [3; 32],
            expires: 1_795_251_786_000,
            addresses: vec![
                "192.168.1.20:7072".into(),
                "[2001:db8::1:2:3]:7072".into(),
                "okapi.example.org:7072".into(),
            ],
        };
        let text = ticket.to_text();
        let dense = dense(&text);
        assert_eq!(Ticket::parse(&dense), Ok(ticket));
        // The letters of QR codes' denser mode.
        assert!(dense.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase() || b == b'-'));
        let code = qr::lines(&dense, COLUMNS, Ink::Light).expect("it fits");
        assert!(code.len() <= 40, "{}", code.len());
        let invited = Invited { ticket: text.clone(), expires: 1_795_251_786_000 };
        let lines =
            lines(&View::plain(std::io::sink()), &invited, Duration::from_millis(1_795_251_786_000 - 7_200_000));
        assert_eq!(lines[0], text);
        assert_eq!(lines[2], "good until  2026-11-21 09:03:06 UTC, 2 h from now; once, for one node");
    }

    #[test]
    fn lifetimes_have_limits() {
        assert!(lifetime("1d").is_ok() && lifetime("30d").is_ok() && lifetime("60s").is_ok());
        assert!(lifetime("59s").is_err() && lifetime("31d").is_err() && lifetime("soon").is_err());
    }
}
