//! Questions to whoever sits at the terminal. Where nobody does, a flag must say it.

use crate::failure::Failure;
use std::io::{self, BufRead, IsTerminal, Write};

/// Whether there is somebody to ask.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a text; an empty answer is the `proposal`.
///
/// # Errors
/// [`Failure`] if nobody answers.
pub(crate) fn text(question: &str, proposal: &str) -> Result<String, Failure> {
    let answer = line(&format!("{question} [{proposal}] "))?;
    Ok(if answer.is_empty() { proposal.to_owned() } else { answer })
}

/// Asks yes or no; an empty answer is the `proposal`. Anything else is asked again.
///
/// # Errors
/// [`Failure`] if nobody answers.
pub(crate) fn yes(question: &str, proposal: bool) -> Result<bool, Failure> {
    let choice = if proposal { "[Y/n]" } else { "[y/N]" };
    loop {
        match line(&format!("{question} {choice} "))?.to_lowercase().as_str() {
            "" => return Ok(proposal),
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}

fn line(prompt: &str) -> Result<String, Failure> {
    let failure = |error: io::Error| Failure::io("the terminal", &error);
    let mut out = io::stderr();
    out.write_all(prompt.as_bytes()).and_then(|()| out.flush()).map_err(failure)?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer).map_err(failure)? == 0 {
        // Whoever ends the input has had enough.
        let _ = writeln!(out);
        return Err(Failure::of("interrupted", "no answer was given; nothing was done"));
    }
    Ok(answer.trim().to_owned())
}
