//! A virtual machine: Debian's kernel in qemu, without the help of the processor, and a script instead of a system.

use crate::boot::{Boot, boot};
use crate::house::{House, Running};
use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};

/// What comes before the script.
const BEGIN: &str = "#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
";
/// What comes before all that the script says, so that the kernel's own words are none of it.
const MARK: &str = "guest: ";

/// A machine that runs. Killed when dropped.
pub(crate) struct Guest {
    running: Running,
    keyboard: ChildStdin,
}

impl Guest {
    /// Starts a machine with these pieces of a command line, which carries out `script` and goes off.
    pub(crate) fn start(house: &House, script: &str, pieces: &[String]) -> Self {
        let Boot { kernel, initrd } = boot(&format!("{BEGIN}say() {{ echo \"{MARK}$*\"; }}\n{script}\npoweroff -f\n"));
        let initrd = house.file("initramfs", initrd);
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-machine", "q35", "-smp", "2", "-m", "128M"]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]);
        command.arg("-kernel").arg(&kernel).arg("-initrd").arg(&initrd);
        // Where others work too, the kernel would wait in vain for its timer in the time that it gives it, and panic.
        command.args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]).args(pieces);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("qemu-system-x86_64, which Debian's package qemu-system-x86 has");
        let keyboard = child.stdin.take().unwrap();
        Self { running: Running::new(child), keyboard }
    }

    /// The next line that the script says; fails if the machine has gone off.
    pub(crate) fn line(&mut self) -> String {
        let mut others = Vec::new();
        loop {
            let Some(line) = self.running.line() else {
                panic!("the machine went off: {others:#?} {}", self.running.errors());
            };
            match line.split_once(MARK) {
                Some((_, said)) => return said.to_owned(),
                None => others.push(line),
            }
        }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// Waits until it has gone off by itself, with nothing more to say.
    pub(crate) fn end(mut self) {
        while let Some(line) = self.running.line() {
            assert!(!line.contains(MARK), "{line}");
        }
        assert!(self.running.wait().success(), "{}", self.running.errors());
    }
}
