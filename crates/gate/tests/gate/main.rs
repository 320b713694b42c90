//! Disks of a real node, served to the clients that people have: qemu's and libnbd's.

#[cfg(feature = "vhost")]
mod blkio;
mod tls;

use okapi_client::{Client, Settings, Target};
use okapi_gate::nbd::{ListenError, Options, Server, uri};
use okapi_gate::{Catalog, DiskCatalog, Refused};
use okapi_node::{HostSettings, Node, NodeSettings};
use okapi_volume::{Access, Disks, NewDisk};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;

struct World {
    home: tempfile::TempDir,
    disks: Disks,
    base: Vec<u8>,
    _node: Node,
}

/// A node with the image `base` and two clones.
fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let host = HostSettings::new(home.path().join("data"));
    let node = Node::start(NodeSettings { threads: 1, ..NodeSettings::new(host) }).unwrap();
    let client = Client::connect(&node.targets()[0], Settings::default()).unwrap();
    let disks = Disks::open_or_make(&client, "disks", None, 64 << 20).unwrap();
    let mut base: Vec<u8> = (0..8u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    base[1 << 20..3 << 20].fill(0);
    disks.import(&NewDisk::base("base"), &mut &base[..], &mut |_| ()).unwrap();
    disks.clone_disk("base", &["one", "two"]).unwrap();
    World { home, disks, base, _node: node }
}

impl World {
    fn serve(&self, names: Option<&[&str]>, access: Access) -> (Server, Target) {
        let names = names.map(|names| names.iter().map(ToString::to_string).collect());
        let catalog: Arc<dyn Catalog> = Arc::new(DiskCatalog::new(self.disks.clone(), names, access));
        let target = Target::Unix(self.home.path().join("nbd.sock"));
        let server = Server::start(&[target], &catalog).unwrap();
        let address = server.addresses()[0].clone();
        (server, address)
    }

    /// Comes for an export in the oldest way, and whether it may be written to.
    fn enter(&self, export: &str) -> (UnixStream, bool) {
        let mut stream = UnixStream::connect(self.path("nbd.sock")).unwrap();
        let asked = [&b"\0\0\0\x03IHAVEOPT\0\0\0\x01"[..], &(export.len() as u32).to_be_bytes(), export.as_bytes()];
        stream.write_all(&asked.concat()).unwrap();
        let mut told = [0; 18 + 10];
        stream.read_exact(&mut told).unwrap();
        (stream, told[27] & 2 == 0)
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }
}

/// Runs a program, which must end well, and gives what it printed.
fn run(program: &str, args: &[&str]) -> String {
    let (ok, out) = try_run(program, args);
    assert!(ok, "{program} {args:?}: {out}");
    out
}

fn try_run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn libnbd_lists_and_copies() {
    let world = world();
    let (_server, address) = world.serve(None, Access::Write);
    let listed = run("nbdinfo", &["--list", &uri(&address, "")]);
    for name in ["base", "one", "two"] {
        assert!(listed.contains(&format!("export=\"{name}\":")), "{listed}");
    }
    let told = run("nbdinfo", &[&uri(&address, "one")]);
    for line in
        ["export-size: 8388608", "is_read_only: false", "can_multi_conn: true", "can_fua: true", "base:allocation"]
    {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(run("nbdinfo", &[&uri(&address, "base")]).contains("is_read_only: true"), "it has clones");
    let map = run("nbdinfo", &["--map", &uri(&address, "one")]);
    let rows: Vec<Vec<&str>> = map.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(rows, [["0", "1048576", "0"], ["1048576", "2097152", "3"], ["3145728", "5242880", "0"]], "{map}");
    let out = world.path("out.raw");
    run("nbdcopy", &[&uri(&address, "one"), &out]);
    assert!(std::fs::read(&out).unwrap() == world.base);
    // Back into the other one, over several connections at once.
    let changed: Vec<u8> = world.base.iter().map(|byte| byte.wrapping_add(1)).collect();
    std::fs::write(world.path("in.raw"), &changed).unwrap();
    run("nbdcopy", &["--flush", &world.path("in.raw"), &uri(&address, "two")]);
    run("nbdcopy", &[&uri(&address, "two"), &out]);
    assert!(std::fs::read(&out).unwrap() == changed);
    assert!(!try_run("nbdinfo", &[&uri(&address, "none")]).0);
}

#[test]
fn while_one_writes_others_may_only_read() {
    let world = world();
    let (server, address) = world.serve(None, Access::Write);
    let one = uri(&address, "one");
    // This process comes by two connections, as many clients do; then others look.
    let ours = [world.enter("one"), world.enter("one")];
    assert!(ours.iter().all(|(_, writable)| *writable));
    let is_read_only = |uri: &str| run("nbdinfo", &[uri]).contains("is_read_only: true");
    assert!(is_read_only(&one) && !is_read_only(&uri(&address, "two")));
    let (ok, said) = try_run("qemu-io", &["-f", "raw", "-c", "write 0 4096", &one]);
    assert!(!ok, "{said}");
    assert!(run("qemu-io", &["-r", "-f", "raw", "-c", "read 0 4096", &one]).contains("4096 bytes"));
    drop(ours);
    run("qemu-io", &["-f", "raw", "-c", "write 0 4096", &one]);
    drop(server);
    let catalog: Arc<dyn Catalog> = Arc::new(DiskCatalog::new(world.disks.clone(), None, Access::Write));
    let options = Options { shared: true, ..Options::default() };
    let _server = Server::start_with(std::slice::from_ref(&address), &catalog, options).unwrap();
    let _ours = world.enter("one");
    assert!(!is_read_only(&one), "they are to share it");
}

#[test]
fn disks_that_many_ask_for_at_once_are_opened_once_each() {
    let world = world();
    let names: Vec<String> = (0..24).map(|number| format!("m{number}")).collect();
    world.disks.clone_disk("base", &names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let catalog = DiskCatalog::new(world.disks.clone(), None, Access::Write);
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let ask = |name: &str| {
                let (name, catalog) = (name.to_owned(), &catalog);
                scope.spawn(move || catalog.open(&name).map(|(full, device)| (full == name, device)))
            };
            // Twice each; and among them one that is only read, and one that is not there.
            let asked: Vec<_> = names.iter().flat_map(|name| [ask(name), ask(name)]).collect();
            let (base, none) = (ask("base"), ask("none"));
            let opened: Vec<_> = asked.into_iter().map(|asked| asked.join().unwrap().unwrap()).collect();
            for pair in opened.chunks(2) {
                assert!(pair[0].0 && pair[1].0 && Arc::ptr_eq(&pair[0].1, &pair[1].1));
                assert!(pair[0].1.is_writable());
            }
            assert!(!base.join().unwrap().unwrap().1.is_writable());
            assert!(matches!(none.join().unwrap(), Err(Refused::Unknown(_))));
        });
    }
}

#[test]
fn qemu_reads_writes_discards_and_converts() {
    let world = world();
    let (server, address) = world.serve(Some(&["one"]), Access::Write);
    let one = uri(&address, "one");
    let script = [
        "-c",
        "write -P 7 4096 8192",
        "-c",
        "read -P 7 4096 8192",
        "-c",
        "write -P 9 1000 100",
        "-c",
        "read -P 9 1000 100",
        "-c",
        "write -z 3M 1M",
        "-c",
        "read -P 0 3M 1M",
        "-c",
        "discard 5M 64k",
        "-c",
        "read -P 0 5M 64k",
        "-c",
        "write -f -P 3 0 512",
        "-c",
        "flush",
        "-c",
        "aio_write -P 4 6M 512k",
        "-c",
        "aio_read 6M 4k",
        "-c",
        "aio_flush",
        "-c",
        "read -P 4 6M 512k",
    ];
    let said = run("qemu-io", &[&["-f", "raw", &one][..], &script].concat());
    assert!(!said.contains("failed") && !said.contains("error"), "{said}");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &one, &world.path("one.qcow2")]);
    run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &one, &world.path("one.qcow2")]);
    drop(server);
    let mut expected = world.base.clone();
    expected[4096..12_288].fill(7);
    expected[1000..1100].fill(9);
    expected[3 << 20..4 << 20].fill(0);
    expected[5 << 20..(5 << 20) + 65_536].fill(0);
    expected[..512].fill(3);
    expected[6 << 20..(6 << 20) + (512 << 10)].fill(4);
    // The server let it go as it ended.
    let disk = world.disks.disk("one", Access::Write).unwrap();
    let mut found = vec![0; expected.len()];
    disk.read_at(0, &mut found).unwrap();
    assert!(found == expected);
}

#[test]
fn what_is_served_for_reading_is_not_written_to() {
    let world = world();
    let (_server, address) = world.serve(Some(&["two"]), Access::Read);
    let two = uri(&address, "");
    assert!(run("nbdinfo", &[&two]).contains("is_read_only: true"));
    assert!(!try_run("qemu-io", &["-f", "raw", &two, "-c", "write 0 512"]).0);
    run("qemu-io", &["-r", "-f", "raw", &two, "-c", "read 0 64k"]);
    // Nobody holds it: it can be written to elsewhere.
    world.disks.disk("two", Access::Write).unwrap();
}

#[test]
fn addresses_that_others_can_reach_are_refused() {
    let world = world();
    let catalog: Arc<dyn Catalog> = Arc::new(DiskCatalog::new(world.disks.clone(), None, Access::Read));
    let start = |target: &str| Server::start(&[target.parse().unwrap()], &catalog);
    assert!(matches!(start("tcp://0.0.0.0:0"), Err(ListenError::BeyondLoopback(_))));
    let server = start("tcp://127.0.0.1:0").unwrap();
    let address = server.addresses()[0].clone();
    assert!(run("nbdinfo", &["--size", &uri(&address, "one")]).starts_with("8388608"));
    assert!(matches!(start(&address.to_string()), Err(ListenError::InUse(_))));
}

#[test]
fn whoever_does_not_read_is_not_served_on_and_disturbs_nobody() {
    let world = world();
    let (server, address) = world.serve(None, Access::Write);
    let Target::Unix(path) = &address else { panic!("{address}") };
    let deaf: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = UnixStream::connect(path).unwrap();
            let mut said = 3u32.to_be_bytes().to_vec();
            said.extend(b"IHAVEOPT\0\0\0\x01\0\0\0\x03one");
            stream.write_all(&said).unwrap();
            let mut welcome = [0; 18 + 10];
            stream.read_exact(&mut welcome).unwrap();
            stream.set_nonblocking(true).unwrap();
            // Reads of 1 MiB each, until not even the asking gets through.
            let mut ask = 0x2560_9513u32.to_be_bytes().to_vec();
            ask.extend([0; 20]);
            ask.extend((1u32 << 20).to_be_bytes());
            while stream.write_all(&ask).is_ok() {}
            stream
        })
        .collect();
    assert!(run("nbdinfo", &["--size", &uri(&address, "two")]).starts_with("8388608"));
    drop(server);
    drop(deaf);
}
