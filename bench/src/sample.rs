//! What one run has measured.

use crate::Fault;
use hdrhistogram::Histogram;
use std::time::Duration;

/// One run of one contender in one scenario.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Blocks got or put a second.
    pub(crate) ops: f64,
    /// Bytes of payload a second.
    pub(crate) bytes: f64,
    /// Microseconds of processor time the client used for each block.
    pub(crate) client_cpu: f64,
    /// The same of the server.
    pub(crate) server_cpu: f64,
    /// The median time a block took, in microseconds; not a number where several are asked at a time.
    pub(crate) p50: f64,
}

impl Sample {
    /// Of `count` blocks of `size` bytes in `seconds`, having used so many seconds of processor time.
    pub(crate) fn new(count: u64, size: usize, seconds: f64, client_cpu: f64, server_cpu: f64) -> Self {
        let per_block = 1e6 / count.max(1) as f64;
        let ops = count as f64 / seconds;
        Self {
            ops,
            bytes: ops * size as f64,
            client_cpu: client_cpu * per_block,
            server_cpu: server_cpu * per_block,
            p50: f64::NAN,
        }
    }

    /// The same, and how long single blocks took.
    pub(crate) fn taking(self, latencies: &Latencies) -> Self {
        Self { p50: latencies.p50(), ..self }
    }

    /// Processor time of both ends for each block, in microseconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.client_cpu + self.server_cpu
    }

    /// The median of each quantity.
    pub(crate) fn median(samples: &[Self]) -> Self {
        let of = |pick: fn(&Self) -> f64| median(samples.iter().map(pick).collect());
        Self {
            ops: of(|sample| sample.ops),
            bytes: of(|sample| sample.bytes),
            client_cpu: of(|sample| sample.client_cpu),
            server_cpu: of(|sample| sample.server_cpu),
            p50: of(|sample| sample.p50),
        }
    }
}

/// How long single blocks took, where they are asked one at a time.
#[derive(Debug)]
pub(crate) struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    /// Keeps times if `wanted`, and nothing otherwise.
    pub(crate) fn when(wanted: bool) -> Result<Self, Fault> {
        // Three digits up to ten seconds, in nanoseconds.
        Ok(Self(if wanted { Some(Histogram::new_with_max(10_000_000_000, 3)?) } else { None }))
    }

    /// Takes in one.
    #[inline]
    pub(crate) fn record(&mut self, took: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// The median, in microseconds.
    pub(crate) fn p50(&self) -> f64 {
        self.0.as_ref().map_or(f64::NAN, |histogram| histogram.value_at_quantile(0.5) as f64 / 1e3)
    }
}

/// The middle one of some numbers; not a number if there are none.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => numbers[n / 2],
        n => f64::midpoint(numbers[n / 2 - 1], numbers[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_stand_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn a_sample_counts_per_block() {
        let sample = Sample::new(1000, 64, 2.0, 0.5, 1.5);
        assert_eq!((sample.ops, sample.bytes), (500.0, 32_000.0));
        assert_eq!((sample.client_cpu, sample.server_cpu, sample.cpu()), (500.0, 1500.0, 2000.0));
        let mut latencies = Latencies::when(true).unwrap();
        [1, 7, 9].into_iter().map(Duration::from_micros).for_each(|took| latencies.record(took));
        assert!((sample.taking(&latencies).p50 - 7.0).abs() < 0.01);
        assert!(sample.taking(&Latencies::when(false).unwrap()).p50.is_nan());
    }
}
