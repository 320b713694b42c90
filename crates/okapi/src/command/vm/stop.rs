//! `okapi vm stop`.

use super::machine::{Machine, Machines, Record};
use super::qmp;
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::size::{Period, lasted};
use crate::view::{Tone, shown};
use serde_json::json;
use std::time::{Duration, Instant};

/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long its server may take to let go of the disk once qemu is gone.
const LETTING_GO: Duration = Duration::from_secs(15);

/// Stop machines, as by their power button
///
/// The guest is asked to end, and is ended if it has not in time. What it flushed is kept either way.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// At once, as by pulling the plug
    #[arg(long)]
    force: bool,

    /// How long a guest may take to end by itself
    #[arg(long, value_name = "TIME", default_value = "30s")]
    patience: Period,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let machines = Machines::of(session)?;
        let found: Vec<_> = self.names.iter().map(|name| machines.one(name)).collect::<Result<_, _>>()?;
        let stop = interrupt::watch()?;
        let started = Instant::now();
        // All are asked before any is waited for.
        for (machine, record) in &found {
            if self.force || qmp::order(&machine.qmp(), "system_powerdown").is_err() {
                record.qemu.kill();
            }
        }
        for (machine, record) in &found {
            let forced = wait(machine, record, started + self.patience.0, &|| stop.is_set())?;
            let forced = forced || self.force;
            let view = &mut session.view;
            let name = view.paint(Tone::Strong, shown(&machine.name));
            let how = if forced { "stopped by force" } else { "is off" };
            let json = json!({"name": machine.name, "forced": forced, "seconds": started.elapsed().as_secs_f64()});
            view.report(format_args!("{name} {how}  {}", lasted(started.elapsed())), &json)?;
        }
        Ok(())
    }
}

/// Waits until a machine is gone; whether it had to be ended for that.
fn wait(machine: &Machine, record: &Record, until: Instant, give_up: &dyn Fn() -> bool) -> Result<bool, Failure> {
    let mut forced = false;
    while machine.is_served() {
        let name = shown(&machine.name);
        if give_up() {
            return Err(Failure::of("interrupted", format!("interrupted; {name} may still end by itself")));
        }
        let now = Instant::now();
        if now >= until && !forced && record.qemu.is_there() {
            record.qemu.kill();
            forced = true;
        }
        if now >= until + LETTING_GO {
            record.server.kill();
            return Err(Failure::new(format!("what served {name} did not end in good order and was killed")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(forced)
}
