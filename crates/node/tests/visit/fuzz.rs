//! Random bodies: never a panic, never more memory than they are worth.

use crate::conn::*;
use crate::dice::{Dice, seeds};
use crate::toy::Toy;
use okapi_base::{Generation, MemberId, NodeId};
use okapi_link::{Kind, Peer};
use okapi_wire::message::*;
use okapi_wire::{Header, Op, Run, Token};

#[test]
fn random_asks_never_panic_and_never_answer_long() {
    for seed in seeds(30) {
        let toy = Toy::default();
        let host = host(&toy);
        let mut dice = Dice::new(seed);
        let run = |start, count| Run { start: index(start), count };
        let extents = vec![run(1 << 40, 2), run(3, 1)];
        let samples = [
            body(&GridOpen { token: Token::NONE, name: "main".into() }),
            body(&GridOpen { token: Token([1; 32]), name: "a".into() }),
            body(&RecordFind { name: "r".into() }),
            body(&RecordList { limit: u32::MAX, prefix: "r".into(), after: "ra".into() }),
            body(&RecordReserve { lease: 0, blocks: 5, from: None }),
            body(&RecordReserve { lease: 1, blocks: (1 << 48) - 1, from: Some(index(7)) }),
            body(&Lease { lease: 1 }),
            body(&RecordBind { lease: 0, expect: Some(Generation(1)), record: record("r", &[1; 1400], extents) }),
            body(&RecordBind { lease: 0, expect: None, record: record("r", &[], vec![]) }),
            body(&RecordRemove { expect: None, name: "r".into() }),
            body(&RecordRename { from: "r".into(), to: "s".into() }),
            body(&Follow { epoch: 1, sequence: u64::MAX }),
            body(&Named { name: "a".into() }),
            body(&GrantSet { grid: "main".into(), member: MemberId([2; 32]), right: Right::Own }),
            body(&Route { node: NodeId([0; 32]), name: "attic".into() }),
            vec![],
            u32::MAX.to_le_bytes().to_vec(),
        ];
        let mut conn = Conn::new(&host, Kind::Unix, Peer::Same);
        conn.hello(Token::NONE);
        conn.open("main");
        for _ in 0..400 {
            let mut bytes = samples[dice.roll(samples.len() as u64) as usize].clone();
            for _ in 0..dice.roll(3) {
                match dice.roll(3) {
                    0 if !bytes.is_empty() => {
                        let at = dice.roll(bytes.len() as u64) as usize;
                        bytes[at] ^= 1 << dice.roll(8);
                    }
                    1 => bytes.truncate(dice.roll(bytes.len() as u64 + 1) as usize),
                    _ => bytes.extend_from_slice(&[0xFF; 9][..dice.roll(10) as usize]),
                }
            }
            // Every operation but goodbye; get, put and lists have descriptors, and are asked without any here.
            let code = dice.roll(0x80) as u8;
            if code == Op::Goodbye as u8 {
                continue;
            }
            let request = conn.next();
            let header = Header { op: code, ..Header::ask(Op::Ping, request, dice.roll(4) as u32) };
            conn.out.message(header, |out| out.extend_from_slice(&bytes));
            for _ in 0..1000 {
                if conn.turn(&mut Nobody, usize::MAX).is_err() || conn.replies.contains_key(&request) {
                    break;
                }
                std::thread::yield_now();
            }
            drop(conn.visitor.take_fds());
            assert!(conn.node_out.waiting() < 1 << 20, "seed {seed}: a short ask has a short answer");
            assert!(conn.replies.values().all(|got| got.head.len() < 1 << 20), "seed {seed}");
            conn.replies.clear();
            if conn.last || dice.roll(30) == 0 {
                conn = Conn::new(&host, Kind::Unix, Peer::Same);
                conn.hello(Token::NONE);
                conn.open("main");
            }
        }
        drop(conn);
        host.settle();
        host.close().unwrap();
    }
}
