//! The settings of a node on this machine: flags over environment over file over defaults, and where each comes from.

use crate::failure::Failure;
use crate::global::Global;
use crate::size::{Period, Size};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args as _, FromArgMatches as _};
use etcetera::BaseStrategy as _;
use okapi_client::{Target, TargetError};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The heading of these settings in the help of `up` and `config`.
const HEADING: &str = "Settings";

/// Settings that may be lists in the file.
const LISTS: [&str; 3] = ["tcp", "member-listen", "wan-listen"];

/// The settings of `okapi up`. Their long names are the keys of the file; there is no other list of them.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct NodeArgs {
    /// The unix socket to listen on [default: `okapi.sock` in the data directory]
    #[arg(long, env = "OKAPI_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Who may connect to the unix socket, as a file mode in octal digits, as chmod takes it
    ///
    /// Whoever is not the user that runs the node still needs a token; and the data directory is closed to others, so
    /// a socket for them needs a place elsewhere (--socket).
    #[arg(long, env = "OKAPI_SOCKET_MODE", value_name = "MODE", default_value = "600")]
    pub socket_mode: FileMode,

    /// Also listen on TCP, at these addresses of this machine; port 0 takes any free port
    ///
    /// Only addresses of this machine alone (127.0.0.1, ::1): what goes over TCP is neither encrypted nor proven to
    /// come from who it claims, so other machines must not reach it.
    #[arg(long, env = "OKAPI_TCP", value_name = "ADDRESS:PORT", value_delimiter = ',')]
    pub tcp: Vec<SocketAddr>,

    /// Also serve the node's disks over NBD, at TARGET or at the unix socket nbd.sock beside the node's: true or false
    ///
    /// As `okapi nbd` does, which prints what to give to qemu, and can do more: only some disks, for reading only, to
    /// other machines by TLS. TARGET is unix:PATH, or tcp://HOST:PORT at this machine alone.
    #[arg(long, env = "OKAPI_NBD", value_name = "TARGET", num_args = 0..=1, default_value = "false", default_missing_value = "true")]
    pub nbd: NbdPlace,

    /// Listen for other members of the group at these addresses, instead of where `okapi init` was told to
    ///
    /// These links are encrypted, and both ends prove who they are by their keys.
    #[arg(long, env = "OKAPI_MEMBER_LISTEN", value_name = "ADDRESS:PORT", value_delimiter = ',')]
    pub member_listen: Vec<SocketAddr>,

    /// Bytes a second that may go to all other members together; 0: as many as the line takes
    #[arg(long, env = "OKAPI_UPLOAD_RATE", value_name = "SIZE", default_value = "0")]
    pub upload_rate: Size,

    /// Bytes a second that may come from all other members together; 0: as many as the line takes
    #[arg(long, env = "OKAPI_DOWNLOAD_RATE", value_name = "SIZE", default_value = "0")]
    pub download_rate: Size,

    /// Whether to find other nodes of the group on the local network, and be found, by multicast DNS: true or false
    ///
    /// Whoever listens on that network learns that nodes of Okapi are here and which belong together, and no more.
    #[arg(long, env = "OKAPI_LOCAL_NETWORK", value_name = "YES", default_value = "false", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub local_network: bool,

    /// Receive UDP for links through NAT (by iroh) at this address, one of each family at most; port 0 takes any
    ///
    /// Where UDP is let through to it, others reach this node there (they are told, or --advertise iroh://HOST:PORT to
    /// `okapi init`). Nothing is asked of routers, and nobody but those others is told anything.
    #[cfg(feature = "wan")]
    #[arg(long, env = "OKAPI_WAN_LISTEN", value_name = "ADDRESS:PORT", value_delimiter = ',')]
    pub wan_listen: Vec<SocketAddr>,

    /// Reach others, and be reached, through NAT by way of this relay (of iroh) of one's own
    ///
    /// All who are to meet there name it. It cannot read what it carries, but sees who talks to whom. A relay that only
    /// others name is never used.
    #[cfg(feature = "wan")]
    #[arg(long, env = "OKAPI_RELAY", value_name = "URL")]
    pub relay: Option<String>,

    /// Whether work for the other members pauses while this machine runs on battery: true or false
    #[arg(long, env = "OKAPI_PAUSE_ON_BATTERY", value_name = "YES", default_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub pause_on_battery: bool,

    /// The engine of grids that are made without naming one: log or fjall
    #[arg(long, env = "OKAPI_ENGINE", value_name = "NAME", default_value = "log", value_parser = ["log", "fjall"])]
    pub engine: String,

    /// How long a put to a grid of durability `interval` may stay only in memory
    #[arg(long, env = "OKAPI_INTERVAL", value_name = "TIME", default_value = "1s")]
    pub interval: Period,

    /// Bytes that grids of durability `memory` may take, all together
    #[arg(long, env = "OKAPI_MEMORY_MAX", value_name = "SIZE", default_value = "1G")]
    pub memory_max: Size,

    /// Bytes that the durable store may take on the disk; 0: as many as there are
    #[arg(long, env = "OKAPI_STORE_MAX", value_name = "SIZE", default_value = "0")]
    pub store_max: Size,

    /// Bytes a second that compaction may read and write; 0: as fast as it can
    #[arg(long, env = "OKAPI_COMPACTION_RATE", value_name = "SIZE", default_value = "200M")]
    pub compaction_rate: Size,

    /// Whether programs of this user may read memory grids through shared memory: true or false
    #[arg(long, env = "OKAPI_SHARED_MAPS", value_name = "YES", default_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub shared_maps: bool,

    /// Connections at a time
    #[arg(long, env = "OKAPI_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = okapi_base::limits::CONNECTIONS_MAX)]
    pub connections_max: usize,

    /// Bytes of what is being received that all connections share
    #[arg(long, env = "OKAPI_RECEIVE_BUDGET", value_name = "SIZE", default_value = "256M")]
    pub receive_budget: Size,

    /// Bytes of replies waiting to be sent that all connections share
    #[arg(long, env = "OKAPI_REPLY_BUDGET", value_name = "SIZE", default_value = "256M")]
    pub reply_budget: Size,

    /// Threads that serve connections; 0: half as many as there are processors
    #[arg(long, env = "OKAPI_THREADS", value_name = "COUNT", default_value_t = 0)]
    pub threads: usize,

    /// Microseconds for which an idle thread looks for more work before it sleeps, while that pays off; 0: never
    ///
    /// It halves the time of a single get and costs a little processor time between busy moments.
    #[arg(long, env = "OKAPI_SPIN", value_name = "MICROSECONDS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub spin: u64,
}

/// Whether disks are served, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NbdPlace {
    /// They are not.
    Nowhere,
    /// At a socket beside the node's.
    Beside,
    /// There.
    At(Target),
}

impl std::str::FromStr for NbdPlace {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text {
            "false" => Ok(Self::Nowhere),
            "true" => Ok(Self::Beside),
            target => target.parse().map(Self::At),
        }
    }
}

/// Permissions of a file, written in octal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileMode(pub u32);

impl std::str::FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        match u32::from_str_radix(text, 8) {
            Ok(mode) if digits && mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!("`{text}` is not a file mode; write 600, 660 or 666")),
        }
    }
}

/// The settings in force.
#[derive(Debug)]
pub(crate) struct Effective {
    /// The data directory.
    pub data: PathBuf,
    /// Everything else.
    pub node: NodeArgs,
    /// Each setting, as text, and where it comes from; the data directory first.
    pub origins: Vec<(String, String, Origin)>,
    /// The file that was looked for.
    pub file: PathBuf,
    /// Whether it is there.
    pub file_found: bool,
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag of this command.
    Flag,
    /// The environment variable of this name.
    Environment(String),
    /// The file.
    File,
    /// Nobody said anything.
    Default,
}

impl Effective {
    /// The settings for `okapi up` with the flags in `matches`.
    ///
    /// # Errors
    /// [`Failure`] if the file or a value in it is wrong.
    pub(crate) fn load(global: &Global, matches: &ArgMatches) -> Result<Self, Failure> {
        let (path, text) = read_file(global)?;
        Self::from_text(global, matches, path, text.as_deref())
    }

    /// The settings as clients need them, to find the node on this machine.
    ///
    /// # Errors
    /// [`Failure`] if the file, the environment or a value in them is wrong.
    pub(crate) fn for_clients(global: &Global) -> Result<Self, Failure> {
        let matches = list().try_get_matches_from([] as [&str; 0]).map_err(|error| from_clap(&error))?;
        Self::load(global, &matches)
    }

    fn from_text(global: &Global, matches: &ArgMatches, file: PathBuf, text: Option<&str>) -> Result<Self, Failure> {
        let mut from_file = match text {
            Some(text) => values(text).map_err(|failure| failure.at(file.display()))?,
            None => BTreeMap::new(),
        };
        let data = from_file.remove("data");
        let (data, origin) = match (&global.data, data) {
            (Some(data), _) => (data.clone(), origin_of(matches, "data", Some("OKAPI_DATA"))),
            (None, Some(data)) => (PathBuf::from(data), Origin::File),
            (None, None) => (base()?.data_dir().join("okapi"), Origin::Default),
        };
        let mut origins = vec![("data".to_owned(), data.display().to_string(), origin)];
        let mut words = Vec::new();
        for arg in list().get_arguments() {
            let (Some(key), id) = (arg.get_long(), arg.get_id().as_str()) else { continue };
            let mut origin = origin_of(matches, id, arg.get_env().and_then(std::ffi::OsStr::to_str));
            let raw = matches.get_raw(id).map(|raw| raw.map(|part| part.to_string_lossy()).collect::<Vec<_>>());
            let mut value = raw.map(|parts| parts.join(","));
            if let (Origin::Default, Some(found)) = (&origin, from_file.remove(key)) {
                (origin, value) = (Origin::File, Some(found));
            }
            if let Some(value) = &value {
                words.push(format!("--{key}={value}"));
            }
            let value = value.unwrap_or_else(|| {
                if key == "socket" { socket_in(&data).display().to_string() } else { "none".to_owned() }
            });
            origins.push((key.to_owned(), value, origin));
        }
        // Values of the file go through the same parsers as flags, and so do their errors.
        let parsed = list().try_get_matches_from(words).and_then(|matches| NodeArgs::from_arg_matches(&matches));
        let node = parsed.map_err(|error| from_clap(&error))?;
        Ok(Self { data, node, origins, file, file_found: text.is_some() })
    }

    /// Where the node listens, or is to be found.
    ///
    /// # Errors
    /// [`Failure`] if the working directory is gone.
    pub(crate) fn socket(&self) -> Result<PathBuf, Failure> {
        let socket = self.node.socket.clone().unwrap_or_else(|| socket_in(&self.data));
        std::path::absolute(&socket).map_err(|error| Failure::io(socket.display(), &error))
    }

    /// Where disks are served over NBD if nobody says where.
    ///
    /// # Errors
    /// [`Failure`] if the working directory is gone.
    pub(crate) fn nbd_socket(&self) -> Result<Target, Failure> {
        Ok(Target::Unix(self.socket()?.with_file_name("nbd.sock")))
    }
}

fn socket_in(data: &Path) -> PathBuf {
    data.join("okapi.sock")
}

/// Where this platform keeps data, configuration and state.
pub(crate) fn base() -> Result<impl etcetera::BaseStrategy, Failure> {
    etcetera::choose_base_strategy()
        .map_err(|_| Failure::new("your home directory cannot be found; set HOME, or name a directory with --data"))
}

/// Where the shell keeps its history and replication its positions.
pub(crate) fn state_dir() -> Result<PathBuf, Failure> {
    let base = base()?;
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join("okapi"))
}

/// The settings as a list of flags of their own.
fn list() -> clap::Command {
    NodeArgs::augment_args(clap::Command::new("okapi up").no_binary_name(true))
}

fn origin_of(matches: &ArgMatches, id: &str, variable: Option<&str>) -> Origin {
    match matches.try_contains_id(id).ok().and_then(|_| matches.value_source(id)) {
        Some(ValueSource::CommandLine) => Origin::Flag,
        Some(ValueSource::EnvVariable) => Origin::Environment(variable.unwrap_or_default().to_owned()),
        _ => Origin::Default,
    }
}

fn read_file(global: &Global) -> Result<(PathBuf, Option<String>), Failure> {
    let (path, must) = match &global.config {
        Some(path) => (path.clone(), true),
        None => match base() {
            Ok(base) => (base.config_dir().join("okapi").join("okapi.toml"), false),
            // Without a home there is no file in it; a data directory may still have been named.
            Err(_) => return Ok((PathBuf::from("okapi.toml"), None)),
        },
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, Some(text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must => Ok((path, None)),
        Err(error) => Err(Failure::io(path.display(), &error)),
    }
}

/// The keys of a file and their values as text; each key must be known and each value be right.
fn values(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        Failure::usage(format!("line {line}: {}", error.message()))
    })?;
    let list = list();
    let mut known: Vec<&str> = list.get_arguments().filter_map(Arg::get_long).collect();
    known.push("data");
    let mut values = BTreeMap::new();
    for (key, value) in table {
        if !known.contains(&key.as_str()) {
            let hint = nearest(&key, &known).map(|near| format!("; did you mean `{near}`?"));
            let hint = hint.unwrap_or_else(|| "; `okapi config` lists what there is".to_owned());
            return Err(Failure::usage(format!("`{key}` is not a setting{hint}")));
        }
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => value.to_string(),
            toml::Value::Array(parts) if LISTS.contains(&key.as_str()) && parts.iter().all(toml::Value::is_str) => {
                parts.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            _ => return Err(Failure::usage(format!("`{key}` is a text, a number, true or false"))),
        };
        if key != "data" {
            let word = format!("--{key}={value}");
            list.clone().try_get_matches_from([word]).map_err(|error| from_clap(&error))?;
        }
        values.insert(key, value);
    }
    Ok(values)
}

/// What clap says of a wrong value, in one line.
pub(crate) fn from_clap(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    Failure::usage(first.trim_start_matches("error: ").replace("'--", "'").replace(" <", " (").replace(">'", ")'"))
}

/// The known name with the fewest letters to change, if those are few.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.replace('_', "-").to_lowercase();
    let best = known.iter().map(|other| (changes(&name, other), *other)).min()?;
    (best.0 <= 2.max(name.len() / 3)).then_some(best.1)
}

/// Letters to insert, remove or replace to make `b` of `a` (Levenshtein).
fn changes(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let here = (before + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            before = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(flags: &[&str], file: &str) -> Result<Effective, Failure> {
        let matches = list().try_get_matches_from(flags).unwrap();
        let global = Global { data: None, ..Global::default() };
        Effective::from_text(&global, &matches, PathBuf::from("okapi.toml"), Some(file))
    }

    fn wrong(file: &str) -> String {
        effective(&[], file).unwrap_err().to_string()
    }

    #[test]
    fn a_socket_mode_is_octal() {
        let mode = |text: &str| effective(&[&format!("--socket-mode={text}")], "").map(|all| all.node.socket_mode.0);
        assert_eq!(mode("600").unwrap(), 0o600);
        assert_eq!(effective(&[], "socket-mode = '0660'").unwrap().node.socket_mode.0, 0o660);
        for wrong in ["999", "+66", "1777", "rw-", ""] {
            assert!(wrong.parse::<FileMode>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_are_over_the_file_and_the_file_over_defaults() {
        let file = "data = '/d'\nmemory-max = '2G'\ninterval = '5s'\nstore-max = 4096\nshared-maps = false\n";
        let effective = effective(&["--interval=250ms"], file).unwrap();
        assert_eq!(effective.data, Path::new("/d"));
        assert_eq!(effective.node.interval.0.as_millis(), 250);
        assert_eq!(effective.node.memory_max, Size(2 << 30));
        assert_eq!(effective.node.store_max, Size(4096));
        assert_eq!(effective.node.compaction_rate, Size(200 << 20));
        assert!(!effective.node.shared_maps);
        assert_eq!(effective.socket().unwrap(), Path::new("/d/okapi.sock"));
        let origin = |name: &str| effective.origins.iter().find(|(key, ..)| key == name).unwrap().2.clone();
        assert_eq!(origin("data"), Origin::File);
        assert_eq!(origin("interval"), Origin::Flag);
        assert_eq!(origin("memory-max"), Origin::File);
        assert_eq!(origin("compaction-rate"), Origin::Default);
    }

    #[test]
    fn disks_are_served_if_that_is_said() {
        let place = |flags: &[&str], file: &str| effective(flags, file).unwrap().node.nbd;
        assert_eq!(place(&[], ""), NbdPlace::Nowhere);
        assert_eq!(place(&["--nbd"], ""), NbdPlace::Beside);
        assert_eq!(place(&[], "nbd = true"), NbdPlace::Beside);
        assert_eq!(place(&["--nbd", "false"], "nbd = true"), NbdPlace::Nowhere);
        assert_eq!(place(&["--nbd=unix:/a"], "nbd = true"), NbdPlace::At(Target::Unix("/a".into())));
        assert!(
            wrong("nbd = 'somewhere'").contains("`somewhere` does not say where"),
            "{}",
            wrong("nbd = 'somewhere'")
        );
    }

    #[test]
    fn addresses_may_be_a_list() {
        let listen = |file: &str| effective(&[], file).unwrap().node.member_listen.len();
        assert_eq!(listen("member-listen = ['0.0.0.0:7072', '[::1]:7072']"), 2);
        assert_eq!(listen("member-listen = '0.0.0.0:7072'"), 1);
        assert_eq!(listen("tcp = ['127.0.0.1:1']"), 0);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named() {
        assert_eq!(wrong("memory_max = 1"), "okapi.toml: `memory_max` is not a setting; did you mean `memory-max`?");
        assert_eq!(wrong("sokcet = 'x'"), "okapi.toml: `sokcet` is not a setting; did you mean `socket`?");
        assert_eq!(wrong("quux = 1"), "okapi.toml: `quux` is not a setting; `okapi config` lists what there is");
        assert_eq!(wrong("interval = ['a']"), "okapi.toml: `interval` is a text, a number, true or false");
        assert_eq!(
            wrong("memory-max = 'lots'"),
            "okapi.toml: invalid value 'lots' for 'memory-max (SIZE)': `lots` is not a size; write 512, 64K, 10M, 1.5G or 2T"
        );
        assert!(wrong("a = 1\nb = = 2").starts_with("okapi.toml: line 2: "), "{}", wrong("a = 1\nb = = 2"));
    }

    #[test]
    fn near_names_are_found() {
        assert_eq!(changes("socket", "sokcet"), 2);
        assert_eq!(changes("", "abc"), 3);
        assert_eq!(nearest("tpc", &["tcp", "socket"]), Some("tcp"));
        assert_eq!(nearest("wholly-other", &["tcp", "socket"]), None);
    }
}
