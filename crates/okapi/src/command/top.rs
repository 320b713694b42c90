//! `okapi top`: the group, live on the terminal.

mod draw;
mod history;
mod screen;
mod watch;

use crate::failure::Failure;
use crate::session::Session;
use crate::size::Period;
use crate::standing;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::{DefaultTerminal, Terminal};
use screen::Screen;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use watch::Watch;

/// Columns of one frame where no terminal tells.
const COLUMNS: usize = 100;
/// How often the node may be asked.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// How long a look may take before it is told that there is nothing to see.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a key waits for its effect, at most.
const KEYS_EVERY: Duration = Duration::from_millis(50);

/// Watch your group live
///
/// The two halves of the disk, how safe your data is, who is here and how fast, what the node is busy with, and what
/// happened. Keys: arrows choose a node, q ends. With --json one document each time.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi top                         until q is pressed
  okapi top --interval 5s
  okapi top --once                  one look, as text")]
pub(crate) struct Args {
    /// How often to look
    #[arg(long, short = 'i', value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Period,

    /// One look, as text, without a terminal
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Period, String> {
    let period: Period = text.parse()?;
    if INTERVAL.contains(&period.0) { Ok(period) } else { Err("an interval is 100ms to 1h".to_owned()) }
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let on_terminal = io::stdin().is_terminal() && session.view.is_terminal();
        if !(self.once || session.view.json || on_terminal) {
            let text = "there is no terminal to draw on; say --once for one look, or --json";
            return Err(Failure::usage(text));
        }
        let client = session.impatient_client(self.interval.0.max(PATIENCE))?;
        let status = client.group_status().map_err(|error| session.without_address(error.into()))?;
        if session.view.json {
            session.view.json(&standing::json(&status))?;
            if self.once {
                return Ok(());
            }
            let watch = Watch::start(client, self.interval.0);
            loop {
                let status = watch.next()?;
                session.view.json(&standing::json(&status))?;
                session.view.flush()?;
            }
        }
        let mut screen = Screen::new(session.view.is_colored() && !self.once);
        screen.saw(Instant::now(), status);
        if self.once {
            let width = session.view.width().unwrap_or(COLUMNS);
            return once(&screen, width).iter().try_for_each(|line| session.view.line(line));
        }
        let watch = Watch::start(client, self.interval.0);
        let mut terminal = ratatui::try_init().map_err(|error| Failure::io("the terminal", &error))?;
        let done = live(&mut terminal, &mut screen, &watch);
        ratatui::restore();
        done
    }
}

/// Draws and takes keys until the user has seen enough.
fn live(terminal: &mut DefaultTerminal, screen: &mut Screen, watch: &Watch) -> Result<(), Failure> {
    let failure = |error: io::Error| Failure::io("the terminal", &error);
    let mut stale = true;
    loop {
        if stale {
            terminal.draw(|frame| draw::draw(frame, screen, now())).map_err(failure)?;
            stale = false;
        }
        if event::poll(KEYS_EVERY).map_err(failure)? {
            match event::read().map_err(failure)? {
                Event::Key(key) if screen.key(key) => return Ok(()),
                _ => stale = true,
            }
        }
        while let Some(seen) = watch.seen() {
            match seen {
                Ok(status) => screen.saw(Instant::now(), status),
                Err(failure) => screen.saw_nothing(failure.message),
            }
            stale = true;
        }
    }
}

/// One frame as lines of text.
fn once(screen: &Screen, width: usize) -> Vec<String> {
    let (width, height) = (u16::try_from(width).unwrap_or(u16::MAX), draw::height(screen));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory can be drawn on");
    terminal.draw(|frame| draw::draw(frame, screen, now())).expect("memory can be drawn on");
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
