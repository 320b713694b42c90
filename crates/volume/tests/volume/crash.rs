//! Whoever makes or changes disks dies at any moment.

use crate::story::{Deed, Models, compare, draw, foretell, perform};
use crate::world::{Dice, World, content};
use okapi_volume::{Access, Disks};

/// A few disks that are built on one another.
fn begin(world: &World, dice: &mut Dice) -> (Disks, Models) {
    let disks = world.disks();
    let mut models = Models::new();
    let mut number = 0;
    while models.len() < 4 || number < 30 {
        let deed = draw(dice, &models, number);
        if let Some(after) = foretell(&models, &deed) {
            perform(&disks, &deed).unwrap();
            models = after;
        }
        number += 1;
    }
    (disks, models)
}

/// Away with all disks.
fn clear(world: &World) {
    let disks = world.disks();
    for disk in disks.list(false).unwrap().into_iter().filter(|disk| disk.parent.is_none()) {
        disks.remove(&disk.head.name, true).unwrap();
    }
}

/// Something that takes more than one write of data.
fn draw_deed(dice: &mut Dice, models: &Models) -> Deed {
    loop {
        let deed = draw(dice, models, 1000);
        let is_write = matches!(deed, Deed::Write(..) | Deed::Zero(..));
        if !is_write && foretell(models, &deed).is_some() {
            return deed;
        }
    }
}

#[test]
fn what_a_crash_leaves_is_as_before_or_as_after() {
    let (mut cut, mut before_count, mut after_count) = (0, 0, 0);
    let world = World::new();
    for seed in 0..70 {
        clear(&world);
        let mut dice = Dice::new(seed + 1);
        let (disks, before) = begin(&world, &mut dice);
        drop(disks);
        let deed = draw_deed(&mut dice, &before);
        let after = foretell(&before, &deed).unwrap();
        let most = match &deed {
            Deed::Import(_, bytes, _) => 2_000 + bytes.len() as u64,
            Deed::Commit(name) | Deed::Flatten(name) => 3_000 + before[name].bytes.len() as u64,
            _ => 2_500,
        };
        let left = i64::try_from(300 + dice.below(most)).unwrap();
        let what = format!("seed {seed}, {left} bytes, {deed:.60?}");
        let died = match Disks::open(&world.client_cut_after(left), "disks", None, 0) {
            Ok(disks) => perform(&disks, &deed).is_err(),
            Err(_) => true,
        };
        world.bury_holders();
        let disks = world.disks();
        cut += usize::from(died);
        if !died {
            compare(&disks, &after, &what);
            continue;
        }
        let listed: Vec<String> = disks.list(false).unwrap().into_iter().map(|disk| disk.head.name).collect();
        let names = |models: &Models| models.keys().cloned().collect::<Vec<_>>();
        if let Deed::Commit(name) = &deed {
            // The parent may be anything in between: only this disk shows it.
            assert_eq!(listed, names(&before), "{what}");
            assert!(content(&disks, name) == before[name].bytes, "{what}");
            perform(&disks, &deed).unwrap();
            compare(&disks, &after, &what);
            continue;
        }
        let is_done = match &deed {
            Deed::Resize(name, size) => disks.find(name).unwrap().size == *size,
            Deed::Flatten(name) => disks.find(name).unwrap().parent.is_none(),
            _ => listed == names(&after),
        };
        after_count += usize::from(is_done);
        before_count += usize::from(!is_done);
        compare(&disks, if is_done { &after } else { &before }, &what);
        if !is_done {
            perform(&disks, &deed).unwrap_or_else(|error| panic!("{what}: {error}"));
            compare(&disks, &after, &what);
        }
    }
    assert!(cut > 35 && before_count > 18 && after_count > 3, "{cut} died, {before_count} before, {after_count} after");
}

#[test]
fn of_many_clones_there_are_all_or_none() {
    let mut seen = [false; 2];
    let world = World::new();
    for left in (600..40_000).step_by(1300) {
        clear(&world);
        let disks = world.disks();
        disks.make(&okapi_volume::NewDisk::empty("base", 1 << 20)).unwrap();
        let names: Vec<String> = (0..50).map(|number| format!("clone-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let identities: Vec<(usize, u64, &[u8])> =
            names.iter().enumerate().map(|(at, name)| (at, 4096, name.as_bytes())).collect();
        if let Ok(mortal) = Disks::open(&world.client_cut_after(left), "disks", None, 0) {
            let _ = mortal.clone_with("base", &names, &identities);
        }
        world.bury_holders();
        let disks = world.disks();
        let count = disks.list(false).unwrap().len();
        assert!(count == 1 || count == 51, "{count} after {left} bytes");
        seen[usize::from(count == 51)] = true;
        if count == 1 {
            assert_eq!(world.blocks(), (1, 0), "after {left} bytes");
            disks.clone_with("base", &names, &identities).unwrap();
        }
        let disk = disks.disk("clone-7", Access::Read).unwrap();
        let mut bytes = [0; 9];
        disk.read_at(4096, &mut bytes).unwrap();
        assert_eq!(&bytes, b"clone-7\0\0");
    }
    assert_eq!(seen, [true; 2]);
}
