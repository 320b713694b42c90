//! What people and scripts see: lines, tables and JSON on standard output; everything else on standard error.

use crate::failure::Failure;
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Columns of a terminal that does not tell.
const WIDTH_DEFAULT: usize = 80;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How and where a command shows what it has to show.
pub(crate) struct View {
    /// JSON instead of words.
    pub json: bool,
    /// Results only: no reports, no progress.
    pub quiet: bool,
    color: bool,
    terminal: bool,
    out: Box<dyn Write>,
}

/// What a piece of text is, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A heading or the thing it is all about.
    Strong,
    /// Labels and what matters less.
    Faint,
    /// It went well.
    Good,
    /// It went wrong.
    Bad,
    /// The user's own blocks in the map.
    Own,
    /// Records in the map.
    Record,
    /// It may go wrong.
    Worry,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Own => AnsiColor::Cyan.on_default(),
            Self::Record => AnsiColor::Green.on_default(),
            Self::Worry => AnsiColor::Yellow.on_default(),
        }
    }
}

impl View {
    /// Standard output, as the flags and the terminal have it.
    pub(crate) fn stdout(json: bool, quiet: bool, color: Color) -> Self {
        let terminal = io::stdout().is_terminal();
        let out = Box::new(io::LineWriter::new(io::stdout()));
        Self { json, quiet, color: wanted(color, terminal), terminal, out }
    }

    /// Any writer, without colours.
    #[cfg(test)]
    pub(crate) fn plain(out: impl Write + 'static) -> Self {
        Self { json: false, quiet: false, color: false, terminal: false, out: Box::new(out) }
    }

    /// Whether a person looks at standard output.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Columns of the terminal that a person looks at; nothing if nobody does.
    pub(crate) fn width(&self) -> Option<usize> {
        let size = || rustix::termios::tcgetwinsize(io::stdout()).ok();
        let columns = || size().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        self.terminal.then(|| columns().unwrap_or(WIDTH_DEFAULT))
    }

    /// Whether colours are used.
    pub(crate) fn is_colored(&self) -> bool {
        self.color
    }

    /// One line of the result.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.out, "{text}").map_err(|error| Failure::io("standard output", &error))
    }

    /// A line that says what was done: nothing with `--quiet`, the object with `--json`.
    pub(crate) fn report(&mut self, text: impl fmt::Display, json: &Value) -> Result<(), Failure> {
        match (self.json, self.quiet) {
            (true, _) => self.json(json),
            (false, true) => Ok(()),
            (false, false) => self.line(text),
        }
    }

    /// One JSON document on one line.
    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(value)
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self) -> &mut dyn Write {
        &mut *self.out
    }

    /// Everything said so far is really out.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::io("standard output", &error))
    }

    /// `text` in the colour of its tone, or as it is.
    pub(crate) fn paint(&self, tone: Tone, text: impl fmt::Display) -> String {
        if self.color { paint(tone, text) } else { text.to_string() }
    }

    /// Names before values, the values lined up.
    pub(crate) fn facts<N: AsRef<str>, V: fmt::Display>(&mut self, facts: &[(N, V)]) -> Result<(), Failure> {
        let width = facts.iter().map(|(name, _)| name.as_ref().chars().count()).max().unwrap_or(0);
        for (name, value) in facts {
            let name = self.paint(Tone::Faint, format_args!("{:width$}", name.as_ref()));
            self.line(format_args!("{name}  {value}"))?;
        }
        Ok(())
    }

    /// Something beside the result, for whoever watches: to standard error.
    pub(crate) fn aside(&self, text: impl fmt::Display) {
        if !self.quiet && !self.json {
            // Nobody to tell if that fails.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// A bar that shows bytes going by: only on a terminal. `length` nothing: nobody knows how many will come.
    pub(crate) fn progress(&self, what: &str, length: Option<u64>) -> Progress {
        if self.quiet || self.json || !io::stderr().is_terminal() {
            return Progress::hidden();
        }
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(12));
        let template = match length {
            Some(_) => {
                "{msg:.24}  {wide_bar:.cyan/dim}  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta}"
            }
            None => "{msg:.24}  {spinner}  {binary_bytes}  {binary_bytes_per_sec}  {elapsed}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is ours").progress_chars("━━─");
        Progress(bar.with_style(style).with_message(shown(what)))
    }

    /// A line on a terminal that is written over and over.
    pub(crate) fn ticker(&self) -> Progress {
        if self.quiet || self.json || !io::stderr().is_terminal() {
            return Progress::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(12));
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is ours");
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress(bar.with_style(style))
    }
}

/// A progress bar, or nothing where nobody would see it; gone when it is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Nothing to see.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// How far it has come.
    pub(crate) fn at(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    /// What it says beside.
    pub(crate) fn say(&self, text: impl fmt::Display) {
        if !self.0.is_hidden() {
            self.0.set_message(text.to_string());
        }
    }

    /// Does something that prints, out of its way.
    pub(crate) fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// `text` in the colour of its tone.
pub(crate) fn paint(tone: Tone, text: impl fmt::Display) -> String {
    let style = tone.style();
    format!("{}{text}{}", style.render(), style.render_reset())
}

/// Whether what is written to something that is a `terminal` or not should have colours.
pub(crate) fn wanted(color: Color, terminal: bool) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// A name from elsewhere as it may be shown: no control characters, so that no name can trick a terminal.
pub(crate) fn shown(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_unicode().collect() } else { vec![c] }).collect()
}

/// At most so many characters of a text; one that is longer ends with a dot for all that is left out.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Rows in columns, two blanks between them; the columns named in `right` are flush right, the last is not padded.
pub(crate) fn columns(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| match widths[column] {
            wide if right.contains(&column) => format!("{cell:>wide$}"),
            _ if column + 1 == row.len() => cell.clone(),
            wide => format!("{cell:<wide$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = columns(&[row(["1", "a", "x"]), row(["1000", "bcd", "yyy"])], &[0]);
        assert_eq!(lines, ["   1  a    x", "1000  bcd  yyy"]);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!((cut("abc", 3), cut("abcd", 3), cut("äöü", 2)), ("abc".into(), "ab…".into(), "ä…".into()));
    }

    #[test]
    fn names_cannot_trick_a_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(shown("übung/ß"), "übung/ß");
    }

    #[test]
    fn colours_are_for_those_who_want_them() {
        assert!(wanted(Color::Always, false) && !wanted(Color::Never, true) && !wanted(Color::Auto, false));
        assert_eq!(View::plain(io::sink()).paint(Tone::Bad, "x"), "x");
        assert_eq!(paint(Tone::Strong, "x"), "\u{1b}[1mx\u{1b}[0m");
    }
}
