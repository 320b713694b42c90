//! `okapi vm console`, and the console of a machine that runs in the foreground: what it shows is read from its log, what is
//! typed goes to it through its socket.

use super::machine::{Machine, Machines};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::view::{View, shown};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How often is looked for more.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes shown at a time.
const PIECE: usize = 64 << 10;
/// Ctrl-].
const LEAVE: u8 = 0x1D;

/// Look at a machine's console, and type into it
///
/// Shows what the machine has said so far, and then what it says. Ctrl-] leaves, and the machine goes on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  okapi vm console web-01
  okapi vm console web-01 --log | tail        what it has said, also after its end")]
pub(crate) struct Args {
    /// The machine
    #[arg(value_name = "NAME")]
    name: String,

    /// Only what it has said so far
    #[arg(long)]
    log: bool,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let machines = Machines::of(session)?;
        let machine = machines.machine(&self.name);
        let view = &mut session.view;
        if view.json {
            return Err(Failure::usage("a console is no JSON; leave out --json"));
        }
        let runs = machines.one(&self.name);
        let mut shown_log = match (Log::open(&machine), &runs) {
            (Ok(log), _) => log,
            (Err(_), Err(none)) => return Err(none.clone()),
            (Err(error), Ok(_)) => return Err(Failure::io(machine.console().display(), &error)),
        };
        shown_log.show(view)?;
        if self.log || runs.is_err() {
            return Ok(());
        }
        let stop = interrupt::watch()?;
        view.aside(format_args!("the console of {}; Ctrl-] leaves", shown(&self.name)));
        let keys = Keys::to(&machine)?;
        while !stop.is_set() && !keys.is_left() && machine.is_served() {
            shown_log.show(view)?;
            thread::sleep(LOOK);
        }
        shown_log.show(view)
    }
}

/// What a machine has said.
pub(super) struct Log {
    file: File,
    at: u64,
}

impl Log {
    pub(super) fn open(machine: &Machine) -> io::Result<Self> {
        Ok(Self { file: File::open(machine.console())?, at: 0 })
    }

    /// Shows what came since the last time.
    pub(super) fn show(&mut self, view: &mut View) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("the console's log", &error);
        if self.file.metadata().map_err(failed)?.len() < self.at {
            // It became too long and was begun anew.
            self.at = self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        }
        let mut piece = vec![0; PIECE];
        loop {
            let count = self.file.read(&mut piece).map_err(failed)?;
            if count == 0 {
                return view.flush();
            }
            self.at += count as u64;
            view.bytes().write_all(&piece[..count]).map_err(|error| Failure::io("standard output", &error))?;
        }
    }
}

/// What is typed, on its way to a machine. Dropped, the terminal is as it was.
pub(super) struct Keys {
    left: Arc<AtomicBool>,
    before: Option<Termios>,
}

impl Keys {
    /// Passes on what is typed from now on.
    pub(super) fn to(machine: &Machine) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("the console", &error);
        let serial = UnixStream::connect(machine.serial()).map_err(failed)?;
        let mut said = serial.try_clone().map_err(failed)?;
        // What is said comes from the log; here it must only not pile up.
        thread::spawn(move || io::copy(&mut said, &mut io::sink()));
        let before = raw_terminal()?;
        let left = Arc::new(AtomicBool::new(false));
        let (leave, is_terminal) = (left.clone(), before.is_some());
        thread::spawn(move || pass(serial, &leave, is_terminal));
        Ok(Self { left, before })
    }

    /// Whether Ctrl-] was typed since the last time.
    pub(super) fn is_left(&self) -> bool {
        self.left.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // There is nobody to tell.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

fn pass(mut serial: UnixStream, leave: &AtomicBool, is_terminal: bool) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = io::stdin().lock().read(&mut bytes) {
        let typed = &bytes[..count];
        match typed.iter().position(|byte| *byte == LEAVE).filter(|_| is_terminal) {
            Some(at) => {
                let _ = serial.write_all(&typed[..at]);
                leave.store(true, Ordering::Release);
            }
            None if serial.write_all(typed).is_err() => return,
            None => {}
        }
    }
}

/// Has every key go to the machine, Ctrl-C too; how the terminal was, if there is one.
fn raw_terminal() -> Result<Option<Termios>, Failure> {
    let failed = |error: rustix::io::Errno| Failure::io("the terminal", &error.into());
    if !isatty(io::stdin()) {
        return Ok(None);
    }
    let before = tcgetattr(io::stdin()).map_err(failed)?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(io::stdin(), OptionalActions::Drain, &raw).map_err(failed)?;
    Ok(Some(before))
}
