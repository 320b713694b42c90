use super::*;
use crate::pretend::Dice;
use alloc::string::ToString;
use okapi_seal::Hasher;
use trial::{Held, Mix, SEED, fill_with_replacements, hash_order, map_order, moved};

mod trial;

fn mixes() -> [Mix; 4] {
    [Mix::friends(), Mix::homelab(), Mix::mixed("100 mixed", 100), Mix::clustered("100 of 40 owners", 100)]
}

/// Some group: 4 to 40 nodes, sizes over a factor of 32, some owners with several nodes, some sites with several owners.
fn random(dice: &mut Dice) -> Mix {
    let count = 4 + dice.below(37);
    let capacities: Vec<u64> = (0..count).map(|_| 500 << dice.below(6)).collect();
    let mut mix = Mix::new("random", &capacities);
    if dice.below(2) == 0 {
        for at in 4..mix.places.len() {
            if dice.below(4) == 0 {
                mix.places[at].owner = mix.places[at - 1].owner;
            }
            if dice.below(3) == 0 {
                mix.places[at].site = mix.places[at - 1].site;
            }
        }
    }
    mix
}

#[test]
fn disks_fill_up_together_before_a_write_is_refused() {
    for mix in mixes() {
        let map = Map::new(&mix.places, &SEED, mix.shape());
        let placed = fill_with_replacements(&mix, 1000, map_order(&mix, &map));
        assert!(placed >= 0.94, "{}: {placed} of the optimum", mix.name);
        let of_any = placed * mix.optimum_with_others() / mix.optimum();
        // In a small group much of that would have to lie with its own owner.
        let least = if mix.places.len() < 100 { 0.8 } else { 0.94 };
        assert!(of_any >= least, "{}: {of_any} of what fits if nobody minds whose it is", mix.name);
        let hashed = fill_with_replacements(&mix, 1000, hash_order(&mix));
        assert!(hashed < placed - 0.08, "{}: hashing alone is as good, {hashed}", mix.name);
        let (first_full, hashed) =
            (Held::by_map(&mix, &map, 12.min(mix.places.len())), Held::by_hashing(&mix, 12.min(mix.places.len())));
        let (first_full, hashed) = (first_full.fill(&mix), hashed.fill(&mix));
        assert!(first_full > 0.75 && (0.5..0.87).contains(&hashed), "{}: {first_full}, hashing {hashed}", mix.name);
    }
}

#[test]
fn disks_of_random_groups_fill_up_together() {
    // Where one owner has as much as many others together, its own last writes find the others full: see the note.
    let mut dice = Dice(1);
    let (mut sum, mut least, mut sum_hashed) = (0.0, 1.0_f64, 0.0);
    for _ in 0..24 {
        let mix = random(&mut dice);
        let map = Map::new(&mix.places, &SEED, mix.shape());
        let placed = fill_with_replacements(&mix, 500, map_order(&mix, &map));
        sum += placed / 24.0;
        least = least.min(placed);
        sum_hashed += fill_with_replacements(&mix, 500, hash_order(&mix)) / 24.0;
    }
    assert!(sum >= 0.94 && least >= 0.7, "{sum} of the optimum, at least {least}");
    assert!(sum_hashed < sum - 0.1, "hashing alone reaches {sum_hashed}");
}

#[test]
fn little_more_moves_than_must() {
    for mix in mixes() {
        for at in mix.by_size() {
            let times = moved(&mix, at);
            assert!(times <= 1.3, "{}: {times} for {:?}", mix.name, mix.places[at]);
        }
    }
}

#[test]
fn what_nodes_hold_follows_the_level() {
    let mix = Mix::friends();
    let held = Held::by_map(&mix, &Map::new(&mix.places, &SEED, Shape::OneOfThree), 5);
    // 5000 segments fit, and 5 writers of 1024 groups make 5120.
    for (at, fair) in [1024, 2048, 4096, 4096, 4096_usize].into_iter().enumerate() {
        let count = held.0.iter().filter(|holders| holders.contains(&at)).count();
        assert!(count.abs_diff(fair) <= fair / 50, "{count} shards where {fair} are fair");
    }
}

/// Everything a map says of some writers.
fn all_of(map: &Map, writers: &[Place]) -> Vec<Vec<NodeId>> {
    let of = |group: u16| writers.iter().map(move |place| map.holders(group, &place.owner, &place.node));
    (0..GROUPS).flat_map(of).collect()
}

#[test]
fn the_order_of_places_changes_nothing() {
    let mut dice = Dice(2);
    for _ in 0..10 {
        let mix = random(&mut dice);
        let mut shuffled = mix.places.clone();
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, dice.below(at as u64 + 1) as usize);
        }
        let maps =
            [&mix.places, &shuffled].map(|places| all_of(&Map::new(places, &SEED, mix.shape()), &mix.places[..3]));
        assert_eq!(maps[0], maps[1]);
        let other = all_of(&Map::new(&mix.places, &Digest([2; 32]), mix.shape()), &mix.places[..3]);
        assert_ne!(maps[0], other, "another seed is another map");
    }
}

#[test]
fn the_map_is_for_ever() {
    let digest = |mix: Mix| {
        let holders = all_of(&Map::new(&mix.places, &SEED, mix.shape()), &mix.places);
        let bytes: Vec<u8> = holders.into_iter().flatten().flat_map(|node| node.0).collect();
        Hasher::new("okapi test: map").add(&bytes).digest().to_string()
    };
    let digests = [Mix::friends(), Mix::homelab(), Mix::clustered("", 60)].map(digest);
    assert_eq!(
        digests,
        [
            "713213b649f14b4541c2c55cf0542b02149274d467085d790b85f1768d124517",
            "491661351d3f6d5d7591fbf9506aaa6de08b7b939c9b6cb7aec04db199048558",
            "9b7d7cd1134713483bd736ff7036c941168f60ee4aa87eddcaafde768ccae83e",
        ]
    );
}

#[test]
fn owners_and_sites_are_kept_apart() {
    // 40 owners with up to three nodes each at 10 sites with 4 owners: 24 shards with 24 owners, three to a site.
    let mix = Mix::clustered("", 100);
    let map = Map::new(&mix.places, &SEED, Shape::EightOfTwentyFour);
    let place = |node: &NodeId| mix.places.iter().find(|place| place.node == *node).unwrap();
    for writer in mix.places.iter().step_by(9) {
        for group in (0..GROUPS).step_by(3) {
            let holders = map.holders(group, &writer.owner, &writer.node);
            let owners: BTreeSet<MemberId> = holders.iter().map(|node| place(node).owner).collect();
            assert_eq!(owners.len(), 24);
            assert!(!owners.contains(&writer.owner));
            let most = (0..10).map(|site| holders.iter().filter(|node| place(node).site == site).count()).max();
            assert!(most <= Some(4), "{most:?} at one site");
        }
    }
    // Twelve sites for twelve shards: one each, if room allows.
    let mut even = Mix::new("", &[1000; 48]);
    even.places.iter_mut().zip(0..).for_each(|(place, at)| place.site = at % 16);
    let map = Map::new(&even.places, &SEED, Shape::FourOfTwelve);
    for holders in all_of(&map, &even.places[..4]) {
        let at = |node: &NodeId| even.places.iter().find(|place| place.node == *node).unwrap().site;
        assert_eq!(holders.iter().map(at).collect::<BTreeSet<u64>>().len(), 12);
    }
}

#[test]
fn in_a_small_group_the_own_half_comes_first_and_later_not_at_all() {
    for count in 1..8 {
        let mix = Mix::new("", &[1000; 7][..count]);
        let shape = mix.shape();
        let map = Map::new(&mix.places, &SEED, shape);
        for (at, holders) in all_of(&map, &mix.places).into_iter().enumerate() {
            let writer = mix.places[at % count].node;
            assert_eq!(holders.len(), shape.n());
            assert_eq!(holders.iter().collect::<BTreeSet<_>>().len(), holders.len(), "none twice");
            assert_eq!(holders.contains(&writer), count < 4);
            assert!(count >= 4 || holders[0] == writer);
        }
        let reach = map.reach(&mix.places[0].owner, &mix.places[0].node);
        assert_eq!(reach.owners, if count < 4 { count } else { count - 1 });
    }
    let shapes: Vec<Shape> =
        [1, 2, 3, 4, 6, 7, 12, 13, 24, 25].into_iter().map(|count| Mix::mixed("", count).shape()).collect();
    use Shape::{EightOfTwentyFour, FourOfTwelve, OneOfOne, OneOfThree, OneOfTwo, TwoOfSix};
    assert_eq!(
        shapes,
        [
            OneOfOne,
            OneOfTwo,
            OneOfThree,
            OneOfThree,
            OneOfThree,
            TwoOfSix,
            TwoOfSix,
            FourOfTwelve,
            FourOfTwelve,
            EightOfTwentyFour
        ]
    );
}

#[test]
fn who_has_no_room_is_never_chosen() {
    let mut mix = Mix::homelab();
    mix.places[3].capacity = 0;
    let leaving = mix.places[3].node;
    let map = Map::new(&mix.places, &SEED, mix.shape());
    for holders in all_of(&map, &mix.places) {
        assert!(!holders.contains(&leaving));
    }
    assert!(map.replacement(7, &mix.places[0].owner, &mix.places[0].node, &[]).all(|node| node != leaving));
}

#[test]
fn replacements_name_every_other_node_once_new_owners_first() {
    let mix = Mix::clustered("", 60);
    let map = Map::new(&mix.places, &SEED, mix.shape());
    let owner_of = |node: &NodeId| mix.places.iter().find(|place| place.node == *node).unwrap().owner;
    for group in (0..GROUPS).step_by(101) {
        let writer = &mix.places[usize::from(group) % 60];
        let holders = map.holders(group, &writer.owner, &writer.node);
        let taken = &holders[1..];
        let next: Vec<NodeId> = map.replacement(group, &writer.owner, &writer.node, taken).collect();
        let mut all: Vec<NodeId> = next.iter().chain(taken).copied().collect();
        all.sort_unstable();
        all.dedup();
        let others = mix.places.iter().filter(|place| place.owner != writer.owner).count();
        assert_eq!((all.len(), next.len()), (others, others - taken.len()), "each other node, once");
        let is_new = |node: &NodeId| !taken.iter().any(|other| owner_of(other) == owner_of(node));
        let first_old = next.iter().position(|node| !is_new(node)).unwrap_or(next.len());
        assert!(next[first_old..].iter().all(|node| !is_new(node)), "new owners come first");
    }
}
