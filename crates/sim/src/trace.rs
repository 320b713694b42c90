//! Everything that happened, in one hash: two runs of a seed are the same if theirs are.

use okapi_base::Digest;
use okapi_seal::hash;
use std::time::Duration;

/// The trace of a run.
#[derive(Debug)]
pub struct Trace {
    digest: Digest,
    /// How much happened.
    pub count: u64,
    /// Lines for people, if they are wanted.
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; with lines if they are wanted.
    #[must_use]
    pub fn new(lines: bool) -> Self {
        Self { digest: Digest([0; 32]), count: 0, lines: lines.then(Vec::new) }
    }

    /// Something happened at a host.
    pub fn add(&mut self, now: Duration, host: usize, what: &[&[u8]]) {
        self.count += 1;
        let mut bytes = Vec::with_capacity(64 + what.iter().map(|part| part.len()).sum::<usize>());
        bytes.extend_from_slice(&self.digest.0);
        bytes.extend_from_slice(&now.as_nanos().to_le_bytes());
        bytes.extend_from_slice(&(host as u64).to_le_bytes());
        what.iter().for_each(|part| bytes.extend_from_slice(part));
        self.digest = hash(&bytes);
    }

    /// A line for people.
    pub fn say(&mut self, now: Duration, host: Option<usize>, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let since = now.saturating_sub(crate::story::BEGIN);
            let (day, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
            let clock =
                format!("{:02}:{:02}:{:02}.{:03}", second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
            let host = host.map_or_else(|| "  -".to_owned(), |host| format!("{host:3}"));
            lines.push(format!("day {day:2} {clock} {host} {}", line()));
        }
    }

    /// Whether lines are wanted.
    #[must_use]
    pub const fn speaks(&self) -> bool {
        self.lines.is_some()
    }

    /// The hash of everything so far.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The lines, if they were wanted.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
