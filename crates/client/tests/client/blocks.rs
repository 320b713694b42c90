//! Grids and blocks.

use super::toy::{Carrier, ToToy};
use super::{bytes, connect, settings, world};
use okapi_client::{
    BlockSize, Client, Durability, Fault, Generation, GetAsk, GridCreate, Index, PutAsk, Slice, Status,
};

fn at(index: u64) -> Index {
    Index::new(index).unwrap()
}

#[test]
fn blocks_come_back_over_every_link() {
    for carrier in [Carrier::Memory, Carrier::Unix] {
        let world = world(65_536);
        let grid = connect(&world, carrier).grid("main", None).unwrap();
        assert_eq!(grid.get(at(1)).unwrap(), None);
        for (index, length) in [(1, 1), (2, 4096), (3, 4097), (4, 65_536)] {
            let content = bytes(index, length);
            let placed = grid.put(at(index), &content).unwrap();
            assert_eq!(placed.length as usize, length);
            let block = grid.get(at(index)).unwrap().unwrap();
            assert_eq!((&block.bytes, block.generation), (&content, placed.generation));
            assert_eq!(block.crc, okapi_base::crc32c(&content));
        }
        let slice = grid.get_slice(at(3), Slice { offset: 4090, length: 100 }).unwrap().unwrap();
        assert_eq!((&slice.bytes[..], slice.length), (&bytes(3, 4097)[4090..], 4097));
        let mut into = [7; 10];
        let got = grid.get_into(at(2), Slice { offset: 5, length: Slice::TO_END }, &mut into).unwrap().unwrap();
        assert_eq!((got.filled, got.length, &into[..]), (10, 4096, &bytes(2, 4096)[5..15]));
        grid.put_slice(at(1), 3, b"abc").unwrap();
        assert_eq!(grid.get(at(1)).unwrap().unwrap().bytes, [bytes(1, 1), vec![0, 0], b"abc".to_vec()].concat());
        grid.put_zeroes(at(1), 3, 1).unwrap();
        grid.truncate(at(1), 5).unwrap();
        assert_eq!(grid.get(at(1)).unwrap().unwrap().bytes, [bytes(1, 1), vec![0, 0, 0], b"b".to_vec()].concat());
        grid.delete(at(1)).unwrap();
        grid.delete(at(1)).unwrap();
        assert_eq!(grid.get(at(1)).unwrap(), None);
        grid.sync().unwrap();
        assert_eq!(grid.stat().unwrap().blocks, 3);
    }
}

#[test]
fn many_blocks_come_in_as_many_frames_as_they_need() {
    let world = world(4096);
    let grid = connect(&world, Carrier::Unix).grid("main", None).unwrap();
    let contents: Vec<Vec<u8>> = (0..3000).map(|index| bytes(index, 1 + index as usize * 7 % 4096)).collect();
    let puts: Vec<(PutAsk, &[u8])> = (0..3000)
        .map(|index| {
            (
                PutAsk::whole(at(index as u64 * 2), &contents[index], okapi_base::crc32c(&contents[index])),
                &*contents[index],
            )
        })
        .collect();
    let mut order = Vec::new();
    grid.put_many(&puts, 0, |number, outcome| {
        assert_eq!(outcome.status, Status::Ok);
        order.push(number);
    })
    .unwrap();
    assert_eq!(order, (0..3000).collect::<Vec<_>>());
    assert_eq!(world.lock().unwrap().puts, (0..3000).map(|index| index * 2).collect::<Vec<_>>());

    let asks: Vec<GetAsk> = (0..6001).map(|index| GetAsk::whole(at(index))).collect();
    let mut seen = vec![0; asks.len()];
    grid.get_many(&asks, |number, outcome, payload| {
        seen[number] += 1;
        if number % 2 == 0 && number < 6000 {
            assert_eq!((outcome.status, payload), (Status::Ok, &*contents[number / 2]), "block {number}");
        } else {
            assert_eq!((outcome.status, payload.len()), (Status::Absent, 0), "block {number}");
        }
    })
    .unwrap();
    assert_eq!(seen, vec![1; asks.len()]);
    grid.get_many(&[], |_, _, _| panic!("nothing was asked")).unwrap();
    grid.put_many(&[], 0, |_, _| panic!("nothing was asked")).unwrap();

    let listed: Vec<u64> = grid.list(at(100), false).map(|block| block.unwrap().index.get()).collect();
    assert_eq!(listed, (50..3000).map(|index| index * 2).collect::<Vec<_>>());
    let one = grid.list(at(10), true).next().unwrap().unwrap();
    assert_eq!((one.length as usize, one.crc), (contents[5].len(), okapi_base::crc32c(&contents[5])));
}

#[test]
fn what_does_not_fit_into_one_reply_is_asked_for_again() {
    let world = world(4096);
    // So small a window that three blocks never fit together, though a frame of 1 MiB would hold them all.
    world.lock().unwrap().reply_window = 10_000;
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    for index in 0..50 {
        grid.put(at(index), &bytes(index, 4096)).unwrap();
    }
    let asks: Vec<GetAsk> = (0..50).map(|index| GetAsk::whole(at(index))).collect();
    let mut seen = vec![0; 50];
    grid.get_many(&asks, |number, outcome, payload| {
        assert_eq!((outcome.status, payload), (Status::Ok, &*bytes(number as u64, 4096)));
        seen[number] += 1;
    })
    .unwrap();
    assert_eq!(seen, [1; 50]);
}

#[test]
fn runs_are_joined_where_pages_end() {
    let world = world(512);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    // The toy node ends its pages after seven runs.
    let mut wanted = Vec::new();
    for run in 0..20u64 {
        for index in 0..=run % 3 {
            grid.put(at(run * 10 + index), b"x").unwrap();
        }
        wanted.push((run * 10, run % 3 + 1));
    }
    let runs: Vec<(u64, u64)> =
        grid.runs(at(0)).map(|run| run.unwrap()).map(|run| (run.start.get(), run.count)).collect();
    assert_eq!(runs, wanted);
}

#[test]
fn a_put_goes_through_only_at_its_generation() {
    let world = world(512);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    let first = grid.put_if(at(5), b"one", Generation::ABSENT).unwrap();
    let stale = grid.put_if(at(5), b"two", Generation::ABSENT).unwrap_err();
    assert_eq!(stale.status(), Some(Status::Stale));
    let text = stale.to_string();
    assert!(text.contains("block 5 of grid `main` at toy"), "{text}");
    grid.put_if(at(5), b"two", first.generation).unwrap();
    assert_eq!(grid.get(at(5)).unwrap().unwrap().bytes, b"two");
}

#[test]
fn what_cannot_be_is_refused_before_it_is_sent() {
    let world = world(512);
    let grid = connect(&world, Carrier::Memory).grid("main", None).unwrap();
    assert_eq!(grid.put(at(1), &[0; 513]).unwrap_err().status(), Some(Status::PastBlock));
    assert_eq!(grid.put_slice(at(1), 512, &[0]).unwrap_err().status(), Some(Status::PastBlock));
    assert_eq!(grid.put_slice(at(1), u32::MAX, &[0]).unwrap_err().status(), Some(Status::PastBlock));
    let wrong = PutAsk::whole(at(1), b"abc", 0);
    assert!(matches!(grid.put_many(&[(wrong, b"ab")], 0, |_, _| ()).unwrap_err().fault(), Fault::Invalid(_)));
    assert_eq!(world.lock().unwrap().puts, []);
    assert_eq!(grid.find("").unwrap_err().status(), Some(Status::BadName));
    assert_eq!(grid.find(&"n".repeat(1025)).unwrap_err().status(), Some(Status::BadName));
    let client = grid.client();
    assert_eq!(client.grid(&"n".repeat(70_000), None).unwrap_err().status(), Some(Status::BadName));
}

#[test]
fn grids_are_made_listed_opened_and_dropped() {
    let world = world(512);
    let client = connect(&world, Carrier::Unix);
    let (name, engine) = ("photos".to_owned(), String::new());
    let block_size = BlockSize::new(4096).unwrap();
    let create = GridCreate { name, block_size, durability: Durability::Always, public: false, engine };
    let made = client.create_grid(&create).unwrap();
    assert_eq!((made.info.name.as_str(), made.info.block_size), ("photos", block_size));
    assert_eq!(client.create_grid(&create).unwrap_err().status(), Some(Status::Exists));
    let names: Vec<String> = client.grids().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["main", "photos"]);
    let grid = client.grid("photos", None).unwrap();
    assert_eq!((grid.name(), grid.block_size(), grid.info().id), ("photos", block_size, made.info.id));
    grid.put(at(1), &[1; 4096]).unwrap();
    client.drop_grid("photos").unwrap();
    assert_eq!(client.drop_grid("photos").unwrap_err().status(), Some(Status::UnknownGrid));
    assert_eq!(grid.get(at(1)).unwrap_err().status(), Some(Status::UnknownGrid));
    let error = client.grid("photos", None).unwrap_err().to_string();
    assert!(error.contains("grid `photos` at toy"), "{error}");

    // Another of the same name is not the one that was opened.
    client.create_grid(&create).unwrap();
    assert!(grid.get(at(1)).is_err());
    assert_eq!(client.grid("photos", None).unwrap().get(at(1)).unwrap(), None);
    assert!(grid.get(at(1)).is_err());
}

#[test]
fn tokens_open_what_they_should() {
    let world = world(512);
    let node = okapi_client::Token([7; 32]);
    let token = world.lock().unwrap().token.insert(node).to_owned();
    let grid_token = okapi_client::Token([1; 32]);
    let stranger = connect(&world, Carrier::Memory);
    assert!(!stranger.welcome().owner);
    assert_eq!(stranger.grid("main", None).unwrap_err().status(), Some(Status::UnknownGrid));
    assert_eq!(stranger.grid("main", Some(token)).unwrap_err().status(), Some(Status::WrongToken));
    stranger.grid("main", Some(grid_token)).unwrap().put(at(1), b"x").unwrap();
    let owner = okapi_client::Settings { token, ..settings() };
    let owner = Client::through(Box::new(ToToy::new(&world, Carrier::Memory)), owner).unwrap();
    assert!(owner.welcome().owner);
    assert_eq!(owner.grid("main", None).unwrap().get(at(1)).unwrap().unwrap().bytes, b"x");
    let wrong = okapi_client::Settings { token: grid_token, ..settings() };
    let error = Client::through(Box::new(ToToy::new(&world, Carrier::Memory)), wrong).unwrap_err();
    assert!(matches!(&error, okapi_client::ConnectError::Refused { status: Status::WrongToken, .. }), "{error}");
}

#[test]
fn the_node_tells_of_itself() {
    let world = world(512);
    let client = connect(&world, Carrier::Memory);
    client.ping().unwrap();
    assert_eq!(client.status().unwrap().facts, [("toy".to_owned(), "yes".to_owned())]);
    assert_eq!(client.verify().unwrap().blocks, 3);
    assert_eq!(client.compact().unwrap().segments, 4);
    assert_eq!((client.address(), client.welcome().node), ("toy", [9; 16]));
}

#[test]
fn many_threads_share_few_connections() {
    let world = world(512);
    let few = okapi_client::Settings { connections: 2, ..settings() };
    let client = Client::through(Box::new(ToToy::new(&world, Carrier::Memory)), few).unwrap();
    let grid = client.grid("main", None).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let grid = grid.clone();
            scope.spawn(move || {
                for index in (0..200).map(|number| number * 6 + thread) {
                    grid.put(at(index), &bytes(index, 99)).unwrap();
                    assert_eq!(grid.get(at(index)).unwrap().unwrap().bytes, bytes(index, 99));
                }
            });
        }
    });
    assert_eq!(grid.stat().unwrap().blocks, 1200);
    assert!(world.lock().unwrap().connections() <= 2);
}

#[test]
fn one_link_serves_asks_and_streams_in_turn() {
    use std::io::Write;
    let world = world(512);
    let (ours, theirs) = okapi_link::UnixLink::pair().unwrap();
    let served = world.clone();
    std::thread::spawn(move || super::toy::serve(served, Box::new(theirs)));
    let hasty = okapi_client::Settings { answer_timeout: std::time::Duration::from_millis(50), ..settings() };
    let grid = Client::over(Box::new(ours), hasty).unwrap().grid("main", None).unwrap();
    let mut writer = grid.write("r", None).unwrap();
    writer.write_all(b"abc").unwrap();
    assert!(matches!(grid.get(at(1)).unwrap_err().fault(), Fault::NoConnection { .. }));
    writer.finish("").unwrap();
    assert_eq!(grid.get(at(1)).unwrap(), None);
    drop(grid.write("dropped", Some(10_000)).unwrap());
    assert_eq!(world.lock().unwrap().reserved("main"), 0);
    assert_eq!(grid.get(at(1)).unwrap(), None);
}
