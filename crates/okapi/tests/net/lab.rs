//! A network of namespaces: machines around one router, through which every packet between them goes.
//!
//! A machine is cut off by rules of the router's, not by taking its link down: no machine is told that it is cut off, as
//! with most faults of real networks. The router has no way to anywhere else, and is every machine's way there: what is
//! meant for the world outside ends there, and is seen.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

/// What all namespaces made here are called by, before the process and its start.
const PREFIX: &str = "okapi-net";
/// Where the kernel's tools keep the names of namespaces.
const NAMESPACES: &str = "/run/netns";
/// Where they keep files that take the place of those in `/etc` within a namespace.
const OVERLAYS: &str = "/etc/netns";
/// Set to 1, it leaves these tests out where networks cannot be made.
const LEAVE_OUT: &str = "OKAPI_TEST_NO_NET";

/// A network, which is gone when the last one who holds it lets go.
pub(crate) struct Lab {
    pub(crate) router: Namespace,
    machines: AtomicU8,
    /// The rules by which packets are dropped now.
    rules: Mutex<BTreeSet<String>>,
}

impl Lab {
    /// A network without machines; nothing if the tests are to do without.
    ///
    /// # Panics
    /// If no network can be made here.
    pub(crate) fn new() -> Option<Arc<Self>> {
        if std::env::var_os(LEAVE_OUT).is_some_and(|value| value == "1") {
            println!("left out: {LEAVE_OUT}=1");
            return None;
        }
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        static LABS: AtomicU32 = AtomicU32::new(0);
        let lab = LABS.fetch_add(1, Ordering::Relaxed);
        let router = Namespace::new(&format!("{}-{lab}", own_mark()));
        router.write("/proc/sys/net/ipv4/ip_forward", "1");
        router.ip(&["link set lo up"]);
        Some(Arc::new(Self { router, machines: AtomicU8::new(0), rules: Mutex::default() }))
    }

    /// Connects another machine: its namespace and its address.
    pub(crate) fn connect(&self) -> (Namespace, Ipv4Addr) {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        let machine = Namespace::new(&format!("{}-m{number}", self.router.name));
        let (address, router) = (Ipv4Addr::new(10, 7, number, 2), Ipv4Addr::new(10, 7, number, 1));
        self.router.ip(&[
            &format!("link add m{number} type veth peer name lan netns {}", machine.name),
            &format!("address add {router}/24 dev m{number}"),
            &format!("link set m{number} up"),
        ]);
        machine.ip(&[
            "link set lo up",
            &format!("address add {address}/24 dev lan"),
            "link set lan up",
            &format!("route add default via {router}"),
        ]);
        // Names are asked of the router, which knows none: that anybody asked is seen.
        machine.overlay("resolv.conf", &format!("nameserver {router}\n"));
        (machine, address)
    }

    /// Nothing that goes from the one to the other arrives any more.
    pub(crate) fn mute(&self, from: Ipv4Addr, to: Ipv4Addr) {
        self.drop_packets([format!("from {from} to {to}")]);
    }

    /// Nothing that a machine says arrives anywhere any more; it still hears the others.
    pub(crate) fn mute_all(&self, from: Ipv4Addr) {
        self.drop_packets([format!("from {from}")]);
    }

    /// A machine is cut off from all others.
    pub(crate) fn cut(&self, machine: Ipv4Addr) {
        self.drop_packets([format!("from {machine}"), format!("to {machine}")]);
    }

    /// The network falls into two halves.
    pub(crate) fn divide(&self, some: &[Ipv4Addr], others: &[Ipv4Addr]) {
        let pairs = some.iter().flat_map(|one| others.iter().map(move |other| (one, other)));
        self.drop_packets(pairs.flat_map(|(a, b)| [format!("from {a} to {b}"), format!("from {b} to {a}")]));
    }

    /// Whatever was cut off is back, of the network or of one machine.
    pub(crate) fn heal(&self, machine: Option<Ipv4Addr>) {
        let mut rules = lock(&self.rules);
        let of = |rule: &String| machine.is_none_or(|m| rule.split(' ').any(|word| word == m.to_string()));
        let over: Vec<String> = rules.iter().filter(|rule| of(rule)).cloned().collect();
        let lines: Vec<String> = over.iter().map(|rule| format!("rule del {rule} blackhole")).collect();
        self.router.ip(&lines);
        rules.retain(|rule| !of(rule));
    }

    fn drop_packets(&self, which: impl IntoIterator<Item = String>) {
        let mut rules = lock(&self.rules);
        let new: Vec<String> = which.into_iter().filter(|rule| rules.insert(rule.clone())).collect();
        let lines: Vec<String> = new.iter().map(|rule| format!("rule add {rule} blackhole")).collect();
        self.router.ip(&lines);
    }
}

/// A namespace of the kernel: network devices, addresses and routes of its own.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    fn new(name: &str) -> Self {
        if let Err(why) = run(Command::new(ip_program()).args(["netns", "add", name])) {
            panic!(
                "these tests make networks of their own, and the kernel does not let them: {why}. Run them as root, or \
                 leave them out with {LEAVE_OUT}=1"
            );
        }
        let namespace = Self { name: name.to_owned() };
        // The kernel itself chats over IPv6, which would be taken for what the nodes do.
        for which in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            if Path::new(&path).exists() {
                namespace.write(&path, "1");
            }
        }
        namespace
    }

    /// The command as it is run in here.
    pub(crate) fn within(&self, command: &Command) -> Command {
        let mut within = Command::new(ip_program());
        within.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args()).env_clear();
        within.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        if let Some(folder) = command.get_current_dir() {
            within.current_dir(folder);
        }
        within
    }

    /// Does something on a thread that is in here. Sockets it makes, and threads it starts, stay in here.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let door = fs::File::open(Path::new(NAMESPACES).join(&self.name)).unwrap();
        let inside = move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&door), kind).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|why| std::panic::resume_unwind(why)))
    }

    /// Runs lines of `ip` in here.
    pub(crate) fn ip(&self, lines: &[impl AsRef<str>]) {
        if lines.is_empty() {
            return;
        }
        let mut text: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
        text.push("");
        run_with(Command::new(ip_program()).args(["-n", &self.name, "-batch", "-"]), &text.join("\n")).unwrap();
    }

    fn write(&self, path: &str, text: &str) {
        self.enter(|| fs::write(path, text)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn overlay(&self, file: &str, text: &str) {
        let folder = Path::new(OVERLAYS).join(&self.name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// A disk of few bytes, in memory.
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Puts it where `path` is.
    pub(crate) fn new(path: &Path, bytes: u64) -> Self {
        fs::create_dir_all(path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}")]).arg(own_mark()).arg(path);
        run(&mut mount).unwrap();
        Self { path: path.to_owned() }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// What tells everything made by this process from all else: its number may be another's later, its start may not.
fn own_mark() -> String {
    let pid = std::process::id();
    format!("{PREFIX}-{pid}-{}", started(pid).expect("this process runs"))
}

/// When a process was started, in ticks since the machine was.
fn started(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    text.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// Whether something is marked by a process that is no more.
fn is_stale(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')) else { return false };
    let mut rest = rest.split('-');
    let mut number = || rest.next()?.parse::<u64>().ok();
    let (Some(pid), Some(start)) = (number(), number()) else { return false };
    u32::try_from(pid).is_ok_and(|pid| started(pid) != Some(start))
}

/// Removes what runs that were killed have left.
fn sweep() {
    let names = fs::read_dir(NAMESPACES).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()).filter(|name| is_stale(name)) {
        remove(&name);
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for mut mount in mounts.lines().map(|line| line.split(' ')) {
        if let (Some(mark), Some(path)) = (mount.next(), mount.next())
            && is_stale(mark)
        {
            unmount(Path::new(path));
        }
    }
}

/// Removes a namespace, and ends whatever still runs in it.
fn remove(name: &str) {
    // Two runs may sweep the same: it is enough that it is gone.
    if let Ok(pids) = run(Command::new(ip_program()).args(["netns", "pids", name])) {
        for pid in pids.lines().filter_map(|pid| rustix::process::Pid::from_raw(pid.trim().parse().ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    let _ = run(Command::new(ip_program()).args(["netns", "delete", name]));
    let _ = fs::remove_dir_all(Path::new(OVERLAYS).join(name));
}

fn unmount(path: &Path) {
    let _ = run(Command::new("umount").arg("--lazy").arg(path));
}

/// Where `ip` is: only root's path leads there.
fn ip_program() -> &'static OsStr {
    let places = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"];
    OsStr::new(places.into_iter().find(|place| Path::new(place).exists()).unwrap_or("ip"))
}

/// Runs a command to its end: what it printed, or what it complained of.
fn run(command: &mut Command) -> Result<String, String> {
    run_with(command, "")
}

fn run_with(command: &mut Command, input: &str) -> Result<String, String> {
    let shown = format!("{command:?}");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|why| format!("{shown} does not start: {why}"))?;
    let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|why| format!("{shown}: {why}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{shown}: {}", text(&output.stderr))),
    }
}

/// What it holds, whatever became of whoever held it last: a test that fails must still tidy up.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn what_is_left_by_dead_processes_is_known() {
    assert!(!is_stale(&own_mark()) && !is_stale(&format!("{}-0-m3", own_mark())));
    let pid = std::process::id();
    assert!(is_stale(&format!("{PREFIX}-{pid}-1-0-m3")), "another process had its number before");
    for foreign in ["", "cni-1234", "okapi-net", "okapi-net-x-1", "okapi-nets-1-1", "okapi-net-1"] {
        assert!(!is_stale(foreign), "{foreign}");
    }
}
