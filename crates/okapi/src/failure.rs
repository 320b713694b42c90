//! What a command ends with when it fails: a kind for scripts, words for people, an exit code for both.

use std::fmt;
use std::io;

/// How a command ended, as its exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It failed, or found damage.
    Failed = 1,
    /// It was not called properly.
    Usage = 2,
    /// What it was about is not there.
    NotFound = 3,
    /// No node could be reached.
    Unreachable = 4,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One word for scripts, as `--json` shows it.
    pub kind: &'static str,
    /// The exit code.
    pub exit: Exit,
    /// What failed and what to do about it. Empty: everything has been said already.
    pub message: String,
}

impl Failure {
    /// It failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { kind: "failed", exit: Exit::Failed, message: message.into() }
    }

    /// It failed with a `kind` of its own.
    pub(crate) fn of(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, ..Self::new(message) }
    }

    /// It was not called properly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: "usage", exit: Exit::Usage, message: message.into() }
    }

    /// Something is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { kind: "not-found", exit: Exit::NotFound, message: message.into() }
    }

    /// No node answers.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { kind: "unreachable", exit: Exit::Unreachable, message: message.into() }
    }

    /// It failed, and everything about it has been printed.
    pub(crate) fn said() -> Self {
        Self::new("")
    }

    /// Nobody reads what is printed any more: the command ends, and there is nobody to tell.
    pub(crate) fn broken_pipe() -> Self {
        Self::of("broken-pipe", "")
    }

    /// An error of reading or writing `what`.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::broken_pipe(),
            io::ErrorKind::NotFound => Self::not_found(format!("{what}: there is no such file")),
            io::ErrorKind::PermissionDenied => Self::of("denied", format!("{what}: permission denied")),
            _ => Self::new(format!("{what}: {}", system_words(error))),
        }
    }

    /// The same with words before it.
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        if !self.message.is_empty() {
            self.message = format!("{place}: {}", self.message);
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// So that a failure can go through the error of a stream.
impl std::error::Error for Failure {}

/// The operating system's words without Rust's number behind them.
pub(crate) fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = without_code(&text);
    if words == text { text } else { words.to_lowercase() }
}

/// A text without the `(os error 13)` that Rust puts behind the system's words.
pub(crate) fn without_code(text: &str) -> String {
    let Some((before, rest)) = text.split_once(" (os error ") else { return text.to_owned() };
    let after = rest.split_once(')').map_or("", |(_, after)| after);
    format!("{before}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_read_as_people_speak() {
        let missing = Failure::io("a.txt", &io::Error::from_raw_os_error(2));
        assert_eq!((missing.exit, missing.to_string().as_str()), (Exit::NotFound, "a.txt: there is no such file"));
        let full = Failure::io("a.txt", &io::Error::from_raw_os_error(28));
        assert_eq!(full.to_string(), "a.txt: no space left on device");
        assert_eq!(full.at("script:3").to_string(), "script:3: a.txt: no space left on device");
        assert_eq!(Failure::said().at("script:3").to_string(), "");
    }
}
