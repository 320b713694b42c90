//! `okapi demo`, which is what people see first.

use crate::house::{House, noise};
use serde_json::Value;

/// Ends the group also when the test fails.
struct Ended<'h>(&'h House, String);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.run(&self.1);
    }
}

#[test]
fn the_demo_loses_three_machines_and_nothing_else() {
    let house = House::new();
    let film = house.file("film", noise(24 << 20));
    let place = house.path("demo");
    let stop = format!("demo --stop --at {}", place.display());
    let ended = Ended(&house, stop.clone());
    let told = house.json(&format!("demo {film} --at {}", place.display()));
    let steps: Vec<&Value> = told.iter().filter(|line| line["step"].is_u64()).collect();
    let of = |what: &str| {
        let step = steps.iter().find(|step| step["what"].as_str().is_some_and(|text| text.contains(what)));
        step.unwrap_or_else(|| panic!("no step with {what}: {told:?}"))["outcome"].as_str().unwrap().to_owned()
    };
    assert!(of("is it the same?").contains("byte for byte"));
    // All of it had come back when the step was called done.
    let back = of("24 words");
    assert!(back.contains(" segments, 24.") && back.contains(" MiB, back from "), "{back}");
    assert!(house.ok(&stop).contains("nodes ended") && !place.exists());
    drop(ended);
}
