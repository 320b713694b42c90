//! Where the demo is shown: steps that stay, and below them the machines as they are now.

use crate::failure::Failure;
use crate::session::Session;
use crate::size::lasted;
use crate::standing::bar;
use crate::view::{Tone, View};
use serde_json::json;
use std::time::{Duration, Instant};

/// Columns of a step's text.
const TEXT: usize = 58;
/// Characters of a machine's bars.
const BAR: usize = 16;

/// How a machine is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Actor {
    pub(super) name: &'static str,
    pub(super) state: State,
    /// Bytes of its own data.
    pub(super) own: u64,
    /// Bytes it holds for others.
    pub(super) held: u64,
}

/// How a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is not there yet.
    Absent,
    /// It runs.
    Up,
    /// It has burnt down.
    Burnt,
    /// Its data comes back.
    Returning,
}

/// The stage.
pub(super) struct Stage<'s> {
    view: &'s mut View,
    /// Lines below the steps that are drawn again and again.
    drawn: usize,
    steps: usize,
    begun: Instant,
    next: Instant,
}

impl<'s> Stage<'s> {
    pub(super) fn new(session: &'s mut Session) -> Self {
        let now = Instant::now();
        Self { view: &mut session.view, drawn: 0, steps: 0, begun: now, next: now }
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.clear()?;
        if !self.view.json { self.view.line(text) } else { Ok(()) }
    }

    /// `text` as something that matters less.
    pub(super) fn faint(&self, text: &str) -> String {
        self.view.paint(Tone::Faint, text)
    }

    /// `text` as what it is all about.
    pub(super) fn strong(&self, text: &str) -> String {
        self.view.paint(Tone::Strong, text)
    }

    /// Begins a step.
    pub(super) fn begin(&mut self, text: &str) -> Result<(), Failure> {
        self.steps += 1;
        self.begun = Instant::now();
        self.next = self.begun;
        if self.view.is_terminal() && !self.view.json {
            self.clear()?;
        }
        self.show(&[], text)
    }

    /// A step is done: what came of it stays.
    pub(super) fn done(&mut self, text: &str, outcome: &str) -> Result<Duration, Failure> {
        let took = self.begun.elapsed();
        self.clear()?;
        let number = self.steps;
        if self.view.json {
            self.view
                .json(&json!({"step": number, "what": text, "outcome": outcome, "seconds": took.as_secs_f64()}))?;
        } else {
            let tick = self.view.paint(Tone::Good, "✓");
            let time = self.view.paint(Tone::Faint, lasted(took));
            self.view.line(format_args!(" {tick} {number}  {text:TEXT$}  {time}"))?;
            if !outcome.is_empty() {
                let outcome = self.view.paint(Tone::Faint, outcome);
                self.view.line(format_args!("      {outcome}"))?;
            }
        }
        self.view.flush()?;
        Ok(took)
    }

    /// Draws the machines, and below which step they are at.
    pub(super) fn show(&mut self, actors: &[Actor], text: &str) -> Result<(), Failure> {
        if !self.view.is_terminal() || self.view.json || Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + Duration::from_millis(100);
        let whole = actors.iter().map(|actor| actor.own.max(actor.held)).max().unwrap_or(0);
        let mut lines = vec![format!(" {} {}  {text}", self.view.paint(Tone::Worry, "…"), self.steps)];
        lines.extend(actors.iter().map(|actor| self.line_of(actor, whole)));
        self.clear()?;
        for line in &lines {
            self.view.line(line)?;
        }
        self.drawn = lines.len();
        self.view.flush()
    }

    fn line_of(&self, actor: &Actor, whole: u64) -> String {
        let bar_of = |bytes: u64, tone: Tone| {
            let (full, rest) = bar(bytes, whole, BAR);
            format!("{}{}", self.view.paint(tone, full), self.view.paint(Tone::Faint, rest))
        };
        let name = format!("{:6}", actor.name);
        match actor.state {
            State::Absent => format!("      {}", self.view.paint(Tone::Faint, name)),
            State::Burnt => {
                format!("      {}  {}", self.view.paint(Tone::Faint, name), self.view.paint(Tone::Bad, "burnt down"))
            }
            State::Up | State::Returning => {
                let own = bar_of(actor.own, Tone::Own);
                let held = bar_of(actor.held, Tone::Record);
                let (size, held_size) = (super::size(actor.own), super::size(actor.held));
                format!("      {name}  own {own} {size:>9}   for others {held} {held_size:>9}")
            }
        }
    }

    /// Takes away what was drawn.
    fn clear(&mut self) -> Result<(), Failure> {
        if self.drawn > 0 {
            let up = format!("\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
            let out = self.view.bytes();
            out.write_all(up.as_bytes()).map_err(|error| Failure::io("standard output", &error))?;
        }
        Ok(())
    }
}
