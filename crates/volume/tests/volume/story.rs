//! Stories drawn from a seed, against vectors of bytes.

use crate::world::{Dice, World, content};
use okapi_volume::limits::{BASE_BLOCK, DIFF_BLOCK};
use okapi_volume::{Access, Content, Disks, DisksError, NewDisk};
use std::collections::BTreeMap;

/// What a disk must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) bytes: Vec<u8>,
    pub(crate) parent: Option<String>,
}

pub(crate) type Models = BTreeMap<String, Model>;

/// Something done to the disks.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Make(String, u64),
    Import(String, Vec<u8>, bool),
    Clone(String, Vec<String>),
    Snapshot(String, String),
    Write(String, u64, Vec<u8>),
    Zero(String, u64, u64),
    Resize(String, u64),
    Remove(String),
    RemoveAll(String),
    Commit(String),
    Flatten(String),
}

pub(crate) fn draw(dice: &mut Dice, models: &Models, number: usize) -> Deed {
    let new = format!("d{number}");
    let names: Vec<&String> = models.keys().collect();
    if names.is_empty() || (names.len() < 8 && dice.below(10) == 0) {
        let size = dice.below(500) * 512;
        return match dice.below(2) {
            0 => Deed::Make(new, size),
            _ => {
                let mut bytes = dice.bytes(size as usize);
                let hole = dice.below(size + 1) as usize;
                bytes[hole / 2..hole].fill(0);
                bytes.truncate(bytes.len().saturating_sub(dice.below(600) as usize));
                Deed::Import(new, bytes, dice.below(2) == 0)
            }
        };
    }
    let name = (*dice.one_of(&names)).clone();
    let size = models[&name].bytes.len() as u64;
    let (from, length) = {
        let from = dice.below(size + 1);
        let most = *dice.one_of(&[600, 9000, 200_000]);
        let length = (1 + dice.below(most)).min(size - from);
        // Guests write whole blocks, mostly.
        if dice.below(2) == 0 { (from - from % 4096, length - length % 4096) } else { (from, length) }
    };
    match dice.below(20) {
        0 => Deed::Clone(name, (0..=dice.below(3)).map(|at| format!("{new}c{at}")).collect()),
        1 => Deed::Snapshot(name, new),
        2 => Deed::Resize(name, dice.below(500) * 512),
        3 => Deed::Remove(name),
        4 if dice.below(4) == 0 => Deed::RemoveAll(name),
        5 => Deed::Commit(name),
        6 => Deed::Flatten(name),
        7..=10 => Deed::Zero(name, from, length.min(size - from)),
        _ => {
            let mut bytes = dice.bytes(length as usize);
            if dice.below(4) == 0 {
                bytes.fill(0);
            }
            Deed::Write(name, from, bytes)
        }
    }
}

/// What becomes of the model; nothing if the deed must be refused.
pub(crate) fn foretell(models: &Models, deed: &Deed) -> Option<Models> {
    let mut after = models.clone();
    let is_parent = |name: &String| models.values().any(|model| model.parent.as_ref() == Some(name));
    match deed {
        Deed::Make(name, size) => {
            after.insert(name.clone(), Model { bytes: vec![0; *size as usize], parent: None });
        }
        Deed::Import(name, bytes, _) => {
            let mut bytes = bytes.clone();
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            after.insert(name.clone(), Model { bytes, parent: None });
        }
        Deed::Clone(name, names) => {
            for clone in names {
                let model = Model { bytes: models[name].bytes.clone(), parent: Some(name.clone()) };
                after.insert(clone.clone(), model);
            }
        }
        Deed::RemoveAll(name) => {
            let mut doomed = vec![name.clone()];
            while let Some(name) = doomed.pop() {
                after.remove(&name);
                let children = models.iter().filter(|(_, model)| model.parent.as_ref() == Some(&name));
                doomed.extend(children.map(|(child, _)| child.clone()));
            }
        }
        Deed::Snapshot(name, _)
        | Deed::Resize(name, _)
        | Deed::Remove(name)
        | Deed::Commit(name)
        | Deed::Flatten(name)
            if is_parent(name) =>
        {
            return None;
        }
        Deed::Write(name, ..) | Deed::Zero(name, ..) if is_parent(name) => return None,
        Deed::Snapshot(name, snapshot) => {
            after.insert(snapshot.clone(), models[name].clone());
            after.get_mut(name)?.parent = Some(snapshot.clone());
        }
        Deed::Write(name, at, bytes) => {
            after.get_mut(name)?.bytes[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
        }
        Deed::Zero(name, at, length) => after.get_mut(name)?.bytes[*at as usize..(at + length) as usize].fill(0),
        Deed::Resize(name, size) => after.get_mut(name)?.bytes.resize(*size as usize, 0),
        Deed::Remove(name) => drop(after.remove(name)),
        Deed::Commit(name) => {
            let parent = models[name].parent.as_ref()?;
            if models.iter().any(|(other, model)| other != name && model.parent.as_ref() == Some(parent)) {
                return None;
            }
            let bytes = &models[name].bytes;
            let target = &mut after.get_mut(parent)?.bytes;
            target.resize(target.len().max(bytes.len()), 0);
            target[..bytes.len()].copy_from_slice(bytes);
        }
        Deed::Flatten(name) => {
            models[name].parent.as_ref()?;
            after.get_mut(name)?.parent = None;
        }
    }
    Some(after)
}

pub(crate) fn perform(disks: &Disks, deed: &Deed) -> Result<(), DisksError> {
    let write = |name: &String| disks.disk(name, Access::Write);
    match deed {
        Deed::Make(name, size) => disks.make(&NewDisk::empty(name, *size)).map(drop),
        Deed::Import(name, bytes, small) => {
            let block_size = if *small { DIFF_BLOCK } else { BASE_BLOCK };
            let new = NewDisk { block_size, ..NewDisk::base(name) };
            disks.import(&new, &mut &bytes[..], &mut |_| ()).map(drop)
        }
        Deed::Clone(name, names) => {
            disks.clone_disk(name, &names.iter().map(String::as_str).collect::<Vec<_>>()).map(drop)
        }
        Deed::Snapshot(name, snapshot) => disks.snapshot(name, snapshot).map(drop),
        Deed::Write(name, at, bytes) => Ok(write(name)?.write_at(*at, bytes, false)?),
        Deed::Zero(name, at, length) => Ok(write(name)?.write_zeroes(*at, *length, false)?),
        Deed::Resize(name, size) => disks.resize(name, *size).map(drop),
        Deed::Remove(name) => disks.remove(name, false).map(drop),
        Deed::RemoveAll(name) => disks.remove(name, true).map(drop),
        Deed::Commit(name) => disks.commit(name, &mut |_| ()).map(drop),
        Deed::Flatten(name) => disks.flatten(name, &mut |_| ()).map(drop),
    }
}

pub(crate) fn compare(disks: &Disks, models: &Models, what: &dyn std::fmt::Debug) {
    let listed = disks.list(false).unwrap();
    let found: Models = listed
        .into_iter()
        .map(|disk| (disk.head.name.clone(), Model { bytes: content(disks, &disk.head.name), parent: disk.parent }))
        .collect();
    for (name, model) in models {
        let found = found.get(name).unwrap_or_else(|| panic!("{what:?}: no `{name}`"));
        assert_eq!((&found.parent, found.bytes.len()), (&model.parent, model.bytes.len()), "{what:?}: `{name}`");
        let differ = found.bytes.iter().zip(&model.bytes).position(|(found, model)| found != model);
        assert_eq!(differ, None, "{what:?}: `{name}` differs at this byte");
    }
    assert_eq!(found.len(), models.len(), "{what:?}: {:?}", found.keys());
}

/// Whatever is said to be zeros is, and going through a disk in parts gives what it shows.
fn check_status(disks: &Disks, name: &str, model: &Model) {
    let disk = disks.disk(name, Access::Read).unwrap();
    let mut at = 0;
    while at < disk.size() {
        let (content, length) = disk.status(at, disk.size() - at).unwrap();
        assert!(length > 0);
        let bytes = &model.bytes[at as usize..(at + length) as usize];
        assert!(content == Content::Data || bytes.iter().all(|byte| *byte == 0), "{name} at {at}+{length}");
        at += length;
    }
    let mut whole = Vec::new();
    disk.each_part(&mut |at, part| {
        assert_eq!(at, whole.len() as u64);
        match part {
            okapi_volume::Part::Data(bytes) => whole.extend_from_slice(bytes),
            okapi_volume::Part::Zeroes(count) => whole.resize(whole.len() + count as usize, 0),
        }
        Ok(())
    })
    .unwrap();
    assert!(whole == model.bytes, "{name}");
}

#[test]
fn disks_are_what_vectors_are() {
    let world = World::new();
    for seed in 0..8 {
        let mut dice = Dice::new(seed);
        let mut disks = world.disks();
        let mut models = Models::new();
        for number in 0..150 {
            let deed = draw(&mut dice, &models, number);
            let foretold = foretell(&models, &deed);
            let done = perform(&disks, &deed);
            let what = (seed, number, format!("{deed:.60?}"));
            match (foretold, done) {
                (Some(after), Ok(())) => models = after,
                (None, Err(_)) => {}
                (Some(_), Err(error)) => panic!("{what:?}: {error}"),
                (None, Ok(())) => panic!("{what:?} was to be refused"),
            }
            if number % 10 == 0 {
                compare(&disks, &models, &what);
                models.iter().for_each(|(name, model)| check_status(&disks, name, model));
            }
            if dice.below(20) == 0 {
                disks = world.disks_with_cache(*dice.one_of(&[0, 200_000, 1 << 20]));
            }
        }
        compare(&disks, &models, &seed);
        let all: Vec<String> =
            models.into_iter().filter(|(_, model)| model.parent.is_none()).map(|(name, _)| name).collect();
        all.iter().for_each(|name| drop(disks.remove(name, true).unwrap()));
        drop(disks);
        assert_eq!(world.blocks(), (0, 0), "seed {seed}: nothing is left of disks that are gone");
    }
}

#[test]
fn writers_of_different_blocks_do_not_meet() {
    let world = World::new();
    let disks = world.disks();
    let base: Vec<u8> = Dice::new(5).bytes(400 * 1024);
    disks.import(&NewDisk::base("base"), &mut &base[..], &mut |_| ()).unwrap();
    disks.clone_disk("base", &["clone"]).unwrap();
    let disk = disks.disk("clone", Access::Write).unwrap();
    // Sectors, so that eight writers share each block.
    std::thread::scope(|scope| {
        for writer in 0..8u64 {
            let disk = &disk;
            scope.spawn(move || {
                for block in 0..100u64 {
                    let at = block * 4096 + writer * 512;
                    match (block + writer) % 3 {
                        0 => disk.write_zeroes(at, 512, false).unwrap(),
                        1 => disk.write_at(at, &[writer as u8 + 1; 512], false).unwrap(),
                        _ => {}
                    }
                }
            });
        }
    });
    let mut expected = base;
    for (sector, bytes) in expected.chunks_mut(512).enumerate() {
        let (block, writer) = (sector as u64 / 8, sector as u64 % 8);
        match (block + writer) % 3 {
            0 => bytes.fill(0),
            1 => bytes.fill(writer as u8 + 1),
            _ => {}
        }
    }
    let mut found = vec![0; expected.len()];
    disk.read_at(0, &mut found).unwrap();
    assert!(found == expected);
    drop(disk);
    assert!(content(&world.disks(), "clone") == expected);
}
