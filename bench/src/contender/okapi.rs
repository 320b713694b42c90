//! Okapi itself: a real `okapi up` beside the other servers, driven through its client.
//!
//! Its grids are kept in memory, as the others keep theirs. The client computes the checksum of what it puts and checks
//! that of what it gets: that is part of what is measured. Where the others pipeline single requests on many
//! connections, Okapi's client asks for as many blocks in one frame.

use super::Contender;
use crate::sample::{Latencies, Sample};
use crate::scenario::{Deed, Path, Scenario};
use crate::server::{self, Server};
use crate::{Fault, random};
use okapi_base::crc32c;
use okapi_client::{
    BlockSize, Client, Durability, GetAsk, Grid, GridCreate, Index, Outcome, Pipeline, PutAsk, Settings, Target,
};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Different frames prepared beforehand; they are asked round and round.
const FRAMES: usize = 4096;
/// Bytes of payload prepared for puts.
const PUT_BYTES: usize = 32 << 20;
/// The part of a run before the counting starts.
const WARM_UP: Duration = Duration::from_millis(50);
/// Blocks read back whole, and compared, before anything is measured.
const CHECKS: u64 = 64;

/// A running node.
#[derive(Debug)]
struct Okapi {
    server: Server,
    unix: Target,
    tcp: Target,
}

/// Starts `okapi up` with its data in `dir`.
pub(crate) fn start(dir: &std::path::Path) -> Result<Box<dyn Contender>, Fault> {
    let program = std::env::current_exe()?.with_file_name("okapi");
    let (socket, port): (PathBuf, u16) = (dir.join("okapi.sock"), server::free_port()?);
    let tcp = format!("127.0.0.1:{port}");
    let mut command = Command::new(program);
    command.arg("up").arg("--data").arg(dir.join("okapi")).arg("--socket").arg(&socket);
    command.args(["--tcp", &tcp, "--memory-max", "4G"]);
    let (unix, tcp) = (Target::Unix(socket), format!("tcp://{tcp}").parse::<Target>()?);
    let reach = || Client::connect(&unix, Settings::default()).map_err(std::io::Error::other);
    let server = Server::start(&mut command, reach)?;
    Ok(Box::new(Okapi { server, unix, tcp }))
}

impl Contender for Okapi {
    fn name(&self) -> &'static str {
        "okapi"
    }

    fn takes(&self, scenario: &Scenario) -> bool {
        scenario.path != Path::SharedMap
    }

    fn prepare(&mut self, scenario: &Scenario) -> Result<(), Fault> {
        let client = Client::connect(&self.unix, Settings::default())?;
        let name = grid_name(scenario);
        if !client.grids()?.iter().any(|grid| grid.name == name) {
            let block_size = u32::try_from(scenario.size.next_power_of_two().max(512))?;
            client.create_grid(&GridCreate {
                name: name.clone(),
                block_size: BlockSize::new(block_size).ok_or("no grid has blocks of this size")?,
                durability: Durability::Memory,
                // Over TCP nothing proves who asks.
                public: true,
                engine: String::new(),
            })?;
        }
        let grid = client.grid(&name, None)?;
        let mut content = vec![0; scenario.size];
        for index in 0..scenario.blocks() {
            random::fill(index, &mut content);
            grid.put(at(index)?, &content)?;
        }
        let mut random = random::Random::new(11);
        for index in (0..CHECKS).map(|_| random.below(scenario.blocks())) {
            random::fill(index, &mut content);
            if grid.get(at(index)?)?.is_none_or(|block| block.bytes != content) {
                return Err(format!("block {index} of {} bytes came back different", scenario.size).into());
            }
        }
        Ok(())
    }

    fn run(&mut self, scenario: &Scenario, time: Duration) -> Result<Sample, Fault> {
        let spin = if scenario.spin { Settings::default().spin } else { Duration::ZERO };
        let target = if scenario.path == Path::Tcp { &self.tcp } else { &self.unix };
        let client = Client::connect(target, Settings { spin, ..Settings::default() })?;
        let grid = client.grid(&grid_name(scenario), None)?;
        let (batch, depth) = match scenario.connections {
            1 => (scenario.batch, scenario.depth),
            _ => (scenario.batch * scenario.depth, 1),
        };
        let frames = Frames::new(scenario, batch)?;
        let mut lanes = Vec::new();
        for number in 0..scenario.connections {
            let mut lane = Lane::new(&grid, number * FRAMES / scenario.connections)?;
            for _ in 0..depth {
                lane.ask(&frames)?;
            }
            lanes.push(lane);
        }
        drive(&mut lanes, &frames, Instant::now() + WARM_UP, &mut Latencies::when(false)?)?;
        let mut latencies = Latencies::when(scenario.is_single())?;
        let (own, other, start) = (server::own_cpu(), self.server.cpu()?, Instant::now());
        let answered = drive(&mut lanes, &frames, start + time, &mut latencies)?;
        let seconds = start.elapsed().as_secs_f64();
        let (own, other) = (server::own_cpu() - own, self.server.cpu()? - other);
        Ok(Sample::new((answered * batch) as u64, scenario.size, seconds, own, other).taking(&latencies))
    }
}

fn grid_name(scenario: &Scenario) -> String {
    format!("bench-{}", scenario.size)
}

fn at(index: u64) -> Result<Index, Fault> {
    Index::new(index).ok_or_else(|| "an index of more than 48 bits".into())
}

/// Keeps every lane full until `end` and says how many frames were answered.
fn drive(lanes: &mut [Lane], frames: &Frames, end: Instant, latencies: &mut Latencies) -> Result<usize, Fault> {
    let mut answered = 0;
    let mut last = Instant::now();
    while last < end {
        for lane in &mut *lanes {
            lane.answer(frames)?;
            lane.ask(frames)?;
            answered += 1;
        }
        let now = Instant::now();
        latencies.record(now - last);
        last = now;
    }
    Ok(answered)
}

/// What is asked.
struct Frames {
    deed: Deed,
    size: usize,
    batch: usize,
    /// The blocks of each get.
    asks: Vec<Vec<GetAsk>>,
    /// The blocks of each put, and where in `content` their payload begins.
    puts: Vec<Vec<(Index, usize)>>,
    content: Vec<u8>,
}

impl Frames {
    fn new(scenario: &Scenario, batch: usize) -> Result<Self, Fault> {
        let mut random = random::Random::new(3);
        let mut content = vec![0; PUT_BYTES.max(scenario.size * batch)];
        random::fill(1, &mut content);
        let (mut asks, mut puts) = (Vec::new(), Vec::new());
        let slots = (content.len() / scenario.size) as u64;
        for _ in 0..FRAMES {
            let indexes = (0..batch).map(|_| at(random.below(scenario.blocks()))).collect::<Result<Vec<_>, _>>()?;
            asks.push(indexes.iter().map(|index| GetAsk::whole(*index)).collect());
            let from = |index: Index| (index.get() % slots) as usize * scenario.size;
            puts.push(indexes.iter().map(|index| (*index, from(*index))).collect());
        }
        Ok(Self { deed: scenario.deed, size: scenario.size, batch, asks, puts, content })
    }
}

/// One connection and how far it is.
struct Lane {
    pipeline: Pipeline,
    flying: VecDeque<okapi_client::Ticket>,
    next: usize,
}

impl Lane {
    fn new(grid: &Grid, first: usize) -> Result<Self, Fault> {
        Ok(Self { pipeline: grid.pipeline()?, flying: VecDeque::new(), next: first })
    }

    fn ask(&mut self, frames: &Frames) -> Result<(), Fault> {
        let ticket = match frames.deed {
            Deed::Get => self.pipeline.submit_get(&frames.asks[self.next])?,
            Deed::Put => {
                let put = |(index, from): &(Index, usize)| {
                    let payload = &frames.content[*from..from + frames.size];
                    (PutAsk::whole(*index, payload, crc32c(payload)), payload)
                };
                let puts: Vec<_> = frames.puts[self.next].iter().map(put).collect();
                self.pipeline.submit_put(&puts, 0)?
            }
        };
        self.flying.push_back(ticket);
        self.next = (self.next + 1) % FRAMES;
        Ok(())
    }

    /// Waits for the oldest frame and checks that every block of it is there, or was taken.
    fn answer(&mut self, frames: &Frames) -> Result<(), Fault> {
        let ticket = self.flying.pop_front().ok_or("nothing is in flight")?;
        let wanted = if frames.deed == Deed::Get { frames.size } else { 0 };
        let mut good = 0;
        self.pipeline.wait(ticket, |_, outcome: Outcome, payload| {
            good += usize::from(outcome.status.is_ok() && payload.len() == wanted);
        })?;
        if good == frames.batch { Ok(()) } else { Err(format!("{good} of {} blocks went well", frames.batch).into()) }
    }
}
