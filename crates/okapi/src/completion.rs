//! Completion in the shell: commands, flags, grids and records.

use crate::cli;
use crate::session::Session;
use rustyline::completion::{Completer as Complete, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use std::cell::RefCell;
use std::rc::Rc;

/// Names offered at a time.
const OFFERED_MAX: usize = 200;

/// Completes lines of the shell.
pub(crate) struct Completer {
    session: Rc<RefCell<Session>>,
    list: clap::Command,
}

/// What can stand where the cursor is.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Words(Vec<String>),
    Grid,
    Record,
}

impl Completer {
    pub(crate) fn new(session: Rc<RefCell<Session>>) -> Self {
        let mut list = cli::line_command();
        list.build();
        Self { session, list }
    }

    fn candidates(&self, before: &[&str], word: &str) -> Vec<String> {
        let mut session = self.session.borrow_mut();
        // Whoever cannot be asked has nothing to offer.
        let mut found = match wanted(&self.list, before, word) {
            Wanted::Words(words) => words,
            Wanted::Grid => {
                let grids = session.client().ok().and_then(|client| client.grids().ok()).unwrap_or_default();
                grids.into_iter().map(|info| info.name).collect()
            }
            Wanted::Record => match session.grid() {
                Ok(grid) => grid.records(word).take(OFFERED_MAX).map_while(Result::ok).map(|info| info.name).collect(),
                Err(_) => Vec::new(),
            },
        };
        found.retain(|found| found.starts_with(word));
        found
    }
}

fn wanted(list: &clap::Command, before: &[&str], word: &str) -> Wanted {
    let mut command = list;
    let mut inner = true;
    for before in before {
        match command.find_subcommand(before).filter(|_| inner) {
            Some(found) => command = found,
            None => inner = before.starts_with('-'),
        }
    }
    if matches!(before.last(), Some(&("--grid" | "-g" | "use"))) {
        return Wanted::Grid;
    }
    if word.starts_with('-') {
        let longs = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(clap::Arg::get_long);
        return Wanted::Words(longs.map(|long| format!("--{long}")).collect());
    }
    if command.has_subcommands() {
        let names = command.get_subcommands().map(|inner| inner.get_name().to_owned());
        return Wanted::Words(names.collect());
    }
    match (command.get_name(), before.first()) {
        ("drop", Some(&"grid")) | ("replicate", _) => Wanted::Grid,
        ("put" | "get" | "del" | "ls" | "stat" | "slice" | "cp", _) => Wanted::Record,
        _ => Wanted::Words(Vec::new()),
    }
}

/// The name as a word of the shell's.
fn quoted(name: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '\'' | '"' | '\\' | '#');
    if name.chars().all(plain) { name.to_owned() } else { format!("'{}'", name.replace('\'', "'\\''")) }
}

impl Complete for Completer {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let line = &line[..at];
        let start = line.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let before: Vec<&str> = line[..start].split_whitespace().collect();
        let found = self.candidates(&before, &line[start..]);
        let one = found.len() == 1;
        let pair = |name: String| {
            let end = if one && !name.ends_with('/') { " " } else { "" };
            Pair { replacement: quoted(&name) + end, display: crate::view::shown(&name) }
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Hinter for Completer {
    type Hint = String;
}

impl Highlighter for Completer {}
impl Validator for Completer {}
impl Helper for Completer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_wants_its_own() {
        let mut list = cli::line_command();
        list.build();
        let words = |before: &[&str], word: &str| match wanted(&list, before, word) {
            Wanted::Words(words) => words,
            other => panic!("{other:?}"),
        };
        assert!(words(&[], "").contains(&"put".to_owned()));
        assert!(words(&["grid"], "").contains(&"create".to_owned()));
        assert!(words(&["put"], "--").contains(&"--if-generation".to_owned()));
        assert!(words(&["put"], "--").contains(&"--json".to_owned()));
        assert_eq!(wanted(&list, &["use"], ""), Wanted::Grid);
        assert_eq!(wanted(&list, &["get", "--grid"], ""), Wanted::Grid);
        assert_eq!(wanted(&list, &["grid", "drop"], ""), Wanted::Grid);
        assert_eq!(wanted(&list, &["get"], "pho"), Wanted::Record);
    }

    #[test]
    fn names_with_blanks_are_quoted() {
        assert_eq!(quoted("a/b.jpg"), "a/b.jpg");
        assert_eq!(crate::words::split(&quoted("it's a b")).unwrap(), ["it's a b"]);
    }
}
