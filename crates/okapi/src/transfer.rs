//! Bytes on their way between a grid and a file, a pipe or a terminal, never more than a buffer of them at a time.

use crate::failure::Failure;
use crate::interrupt;
use crate::view::{Progress, View};
use okapi_client::RecordError;
use okapi_seal::sealed_file::FileError;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Bytes moved at a time.
pub(crate) const CHUNK: usize = 256 << 10;

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The text given on the command line.
    Text(String),
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// `-` is standard input, everything else a file.
    pub(crate) fn from_word(word: &str) -> Self {
        if word == "-" { Self::Stdin } else { Self::File(PathBuf::from(word)) }
    }

    /// Opens it: the bytes, and how many there will be if that is known.
    ///
    /// # Errors
    /// [`Failure`] if it is not there or cannot be read.
    pub(crate) fn open(&self) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
        match self {
            Self::Text(text) => {
                let bytes = text.clone().into_bytes();
                let length = bytes.len() as u64;
                Ok((Box::new(io::Cursor::new(bytes)), Some(length)))
            }
            Self::Stdin => Ok((Box::new(io::stdin().lock()), None)),
            Self::File(path) => {
                let failure = |error| Failure::io(path.display(), &error);
                let file = File::open(path).map_err(failure)?;
                let facts = file.metadata().map_err(failure)?;
                if facts.is_dir() {
                    return Err(Failure::usage(format!("{}: that is a directory; name a file", path.display())));
                }
                // Files that the system makes up (in /proc, or a fifo) say zero and have more.
                let length = Some(facts.len()).filter(|length| facts.is_file() && *length > 0);
                Ok((Box::new(file), length))
            }
        }
    }

    /// What messages call it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Text(_) => "the text".to_owned(),
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// Where bytes go.
pub(crate) enum Sink<'a> {
    /// Standard output, a pipe or a file.
    Out(&'a mut dyn Write),
    /// Standard output, a terminal: only text may go there. With the last byte written.
    Terminal(&'a mut dyn Write, u8),
    /// A file, under another name until all is there.
    File(PartFile),
}

impl<'a> Sink<'a> {
    /// The file named, or standard output. `-` is standard output whatever comes.
    ///
    /// # Errors
    /// [`Failure`] if the file cannot be made.
    pub(crate) fn open(output: Option<&Path>, default_name: &str, view: &'a mut View) -> Result<Self, Failure> {
        match output {
            Some(path) if path != Path::new("-") => PartFile::create(path, default_name).map(Self::File),
            None if view.is_terminal() => Ok(Self::Terminal(view.bytes(), b'\n')),
            _ => Ok(Self::Out(view.bytes())),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Failure`] if they cannot be written, should not go to a terminal, or the user has had enough.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Out(out) => out.write_all(bytes).map_err(|error| Failure::io("standard output", &error)),
            Self::Terminal(out, last) => {
                if looks_binary(bytes) {
                    let text = "that is binary and would upset the terminal; write it to a file with -o FILE, or insist with -o -";
                    return Err(Failure::of("binary", text));
                }
                *last = bytes.last().copied().unwrap_or(*last);
                out.write_all(bytes).map_err(|error| Failure::io("standard output", &error))
            }
            Self::File(file) => file.take(bytes),
        }
    }

    /// Takes so many zeros: a file gets a hole.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) fn skip(&mut self, mut count: u64) -> Result<(), Failure> {
        if let Self::File(file) = self
            && !file.is_device
        {
            return file.skip(count);
        }
        let zeroes = vec![0; CHUNK];
        while count > 0 {
            let now = usize::try_from(count).unwrap_or(CHUNK).min(CHUNK);
            self.take(&zeroes[..now])?;
            count -= now as u64;
        }
        Ok(())
    }

    /// All bytes are there: a file gets its name. Returns that.
    ///
    /// # Errors
    /// [`Failure`] if that fails.
    pub(crate) fn finish(self) -> Result<Option<PathBuf>, Failure> {
        match self {
            Self::Terminal(out, last) => {
                // The prompt that comes next wants a line of its own.
                let end: &[u8] = if last == b'\n' { b"" } else { b"\n" };
                let done = out.write_all(end).and_then(|()| out.flush());
                done.map_err(|error| Failure::io("standard output", &error))?;
                Ok(None)
            }
            Self::Out(out) => {
                out.flush().map_err(|error| Failure::io("standard output", &error))?;
                Ok(None)
            }
            Self::File(file) => file.finish().map(Some),
        }
    }
}

/// Whether these bytes have what no text has.
fn looks_binary(bytes: &[u8]) -> bool {
    let control = |byte: &u8| (*byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t')) || *byte == 0x7F;
    let text = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // The buffer may end within a character.
        Err(error) => error.error_len().is_none(),
    };
    !text || bytes.iter().any(control)
}

/// A file that has another name until it is whole; gone if it never is.
pub(crate) struct PartFile {
    file: File,
    part: PathBuf,
    path: PathBuf,
    stop: interrupt::Flag,
    /// It has its name already.
    done: bool,
    /// It is written to as it is, whatever was there before.
    is_device: bool,
}

impl PartFile {
    fn create(path: &Path, default_name: &str) -> Result<Self, Failure> {
        let name = Path::new(default_name).file_name().unwrap_or(default_name.as_ref());
        let path = if path.is_dir() { path.join(name) } else { path.to_owned() };
        let stop = interrupt::watch()?;
        let failure = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Failure::not_found(format!("{}: its directory does not exist", path.display())),
            _ => Failure::io(path.display(), &error),
        };
        // A link is followed, and what it leads to keeps its permissions.
        let (path, before) = match path.canonicalize() {
            Ok(real) => (real.clone(), Some(std::fs::metadata(&real).map_err(failure)?)),
            Err(_) => (path.clone(), None),
        };
        if before.as_ref().is_some_and(|before| !before.is_file()) {
            // A device or a fifo is written to, never replaced by a file.
            let file = File::options().write(true).open(&path).map_err(failure)?;
            return Ok(Self { file, part: path.clone(), path, stop, done: true, is_device: true });
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(path.file_name().ok_or_else(|| Failure::usage(format!("{}: that is no file", path.display())))?);
        hidden.push(format!(".part-{}", std::process::id()));
        let part = path.with_file_name(hidden);
        let file = File::create(&part).map_err(failure)?;
        let new = Self { file, part, path: path.clone(), stop, done: false, is_device: false };
        if let Some(before) = before {
            new.file.set_permissions(before.permissions()).map_err(failure)?;
        }
        Ok(new)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.stop.is_set() {
            return Err(Failure::of(
                "interrupted",
                format!("{}: interrupted; nothing was written", self.path.display()),
            ));
        }
        self.file.write_all(bytes).map_err(|error| Failure::io(self.path.display(), &error))
    }

    /// Leaves a hole, up to where the file ends unless something is written after it.
    fn skip(&mut self, count: u64) -> Result<(), Failure> {
        let failure = |error| Failure::io(self.path.display(), &error);
        let offset = i64::try_from(count).map_err(|_| Failure::usage("no file has so many bytes"))?;
        let at = self.file.seek(io::SeekFrom::Current(offset)).map_err(failure)?;
        self.file.set_len(at).map_err(failure)
    }

    fn finish(mut self) -> Result<PathBuf, Failure> {
        if !self.done {
            std::fs::rename(&self.part, &self.path).map_err(|error| Failure::io(self.path.display(), &error))?;
            self.done = true;
        }
        Ok(self.path.clone())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.done {
            // It is in the way of nobody if this fails.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Moves all of `from` to `take`, a buffer at a time, and says how many bytes that was.
///
/// # Errors
/// [`Failure`] of either side; `label` names the reading one.
pub(crate) fn pump(
    from: &mut dyn Read,
    label: &str,
    progress: &Progress,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                take(&buffer[..count])?;
                total += count as u64;
                progress.at(total);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(from_io(error, label)),
        }
    }
}

/// Fills as much of `buffer` as there are bytes for.
///
/// # Errors
/// [`Failure`]; `label` names what was read.
pub(crate) fn fill(from: &mut dyn Read, label: &str, buffer: &mut [u8]) -> Result<usize, Failure> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(from_io(error, label)),
        }
    }
    Ok(filled)
}

/// The failure within an error of a stream: the record's or the encrypted file's own if it is one.
pub(crate) fn from_io(error: io::Error, label: &str) -> Failure {
    let error = match error.downcast::<RecordError>() {
        Ok(error) => return error.into(),
        Err(error) => error,
    };
    match error.downcast::<FileError>() {
        Ok(error) => Failure::from(error).at(label),
        Err(error) => Failure::io(label, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_may_go_to_a_terminal() {
        assert!(!looks_binary("hello\twörld\n".as_bytes()) && !looks_binary(b""));
        assert!(!looks_binary(&"ö".as_bytes()[..1]), "cut within a character");
        assert!(looks_binary(b"\x1b[2J") && looks_binary(b"a\0b") && looks_binary(b"\xff\xfe ab"));
    }

    #[test]
    fn a_file_appears_when_it_is_whole_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut sink = Sink::File(PartFile::create(&path, "x").unwrap());
        sink.take(b"abc").unwrap();
        assert!(!path.exists());
        drop(sink);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a broken one leaves nothing");
        let mut sink = Sink::File(PartFile::create(dir.path(), "a/name").unwrap());
        sink.take(b"abc").unwrap();
        assert_eq!(sink.finish().unwrap().unwrap(), dir.path().join("name"));
        assert_eq!(std::fs::read(dir.path().join("name")).unwrap(), b"abc");
        assert!(PartFile::create(&dir.path().join("no/such"), "x").is_err());
    }

    #[test]
    fn what_is_there_stays_what_it_is() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&real, &link).unwrap();
        let mut sink = Sink::File(PartFile::create(&link, "x").unwrap());
        sink.take(b"new").unwrap();
        sink.finish().unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        let mut sink = Sink::File(PartFile::create(Path::new("/dev/null"), "x").unwrap());
        sink.take(b"gone").unwrap();
        sink.finish().unwrap();
        assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }
}
