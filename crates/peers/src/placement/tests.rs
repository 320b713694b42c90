use super::*;

fn places(capacities: &[u64]) -> Vec<Place> {
    let place = |(at, &capacity): (usize, &u64)| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(at as u64).to_be_bytes());
        Place { node: NodeId(id), owner: MemberId(id), site: at as u64, capacity }
    };
    capacities.iter().enumerate().map(place).collect()
}

#[test]
fn what_nodes_hold_follows_the_level() {
    let places = places(&[1000, 2000, 4000, 4000, 12000]);
    let map = Map::new(&places, &Digest([1; 32]), Shape::OneOfThree);
    let mut held = [0; 5];
    for group in 0..GROUPS {
        for writer in &places {
            let holders = map.holders(group, &writer.owner, &writer.node);
            assert_eq!(holders.len(), 3);
            assert!(!holders.contains(&writer.node));
            for (at, place) in places.iter().enumerate() {
                held[at] += usize::from(holders.contains(&place.node));
            }
        }
    }
    // 5000 segments fit, and 5 writers of 1024 groups make 5120.
    for (held, fair) in held.into_iter().zip([1024, 2048, 4096, 4096, 4096_usize]) {
        assert!(held.abs_diff(fair) <= fair / 50, "{held} shards where {fair} are fair");
    }
}
