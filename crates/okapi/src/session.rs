//! What a command runs with: the flags that hold for all commands, the nodes it talks to, and the view.

use crate::failure::{Exit, Failure};
use crate::global::Global;
use crate::place::GridPlace;
use crate::standing::ago;
use crate::view::{View, shown};
use okapi_client::{Client, ConnectError, Fault, Grid, Settings, Status, Target, TargetError, Token, Whom};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What a command runs with. The shell keeps one for all its lines, and with it the connections.
pub(crate) struct Session {
    /// The flags that hold for all commands.
    pub global: Global,
    /// Where results go.
    pub view: View,
    /// By target, and the member gone on to.
    clients: HashMap<(String, Option<String>), Client>,
}

impl Session {
    /// A session without connections yet.
    pub(crate) fn new(global: Global, view: View) -> Self {
        Self { global, view, clients: HashMap::new() }
    }

    /// Goes on with other flags; connections are kept as long as the token is the same.
    pub(crate) fn set_global(&mut self, global: Global) {
        if (&global.token, &global.token_file) != (&self.global.token, &self.global.token_file) {
            self.clients.clear();
        }
        self.view.json = global.json;
        self.view.quiet = global.quiet;
        self.global = global;
    }

    /// The same failure without the address of this machine's node where that goes without saying.
    pub(crate) fn without_address(&self, mut failure: Failure) -> Failure {
        let about_links = matches!(failure.kind, "unreachable" | "broken-link" | "interrupted" | "timed-out");
        if let (None, false, Ok(target)) = (&self.global.node, about_links, self.global.target()) {
            let message = failure.message.replace(&format!(" by way of {target}"), "");
            let message = message.replace(&format!(" at {target}"), "");
            failure.message = message.replace(&format!("{target}: "), "");
        }
        failure
    }

    /// The node in use.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be reached.
    pub(crate) fn client(&mut self) -> Result<Client, Failure> {
        self.client_at(None)
    }

    /// The node in use over connections of its own, for whoever would rather hear that it does not answer than wait.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be reached.
    pub(crate) fn impatient_client(&self, patience: Duration) -> Result<Client, Failure> {
        let settings = Settings { token: self.global.token()?, answer_timeout: patience, ..Settings::default() };
        Ok(Client::connect(&self.global.target()?, settings)?)
    }

    /// The node that `node` names, or the one in use.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be reached.
    pub(crate) fn client_at(&mut self, node: Option<&str>) -> Result<Client, Failure> {
        match node {
            None => self.connected(&self.global.target()?, self.global.member.clone()),
            Some(node) => match node.strip_prefix('@') {
                Some(member) => self.connected(&self.global.target()?, Some(member.to_owned())),
                None => {
                    self.connected(&node.parse().map_err(|error: TargetError| Failure::usage(error.to_string()))?, None)
                }
            },
        }
    }

    /// The node itself, where another member's grids are meant by way of it.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be reached.
    pub(crate) fn own_client(&mut self) -> Result<Client, Failure> {
        self.connected(&self.global.target()?, None)
    }

    fn connected(&mut self, target: &Target, member: Option<String>) -> Result<Client, Failure> {
        let key = (target.to_string(), member);
        if let Some(client) = self.clients.get(&key) {
            return Ok(client.clone());
        }
        let member = key.1.clone().map(Whom::Called);
        let settings = Settings { token: self.global.token()?, member, ..Settings::default() };
        let client = Client::connect(target, settings)?;
        if let (Some(member), Some(as_of)) = (&key.1, client.as_of()) {
            let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis() as u64);
            let (member, age) = (shown(member), ago(now.saturating_sub(as_of)));
            self.view.aside(format_args!("{member} is away: this is what others hold of it, as it was {age} ago"));
        }
        self.clients.insert(key, client.clone());
        Ok(client)
    }

    /// The grid in use.
    ///
    /// # Errors
    /// [`Failure`] if the node cannot be reached or has no such grid for us.
    pub(crate) fn grid(&mut self) -> Result<Grid, Failure> {
        self.grid_at(&GridPlace { node: None, grid: None })
    }

    /// The grid at `place`.
    ///
    /// # Errors
    /// [`Failure`] if the node cannot be reached or has no such grid for us.
    pub(crate) fn grid_at(&mut self, place: &GridPlace) -> Result<Grid, Failure> {
        let client = self.client_at(place.node.as_deref())?;
        let name = place.grid.as_deref().unwrap_or(self.global.grid_name());
        Ok(client.grid(name, self.global.grid_token()?)?)
    }
}

/// A token from its 64 hexadecimal digits.
pub(crate) fn token_from(text: &str) -> Result<Token, Failure> {
    let text = text.trim();
    let wrong = || {
        Failure::usage("a token is 64 hexadecimal digits, as `okapi grid create` and the node's file `token` have them")
    };
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        let digits = &text[at..at + 2];
        *byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')).ok_or_else(wrong)?;
    }
    Ok(Token(bytes))
}

/// A token from a file that holds nothing else.
pub(crate) fn token_file(path: &Path) -> Result<Token, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io(path.display(), &error))?;
    token_from(&text).map_err(|failure| failure.at(path.display()))
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Refused { status, .. } => Self::of(kind(*status), error.to_string()),
            ConnectError::NoWay { status, .. } => no_way(*status, error.to_string()),
            _ => Self::unreachable(error.to_string()),
        }
    }
}

/// The member whose grids are meant cannot be reached, or is none.
fn no_way(status: Status, message: String) -> Failure {
    let exit = match status {
        Status::Away => Exit::Unreachable,
        Status::UnknownRecord => Exit::NotFound,
        _ => Exit::Failed,
    };
    let kind = if status == Status::UnknownRecord { "unknown-member" } else { kind(status) };
    Failure { kind, exit, message }
}

/// The failure that a fault of the client amounts to; `text` is the whole error's.
fn from_fault(fault: &Fault, text: String) -> Failure {
    match fault {
        Fault::Refused { status, .. } => match status {
            Status::Absent | Status::UnknownGrid | Status::UnknownRecord => {
                Failure { kind: kind(*status), exit: Exit::NotFound, message: text }
            }
            _ => Failure::of(kind(*status), text),
        },
        Fault::Connect(error) => match &**error {
            ConnectError::Refused { status, .. } => Failure::of(kind(*status), text),
            ConnectError::NoWay { status, .. } => no_way(*status, text),
            _ => Failure::unreachable(text),
        },
        Fault::Interrupted { .. } => Failure::of("interrupted", text),
        Fault::Broken { .. } => Failure::of("broken-link", text),
        Fault::TimedOut { .. } | Fault::NoConnection { .. } => Failure::of("timed-out", text),
        Fault::Invalid(_) => Failure::usage(text),
        _ => Failure::new(text),
    }
}

macro_rules! failures {
    ($($error:ty: $fault:expr;)*) => { $(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let fault: fn(&$error) -> &Fault = $fault;
                from_fault(fault(&error), error.to_string())
            }
        }
    )* };
}

failures! {
    okapi_client::NodeError: |error| &error.fault;
    okapi_client::GridError: |error| &error.fault;
    okapi_client::BlockError: |error| error.fault();
    okapi_client::RecordError: |error| &error.fault;
}

impl From<okapi_client::replicate::ReplicateError> for Failure {
    fn from(error: okapi_client::replicate::ReplicateError) -> Self {
        use okapi_client::replicate::ReplicateError as E;
        match error {
            E::Misfit { .. } => Self::new(error.to_string()),
            E::Grid(error) => error.into(),
            E::Block(error) => error.into(),
            E::Record(error) => error.into(),
            E::Follow { ref fault, .. } => from_fault(fault, error.to_string()),
        }
    }
}

/// A status as a word for scripts.
pub(crate) fn kind(status: Status) -> &'static str {
    match status {
        Status::Absent => "absent",
        Status::UnknownGrid => "unknown-grid",
        Status::UnknownRecord => "unknown-record",
        Status::WrongToken => "wrong-token",
        Status::Forbidden => "forbidden",
        Status::BadIndex => "bad-index",
        Status::PastBlock => "past-block",
        Status::BadChecksum => "bad-checksum",
        Status::Stale => "stale",
        Status::Full => "full",
        Status::ReadOnly => "read-only",
        Status::Corrupted => "corrupted",
        Status::Unreadable => "unreadable",
        Status::Exists => "exists",
        Status::BadName => "bad-name",
        Status::Busy => "busy",
        Status::Stopping => "stopping",
        Status::Unsupported => "unsupported",
        Status::InRecord => "in-record",
        Status::WrongVersion => "wrong-version",
        Status::TooLong => "too-long",
        Status::NoGroup => "no-group",
        Status::BadTicket => "bad-ticket",
        Status::Away => "away",
        _ => "failed",
    }
}

/// The failure of one block whose outcome is `status`.
pub(crate) fn block_failure(grid: &Grid, index: u64, what: &str, status: Status) -> Failure {
    let message = format!("block #{index} of grid `{}`: {what} failed: {status}", grid.name());
    match status {
        Status::Absent => Failure { kind: kind(status), exit: Exit::NotFound, message },
        _ => Failure::of(kind(status), message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_64_digits() {
        assert_eq!(token_from(&format!(" {}\n", "0a".repeat(32))).unwrap(), Token([10; 32]));
        for text in ["", "0a", &"0g".repeat(32), &"+1".repeat(32), &"0a".repeat(33), &"ß".repeat(32)] {
            assert!(token_from(text).is_err(), "{text}");
        }
    }
}
