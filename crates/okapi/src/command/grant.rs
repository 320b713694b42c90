//! `okapi grant`, `okapi revoke` and `okapi grants`: what other members may do with your grids.

use crate::failure::Failure;
use crate::place::is_grid_name;
use crate::session::Session;
use crate::size::moment;
use crate::standing::short;
use crate::view::{Tone, columns, cut, hex, shown};
use okapi_client::grant::{FindError, Granted, Right};
use okapi_client::group::{GroupStatus, MemberId};
use serde_json::{Value, json};

/// Columns of the names of a member's nodes.
const NAMES: usize = 32;

/// Let a member of your group use a grid
///
/// All nodes of the member get the right, in place of what it had before. `read`: look at everything in the grid.
/// `write`: that, and change it. `own`: that, and drop the grid, and grant and revoke. The member reaches the grid from its
/// own node with --member; while your node is away it reads what the others hold of it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi grant photos attic read           the member whose node is called attic
  okapi grant photos 1a2b3c4d write       by the digits that `okapi members` shows
  okapi --member attic ls -g photos       what the other then does, on a machine of its own")]
pub(crate) struct Grant {
    /// The grid
    #[arg(value_name = "GRID", value_parser = grid)]
    on: String,

    /// The member: the name or the first digits of the id of a node of its, or of its own id
    #[arg(value_name = "MEMBER")]
    whom: String,

    /// read, write or own
    #[arg(value_parser = right)]
    right: Right,
}

/// Take back what a member may do with a grid
///
/// At once, and for what is under way too: the next ask of the member is refused. What it has read already it knows.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  okapi revoke photos attic")]
pub(crate) struct Revoke {
    /// The grid
    #[arg(value_name = "GRID", value_parser = grid)]
    on: String,

    /// The member, as for `okapi grant`; also one that has left the group
    #[arg(value_name = "MEMBER")]
    whom: String,
}

/// List what was granted on your grids
///
/// With --member: what that member has granted to you, and all on grids that you own there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

fn grid(text: &str) -> Result<String, String> {
    if is_grid_name(text) { Ok(text.to_owned()) } else { Err("that is not a grid's name".to_owned()) }
}

fn right(text: &str) -> Result<Right, String> {
    let rights = [Right::Read, Right::Write, Right::Own];
    rights.into_iter().find(|right| right.word() == text).ok_or_else(|| "there are read, write and own".to_owned())
}

impl Grant {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let status = session.own_client()?.group_status()?;
        let member = status.find_member(&self.whom).map_err(|error| not_found(&error))?;
        session.client()?.grant(&self.on, member, self.right)?;
        let (names, may) = (called(&status, member), self.right.word());
        let text = format!("{names} may {may} grid {}", self.on);
        session.view.report(text, &json!({"grid": self.on, "member": member.to_string(), "right": may}))
    }
}

impl Revoke {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let status = session.own_client()?.group_status()?;
        let client = session.client()?;
        // Who is no longer in the list of members may still be in this one.
        let granted = client.grants()?;
        let member = status.find_member(&self.whom).or_else(|error| listed(&granted, &self.whom).ok_or(error));
        let member = member.map_err(|error| not_found(&error))?;
        let had = granted.iter().find(|its| its.grid == self.on && its.member == member).map(|its| its.right);
        client.grant(&self.on, member, Right::None)?;
        let names = called(&status, member);
        let text = match had {
            Some(right) => format!("{names} may no longer {} grid {}", right.word(), self.on),
            None => format!("{names} had no right on grid {}", self.on),
        };
        let had = had.map(Right::word);
        session.view.report(text, &json!({"grid": self.on, "member": member.to_string(), "had": had}))
    }
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let status = session.own_client()?.group_status()?;
        let granted = session.client()?.grants()?;
        let view = &mut session.view;
        if view.json {
            return granted.iter().try_for_each(|its| view.json(&granted_json(&status, its)));
        }
        if granted.is_empty() {
            view.aside("nothing was granted; `okapi grant GRID MEMBER read` lets a member read a grid");
            return Ok(());
        }
        let lines = table(&status, &granted);
        view.line(view.paint(Tone::Faint, &lines[0]))?;
        lines[1..].iter().try_for_each(|line| view.line(line))
    }
}

fn not_found(error: &FindError) -> Failure {
    Failure::not_found(error.to_string())
}

/// The member among those that have grants whose id begins with these digits.
fn listed(granted: &[Granted], digits: &str) -> Option<MemberId> {
    let mut found = granted.iter().filter(|its| digits.len() >= 4 && its.member.to_string().starts_with(digits));
    let first = found.next()?.member;
    found.all(|its| its.member == first).then_some(first)
}

/// What the nodes of a member are called, and the beginning of its id.
fn called(status: &GroupStatus, member: MemberId) -> String {
    let names = names(status, member);
    let digits = short(&member.0);
    if names.is_empty() { format!("member {digits}") } else { format!("{} (member {digits})", names.join(", ")) }
}

fn names(status: &GroupStatus, member: MemberId) -> Vec<String> {
    let its = status.members.iter().filter(|node| node.member == member && !node.name.is_empty());
    its.map(|node| shown(&node.name)).collect()
}

fn table(status: &GroupStatus, granted: &[Granted]) -> Vec<String> {
    let mut rows = vec![["grid", "right", "member", "nodes", "since"].map(str::to_owned).to_vec()];
    rows.extend(granted.iter().map(|its| {
        let nodes = cut(&names(status, its.member).join(", "), NAMES);
        let nodes = if nodes.is_empty() { "-".to_owned() } else { nodes };
        let (right, since) = (its.right.word().to_owned(), moment(its.since));
        vec![its.grid.clone(), right, short(&its.member.0), nodes, since]
    }));
    columns(&rows, &[])
}

fn granted_json(status: &GroupStatus, its: &Granted) -> Value {
    json!({
        "grid": its.grid,
        "member": hex(&its.member.0),
        "nodes": names(status, its.member),
        "right": its.right.word(),
        "since_ms": its.since,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;

    #[test]
    fn grants_in_a_table() {
        let status = pretend::member();
        let first = status.members[1].member;
        let since = 1_793_000_000_000;
        let granted = [
            Granted { grid: "photos".to_owned(), member: first, right: Right::Read, since },
            Granted { grid: "work".to_owned(), member: MemberId([0xfe; 32]), right: Right::Own, since },
        ];
        let lines = table(&status, &granted);
        let name = &status.members[1].name;
        assert!(lines[1].starts_with("photos  read   ") && lines[1].contains(name.as_str()), "{lines:?}");
        assert!(lines[2].starts_with("work    own    fefefefe  -"), "{lines:?}");
        assert_eq!(listed(&granted, "fefe"), Some(MemberId([0xfe; 32])));
        assert_eq!((listed(&granted, "fef"), listed(&granted, "abcd")), (None, None));
        assert!(right("none").is_err() && right("read").is_ok() && grid("a b").is_err());
    }
}
