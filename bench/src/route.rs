//! Another member's grid, by way of one's own node, against the same grid asked for directly.
//!
//! Two nodes of one group run in this process and are joined by a real link: TLS over TCP on the loopback. The client asks
//! over unix sockets, once the node that has the grid, once the other. Rounds alternate, with a third of bare TLS over TCP:
//! a route cannot be quicker than that.

mod away;

use crate::Fault;
use crate::link::raw::Pair;
use crate::options::Options;
use crate::sample::median;
use crate::server::own_cpu;
use crate::table::{Table, bytes};
use okapi_client::grant::Right;
use okapi_client::group::GroupState;
use okapi_client::{Client, Durability, GetAsk, Grid, GridCreate, Index, Settings, Whom};
use okapi_node::group::{Founding, found};
use okapi_node::{HostSettings, Node, NodeSettings};
use okapi_seal::MemberSecret;
use std::time::{Duration, Instant};

/// Blocks asked for together: four frames of 16 in flight.
const TOGETHER: usize = 64;
const BLOCK: usize = 64 << 10;
/// Blocks of the grid: more than a processor keeps to itself.
const BLOCKS: u64 = 1024;
/// Bytes of a round of bare TLS.
const BARE: usize = 256 << 20;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);

/// A member with one node.
struct House {
    node: Node,
    secret: MemberSecret,
    _home: tempfile::TempDir,
}

/// What one way came to, round by round.
#[derive(Default)]
struct Way {
    /// Bytes a second of whole blocks, many at a time.
    rate: Vec<f64>,
    /// Seconds of processor time a GB, of all ends together.
    cpu: Vec<f64>,
    /// Microseconds that a slice of 4 KiB took, one at a time: the median of the round.
    small: Vec<f64>,
}

/// Runs the bench and prints its table.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let (barn, attic) = (House::new(options, "barn")?, House::new(options, "attic")?);
    let (direct, at_home) = (barn.client(None)?, attic.client(None)?);
    at_home.join(&direct.invite(PATIENCE * 10)?.ticket)?;
    let begun = Instant::now();
    while !is_joined(&direct)? || !is_joined(&at_home)? {
        if begun.elapsed() > PATIENCE {
            return Err("the two nodes do not come together".into());
        }
    }
    let create = GridCreate {
        name: "bench".to_owned(),
        block_size: okapi_client::BlockSize::DEFAULT,
        durability: Durability::Memory,
        public: false,
        engine: String::new(),
    };
    direct.create_grid(&create)?;
    direct.grant("bench", attic.secret.id(), Right::Read)?;
    let own = direct.grid("bench", None)?;
    for at in 0..BLOCKS {
        own.put(index(at), &vec![at as u8; BLOCK])?;
    }
    let routed = attic.client(Some(Whom::Called("barn".to_owned())))?.grid("bench", None)?;
    let (mut a, mut b, mut bare) = (Way::default(), Way::default(), Way::default());
    let tls = Pair::new()?;
    for _ in 0..if options.quick { 2 } else { ROUNDS } {
        a.measure(&own)?;
        b.measure(&routed)?;
        bare.count(|| tls.move_buffers(BLOCK, BARE / BLOCK).map(|()| BARE))?;
    }
    let mut table = Table::new(&["get from another member", "", "64 KiB x 16", "CPU s/GB", "4 KiB, one at a time"]);
    let ways = [
        ("direct: unix socket of its node", &a),
        ("routed: unix, own node, TLS, its node", &b),
        ("bytes alone: TLS over TCP", &bare),
    ];
    ways.into_iter().for_each(|(name, way)| table.row(way.row(name)));
    table.print();
    println!("routed: {:.2} of direct, {:.2} of bare TLS", b.beside(&a), b.beside(&bare));
    for house in [attic, barn] {
        house.node.stop()?;
    }
    away::run(options)
}

impl House {
    fn new(options: &Options, name: &str) -> Result<Self, Fault> {
        let (home, secret) = (options.folder()?, MemberSecret::random());
        let data = home.path().join("data");
        let listen = vec!["127.0.0.1:0".parse()?];
        let founding =
            Founding { number: 0, name: name.to_owned(), give: 1 << 30, listen, advertise: Vec::new(), site: None };
        found(&data, &secret, &founding)?;
        Ok(Self { node: Node::start(NodeSettings::new(HostSettings::new(data)))?, secret, _home: home })
    }

    fn client(&self, member: Option<Whom>) -> Result<Client, Fault> {
        Ok(Client::connect(&self.node.targets()[0], Settings { member, ..Settings::default() })?)
    }
}

impl Way {
    fn measure(&mut self, grid: &Grid) -> Result<(), Fault> {
        let mut from = 0;
        self.count(|| {
            let (begun, mut got) = (Instant::now(), 0);
            while begun.elapsed() < ROUND {
                let next = |at| GetAsk::whole(index((from + at) % BLOCKS));
                let asks: Vec<GetAsk> = (0..TOGETHER as u64).map(next).collect();
                grid.get_many(&asks, |_, _, payload| got += payload.len())?;
                from += TOGETHER as u64;
            }
            Ok(got)
        })?;
        let (begun, mut took) = (Instant::now(), Vec::new());
        while begun.elapsed() < ROUND / 2 {
            let start = Instant::now();
            grid.get_slice(index(from % BLOCKS), okapi_client::Slice { offset: 0, length: 4096 })?;
            took.push(start.elapsed().as_secs_f64() * 1e6);
            from += 1;
        }
        self.small.push(median(took));
        Ok(())
    }

    /// Measures a job that says how many bytes it has moved.
    fn count(&mut self, job: impl FnOnce() -> Result<usize, Fault>) -> Result<(), Fault> {
        let (begun, cpu) = (Instant::now(), own_cpu());
        let moved = job()? as f64;
        self.rate.push(moved / begun.elapsed().as_secs_f64());
        self.cpu.push((own_cpu() - cpu) * 1e9 / moved);
        Ok(())
    }

    /// The median of the rounds' ratios to another way's rate.
    fn beside(&self, other: &Self) -> f64 {
        median(self.rate.iter().zip(&other.rate).map(|(its, others)| its / others).collect())
    }

    fn row(&self, name: &str) -> [String; 5] {
        let middle = |of: &Vec<f64>| median(of.clone());
        let rate = format!("{}/s", bytes(middle(&self.rate)));
        [
            name.to_owned(),
            String::new(),
            rate,
            format!("{:.2}", middle(&self.cpu)),
            if self.small.is_empty() { String::new() } else { format!("{:.0} us", middle(&self.small)) },
        ]
    }
}

fn is_joined(client: &Client) -> Result<bool, Fault> {
    let status = client.group_status()?;
    Ok(status.state == GroupState::Member && status.members.iter().all(|member| !member.name.is_empty()))
}

fn index(at: u64) -> Index {
    Index::new(at).expect("there are few blocks")
}
