//! A virtual machine: Debian's kernel in qemu, without the help of the processor, and a script instead of a system.

use crate::house::{House, Running};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

/// What the kernel needs to see a virtio disk, in the order in which it takes them.
const MODULES: [&str; 6] =
    ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"];
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
        let (kernel, initramfs) = (kernel(), house.path("initramfs"));
        std::fs::write(&initramfs, pack(&kernel, script)).unwrap();
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-machine", "q35", "-smp", "2", "-m", "128M"]);
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]);
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&initramfs);
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

/// A kernel and where its modules are.
struct Kernel {
    image: PathBuf,
    modules: PathBuf,
}

/// The kernel that `cargo xtask test` has unpacked, or the machine's own.
fn kernel() -> Kernel {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("guest");
    let images = |root: &Path| {
        let entries = std::fs::read_dir(root.join("boot")).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries.map(|entry| entry.path()).collect();
        found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
        found.sort();
        found.into_iter().rev().map(|image| (root.to_owned(), image)).collect::<Vec<_>>()
    };
    let all = [images(&unpacked), images(Path::new("/"))].concat();
    let (root, image) = all.into_iter().next().expect("a kernel; `cargo xtask test` gets one from Debian");
    let name = image.file_name().unwrap().to_str().unwrap();
    let modules = root.join("lib/modules").join(name.trim_start_matches("vmlinuz-")).join("kernel");
    Kernel { image, modules }
}

/// All files there are for the machine, as the kernel unpacks them: the form of cpio that it calls `newc`.
fn pack(kernel: &Kernel, script: &str) -> Vec<u8> {
    let mut files = Archive::default();
    ["bin", "dev", "proc", "sys", "modules"].iter().for_each(|folder| files.add(folder, 0o40755, b""));
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok());
    files.add("bin/busybox", 0o100_755, &busybox.expect("Debian's package busybox-static"));
    let mut init = "#!/bin/busybox sh\nexport PATH=/bin\n/bin/busybox --install -s /bin\n".to_owned();
    init += "mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev\n";
    for module in MODULES {
        let folder = if module == "virtio_blk" { "block" } else { "virtio" };
        let file = kernel.modules.join(format!("drivers/{folder}/{module}.ko"));
        // In some kernels it is built in.
        if let Ok(bytes) = std::fs::read(&file) {
            files.add(&format!("modules/{module}.ko"), 0o100_644, &bytes);
            init += &format!("insmod /modules/{module}.ko\n");
        }
    }
    init += &format!("say() {{ echo \"{MARK}$*\"; }}\n{script}\npoweroff -f\n");
    files.add("init", 0o100_755, init.as_bytes());
    files.add("TRAILER!!!", 0, b"");
    files.bytes
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    files: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.files += 1;
        let (length, name_length) = (content.len() as u32, name.len() as u32 + 1);
        // Number, mode, owner, group, links, time, length, four of devices, length of the name, a checksum of nothing.
        let fields = [self.files, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0];
        self.bytes.extend(b"070701");
        fields.iter().for_each(|field| self.bytes.extend(format!("{field:08X}").bytes()));
        self.bytes.extend(name.bytes().chain([0]));
        self.fill_up();
        self.bytes.extend(content);
        self.fill_up();
    }

    fn fill_up(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
