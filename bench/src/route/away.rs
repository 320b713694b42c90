//! The same from a member whose node is away: out of the shards that the others hold.

use super::{House, PATIENCE, index, is_joined};
use crate::Fault;
use crate::options::Options;
use crate::sample::median;
use crate::table::bytes;
use okapi_client::grant::Right;
use okapi_client::{Client, Durability, GetAsk, Grid, GridCreate, Settings, Whom};
use std::time::{Duration, Instant};

/// Nodes of the group, the owner's among them: segments then lie as 2of6.
const NODES: usize = 7;
/// Blocks of 4 KiB: more than is kept of what was fetched.
const SMALL: u64 = 32_768;
const SMALL_BYTES: usize = 4096;
/// Blocks of 64 KiB, which are read one after the other.
const LARGE: u64 = 512;
const LARGE_BYTES: usize = 64 << 10;
/// Small gets.
const GETS: u64 = 2000;
/// A step by which no two of the small gets meet blocks that are fetched together: the golden section of [`SMALL`].
const STRIDE: u64 = 20_251;

/// Runs the bench and prints what came of it.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let mut houses = Vec::new();
    for number in 0..NODES {
        houses.push(House::new(options, &format!("house{number}"))?);
    }
    let clients: Vec<Client> = houses.iter().map(|house| house.client(None)).collect::<Result<_, _>>()?;
    for client in &clients[1..] {
        client.join(&clients[0].invite(PATIENCE * 10)?.ticket)?;
    }
    for client in &clients {
        until("the nodes come together", || Ok(is_joined(client)? && client.group_status()?.members.len() == NODES))?;
    }
    let (owner, reader) = (&clients[0], &clients[1]);
    for (name, blocks, length) in [("small", SMALL, SMALL_BYTES), ("large", LARGE, LARGE_BYTES)] {
        owner.create_grid(&GridCreate {
            name: name.to_owned(),
            block_size: okapi_client::BlockSize::DEFAULT,
            durability: Durability::Interval,
            public: false,
            engine: String::new(),
        })?;
        owner.grant(name, houses[1].secret.id(), Right::Read)?;
        let grid = owner.grid(name, None)?;
        for at in 0..blocks {
            grid.put(index(at), &content(at, length))?;
        }
    }
    until("what was granted lies under its keys", || Ok(fact(owner, "log.moving_segments")? == "0"))?;
    until("the reader has the keys", || Ok(fact(reader, "keys_received")? == "2"))?;
    owner.wait_until_safe()?;
    let house = houses.remove(0);
    house.node.stop()?;
    let began = Instant::now();
    let member = Some(Whom::Called("house0".to_owned()));
    let settings = Settings { member, connect_timeout: PATIENCE, ..Settings::default() };
    let away = Client::connect(&houses[0].node.targets()[0], settings)?;
    let (small, large) = (away.grid("small", None)?, away.grid("large", None)?);
    println!("opened in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    let mut took = Vec::new();
    for number in 0..if options.quick { GETS / 10 } else { GETS } {
        let at = number * STRIDE % SMALL;
        let start = Instant::now();
        check(&small, at, SMALL_BYTES)?;
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    took.sort_by(f64::total_cmp);
    let (middle, late) = (median(took.clone()), took[took.len() * 99 / 100]);
    println!("4 KiB of an owner who is away, 2of6, one at a time: p50 {middle:.0} us, p99 {late:.0} us");
    let (began, mut got) = (Instant::now(), 0);
    for from in (0..LARGE).step_by(16) {
        let asks: Vec<GetAsk> = (from..from + 16).map(|at| GetAsk::whole(index(at))).collect();
        large.get_many(&asks, |_, _, payload| got += payload.len())?;
    }
    let rate = got as f64 / began.elapsed().as_secs_f64();
    println!("64 KiB x 16 of the same, one frame at a time: {}/s", bytes(rate));
    houses.into_iter().try_for_each(|house| Ok(house.node.stop()?))
}

fn check(grid: &Grid, at: u64, length: usize) -> Result<(), Fault> {
    let got = grid.get(index(at))?;
    match got.is_some_and(|block| block.bytes == content(at, length)) {
        true => Ok(()),
        false => Err(format!("block {at} is not what was put").into()),
    }
}

fn content(at: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|byte| (byte * 7 + at + byte / 251) as u8).collect()
}

fn fact(client: &Client, name: &str) -> Result<String, Fault> {
    let facts = client.status()?.facts;
    Ok(facts.into_iter().find(|fact| fact.0 == name).map(|fact| fact.1).unwrap_or_default())
}

fn until(what: &str, is: impl Fn() -> Result<bool, Fault>) -> Result<(), Fault> {
    let begun = Instant::now();
    while !is()? {
        if begun.elapsed() > PATIENCE * 4 {
            return Err(format!("waited in vain until {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
