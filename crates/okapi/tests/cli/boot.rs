//! What machines of the tests are started from: Debian's kernel, and a busybox with a script instead of a system.

use std::fs;
use std::path::{Path, PathBuf};

/// A kernel, and the first file system it has.
pub(crate) struct Boot {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: Vec<u8>,
}

/// What a machine is started from that carries out `init` and nothing else. Its modules lie in `/modules`, where `order`
/// says in which order they can be loaded.
pub(crate) fn boot(init: &str) -> Boot {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let order = fs::read_to_string(place.join("order"));
    let order =
        order.expect("there is no kernel to boot; `cargo xtask test` gets one, and `cargo xtask guest` that alone");
    let path = std::env::var_os("PATH").unwrap();
    let mut busybox = std::env::split_paths(&path).map(|folder| folder.join("busybox"));
    let busybox = fs::read(busybox.find(|path| path.is_file()).expect("busybox, of busybox-static")).unwrap();
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules", "proc", "seed", "sys"] {
        archive.add(folder, 0o40755, b"");
    }
    archive.add("init", 0o100755, init.as_bytes());
    archive.add("bin/busybox", 0o100755, &busybox);
    archive.add("modules/order", 0o100644, order.as_bytes());
    for module in order.lines() {
        let file = format!("{module}.ko");
        archive.add(&format!("modules/{file}"), 0o100644, &fs::read(place.join(&file)).unwrap());
    }
    archive.add("TRAILER!!!", 0, b"");
    Boot { kernel: place.join("kernel"), initrd: archive.bytes }
}

/// An archive as kernels unpack it: the form of cpio that is called `newc`.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    count: usize,
}

impl Archive {
    fn add(&mut self, name: &str, mode: usize, content: &[u8]) {
        self.count += 1;
        // Number, mode, owner, group, links, time, length, four of devices, length of the name, a checksum of nothing.
        let numbers = [self.count, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        self.bytes.extend(b"070701");
        numbers.iter().for_each(|number| self.bytes.extend(format!("{number:08X}").bytes()));
        self.bytes.extend(name.bytes().chain([0]));
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
