use super::*;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

fn contract() -> Contract {
    let terms = Terms {
        group: GroupId([0x11; 32]),
        owner: NodeId([0x22; 32]),
        holder: NodeId([0x33; 32]),
        bytes: 0x0102_0304_0506_0708,
        from: 1_800_000_000_000,
        until: 1_807_776_000_000,
        revision: 7,
    };
    Contract { terms, owner_signature: [0x44; 64], holder_signature: [0x55; 64] }
}

fn ending() -> Ending {
    Ending {
        group: GroupId([0x11; 32]),
        owner: NodeId([0x22; 32]),
        holder: NodeId([0x33; 32]),
        revision: 7,
        side: Side::Holder,
        stamp: 1_801_000_000_000,
        signature: [0x66; 64],
    }
}

fn bytes_of(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut BodyWriter::new(&mut bytes));
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes() {
    let head = format!("01{}{}{}", "11".repeat(32), "22".repeat(32), "33".repeat(32));
    let terms = format!("{head}080706050403020100505c18a301000000a8d8e7a401000007000000");
    assert_eq!(hex(&bytes_of(&contract().terms)), terms);
    let proposal = format!("{terms}{}", "44".repeat(64));
    assert_eq!(hex(&bytes_of(&contract().proposal())), proposal);
    assert_eq!(hex(&bytes_of(&contract())), format!("{proposal}{}", "55".repeat(64)));
    assert_eq!(hex(&bytes_of(&ending())), format!("{head}0700000002001af753a3010000{}", "66".repeat(64)));
}

#[test]
fn lengths_are_as_named_and_all_comes_back() {
    assert_eq!(bytes_of(&contract().terms).len(), TERMS_BYTES);
    assert_eq!(bytes_of(&contract().proposal()).len(), PROPOSAL_BYTES);
    assert_eq!(bytes_of(&contract()).len(), CONTRACT_BYTES);
    assert_eq!(bytes_of(&ending()).len(), ENDING_BYTES);
    assert_eq!(Terms::parse(&bytes_of(&contract().terms)), Ok(contract().terms));
    assert_eq!(Proposal::parse(&bytes_of(&contract().proposal())), Ok(contract().proposal()));
    assert_eq!(Contract::parse(&bytes_of(&contract())), Ok(contract()));
    assert_eq!(Ending::parse(&bytes_of(&ending())), Ok(ending()));
    let by_owner = Ending { side: Side::Owner, ..ending() };
    assert_eq!(Ending::parse(&bytes_of(&by_owner)), Ok(by_owner));
    assert_eq!((by_owner.by(), ending().by()), (ending().owner, ending().holder));
}

#[test]
fn what_means_nothing_is_refused_by_its_field() {
    let refused = |at: usize, byte: u8| {
        let mut bytes = bytes_of(&contract());
        bytes[at] = byte;
        Contract::parse(&bytes)
    };
    assert_eq!(refused(0, 2), Err(BodyError::BadValue { field: "version" }));
    assert_eq!(refused(121, 0), Err(BodyError::BadValue { field: "revision" }));
    // The end moved before the beginning.
    assert_eq!(refused(118, 0), Err(BodyError::BadValue { field: "until" }));
    let mut bytes = bytes_of(&contract());
    bytes.copy_within(33..65, 65);
    assert_eq!(Contract::parse(&bytes), Err(BodyError::BadValue { field: "holder" }));
    let mut bytes = bytes_of(&ending());
    bytes[101] = 3;
    assert_eq!(Ending::parse(&bytes), Err(BodyError::BadValue { field: "side" }));
    bytes.push(0);
    bytes[101] = 1;
    assert_eq!(Ending::parse(&bytes), Err(BodyError::Trailing { left: 1 }));
}

/// Dice that fall the same way each time (xorshift).
pub(crate) fn dice() -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// Bytes from outside become errors or a record that encodes to the very same bytes.
#[test]
fn any_bytes_are_an_error_or_what_they_say() {
    let mut dice = dice();
    let valid = [bytes_of(&contract()), bytes_of(&contract().proposal()), bytes_of(&ending())];
    let (mut good, mut bad) = (0, 0);
    for round in 0..30_000 {
        let mut bytes = valid[round % 3].clone();
        for _ in 0..dice() % 4 {
            let at = dice() as usize % bytes.len();
            bytes[at] = dice() as u8;
        }
        match dice() % 8 {
            0 => bytes.truncate(dice() as usize % bytes.len()),
            1 => bytes.push(dice() as u8),
            2 => bytes = (0..dice() % 300).map(|_| dice() as u8).collect(),
            _ => {}
        }
        let again = [
            Contract::parse(&bytes).map(|it| bytes_of(&it)),
            Proposal::parse(&bytes).map(|it| bytes_of(&it)),
            Ending::parse(&bytes).map(|it| bytes_of(&it)),
            Terms::parse(&bytes).map(|it| bytes_of(&it)),
        ];
        for parsed in again {
            match parsed {
                Ok(encoded) => {
                    assert_eq!(encoded, bytes);
                    good += 1;
                }
                Err(_) => bad += 1,
            }
        }
    }
    assert!(good > 1000 && bad > 1000, "{good} parsed, {bad} refused");
}
