//! What makes a data directory a node of a group: who it is, what it gives, and how it comes back on a new machine.

use super::RestoreVia;
use crate::lock::LockError;
use okapi_base::{MemberId, NodeId};
use okapi_peers::Settings;
use okapi_seal::{KeyError, MemberSecret, NodeIdentity, NodeKey};
use okapi_timeline::members;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file that says who the node is.
pub(crate) const IDENTITY_FILE: &str = "node.id";
/// The file with the node's key.
pub(crate) const KEY_FILE: &str = "node.key";
/// The file that says what the node gives and how it is reached.
const GIFT_FILE: &str = "group.toml";
/// The file that is there while a restore is under way: through whom.
const RESTORE_FILE: &str = "restore";
/// The smallest disk that can be given, in bytes: the least that a log can be kept in, twice.
pub const GIVE_MIN: u64 = 64 << 20;
/// Bytes of the name of a node.
pub const NAME_MAX: usize = 64;

/// What a new node of a group is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// Which of its member's nodes it is.
    pub number: u32,
    /// What people call it, at most [`NAME_MAX`] bytes.
    pub name: String,
    /// Bytes of disk given: one half for its own data, one for that of others.
    pub give: u64,
    /// Where it listens for members.
    pub listen: Vec<SocketAddr>,
    /// Under which addresses others reach it; none: those it listens on.
    pub advertise: Vec<String>,
    /// Where it stands: nodes of one site may fail together. None: somewhere of its own.
    pub site: Option<u64>,
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Founded {
    /// The node.
    pub node: NodeId,
    /// Its member.
    pub member: MemberId,
}

/// Why a data directory could not be made a node of a group.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The data directory cannot be had.
    #[error(transparent)]
    Data(#[from] LockError),
    /// It is one.
    #[error("{} has an identity already: `okapi status` tells which; a second node needs a directory of its own", data.display())]
    Already {
        /// The directory.
        data: PathBuf,
    },
    /// Too little is given.
    #[error("{give} bytes are too few; give at least {GIVE_MIN}")]
    TooLittle {
        /// What was offered.
        give: u64,
    },
    /// The name cannot be used.
    #[error("`{name}` cannot be the name of a node; take 1 to {NAME_MAX} bytes without control characters")]
    Name {
        /// The name.
        name: String,
    },
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A node that was here before, without a group, has data, and a restore would mix the two.
    #[error("{} holds data already; restore into an empty directory", data.display())]
    NotEmpty {
        /// The directory.
        data: PathBuf,
    },
    /// The operating system.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
}

/// Makes the data directory a node of its own group of one. It is in use by no running node.
///
/// # Errors
/// [`FoundError`]; what was there is as it was.
pub fn found(data: &Path, secret: &MemberSecret, founding: &Founding) -> Result<Founded, FoundError> {
    check(data, founding)?;
    let key = data.join(KEY_FILE);
    if !key.exists() {
        NodeKey::create(&key)?;
    }
    write_all(data, secret, founding)
}

/// Makes the data directory that of a node that comes back: what it had is fetched from its group through `via`. The
/// key of its data comes with it.
///
/// # Errors
/// [`FoundError`]; what was there is as it was.
pub fn begin_restore(
    data: &Path,
    secret: &MemberSecret,
    founding: &Founding,
    via: &RestoreVia,
) -> Result<Founded, FoundError> {
    check(data, founding)?;
    if data.join(KEY_FILE).exists() || data.join("log").exists() {
        return Err(FoundError::NotEmpty { data: data.to_owned() });
    }
    write_file(&data.join(RESTORE_FILE), &via.text())?;
    write_all(data, secret, founding)
}

/// Through whom the node is to be restored, if it is.
///
/// # Errors
/// What the operating system says.
pub fn pending_restore(data: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(data.join(RESTORE_FILE)) {
        Ok(via) => Ok(Some(via.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The restore is through whom from now on: a second ticket may be tried.
///
/// # Errors
/// [`FoundError::Io`].
pub fn change_restore(data: &Path, via: &RestoreVia) -> Result<(), FoundError> {
    write_file(&data.join(RESTORE_FILE), &via.text())
}

pub(crate) fn restore_is_done(data: &Path) -> io::Result<()> {
    std::fs::remove_file(data.join(RESTORE_FILE))
}

fn check(data: &Path, founding: &Founding) -> Result<(), FoundError> {
    if data.join(IDENTITY_FILE).exists() {
        return Err(FoundError::Already { data: data.to_owned() });
    }
    if founding.give < GIVE_MIN {
        return Err(FoundError::TooLittle { give: founding.give });
    }
    let name = &founding.name;
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(FoundError::Name { name: name.clone() });
    }
    std::fs::create_dir_all(data).map_err(|source| FoundError::Io { path: data.to_owned(), source })
}

fn write_all(data: &Path, secret: &MemberSecret, founding: &Founding) -> Result<Founded, FoundError> {
    let node = secret.node_id(founding.number);
    let site = founding.site.unwrap_or_else(|| u64::from_le_bytes(node.0[..8].try_into().expect("8 bytes")));
    let number = founding.number;
    let identity =
        NodeIdentity::new(secret, number, site, |key, node, recipient| members::bind(key, node, recipient, number));
    let gift = Gift {
        name: founding.name.clone(),
        give: founding.give,
        listen: founding.listen.clone(),
        advertise: founding.advertise.clone(),
    };
    gift.write(data)?;
    // Last: with it the directory is what it should be.
    identity.create(&data.join(IDENTITY_FILE))?;
    Ok(Founded { node, member: secret.id() })
}

/// What a node gives and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gift {
    /// What people call it.
    pub name: String,
    /// Bytes of disk given.
    pub give: u64,
    /// Where it listens for members.
    pub listen: Vec<SocketAddr>,
    /// Under which addresses others reach it.
    pub advertise: Vec<String>,
}

/// Why `group.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GiftError {
    /// The operating system.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// Its text.
    #[error("{}: {what}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl Gift {
    /// Reads it from the data directory.
    ///
    /// # Errors
    /// [`GiftError`].
    pub fn read(data: &Path) -> Result<Self, GiftError> {
        let path = data.join(GIFT_FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| GiftError::Io { path: path.clone(), source })?;
        Self::parse(&text).map_err(|what| GiftError::Text { path, what })
    }

    /// Writes it into the data directory, whole or not at all.
    ///
    /// # Errors
    /// [`FoundError::Io`].
    pub fn write(&self, data: &Path) -> Result<(), FoundError> {
        write_file(&data.join(GIFT_FILE), &self.text())
    }

    /// Bytes for its own data, and for that of others.
    #[must_use]
    pub const fn halves(&self) -> (u64, u64) {
        (self.give / 2, self.give - self.give / 2)
    }

    pub(crate) const fn peer_settings(&self) -> Settings {
        let (user_half, server_half) = self.halves();
        Settings { user_half, server_half, care: okapi_peers::Care::FULL }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let get = |key: &str| table.get(key).ok_or(format!("`{key}` is missing"));
        let texts = |key: &str| -> Result<Vec<String>, String> {
            let list = get(key)?.as_array().ok_or(format!("`{key}` is no list"))?;
            list.iter()
                .map(|one| one.as_str().map(ToOwned::to_owned).ok_or(format!("`{key}` is no list of texts")))
                .collect()
        };
        let listen = texts("listen")?;
        let listen = listen.iter().map(|one| one.parse().map_err(|_| format!("`{one}` is no ADDRESS:PORT")));
        let give = get("give")?.as_integer().and_then(|give| u64::try_from(give).ok());
        Ok(Self {
            name: get("name")?.as_str().ok_or("`name` is no text")?.to_owned(),
            give: give.filter(|give| *give >= GIVE_MIN).ok_or(format!("`give` is no number from {GIVE_MIN} on"))?,
            listen: listen.collect::<Result<_, _>>()?,
            advertise: texts("advertise")?,
        })
    }

    fn text(&self) -> String {
        let listen: Vec<String> = self.listen.iter().map(ToString::to_string).collect();
        let list = |all: &[String]| toml::Value::from(all.to_vec()).to_string();
        let mut text = String::from("# What this node gives to its group, and how members reach it.\n");
        let _ = writeln!(text, "name = {}", toml::Value::from(self.name.clone()));
        let _ =
            writeln!(text, "# Bytes of disk: one half for its own data, one for that of others.\ngive = {}", self.give);
        let _ = writeln!(text, "listen = {}\nadvertise = {}", list(&listen), list(&self.advertise));
        text
    }
}

fn write_file(path: &Path, text: &str) -> Result<(), FoundError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| FoundError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founding() -> Founding {
        Founding {
            number: 0,
            name: "attic \"box\"".to_owned(),
            give: 1 << 30,
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            advertise: vec!["home.example:7072".to_owned()],
            site: None,
        }
    }

    fn via(address: &str) -> RestoreVia {
        RestoreVia::Address(address.to_owned())
    }

    #[test]
    fn a_directory_is_founded_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let secret = MemberSecret::random();
        let made = found(&data, &secret, &founding()).unwrap();
        assert_eq!((made.node, made.member), (secret.node_id(0), secret.id()));
        assert!(matches!(found(&data, &secret, &founding()), Err(FoundError::Already { .. })));
        let gift = Gift::read(&data).unwrap();
        assert_eq!((gift.name.as_str(), gift.halves()), ("attic \"box\"", (1 << 29, 1 << 29)));
        assert_eq!((gift.listen, gift.advertise), (founding().listen, founding().advertise));
        assert_eq!(NodeIdentity::load(&data.join(IDENTITY_FILE)).unwrap().node(), made.node);
        assert!(data.join(KEY_FILE).exists() && pending_restore(&data).unwrap().is_none());
    }

    #[test]
    fn a_restore_wants_an_empty_directory_and_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (data, secret) = (folder.path().join("data"), MemberSecret::random());
        begin_restore(&data, &secret, &founding(), &via("192.0.2.1:7072")).unwrap();
        assert_eq!(pending_restore(&data).unwrap().as_deref(), Some("192.0.2.1:7072"));
        change_restore(&data, &via("192.0.2.2:7072")).unwrap();
        assert_eq!(pending_restore(&data).unwrap().as_deref(), Some("192.0.2.2:7072"));
        assert!(!data.join(KEY_FILE).exists(), "the key comes from the others");
        restore_is_done(&data).unwrap();
        assert_eq!(pending_restore(&data).unwrap(), None);
        let used = folder.path().join("used");
        std::fs::create_dir_all(used.join("log")).unwrap();
        let refused = begin_restore(&used, &secret, &founding(), &via("x"));
        assert!(matches!(refused, Err(FoundError::NotEmpty { .. })), "{refused:?}");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let secret = MemberSecret::random();
        for bad in [
            Founding { give: GIVE_MIN - 1, ..founding() },
            Founding { name: String::new(), ..founding() },
            Founding { name: "a\nb".to_owned(), ..founding() },
            Founding { name: "a".repeat(65), ..founding() },
        ] {
            assert!(found(&folder.path().join("bad"), &secret, &bad).is_err(), "{bad:?}");
        }
        let good = "name = \"a\"\ngive = 1000000000\nlisten = [\"[::1]:1\"]\nadvertise = []\n";
        assert!(Gift::parse(good).is_ok());
        for (from, to, what) in [
            ("name = \"a\"", "", "`name` is missing"),
            ("1000000000", "-1", "`give` is no number from 67108864 on"),
            ("[::1]:1", "[::1]", "`[::1]` is no ADDRESS:PORT"),
            ("[]", "7", "`advertise` is no list"),
        ] {
            assert_eq!(Gift::parse(&good.replace(from, to)).unwrap_err(), what);
        }
    }
}
