//! Whoever takes part in the grid bench.

pub(crate) mod memcached;
pub(crate) mod okapi;
pub(crate) mod redis;

use crate::Fault;
use crate::sample::Sample;
use crate::scenario::Scenario;
use std::time::Duration;

/// One of those measured beside each other.
pub(crate) trait Contender {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Whether it can take part in a scenario at all.
    fn takes(&self, scenario: &Scenario) -> bool;

    /// Puts the blocks in place that the scenario works on, and makes sure that they read back.
    fn prepare(&mut self, scenario: &Scenario) -> Result<(), Fault>;

    /// Does the scenario's deed for about `time`.
    fn run(&mut self, scenario: &Scenario, time: Duration) -> Result<Sample, Fault>;
}
