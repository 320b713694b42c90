//! `okapi vm run`: serves a disk to a qemu of its own, and waits for that to end.

use super::card::Card;
use super::console::{Keys, Log};
use super::machine::{Claim, Machine, Machines, Process, Record};
use super::qemu::{self, Accelerator, Shape};
use super::qmp::{self, Qmp};
use crate::command::image::disks;
use crate::failure::Failure;
use crate::session::Session;
use crate::view::{Tone, View, shown};
use okapi_client::Target;
use okapi_gate::nbd::Server;
use okapi_gate::{Catalog, DiskCatalog};
use okapi_volume::{Access, Disks};
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How often is looked at what happens.
const LOOK: Duration = Duration::from_millis(20);
/// How long qemu may take until it takes orders.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a guest that was asked to end may take.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a console's log; then it is begun anew, so that no guest fills the disk.
const LOG_MAX: u64 = 64 << 20;
const DETACH: &str = "--detach";
const BEHIND: &str = "--behind";

/// Run a machine from a disk, until it is off
///
/// The machine's console is this terminal. Ctrl-] asks the guest to end, as its power button would, and a second time ends
/// it. With --detach it goes on by itself: `okapi vm console` shows what it says.
///
/// A disk that `okapi image fan` has made knows its network: the card gets the MAC that is in its seed, and with --net user
/// the network outside looks as it expects.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi vm run web-01
  okapi vm run web-01 --detach --memory 1G --cpus 2 --forward 2222:22
  okapi vm run tiny --kernel vmlinuz --initrd initrd.gz --append 'root=/dev/vda1 ro'
  okapi vm run web-01 --net bridge=br0 -- -vnc :1

KVM is used where /dev/kvm can be opened, and software emulation where not, which is many times slower.")]
pub(crate) struct Args {
    /// The disk
    #[arg(value_name = "DISK")]
    image: String,

    /// The machine's name [default: the disk's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Leave it to itself once it runs
    #[arg(long)]
    detach: bool,

    /// It is what --detach has started
    #[arg(long, hide = true)]
    behind: bool,

    #[command(flatten)]
    shape: Shape,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let machine = Machines::of(session)?.machine(self.name.as_ref().unwrap_or(&self.image));
        let program = qemu::program()?;
        self.shape.check()?;
        if machine.is_served() {
            return Err(machine.runs_already());
        }
        let disks = disks(session, false)?;
        let card = {
            // Here, so that what is wrong with the disk is said by us and not by qemu.
            let disk = disks.disk(&self.image, Access::Write)?;
            Card::of(&disk)?
        };
        if self.detach {
            drop(disks);
            return detach(session, &machine);
        }
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]);
        let signals = signals.map_err(|error| Failure::io("cannot watch for signals", &error))?;
        let mut running = Running::start(self, program, &machine, disks, card, &session.view)?;
        // Before the terminal is the guest's.
        running.tell(&mut session.view)?;
        let shown = if running.args.behind { Shown::Nothing } else { Shown::of(session, &machine)? };
        let ended = running.watch(signals, shown, &mut session.view)?;
        running.end(ended, &mut session.view)
    }
}

/// Starts the same command behind this one, and waits until the machine runs.
fn detach(session: &mut Session, machine: &Machine) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io("starting the machine", &error);
    machine.prepare()?;
    let log = File::options().create(true).append(true).open(machine.log()).map_err(failed)?;
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(word) = words.iter_mut().take_while(|word| *word != "--").find(|word| *word == DETACH) {
        *word = BEHIND.into();
    }
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    // Not in this program's group of processes: Ctrl-C here is not meant for the machine.
    let mut child = command.process_group(0).spawn().map_err(failed)?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).map_err(failed)?;
    let Some(record) = serde_json::from_str::<Value>(&line).ok().filter(|record| record["pid"].is_u64()) else {
        child.wait().map_err(failed)?;
        return Err(Failure::new(last_words(machine)));
    };
    let view = &mut session.view;
    if view.json {
        return view.json(&record);
    }
    let name = view.paint(Tone::Strong, shown(&machine.name));
    let (pid, by) = (&record["pid"], by(record["accelerator"].as_str().unwrap_or_default()));
    let text = format!("{name} runs as process {pid}, by {by}; okapi vm console {}", shown(&machine.name));
    view.report(text, &record)
}

/// The last that qemu or its server had to say.
fn last_words(machine: &Machine) -> String {
    let said = fs::read_to_string(machine.log()).unwrap_or_default();
    let last = said.trim_end().lines().last().unwrap_or("the machine did not start, and nobody said why");
    let last = last.trim_start_matches("error: ");
    // qemu's own begin with the path of the program.
    shown(
        last.split_once("qemu-system-")
            .map_or(last, |(_, rest)| rest.split_once(": ").map_or(rest, |(_, words)| words)),
    )
}

fn by(accelerator: &str) -> &'static str {
    match accelerator {
        "kvm" => "KVM",
        _ => "software emulation, which is many times slower than KVM",
    }
}

/// A machine that runs, served by this process.
struct Running {
    args: Args,
    record: Record,
    qemu: Child,
    server: Server,
    claim: Claim,
}

impl Running {
    fn start(
        args: Args,
        program: &str,
        machine: &Machine,
        disks: Disks,
        card: Card,
        view: &View,
    ) -> Result<Self, Failure> {
        let claim = machine.claim()?;
        // The machine ends with this process, so nothing that it takes for written is taken from it.
        let catalog = DiskCatalog::new(disks, Some(vec![args.image.clone()]), Access::Write).with_write_back(true);
        let catalog: Arc<dyn Catalog> = Arc::new(catalog);
        let server = Server::start(&[Target::Unix(machine.nbd())], &catalog);
        let server = server.map_err(|error| Failure::new(error.to_string()))?;
        let start = |by| spawn(program, &args.shape.words(machine, &args.image, &card, by), machine);
        let mut by = args.shape.accelerator();
        let mut started = start(by);
        if let (Err(failure), Accelerator::Kvm) = (&started, by) {
            // Within virtual machines there is a KVM at times that fails.
            by = Accelerator::Tcg;
            let why = failure.message.clone();
            started =
                start(by).inspect(|_| view.aside(format_args!("/dev/kvm is there and does not work here ({why})")));
        }
        let mut qemu = started?;
        let record = Record {
            name: machine.name.clone(),
            image: args.image.clone(),
            qemu: Process::of(qemu.id()),
            server: Process::of(std::process::id()),
            since: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis() as u64),
            accelerator: by.name().to_owned(),
            mac: card.mac,
        };
        if let Err(failure) = claim.tell(&record) {
            let _ = qemu.kill();
            return Err(failure);
        }
        Ok(Self { args, record, qemu, server, claim })
    }

    fn tell(&self, view: &mut View) -> Result<(), Failure> {
        if view.json || self.args.behind {
            view.json(&self.record.json())?;
            return view.flush();
        }
        let name = shown(&self.record.name);
        let by = by(&self.record.accelerator);
        view.aside(format_args!("{name} runs, by {by}; Ctrl-] turns it off"));
        Ok(())
    }

    /// Waits until qemu has ended.
    fn watch(&mut self, mut signals: Signals, mut shown: Shown, view: &mut View) -> Result<ExitStatus, Failure> {
        let failed = |error: std::io::Error| Failure::io("qemu", &error);
        let machine = self.claim.machine().clone();
        let mut asked: Option<Instant> = None;
        loop {
            let ended = self.qemu.try_wait().map_err(failed)?;
            if let Err(failure) = shown.show(view) {
                // Whoever looked at the console is gone; the machine is not to go on unseen.
                self.qemu.kill().map_err(failed)?;
                self.qemu.wait().map_err(failed)?;
                return Err(failure);
            }
            if let Some(status) = ended {
                return Ok(status);
            }
            if signals.pending().next().is_some() || shown.is_left() {
                if asked.is_some() || qmp::order(&machine.qmp(), "system_powerdown").is_err() {
                    self.qemu.kill().map_err(failed)?;
                }
                asked = asked.or(Some(Instant::now()));
            }
            if asked.is_some_and(|asked| asked.elapsed() > END_PATIENCE) {
                self.qemu.kill().map_err(failed)?;
            }
            if fs::metadata(machine.console()).is_ok_and(|log| log.len() > LOG_MAX) {
                let _ = File::options().write(true).open(machine.console()).and_then(|log| log.set_len(0));
            }
            thread::sleep(LOOK);
        }
    }

    /// Lets go of the disk, and says how it went.
    fn end(self, ended: ExitStatus, view: &mut View) -> Result<(), Failure> {
        let Self { args, record, server, claim, .. } = self;
        // With it all that was written becomes durable.
        drop(server);
        let words = if ended.success() { String::new() } else { last_words(claim.machine()) };
        drop(claim);
        if view.json && !args.behind {
            view.json(&json!({"ended": record.name, "well": ended.success()}))?;
        }
        match (ended.success(), ended.signal()) {
            (true, _) => Ok(()),
            (_, Some(_)) => Err(Failure::of("ended", format!("machine `{}` was ended by force", shown(&record.name)))),
            _ => Err(Failure::new(format!("qemu: {words}"))),
        }
    }
}

/// Starts qemu, and waits until it takes orders.
fn spawn(program: &str, words: &[OsString], machine: &Machine) -> Result<Child, Failure> {
    let failed = |error: std::io::Error| Failure::io(program, &error);
    let log = File::options().append(true).open(machine.log()).map_err(failed)?;
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    // Not in this program's group of processes: Ctrl-C asks the guest to end, and does not end qemu.
    command.stdout(log.try_clone().map_err(failed)?).stderr(log).process_group(0);
    let mut qemu = command.spawn().map_err(failed)?;
    let begun = Instant::now();
    let failure = loop {
        match Qmp::connect(&machine.qmp()) {
            Ok(_) => return Ok(qemu),
            Err(_) if begun.elapsed() < START_PATIENCE => {}
            Err(error) => break Failure::io("qemu does not take orders", &error),
        }
        if qemu.try_wait().is_ok_and(|status| status.is_some()) {
            break Failure::new(format!("qemu: {}", last_words(machine)));
        }
        thread::sleep(LOOK);
    };
    // It may have ended already.
    let _ = qemu.kill();
    let _ = qemu.wait();
    Err(failure)
}

/// Where the console is shown.
enum Shown {
    Nothing,
    Terminal { log: Log, keys: Keys },
}

impl Shown {
    fn of(session: &Session, machine: &Machine) -> Result<Self, Failure> {
        if session.view.json {
            return Ok(Self::Nothing);
        }
        let log = Log::open(machine).map_err(|error| Failure::io(machine.console().display(), &error))?;
        Ok(Self::Terminal { log, keys: Keys::to(machine)? })
    }

    fn show(&mut self, view: &mut View) -> Result<(), Failure> {
        match self {
            Self::Nothing => Ok(()),
            Self::Terminal { log, .. } => log.show(view),
        }
    }

    fn is_left(&self) -> bool {
        matches!(self, Self::Terminal { keys, .. } if keys.is_left())
    }
}
