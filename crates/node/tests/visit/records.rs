//! Records and reservations.

use crate::conn::*;
use crate::toy::Toy;
use okapi_base::{Durability, Generation, GridId, crc32c};
use okapi_wire::flags::{RECORD, RELAXED};
use okapi_wire::message::*;
use okapi_wire::{Op, PutAsk, Run, Status};

const FIRST: u64 = 1 << 40;

fn runs(extents: &[Run]) -> Vec<(u64, u64)> {
    extents.iter().map(|run| (run.start.get() - FIRST, run.count)).collect()
}

fn names(conn: &mut Conn, grid: u32, prefix: &str, after: &str, limit: u32) -> (Vec<String>, bool) {
    let ask = RecordList { limit, prefix: prefix.into(), after: after.into() };
    let page: RecordPage = conn.ask(Op::RecordList, grid, &ask).message();
    (page.records.into_iter().map(|record| record.name).collect(), page.more)
}

#[test]
fn records_are_written_found_listed_renamed_and_removed() {
    for durability in Durability::ALL {
        let host = host(&Toy::default());
        let mut conn = Conn::owner(&host);
        assert_eq!(conn.create("a", 512, durability, false, "").status, Status::Ok);
        let grid = conn.open("a");
        let content: Vec<u8> = (0..1300).map(|at| (at / 7) as u8).collect();
        let info = conn.write_record(grid, "photos/1", &content, 512);
        assert_eq!((runs(&info.extents), info.modified), (vec![(0, 3)], 5));
        assert!(info.generation > Generation::ABSENT);
        assert_eq!(conn.read_record(grid, "photos/1"), Some((info.clone(), content.clone())));
        conn.write_record(grid, "photos/2", b"", 512);
        conn.write_record(grid, "photos", b"x", 512);
        conn.write_record(grid, "ä", b"y", 512);
        let all = ["photos", "photos/1", "photos/2", "ä"].map(String::from).to_vec();
        assert_eq!(names(&mut conn, grid, "", "", 9), (all.clone(), false));
        assert_eq!(names(&mut conn, grid, "", "", 2), (all[..2].to_vec(), true));
        assert_eq!(names(&mut conn, grid, "photos/", "photos/1", 9), (all[2..3].to_vec(), false));
        assert_eq!(names(&mut conn, grid, "photos/", "", 1), (all[1..2].to_vec(), true));
        assert_eq!(names(&mut conn, grid, "photos/", "z", 9), (vec![], false));
        assert_eq!(conn.rename(grid, "photos/1", "ä").status, Status::Exists);
        assert_eq!(conn.rename(grid, "none", "b").status, Status::UnknownRecord);
        assert_eq!(conn.rename(grid, "photos/1", "").status, Status::BadName);
        assert_eq!(conn.rename(grid, "photos/1", "b").status, Status::Ok);
        assert_eq!(conn.find(grid, "photos/1").status, Status::UnknownRecord);
        let renamed: RecordInfo = conn.find(grid, "b").message();
        assert_eq!((&renamed.extents, renamed.blake3), (&info.extents, info.blake3));
        assert!(renamed.generation > info.generation);
        assert_eq!(conn.remove(grid, "b", Some(info.generation)).status, Status::Stale);
        assert_eq!(conn.remove(grid, "none", None).status, Status::UnknownRecord);
        assert_eq!(conn.remove(grid, "b", Some(renamed.generation)).status, Status::Ok);
        host.settle();
        assert_eq!(conn.get(grid, FIRST).0, Status::Absent);
        let info: GridInfo = conn.bare(Op::GridStat, grid).message();
        assert_eq!((info.records, info.blocks), (3, 2), "{durability:?}");
        // What was freed is used again, the lowest first.
        assert_eq!(runs(&conn.write_record(grid, "c", &[3; 513], 512).extents), [(0, 2)]);
    }
}

#[test]
fn replacing_deletes_what_was_there_and_nothing_else() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    let id = conn.bare(Op::GridStat, grid).message::<GridInfo>().id;
    assert_eq!(conn.put(grid, 0, FIRST + 1, b"mine"), Status::Ok, "a user's own block");
    let old = conn.write_record(grid, "r", &[1; 1024], 512);
    assert_eq!(runs(&old.extents), [(0, 1), (2, 1)], "around the user's block");
    let new = conn.write_record(grid, "r", &[2; 600], 512);
    host.settle();
    let mut expected = indexes(&new.extents);
    expected.push(FIRST + 1);
    expected.sort_unstable();
    assert_eq!(toy.dump(id).into_keys().collect::<Vec<_>>(), expected);
    assert_eq!(toy.dump(id | 1 << 31).len(), 1, "one name, no marks");
    assert_eq!(conn.read_record(grid, "r").unwrap().1, [2; 600]);
    // The same blocks again, without one of them: that one goes.
    let mut less = record("r", &[2; 512], vec![Run { start: new.extents[0].start, count: 1 }]);
    assert_eq!(conn.bind(grid, 0, Some(old.generation), less.clone()).status, Status::Stale);
    assert_eq!(conn.bind(grid, 0, Some(Generation::ABSENT), less.clone()).status, Status::Stale);
    let bound = conn.bind(grid, 0, Some(new.generation), less.clone());
    less.generation = bound.message::<RecordBound>().generation;
    host.settle();
    assert_eq!(toy.dump(id).len(), 2);
    assert_eq!(conn.find(grid, "r").message::<RecordInfo>(), less);
}

#[test]
fn blocks_of_records_are_guarded() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let mut other = Conn::owner(&host);
    let grid = conn.grid("a");
    other.open("a");
    let info = conn.write_record(grid, "r", &[1; 700], 512);
    let [first, last] = indexes(&info.extents)[..] else { panic!("two blocks") };
    assert_eq!(conn.put(grid, 0, first, b"x"), Status::InRecord);
    assert_eq!(conn.put(grid, 0, first, b""), Status::InRecord);
    assert_eq!(conn.put(grid, RECORD, first, b"x"), Status::InRecord, "a shorter block breaks the record");
    assert_eq!(conn.put(grid, RECORD, first, b""), Status::InRecord);
    assert_eq!(conn.put(grid, RECORD, last, &[1; 189]), Status::InRecord);
    assert_eq!(conn.find(grid, "r").message::<RecordInfo>().blake3, info.blake3);
    let slice = |at, offset, bytes: &'static [u8]| (PutAsk::slice(index(at), offset, bytes, crc32c(bytes)), bytes);
    assert_eq!(conn.puts(grid, RECORD, &[slice(last, 187, b"xy")])[0].status, Status::PastBlock);
    assert_eq!(conn.puts(grid, 0, &[slice(last, 186, b"xy")])[0].status, Status::InRecord);
    assert_eq!(conn.puts(grid, RECORD, &[slice(last, 186, b"xy")])[0].status, Status::Ok);
    let edited: RecordInfo = conn.find(grid, "r").message();
    assert_eq!(edited.blake3, [0; 32]);
    assert!(edited.generation > info.generation);
    assert_eq!(conn.put(grid, RECORD, first, &[9; 512]), Status::Ok);
    assert_eq!(conn.find(grid, "r").message::<RecordInfo>(), edited, "there is nothing more to forget");
    // Reservations.
    let reserved: Reserved = conn.reserve(grid, 0, 2, None).message();
    let mine = indexes(&reserved.extents)[0];
    assert_eq!(conn.put(grid, 0, mine, b"x"), Status::InRecord);
    assert_eq!(other.put(grid, RECORD, mine, b"x"), Status::NoReservation);
    assert_eq!(conn.put(grid, RECORD | RELAXED, mine, b"x"), Status::Ok);
    assert_eq!(conn.put(grid, RECORD, FIRST + 999, b"x"), Status::NoReservation);
    let bind = record("s", &[1; 600], reserved.extents.clone());
    assert_eq!(other.bind(grid, reserved.lease, None, bind.clone()).status, Status::NoReservation);
    assert_eq!(conn.bind(grid, reserved.lease + 7, None, bind.clone()).status, Status::NoReservation);
    assert_eq!(conn.bind(grid, 0, None, bind.clone()).status, Status::NoReservation);
    let absent = conn.bind(grid, reserved.lease, None, bind.clone());
    assert_eq!((absent.status, absent.text.contains("is not there")), (Status::Absent, true));
    assert_eq!(conn.bind(grid, 0, None, record("s", &[1; 600], info.extents.clone())).status, Status::InRecord);
    assert_eq!(conn.reserve(grid, 0, 1, Some(mine)).status, Status::Exists);
    assert_eq!(conn.reserve(grid, 0, 1, Some(first)).status, Status::Exists);
    assert_eq!(conn.reserve(grid, 0, 0, None).status, Status::Malformed);
    assert_eq!(conn.reserve(grid, 0, 2, Some((1 << 48) - 1)).status, Status::BadIndex);
    assert_eq!(other.reserve(grid, reserved.lease, 1, None).status, Status::NoReservation);
    assert_eq!(other.ask(Op::RecordRelease, grid, &Lease { lease: reserved.lease }).status, Status::NoReservation);
    assert_eq!(conn.ask(Op::RecordRelease, grid, &Lease { lease: reserved.lease }).status, Status::Ok);
    host.settle();
    assert_eq!(conn.get(grid, mine).0, Status::Absent);
    assert_eq!(conn.put(grid, 0, mine, b"a user's"), Status::Ok);
    let exact: Reserved = conn.reserve(grid, 0, 3, Some(10)).message();
    assert_eq!((indexes(&exact.extents), conn.put(grid, 0, 11, b"x")), (vec![10, 11, 12], Status::InRecord));
    assert_eq!(conn.reserve(grid, 0, 1, Some(mine)).status, Status::Exists, "a user's block is there");
}

#[test]
fn records_that_make_no_sense_are_refused() {
    let toy = Toy::default();
    let mut settings = settings();
    settings.records_max = 2;
    let (host, _) = open(&toy, &settings);
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    for at in 0..4 {
        assert_eq!(conn.put(grid, 0, at, &[1; 512]), Status::Ok);
    }
    let run = |start, count| Run { start: index(start), count };
    let mut bind = |name: &str, length: u64, extents| {
        let record = RecordInfo { length, ..record(name, b"", extents) };
        conn.bind(grid, 0, None, record).status
    };
    assert_eq!(bind("a", 513, vec![run(0, 1)]), Status::Malformed);
    assert_eq!(bind("a", 512, vec![run(0, 2)]), Status::Malformed);
    assert_eq!(bind("a", 1024, vec![run(0, 1), run(0, 1)]), Status::Malformed);
    assert_eq!(bind("a", u64::MAX, vec![run(0, 1)]), Status::Malformed);
    assert_eq!(bind("", 0, vec![]), Status::BadName);
    assert_eq!(bind("a\nb", 0, vec![]), Status::BadName);
    assert_eq!(bind(&"a".repeat(1025), 0, vec![]), Status::TooLong);
    assert_eq!(bind("a", 1024, vec![run(3, 2)]), Status::Absent);
    assert_eq!(bind("a", 1000, vec![run(3, 1), run(0, 1)]), Status::Ok);
    assert_eq!(bind("b", 512, vec![run(0, 1)]), Status::InRecord);
    assert_eq!(bind("b", 512, vec![run(1, 1)]), Status::Ok);
    assert_eq!(bind("c", 0, vec![]), Status::Full, "there are as many as there may be");
    assert_eq!(bind("b", 0, vec![]), Status::Ok, "one may be replaced all the same");
    host.settle();
    assert_eq!(conn.get(grid, 1).0, Status::Absent);
    assert_eq!(conn.get(grid, 2).0, Status::Ok, "nobody's block stays");
}

#[test]
fn a_lease_grows_and_dies_with_its_connection() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    let id = conn.bare(Op::GridStat, grid).message::<GridInfo>().id;
    let first: Reserved = conn.reserve(grid, 0, 2, None).message();
    let second: Reserved = conn.reserve(grid, first.lease, 3, None).message();
    assert_eq!((second.lease, runs(&second.extents)), (first.lease, vec![(2, 3)]));
    for at in 0..5 {
        assert_eq!(conn.put(grid, RECORD | RELAXED, FIRST + at, &[4; 512]), Status::Ok);
    }
    let kept = record("kept", &[4; 1024], vec![Run { start: index(FIRST + 1), count: 2 }]);
    assert_eq!(conn.bind(grid, first.lease, None, kept).status, Status::Ok);
    let mut other = Conn::owner(&host);
    other.open("a");
    drop(conn);
    host.settle();
    assert_eq!(toy.dump(id).into_keys().collect::<Vec<_>>(), [FIRST + 1, FIRST + 2]);
    assert_eq!(toy.dump(id | 1 << 31).len(), 1, "one name, no mark");
    let again: Reserved = other.reserve(grid, 0, 1, None).message();
    assert_eq!(runs(&again.extents), [(0, 1)]);
    // A lease all bound is no more; giving it back is no mistake.
    assert_eq!(other.put(grid, RECORD, FIRST, b"x"), Status::Ok);
    assert_eq!(other.bind(grid, again.lease, None, record("x", b"x", again.extents)).status, Status::Ok);
    assert_eq!(other.ask(Op::RecordRelease, grid, &Lease { lease: again.lease }).status, Status::Ok);
}

#[test]
fn a_bind_that_fails_changes_nothing_and_is_answered_when_durable() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    let old = conn.write_record(grid, "r", &[1; 700], 512);
    assert_eq!(conn.put(grid, 0, 1, &[5; 512]), Status::Ok);
    let new = record("r", &[5; 512], vec![Run { start: index(1), count: 1 }]);
    for room in 0..2 {
        toy.0.lock().room = Some(room);
        assert_eq!(conn.bind(grid, 0, None, new.clone()).status, Status::Full);
        toy.0.lock().room = None;
        assert_eq!(conn.read_record(grid, "r").unwrap(), (old.clone(), vec![1; 700]));
    }
    toy.0.lock().manual = true;
    let request = conn.next();
    let fresh = RecordBind { lease: 0, expect: None, record: RecordInfo { name: "s".into(), ..new } };
    okapi_grid::ask::message(&mut conn.out, Op::RecordBind, request, grid, &fresh);
    assert!(!conn.has_reply(request));
    toy.commit();
    assert_eq!(conn.reply(request).status, Status::Ok);
    assert_eq!(conn.read_record(grid, "s").unwrap().1, [5; 512]);
}

#[test]
fn a_name_that_cannot_be_read_hides_no_other_and_deletes_nothing() {
    let toy = Toy::default();
    let id;
    {
        let host = host(&toy);
        let mut conn = Conn::owner(&host);
        let grid = conn.grid("a");
        id = conn.bare(Op::GridStat, grid).message::<GridInfo>().id;
        conn.write_record(grid, "good", &[1; 700], 512);
        conn.write_record(grid, "bad", &[2; 700], 512);
        let lost: Reserved = conn.reserve(grid, 0, 1, None).message();
        assert_eq!(conn.put(grid, RECORD, indexes(&lost.extents)[0], b"x"), Status::Ok);
        // Stopped before the blocks of the lease are deleted.
        host.close().unwrap();
    }
    let slots: Vec<u64> = toy.dump(id | 1 << 31).into_keys().collect();
    assert_eq!(slots.len(), 3);
    let before = toy.dump(id);
    let bad = toy.dump(id | 1 << 31).into_iter().find(|(_, bytes)| bytes.ends_with(b"bad")).unwrap().0;
    toy.0.lock().corrupted.insert((GridId(id | 1 << 31), index(bad)));
    let (host, opened) = open(&toy, &settings());
    assert_eq!((opened.records, opened.damaged, opened.recovered), (1, 1, 0));
    let mut conn = Conn::owner(&host);
    let grid = conn.open("a");
    assert_eq!(conn.read_record(grid, "good").unwrap().1, [1; 700]);
    assert_eq!(toy.dump(id), before);
    toy.0.lock().corrupted.clear();
    let (_, opened) = open(&toy, &settings());
    assert_eq!((opened.records, opened.damaged, opened.recovered), (2, 0, 1));
}
