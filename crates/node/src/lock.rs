//! The lock on a data directory: one node at a time, and whoever comes second is told who was first.

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The lock's file in the data directory.
const FILE: &str = "lock";
/// Bytes of it that are read at most.
const READ_MAX: u64 = 16 << 10;

/// A locked data directory. The lock ends with it, however the process ends.
#[derive(Debug)]
pub(crate) struct DataLock {
    file: File,
}

/// Who holds a data directory, as far as its lock's file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// The process.
    pub pid: Option<u32>,
    /// When it started, as text (RFC 3339, UTC).
    pub started: Option<String>,
    /// Where it listens.
    pub targets: Vec<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("another process")?,
        }
        if let Some(started) = &self.started {
            write!(f, ", started {started}")?;
        }
        if !self.targets.is_empty() {
            write!(f, ", listening on {}", self.targets.join(" and "))?;
        }
        Ok(())
    }
}

/// Why a data directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another node has it.
    #[error("data directory {} is in use by {holder}; stop that node, or give this one another directory", data.display())]
    InUse {
        /// The directory.
        data: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// It cannot be written.
    #[error("data directory {} cannot be written: {source}; mount it writable, mend its permissions, or choose another", data.display())]
    NotWritable {
        /// The directory.
        data: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// It is something else.
    #[error("data directory {} cannot be used: {step}: {source}", data.display())]
    Io {
        /// The directory.
        data: PathBuf,
        /// What was being done.
        step: &'static str,
        /// The system's own words.
        source: io::Error,
    },
}

/// Makes sure that nobody has a data directory at this moment. Nothing is made there.
///
/// # Errors
/// [`LockError::InUse`] if somebody has; another if that cannot be told.
pub fn check_free(data: &Path) -> Result<(), LockError> {
    let mut file = match File::open(data.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(not_usable(data, "opening its lock", error)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(()),
        Err(Errno::AGAIN) => Err(in_use(data, &mut file)),
        Err(error) => Err(not_usable(data, "looking at its lock", error.into())),
    }
}

impl DataLock {
    /// Makes the directory if need be, for its owner only, and locks it.
    pub(crate) fn take(data: &Path) -> Result<Self, LockError> {
        make_private(data)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(data.join(FILE), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| not_usable(data, "opening its lock", error.into()))?;
        let mut file = File::from(fd);
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Err(in_use(data, &mut file)),
            Err(error) => return Err(not_usable(data, "locking it", error.into())),
        }
        let mut lock = Self { file };
        lock.tell(&[]).map_err(|error| not_usable(data, "writing its lock", error))?;
        prove_writable(data)?;
        Ok(lock)
    }

    /// Writes down who holds it and where that one listens, for whoever comes second.
    pub(crate) fn tell(&mut self, targets: &[String]) -> io::Result<()> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut text = format!("pid {}\nstarted {}\n", std::process::id(), utc(started));
        for target in targets {
            text.push_str(&format!("target {target}\n"));
        }
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for DataLock {
    fn drop(&mut self) {
        // The file stays (removing it would let two lock two files of one name); what it says is over.
        let _ = self.file.set_len(0);
    }
}

impl Holder {
    fn read(text: &str) -> Self {
        let mut holder = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("pid", pid)) => holder.pid = pid.parse().ok(),
                Some(("started", started)) => holder.started = Some(started.to_owned()),
                Some(("target", target)) => holder.targets.push(target.to_owned()),
                _ => {}
            }
        }
        holder
    }
}

fn in_use(data: &Path, file: &mut File) -> LockError {
    let mut text = Vec::new();
    // Whoever cannot be asked stays unnamed.
    let _ = file.take(READ_MAX).read_to_end(&mut text);
    LockError::InUse { data: data.to_owned(), holder: Holder::read(&String::from_utf8_lossy(&text)) }
}

fn make_private(data: &Path) -> Result<(), LockError> {
    std::fs::create_dir_all(data).map_err(|error| not_usable(data, "making it", error))?;
    let found = std::fs::metadata(data).map_err(|error| not_usable(data, "looking at it", error))?;
    if found.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700))
            .map_err(|error| not_usable(data, "making it its owner's only", error))?;
    }
    Ok(())
}

/// A full or read-only disk is better found now than at the first put.
fn prove_writable(data: &Path) -> Result<(), LockError> {
    let probe = data.join("probe");
    std::fs::write(&probe, b"okapi").map_err(|error| not_usable(data, "writing to it", error))?;
    std::fs::remove_file(&probe).map_err(|error| not_usable(data, "writing to it", error))
}

fn not_usable(data: &Path, step: &'static str, source: io::Error) -> LockError {
    let data = data.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => LockError::NotWritable { data, source },
        _ => LockError::Io { data, step, source },
    }
}

/// Seconds since 1970 as a date and time of day.
fn utc(seconds: u64) -> String {
    // Days counted from 0000-03-01, so that a leap day is a year's last.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let time = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("a/b");
        let mut lock = DataLock::take(&data).unwrap();
        lock.tell(&["unix:/a".to_owned(), "tcp://b:1".to_owned()]).unwrap();
        let mode = std::fs::metadata(&data).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let error = DataLock::take(&data).unwrap_err();
        let LockError::InUse { holder, .. } = &error else { panic!("{error}") };
        assert_eq!(holder.pid, Some(std::process::id()));
        assert_eq!(holder.targets, ["unix:/a", "tcp://b:1"]);
        let text = error.to_string();
        assert!(text.contains(&format!("is in use by process {}, started 2", std::process::id())), "{text}");
        assert!(text.contains("listening on unix:/a and tcp://b:1"), "{text}");
        assert_eq!(check_free(&data).unwrap_err().to_string(), text);
        drop(lock);
        check_free(&data).unwrap();
        DataLock::take(&data).unwrap();
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let none = home.path().join("none");
        check_free(&none).unwrap();
        assert!(!none.exists(), "looking makes nothing");
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(DataLock::take(&file).unwrap_err(), LockError::Io { .. }));
    }

    #[test]
    fn dates_are_right() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_772_323_199), "2026-02-28T23:59:59Z");
        assert_eq!(utc(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
