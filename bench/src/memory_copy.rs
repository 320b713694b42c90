//! The bound for everything that reads shared memory: copying blocks from one place to another.

use crate::contender::Contender;
use crate::random::Random;
use crate::sample::{Latencies, Sample};
use crate::scenario::{Path, Scenario};
use crate::{Fault, server};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Copies between looks at the clock.
const COPIES: usize = 64;

/// Copies random blocks out of a large buffer.
#[derive(Debug, Default)]
pub(crate) struct MemoryCopy {
    from: Vec<u8>,
}

impl Contender for MemoryCopy {
    fn name(&self) -> &'static str {
        "memcpy"
    }

    fn takes(&self, scenario: &Scenario) -> bool {
        scenario.path == Path::SharedMap
    }

    fn prepare(&mut self, scenario: &Scenario) -> Result<(), Fault> {
        self.from.resize(scenario.blocks() as usize * scenario.size, 1);
        Ok(())
    }

    fn run(&mut self, scenario: &Scenario, time: Duration) -> Result<Sample, Fault> {
        let mut random = Random::new(7);
        let mut to = vec![0u8; scenario.size];
        let mut latencies = Latencies::when(scenario.is_single())?;
        let mut count = 0;
        let (start, cpu) = (Instant::now(), server::own_cpu());
        while start.elapsed() < time {
            let first = Instant::now();
            for number in 0..COPIES {
                let at = random.below(scenario.blocks()) as usize * scenario.size;
                to.copy_from_slice(black_box(&self.from[at..at + scenario.size]));
                black_box(&mut to);
                // The clock costs something beside a copy, so only the first is timed by itself.
                if number == 0 {
                    latencies.record(first.elapsed());
                }
            }
            count += COPIES as u64;
        }
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), server::own_cpu() - cpu);
        Ok(Sample::new(count, scenario.size, seconds, cpu, 0.0).taking(&latencies))
    }
}
