//! fio, which asks as people do.

use super::Disk;
use super::served::Served;
use crate::Fault;
use std::process::Command;

/// What it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    pub(super) what: &'static str,
    /// In KiB.
    pub(super) block: u32,
    pub(super) depth: u32,
    /// Whether a flush follows each write.
    pub(super) flush: bool,
}

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Requests a second.
    pub(super) rate: f64,
    /// Bytes a second.
    pub(super) bytes: f64,
    /// Microseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Microseconds of the servers' processor time a request.
    pub(super) cpu: f64,
}

impl Job {
    /// Bytes of a request.
    pub(super) fn bytes(&self) -> usize {
        (self.block as usize) << 10
    }

    /// Has fio ask one disk for so many seconds.
    pub(super) fn run(&self, of: &Served, disk: Disk, seconds: f64) -> Result<Run, Fault> {
        let mut command = fio(&of.uri(disk), self.what, self.block, self.depth);
        command.args(["--time_based", "--output-format=json", &format!("--runtime={seconds}s")]);
        if self.flush {
            command.arg("--fsync=1");
        }
        let before = of.cpu()?;
        let text = succeed(&mut command)?;
        let used = of.cpu()? - before;
        // Notes may stand before it.
        let start = text.find('{').ok_or("fio printed no figures")?;
        let told: serde_json::Value = serde_json::from_str(&text[start..])?;
        let side = &told["jobs"][0][if self.what.contains("read") { "read" } else { "write" }];
        let number = |name: &str| side[name].as_f64().ok_or_else(|| format!("fio tells no {name}"));
        let late = |at: &str| side["clat_ns"]["percentile"][at].as_f64().map_or(f64::NAN, |ns| ns / 1e3);
        let count = number("total_ios")?.max(1.0);
        Ok(Run {
            rate: number("iops")?,
            bytes: number("bw_bytes")?,
            p50: late("50.000000"),
            p99: late("99.000000"),
            cpu: used * 1e6 / count,
        })
    }
}

/// Writes anew so many bytes of a disk, at places that are the same each time and none twice.
pub(super) fn scatter(uri: &str, bytes: u64) -> Result<(), Fault> {
    let mut command = fio(uri, "randwrite", 4, 32);
    succeed(command.args(["--randseed=7", &format!("--io_size={bytes}")])).map(drop)
}

/// Its version, in its own words.
pub(super) fn version() -> Result<String, Fault> {
    Ok(succeed(Command::new("fio").arg("--version"))?.trim().to_owned())
}

fn fio(uri: &str, what: &str, block: u32, depth: u32) -> Command {
    let mut command = Command::new("fio");
    command.args(["--name=disk", "--ioengine=nbd", &format!("--uri={uri}"), &format!("--rw={what}")]);
    command.args([&format!("--bs={block}k"), &format!("--iodepth={depth}"), "--refill_buffers=0"]);
    command
}

fn succeed(command: &mut Command) -> Result<String, Fault> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|why| format!("{name} does not run: {why}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
