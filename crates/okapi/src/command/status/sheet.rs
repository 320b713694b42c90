//! What `okapi status` tells of the group: a sheet of lines, each with a label.

use crate::size::{Count, Size, counted};
use crate::standing::{Tally, bar, days, grade, presence, rates, short, state, state_tone, survives, title};
use crate::view::{Tone, View, shown};
use okapi_client::group::{GroupMember, GroupRisk, GroupState, GroupStatus, MemberPresence, MemberState};

/// Columns of the labels.
const LABEL: usize = 12;
/// Columns of a bar.
const BAR: usize = 24;
/// Segments at risk that are listed, unless all are asked for.
const RISKS_SHOWN: usize = 8;

/// The lines; with `all` every segment at risk that is known.
pub(super) fn lines(view: &View, status: &GroupStatus, all: bool) -> Vec<String> {
    let mut sheet = Sheet { view, lines: Vec::new() };
    sheet.standing(status);
    sheet.shape(status);
    sheet.halves(status);
    if status.state == GroupState::Restoring {
        sheet.restore(status);
    } else {
        sheet.own(status);
    }
    sheet.risks(status, all);
    sheet.work(status);
    sheet.links(status);
    sheet.next(status);
    sheet.lines
}

struct Sheet<'a> {
    view: &'a View,
    lines: Vec<String>,
}

impl Sheet<'_> {
    fn add(&mut self, label: &str, text: impl std::fmt::Display) {
        let label = self.view.paint(Tone::Faint, format_args!("{label:LABEL$}"));
        self.lines.push(format!("{label}  {text}"));
    }

    fn bar(&self, tone: Tone, part: u64, whole: u64) -> String {
        let (full, rest) = bar(part, whole, BAR);
        let percent = if whole == 0 { 0 } else { u128::from(part) * 100 / u128::from(whole) };
        format!("{}{} {percent:>3} %", self.view.paint(tone, full), self.view.paint(Tone::Faint, rest))
    }

    fn standing(&mut self, status: &GroupStatus) {
        let name = title(&status.name, &status.node.0);
        let words = self.view.paint(state_tone(status.state), state(status));
        self.add("this node", format_args!("{} is {words}", self.view.paint(Tone::Strong, name)));
        if !status.note.is_empty() {
            let tone = if status.state == GroupState::Halted { Tone::Bad } else { Tone::Worry };
            self.add("", self.view.paint(tone, shown(&status.note)));
        }
    }

    fn shape(&mut self, status: &GroupStatus) {
        let (k, n) = (status.shape.k(), status.shape.n());
        let text = match n {
            1 => "a second copy in this node's own server half, until others are here".to_owned(),
            _ if k == 1 => format!("a copy of each segment at {n} places"),
            _ => format!("{n} shards of each segment, any {k} of which bring it back"),
        };
        self.add("spatter", format_args!("{}: {text}", status.shape));
    }

    fn halves(&mut self, status: &GroupStatus) {
        let halves = &status.halves;
        for (label, used, whole) in
            [("user half", halves.user_used, halves.user), ("server half", halves.server_used, halves.server)]
        {
            let full = if used >= whole { Tone::Bad } else { Tone::Own };
            let bar = self.bar(full, used, whole);
            self.add(label, format_args!("{bar}  {} of {}", Size(used), Size(whole)));
        }
    }

    fn own(&mut self, status: &GroupStatus) {
        let own = &status.own;
        if own.segments > 0 {
            let bar = self.bar(Tone::Good, own.safe_bytes, own.bytes);
            self.add("safe", format_args!("{bar}  {} of {}", Size(own.safe_bytes), Size(own.bytes)));
        }
        if own.safe_segments > 0 {
            let counts = format!("{} of {}", Count(own.safe_segments), counted(own.segments, "segment"));
            let (least, median) = (days(own.least_days), days(own.median_days));
            self.add("how safe", format_args!("{counts}: least {least}, median {median}"));
        }
        let text = match own.local_bytes {
            0 if own.segments == 0 => "nothing: nothing is stored yet".to_owned(),
            0 => self.view.paint(Tone::Good, "nothing: the others have their parts of all of it"),
            bytes => self.view.paint(Tone::Worry, format_args!("{} that nobody else has a part of yet", Size(bytes))),
        };
        self.add("only here", text);
    }

    fn restore(&mut self, status: &GroupStatus) {
        let restore = &status.restore;
        if restore.segments == 0 {
            self.add("restored", "the others are being asked what there is");
            return;
        }
        let bar = self.bar(Tone::Good, restore.restored_bytes, restore.bytes);
        self.add("restored", format_args!("{bar}  {} of {}", Size(restore.restored_bytes), Size(restore.bytes)));
        let back = format!("{} of {}", Count(restore.restored), counted(restore.segments, "segment"));
        self.add("", format_args!("{back}; it serves once all is back"));
        if restore.members_needed > 0 {
            let needed = counted(u64::from(restore.members_needed), "more node");
            let waiting = counted(restore.waiting, "segment");
            let text = format!("{waiting} wait until {needed} can be reached; the rest goes on");
            self.add("", self.view.paint(Tone::Worry, text));
        }
        if restore.members_silent > 0 {
            let silent = counted(u64::from(restore.members_silent), "node");
            let text = format!("{silent} did not answer yet, and may know of more");
            self.add("", self.view.paint(Tone::Worry, text));
        }
    }

    fn risks(&mut self, status: &GroupStatus, all: bool) {
        if status.own.at_risk == 0 && status.risks.is_empty() {
            return;
        }
        let count = status.own.at_risk.max(status.risks.len() as u64);
        self.add("at risk", self.view.paint(Tone::Bad, counted(count, "segment")));
        let shown = if all { status.risks.len() } else { status.risks.len().min(RISKS_SHOWN) };
        for risk in &status.risks[..shown] {
            self.risk(risk);
        }
        if count > shown as u64 {
            let hint = if shown < status.risks.len() { "; -v lists more" } else { "" };
            self.add("", format_args!("and {} more{hint}", Count(count - shown as u64)));
        }
    }

    fn risk(&mut self, risk: &GroupRisk) {
        let left = format!("{}, {}", survives(risk.survives), days(risk.days));
        let left = self.view.paint(if risk.survives == 0 { Tone::Bad } else { Tone::Worry }, left);
        self.add(&format!("  {}", short(&risk.segment.0)), format_args!("{}  {left}", Size(risk.bytes)));
        for record in &risk.records {
            self.add("", format_args!("  {}", shown(record)));
        }
    }

    fn work(&mut self, status: &GroupStatus) {
        let work = &status.work;
        let parts: Vec<String> = [(work.placing, "placed"), (work.mending, "mended")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, doing)| format!("{} being {doing}", counted(u64::from(count), "segment")))
            .collect();
        if !parts.is_empty() {
            self.add("busy with", parts.join(", "));
        }
        if !work.paused.is_empty() {
            self.add("paused", self.view.paint(Tone::Worry, shown(&work.paused)));
        }
        if work.repaired_shards > 0 {
            let shards = counted(work.repaired_shards, "shard");
            self.add("repaired", format_args!("{shards}, {} since it started", Size(work.repaired_bytes)));
        }
        if work.sent_bytes > 0 || work.received_bytes > 0 {
            let (sent, received) = (Size(work.sent_bytes), Size(work.received_bytes));
            self.add("traffic", format_args!("{sent} sent, {received} received since it started"));
        }
    }

    fn links(&mut self, status: &GroupStatus) {
        let others: Vec<&GroupMember> = status
            .members
            .iter()
            .filter(|member| member.presence != MemberPresence::This && member.state != MemberState::Parted)
            .collect();
        if others.is_empty() {
            return;
        }
        let here = Tally::of(status).here.saturating_sub(1);
        self.add("links", format_args!("{here} of {} reached", counted(others.len() as u64, "other node")));
        let name = |member: &GroupMember| crate::view::cut(&title(&member.name, &member.node.0), LABEL - 2);
        for member in others {
            let how = match member.presence {
                MemberPresence::Here => link(member),
                MemberPresence::Away => self.view.paint(Tone::Worry, link(member)),
                _ => self.view.paint(Tone::Bad, link(member)),
            };
            self.add(&format!("  {}", name(member)), how);
        }
    }

    fn next(&mut self, status: &GroupStatus) {
        let text = match status.state {
            GroupState::Alone => "`okapi invite` makes a ticket for another member; `okapi join` takes one",
            GroupState::Parted => "`okapi join TICKET` enters a group again",
            _ => return,
        };
        self.add("next", text);
    }
}

/// How one of the others is reached, and how quickly.
fn link(member: &GroupMember) -> String {
    let mut parts = Vec::new();
    if member.presence != MemberPresence::Here {
        parts.push(presence(member));
    }
    parts.extend((!member.link.is_empty()).then(|| shown(&member.link)));
    parts.extend((member.round_trip_us > 0).then(|| trip(member.round_trip_us)));
    parts.extend(Some(rates(member)).filter(|rates| rates != "-"));
    parts.extend((member.state == MemberState::Leaving).then(|| "leaving".to_owned()));
    parts.extend(grade(member.grade).map(str::to_owned));
    parts.join("  ")
}

fn trip(us: u32) -> String {
    crate::size::lasted(std::time::Duration::from_micros(u64::from(us)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;

    fn sheet(status: &GroupStatus) -> String {
        let lines = lines(&View::plain(std::io::sink()), status, false);
        for line in &lines {
            assert!(line.chars().count() <= 100, "{line}");
        }
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// The sheets as they look; whoever changes them looks at these files.
    #[test]
    fn sheets_in_every_state() {
        for (name, status, looks) in [
            ("alone", pretend::alone(), include_str!("sheet/alone.txt")),
            ("member", pretend::member(), include_str!("sheet/member.txt")),
            ("leaving", pretend::leaving(), include_str!("sheet/leaving.txt")),
            ("restoring", pretend::restoring(), include_str!("sheet/restoring.txt")),
            ("halted", pretend::halted(), include_str!("sheet/halted.txt")),
        ] {
            assert_eq!(sheet(&status), looks, "{name}");
        }
    }

    #[test]
    fn more_is_listed_if_asked_for_and_all_are_counted() {
        let mut status = pretend::member();
        status.risks = vec![status.risks[2].clone(); 10];
        status.own.at_risk = 500;
        assert!(sheet(&status).contains("\n              and 492 more; -v lists more\n"));
        let view = View::plain(std::io::sink());
        let all = lines(&view, &status, true);
        assert_eq!(all.iter().filter(|line| line.contains("41414141")).count(), 10);
        assert!(all.iter().any(|line| line.trim() == "and 490 more"));
    }

    #[test]
    fn names_and_notes_cannot_trick_the_terminal() {
        let mut status = pretend::halted();
        status.note = "a\u{1b}[2Jb".to_owned();
        status.members[1].link = "c\u{7}".to_owned();
        status.risks[0].records = vec!["d\n".to_owned()];
        assert!(!sheet(&status).contains(['\u{1b}', '\u{7}']));
        assert!(sheet(&status).contains("d\\u{a}"));
    }
}
