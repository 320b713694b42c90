//! Where a program wants to go on to, and what it is told if it cannot.

use super::Route;
use super::driver::short;
use crate::refusal::Refusal;
use okapi_base::NodeId;
use okapi_wire::Status;
use okapi_wire::message::{GroupMember, GroupStatus, MemberPresence, MemberState};

/// Another member's node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) node: NodeId,
    name: String,
    heard_ms_ago: u64,
}

impl Destination {
    /// The one that is wanted.
    pub(crate) fn find(group: &GroupStatus, wanted: &Route) -> Result<Self, Refusal> {
        let unknown = |text: String| Refusal::new(Status::UnknownRecord, text);
        let found: &GroupMember = if wanted.node == NodeId([0; 32]) {
            group.find_node(&wanted.name).map_err(|error| unknown(error.to_string()))?
        } else {
            let listed = group.members.iter().find(|member| member.node == wanted.node);
            listed.ok_or_else(|| unknown(format!("node {} is not in this group", short(&wanted.node.0))))?
        };
        let to = Self { node: found.node, name: found.name.clone(), heard_ms_ago: found.heard_ms_ago };
        if found.presence == MemberPresence::This {
            return Err(Refusal::new(Status::Malformed, format!("{} is this very node: ask it directly", to.title())));
        }
        if found.state == MemberState::Parted {
            return Err(unknown(format!("{} has left the group, and its data with it", to.title())));
        }
        Ok(to)
    }

    /// It cannot be reached.
    pub(crate) fn away(&self, why: &str) -> Refusal {
        let (title, heard) = (self.title(), self.heard());
        let text = format!("{title} is away: {why}; {heard}, and its data can be read only once it is back");
        Refusal::new(Status::Away, text)
    }

    fn heard(&self) -> String {
        match self.heard_ms_ago {
            u64::MAX => "it was never heard".to_owned(),
            ago => format!("it was last heard {} ago", spoken(ago / 1000)),
        }
    }

    /// It cannot be reached, and what others hold of it cannot be read either.
    pub(crate) fn unreadable(&self, why: &str, refusal: &Refusal) -> Refusal {
        let (title, heard) = (self.title(), self.heard());
        Refusal::new(refusal.status, format!("{title} is away: {why}; {heard}; {}", refusal.text))
    }

    fn title(&self) -> String {
        let digits = short(&self.node.0);
        let name = self.name.replace(char::is_control, " ");
        if name.is_empty() { format!("node {digits}") } else { format!("{name} (node {digits})") }
    }
}

fn spoken(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_away_is_named_with_when_it_was_heard() {
        let mut to = Destination { node: NodeId([0x1a; 32]), name: "attic".to_owned(), heard_ms_ago: 3 * 3_600_000 };
        let told = to.away("tcp://10.0.0.2:7071 does not answer: refused");
        assert_eq!(told.status, Status::Away);
        assert_eq!(
            told.text,
            "attic (node 1a1a1a1a) is away: tcp://10.0.0.2:7071 does not answer: refused; it was last heard 3 hours ago, \
             and its data can be read only once it is back"
        );
        let told = to.unreadable("no answer", &Refusal::new(Status::Away, "grid x cannot be read"));
        assert!(
            told.text.ends_with("is away: no answer; it was last heard 3 hours ago; grid x cannot be read"),
            "{told}"
        );
        (to.name, to.heard_ms_ago) = (String::new(), u64::MAX);
        assert!(to.away("x").text.starts_with("node 1a1a1a1a is away: x; it was never heard, and"));
        let words: Vec<String> = [1, 119, 120, 7_199, 7_200, 200_000].map(spoken).into();
        assert_eq!(words, ["1 second", "119 seconds", "2 minutes", "119 minutes", "2 hours", "2 days"]);
    }
}
