//! Passphrases: from a file, from the environment, or typed on the terminal without being seen.

use crate::failure::Failure;
use okapi_seal::{Passphrase, key_file, passphrase::PASSPHRASE_MAX};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Where a passphrase that nobody types comes from.
const VARIABLE: &str = "OKAPI_PASSPHRASE";

/// Where a passphrase comes from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Source {
    /// A file that holds the passphrase [otherwise: OKAPI_PASSPHRASE, or the terminal asks]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Source {
    /// The passphrase of `what` that is there already.
    ///
    /// # Errors
    /// [`Failure`] if there is none to be had.
    pub(crate) fn known(&self, what: &str) -> Result<Passphrase, Failure> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => Terminal::open()?.ask(&format!("passphrase of {what}: ")),
        }
    }

    /// A new passphrase for `what`, typed twice if it is typed.
    ///
    /// # Errors
    /// [`Failure`] if there is none to be had.
    pub(crate) fn chosen(&self, what: &str) -> Result<Passphrase, Failure> {
        if let Some(passphrase) = self.given()? {
            return Ok(passphrase);
        }
        let mut terminal = Terminal::open()?;
        let passphrase = terminal.ask(&format!("new passphrase for {what}: "))?;
        if terminal.ask("once more: ")?.is(&passphrase) {
            Ok(passphrase)
        } else {
            Err(Failure::usage("the two passphrases differ; nothing was done"))
        }
    }

    fn given(&self) -> Result<Option<Passphrase>, Failure> {
        let text = match (&self.passphrase_file, std::env::var(VARIABLE)) {
            (Some(path), _) => {
                // A byte more than a passphrase has: its line end.
                let mut bytes = key_file::read(path, PASSPHRASE_MAX + 2)?;
                let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
                let length = line.map_or(bytes.len(), <[u8]>::len);
                bytes.truncate(length);
                text(&bytes).map_err(|failure| failure.at(path.display()))?
            }
            (None, Ok(text)) => Zeroizing::new(text),
            (None, Err(std::env::VarError::NotUnicode(_))) => {
                return Err(Failure::usage(format!("{VARIABLE} is not UTF-8")));
            }
            (None, Err(std::env::VarError::NotPresent)) => return Ok(None),
        };
        Passphrase::new(text).map(Some).map_err(|error| Failure::usage(error.to_string()))
    }
}

fn text(bytes: &[u8]) -> Result<Zeroizing<String>, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| Failure::usage("a passphrase is UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The terminal, which shows nothing of what is typed. As it was before once this is dropped.
struct Terminal {
    file: File,
    before: Termios,
}

impl Terminal {
    /// The terminal itself, as standard input may be a pipe with other things in it.
    fn open() -> Result<Self, Failure> {
        let file = File::options().read(true).write(true).open("/dev/tty").map_err(|_| {
            Failure::of(
                "no-passphrase",
                format!("a passphrase is needed and there is no terminal to ask on; give --passphrase-file FILE or set {VARIABLE}"),
            )
        })?;
        let failure = |error: rustix::io::Errno| Failure::io("the terminal", &error.into());
        let before = tcgetattr(&file).map_err(failure)?;
        let mut quiet = before.clone();
        // Without lines and signals too: Ctrl-C would end the program and leave the terminal mute.
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(&file, OptionalActions::Flush, &quiet).map_err(failure)?;
        Ok(Self { file, before })
    }

    fn ask(&mut self, prompt: &str) -> Result<Passphrase, Failure> {
        let failure = |error: std::io::Error| Failure::io("the terminal", &error);
        self.file.write_all(prompt.as_bytes()).map_err(failure)?;
        let line = self.line();
        self.file.write_all(b"\n").map_err(failure)?;
        Passphrase::new(text(&line?)?).map_err(|error| Failure::usage(error.to_string()))
    }

    fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        // Never grown: that would leave copies behind.
        let mut line = Zeroizing::new(Vec::with_capacity(PASSPHRASE_MAX));
        let mut byte = Zeroizing::new([0]);
        loop {
            let count = self.file.read(byte.as_mut_slice()).map_err(|error| Failure::io("the terminal", &error))?;
            match (count, byte[0]) {
                (0, _) | (_, 0x03 | 0x04) => return Err(Failure::of("interrupted", "no passphrase was typed")),
                (_, b'\n' | b'\r') => return Ok(line),
                (_, 0x08 | 0x7f) => take_back(&mut line),
                (_, 0x15) => line.clear(),
                (_, byte) if line.len() < PASSPHRASE_MAX => line.push(byte),
                _ => return Err(Failure::usage(format!("a passphrase has at most {PASSPHRASE_MAX} bytes"))),
            }
        }
    }
}

/// Removes the last character, all its bytes.
fn take_back(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // If the terminal is gone it needs no mending.
        let _ = tcsetattr(&self.file, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backspace_takes_back_a_character() {
        let mut line = "aß€".as_bytes().to_vec();
        for left in ["aß", "a", "", ""] {
            take_back(&mut line);
            assert_eq!(line, left.as_bytes());
        }
    }
}
