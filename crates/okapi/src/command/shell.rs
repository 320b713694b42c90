//! `okapi shell` and `okapi run`: commands line by line, typed or from a script.

use crate::cli;
use crate::completion::Completer;
use crate::failure::Failure;
use crate::place::GridPlace;
use crate::session::Session;
use crate::settings::state_dir;
use crate::view::Tone;
use crate::words;
use okapi_client::Target;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use std::cell::RefCell;
use std::io::{self, BufRead, IsTerminal};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;

/// Lines of history that are kept.
const HISTORY_MAX: usize = 10_000;
/// Bytes of one line of a script.
const LINE_MAX: usize = 4 << 20;

/// Type commands line by line
///
/// The same commands as everywhere, without `okapi` before them, over one connection; with completion by Tab, and
/// history. `use GRID` changes the grid, `help` lists the commands, `exit` leaves. If standard input is no terminal,
/// its lines are run as `okapi run` does.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi shell                                 the node on this machine
  okapi shell tcp://127.0.0.1:7070            another one
  okapi shell < steps.okapi                   a script")]
pub(crate) struct Args {
    /// The node, instead of --node
    target: Option<Target>,
}

/// Run the commands of a script, one a line
///
/// The same commands as in the shell, in sequence. Quotes hold words together ('a b', \"a b\"); a # begins a comment,
/// but for one that begins a word and has a digit after it: `get #5` is about block 5. At the first command that fails
/// the script stops with the number of its line, and exit code 1.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example of a script:
  # keep a copy of today's photos
  use photos
  put /home/eva/today.jpg today.jpg
  cp today.jpg backup:
  stat today.jpg")]
pub(crate) struct Run {
    /// The script; `-`: standard input
    script: PathBuf,
}

impl Args {
    pub(crate) fn run(self, session: Session) -> Result<(), Failure> {
        let mut session = session;
        if self.target.is_some() {
            session.global.node = self.target;
        }
        if !io::stdin().is_terminal() {
            return run_lines(&mut session, "standard input", &mut io::stdin().lock());
        }
        let client = session.client()?;
        let name = session.view.paint(Tone::Strong, "okapi shell");
        session.view.line(format_args!("{name} at {}, grid {}", client.address(), session.global.grid_name()))?;
        session.view.line(session.view.paint(Tone::Faint, "help lists the commands, Tab completes, exit leaves"))?;
        interact(session)
    }
}

impl Run {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        if self.script.as_os_str() == "-" {
            return run_lines(session, "standard input", &mut io::stdin().lock());
        }
        let name = self.script.display().to_string();
        let file = std::fs::File::open(&self.script).map_err(|error| Failure::io(&name, &error))?;
        run_lines(session, &name, &mut io::BufReader::new(file))
    }
}

/// Runs each line; the first that fails ends it, with its number.
fn run_lines(session: &mut Session, name: &str, lines: &mut dyn BufRead) -> Result<(), Failure> {
    let mut number = 0;
    loop {
        number += 1;
        let place = |failure: Failure| {
            // What has been printed already still wants its line.
            let silent = failure.message.is_empty() && failure.kind != "broken-pipe";
            let message = if silent { "failed".to_owned() } else { failure.message.clone() };
            Failure { exit: crate::failure::Exit::Failed, message, ..failure }.at(format_args!("{name}:{number}"))
        };
        let mut line = Vec::new();
        let read = io::Read::take(&mut *lines, LINE_MAX as u64 + 1).read_until(b'\n', &mut line);
        if read.map_err(|error| place(Failure::io("reading", &error)))? == 0 {
            return Ok(());
        }
        if line.len() > LINE_MAX {
            return Err(place(Failure::usage("the line is longer than 4 MiB")));
        }
        let line = String::from_utf8(line).map_err(|_| place(Failure::usage("the line is not UTF-8")))?;
        match run_line(session, &line) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(failure) => return Err(place(failure)),
        }
    }
}

/// Runs one line; breaks when it says to leave.
fn run_line(session: &mut Session, line: &str) -> Result<ControlFlow<()>, Failure> {
    let words = words::split(line).map_err(Failure::usage)?;
    if words.is_empty() {
        return Ok(ControlFlow::Continue(()));
    }
    let (line, matches) = match cli::parse_line(words) {
        Ok(parsed) => parsed,
        Err(error) if !error.use_stderr() => {
            session.view.line(error.render().to_string().trim_end())?;
            return Ok(ControlFlow::Continue(()));
        }
        Err(error) => return Err(crate::cli::usage_failure(&error)),
    };
    let before = session.global.clone();
    match line.command {
        cli::LineCommand::Exit => return Ok(ControlFlow::Break(())),
        cli::LineCommand::Use { grid } => {
            let opened = session.grid_at(&GridPlace { node: None, grid: Some(grid.clone()) });
            opened.map_err(|failure| session.without_address(failure))?;
            session.global.grid = Some(grid);
        }
        cli::LineCommand::Data(command) => {
            session.set_global(before.overridden(&line.global, &matches));
            let done = command.run(session);
            session.set_global(before);
            session.view.flush()?;
            done?;
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn interact(session: Session) -> Result<(), Failure> {
    let trouble = |error: ReadlineError| Failure::new(format!("the terminal cannot be used: {error}"));
    let session = Rc::new(RefCell::new(session));
    let config = Config::builder().max_history_size(HISTORY_MAX).map_err(trouble)?.history_ignore_space(true).build();
    let mut editor: Editor<Completer, FileHistory> = Editor::with_config(config).map_err(trouble)?;
    editor.set_helper(Some(Completer::new(session.clone())));
    let history = history_file();
    if let Some(file) = &history {
        // The first time there is none yet.
        let _ = editor.load_history(file);
    }
    loop {
        let prompt = format!("{}> ", session.borrow().global.grid_name());
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(trouble(error)),
        };
        if line.trim().is_empty() {
            continue;
        }
        // A history that cannot be kept is no reason not to run the line.
        let _ = editor.add_history_entry(&line);
        let done = run_line(&mut session.borrow_mut(), &line);
        match done {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(failure) => crate::tell_failure(&failure, session.borrow().global.json, session.borrow().global.color),
        }
    }
    if let Some(file) = &history {
        let _ = editor.save_history(file);
    }
    Ok(())
}

fn history_file() -> Option<PathBuf> {
    let directory = state_dir().ok()?;
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}
