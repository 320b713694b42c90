//! `okapi vm ls`: machines that run, and what each uses.

use super::machine::{Machine, Machines, Record};
use super::qmp;
use crate::command::image::disks;
use crate::failure::Failure;
use crate::session::Session;
use crate::size::{Size, lasted};
use crate::view::{columns, shown};
use okapi_volume::Disks;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// List machines that run, and what each uses
///
/// What its disk has of its own, what it has read and written since it was started, seconds of a processor it has used, and
/// memory it has now. A dash: nobody could tell.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "list")]
pub(crate) struct Args {}

/// What a machine uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Use {
    own: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
    cpu: Option<f64>,
    memory: Option<u64>,
}

impl Args {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let running = Machines::of(session)?.running()?;
        // The node may be away, and the machines with it; that they are there is to be seen all the same.
        let disks = if running.is_empty() { None } else { disks(session, false).ok() };
        let view = &mut session.view;
        let mut rows = Vec::new();
        for (machine, record) in &running {
            let used = Use::of(machine, record, disks.as_ref());
            if view.json {
                view.json(&used.json(record))?;
            } else {
                rows.push(used.row(record));
            }
        }
        if view.json {
            return Ok(());
        }
        if rows.is_empty() {
            if view.is_terminal() {
                view.aside("no machine runs; `okapi vm run DISK` starts one");
            }
            return Ok(());
        }
        let heading = ["pid", "up", "own", "read", "written", "cpu", "memory", "by", "name", "disk"];
        rows.insert(0, heading.map(str::to_owned).to_vec());
        columns(&rows, &[0, 1, 2, 3, 4, 5, 6]).iter().try_for_each(|line| view.line(line))
    }
}

impl Use {
    fn of(machine: &Machine, record: &Record, disks: Option<&Disks>) -> Self {
        let own = disks.and_then(|disks| {
            let head = disks.find(&record.image).ok()?;
            Some(disks.own_blocks(&record.image).ok()? * u64::from(head.block_size.bytes()))
        });
        let counts = qmp::order(&machine.qmp(), "query-blockstats").ok();
        let sum = |key: &str| {
            let drives = counts.as_ref()?.as_array()?.iter();
            Some(drives.filter_map(|drive| drive["stats"][key].as_u64()).sum())
        };
        let used = record.qemu.used();
        Self {
            own,
            read: sum("rd_bytes"),
            written: sum("wr_bytes"),
            cpu: used.map(|used| used.0),
            memory: used.map(|used| used.1),
        }
    }

    fn json(self, record: &Record) -> Value {
        let mut json = record.json();
        json["own_bytes"] = self.own.into();
        json["read_bytes"] = self.read.into();
        json["written_bytes"] = self.written.into();
        json["cpu_seconds"] = self.cpu.into();
        json["memory_bytes"] = self.memory.into();
        json["up_seconds"] = json!(up(record).as_secs_f64());
        json
    }

    fn row(self, record: &Record) -> Vec<String> {
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| Size(bytes).to_string());
        vec![
            record.qemu.pid.to_string(),
            lasted(up(record)),
            size(self.own),
            size(self.read),
            size(self.written),
            self.cpu.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s")),
            size(self.memory),
            record.accelerator.clone(),
            shown(&record.name),
            shown(&record.image),
        ]
    }
}

fn up(record: &Record) -> Duration {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    now.saturating_sub(Duration::from_millis(record.since))
}
