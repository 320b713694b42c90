//! Servers as child processes: started, waited for, weighed, and ended.

use crate::Fault;
use std::io::{Error, ErrorKind};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What /proc counts in: hundredths of a second, as programs see it.
pub(crate) const TICKS: f64 = 100.0;
/// How long a server may take until it accepts connections.
const START_MAX: Duration = Duration::from_secs(10);

/// A running server; it is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    name: String,
}

impl Server {
    /// Starts a server and waits until `reach` succeeds.
    pub(crate) fn start<T>(command: &mut Command, mut reach: impl FnMut() -> Result<T, Error>) -> Result<Self, Fault> {
        let name = command.get_program().to_string_lossy().into_owned();
        let start = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut server = Self { child: start.map_err(|why| format!("{name} did not start: {why}"))?, name };
        let start = Instant::now();
        loop {
            let why = match reach() {
                Ok(_) => return Ok(server),
                Err(why) => why,
            };
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{} ended at once: {status}", server.name).into());
            }
            if start.elapsed() > START_MAX {
                return Err(format!("{} cannot be reached after {START_MAX:?}: {why}", server.name).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of processor time the server has used so far, all threads together.
    pub(crate) fn cpu(&self) -> Result<f64, Fault> {
        cpu_of(self.child.id()).map_err(|why| format!("the processor time of {}: {why}", self.name).into())
    }
}

impl Server {
    /// The same to the hundredth of a second, with threads that have ended.
    pub(crate) fn whole_cpu(&self) -> Result<f64, Fault> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.and_then(|stat| ticks_of(&stat))
            .map_err(|why| format!("the processor time of {}: {why}", self.name).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended by itself has nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of processor time this process has used so far.
pub(crate) fn own_cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// To the nanosecond where the kernel counts so (schedstat), to the tick otherwise.
pub(crate) fn cpu_of(process: u32) -> Result<f64, Error> {
    let mut nanoseconds = 0u64;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            return ticks_of(&std::fs::read_to_string(format!("/proc/{process}/stat"))?);
        };
        let first = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        nanoseconds += first.ok_or_else(|| Error::new(ErrorKind::InvalidData, "schedstat begins with no number"))?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// The user and system time in a line of /proc/PID/stat, which counts in hundredths of a second.
fn ticks_of(stat: &str) -> Result<f64, Error> {
    // The second field is the program's name in parentheses and may contain anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let field = |at: usize| fields.split(' ').nth(at).and_then(|word| word.parse::<u64>().ok());
    match (field(11), field(12)) {
        (Some(user), Some(system)) => Ok((user + system) as f64 / TICKS),
        _ => Err(Error::new(ErrorKind::InvalidData, "stat names no times")),
    }
}

/// A TCP port of loopback that is free now.
pub(crate) fn free_port() -> Result<u16, Fault> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0";
        assert_eq!(ticks_of(line).unwrap(), 2.0);
        assert!(ticks_of("7 (a) S 1").is_err());
    }

    #[test]
    fn this_process_uses_time() {
        let before = own_cpu();
        let mut sum = 0u64;
        while own_cpu() <= before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_of(std::process::id()).unwrap() > 0.0);
    }
}
