//! `okapi join`: the node joins the group of a ticket.

use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::size::moment;
use crate::standing::{self, Tally, ago, title};
use crate::transfer::fill;
use crate::view::shown;
use okapi_client::Client;
use okapi_client::group::{GroupState, GroupStatus, Ticket, TicketError};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a file with a ticket, at most.
const FILE_MAX: usize = 64 << 10;
/// How often the node is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How far ahead the latest ticket can expire: anything later says that a clock is off.
const AHEAD_MAX_MS: u64 = 32 * 86_400_000;

/// Join a group with a ticket
///
/// The node asks the one that made the ticket, and waits until it is a member: that takes a moment, or until that node
/// can be reached. Ctrl-C ends the waiting, not the joining. A node that is in a group with others must leave it first.
///
/// Other users of this machine can see the words of a running command: where that matters, use `-` or --file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi join okapi-06CG0000-1081G810-...
  okapi join --file ticket.txt
  ssh HOST okapi invite -q | okapi join -")]
pub(crate) struct Args {
    /// The ticket, as `okapi invite` prints it; `-`: standard input. Its words may be apart
    #[arg(value_name = "TICKET", required_unless_present = "file", num_args = 1..)]
    ticket: Vec<String>,

    /// A file that holds the ticket
    #[arg(long, value_name = "FILE", conflicts_with = "ticket")]
    file: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let text = self.text()?;
        let ticket = Ticket::parse(&text)?;
        check_time(&ticket, now())?;
        let client = session.client()?;
        client.join(&ticket.to_text())?;
        let status = wait(session, &client)?;
        let name = title(&status.name, &status.node.0);
        if session.view.json {
            return session.view.json(&standing::json(&status));
        }
        let others = Tally::of(&status).words();
        session.view.report(
            format_args!(
                "{name} has joined a group of {others}\nyour data goes to the others from now on, and theirs comes to \
                 you; `okapi status` tells how safe it is"
            ),
            &serde_json::Value::Null,
        )
    }

    fn text(&self) -> Result<String, Failure> {
        match (&self.file, self.ticket.as_slice()) {
            (Some(path), _) => {
                let file = std::fs::File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
                read(file, &path.display().to_string())
            }
            (None, [word]) if word == "-" => read(io::stdin().lock(), "standard input"),
            (None, words) => Ok(words.join(" ")),
        }
    }
}

fn read(mut from: impl io::Read, label: &str) -> Result<String, Failure> {
    let mut bytes = vec![0; FILE_MAX];
    let length = fill(&mut from, label, &mut bytes)?;
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|_| Failure::of("bad-ticket", format!("{label}: that is no text")))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a ticket may still open, by this machine's clock.
pub(crate) fn check_time(ticket: &Ticket, now: u64) -> Result<(), Failure> {
    let (expired, clock) = (moment(ticket.expires), moment(now));
    if ticket.expires <= now {
        let since = ago(now - ticket.expires);
        return Err(Failure::of(
            "expired",
            format!(
                "the ticket expired {since} ago, at {expired} UTC; ask for a new one. If that is still to come, this \
                 machine's clock is off: it says {clock} UTC"
            ),
        ));
    }
    if ticket.expires - now > AHEAD_MAX_MS {
        return Err(Failure::of(
            "clock",
            format!(
                "the ticket expires at {expired} UTC, and this machine's clock says {clock} UTC; no ticket lasts so \
                 long, so one of the two clocks is off: set it right first"
            ),
        ));
    }
    Ok(())
}

/// Waits until the node is a member.
fn wait(session: &Session, client: &Client) -> Result<GroupStatus, Failure> {
    let stop = interrupt::watch()?;
    let ticker = session.view.ticker();
    loop {
        let status = client.group_status()?;
        match progress(&status) {
            Progress::Member => return Ok(status),
            Progress::Failed(failure) => return Err(failure),
            Progress::Waiting(text) => ticker.say(text),
        }
        if stop.is_set() {
            return Err(Failure::of("interrupted", "the node goes on joining; `okapi status` tells how far it is"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What a status says of a join that has begun.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Member,
    Waiting(String),
    Failed(Failure),
}

fn progress(status: &GroupStatus) -> Progress {
    let note = shown(&status.note);
    let failed = |text: &str| Progress::Failed(Failure::of("not-joined", text));
    match status.state {
        GroupState::Member => Progress::Member,
        GroupState::Joining if note.is_empty() => Progress::Waiting("joining".to_owned()),
        GroupState::Joining => Progress::Waiting(format!("joining: {note}")),
        _ if note.is_empty() => failed("the node did not join, and does not say why; its log may"),
        _ => failed(&format!("the node did not join: {note}")),
    }
}

impl From<TicketError> for Failure {
    fn from(error: TicketError) -> Self {
        Self { exit: crate::failure::Exit::Usage, ..Self::of("bad-ticket", error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;
    use okapi_client::group::{GroupId, NodeId};

    #[test]
    fn clocks_that_are_off_are_told() {
        let expires = 1_795_251_786_000;
        let ticket =
            Ticket { group: GroupId([1; 32]), via: NodeId([2; 32]), secret: [3; 32], expires, addresses: vec![] };
        assert_eq!(check_time(&ticket, expires - 1), Ok(()));
        let late = check_time(&ticket, expires + 3 * 3_600_000).unwrap_err();
        assert_eq!(late.kind, "expired");
        assert_eq!(
            late.message,
            "the ticket expired 3 h ago, at 2026-11-21 09:03:06 UTC; ask for a new one. If that is still to come, this \
             machine's clock is off: it says 2026-11-21 12:03:06 UTC"
        );
        let early = check_time(&ticket, 5000).unwrap_err();
        assert!(early.kind == "clock" && early.message.contains("clock says 1970-01-01 00:00:05 UTC"), "{early}");
    }

    #[test]
    fn a_join_goes_on_ends_or_fails_with_its_reason() {
        assert_eq!(progress(&pretend::member()), Progress::Member);
        let joining = GroupStatus { state: GroupState::Joining, ..pretend::alone() };
        assert_eq!(progress(&joining), Progress::Waiting("joining".to_owned()));
        let note = "cannot reach 10.0.0.2:7072: connection refused".to_owned();
        let joining = GroupStatus { note, ..joining };
        assert!(matches!(progress(&joining), Progress::Waiting(text) if text.ends_with("connection refused")));
        let failed = GroupStatus { note: "the ticket was used already".to_owned(), ..pretend::alone() };
        let Progress::Failed(failure) = progress(&failed) else { panic!("it failed") };
        assert_eq!(failure.message, "the node did not join: the ticket was used already");
        assert!(matches!(progress(&pretend::alone()), Progress::Failed(_)));
    }
}
