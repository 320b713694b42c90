//! Hello, grids and blocks: who may do what, and what everything is answered with.

use crate::conn::*;
use crate::dice::Dice;
use crate::toy::Toy;
use okapi_base::{BlockSize, Durability, Generation, Index, Slice, crc32c};
use okapi_grid::ask;
use okapi_link::{Kind, Peer};
use okapi_wire::message::*;
use okapi_wire::{GetAsk, Hello, Limits, Listed, Op, PutAsk, Run, Status, Token, Welcome, flags};

fn create(conn: &mut Conn, name: &str, durability: Durability, public: bool, engine: &str) -> Status {
    conn.create(name, 512, durability, public, engine).status
}

#[test]
fn nothing_is_answered_before_a_hello() {
    let host = host(&Toy::default());
    let mut conn = Conn::new(&host, Kind::Memory, Peer::Same);
    for op in [Op::Ping, Op::GridList, Op::NodeStatus, Op::Verify, Op::Sync, Op::Follow, Op::Map, Op::GroupSafe] {
        assert_eq!(conn.bare(op, 1).status, Status::NoHello, "{op:?}");
    }
    assert_eq!(conn.get(1, 0).0, Status::NoHello);
    assert_eq!(conn.list(1, Op::List, 0, 1, 0).status, Status::NoHello);
    let request = conn.start_puts(1, 0, &[(PutAsk::delete(index(0)), &[])]);
    assert_eq!(conn.reply(request).status, Status::NoHello);
    assert!(!conn.visitor.has_said_hello());
    assert_eq!(conn.hello(Token::NONE).status, Status::Ok);
    assert!(conn.visitor.has_said_hello());
    assert_eq!(conn.bare(Op::Ping, 0).status, Status::Ok);
    assert_eq!(conn.hello(Token::NONE).status, Status::Malformed, "once is enough");
    assert_eq!(conn.bare(Op::Goodbye, 0).status, Status::Ok);
    assert!(conn.last);
}

#[test]
fn who_is_the_owner() {
    let host = host(&Toy::default());
    let me = rustix::process::geteuid().as_raw();
    for (peer, token, expected) in [
        (Peer::Same, Token::NONE, Ok(true)),
        (Peer::User(me), Token::NONE, Ok(true)),
        (Peer::User(0), Token::NONE, Ok(true)),
        (Peer::User(me + 1), Token::NONE, Ok(false)),
        (Peer::User(me + 1), NODE_TOKEN, Ok(true)),
        (Peer::Unknown, Token::NONE, Ok(false)),
        (Peer::Unknown, NODE_TOKEN, Ok(true)),
        (Peer::Unknown, Token([9; 32]), Err(Status::WrongToken)),
    ] {
        let mut conn = Conn::new(&host, Kind::Tcp, peer);
        let got = conn.hello(token);
        match expected {
            Ok(owner) => assert_eq!(got.message::<Welcome>().owner, owner, "{peer:?}"),
            Err(status) => {
                assert_eq!(got.status, status);
                assert!(conn.last && !conn.visitor.has_said_hello());
            }
        }
    }
    let mut conn = Conn::new(&host, Kind::Tcp, Peer::Same);
    let got = conn.ask(Op::Hello, 0, &Hello { oldest: 2, newest: 9, limits: Limits::default(), token: Token::NONE });
    assert_eq!(got.status, Status::WrongVersion);
    assert!(conn.last && got.text.contains("2 to 9"), "{}", got.text);
}

#[test]
fn private_grids_are_as_if_they_were_not_there() {
    let host = host(&Toy::default());
    let mut owner = Conn::owner(&host);
    let made: GridCreated = owner.create("secret", 512, Durability::Always, false, "").message();
    assert_eq!(create(&mut owner, "open", Durability::Always, true, ""), Status::Ok);
    let mut stranger = Conn::stranger(&host);
    let (unknown, private) = (stranger.try_open("none", Token::NONE), stranger.try_open("secret", Token::NONE));
    assert_eq!((unknown.status, unknown.text), (private.status, private.text));
    assert_eq!(unknown.status, Status::UnknownGrid);
    assert_eq!(stranger.try_open("secret", Token([3; 32])).status, Status::WrongToken);
    let names = |conn: &mut Conn| {
        let list: GridList = conn.bare(Op::GridList, 0).message();
        list.grids.into_iter().map(|grid| grid.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&mut stranger), ["open"]);
    assert_eq!(names(&mut owner), ["main", "open", "secret"]);
    let handle = stranger.try_open("secret", made.token).message::<GridInfo>().handle;
    assert_eq!(names(&mut stranger), ["open", "secret"]);
    assert_eq!(stranger.put(handle, 0, 3, b"x"), Status::Ok);
    assert_eq!(stranger.open("open"), handle + 1);
    assert_eq!(create(&mut stranger, "new", Durability::Always, false, ""), Status::Forbidden);
    let drop = stranger.ask(Op::GridDrop, 0, &Named { name: "open".into() });
    assert_eq!(drop.status, Status::Forbidden);
    for op in [Op::Verify, Op::Compact, Op::NodeStatus, Op::Sync] {
        assert_eq!(stranger.bare(op, 0).status, Status::Forbidden, "{op:?}");
    }
    assert_eq!(stranger.bare(Op::Sync, handle).status, Status::Ok);
}

#[test]
fn grids_are_made_dropped_and_there_again() {
    let toy = Toy::default();
    let node;
    {
        let (host, opened) = open(&toy, &settings());
        node = opened.node;
        assert_eq!((opened.grids, opened.records), (1, 0));
        let mut conn = Conn::owner(&host);
        let main: GridInfo = conn.try_open("main", Token::NONE).message();
        assert_eq!((main.block_size, main.durability, main.public), (BlockSize::DEFAULT, Durability::Always, false));
        assert_eq!(create(&mut conn, "a", Durability::Always, true, ""), Status::Ok);
        assert_eq!(create(&mut conn, "a", Durability::Always, true, ""), Status::Exists);
        assert_eq!(create(&mut conn, ".a", Durability::Always, true, ""), Status::BadName);
        assert_eq!(create(&mut conn, &"a".repeat(65), Durability::Always, true, ""), Status::TooLong);
        assert_eq!(create(&mut conn, "b", Durability::Memory, false, ""), Status::Ok);
        assert_eq!(create(&mut conn, "c", Durability::Memory, false, "log"), Status::Unsupported);
        assert_eq!(create(&mut conn, "c", Durability::Always, false, "memory"), Status::Unsupported);
        assert_eq!(create(&mut conn, "c", Durability::Always, false, "fjall"), Status::Unsupported);
        assert_eq!(create(&mut conn, "c", Durability::Always, false, "tape"), Status::Unsupported);
        assert_eq!(create(&mut conn, "c", Durability::Interval, false, "log"), Status::Ok);
        let (a, b) = (conn.open("a"), conn.open("b"));
        assert_eq!(conn.open("a"), a, "one handle for one grid");
        assert_eq!((conn.put(a, 0, 1, b"kept"), conn.put(b, 0, 1, b"lost")), (Status::Ok, Status::Ok));
        let info: GridInfo = conn.bare(Op::GridStat, b).message();
        assert_eq!((info.engine.as_str(), info.blocks), ("memory", 1));
        conn.write_record(b, "name", &[1; 600], 512);
        assert_eq!(conn.bare(Op::GridStat, 99).status, Status::UnknownGrid);
        host.close().unwrap();
        assert_eq!(conn.bare(Op::Ping, 0).status, Status::Stopping);
        assert_eq!(conn.get(a, 1).0, Status::Stopping);
    }
    let (host, opened) = open(&toy, &settings());
    assert_eq!((opened.grids, opened.node), (4, node));
    let mut conn = Conn::owner(&host);
    let list: GridList = conn.bare(Op::GridList, 0).message();
    let of = |name: &str| list.grids.iter().find(|grid| grid.name == name).unwrap().clone();
    assert!(of("a").public && of("b").durability == Durability::Memory && of("c").durability == Durability::Interval);
    let (a, b) = (conn.open("a"), conn.open("b"));
    assert_eq!(conn.get(a, 1), (Status::Ok, b"kept".to_vec()));
    assert_eq!(conn.get(b, 1).0, Status::Absent);
    assert_eq!(conn.find(b, "name").status, Status::UnknownRecord);
    conn.write_record(a, "name", &[1; 600], 512);
    let drop = |conn: &mut Conn, name: &str| conn.ask(Op::GridDrop, 0, &Named { name: name.into() }).status;
    assert_eq!(drop(&mut conn, "a"), Status::Ok);
    assert_eq!(drop(&mut conn, "a"), Status::UnknownGrid);
    assert_eq!(conn.get(a, 1).0, Status::UnknownGrid);
    let id = of("a").id;
    assert!(toy.dump(id).is_empty() && toy.dump(id | 1 << 31).is_empty(), "blocks and names are gone");
    assert_eq!(create(&mut conn, "a", Durability::Always, true, ""), Status::Ok);
    let again: GridInfo = conn.try_open("a", Token::NONE).message();
    assert!(again.id > of("c").id && again.blocks == 0, "a number is never used again");
}

#[test]
fn a_grid_is_dropped_whole_or_not_at_all_wherever_the_power_is_cut() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    conn.write_record(grid, "name", &[1; 600], 512);
    let before = toy.length();
    assert_eq!(conn.ask(Op::GridDrop, 0, &Named { name: "a".into() }).status, Status::Ok);
    let writes = toy.writes();
    for cut in before..=writes.len() {
        let toy = Toy::after(&writes[..cut]);
        let mut conn = Conn::owner(&crate::conn::host(&toy));
        let got = conn.try_open("a", Token::NONE);
        if cut == before {
            let handle = got.message::<GridInfo>().handle;
            assert_eq!(conn.read_record(handle, "name").unwrap().1, [1; 600]);
        } else {
            assert_eq!(got.status, Status::UnknownGrid, "cut after {cut}");
            let left: usize = (1..5).map(|id| toy.dump(id).len() + toy.dump(id | 1 << 31).len()).sum();
            assert_eq!(left, 0, "cut after {cut}");
        }
    }
}

#[test]
fn blocks_are_put_got_listed_and_deleted() {
    let host = host(&Toy::default());
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    let mut dice = Dice::new(1);
    let blocks: Vec<(u64, Vec<u8>)> =
        [0, 1, 2, 7, 8, Index::MAX.get()].map(|at| (at, dice.bytes(1 + at as usize % 511))).to_vec();
    let puts: Vec<_> =
        blocks.iter().map(|(at, bytes)| (PutAsk::whole(index(*at), bytes, crc32c(bytes)), &bytes[..])).collect();
    assert!(conn.puts(grid, 0, &puts).iter().all(|outcome| outcome.status == Status::Ok));
    for (at, bytes) in &blocks {
        assert_eq!(conn.get(grid, *at), (Status::Ok, bytes.clone()));
    }
    assert_eq!(conn.get(grid, 3).0, Status::Absent);
    let listed = |got: &Got| got.head.as_chunks().0.iter().map(|at| Listed::decode(at).unwrap()).collect::<Vec<_>>();
    let page = conn.list(grid, Op::List, 1, 2, flags::DETAIL);
    let first = listed(&page);
    assert_eq!(first.iter().map(|block| block.index.get()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((first[0].length, first[0].crc), (blocks[1].1.len() as u32, crc32c(&blocks[1].1)));
    assert!(page.flags & flags::MORE != 0);
    let page = conn.list(grid, Op::List, 8, 5, 0);
    assert_eq!((listed(&page).len(), page.flags & flags::MORE), (2, 0));
    let page = conn.list(grid, Op::Runs, 0, 10, 0);
    let runs: Vec<_> = page.head.as_chunks().0.iter().map(|at| Run::decode(at).unwrap()).collect();
    let runs: Vec<_> = runs.iter().map(|run| (run.start.get(), run.count)).collect();
    assert_eq!(runs, [(0, 3), (7, 2), (Index::MAX.get(), 1)]);
    assert_eq!(page.flags & flags::MORE, 0);
    let page = conn.list(grid, Op::Runs, 1, 1, 0);
    assert_eq!(Run::decode(page.head.as_chunks().0.first().unwrap()).unwrap(), Run { start: index(1), count: 2 });
    assert!(page.flags & flags::MORE != 0);
    assert_eq!(conn.list(grid, Op::List, u64::MAX, 1, 0).status, Status::BadIndex);
    assert_eq!(conn.put(grid, 0, 0, b""), Status::Ok);
    assert_eq!(conn.get(grid, 0).0, Status::Absent);
}

#[test]
fn every_bad_put_and_get_has_its_own_status() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    let id = conn.bare(Op::GridStat, grid).message::<GridInfo>().id;
    let put = |conn: &mut Conn, ask: PutAsk, bytes: &[u8]| conn.puts(grid, 0, &[(ask, bytes)])[0];
    let good = put(&mut conn, PutAsk::whole(index(1), b"abc", crc32c(b"abc")), b"abc");
    assert_eq!((good.status, good.length), (Status::Ok, 3));
    assert_eq!(put(&mut conn, PutAsk::whole(index(1), b"abc", 1), b"abc").status, Status::BadChecksum);
    let long = [0; 513];
    assert_eq!(put(&mut conn, PutAsk::whole(index(1), &long, crc32c(&long)), &long).status, Status::PastBlock);
    let slice = PutAsk::slice(index(1), 510, b"abc", crc32c(b"abc"));
    assert_eq!(put(&mut conn, slice, b"abc").status, Status::PastBlock);
    let expect = |generation| PutAsk { expect: Some(generation), ..PutAsk::whole(index(1), b"x", crc32c(b"x")) };
    let stale = put(&mut conn, expect(Generation::ABSENT), b"x");
    assert_eq!((stale.status, stale.generation, stale.length), (Status::Stale, good.generation, 3));
    assert_eq!(put(&mut conn, expect(good.generation), b"x").status, Status::Ok);
    let request = conn.next();
    let asks = [
        GetAsk { index: None, slice: Slice::WHOLE },
        GetAsk { index: Some(index(1)), slice: Slice { offset: 513, length: 1 } },
        GetAsk::whole(index(1)),
        GetAsk::whole(index(1)),
    ];
    ask::get(&mut conn.out, request, grid, 32 + 4 * 32 + 1 - 32, &asks);
    let got: Vec<_> = outcomes(&conn.reply(request)).iter().map(|outcome| outcome.status).collect();
    assert_eq!(got, [Status::BadIndex, Status::PastBlock, Status::Ok, Status::NoCredit]);
    toy.0.lock().corrupted.insert((okapi_base::GridId(id), index(1)));
    assert_eq!(conn.get(grid, 1).0, Status::Corrupted);
    let report: VerifyReport = conn.bare(Op::Verify, 0).message();
    assert_eq!(report.damages, 1);
    assert_eq!(report.list[0].block, Some((id, "a".to_owned(), 1)));
    assert_eq!(conn.bare(Op::Compact, 0).message::<CompactReport>().moved_bytes, 6, "the log and memory");
    let status: NodeStatus = conn.bare(Op::NodeStatus, 0).message();
    assert!(status.facts.contains(&("grids".to_owned(), "2".to_owned())), "{status:?}");
    toy.0.lock().room = Some(0);
    assert_eq!(conn.put(grid, 0, 2, b"x"), Status::Full);
    toy.0.lock().room = None;
    assert_eq!(conn.get(99, 1).0, Status::UnknownGrid);
    assert_eq!(conn.put(grid, flags::RECORD, 9, b"x"), Status::NoReservation);
    assert_eq!(conn.bare(Op::Map, grid).status, Status::Unsupported);
    assert_eq!(conn.bare(Op::Mark, grid).status, Status::Unsupported);
    assert_eq!(conn.bare(Op::Follow, grid).status, Status::Malformed, "no body");
    toy.break_down();
    let request = conn.start_puts(grid, 0, &[(PutAsk::whole(index(5), b"x", crc32c(b"x")), b"x")]);
    assert_eq!(outcomes(&conn.reply(request))[0].status, Status::ReadOnly);
    assert_eq!(conn.bare(Op::Sync, grid).status, Status::ReadOnly);
    assert_eq!(conn.create("new", 512, Durability::Always, false, "").status, Status::ReadOnly);
    let status: NodeStatus = conn.bare(Op::NodeStatus, 0).message();
    assert!(status.facts.iter().any(|(name, value)| name == "log.state" && value.contains("broken")), "{status:?}");
}

#[test]
fn a_durable_put_is_answered_once_it_is_durable_and_not_before() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    assert_eq!(create(&mut conn, "lazy", Durability::Interval, false, ""), Status::Ok);
    let lazy = conn.open("lazy");
    toy.0.lock().manual = true;
    let put = |bytes| (PutAsk::whole(index(1), bytes, crc32c(bytes)), bytes);
    let held = conn.start_puts(grid, 0, &[put(b"a")]);
    assert!(!conn.has_reply(held));
    let relaxed = conn.start_puts(grid, flags::RELAXED, &[put(b"b")]);
    let interval = conn.start_puts(lazy, 0, &[put(b"c")]);
    assert!(conn.has_reply(relaxed) && conn.has_reply(interval) && !conn.has_reply(held));
    assert_eq!(conn.get(grid, 1).1, b"b", "seen before it is durable");
    toy.commit();
    assert!(conn.has_reply(held));
    let held = conn.start_puts(grid, 0, &[put(b"d")]);
    assert!(!conn.has_reply(held));
    assert_eq!(conn.bare(Op::Sync, grid).status, Status::Ok);
    assert!(conn.has_reply(held), "a sync makes all before it durable");
    let held = conn.start_puts(grid, 0, &[put(b"e")]);
    assert!(!conn.has_reply(held));
    toy.break_down();
    assert_eq!(conn.reply(held).status, Status::ReadOnly);
}

#[test]
fn what_lies_on_a_disk_is_got_by_who_may_wait() {
    let toy = Toy::default();
    let host = host(&toy);
    let mut conn = Conn::owner(&host);
    let grid = conn.grid("a");
    assert_eq!(conn.put(grid, 0, 1, b"cold"), Status::Ok);
    toy.0.lock().cold = true;
    assert_eq!(conn.get(grid, 1), (Status::Ok, b"cold".to_vec()));
    assert_eq!(conn.not_now, 1);
}

#[test]
fn a_data_directory_is_made_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let settings = okapi_node::HostSettings::new(folder.path().to_owned());
    let content: Vec<u8> = (0..200_000u32).map(|at| (at / 251) as u8).collect();
    let first = {
        let (host, opened) = okapi_node::Host::open(&settings).unwrap();
        let host = std::sync::Arc::new(host);
        let mut conn = Conn::owner(&host);
        let bell = std::sync::Arc::clone(&conn.bell);
        host.watch(std::sync::Arc::new(move || bell.ring()));
        let main = conn.open("main");
        conn.write_record(main, "photo", &[9; 70_000], 1 << 16);
        conn.write_record(main, "photo", &content, 1 << 16);
        assert_eq!(conn.put(main, 0, 7, b"seven"), Status::Ok);
        assert_eq!(conn.create("tree", 512, Durability::Always, false, "fjall").status, Status::Ok);
        let tree = conn.open("tree");
        conn.write_record(tree, "leaf", &[3; 700], 512);
        host.settle();
        host.close().unwrap();
        opened
    };
    let (host, opened) = okapi_node::Host::open(&settings).unwrap();
    assert_eq!((opened.node, opened.token, opened.records), (first.node, first.token, 2));
    let mut conn = Conn::owner(&std::sync::Arc::new(host));
    let (main, tree) = (conn.open("main"), conn.open("tree"));
    assert_eq!(conn.read_record(tree, "leaf").unwrap().1, [3; 700]);
    assert_eq!(conn.read_record(main, "photo").unwrap().1, content);
    assert_eq!(conn.get(main, 7), (Status::Ok, b"seven".to_vec()));
    assert_eq!(conn.bare(Op::GridStat, main).message::<GridInfo>().blocks, 5);
}
