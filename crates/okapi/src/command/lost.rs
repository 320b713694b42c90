//! `okapi lost`: a person knows that a node will not come back.

use crate::ask;
use crate::failure::Failure;
use crate::session::Session;
use crate::standing::title;
use crate::view::hex;
use okapi_client::group::{GroupMember, GroupStatus, MemberState};
use serde_json::json;

/// Count a node as lost, and repair what it held at once
///
/// Without this what a silent node held is repaired once it has been away for longer than is usual for it: days, for
/// most go away and come back. If you know better, because it was stolen or has burnt down, say so; this node then
/// places anew what that one held of your data, and helps to mend that of others. The others decide for themselves.
///
/// If the node is heard after all, it counts again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi members                     who is there, and since when somebody is not
  okapi lost attic                  by its name
  okapi lost 9232a6b8 --yes         by the beginning of its key, without being asked")]
pub(crate) struct Args {
    /// The node: its name, or the beginning of its key
    #[arg(value_name = "NODE")]
    whom: String,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let client = session.client()?;
        let status = client.group_status()?;
        let member = find(&status, &self.whom)?;
        let called = title(&member.name, &member.node.0);
        if !self.yes {
            if !ask::is_possible() {
                return Err(Failure::usage("say --yes if that node really is lost"));
            }
            let question = format!("Count {called} as lost, and place anew what it held of your data?");
            if !ask::yes(&question, false)? {
                return Err(Failure::of("refused", "nothing was changed"));
            }
        }
        client.lost(member.node)?;
        let json = json!({"lost": hex(&member.node.0), "name": member.name});
        session.view.report(format!("{called} counts as lost; `okapi status` tells how far the repair is"), &json)
    }
}

/// The node of a group that somebody means: by name or by the beginning of its key.
///
/// # Errors
/// [`Failure`] if there is none, or more than one.
pub(crate) fn find<'s>(status: &'s GroupStatus, wanted: &str) -> Result<&'s GroupMember, Failure> {
    let there = || status.members.iter().filter(|member| member.state != MemberState::Parted);
    let named: Vec<&GroupMember> = there().filter(|member| !wanted.is_empty() && member.name == wanted).collect();
    let is_key = wanted.len() >= 4 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    let begins = |member: &&GroupMember| is_key && hex(&member.node.0).starts_with(&wanted.to_ascii_lowercase());
    let found = if named.is_empty() { there().filter(begins).collect() } else { named };
    match found[..] {
        [one] => Ok(one),
        [] => Err(Failure::not_found(format!("no node of the group is `{wanted}`; `okapi members` lists them"))),
        _ => Err(Failure::usage(format!("`{wanted}` is more than one node; write more of its key"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;

    #[test]
    fn a_node_is_found_by_its_name_or_key() {
        let status = pretend::member();
        let some = &status.members[1];
        let key = hex(&some.node.0);
        for wanted in [some.name.as_str(), &key, &key[..8], &key[..4].to_uppercase()] {
            assert_eq!(find(&status, wanted).unwrap().node, some.node, "{wanted}");
        }
        for wanted in ["", "nobody", &key[..3], "zzzz"] {
            assert_eq!(find(&status, wanted).unwrap_err().kind, "not-found", "{wanted}");
        }
        let mut twins = status.clone();
        twins.members[2].name.clone_from(&some.name);
        assert_eq!(find(&twins, &some.name).unwrap_err().kind, "usage");
    }
}
