//! The client against a node in miniature, over every link there is, with links that break and nodes that misbehave.

mod blocks;
mod faults;
mod group;
mod map;
mod pipeline;
mod records;
mod replication;
mod toy;

use okapi_client::{Client, Reconnect, Settings};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use toy::{Carrier, Cuts, ToToy, World};

/// Settings under which a test that goes wrong ends soon.
fn settings() -> Settings {
    let delays = Reconnect { first: Duration::from_millis(1), cap: Duration::from_millis(10) };
    Settings { answer_timeout: Duration::from_secs(20), reconnect: Some(delays), ..Settings::default() }
}

fn connect(world: &Arc<Mutex<World>>, carrier: Carrier) -> Client {
    Client::through(Box::new(ToToy::new(world, carrier)), settings()).unwrap()
}

/// A client whose first `links` links break after at most `most` bytes each.
fn cut(world: &Arc<Mutex<World>>, seed: u64, most: u64, links: i64) -> Client {
    let dial = ToToy { cuts: Some(Cuts::new(seed, most, links)), ..ToToy::new(world, Carrier::Memory) };
    Client::through(Box::new(dial), settings()).unwrap()
}

/// A world with the grid `main` of blocks of `block_size` bytes.
fn world(block_size: u32) -> Arc<Mutex<World>> {
    let world = World::new();
    world.lock().unwrap().grid("main", block_size);
    world
}

/// Bytes that differ from place to place and seed to seed.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count).map(|_| next() as u8).collect()
}
