//! `okapi members`: who is in the group, and how they are.

use crate::failure::Failure;
use crate::session::Session;
use crate::size::Size;
use crate::standing::{grade, member_json, presence, rates, short, title};
use crate::view::{Tone, View, columns, cut, shown};
use okapi_client::group::{GroupMember, GroupStatus, MemberPresence, MemberState};
use std::time::Duration;

/// Columns of the longest name that is shown whole.
const NAME: usize = 16;

/// List the nodes of your group
///
/// For each: whether it takes part and was heard of late, how much disk it gives to the others, how much of your data it
/// holds and how much of its data this node does, and how quick the link to it was found to be. Where a terminal is too
/// narrow for all of it, columns are left out.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "peers")]
pub(crate) struct Args {
    /// Those that have left, too
    #[arg(long, short = 'a')]
    all: bool,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let status = session.client()?.group_status()?;
        let view = &mut session.view;
        let members = listed(&status, self.all);
        if view.json {
            return members.into_iter().try_for_each(|member| view.json(&member_json(member)));
        }
        let (lines, left_out) = table(&members, view.width());
        view.line(view.paint(Tone::Faint, &lines[0]))?;
        for (member, line) in members.iter().zip(&lines[1..]) {
            view.line(painted(view, member, line))?;
        }
        if left_out > 0 {
            view.aside(format_args!("a wider terminal shows {left_out} more columns; --json all of it"));
        }
        Ok(())
    }
}

fn listed(status: &GroupStatus, all: bool) -> Vec<&GroupMember> {
    status.members.iter().filter(|member| all || member.state != MemberState::Parted).collect()
}

const HEADINGS: [&str; 9] = ["name", "node", "state", "heard", "gives", "your data", "its data", "speed", "link"];
const LINK: usize = 8;
/// Fewer columns of a link than these say nothing.
const LINK_MIN: usize = 14;
/// Columns that are left out, one after the other, where there is no room.
const OPTIONAL: [usize; 4] = [LINK, 7, 1, 4];
/// Columns of numbers.
const NUMBERS: [usize; 3] = [4, 5, 6];

/// The lines, headings first, within `width` if that can be; and how many columns of the table are left out.
fn table(members: &[&GroupMember], width: Option<usize>) -> (Vec<String>, usize) {
    let mut rows = vec![HEADINGS.map(str::to_owned).to_vec()];
    rows.extend(members.iter().map(|member| row(member)));
    let mut kept: Vec<usize> = (0..HEADINGS.len()).collect();
    let mut optional = OPTIONAL.into_iter();
    loop {
        let picked: Vec<Vec<String>> =
            rows.iter().map(|row| kept.iter().map(|column| row[*column].clone()).collect()).collect();
        let right: Vec<usize> = (0..kept.len()).filter(|at| NUMBERS.contains(&kept[*at])).collect();
        let lines = columns(&picked, &right);
        let left_out = HEADINGS.len() - kept.len();
        let wide = |lines: &[String]| lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let Some(width) = width.filter(|width| wide(&lines) > *width) else { return (lines, left_out) };
        let all_but_last: Vec<Vec<String>> = picked.iter().map(|row| row[..row.len() - 1].to_vec()).collect();
        if kept.last() == Some(&LINK) && wide(&columns(&all_but_last, &right)) + 2 + LINK_MIN <= width {
            return (lines.iter().map(|line| cut(line, width)).collect(), left_out);
        }
        match optional.next() {
            Some(column) => kept.retain(|other| *other != column),
            None => return (lines, left_out),
        }
    }
}

fn row(member: &GroupMember) -> Vec<String> {
    let state = match member.state {
        MemberState::Active => grade(member.grade).unwrap_or("active"),
        MemberState::Leaving => "leaving",
        MemberState::Parted => "parted",
    };
    let own = member.presence == MemberPresence::This;
    let held = |bytes: u64| if own { "-".to_owned() } else { Size(bytes).to_string() };
    let trip = Duration::from_micros(u64::from(member.round_trip_us));
    let link = match member.round_trip_us {
        0 => shown(&member.link),
        _ => format!("{}  {}", shown(&member.link), crate::size::lasted(trip)),
    };
    vec![
        cut(&title(&member.name, &member.node.0), NAME),
        short(&member.node.0),
        state.to_owned(),
        presence(member),
        Size(member.promise).to_string(),
        held(member.holds_for_us),
        held(member.held_for_it),
        rates(member),
        link,
    ]
}

fn painted(view: &View, member: &GroupMember, line: &str) -> String {
    match (member.state, member.presence) {
        (MemberState::Parted, _) => view.paint(Tone::Faint, line),
        (_, MemberPresence::This) => view.paint(Tone::Strong, line),
        (_, MemberPresence::Here) => line.to_owned(),
        (_, MemberPresence::Away) => view.paint(Tone::Worry, line),
        (_, MemberPresence::Gone) => view.paint(Tone::Bad, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;

    fn drawn(width: Option<usize>) -> (String, usize) {
        let status = pretend::member();
        let (lines, left_out) = table(&listed(&status, false), width);
        (lines.iter().map(|line| format!("{line}\n")).collect(), left_out)
    }

    #[test]
    fn tables_of_every_width() {
        for (name, width, left_out, looks) in [
            ("wide", None, 0, include_str!("members/wide.txt")),
            ("120", Some(120), 0, include_str!("members/120.txt")),
            ("80", Some(80), 3, include_str!("members/80.txt")),
            ("narrow", Some(10), 4, include_str!("members/narrow.txt")),
        ] {
            let (table, left) = drawn(width);
            assert_eq!(table, looks, "{name}");
            assert_eq!(left, left_out, "{name} left out");
        }
    }

    #[test]
    fn whoever_left_is_listed_only_if_asked_for() {
        let mut status = pretend::member();
        status.members[4].state = MemberState::Parted;
        assert_eq!((listed(&status, false).len(), listed(&status, true).len()), (4, 5));
        let (lines, _) = table(&listed(&status, true), None);
        assert!(lines[5].contains("parted") && !lines[5].contains("here"), "{}", lines[5]);
    }
}
