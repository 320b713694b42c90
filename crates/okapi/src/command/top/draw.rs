//! The drawing of one frame.

use super::history::Rates;
use super::screen::Screen;
use crate::size::{Count, Size, counted, lasted, moment};
use crate::standing::{bar, days, grade, presence, state, state_tone, title};
use crate::view::{Tone, shown};
use okapi_client::group::{GroupMember, GroupState, GroupStatus, MemberPresence, MemberState};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState};
use std::time::Duration;

/// Lines for the chosen node.
const CHOSEN: u16 = 4;
/// Columns of the labels and of a bar.
const LABEL: usize = 12;
const BAR: usize = 24;
/// Columns of a spark in the head and in the table.
const SPARK: usize = 16;
const SPARK_SMALL: usize = 5;
/// From how many columns on there is room for the traffic of all links beside the bars.
const TRAFFIC_FROM: u16 = 100;
/// From how many columns on there is room in the table: for the link; for a column for the state; for sparks; for what a
/// node gives.
const LINKS_FROM: u16 = 92;
const STATES_FROM: u16 = 108;
const SPARKS_FROM: u16 = 116;
const GIVES_FROM: u16 = 128;
/// Events that are drawn where there is room for all.
const EVENTS: usize = 8;

/// Lines that show all of it.
pub(super) fn height(screen: &Screen) -> u16 {
    let Some(status) = &screen.status else { return 1 };
    let head = head_lines(Pen { colored: false }, status).len();
    let nodes = screen.members().len() + 3;
    let events = status.events.len().min(EVENTS) + 2;
    u16::try_from(head + nodes + events + 1).unwrap_or(u16::MAX)
}

/// Draws all of it; `now` is the time in milliseconds since 1970.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen, now: u64) {
    let pen = Pen { colored: screen.colored };
    let Some(status) = &screen.status else { return };
    let members = screen.members();
    let wanted = u16::try_from(members.len() + 3).unwrap_or(u16::MAX);
    let chosen = screen.chosen().map(|at| members[at]);
    let head_lines = head_lines(pen, status);
    let [head, nodes, detail, events, foot] = Layout::vertical([
        Constraint::Length(head_lines.len() as u16),
        Constraint::Max(wanted),
        Constraint::Length(if chosen.is_some() { CHOSEN } else { 0 }),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines), head);
    if head.width >= TRAFFIC_FROM {
        draw_traffic(frame, head, pen, screen, status, now);
    }
    draw_nodes(frame, nodes, pen, screen, &members);
    if let Some(member) = chosen {
        frame.render_widget(Paragraph::new(detail_lines(pen, member)), detail);
    }
    draw_events(frame, events, pen, status);
    frame.render_widget(foot_line(pen, screen), foot);
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
struct Pen {
    colored: bool,
}

impl Pen {
    fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        if !self.colored {
            return plain;
        }
        match tone {
            Tone::Strong => plain.add_modifier(Modifier::BOLD),
            Tone::Faint => plain.add_modifier(Modifier::DIM),
            Tone::Good | Tone::Record => plain.fg(Color::Green),
            Tone::Bad => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Own => plain.fg(Color::Cyan),
            Tone::Worry => plain.fg(Color::Yellow),
        }
    }

    fn span(self, tone: Tone, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }

    fn label(self, text: &str) -> Span<'static> {
        self.span(Tone::Faint, format!(" {text:LABEL$}"))
    }

    fn bar(self, tone: Tone, part: u64, whole: u64) -> [Span<'static>; 3] {
        let (full, rest) = bar(part, whole, BAR);
        let percent = if whole == 0 { 0 } else { u128::from(part) * 100 / u128::from(whole) };
        [self.span(tone, full), self.span(Tone::Faint, rest), Span::raw(format!(" {percent:>3} %  "))]
    }
}

fn head_lines(pen: Pen, status: &GroupStatus) -> Vec<Line<'static>> {
    let name = title(&status.name, &status.node.0);
    let mut lines = vec![Line::from(vec![
        pen.label("this node"),
        pen.span(Tone::Strong, name),
        Span::raw(" is "),
        pen.span(state_tone(status.state), state(status)),
    ])];
    if !status.note.is_empty() {
        let tone = if status.state == GroupState::Halted { Tone::Bad } else { Tone::Worry };
        lines.push(Line::from(vec![pen.label(""), pen.span(tone, shown(&status.note))]));
    }
    for (label, used, whole) in [
        ("user half", status.halves.user_used, status.halves.user),
        ("server half", status.halves.server_used, status.halves.server),
    ] {
        let tone = if used >= whole { Tone::Bad } else { Tone::Own };
        let mut line = vec![pen.label(label)];
        line.extend(pen.bar(tone, used, whole));
        line.push(Span::raw(format!("{} of {}", Size(used), Size(whole))));
        lines.push(Line::from(line));
    }
    lines.push(safety_line(pen, status));
    lines.push(care_line(pen, status));
    lines.push(work_line(pen, status));
    lines
}

/// The time and what goes over all links, at the right of the first lines.
fn draw_traffic(frame: &mut Frame<'_>, area: Rect, pen: Pen, screen: &Screen, status: &GroupStatus, now: u64) {
    let all = &screen.history.all;
    let traffic = |arrow: &str, rates: &Rates| {
        let rate = Size(rates.now()).to_string();
        vec![pen.span(Tone::Own, rates.spark(SPARK)), Span::raw(format!(" {arrow} {rate:>10}/s "))]
    };
    let wide = u16::try_from(SPARK + 20).expect("a few columns").min(area.width);
    let corner = |y: u16, height: u16| {
        let (y, height) = (y.min(area.height), height.min(area.height.saturating_sub(y)));
        Rect { x: area.right() - wide, y: area.y + y, width: wide, height }
    };
    let time = Line::from(pen.span(Tone::Faint, format!("{} UTC ", &moment(now)[11..])));
    frame.render_widget(time.alignment(Alignment::Right), corner(0, 1));
    if all.sent.is_empty() {
        // It takes two looks to tell how fast it goes.
        return;
    }
    let lines = vec![Line::from(traffic("↑", &all.sent)), Line::from(traffic("↓", &all.received))];
    // Beside the two halves.
    let first = if status.note.is_empty() { 1 } else { 2 };
    frame.render_widget(Paragraph::new(lines).alignment(Alignment::Right), corner(first, 2));
}

fn safety_line(pen: Pen, status: &GroupStatus) -> Line<'static> {
    let (own, restore) = (&status.own, &status.restore);
    if status.state == GroupState::Restoring {
        let mut line = vec![pen.label("restored")];
        line.extend(pen.bar(Tone::Good, restore.restored_bytes, restore.bytes));
        let segments = format!("{} of {}", Count(restore.restored), counted(restore.segments, "segment"));
        line.push(Span::raw(format!("{} of {}, {segments}", Size(restore.restored_bytes), Size(restore.bytes))));
        return Line::from(line);
    }
    let mut line = vec![pen.label("safe")];
    line.extend(pen.bar(Tone::Good, own.safe_bytes, own.bytes));
    line.push(Span::raw(format!("{} of {}", Size(own.safe_bytes), Size(own.bytes))));
    Line::from(line)
}

/// How safe it is, and what is not.
fn care_line(pen: Pen, status: &GroupStatus) -> Line<'static> {
    let (own, restore) = (&status.own, &status.restore);
    if status.state == GroupState::Restoring {
        let text = match restore.members_needed {
            0 => "nothing: all of it can be had from those who are here".to_owned(),
            needed => {
                format!("{} for {}", counted(restore.waiting, "segment"), counted(u64::from(needed), "more node"))
            }
        };
        return Line::from(vec![pen.label("waiting"), Span::raw(text)]);
    }
    let mut line = vec![pen.label("how safe")];
    // What is not comes first: a narrow terminal cuts the rest.
    if own.at_risk > 0 {
        line.push(pen.span(Tone::Bad, format!("{} at risk", counted(own.at_risk, "segment"))));
        line.push(Span::raw(", "));
    }
    if own.local_bytes > 0 {
        line.push(pen.span(Tone::Worry, format!("{} only here", Size(own.local_bytes))));
        line.push(Span::raw(", "));
    }
    line.push(Span::raw(if own.safe_segments > 0 {
        format!("least {}, median {}", days(own.least_days), days(own.median_days))
    } else {
        "nothing lies with others yet".to_owned()
    }));
    Line::from(line)
}

fn work_line(pen: Pen, status: &GroupStatus) -> Line<'static> {
    let work = &status.work;
    let mut parts: Vec<String> = [(work.placing, "being placed"), (work.mending, "being mended")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, doing)| format!("{} {doing}", counted(u64::from(count), "segment")))
        .collect();
    if work.repaired_shards > 0 {
        let shards = counted(work.repaired_shards, "shard");
        parts.push(format!("{shards} ({}) repaired so far", Size(work.repaired_bytes)));
    }
    if parts.is_empty() {
        parts.push("nothing".to_owned());
    }
    let mut line = vec![pen.label("busy with"), Span::raw(parts.join(", "))];
    if !work.paused.is_empty() {
        line.push(pen.span(Tone::Worry, format!("  paused: {}", shown(&work.paused))));
    }
    Line::from(line)
}

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Name,
    State,
    Heard,
    Gives,
    OurData,
    ItsData,
    Up,
    Down,
    Link,
}

/// The columns that there is room for, and whether there is for sparks.
fn columns(wide: u16) -> (Vec<Column>, bool) {
    use Column::{Down, Gives, Heard, ItsData, Link, Name, OurData, State, Up};
    let wanted = [Name, State, Heard, Gives, OurData, ItsData, Up, Down, Link];
    let fits = |column: &Column| match column {
        Link => wide >= LINKS_FROM,
        State => wide >= STATES_FROM,
        Gives => wide >= GIVES_FROM,
        _ => true,
    };
    (wanted.into_iter().filter(fits).collect(), wide >= SPARKS_FROM)
}

impl Column {
    const fn heading(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Heard => "heard",
            Self::Gives => "gives",
            Self::OurData => "your data",
            Self::ItsData => "its data",
            Self::Up => "↑",
            Self::Down => "↓",
            Self::Link => "link",
        }
    }

    const fn is_right(self) -> bool {
        matches!(self, Self::Gives | Self::OurData | Self::ItsData | Self::Up | Self::Down)
    }

    const fn width(self, sparks: bool) -> Constraint {
        match self {
            Self::Name => Constraint::Max(18),
            Self::State => Constraint::Length(11),
            Self::Heard => Constraint::Length(12),
            Self::Gives | Self::OurData | Self::ItsData => Constraint::Length(9),
            Self::Up | Self::Down if sparks => Constraint::Length(12 + SPARK_SMALL as u16),
            Self::Up | Self::Down => Constraint::Length(11),
            Self::Link => Constraint::Fill(1),
        }
    }
}

fn draw_nodes(frame: &mut Frame<'_>, area: Rect, pen: Pen, screen: &Screen, members: &[&GroupMember]) {
    let (columns, sparks) = columns(area.width);
    let cell = |column: Column, text: Span<'static>| {
        let alignment = if column.is_right() { Alignment::Right } else { Alignment::Left };
        Cell::from(Line::from(text).alignment(alignment))
    };
    let widths = columns.iter().map(|column| column.width(sparks));
    let heads = columns.iter().map(|column| cell(*column, Span::raw(column.heading())));
    let whole = columns.contains(&Column::State);
    let rows = members.iter().map(|member| {
        Row::new(columns.iter().map(|column| cell(*column, value(pen, screen, member, *column, whole, sparks))))
    });
    let block = Block::bordered().title(" nodes ").border_style(pen.style(Tone::Faint));
    let highlight = if pen.colored { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
    let table = Table::new(rows, widths)
        .header(Row::new(heads).style(pen.style(Tone::Faint)))
        .block(block)
        .highlight_symbol("▸")
        .row_highlight_style(highlight);
    let mut state = TableState::default().with_selected(screen.chosen());
    frame.render_stateful_widget(table, area, &mut state);
}

/// What stands in one cell; `whole`: the state has a column of its own.
fn value(pen: Pen, screen: &Screen, member: &GroupMember, column: Column, whole: bool, sparks: bool) -> Span<'static> {
    let own = member.presence == MemberPresence::This;
    let held = |bytes: u64| if own { "-".to_owned() } else { Size(bytes).to_string() };
    let traffic = screen.history.of(member.node);
    let speed = |rate: u64, rates: Option<&Rates>| {
        let rate = if rate > 0 { format!("{}/s", Size(rate)) } else { "-".to_owned() };
        match rates.filter(|_| sparks) {
            Some(rates) => format!("{} {rate:>11}", rates.spark(SPARK_SMALL)),
            None => rate,
        }
    };
    let standing = match member.state {
        MemberState::Active => grade(member.grade),
        MemberState::Leaving => Some("leaving"),
        MemberState::Parted => Some("parted"),
    };
    let text = match column {
        Column::Name => title(&member.name, &member.node.0),
        Column::State => standing.unwrap_or("active").to_owned(),
        Column::Heard => {
            let tone = match member.presence {
                MemberPresence::This => Tone::Strong,
                MemberPresence::Here => Tone::Good,
                MemberPresence::Away => Tone::Worry,
                MemberPresence::Gone => Tone::Bad,
            };
            let here = matches!(member.presence, MemberPresence::Here | MemberPresence::This);
            let text = standing.filter(|_| here && !whole).map_or_else(|| presence(member), str::to_owned);
            return pen.span(tone, text);
        }
        Column::Gives => Size(member.promise).to_string(),
        Column::OurData => held(member.holds_for_us),
        Column::ItsData => held(member.held_for_it),
        Column::Up => speed(member.upload, traffic.map(|traffic| &traffic.sent)),
        Column::Down => speed(member.download, traffic.map(|traffic| &traffic.received)),
        Column::Link => shown(&member.link),
    };
    Span::raw(text)
}

/// All about the chosen node.
fn detail_lines(pen: Pen, member: &GroupMember) -> Vec<Line<'static>> {
    let trip = match member.round_trip_us {
        0 => "not measured".to_owned(),
        us => lasted(Duration::from_micros(u64::from(us))),
    };
    let (promise, proven) = (Size(member.promise), Size(member.proven));
    vec![
        Line::from(vec![pen.label("node"), Span::raw(format!("{}, number {}", member.node, member.number))]),
        Line::from(vec![pen.label("of member"), Span::raw(format!("{}, site {:x}", member.member, member.site))]),
        Line::from(vec![pen.label("gives"), Span::raw(format!("{promise}, of which others have verified {proven}"))]),
        Line::from(vec![pen.label("link"), Span::raw(format!("{}, round trip {trip}", shown(&member.link)))]),
    ]
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, pen: Pen, status: &GroupStatus) {
    if area.height < 3 {
        return;
    }
    let block = Block::bordered().title(" events ").border_style(pen.style(Tone::Faint));
    let room = usize::from(area.height - 2);
    // The newest first: that is what one looks for.
    let lines = status.events.iter().rev().take(room).map(|event| {
        let time = pen.span(Tone::Faint, format!("{}  ", moment(event.stamp)));
        Line::from(vec![time, Span::raw(shown(&event.text))])
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block), area);
}

fn foot_line(pen: Pen, screen: &Screen) -> Line<'static> {
    match &screen.trouble {
        Some(trouble) => Line::from(pen.span(Tone::Bad, format!(" not seen just now: {}", shown(trouble)))),
        None => Line::from(pen.span(Tone::Faint, " q ends  ↑ ↓ choose a node")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use std::time::Instant;

    const NOW: u64 = 1_795_251_786_000;
    const MIB: u64 = 1 << 20;

    /// A screen on which the same was seen a few times, while bytes went by.
    fn screen(status: &GroupStatus) -> Screen {
        let (mut screen, begin) = (Screen::new(false), Instant::now());
        for look in 0..6 {
            let mut status = status.clone();
            status.work.sent_bytes += look * look * MIB;
            status.work.received_bytes += look * 3 * MIB;
            screen.saw(begin + Duration::from_secs(look), status);
        }
        screen
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, screen, NOW)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| format!("{}\n", line(y).trim_end())).collect()
    }

    /// Frames as they look; whoever changes them looks at these files.
    #[test]
    fn frames_in_every_state() {
        let mut chosen = screen(&pretend::member());
        chosen.key(KeyEvent::new(KeyCode::Home, KeyModifiers::NONE));
        chosen.key(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
        let mut lost = screen(&pretend::alone());
        lost.saw_nothing("no answer within 30s".to_owned());
        for (name, screen, width, height, looks) in [
            ("member-120", screen(&pretend::member()), 120, 26, include_str!("draw/member-120.txt")),
            ("member-80", screen(&pretend::member()), 80, 24, include_str!("draw/member-80.txt")),
            ("chosen", chosen, 100, 24, include_str!("draw/chosen.txt")),
            ("restoring", screen(&pretend::restoring()), 100, 20, include_str!("draw/restoring.txt")),
            ("halted", screen(&pretend::halted()), 100, 20, include_str!("draw/halted.txt")),
            ("lost", lost, 80, 16, include_str!("draw/lost.txt")),
        ] {
            assert_eq!(drawn(&screen, width, height), looks, "{name}");
        }
    }

    #[test]
    fn no_size_is_too_small_and_one_frame_shows_all() {
        let screen = screen(&pretend::member());
        for (width, height) in [(1, 1), (2, 3), (10, 5), (79, 9), (300, 100)] {
            drawn(&screen, width, height);
        }
        let whole = drawn(&screen, 120, height(&screen));
        for text in ["attic is in", "04040404", "shed is away", "q ends"] {
            assert!(whole.contains(text), "{text}: {whole}");
        }
    }

    #[test]
    fn colours_only_for_those_who_want_them() {
        let styled = |colored: bool| {
            let mut screen = screen(&pretend::member());
            screen.colored = colored;
            let mut terminal = Terminal::new(TestBackend::new(100, 24)).unwrap();
            terminal.draw(|frame| draw(frame, &screen, NOW)).unwrap();
            let buffer = terminal.backend().buffer().clone();
            buffer.content().iter().filter(|cell| cell.style().fg != Some(Color::Reset)).count()
        };
        assert_eq!(styled(false), 0);
        assert!(styled(true) > 50);
    }
}
