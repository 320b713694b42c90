//! Records, written and read as streams.

use super::toy::Carrier;
use super::{bytes, connect, world};
use okapi_client::{Generation, Index, RecordError, Status};
use std::io::{Cursor, Read, Seek, SeekFrom, Write};

#[test]
fn records_of_every_length_come_back() {
    for carrier in [Carrier::Memory, Carrier::Unix] {
        let world = world(512);
        let grid = connect(&world, carrier).grid("main", None).unwrap();
        for (number, length) in [0, 1, 511, 512, 513, 70_000, 3 << 20].into_iter().enumerate() {
            for known in [Some(length as u64), None, Some(100)] {
                let (name, content) = (format!("r/{number}/{known:?}"), bytes(number as u64, length));
                let mut told = Vec::new();
                let record = grid
                    .write_record(&name, "text/plain", known, &mut Cursor::new(&content), &mut |count| told.push(count))
                    .unwrap();
                assert_eq!(told.last().copied().unwrap_or(0), length as u64);
                assert_eq!((record.length, record.blake3), (length as u64, *blake3::hash(&content).as_bytes()));
                let found = grid.find(&name).unwrap().unwrap();
                assert_eq!(
                    (&found.extents, found.generation, &*found.content_type),
                    (&record.extents, record.generation, "text/plain")
                );
                let mut back = Vec::new();
                let (info, count) = grid.read_record(&name, None, &mut back, &mut |_| ()).unwrap();
                assert_eq!((info.length, count, back == content), (length as u64, length as u64, true), "{name}");
            }
        }
        // Nothing stays set aside but what is bound.
        assert_eq!(world.lock().unwrap().reserved("main"), 0);
        assert_eq!(grid.records("r/5/").count(), 3);
        let names: Vec<String> = grid.records("").map(|record| record.unwrap().name).collect();
        assert_eq!(names.len(), 21);
        assert!(names.is_sorted());
    }
}

#[test]
fn ranges_and_seeks_read_what_they_should() {
    let world = world(512);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    let content = bytes(3, 300_000);
    grid.write_record("r", "", None, &mut &content[..], &mut |_| ()).unwrap();
    for range in [0..1, 511..513, 100_000..250_001, 299_999..400_000, 300_000..300_001, 5..5] {
        let mut back = Vec::new();
        let (_, count) = grid.read_record("r", Some(range.clone()), &mut back, &mut |_| ()).unwrap();
        let wanted = &content[range.start as usize..(range.end as usize).min(300_000)];
        assert!(count as usize == wanted.len() && back == wanted, "{range:?}");
    }
    let mut reader = grid.read("r").unwrap();
    let mut state = 12345u64;
    for step in 0..300 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) % 300_000;
        let length = ((state >> 20) % 9000) as usize;
        if step % 3 > 0 {
            assert_eq!(reader.seek(SeekFrom::Start(at)).unwrap(), at);
        }
        let here = reader.stream_position().unwrap() as usize;
        let mut into = Vec::new();
        reader.by_ref().take(length as u64).read_to_end(&mut into).unwrap();
        assert!(into == content[here..(here + length).min(300_000)], "step {step}: {length} bytes at {here}");
    }
    assert_eq!(reader.verify(), None);
    assert_eq!(reader.seek(SeekFrom::End(-10)).unwrap(), 299_990);
    assert_eq!(reader.seek(SeekFrom::Start(1 << 50)).unwrap(), 1 << 50);
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
    assert!(reader.seek(SeekFrom::Current(-(1 << 51))).is_err());
    let mut whole = Vec::new();
    let mut reader = grid.read("r").unwrap();
    reader.read_to_end(&mut whole).unwrap();
    assert_eq!((whole == content, reader.verify()), (true, Some(true)));
}

#[test]
fn a_writer_dropped_leaves_nothing_behind() {
    let world = world(512);
    let grid = connect(&world, Carrier::Unix).grid("main", None).unwrap();
    let mut writer = grid.write("r", None).unwrap();
    writer.write_all(&bytes(1, 3 << 20)).unwrap();
    assert!(grid.stat().unwrap().blocks > 0);
    drop(writer);
    assert_eq!(grid.find("r").unwrap(), None);
    assert_eq!(grid.stat().unwrap().blocks, 0);
}

#[test]
fn a_record_is_replaced_whole_and_only_if_wanted() {
    let world = world(512);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    let write = |content: &[u8]| {
        let mut writer = grid.write("r", Some(content.len() as u64)).unwrap();
        writer.write_all(content).unwrap();
        writer
    };
    let first = write(&bytes(1, 5000)).finish_if("", Generation::ABSENT).unwrap();
    let stale = write(&bytes(2, 6000)).finish_if("", Generation::ABSENT).unwrap_err();
    assert_eq!(stale.status(), Some(Status::Stale));
    assert_eq!(world.lock().unwrap().reserved("main"), 0);
    let second = write(&bytes(2, 6000)).finish_if("", first.generation).unwrap();
    assert_eq!(grid.stat().unwrap().blocks, 12);
    assert_eq!(grid.remove("r", Some(first.generation)).unwrap_err().status(), Some(Status::Stale));
    assert!(grid.remove("r", Some(second.generation)).unwrap());
    assert!(!grid.remove("r", None).unwrap());
    assert_eq!(grid.stat().unwrap().blocks, 0);
}

#[test]
fn records_are_renamed_and_patched() {
    let world = world(512);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    let mut content = bytes(1, 5000);
    grid.write_record("a", "", None, &mut &content[..], &mut |_| ()).unwrap();
    grid.rename("a", "b").unwrap();
    assert_eq!(grid.rename("a", "c").unwrap_err().status(), Some(Status::UnknownRecord));
    for (offset, length) in [(0, 1), (500, 1100), (4999, 1), (0, 5000), (2000, 0)] {
        let change = bytes(offset + 77, length);
        content[offset as usize..offset as usize + length].copy_from_slice(&change);
        grid.patch("b", offset, &change).unwrap();
        let mut back = Vec::new();
        grid.read_record("b", None, &mut back, &mut |_| ()).unwrap();
        assert!(back == content, "{length} bytes at {offset}");
    }
    assert_eq!(grid.find("b").unwrap().unwrap().blake3, [0; 32]);
    for (offset, length) in [(4999, 2), (5000, 1), (u64::MAX, 1)] {
        let error = grid.patch("b", offset, &bytes(1, length)).unwrap_err();
        assert!(error.to_string().contains("record `b` of grid `main` at toy"), "{error}");
    }
}

#[test]
fn a_damaged_record_is_an_error_and_not_bytes() {
    let world = world(512);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    let record = grid.write_record("r", "", None, &mut &bytes(1, 5000)[..], &mut |_| ()).unwrap();
    let third = record.extents[0].start.get() + 2;
    // Other bytes of the same length: only the whole record's checksum can tell.
    world.lock().unwrap().set("main", third, &bytes(9, 512));
    let error = grid.read_record("r", None, &mut Vec::new(), &mut |_| ()).unwrap_err();
    assert_eq!(error.status(), Some(Status::Corrupted));
    assert_eq!(grid.read_record("r", Some(0..100), &mut Vec::new(), &mut |_| ()).unwrap().1, 100);
    // A block cut short, and one gone.
    world.lock().unwrap().set("main", third, &bytes(9, 511));
    let error = grid.read_record("r", None, &mut Vec::new(), &mut |_| ()).unwrap_err();
    assert_eq!(error.status(), Some(Status::Absent));
    assert!(error.to_string().contains(&format!("block {third}")), "{error}");
    // What came before can still be read, and the reader goes on working after an error.
    let mut reader = grid.read("r").unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.get_ref().unwrap().is::<RecordError>());
    reader.seek(SeekFrom::Start(3000)).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest == bytes(1, 5000)[3000..]);
}

#[test]
fn a_failing_source_or_sink_is_told() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the tape tore"))
        }
    }
    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the tape is full"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let world = world(512);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    let error = grid.write_record("r", "", None, &mut Fails, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("the tape tore"), "{error}");
    assert_eq!(grid.find("r").unwrap(), None);
    grid.write_record("r", "", None, &mut &b"abc"[..], &mut |_| ()).unwrap();
    let error = grid.read_record("r", None, &mut Fails, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("the tape is full"), "{error}");
    assert_eq!(grid.get(Index::MIN).unwrap(), None);
}
