//! Pipelines.

use super::toy::Carrier;
use super::{bytes, connect, world};
use okapi_client::{Fault, GetAsk, Index, PutAsk, Status};

fn at(index: u64) -> Index {
    Index::new(index).unwrap()
}

#[test]
fn frames_are_answered_in_whatever_order_they_are_waited_for() {
    for carrier in [Carrier::Memory, Carrier::Unix] {
        let world = world(65_536);
        let grid = connect(&world, carrier).grid("main", None).unwrap();
        let mut pipeline = grid.pipeline().unwrap();
        assert_eq!(pipeline.wait_any(|_, _, _| ()).unwrap(), None);
        // Small payloads are copied, large ones are not; both kinds in one frame.
        let contents: Vec<Vec<u8>> = (0..16).map(|n| bytes(n, if n % 3 == 0 { 10 } else { 65_536 })).collect();
        let puts: Vec<(PutAsk, &[u8])> = contents
            .iter()
            .enumerate()
            .map(|(n, content)| (PutAsk::whole(at(n as u64), content, okapi_base::crc32c(content)), &**content))
            .collect();
        let tickets: Vec<_> = (0..8).map(|_| pipeline.submit_put(&puts, 0).unwrap()).collect();
        for ticket in tickets.into_iter().rev() {
            pipeline.wait(ticket, |_, outcome, _| assert_eq!(outcome.status, Status::Ok)).unwrap();
        }
        let asks: Vec<GetAsk> = (0..17).map(|n| GetAsk::whole(at(n))).collect();
        let mut tickets: Vec<_> = (0..8).map(|_| pipeline.submit_get(&asks).unwrap()).collect();
        assert_eq!(pipeline.in_flight(), 8);
        let mut waited = Vec::new();
        let mut check = |n: usize, outcome: okapi_client::Outcome, payload: &[u8]| match contents.get(n) {
            Some(content) => assert!(outcome.status.is_ok() && payload == content, "block {n}"),
            None => assert_eq!(outcome.status, Status::Absent),
        };
        waited.push(tickets.remove(5));
        pipeline.wait(waited[0], &mut check).unwrap();
        while let Some(ticket) = pipeline.wait_any(&mut check).unwrap() {
            waited.push(ticket);
        }
        assert_eq!((waited.len(), pipeline.in_flight()), (8, 0));
        tickets.retain(|ticket| !waited.contains(ticket));
        assert!(tickets.is_empty());
    }
}

#[test]
fn puts_larger_than_the_link_are_sent_while_answers_come_in() {
    // Neither end's buffers hold a fraction of this: whoever only sends waits for ever.
    let world = world(1 << 20);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    let content = bytes(1, 1 << 20);
    grid.put(at(0), &content).unwrap();
    let mut pipeline = grid.pipeline().unwrap();
    let put = (PutAsk::whole(at(1), &content, okapi_base::crc32c(&content)), &content[..]);
    let mut tickets = Vec::new();
    for _ in 0..5 {
        tickets.push(pipeline.submit_get(&[GetAsk::whole(at(0)); 7]).unwrap());
        tickets.push(pipeline.submit_put(&[put; 4], 0).unwrap());
    }
    for ticket in tickets {
        pipeline
            .wait(ticket, |_, outcome, payload| {
                assert_eq!(outcome.status, Status::Ok);
                assert!(payload.is_empty() || payload == content);
            })
            .unwrap();
    }
}

#[test]
fn limits_are_refused_and_harm_nothing() {
    let world = world(1 << 20);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    let mut pipeline = grid.pipeline().unwrap();
    let invalid = |result: Result<_, okapi_client::BlockError>| {
        let error = result.map(|_: okapi_client::Ticket| ()).unwrap_err();
        assert!(matches!(error.fault(), Fault::Invalid(_)), "{error}");
    };
    invalid(pipeline.submit_get(&[]));
    invalid(pipeline.submit_get(&[GetAsk::whole(at(1)); 1025]));
    let content = bytes(1, 1 << 20);
    let put = (PutAsk::whole(at(1), &content, okapi_base::crc32c(&content)), &content[..]);
    invalid(pipeline.submit_put(&[put; 16], 0));
    pipeline.submit_put(&[put; 15], 0).unwrap();
    let mut flying = 1;
    let refused = loop {
        match pipeline.submit_get(&[GetAsk::whole(at(1)); 7]) {
            Ok(_) => flying += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused.fault(), Fault::Invalid(_)), "{refused}");
    assert!((5..=10).contains(&flying), "{flying}");
    while pipeline.wait_any(|_, outcome, _| assert_eq!(outcome.status, Status::Ok)).unwrap().is_some() {
        flying -= 1;
    }
    assert_eq!(flying, 0);
}
