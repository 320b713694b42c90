//! Opening a node's data directory: `node.key`, `token`, the directory `log` and, once a grid is in it, `fjall`.

use crate::host::{Host, HostSettings, OpenError, Opened};
use crate::stores::{Opener, Stores};
use okapi_seal::{KeyError, NodeKey};
use okapi_store::log::{Log, RealDisk};
use okapi_store::memory::Memory;
use okapi_store::{fjall, log, memory};
use okapi_wire::Token;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of the node's token.
pub(crate) const TOKEN_FILE: &str = "token";
/// The hexadecimal digits of a token.
const TOKEN_DIGITS: usize = 64;

impl Host {
    /// Opens the engines and the catalog in the data directory, which is there and which the caller has locked.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: &HostSettings) -> Result<(Self, Opened), OpenError> {
        let (log, key) = open_log(settings)?;
        Self::over_log(settings, log, &key)
    }

    /// Opens the other engines and the catalog beside an open log.
    pub(crate) fn over_log(settings: &HostSettings, log: Arc<Log>, key: &NodeKey) -> Result<(Self, Opened), OpenError> {
        let token = token(&settings.data.join(TOKEN_FILE))?;
        let options = memory::Settings { limit_bytes: settings.memory_max, shared: settings.shared_maps };
        let stores = Stores::new(log, Arc::new(Memory::new(options)), Some(fjall_opener(settings, key)));
        Self::over(stores, token, settings)
    }
}

/// Opens the log, and gives the key that it is sealed with.
pub(crate) fn open_log(settings: &HostSettings) -> Result<(Arc<Log>, NodeKey), OpenError> {
    let key = node_key(&settings.data)?;
    let engine = |why: String| OpenError::Engine { engine: "log", why };
    let disk = RealDisk::new(&settings.data.join("log")).map_err(|error| engine(error.to_string()))?;
    let options = log::Settings {
        limit_bytes: settings.store_max,
        interval: settings.interval,
        compaction_rate: settings.compaction_rate,
        ..log::Settings::default()
    };
    let (log, found) = Log::open(Arc::new(disk), &key, options).map_err(|error| engine(error.to_string()))?;
    for damage in &found.damages {
        tracing::error!("found damaged at {}: {}", damage.place, damage.what);
    }
    Ok((Arc::new(log), key))
}

fn fjall_opener(settings: &HostSettings, key: &NodeKey) -> Opener {
    let (directory, key) = (settings.data.join("fjall"), key.clone());
    let options =
        fjall::Settings { limit_bytes: settings.store_max, interval: settings.interval, ..fjall::Settings::default() };
    Box::new(move || Ok(Arc::new(fjall::Fjall::open(&directory, &key, &options)?)))
}

/// The node's key; made when there is nothing yet that another key could have sealed.
fn node_key(data: &Path) -> Result<NodeKey, OpenError> {
    let path = data.join("node.key");
    match NodeKey::load(&path) {
        Err(KeyError::Missing { .. }) => {
            let log = data.join("log");
            if log.read_dir().is_ok_and(|mut files| files.next().is_some()) {
                let why = format!("it is missing, and {} is sealed with it; put it back", log.display());
                return Err(OpenError::File { path, why });
            }
            Ok(NodeKey::create(&path)?)
        }
        loaded => Ok(loaded?),
    }
}

/// The node's token: read from its file, or made with it.
pub(crate) fn token(path: &Path) -> Result<Token, OpenError> {
    let failed = |why: String| OpenError::File { path: path.to_owned(), why };
    match File::open(path) {
        Ok(file) => {
            let mode = file.metadata().map_err(|error| failed(error.to_string()))?.mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(failed(format!("others may read it (mode {mode:o}); chmod 600 it")));
            }
            let mut text = String::new();
            // One more than it can be, to see that it is longer.
            let limit = TOKEN_DIGITS as u64 + 2;
            file.take(limit).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
            parse_token(text.trim_end_matches('\n')).ok_or_else(|| failed("it is not 64 hexadecimal digits".to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_token(path).map_err(|error| failed(error.to_string()))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

fn parse_token(text: &str) -> Option<Token> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut token = Token::NONE;
    if pairs.len() != token.0.len() {
        return None;
    }
    for (byte, [high, low]) in token.0.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).expect("two digits are a byte");
    }
    (!token.is_none()).then_some(token)
}

fn make_token(path: &Path) -> std::io::Result<Token> {
    let mut token = Token::NONE;
    getrandom::fill(&mut token.0).map_err(std::io::Error::other)?;
    let text: String = token.0.iter().map(|byte| format!("{byte:02x}")).collect();
    // Whole or not at all: written beside and renamed.
    let beside: PathBuf = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_read_ever_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let made = token(&path).unwrap();
        assert_eq!(token(&path).unwrap(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        for bad in ["", "12", &"0".repeat(64), &"f".repeat(65), &"f".repeat(66), &"g".repeat(64), &"é".repeat(32)] {
            std::fs::write(&path, bad).unwrap();
            assert!(token(&path).is_err(), "{bad}");
        }
        std::fs::write(&path, "f".repeat(64)).unwrap();
        assert_eq!(token(&path).unwrap(), Token([0xFF; 32]));
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(token(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_key_is_not_made_where_something_is_sealed_already() {
        let folder = tempfile::tempdir().unwrap();
        assert!(node_key(folder.path()).is_ok() && node_key(folder.path()).is_ok());
        std::fs::remove_file(folder.path().join("node.key")).unwrap();
        std::fs::create_dir(folder.path().join("log")).unwrap();
        std::fs::write(folder.path().join("log/x"), "x").unwrap();
        assert!(node_key(folder.path()).unwrap_err().to_string().contains("put it back"));
    }
}
