//! The program on a terminal of its own.

use crate::house::House;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

/// A terminal with a program on it. Killed when dropped.
pub(crate) struct Terminal {
    master: File,
    child: Child,
    /// Everything that was shown so far.
    pub(crate) shown: String,
    /// How much of it has been looked at.
    seen: usize,
}

impl Terminal {
    /// Runs the program on a terminal of this size.
    pub(crate) fn open(house: &House, line: &str, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, size(columns, rows)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        // It must not become the terminal of the tests themselves.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = File::from(rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap());
        let mut command = house.command(line.split_whitespace());
        command.env("TERM", "xterm-256color");
        let own = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(own()).stdout(own()).stderr(own()).spawn().unwrap();
        Self { master: File::from(master), child, shown: String::new(), seen: 0 }
    }

    /// Waits until this text is shown, after all that was waited for before.
    pub(crate) fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let more = self.more();
            assert!(more, "it ended ({:?}) without `{text}`: {}", self.child.wait(), self.shown);
        }
    }

    /// Waits until the program takes every key as it is.
    pub(crate) fn until_raw(&self) {
        let is_raw = || !tcgetattr(&self.master).unwrap().local_modes.contains(LocalModes::ISIG);
        assert!((0..50_000_000).any(|_| is_raw()), "the terminal is not raw");
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        tcsetwinsize(&self.master, size(columns, rows)).unwrap();
        let pid = rustix::process::Pid::from_child(&self.child);
        // It has no controlling terminal, through which the system would tell it.
        rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    }

    /// Waits for its end: its exit code.
    pub(crate) fn end(&mut self) -> i32 {
        while self.more() {}
        assert!(!self.shown.contains("panicked"), "{}", self.shown);
        self.child.wait().unwrap().code().expect("no signal")
    }

    fn more(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // A terminal that nobody has open any more fails to be read.
        let count = self.master.read(&mut bytes).unwrap_or(0);
        // What is cut within a character is not what a test looks for.
        self.shown += &String::from_utf8_lossy(&bytes[..count]);
        count > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
