//! `okapi up` runs a node; `okapi config` tells with which settings it would.

use crate::command::nbd;
use crate::failure::Failure;
use crate::session::Session;
use crate::settings::{Effective, NbdPlace, NodeArgs, Origin};
use crate::size::counted;
use crate::standing;
use crate::view::{Tone, hex, shown};
use clap::ArgMatches;
use okapi_client::group::{GroupStatus, MemberPresence};
use okapi_gate::nbd::Server;
use okapi_node::{EngineKind, GroupSettings, HostSettings, LockError, Node, NodeSettings, Readable, StartError};
use okapi_seal::RecipientKey;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ops::ControlFlow;
use std::time::Duration;

/// Run a node on this machine
///
/// Prints how to reach it, then serves until SIGTERM or Ctrl-C; a second Ctrl-C ends it at once. Nothing needs to be
/// configured: the data goes to the platform's data directory, and the node listens on a unix socket there.
///
/// Each setting is a flag, an environment variable or a line in the file okapi.toml in the platform's configuration
/// directory (`memory-max = "2G"`), whichever comes first in this order. `okapi config` prints those in force.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi up                                    all by default
  okapi up --data /srv/okapi                  another directory
  okapi up --tcp 127.0.0.1:7070               also over TCP, from this machine
  okapi up --nbd                              with its disks for virtual machines

What is stored is encrypted with a key in the data directory. Whoever has the
directory has the key: keep both safe, and keep copies together.")]
pub(crate) struct Args {
    #[command(flatten)]
    settings: NodeArgs,
}

/// Print the settings in force, and where each comes from
#[derive(Debug, clap::Args)]
pub(crate) struct Config {
    #[command(flatten)]
    settings: NodeArgs,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
        let settings = Effective::load(&session.global, matches)?;
        let mut running = Running::start(&settings)?;
        if let Err(failure) = running.serve_disks(&settings) {
            running.stop(session)?;
            return Err(failure);
        }
        tell(session, &settings, &running)?;
        running.wait();
        running.stop(session)
    }
}

/// Is shown how far a restore is, what can be read already, and whether it was told to end; ends it by breaking.
pub(crate) type Look<'l> = dyn FnMut(&GroupStatus, Option<Readable>, bool) -> ControlFlow<()> + 'l;

/// A node in this process, and the signals that end it.
pub(crate) struct Running {
    pub(crate) node: Node,
    disks: Option<Server>,
    signals: Signals,
}

impl Running {
    /// Starts the node.
    ///
    /// # Errors
    /// [`Failure`] if it does not start.
    pub(crate) fn start(settings: &Effective) -> Result<Self, Failure> {
        // Before anything else, so that no signal is lost while the stores open.
        let signals = watched()?;
        allow_many_files();
        let node = Node::start(node_settings(settings)?).map_err(|error| start_failure(&error))?;
        Ok(Self { node, disks: None, signals })
    }

    /// Gets the node's data back and starts it. `look` is shown how far that is.
    ///
    /// # Errors
    /// [`Failure`] if it does not start, or `look` breaks.
    pub(crate) fn restore(
        settings: &Effective,
        key: RecipientKey,
        without_silent: bool,
        look: &mut Look<'_>,
    ) -> Result<Self, Failure> {
        let mut signals = watched()?;
        allow_many_files();
        let mut wanted = node_settings(settings)?;
        wanted.group.without_silent = without_silent;
        let node = Node::restore(wanted, key, &mut |status, readable| {
            let told_to_end = signals.pending().next().is_some();
            look(status, readable, told_to_end)
        });
        Ok(Self { node: node.map_err(|error| start_failure(&error))?, disks: None, signals })
    }

    /// Serves the node's disks, if that is wanted.
    ///
    /// # Errors
    /// [`Failure`] if they cannot be served.
    pub(crate) fn serve_disks(&mut self, settings: &Effective) -> Result<(), Failure> {
        let target = match &settings.node.nbd {
            NbdPlace::Nowhere => return Ok(()),
            NbdPlace::Beside => settings.nbd_socket()?,
            NbdPlace::At(target) => target.clone(),
        };
        self.disks = Some(nbd::serve_own(&self.node, target, Duration::from_micros(settings.node.spin))?);
        Ok(())
    }

    /// Waits until it is told to end.
    pub(crate) fn wait(&mut self) {
        self.signals.forever().next();
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// [`Failure`] if that cannot be done.
    pub(crate) fn stop(self, session: &Session) -> Result<(), Failure> {
        let Self { node, disks, mut signals } = self;
        session.view.aside("stopping; Ctrl-C again to end at once");
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                std::process::exit(130);
            }
        });
        // Machines first: what they were told is written must get to the node.
        drop(disks);
        node.stop().map_err(|error| Failure::new(error.to_string()))
    }
}

fn watched() -> Result<Signals, Failure> {
    Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::io("cannot watch for signals", &error))
}

/// Lets this process have as many open files as it may: a connection is one, and so is each shared segment of memory.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused, the node runs all the same: it turns away connections beyond its means.
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}

/// What a node with these settings is started with.
pub(crate) fn node_settings(settings: &Effective) -> Result<NodeSettings, Failure> {
    let node = &settings.node;
    let data = std::path::absolute(&settings.data).map_err(|error| Failure::io(settings.data.display(), &error))?;
    let host = HostSettings {
        engine: if node.engine == "fjall" { EngineKind::Fjall } else { EngineKind::Log },
        interval: node.interval.0,
        memory_max: node.memory_max.0,
        store_max: node.store_max.0,
        compaction_rate: node.compaction_rate.0,
        shared_maps: node.shared_maps,
        ..HostSettings::new(data)
    };
    let bytes = |size: crate::size::Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    let group = GroupSettings {
        listen: node.member_listen.clone(),
        upload_rate: node.upload_rate.0,
        download_rate: node.download_rate.0,
        local_network: node.local_network,
        #[cfg(feature = "wan")]
        wan: (!node.wan_listen.is_empty() || node.relay.is_some())
            .then(|| okapi_node::Wan { bind: node.wan_listen.clone(), relay: node.relay.clone() }),
        pause_on_battery: node.pause_on_battery,
        without_silent: false,
    };
    Ok(NodeSettings {
        group,
        socket: Some(settings.socket()?),
        socket_mode: node.socket_mode.0,
        tcp: node.tcp.clone(),
        threads: node.threads,
        spin: Duration::from_micros(node.spin),
        connections_max: node.connections_max,
        receive_budget: bytes(node.receive_budget),
        reply_budget: bytes(node.reply_budget),
        ..NodeSettings::new(host)
    })
}

/// Why a node did not start, for scripts too.
pub(crate) fn start_failure(error: &StartError) -> Failure {
    let kind = match error {
        StartError::Data(LockError::InUse { .. }) => "in-use",
        StartError::Data(_) => "data-directory",
        StartError::TcpBeyondLoopback { .. } | StartError::BudgetTooSmall { .. } => {
            return Failure::usage(error.to_string());
        }
        StartError::Unix(_) | StartError::Tcp(_) => "cannot-listen",
        _ => "failed",
    };
    Failure::of(kind, crate::failure::without_code(&error.to_string()))
}

/// Says how the node is reached: the first line is there once it can be.
pub(crate) fn tell(session: &mut Session, settings: &Effective, running: &Running) -> Result<(), Failure> {
    let node = &running.node;
    let (data, opened) = (settings.data.display().to_string(), node.opened());
    let disks = running.disks.as_ref().map(|server| server.addresses()[0].to_string());
    let group = node.group_status();
    let targets: Vec<String> = node.targets().iter().map(ToString::to_string).collect();
    let view = &mut session.view;
    if view.json {
        view.json(&json!({
            "up": targets,
            "nbd": disks,
            "data": data,
            "node": hex(&opened.node),
            "pid": std::process::id(),
            "group": group.as_ref().map(standing::json),
        }))?;
        return view.flush();
    }
    let by_default = settings
        .origins
        .iter()
        .all(|(key, _, origin)| !matches!(key.as_str(), "data" | "socket") || *origin != Origin::Flag);
    let next = if by_default { "okapi put FILE".to_owned() } else { format!("okapi --node {} put FILE", targets[0]) };
    let faint = |text: &str| view.paint(Tone::Faint, text);
    let mut lines = vec![format!("{} {}", view.paint(Tone::Good, "okapi is up"), faint(env!("CARGO_PKG_VERSION")))];
    for target in &targets {
        lines.push(format!("  {}  {target}", faint("reach it at")));
    }
    if targets.len() > 1 {
        lines.push(format!("  {}  {data}/token", faint("TCP token  ")));
    }
    lines.extend(disks.map(|target| format!("  {}  {target}", faint("disks at   "))));
    lines.push(format!("  {}  {data}", faint("data in    ")));
    let holds = format!("{}, {}", counted(opened.grids as u64, "grid"), counted(opened.records, "record"));
    lines.push(format!("  {}  {holds}", faint("it holds   ")));
    if opened.recovered > 0 {
        let left = counted(opened.recovered, "block");
        lines.push(format!("  {}  {left} of records that were never finished were removed", faint("recovered  ")));
    }
    if let Some(group) = &group {
        for (label, text) in group_lines(group) {
            lines.push(format!("  {}  {text}", faint(label)));
        }
    }
    lines.push(format!("  {}  {next}", faint("try next   ")));
    lines.iter().try_for_each(|line| view.line(line))?;
    view.flush()
}

/// Who the node is in its group, and where the others reach it.
fn group_lines(group: &GroupStatus) -> Vec<(&'static str, String)> {
    let name = standing::title(&group.name, &group.node.0);
    let mut lines = vec![("it is      ", format!("{name}, {}", standing::state(group)))];
    lines.extend((!group.note.is_empty()).then(|| ("           ", shown(&group.note))));
    let own = group.members.iter().find(|member| member.presence == MemberPresence::This);
    let link = own.map(|own| shown(&own.link)).filter(|link| !link.is_empty());
    lines.extend(link.map(|link| ("for members", link)));
    lines
}

impl Config {
    pub(crate) fn run(self, session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
        let settings = Effective::load(&session.global, matches)?;
        let view = &mut session.view;
        let file = settings.file.display();
        let from = |origin: &Origin| match origin {
            Origin::Flag => "flag".to_owned(),
            Origin::Environment(name) => format!("environment: {name}"),
            Origin::File => "file".to_owned(),
            Origin::Default => "default".to_owned(),
        };
        if view.json {
            let all: serde_json::Map<String, Value> = settings
                .origins
                .iter()
                .map(|(key, value, origin)| (key.clone(), json!({"value": value, "from": from(origin)})))
                .collect();
            return view.json(&json!({"file": file.to_string(), "file_found": settings.file_found, "settings": all}));
        }
        let wide = settings.origins.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or(0).min(40);
        let facts: Vec<(String, String)> = settings
            .origins
            .iter()
            .map(|(key, value, origin)| {
                let tone = if *origin == Origin::Default { Tone::Faint } else { Tone::Good };
                (key.clone(), format!("{value:wide$}  {}", view.paint(tone, from(origin))))
            })
            .collect();
        view.facts(&facts)?;
        let there = if settings.file_found { "" } else { " (not there)" };
        view.line(format_args!("\n{} {file}{there}", view.paint(Tone::Faint, "file:")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;

    #[test]
    fn who_the_node_is_in_its_group_is_told() {
        let lines = |status: &GroupStatus| group_lines(status).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(lines(&pretend::alone()), ["attic, alone: nobody else is in its group", "10.0.0.1:7072"]);
        assert!(lines(&pretend::halted())[1].starts_with("another node runs with this identity"));
    }
}
