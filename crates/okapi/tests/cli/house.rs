//! A house for the tests: a home directory of its own, nodes in it, and the built program to talk to them.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// A temporary home in which nothing of the machine's own settings is seen.
pub(crate) struct House {
    dir: tempfile::TempDir,
    data: &'static str,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl House {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), data: "data" }
    }

    /// The same with another data directory.
    pub(crate) fn with_data(self, data: &'static str) -> Self {
        Self { data, ..self }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_okapi"));
        command.args(args).env_clear().current_dir(self.dir.path());
        command.env("HOME", self.dir.path()).env("OKAPI_DATA", self.path(self.data));
        command
    }

    /// Runs the program; `line` is split at blanks.
    pub(crate) fn run(&self, line: &str) -> Ended {
        self.run_with(&line.split_whitespace().collect::<Vec<_>>(), b"")
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // Whoever does not read it all has its reasons.
            scope.spawn(move || drop(stdin.write_all(input)));
            let output = child.wait_with_output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            assert!(!err.contains("panicked"), "{args:?}: {err}");
            Ended { code: output.status.code().expect("no signal"), out: output.stdout, err }
        })
    }

    /// Runs the program again and again until it ends with this exit code.
    pub(crate) fn until(&self, line: &str, code: i32) {
        let reached = (0..5000).any(|_| self.run(line).code == code);
        assert!(reached, "never: {line}");
    }

    /// Runs the program, which must end well, and gives what it printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        self.run(line).ok(line)
    }

    /// The JSON documents that a run printed.
    pub(crate) fn json(&self, line: &str) -> Vec<serde_json::Value> {
        let out = self.ok(&format!("{line} --json"));
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// A node with the data directory `data`.
    pub(crate) fn up(&self, more: &[&str]) -> Running {
        self.up_in(self.data, more)
    }

    pub(crate) fn up_in(&self, data: &str, more: &[&str]) -> Running {
        let data = self.path(data);
        let mut args = vec!["up", "--data", data.to_str().unwrap()];
        args.extend(more);
        let mut command = self.command(&args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut node = Running::new(child);
        loop {
            let line = node.line().unwrap_or_else(|| panic!("no node: {}", node.errors()));
            let done = line.contains("try next");
            node.said.push(line);
            if done {
                return node;
            }
        }
    }
}

impl Ended {
    pub(crate) fn ok(self, what: &str) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{what}");
        String::from_utf8(self.out).unwrap()
    }

    /// What it printed, though its log said something too.
    pub(crate) fn ok_out(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        String::from_utf8(self.out).unwrap()
    }

    /// It failed like this, and printed nothing else.
    pub(crate) fn failed(&self, code: i32, err: &str) {
        assert_eq!((self.code, self.err.as_str()), (code, err), "{self:?}");
    }
}

/// A program that runs beside the test. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    /// The lines read so far.
    pub(crate) said: Vec<String>,
}

impl Running {
    pub(crate) fn new(mut child: Child) -> Self {
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, said: Vec::new() }
    }

    /// The next line it prints, or nothing once it has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.out.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    /// The next line on standard error; panics if it has ended.
    pub(crate) fn error_line(&mut self) -> String {
        let errors = self.child.stderr.as_mut().unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        // Byte by byte: what comes after the line is left for the next reader.
        loop {
            std::io::Read::read_exact(errors, &mut byte).expect("a line");
            if byte[0] == b'\n' {
                return String::from_utf8(line).unwrap();
            }
            line.push(byte[0]);
        }
    }

    /// What is left on standard error, up to its end.
    pub(crate) fn errors(&mut self) -> String {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut text).unwrap();
        text
    }

    /// The target it said it listens on, `unix:` or `tcp:`.
    pub(crate) fn target(&self, kind: &str) -> String {
        let line = self.said.iter().find(|line| line.contains(kind)).expect("it listens there");
        line.split_whitespace().last().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// The most memory it has had so far, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        peak(self.child.id())
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended by itself, or by somebody else's hand.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Kills it, and it has no chance to tidy up.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Sends a signal and waits for the end; gives what was left to read and standard error.
    pub(crate) fn end(mut self, signal: rustix::process::Signal) -> (ExitStatus, Vec<String>, String) {
        self.signal(signal);
        let rest: Vec<String> = std::iter::from_fn(|| self.line()).collect();
        let errors = self.errors();
        (self.child.wait().unwrap(), rest, errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most memory a process that still runs has had so far, in bytes.
pub(crate) fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it still runs");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Bytes that look random and are the same every time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

/// All files under a directory.
pub(crate) fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .filter(|path| path.is_file())
        .collect()
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
