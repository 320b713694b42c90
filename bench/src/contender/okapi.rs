//! Okapi itself: a real `okapi up` beside the other servers, driven through its client. Its grids are of durability
//! `memory`, as the others are without persistence.
//!
//! Two nodes run: one whose threads may spin before they sleep, one whose threads never do. The client does as its
//! node does.

use super::Contender;
use crate::sample::{Latencies, Sample};
use crate::scenario::{Deed, Path, Scenario};
use crate::server::{self, Server};
use crate::{Fault, random};
use okapi_base::crc32c;
use okapi_client::{
    BlockSize, Client, Durability, GetAsk, Grid, GridCreate, Index, Pipeline, PutAsk, Settings, Slice, Status, Target,
};
use std::process::Command;
use std::time::{Duration, Instant};

/// The part of a run before the counting starts.
const WARM_UP: Duration = Duration::from_millis(50);
/// Gets through the shared map between looks at the clock.
const MAPPED_GETS: usize = 64;

/// Two running nodes.
struct Okapi {
    spinning: Node,
    sleeping: Node,
}

struct Node {
    server: Server,
    unix: Target,
    tcp: Target,
    settings: Settings,
}

/// Starts `okapi up`, twice, with their data in `dir`.
pub(crate) fn start(dir: &std::path::Path) -> Result<Box<dyn Contender>, Fault> {
    let program = std::env::current_exe()?.with_file_name("okapi");
    let spinning = Node::start(&program, &dir.join("spinning"), true)?;
    let sleeping = Node::start(&program, &dir.join("sleeping"), false)?;
    Ok(Box::new(Okapi { spinning, sleeping }))
}

impl Node {
    fn start(program: &std::path::Path, data: &std::path::Path, spin: bool) -> Result<Self, Fault> {
        let port = server::free_port()?;
        let unix = Target::Unix(data.join("okapi.sock"));
        let mut command = Command::new(program);
        command.arg("--data").arg(data).args(["--quiet", "up", "--memory-max", "2G"]);
        command.args(["--tcp", &format!("127.0.0.1:{port}"), "--threads", "1"]);
        let mut settings = Settings::default();
        if !spin {
            command.args(["--spin", "0"]);
            settings.spin = Duration::ZERO;
        }
        let reach = || Client::connect(&unix, settings.clone()).map_err(std::io::Error::other);
        let server = Server::start(&mut command, reach)?;
        let token = std::fs::read_to_string(data.join("token"))?;
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(token.trim().as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits)?, 16)?;
        }
        settings.token = okapi_client::Token(bytes);
        Ok(Self { server, unix, tcp: Target::Tcp { host: "127.0.0.1".into(), port }, settings })
    }

    /// The grid for blocks of a scenario's size, made if it is not there.
    fn grid(&self, scenario: &Scenario) -> Result<Grid, Fault> {
        let target = if scenario.path == Path::Tcp { &self.tcp } else { &self.unix };
        let client = Client::connect(target, self.settings.clone())?;
        let name = format!("bench-{}", scenario.size);
        if !client.grids()?.iter().any(|grid| grid.name == name) {
            let block_size = u32::try_from(scenario.size.max(512))?;
            client.create_grid(&GridCreate {
                name: name.clone(),
                block_size: BlockSize::new(block_size).ok_or("no block has this size")?,
                durability: Durability::Memory,
                public: false,
                engine: String::new(),
            })?;
        }
        Ok(client.grid(&name, None)?)
    }
}

impl Okapi {
    fn node(&self, scenario: &Scenario) -> &Node {
        if scenario.spin { &self.spinning } else { &self.sleeping }
    }
}

impl Contender for Okapi {
    fn name(&self) -> &'static str {
        "okapi"
    }

    fn takes(&self, _: &Scenario) -> bool {
        true
    }

    fn prepare(&mut self, scenario: &Scenario) -> Result<(), Fault> {
        let grid = self.node(scenario).grid(scenario)?;
        let mut bytes = vec![0; scenario.size];
        for block in 0..scenario.blocks() {
            random::fill(block, &mut bytes);
            grid.put(index(block), &bytes)?;
        }
        random::fill(3, &mut bytes);
        let found = grid.get(index(3))?.ok_or("a block that was put is not there")?;
        if found.bytes == bytes { Ok(()) } else { Err("a block came back different".into()) }
    }

    fn run(&mut self, scenario: &Scenario, time: Duration) -> Result<Sample, Fault> {
        let node = self.node(scenario);
        let grid = node.grid(scenario)?;
        if scenario.path == Path::SharedMap {
            return mapped(&grid, node, scenario, time);
        }
        let mut lanes = Vec::new();
        for _ in 0..scenario.connections {
            lanes.push(grid.pipeline()?);
        }
        let mut work = Work::new(scenario);
        for _ in 0..scenario.depth {
            lanes.iter_mut().try_for_each(|lane| work.ask(lane))?;
        }
        let mut warming = Latencies::when(false)?;
        work.pump(&mut lanes, Instant::now() + WARM_UP, &mut warming)?;
        let mut latencies = Latencies::when(scenario.is_single())?;
        let (client, other, start) = (server::own_cpu(), node.server.cpu()?, Instant::now());
        let frames = work.pump(&mut lanes, start + time, &mut latencies)?;
        let seconds = start.elapsed().as_secs_f64();
        let (client, other) = (server::own_cpu() - client, node.server.cpu()? - other);
        Ok(Sample::new(frames * scenario.batch as u64, scenario.size, seconds, client, other).taking(&latencies))
    }
}

/// What is asked, formatted beforehand as the rivals' requests are.
struct Work {
    deed: Deed,
    depth: usize,
    size: usize,
    random: random::Random,
    blocks: u64,
    gets: Vec<GetAsk>,
    payloads: Vec<(Vec<u8>, u32)>,
    batch: usize,
}

impl Work {
    fn new(scenario: &Scenario) -> Self {
        let payloads = (0..16)
            .map(|block| {
                let mut bytes = vec![0; scenario.size];
                random::fill(block, &mut bytes);
                let crc = crc32c(&bytes);
                (bytes, crc)
            })
            .collect();
        Self {
            deed: scenario.deed,
            depth: scenario.depth,
            size: scenario.size,
            random: random::Random::new(5),
            blocks: scenario.blocks(),
            gets: Vec::with_capacity(scenario.batch),
            payloads,
            batch: scenario.batch,
        }
    }

    fn ask(&mut self, lane: &mut Pipeline) -> Result<(), Fault> {
        match self.deed {
            Deed::Get => {
                self.gets.clear();
                for _ in 0..self.batch {
                    self.gets.push(GetAsk::whole(index(self.random.below(self.blocks))));
                }
                lane.submit_get(&self.gets)?;
            }
            Deed::Put => {
                let block = self.random.below(self.blocks);
                let (bytes, crc) = &self.payloads[(block % 16) as usize];
                lane.submit_put(&[(PutAsk::whole(index(block), bytes, *crc), bytes)], 0)?;
            }
        }
        Ok(())
    }

    /// Takes one answer.
    fn answer(&self, lane: &mut Pipeline) -> Result<u64, Fault> {
        let wanted = if self.deed == Deed::Get { self.size } else { 0 };
        let mut good = true;
        lane.wait_any(|_, outcome, payload| good &= outcome.status == Status::Ok && payload.len() == wanted)?;
        if good { Ok(1) } else { Err("an answer is not what was asked for".into()) }
    }

    /// Keeps every lane full until `end` and says how many frames were answered.
    fn pump(&mut self, lanes: &mut [Pipeline], end: Instant, latencies: &mut Latencies) -> Result<u64, Fault> {
        let (mut frames, mut last) = (0, Instant::now());
        let single = lanes.len() * self.depth * self.batch == 1;
        let (lanes_count, lanes_are_many) = (lanes.len(), lanes.len() > 1);
        while last < end {
            let mut idle = true;
            for (at, lane) in lanes.iter_mut().enumerate() {
                let mut answered = 0;
                // With many lanes whoever has something is served, and one is waited for only if none has.
                while if lanes_are_many { lane.is_ready()? } else { answered == 0 } {
                    answered += self.answer(lane)?;
                }
                if answered == 0 && at + 1 == lanes_count && idle {
                    answered += self.answer(lane)?;
                }
                idle &= answered == 0;
                for _ in 0..answered {
                    self.ask(lane)?;
                }
                frames += answered;
            }
            let now = Instant::now();
            if single {
                latencies.record(now - last);
            }
            last = now;
        }
        Ok(frames)
    }
}

/// Gets through the shared map.
fn mapped(grid: &Grid, node: &Node, scenario: &Scenario, time: Duration) -> Result<Sample, Fault> {
    let map = grid.map().ok_or("the node lets nobody read its memory")?;
    let mut random = random::Random::new(7);
    let mut to = vec![0u8; scenario.size];
    let mut latencies = Latencies::when(scenario.is_single())?;
    let mut count = 0;
    let (client, other, start) = (server::own_cpu(), node.server.cpu()?, Instant::now());
    while start.elapsed() < time {
        let first = Instant::now();
        for number in 0..MAPPED_GETS {
            let block = index(random.below(scenario.blocks()));
            let found = map.get_into(block, Slice::WHOLE, &mut to)?.ok_or("a block is not there")?;
            if found.filled != scenario.size {
                return Err("a block came back shorter".into());
            }
            if number == 0 {
                latencies.record(first.elapsed());
            }
        }
        count += MAPPED_GETS as u64;
    }
    let seconds = start.elapsed().as_secs_f64();
    let (client, other) = (server::own_cpu() - client, node.server.cpu()? - other);
    Ok(Sample::new(count, scenario.size, seconds, client, other).taking(&latencies))
}

fn index(value: u64) -> Index {
    Index::new(value).expect("a bench has fewer than 2^48 blocks")
}
