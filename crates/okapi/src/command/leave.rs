//! `okapi leave`: the node leaves its group, in good order or at once.

use crate::ask;
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::size::{Size, counted};
use crate::standing::{self, Tally, title};
use crate::view::{Tone, View, shown};
use okapi_client::Client;
use okapi_client::group::{GroupMember, GroupState, GroupStatus, MemberPresence};
use std::time::Duration;

/// How often the node is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Leave your group
///
/// What the node holds for others moves to the other members first, with progress; then it goes. Your own data stays on
/// this machine, and nowhere else. Ctrl-C ends the watching, not the leaving. With --now the node goes at once: that
/// costs the others redundancy, and you their trust.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi leave                       tells what will happen, asks, and shows how far it is
  okapi leave --yes                 for scripts
  okapi leave --now                 without waiting; tells first what that costs")]
pub(crate) struct Args {
    /// Go without moving away what is held for others
    #[arg(long)]
    now: bool,

    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let client = session.client()?;
        let status = client.group_status()?;
        check(&status)?;
        // Whoever has asked to leave already may still watch, or lose patience.
        if status.state != GroupState::Leaving || self.now {
            self.confirm(session, &status)?;
            client.leave(self.now)?;
        }
        let status = watch(session, &client, &status)?;
        if session.view.json {
            return session.view.json(&standing::json(&status));
        }
        let name = title(&status.name, &status.node.0);
        let text = format!("{name} has left its group; your own data is still here: okapi ls");
        session.view.report(text, &serde_json::Value::Null)
    }

    fn confirm(&self, session: &mut Session, status: &GroupStatus) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !ask::is_possible() {
            let cost = if self.now { "; --now also costs the others redundancy" } else { "" };
            return Err(Failure::usage(format!(
                "leaving a group cannot be taken back{cost}; say --yes, or ask on a terminal what will happen"
            )));
        }
        let view = &session.view;
        consequences(view, status, self.now).iter().for_each(|line| view.aside(line));
        if ask::yes("leave the group?", false)? { Ok(()) } else { Err(Failure::of("declined", "the node stays")) }
    }
}

/// Whether there is a group to leave.
fn check(status: &GroupStatus) -> Result<(), Failure> {
    let no = |text: &str| Err(Failure::of("no-group", text));
    match status.state {
        GroupState::Alone | GroupState::Joining => no("nobody else is in the node's group, so there is none to leave"),
        GroupState::Parted => no("the node has left its group already"),
        _ => Ok(()),
    }
}

/// What leaving does, line by line.
fn consequences(view: &View, status: &GroupStatus, now: bool) -> Vec<String> {
    let held = held(status);
    let placed: u64 = status.members.iter().map(|member| member.holds_for_us).sum();
    let name = view.paint(Tone::Strong, title(&status.name, &status.node.0));
    let mut lines = vec![format!("{name} is to leave {}:", Tally::of(status).words())];
    let mut add = |tone: Option<Tone>, text: String| {
        let text = tone.map_or_else(|| text.clone(), |tone| view.paint(tone, &text));
        lines.push(format!("  - {text}"));
    };
    if now {
        let lost = format!(
            "{} held for others goes with it, and nothing replaces that beforehand: until the others have mended it, \
             their data survives fewer losses, and what is at risk already may be lost",
            Size(held)
        );
        add((held > 0).then_some(Tone::Bad), lost);
        add(Some(Tone::Bad), "the others will remember that you went without handing over".to_owned());
    } else {
        add(None, format!("{} held for others moves to other members first; it may take long", Size(held)));
    }
    let own = Size(status.own.bytes.max(status.halves.user_used));
    add(
        Some(Tone::Worry),
        format!("your own {own} stays here and only here: the others drop the {} they hold of it", Size(placed)),
    );
    add(None, "a node that left does not come back: it joins anew, under another number".to_owned());
    lines
}

/// Bytes held for others.
fn held(status: &GroupStatus) -> u64 {
    status
        .members
        .iter()
        .filter(|member| member.presence != MemberPresence::This)
        .map(|member| member.held_for_it)
        .sum()
}

/// Shows how far it is until the node has left.
fn watch(session: &Session, client: &Client, begin: &GroupStatus) -> Result<GroupStatus, Failure> {
    let stop = interrupt::watch()?;
    let whole = held(begin);
    let bar = session.view.progress("moving away", Some(whole));
    loop {
        let status = client.group_status()?;
        match status.state {
            GroupState::Parted => return Ok(status),
            GroupState::Leaving => {
                bar.at(whole.saturating_sub(held(&status)));
                bar.say(doing(&status));
            }
            _ => {
                let why = if status.note.is_empty() { "it does not say why".to_owned() } else { shown(&status.note) };
                return Err(Failure::of("not-left", format!("the node did not leave: {why}")));
            }
        }
        if stop.is_set() {
            let left = Size(held(&status));
            return Err(Failure::of(
                "interrupted",
                format!("the node goes on leaving, with {left} still to move; `okapi leave` shows how far it is"),
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn doing(status: &GroupStatus) -> String {
    if !status.note.is_empty() {
        return shown(&status.note);
    }
    let lies_here = |member: &&GroupMember| member.presence != MemberPresence::This && member.held_for_it > 0;
    let owners: Vec<&GroupMember> = status.members.iter().filter(lies_here).collect();
    // Only its owner says where something goes, or others for it once it is given up.
    let away = |member: &&GroupMember| member.presence != MemberPresence::Here;
    match (owners.first(), owners.iter().all(away)) {
        (Some(first), true) => {
            let name = title(&first.name, &first.node.0);
            let others = match owners.len() - 1 {
                0 => String::new(),
                count => format!(" and {}", counted(count as u64, "other")),
            };
            format!("waiting for {name}{others}, whose data is here and who is away; --now does not wait")
        }
        (Some(_), false) => format!("moving what is held for {}", counted(owners.len() as u64, "node")),
        (None, _) => "moving away".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;

    #[test]
    fn what_leaving_costs_is_told() {
        let view = View::plain(std::io::sink());
        assert_eq!(
            consequences(&view, &pretend::member(), false),
            [
                "attic is to leave 5 nodes: 3 here, 1 away, 1 gone:",
                "  - 3 GiB held for others moves to other members first; it may take long",
                "  - your own 12.4 GiB stays here and only here: the others drop the 16.0 GiB they hold of it",
                "  - a node that left does not come back: it joins anew, under another number",
            ]
        );
        let now = consequences(&view, &pretend::member(), true);
        assert!(now[1].contains("3 GiB held for others goes with it") && now[1].contains("may be lost"), "{now:?}");
        assert_eq!(now.len(), 5);
    }

    #[test]
    fn there_must_be_a_group_to_leave() {
        assert_eq!(check(&pretend::alone()).unwrap_err().kind, "no-group");
        assert!(check(&pretend::member()).is_ok() && check(&pretend::leaving()).is_ok());
        let parted = GroupStatus { state: GroupState::Parted, ..pretend::alone() };
        assert_eq!(check(&parted).unwrap_err().message, "the node has left its group already");
        assert_eq!(held(&pretend::member()), 4 * (768 << 20), "nothing is held for oneself");
        let mut leaving = pretend::leaving();
        assert_eq!(doing(&leaving), "moving what is held for 4 nodes");
        for member in leaving.members.iter_mut().filter(|member| member.presence == MemberPresence::Here) {
            member.held_for_it = 0;
        }
        let waits = doing(&leaving);
        assert!(waits.starts_with("waiting for ") && waits.ends_with("who is away; --now does not wait"), "{waits}");
        leaving.members.iter_mut().for_each(|member| member.held_for_it = 0);
        assert_eq!(doing(&leaving), "moving away");
    }
}
