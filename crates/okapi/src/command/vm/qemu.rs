//! How qemu is called.

use super::card::{Card, Forward, Net};
use super::machine::Machine;
use crate::failure::Failure;
use crate::size::Size;
use serde_json::json;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What runs a machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The processor itself, by way of the kernel.
    Kvm,
    /// Software.
    Tcg,
}

impl Accelerator {
    /// As qemu calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What a machine is to be.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Shape {
    /// Its memory
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    memory: Size,

    /// Its processors
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=255))]
    cpus: u16,

    /// A kernel to start, instead of what the disk starts
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,

    /// The first file system of that kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,

    /// What the kernel is told; where its console is comes with it
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    append: Option<String>,

    /// What its network card is connected to: user (out through this computer), none, tap=NAME or bridge=NAME
    #[arg(long, value_name = "NET", default_value = "user")]
    net: Net,

    /// Ports of this computer (of 127.0.0.1) that lead to ports of the machine, with --net user
    #[arg(long, value_name = "HERE:THERE", value_delimiter = ',')]
    forward: Vec<Forward>,

    /// Software emulation, even where KVM is there
    #[arg(long)]
    emulate: bool,

    /// What qemu is told besides
    #[arg(value_name = "QEMU ARGS", last = true)]
    more: Vec<OsString>,
}

impl Shape {
    /// Makes sure that it makes sense.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) fn check(&self) -> Result<(), Failure> {
        if !self.forward.is_empty() && self.net != Net::User {
            return Err(Failure::usage(
                "--forward is for --net user; with other networks the machine has an address of its own",
            ));
        }
        if self.memory.0 < 1 << 20 {
            return Err(Failure::usage(format!(
                "a machine with a memory of {} does not start; say so with --memory 512M",
                self.memory
            )));
        }
        for path in [&self.kernel, &self.initrd].into_iter().flatten() {
            File::open(path).map_err(|error| Failure::io(path.display(), &error))?;
        }
        Ok(())
    }

    /// What qemu is called with, for this disk.
    pub(super) fn words(&self, machine: &Machine, image: &str, card: &Card, by: Accelerator) -> Vec<OsString> {
        let disk = json!({
            "node-name": "disk0",
            "driver": "raw",
            "discard": "unmap",
            "file": {
                "driver": "nbd",
                "server": {"type": "unix", "path": machine.nbd().display().to_string()},
                "export": image,
            },
        });
        let serial = format!(
            "socket,id=serial0,path={},server=on,wait=off,logfile={},logappend=on",
            escaped(&machine.serial()),
            escaped(&machine.console())
        );
        let mut words: Vec<OsString> = Vec::new();
        let mut say = |parts: &[&str]| words.extend(parts.iter().map(OsString::from));
        say(&["-name", &format!("guest={}", machine.name), "-nodefaults", "-display", "none"]);
        say(&["-machine", board(), "-cpu", "max"]);
        say(&["-m", &format!("{}M", self.memory.0 >> 20), "-smp", &self.cpus.to_string()]);
        say(&["-accel", by.name()]);
        say(&["-blockdev", &disk.to_string(), "-device", "virtio-blk-pci,drive=disk0,bootindex=1"]);
        say(&["-chardev", &serial, "-serial", "chardev:serial0"]);
        say(&["-qmp", &format!("unix:{},server=on,wait=off", escaped(&machine.qmp()))]);
        say(&["-device", "virtio-rng-pci"]);
        let card = card.options(&self.net, &self.forward);
        say(&card.iter().map(String::as_str).collect::<Vec<_>>());
        for (flag, file) in [("-kernel", &self.kernel), ("-initrd", &self.initrd)] {
            words.extend(file.iter().flat_map(|file| [OsString::from(flag), file.into()]));
        }
        if self.kernel.is_some() {
            words.extend([OsString::from("-append"), self.told(by).into()]);
        }
        words.extend(self.more.iter().cloned());
        words
    }

    /// What to run it by, as far as is known before it is tried.
    pub(super) fn accelerator(&self) -> Accelerator {
        let has_kvm = || File::options().read(true).write(true).open("/dev/kvm").is_ok();
        if !self.emulate && has_kvm() { Accelerator::Kvm } else { Accelerator::Tcg }
    }

    /// What the kernel is told: what was said, where its console is, and under emulation not to measure its timers. On a
    /// computer with much to do it would find them too slow, and stop.
    fn told(&self, by: Accelerator) -> String {
        let mut text = self.append.clone().unwrap_or_default();
        if !text.split_whitespace().any(|word| word.starts_with("console=")) {
            text = format!("{text} console={}", console());
        }
        if by == Accelerator::Tcg && std::env::consts::ARCH == "x86_64" {
            text += " no_timer_check";
        }
        text.trim_start().to_owned()
    }
}

/// The program, and the package that has it.
pub(super) fn program() -> Result<&'static str, Failure> {
    let (program, package) = match std::env::consts::ARCH {
        "aarch64" => ("qemu-system-aarch64", "qemu-system-arm"),
        _ => ("qemu-system-x86_64", "qemu-system-x86"),
    };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&folders).any(|folder| folder.join(program).is_file()) {
        return Ok(program);
    }
    Err(Failure::not_found(format!(
        "machines are run by {program}, which is not installed (on Debian: apt-get install {package})"
    )))
}

fn board() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "virt" } else { "q35" }
}

fn console() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "ttyAMA0" } else { "ttyS0" }
}

/// A path among options that commas divide.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
