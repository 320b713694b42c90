//! Who may do what at the same time, and what many clones share.

use crate::world::{Dice, World, content};
use okapi_client::{BlockSize, Durability, GridCreate};
use okapi_volume::limits::{CACHE_DEFAULT, DISKS_MAX};
use okapi_volume::{Access, DiskError, Disks, DisksError, NewDisk};

#[test]
fn one_writes_and_the_others_are_told_who() {
    let world = World::new();
    let (ours, theirs) = (world.disks(), world.disks());
    ours.make(&NewDisk::empty("a", 8192)).unwrap();
    let disk = ours.disk("a", Access::Write).unwrap();
    for refused in [
        theirs.disk("a", Access::Write).map(drop),
        ours.disk("a", Access::Write).map(drop),
        theirs.clone_disk("a", &["b"]).map(drop),
        theirs.snapshot("a", "b").map(drop),
        theirs.resize("a", 4096).map(drop),
        theirs.remove("a", false).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, DisksError::InUse { .. }), "{error}");
        let us = format!("is in use by process {} on ", std::process::id());
        assert!(error.to_string().contains(&us), "{error}");
    }
    disk.write_at(0, b"ours", false).unwrap();
    drop(disk);
    theirs.disk("a", Access::Write).unwrap().write_at(4, b"theirs", false).unwrap();
    assert_eq!(&content(&ours, "a")[..10], b"ourstheirs");
    let reader = ours.disk("a", Access::Read).unwrap();
    assert!(matches!(reader.write_at(0, b"x", false), Err(DiskError::ReadOnly { .. })));
    assert!(matches!(reader.read_at(8190, &mut [0; 3]), Err(DiskError::PastEnd { .. })));
    assert!(matches!(reader.read_at(u64::MAX, &mut [0; 3]), Err(DiskError::PastEnd { .. })));
}

#[test]
fn whoever_was_taken_over_writes_no_more() {
    let world = World::new();
    let (ours, theirs) = (world.disks(), world.disks());
    ours.make(&NewDisk::empty("a", 8192)).unwrap();
    let before = ours.disk("a", Access::Write).unwrap();
    world.bury_holders();
    let after = theirs.disk("a", Access::Write).unwrap();
    // As the clock would, in half a minute.
    ours.renew_all().unwrap();
    assert!(matches!(before.write_at(0, b"x", false), Err(DiskError::Fenced { .. })));
    after.write_at(0, b"y", false).unwrap();
    drop(before);
    theirs.renew_all().unwrap();
    after.write_at(1, b"y", false).expect("what was given back was not this lease");
}

#[test]
fn parents_are_not_written_to() {
    let world = World::new();
    let disks = world.disks();
    disks.make(&NewDisk::empty("a", 8192)).unwrap();
    disks.clone_disk("a", &["b", "c"]).unwrap();
    disks.clone_disk("b", &["d"]).unwrap();
    let text = |result: Result<(), DisksError>| result.unwrap_err().to_string();
    let said = text(disks.disk("a", Access::Write).map(drop));
    assert_eq!(said, "disk `a` has children, and what they show would change: `b`, `c`");
    assert_eq!(text(disks.remove("a", false).map(drop)), said);
    let said = text(disks.commit("c", &mut |_| ()).map(drop));
    assert_eq!(said, "the parent `a` of disk `c` has other children, which would change: `b`");
    assert!(text(disks.clone_disk("a", &["x", "b"]).map(drop)).starts_with("there is a disk `b` already"));
    assert!(text(disks.clone_disk("a", &["x", "x"]).map(drop)).starts_with("there is a disk `x` already"));
    assert!(text(disks.clone_disk("no", &["x"]).map(drop)).starts_with("there is no disk `no`"));
    assert!(text(disks.make(&NewDisk::empty(".x", 0)).map(drop)).starts_with("`.x` is no name for a disk"));
    assert!(text(disks.make(&NewDisk::empty("x", 100)).map(drop)).starts_with("a disk of 100 bytes cannot be"));
    assert!(text(disks.make(&NewDisk::empty("x", (1 << 40) + 512)).map(drop)).contains("at most 1099511627776"));
    assert_eq!(disks.remove("a", true).unwrap(), ["d", "c", "b", "a"]);
    assert!(disks.list(true).unwrap().is_empty());
}

#[test]
fn whoever_saw_the_directory_long_ago_is_told_of_children_all_the_same() {
    let world = World::new();
    let (ours, theirs) = (world.disks(), world.disks());
    ours.make(&NewDisk::empty("a", 8192)).unwrap();
    theirs.find("a").unwrap();
    let refused = || matches!(theirs.disk("a", Access::Write), Err(DisksError::HasChildren { .. }));
    ours.clone_disk("a", &["b"]).unwrap();
    assert!(refused(), "its head has changed");
    ours.remove("b", false).unwrap();
    theirs.find("a").unwrap();
    ours.clone_disk("a", &["c"]).unwrap();
    assert!(refused(), "its head has not: it has been a parent all the time");
    ours.remove("c", false).unwrap();
    drop(theirs.disk("a", Access::Write).unwrap());
    ours.clone_disk("a", &["d"]).unwrap();
    assert!(refused());
}

#[test]
fn several_disks_opened_together_are_what_each_is() {
    let world = World::new();
    let disks = world.disks();
    let names: Vec<String> = (0..40).map(|number| format!("m{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    disks.make(&NewDisk::empty("base", 4 << 20)).unwrap();
    disks.clone_disk("base", &names).unwrap();
    let mut dice = Dice::new(5);
    let mut models = vec![vec![0; 4 << 20]; names.len()];
    for (at, (name, model)) in names.iter().zip(&mut models).enumerate() {
        let disk = disks.disk(name, Access::Write).unwrap();
        // Some have none of their own, most a few, and two more than a page of a list: what follows those is asked for alone.
        let blocks = if matches!(at, 11 | 30) { 900 } else { dice.below(4) };
        for _ in 0..blocks {
            let (block, byte) = (dice.below(1024) as usize * 4096, dice.below(256) as u8);
            if dice.below(8) == 0 {
                disk.write_zeroes(block as u64, 4096, false).unwrap();
                model[block..block + 4096].fill(0);
            } else {
                disk.write_at(block as u64, &[byte; 4096], false).unwrap();
                model[block..block + 4096].fill(byte);
            }
        }
    }
    // In any order, and not all of them.
    let chosen: Vec<usize> = (0..names.len()).rev().filter(|at| at % 7 != 3).collect();
    let together: Vec<&str> = chosen.iter().map(|at| names[*at]).collect();
    for fresh in [disks, world.disks()] {
        let opened = fresh.disks(&together, Access::Write).unwrap();
        for (disk, at) in opened.iter().zip(&chosen) {
            let mut found = vec![1; 4 << 20];
            disk.read_at(0, &mut found).unwrap();
            assert!(disk.name() == names[*at] && found == models[*at], "{}", disk.name());
        }
        let refused = fresh.disks(&["m3", together[0]], Access::Write).map(drop).unwrap_err();
        assert!(matches!(refused, DisksError::InUse { .. }), "{refused}");
        drop(fresh.disk("m3", Access::Write).expect("all or none"));
    }
}

#[test]
fn many_clones_of_one_image_share_one_copy_in_memory() {
    const SIZE: usize = 4 << 20;
    let world = World::new();
    let disks = world.disks_with_cache(CACHE_DEFAULT);
    let base = Dice::new(1).bytes(SIZE);
    disks.import(&NewDisk::base("base"), &mut &base[..], &mut |_| ()).unwrap();
    let names: Vec<String> = (1..255).map(|number| format!("vm-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let identities: Vec<(usize, u64, &[u8])> =
        names.iter().enumerate().map(|(at, name)| (at, 8192, name.as_bytes())).collect();
    disks.clone_with("base", &names, &identities).unwrap();
    assert_eq!(world.blocks(), (255, 64 + 254), "a head and a block each");
    let open = disks.disks(&names, Access::Write).unwrap();
    for (disk, name) in open.iter().zip(&names) {
        let mut bytes = vec![0; SIZE];
        disk.read_at(0, &mut bytes).unwrap();
        let end = 8192 + name.len();
        assert!(bytes[..8192] == base[..8192] && bytes[end..] == base[end..], "all around is the parent's");
        assert_eq!(&bytes[8192..end], name.as_bytes());
    }
    assert!(disks.cached() <= SIZE + 64 * 64, "{}", disks.cached());
}

#[test]
fn grids_that_will_not_do_are_refused() {
    let world = World::new();
    let client = world.client();
    let create = |name: &str, block_size| {
        let block_size = BlockSize::new(block_size).unwrap();
        let durability = Durability::Memory;
        let create = GridCreate { name: name.to_owned(), block_size, durability, public: false, engine: String::new() };
        client.create_grid(&create).unwrap();
    };
    create("small", 4096);
    create("full", 65_536);
    client.grid("full", None).unwrap().write_record("r", "", None, &mut &b"x"[..], &mut |_| ()).unwrap();
    let text = |grid: &str| Disks::open(&client, grid, None, 0).map(drop).unwrap_err().to_string();
    assert!(text("small").starts_with("the grid `small` has blocks of 4096 bytes"));
    assert!(text("full").starts_with("the grid `full` has 1 records"));
    assert!(text("none").contains("grid `none`"));
    Disks::open_or_make(&client, "new", None, 0).unwrap().make(&NewDisk::empty("a", 512)).unwrap();
    // Blocks that nobody knows of are stepped around.
    let grid = client.grid("new", None).unwrap();
    grid.put(okapi_client::Index::new(2 << 28 | 77).unwrap(), b"whose").unwrap();
    grid.put(okapi_client::Index::MAX, b"whose").unwrap();
    let disks = Disks::open(&client, "new", None, 0).unwrap();
    assert_eq!(disks.make(&NewDisk::empty("b", 512)).unwrap().number.get(), 3);
    assert!(disks.find("b").unwrap().number.get() < DISKS_MAX);
}
