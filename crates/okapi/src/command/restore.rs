//! `okapi restore`: a new disk gets everything back from the group, by the words on paper.

use crate::command::founding::Wishes;
use crate::command::init::Owner;
use crate::command::key::Home;
use crate::command::key::keeping::{Protection, typed};
use crate::command::up::{self, Running};
use crate::failure::Failure;
use crate::session::Session;
use crate::settings::Effective;
use crate::size::{Count, Size, counted, lasted};
use crate::standing;
use crate::view::{Progress, shown};
use okapi_client::group::{GroupMember, GroupRestore, GroupState, GroupStatus, MemberPresence, MemberState};
use okapi_node::Readable;
use okapi_node::group::{RestoreVia, Ticket, change_restore, is_address, pending_restore};
use okapi_seal::{MemberSecret, RecoveryPhrase};
use serde_json::json;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the node is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often scripts are told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Over how long the rate is taken.
const RATE_OVER: Duration = Duration::from_secs(5);

/// Get everything back on a new machine
///
/// From the 24 words of your recovery phrase and any node of the group that can be reached. Makes the identity of the
/// lost node anew, fetches all its data, and shows how far that is. When all is back the node serves, as after `okapi
/// up`.
///
/// Long before, within seconds if enough nodes can be reached, everything can be listed and read: what has not come back yet
/// is fetched from the others when it is asked for. Only writing must wait until all is back.
///
/// The lost node must not run any more. Ended early, `okapi restore` without VIA goes on with it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi restore okapi.example.org:7072        asks for the words, and how much disk to give
  okapi restore okapi-06CG0000-1081G810-...   by a ticket, even one that has expired
  okapi restore 10.0.0.7:7072 --phrase-file words.txt --give 200G --listen none --no-passphrase")]
pub(crate) struct Args {
    /// A node of the group: its address HOST:PORT, or a ticket that it made
    ///
    /// A restore that was interrupted goes on without it.
    #[arg(value_name = "VIA", num_args = 0..)]
    via: Vec<String>,

    /// A file with the 24 words; `-`: standard input [otherwise: asked for]
    #[arg(long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    phrase_file: PathBuf,

    /// Go on without members that do not answer
    ///
    /// Once all is back that the others know of. What only those members know of stays with them, and does not come back
    /// later. Without this, the restore waits until at most two have not answered: these can hide nothing that was told
    /// to be safe.
    #[arg(long)]
    without_silent: bool,

    /// End the node once everything is back
    #[arg(long)]
    exit: bool,

    #[command(flatten)]
    wishes: Wishes,

    #[command(flatten)]
    home: Home,

    #[command(flatten)]
    protection: Protection,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        // All that can be wrong with what was said, before anybody types 24 words.
        let settings = Effective::for_clients(&session.global)?;
        let data = std::path::absolute(&settings.data).map_err(|error| Failure::io(settings.data.display(), &error))?;
        let via = if self.via.is_empty() { None } else { Some(parse_via(&self.via.join(" "))?) };
        let pending = pending_restore(&data).map_err(|error| Failure::io(data.display(), &error))?;
        let secret = if pending.is_some() {
            if let Some(via) = &via {
                change_restore(&data, via)?;
            }
            Owner::known(session, &self.home, &self.protection)?.secret
        } else {
            let none = || Failure::usage("whom to ask? name a node of the group, HOST:PORT, or give a ticket of one");
            Wishes::check_new(&data)?;
            self.found(session, &data, &via.ok_or_else(none)?)?
        };
        let mut follow = Follow::begin(session);
        let started = Instant::now();
        let (key, without) = (secret.recipient_key(), self.without_silent);
        let running = Running::restore(&settings, key, without, &mut |status, readable, told| {
            follow.look(session, status, readable, told)
        });
        let (failed, restored) = follow.end();
        if let Some(failure) = failed {
            return Err(failure);
        }
        let mut running = running?;
        report(session, &restored, started.elapsed())?;
        let served = if self.exit { Ok(()) } else { running.serve_disks(&settings) };
        if let Err(failure) = served {
            running.stop(session)?;
            return Err(failure);
        }
        up::tell(session, &settings, &running)?;
        if !self.exit {
            running.wait();
        }
        running.stop(session)
    }

    /// Gives the node its identity again, and has it ask for everything once it runs.
    fn found(&self, session: &Session, data: &Path, via: &RestoreVia) -> Result<MemberSecret, Failure> {
        // Whoever has brought the key back already need not type its words.
        let known = self.home.path(session)?.symlink_metadata().is_ok();
        let secret = if known { None } else { Some(self.secret()?) };
        let founding = self.wishes.settle(data)?;
        let owner = match secret {
            None => Owner::known(session, &self.home, &self.protection)?,
            Some(secret) => Owner::keep(session, self.home.place(session)?, secret, &self.protection)?,
        };
        owner.begin_restore(data, &founding, via)?;
        Ok(owner.secret)
    }

    fn secret(&self) -> Result<MemberSecret, Failure> {
        let bytes = typed(&self.phrase_file)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Failure::of("wrong-phrase", "that is no text"))?;
        Ok(MemberSecret::from_phrase(&RecoveryPhrase::parse(text)?))
    }
}

/// Whom to ask: a ticket or an address.
fn parse_via(text: &str) -> Result<RestoreVia, Failure> {
    let text = text.trim();
    let prefix = okapi_client::group::TICKET_PREFIX;
    if text.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix)) {
        // A host may be called so too, but then a colon follows, which no ticket has.
        if !text.contains(':') {
            return Ok(RestoreVia::Ticket(Ticket::parse(text)?));
        }
    }
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    if is_address(text) && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Ok(RestoreVia::Address(text.to_owned()));
    }
    Err(Failure::usage(format!(
        "`{}` is neither a ticket nor the address of a node; write HOST:PORT, as in okapi.example.org:7072",
        shown(text)
    )))
}

/// Shows how far it is.
struct Follow {
    pace: Pace,
    told: Option<Instant>,
    readable: Option<Readable>,
    ticker: Option<Progress>,
    last: GroupRestore,
    failed: Option<Failure>,
}

impl Follow {
    fn begin(session: &Session) -> Self {
        let ticker = Some(session.view.ticker());
        let (pace, last) = (Pace::default(), GroupRestore::default());
        Self { pace, told: None, readable: None, ticker, last, failed: None }
    }

    /// Shows what the node says of itself; breaks if it is to end.
    fn look(
        &mut self,
        session: &mut Session,
        status: &GroupStatus,
        readable: Option<Readable>,
        told_to_end: bool,
    ) -> ControlFlow<()> {
        let now = Instant::now();
        self.last = status.restore;
        let rate = self.pace.at(now, status.restore.restored_bytes);
        if matches!(status.state, GroupState::Halted | GroupState::Parted) {
            let why = format!("nothing more comes back: {}", standing::state(status));
            let note = if status.note.is_empty() { String::new() } else { format!("; {}", shown(&status.note)) };
            self.failed = Some(Failure::of("not-restored", why + &note));
            return ControlFlow::Break(());
        }
        if let Some(ticker) = &self.ticker {
            ticker.say(progress_words(status, rate));
        }
        if session.view.json && self.told.is_none_or(|told| now - told >= TELL_EVERY) {
            self.told = Some(now);
            let said = session.view.json(&json!({"restoring": restore_json(&status.restore, rate)}));
            if let Err(failure) = said.and_then(|()| session.view.flush()) {
                self.failed = Some(failure);
                return ControlFlow::Break(());
            }
        }
        if let Err(failure) = self.tell_readable(session, readable) {
            self.failed = Some(failure);
            return ControlFlow::Break(());
        }
        if told_to_end {
            let text = "not all is back yet: `okapi restore` goes on with it";
            self.failed = Some(Failure::of("interrupted", text));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Says what can be read already: people once, scripts whenever it has changed.
    fn tell_readable(&mut self, session: &mut Session, readable: Option<Readable>) -> Result<(), Failure> {
        let (Some(now), before) = (readable, self.readable) else { return Ok(()) };
        if before == Some(now) || before.is_some() && !session.view.json {
            return Ok(());
        }
        self.readable = Some(now);
        let Readable { grids, records, silent } = now;
        let json = json!({"readable": {"grids": grids, "records": records, "members_silent": silent}});
        let say = || session.view.report(readable_words(now), &json).and_then(|()| session.view.flush());
        match &self.ticker {
            Some(ticker) => ticker.beside(say),
            None => Ok(()),
        }
    }

    fn end(mut self) -> (Option<Failure>, GroupRestore) {
        drop(self.ticker.take());
        (self.failed, self.last)
    }
}

fn restore_json(restore: &GroupRestore, rate: Option<u64>) -> serde_json::Value {
    json!({
        "segments": restore.segments,
        "restored": restore.restored,
        "bytes": restore.bytes,
        "restored_bytes": restore.restored_bytes,
        "waiting": restore.waiting,
        "members_needed": restore.members_needed,
        "members_silent": restore.members_silent,
        "bytes_per_second": rate,
    })
}

/// What can be read already, and what may be missing.
fn readable_words(readable: Readable) -> String {
    let Readable { records, silent, .. } = readable;
    let records = counted(records, "record");
    let missing = match silent {
        0 => String::new(),
        _ => format!("; {} did not answer yet and may know of newer ones", counted(silent.into(), "node")),
    };
    format!("{records} can be read already, while the rest comes back (okapi ls, okapi get){missing}")
}

/// How far it is, how fast it goes, and what it waits for.
fn progress_words(status: &GroupStatus, rate: Option<u64>) -> String {
    let GroupRestore { segments, restored, bytes, restored_bytes, waiting, members_needed, members_silent } =
        status.restore;
    let note = if status.note.is_empty() { String::new() } else { format!("  ({})", shown(&status.note)) };
    if segments == 0 {
        return format!("asking the others what there is{note}");
    }
    let mut parts = vec![
        format!("{} of {} back", Size(restored_bytes), Size(bytes)),
        format!("{} of {}", Count(restored), counted(segments, "segment")),
    ];
    if let Some(rate) = rate.filter(|rate| *rate > 0) {
        let left = Duration::from_secs(bytes.saturating_sub(restored_bytes) / rate);
        parts.push(format!("{}/s, about {} left", Size(rate), standing::when(left)));
    }
    if members_needed > 0 {
        let needed = counted(u64::from(members_needed), "more node");
        parts.push(format!("{} wait for {needed} to be reached", counted(waiting, "segment")));
    } else if members_silent > GroupRestore::SILENT_MAX && restored == segments {
        parts.push(format!("waiting for {}, who may know of more; --without-silent goes on without", silent(status)));
    }
    parts.join("  ") + &note
}

/// Those that have not answered, as far as that can be told from who is here.
fn silent(status: &GroupStatus) -> String {
    let is_away = |member: &&GroupMember| {
        member.state != MemberState::Parted && matches!(member.presence, MemberPresence::Away | MemberPresence::Gone)
    };
    let names: Vec<String> =
        status.members.iter().filter(is_away).map(|member| standing::title(&member.name, &member.node.0)).collect();
    if names.is_empty() {
        return counted(u64::from(status.restore.members_silent), "node");
    }
    names.join(", ")
}

fn report(session: &mut Session, restore: &GroupRestore, took: Duration) -> Result<(), Failure> {
    let what = format!("{}, {}", Size(restore.restored_bytes), counted(restore.restored, "segment"));
    let text = format!("all is back: {what} in {}; `okapi ls` lists it", lasted(took));
    session.view.report(text, &json!({"restored": restore_json(restore, None), "seconds": took.as_secs_f64()}))?;
    if restore.members_silent > 0 {
        let silent = counted(u64::from(restore.members_silent), "node");
        let text =
            format!("{silent} did not answer: what was not safe yet when the disk was lost may be with them alone");
        session.view.aside(&text);
    }
    session.view.flush()
}

/// How fast bytes come back, over the last seconds.
#[derive(Debug, Default)]
struct Pace {
    seen: VecDeque<(Instant, u64)>,
}

impl Pace {
    /// The rate now that so many are back; nothing before there is one.
    fn at(&mut self, now: Instant, bytes: u64) -> Option<u64> {
        self.seen.push_back((now, bytes));
        while self.seen.len() > 2 && now - self.seen[1].0 >= RATE_OVER {
            self.seen.pop_front();
        }
        let (then, before) = *self.seen.front()?;
        let passed = (now - then).as_millis();
        if passed < LOOK_EVERY.as_millis() {
            return None;
        }
        u64::try_from(u128::from(bytes.saturating_sub(before)) * 1000 / passed).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;
    use okapi_client::group::{GroupId, NodeId};

    #[test]
    fn whom_to_ask_is_a_ticket_or_an_address() {
        let ticket =
            Ticket { group: GroupId([1; 32]), via: NodeId([2; 32]), secret: [3; 32], expires: 5, addresses: vec![] };
        assert_eq!(parse_via(&ticket.to_text()), Ok(RestoreVia::Ticket(ticket.clone())), "though it has expired");
        assert_eq!(
            parse_via(&ticket.to_text().replace('-', " ").replacen(' ', "-", 1)),
            Ok(RestoreVia::Ticket(ticket))
        );
        for address in ["10.0.0.7:7072", "[fe80::1]:7072", "okapi.example.org:7072", "okapi-attic:7072"] {
            assert_eq!(parse_via(address), Ok(RestoreVia::Address(address.to_owned())));
        }
        for wrong in ["", "okapi.example.org", ":7072", "host:0", "host:70720", "a b:7072"] {
            assert_eq!(parse_via(wrong).unwrap_err().kind, "usage", "{wrong}");
        }
        assert_eq!(parse_via("okapi-06CG").unwrap_err().kind, "bad-ticket");
    }

    #[test]
    fn progress_says_what_it_waits_for() {
        let status = pretend::restoring();
        assert_eq!(
            progress_words(&status, Some(30 << 20)),
            "3.22 GiB of 12.4 GiB back  420 of 1,590 segments  30 MiB/s, about 5 min left  12 segments wait for 2 more \
             nodes to be reached"
        );
        let whole = GroupRestore { restored: 1590, members_needed: 0, waiting: 0, ..status.restore };
        let whole = progress_words(&GroupStatus { restore: whole, ..status.clone() }, None);
        assert!(whole.ends_with(", who may know of more; --without-silent goes on without"), "{whole}");
        let restore = GroupRestore::default();
        let begun = GroupStatus { restore, note: "10.0.0.7:7072 does not answer".to_owned(), ..status };
        assert_eq!(progress_words(&begun, None), "asking the others what there is  (10.0.0.7:7072 does not answer)");
    }

    #[test]
    fn what_can_be_read_is_told_with_what_may_be_missing() {
        let words = |records, silent| readable_words(Readable { grids: 1, records, silent });
        let all = "1,204 records can be read already, while the rest comes back (okapi ls, okapi get)";
        assert_eq!(words(1204, 0), all);
        let some = "1 record can be read already, while the rest comes back (okapi ls, okapi get); 2 nodes did not answer \
                    yet and may know of newer ones";
        assert_eq!(words(1, 2), some);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        assert_eq!(pace.at(at(0), 0), None);
        assert_eq!(pace.at(at(1), 1000), Some(1000));
        for second in 2..=20 {
            pace.at(at(second), 1000);
        }
        assert_eq!(pace.at(at(21), 1000), Some(0), "nothing came for a while");
        assert_eq!(pace.at(at(22), 11_000), Some(2000));
        assert_eq!(pace.at(at(22), 11_000), Some(2000));
    }
}
