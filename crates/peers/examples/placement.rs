//! How well disks of all sizes are used, how much moves, and what it costs, beside pure rendezvous hashing:
//! `cargo run --release -p okapi-peers --example placement`.
#![allow(missing_docs, clippy::print_stdout, reason = "a measuring program")]

use okapi_peers::placement::{GROUPS, Map, Place, shape_for};
use std::time::Instant;

#[path = "../src/placement/tests/trial.rs"]
mod trial;

use trial::{Held, Mix, SEED, fill_with_replacements, hash_order, map_order, moved};

fn main() {
    println!("Until the first node is full, and until a segment finds too few nodes with room if full ones are passed");
    println!("over; in parts of the most that fits when nobody holds what is its own and all write equally much.\n");
    println!("| group | shape | placement | hashing | passing over: placement | hashing | that most, of max S |");
    println!("|---|---|---|---|---|---|---|");
    let mixes = [
        Mix::friends(),
        Mix::homelab(),
        Mix::mixed("100 mixed, 0.5 to 32 TB", 100),
        Mix::clustered("100 mixed of 40 owners at 10 sites", 100),
        Mix::mixed("200 mixed, 0.5 to 32 TB", 200),
    ];
    for mix in &mixes {
        let map = Map::new(&mix.places, &SEED, mix.shape());
        let writers = mix.places.len();
        let segments = 4000;
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            mix.name,
            mix.shape(),
            percent(Held::by_map(mix, &map, writers).fill(mix)),
            percent(Held::by_hashing(mix, writers).fill(mix)),
            percent(fill_with_replacements(mix, segments, map_order(mix, &map))),
            percent(fill_with_replacements(mix, segments, hash_order(mix))),
            percent(mix.optimum_with_others() / mix.optimum()),
        );
    }
    println!("\nShards that move when one node joins or leaves, in times of the least possible.\n");
    println!("| group | the smallest | a middle one | the largest |");
    println!("|---|---|---|---|");
    for mix in &mixes {
        let [small, middle, large] = mix.by_size().map(|at| moved(mix, at));
        println!("| {} | {small:.2} | {middle:.2} | {large:.2} |", mix.name);
    }
    cost(&mixes[4]);
}

fn cost(mix: &Mix) {
    let begun = Instant::now();
    let map = Map::new(&mix.places, &SEED, mix.shape());
    let made = begun.elapsed();
    let begun = Instant::now();
    let mut found = 0;
    for group in 0..GROUPS {
        for place in mix.places.iter().step_by(10) {
            found += map.holders(group, &place.owner, &place.node).len();
        }
    }
    let each = begun.elapsed() / (u32::from(GROUPS) * mix.places.len().div_ceil(10) as u32);
    assert!(found > 0);
    println!("\n{}: the map is made in {made:.1?}, and asked for one segment's holders in {each:.1?}.", mix.name);
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}
