//! What an owner asks of the node's group.

use crate::toy::Carrier;
use crate::{connect, cut, world};
use okapi_client::group::{GroupState, MemberId};
use std::time::Duration;

#[test]
fn every_ask_about_the_group_is_answered() {
    let world = world(512);
    let client = connect(&world, Carrier::Memory);
    let status = client.group_status().unwrap();
    assert_eq!((status.state, status.member, status.number), (GroupState::Alone, MemberId([3; 32]), 1));
    let invited = client.invite(Duration::from_secs(3600)).unwrap();
    assert_eq!((invited.ticket.as_str(), invited.expires), ("okapi-1", 3600));
    assert_eq!(client.invite(Duration::MAX).unwrap().expires, u64::from(u32::MAX));
    client.join("okapi-1").unwrap();
    client.leave(true).unwrap();
    client.give(1 << 40).unwrap();
    client.wait_until_safe().unwrap();
    assert_eq!(world.lock().unwrap().orders, ["join okapi-1", "leave true", "give 1099511627776", "safe"]);
}

/// A status, a size or a wait may be asked again over a new link; joining and leaving are never done twice.
#[test]
fn what_may_be_repeated_is_and_nothing_else() {
    for seed in 0..20 {
        let world = world(512);
        let client = cut(&world, seed, 400, 5);
        for _ in 0..8 {
            client.group_status().unwrap();
            client.give(5).unwrap();
            client.wait_until_safe().unwrap();
        }
        let _ = client.join("okapi-1");
        let joins = |orders: &[String]| orders.iter().filter(|order| order.starts_with("join")).count();
        assert!(joins(&world.lock().unwrap().orders) <= 1);
    }
}
