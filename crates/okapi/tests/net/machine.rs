//! A machine of the network: a home, a disk and a node of its own, and its owner's commands.

use crate::house::{Ended, House, Running};
use crate::lab::{Lab, Namespace, SmallDisk, lock};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails: far longer than it does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How often a node is asked while something is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Where nodes listen for members.
pub(crate) const PORT: u16 = 7072;
/// What most machines give.
pub(crate) const GIVE: &str = "3G";
/// Lines of a node's log that are shown when a test fails.
const LOG_LINES: usize = 25;

/// A machine.
pub(crate) struct Machine {
    // First: it goes before the directory that it is mounted in.
    disk: Option<SmallDisk>,
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) house: House,
    /// The words that bring everything back.
    pub(crate) phrase: String,
    /// The node's id.
    pub(crate) id: String,
    /// The file with the member's secret.
    pub(crate) member_key: PathBuf,
    pub(crate) lab: Arc<Lab>,
    pub(crate) namespace: Namespace,
    node: Mutex<Option<Running>>,
}

impl Machine {
    /// A machine with nothing on its disk.
    pub(crate) fn new(lab: &Arc<Lab>, name: &str) -> Self {
        let (namespace, address) = lab.connect();
        Self {
            disk: None,
            name: name.to_owned(),
            address,
            house: House::new(),
            phrase: String::new(),
            id: String::new(),
            member_key: PathBuf::new(),
            lab: lab.clone(),
            namespace,
            node: Mutex::default(),
        }
    }

    /// The same with a disk of so many bytes.
    pub(crate) fn with_disk(mut self, bytes: u64) -> Self {
        self.disk = Some(SmallDisk::new(&self.data(), bytes));
        self
    }

    /// A machine whose node runs, in a group of its own.
    pub(crate) fn up(lab: &Arc<Lab>, name: &str) -> Self {
        Self::up_giving(lab, name, GIVE)
    }

    pub(crate) fn up_giving(lab: &Arc<Lab>, name: &str, give: &str) -> Self {
        let mut machine = Self::new(lab, name);
        machine.found(give, "");
        machine.start();
        machine
    }

    /// Gives its node an identity, as `okapi init` with `more` does.
    pub(crate) fn found(&mut self, give: &str, more: &str) {
        let (name, listen) = (&self.name, self.member_address());
        let line = format!("init --no-passphrase --give {give} --name {name} --listen {listen} {more}");
        let said = self.json(&line).remove(0);
        let text = |key: &str| said[key].as_str().unwrap_or_else(|| panic!("no {key} in {said}")).to_owned();
        (self.phrase, self.id, self.member_key) = (text("phrase"), text("node"), text("file").into());
    }

    /// Where its node listens for members.
    pub(crate) fn member_address(&self) -> SocketAddr {
        (self.address, PORT).into()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.house.path("data")
    }

    /// Starts its node.
    pub(crate) fn start(&self) {
        self.start_with("");
    }

    /// The same with a disk that was another machine's.
    pub(crate) fn start_at_its_own_address(&self) {
        self.start_with(&format!("--member-listen {}", self.member_address()));
    }

    fn start_with(&self, more: &str) {
        let node = self.begin(more).unwrap_or_else(|| panic!("{}: no node\n{}", self.name, self.log()));
        *lock(&self.node) = Some(node);
    }

    /// Starts its node, which says that it can be reached; nothing if it ends before.
    fn begin(&self, more: &str) -> Option<Running> {
        let mut node = self.spawn(&mut self.command(&format!("up -v {more}")));
        loop {
            let line = node.line()?;
            let is_up = line.contains("try next");
            node.said.push(line);
            if is_up {
                return Some(node);
            }
        }
    }

    /// A program that runs a node, and complains to the node's log.
    fn spawn(&self, command: &mut Command) -> Running {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Running::new(command.spawn().unwrap())
    }

    /// The program on this machine.
    pub(crate) fn command(&self, line: &str) -> Command {
        self.namespace.within(&self.house.command(line.split_whitespace()))
    }

    /// The power fails.
    pub(crate) fn kill(&self) {
        if let Some(mut node) = lock(&self.node).take() {
            node.kill();
        }
    }

    /// Its node ends in good order.
    pub(crate) fn stop(&self) {
        if let Some(mut node) = lock(&self.node).take() {
            node.signal(rustix::process::Signal::TERM);
            assert!(node.wait().success(), "{}: it did not end well\n{}", self.name, self.log());
        }
    }

    /// The disk is lost, and the home with it.
    pub(crate) fn wipe(&self) {
        self.kill();
        for entry in fs::read_dir(self.house.path("")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }

    /// Begins to get everything back that the words `phrase` stand for, through a ticket or an address.
    pub(crate) fn restore(&self, phrase: &str, via: &str) -> Restore<'_> {
        self.restore_at(phrase, via, "0")
    }

    /// The same, receiving no more than `rate` a second.
    pub(crate) fn restore_at(&self, phrase: &str, via: &str, rate: &str) -> Restore<'_> {
        let words = self.words(phrase);
        let (name, listen) = (&self.name, self.member_address());
        let line = format!(
            "restore {via} --phrase-file {words} --no-passphrase --give {GIVE} --name {name} --listen {listen}"
        );
        self.restoring(&line, rate)
    }

    /// A file with words that nobody else can read.
    pub(crate) fn words(&self, phrase: &str) -> String {
        let path = self.house.file("words.txt", phrase);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The same once more, after it was interrupted.
    pub(crate) fn go_on_restoring(&self) -> Restore<'_> {
        self.restoring("restore", "0")
    }

    fn restoring(&self, line: &str, rate: &str) -> Restore<'_> {
        let mut command = self.command(&format!("{line} --json"));
        Restore { machine: self, node: self.spawn(command.env("OKAPI_DOWNLOAD_RATE", rate)) }
    }

    /// The node that `running` runs is this machine's from now on.
    pub(crate) fn adopt(&self, running: Running) {
        *lock(&self.node) = Some(running);
    }

    /// A ticket for one node.
    pub(crate) fn ticket(&self) -> String {
        self.json("invite").remove(0)["ticket"].as_str().expect("a ticket").to_owned()
    }

    /// Joins the group of another one by a ticket of its.
    pub(crate) fn join(&self, other: &Self) {
        self.ok(&format!("join {}", other.ticket()));
    }

    /// Stores something, and returns when it lies safely with others.
    pub(crate) fn put_safe(&self, name: &str, content: &[u8]) {
        let path = self.house.file("content", content);
        let ended = self.run_for(PATIENCE, &format!("put {path} {name} --safe -q"));
        assert_eq!(ended, Some(0), "{}: {name} is not safe: {:#}", self.name, self.status());
        fs::remove_file(path).unwrap();
    }

    /// Runs a command for so long at most; how it ended, if it did.
    pub(crate) fn run_for(&self, patience: Duration, line: &str) -> Option<i32> {
        let mut command = self.house.command(line.split_whitespace());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ended = ends(&mut child, patience);
        if ended.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        ended.and_then(|status| status.code())
    }

    /// What is stored under a name.
    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        let got = self.run(&format!("get {name} -q"));
        assert_eq!(got.code, 0, "{}: {name}: {}", self.name, got.err);
        got.out
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        self.house.run(line)
    }

    /// Runs a command, which must end well.
    pub(crate) fn ok(&self, line: &str) -> String {
        let Ended { code, out, err } = self.run(line);
        assert_eq!(code, 0, "{}: {line}: {err}", self.name);
        String::from_utf8(out).unwrap()
    }

    pub(crate) fn json(&self, line: &str) -> Vec<Value> {
        let out = self.ok(&format!("{line} --json"));
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Runs a command again and again until it is refused in these words.
    pub(crate) fn refused(&self, line: &str, said: &str) {
        let begun = Instant::now();
        loop {
            let ended = self.run(line);
            assert_ne!(ended.code, 0, "{}: {line}", self.name);
            if ended.err.contains(said) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: {line}: {said} and not {}", self.name, ended.err);
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// How its node stands in its group.
    pub(crate) fn status(&self) -> Value {
        self.json("status").remove(0)["group"].take()
    }

    /// Asks the node again and again until it stands so.
    pub(crate) fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.within(PATIENCE, what, is)
    }

    pub(crate) fn within(&self, patience: Duration, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if is(&status) {
                println!("{}: {what}, after {:.1?}", self.name, begun.elapsed());
                return status;
            }
            assert!(begun.elapsed() < patience, "{}: never {what}: {}", self.name, in_lines(status));
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// What its node says of another one.
    pub(crate) fn sees(&self, other: &Self) -> Value {
        member(&self.status(), other)
    }

    fn log_path(&self) -> PathBuf {
        self.house.path("node.log")
    }

    /// All that its node had to say.
    pub(crate) fn whole_log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The end of it.
    pub(crate) fn log(&self) -> String {
        let text = self.whole_log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of {}'s log:\n{}", self.name, self.log());
        }
        self.kill();
    }
}

/// A restore under way.
pub(crate) struct Restore<'m> {
    machine: &'m Machine,
    node: Running,
}

impl Restore<'_> {
    /// Reads what it tells of itself until that is so.
    pub(crate) fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let told = self.told(what);
            let restoring = &told["restoring"];
            if restoring.is_object() && is(restoring) {
                return restoring.clone();
            }
            let over = told.get("up").is_some() || begun.elapsed() > PATIENCE;
            assert!(!over, "{}: never {what}: {told}", self.machine.name);
        }
    }

    /// Reads what it tells of itself until something can be read.
    pub(crate) fn readable(&mut self) -> Value {
        let begun = Instant::now();
        loop {
            let told = self.told("something can be read");
            if told["readable"].is_object() {
                println!("{}: it can be read, after {:.1?}", self.machine.name, begun.elapsed());
                return told["readable"].clone();
            }
            let over = told.get("up").is_some() || begun.elapsed() > PATIENCE;
            assert!(!over, "{}: nothing can be read: {told}", self.machine.name);
        }
    }

    /// Reads on until all is back; the node that goes on serving.
    pub(crate) fn finish(mut self) -> Running {
        let begun = Instant::now();
        loop {
            let told = self.told("all is back");
            if told.get("up").is_some() {
                return self.node;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: not all is back: {told}", self.machine.name);
        }
    }

    /// The power fails.
    pub(crate) fn kill(mut self) {
        self.node.kill();
    }

    /// The next thing it tells: it tells something every second.
    fn told(&mut self, what: &str) -> Value {
        let line = self.node.line();
        let line = line.unwrap_or_else(|| panic!("{}: never {what}:\n{}", self.machine.name, self.machine.log()));
        println!("{}: {line}", self.machine.name);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

/// How a program ends, if it does in time.
pub(crate) fn ends(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            None if begun.elapsed() < patience => std::thread::park_timeout(LOOK_EVERY / 10),
            ended => return ended,
        }
    }
}

/// What a status says of a machine.
pub(crate) fn member(status: &Value, machine: &Machine) -> Value {
    let members = status["members"].as_array().unwrap_or_else(|| panic!("no members in {status}"));
    let found = members.iter().find(|member| member["node"] == machine.id.as_str());
    found.cloned().unwrap_or_default()
}

/// So many machines in one group, each by a ticket of the one that came before it.
pub(crate) fn group(lab: &Arc<Lab>, count: usize) -> Vec<Machine> {
    let machines: Vec<Machine> = (0..count).map(|number| Machine::up(lab, &format!("m{number}"))).collect();
    for pair in machines.windows(2) {
        pair[1].join(&pair[0]);
    }
    for machine in &machines {
        machine.until("everybody is known, and here", |status| is_complete(status, count));
    }
    machines
}

/// Whether all are known and can be reached.
pub(crate) fn is_complete(status: &Value, count: usize) -> bool {
    let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
    let here = |member: &&Value| matches!(member["presence"].as_str(), Some("this" | "here"));
    members.iter().filter(here).count() == count
}

/// Whether everything that is stored lies safely with others.
pub(crate) fn is_safe(status: &Value) -> bool {
    status["own"]["local_bytes"] == 0 && status["own"]["at_risk"] == 0
}

/// How a node stands, a line for each part of it and each member.
fn in_lines(mut status: Value) -> String {
    let members = status["members"].take();
    let parts = status.as_object().into_iter().flatten().map(|(name, part)| format!("{name}: {part}"));
    let members = members.as_array().into_iter().flatten().map(Value::to_string);
    parts.chain(members).collect::<Vec<_>>().join("\n  ")
}

/// What happened lately, as a node tells it.
pub(crate) fn events(status: &Value) -> Vec<String> {
    let events = status["events"].as_array().expect("events").iter();
    events.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
