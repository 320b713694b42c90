//! Days of safety of every shape: `cargo run -p okapi-peers --example safety`.
#![allow(missing_docs, clippy::print_stdout, reason = "a measuring program")]

use okapi_base::{MemberId, Shape};
use okapi_peers::history::{PRIOR_LOST, PRIOR_NODE_DAYS};
use okapi_peers::safety::{Holder, Pace, days, days_of_shape};

const DAY_MS: u64 = 86_400_000;
/// 30 % a year, in 10^-9 a day.
const HOME: u64 = PRIOR_LOST * 1_000_000_000 / PRIOR_NODE_DAYS;

fn main() {
    println!(
        "Days of safety when 30 % of the nodes are lost each year, and a loss is mended a day after it is noticed.\n"
    );
    println!("| shape | noticed after 3 days | 7 days | 21 days |");
    println!("|---|---|---|---|");
    for shape in Shape::ALL {
        let after = |notice: u64| days_of_shape(shape, HOME, Pace { notice_ms: notice * DAY_MS, repair_ms: DAY_MS });
        println!("| {shape} | {} | {} | {} |", after(3), after(7), after(21));
    }
    println!("\nWhat is left with so many shards missing (noticed after 7 days).\n");
    println!("| shape | all there | one missing | half of those to spare | one to spare | none to spare |");
    println!("|---|---|---|---|---|---|");
    for shape in Shape::ALL.into_iter().skip(1) {
        let spare = shape.n() - shape.k();
        let with = |missing: usize| {
            let holder = |at: usize| Holder { member: MemberId([at as u8; 32]), lost_ppm: 0, loss_rate: HOME };
            let holders: Vec<Holder> = (missing..shape.n()).map(holder).collect();
            days(shape, &holders, Pace { notice_ms: 7 * DAY_MS, repair_ms: DAY_MS })
        };
        let half = with(spare.div_ceil(2));
        println!("| {shape} | {} | {} | {half} | {} | {} |", with(0), with(1), with(spare - 1), with(spare));
    }
}
