//! A system that keeps data on several nodes, as the bench drives it.

use crate::Fault;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What has been measured, by name.
pub(super) type Figures = BTreeMap<String, f64>;

/// How often is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Blocks that are put and got one at a time.
pub(super) const SMALL_BYTES: usize = 4096;

/// What is done with each system, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The file goes in, until it lies safely with several nodes.
    Put,
    /// It comes out again, as programs read it every day.
    Get,
    /// Single blocks go in and come out, one at a time.
    Small,
    /// Nothing.
    Idle,
    /// Two nodes are lost, and what they held is made anew elsewhere.
    Repair,
    /// The machine of whoever put the file is lost, and a new one gets it back from the others.
    Restore,
}

impl Step {
    pub(super) const ALL: [Self; 6] = [Self::Put, Self::Get, Self::Small, Self::Idle, Self::Repair, Self::Restore];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Small => "small",
            Self::Idle => "idle",
            Self::Repair => "repair",
            Self::Restore => "restore",
        }
    }
}

/// The file that goes in and comes out.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) path: PathBuf,
    /// Where it comes out.
    pub(super) back: PathBuf,
    pub(super) bytes: u64,
}

impl Payload {
    /// Compares what came out with what went in, and removes it.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let (mut one, mut other) = (BufReader::new(File::open(&self.path)?), BufReader::new(File::open(&self.back)?));
        loop {
            let (left, right) = (one.fill_buf()?, other.fill_buf()?);
            let count = left.len().min(right.len());
            if left[..count] != right[..count] || left.is_empty() != right.is_empty() {
                return Err("the file came back different".into());
            }
            if count == 0 {
                return Ok(std::fs::remove_file(&self.back)?);
            }
            one.consume(count);
            other.consume(count);
        }
    }
}

/// One system.
pub(super) trait Pool {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// What all its processes name on their command lines.
    fn folder(&self) -> &Path;

    /// Makes ready for a step, which is not measured; false if it has no such step.
    fn prepare(&mut self, step: Step) -> Result<bool, Fault>;

    /// Takes a step, which is measured, and returns what else it has shown.
    fn take(&mut self, step: Step, payload: &Payload) -> Result<Figures, Fault>;

    /// Makes sure of what a step has brought about, which is not measured. A file that came out must be what went in.
    fn check(&mut self, step: Step, payload: &Payload) -> Result<(), Fault>;

    /// The processes that are its nodes.
    fn nodes(&self) -> Vec<u32>;
}

/// Waits until something has come about.
pub(super) fn until(what: &str, patience: Duration, mut is: impl FnMut() -> Result<bool, Fault>) -> Result<(), Fault> {
    let start = Instant::now();
    while !is()? {
        if start.elapsed() > patience {
            return Err(format!("{what} has not come about within {patience:?}").into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Runs a command to its end and returns what it writes to its standard output.
pub(super) fn said(command: &mut std::process::Command) -> Result<String, Fault> {
    let output = command.output().map_err(|why| format!("{command:?} did not start: {why}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {}{}", output.status, text.trim(), complaint.trim()).into())
}
