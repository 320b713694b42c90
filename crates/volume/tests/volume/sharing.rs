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
