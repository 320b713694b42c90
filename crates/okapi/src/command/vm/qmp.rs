//! Orders to qemu, and what it answers: one JSON document a line.

use crate::failure::Failure;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take. Another order may be before it: qemu listens to one at a time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that an answer has at most.
const ANSWER_MAX: u64 = 1 << 20;

/// A connection to a machine's qemu.
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::WouldBlock`] if it does not answer.
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut this = Self { stream: BufReader::new(stream) };
        this.line()?;
        this.order("qmp_capabilities")?;
        Ok(this)
    }

    /// Gives an order; what it returns.
    ///
    /// # Errors
    /// The system's, and [`io::ErrorKind::Other`] with qemu's words.
    pub(super) fn order(&mut self, order: &str) -> io::Result<Value> {
        writeln!(self.stream.get_mut(), "{}", json!({"execute": order}))?;
        loop {
            let mut answer = self.line()?;
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
            if let Some(words) = answer["error"]["desc"].as_str() {
                return Err(io::Error::other(words.to_owned()));
            }
            // Anything else is news, which nobody waits for.
        }
    }

    fn line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if Read::take(&mut self.stream, ANSWER_MAX).read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        serde_json::from_str(&line).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

/// Gives one order to a machine.
///
/// # Errors
/// [`Failure`] if it cannot be told, or refuses.
pub(super) fn order(socket: &Path, order: &str) -> Result<Value, Failure> {
    let answer = Qmp::connect(socket).and_then(|mut qmp| qmp.order(order));
    answer.map_err(|error| Failure::io("qemu", &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A qemu that says this, whatever it hears.
    fn qemu(said: &'static str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            // Until the other end goes.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        (dir, path)
    }

    #[test]
    fn answers_are_told_from_news() {
        let (_dir, path) =
            qemu("{\"QMP\":{}}\n{\"return\":{}}\n{\"event\":\"STOP\"}\n{\"return\":{\"enabled\":true}}\n");
        assert_eq!(order(&path, "query-kvm").unwrap(), json!({"enabled": true}));
        let (_dir, path) = qemu("{\"QMP\":{}}\n{\"return\":{}}\n{\"error\":{\"desc\":\"no such thing\"}}\n");
        assert_eq!(order(&path, "x").unwrap_err().to_string(), "qemu: no such thing");
        let (_dir, path) = qemu("nonsense\n");
        assert!(order(&path, "x").is_err());
        assert!(order(Path::new("nowhere"), "x").is_err());
    }
}
