//! Messages about grants and routes, and whom people mean.

use crate::{group, message};
use okapi_base::{MemberId, NodeId};
use okapi_wire::message::{
    FindError, GrantList, GrantSet, Granted, GroupMember, GroupStatus, MemberState, Right, Route,
};
use okapi_wire::{BodyError, Message, Op};

pub(crate) fn samples(ask: &dyn Fn(Op, Vec<u8>) -> Vec<u8>) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("grant set", ask(Op::GrantSet, message(&set()))),
        ("grant list ask", ask(Op::GrantList, vec![])),
        ("grant list", message(&list())),
        ("route", ask(Op::Route, message(&route()))),
    ]
}

pub(crate) fn set() -> GrantSet {
    GrantSet { grid: "photos".into(), member: MemberId([0x61; 32]), right: Right::Write }
}

pub(crate) fn list() -> GrantList {
    let granted =
        Granted { grid: "photos".into(), member: MemberId([0x61; 32]), right: Right::Own, since: 1_800_000_000_000 };
    GrantList { grants: vec![granted.clone(), Granted { right: Right::Read, ..granted }] }
}

pub(crate) fn route() -> Route {
    Route { node: NodeId([0x63; 32]), name: "attic".into() }
}

#[test]
fn rights_that_mean_nothing_are_refused() {
    let mut bytes = message(&set());
    *bytes.last_mut().unwrap() = 4;
    assert_eq!(GrantSet::parse(&bytes), Err(BodyError::BadValue { field: "right" }));
    let none = Granted { right: Right::None, ..list().grants.remove(0) };
    assert_eq!(Granted::parse(&message(&none)), Err(BodyError::BadValue { field: "right" }));
    assert!(Right::Own > Right::Write && Right::Write > Right::Read && Right::Read > Right::None);
}

fn called(names: &[(&str, u8, u8)]) -> GroupStatus {
    let one = |(name, node, member): &(&str, u8, u8)| GroupMember {
        name: (*name).into(),
        node: NodeId([*node; 32]),
        member: MemberId([*member; 32]),
        state: MemberState::Active,
        ..group::member()
    };
    GroupStatus { members: names.iter().map(one).collect(), ..group::status() }
}

#[test]
fn people_are_found_by_name_and_by_digits() {
    let mut all = called(&[("attic", 0x1a, 0x51), ("barn", 0x1b, 0x52), ("shed", 0x1c, 0x52), ("1a1a1a", 0x1d, 0x53)]);
    assert_eq!(all.find_node("attic").unwrap().node, NodeId([0x1a; 32]));
    assert_eq!(all.find_node("1b1b").unwrap().name, "barn");
    assert_eq!(all.find_node("5151").unwrap().name, "attic", "a member with one node");
    assert_eq!(all.find_member("5252"), Ok(MemberId([0x52; 32])), "a member with two");
    assert_eq!(all.find_member("shed"), Ok(MemberId([0x52; 32])));
    assert!(matches!(all.find_node("5252"), Err(FindError::Several { .. })));
    // Whoever calls itself like another's id is not taken for it.
    let text = all.find_node("1a1a1a").unwrap_err().to_string();
    assert_eq!(
        text,
        "`1a1a1a` may be any of attic (node 1a1a1a1a), 1a1a1a (node 1d1d1d1d); give more digits of the id"
    );
    assert_eq!(all.find_node(&"1a".repeat(32)).unwrap().name, "attic");
    for word in ["", "1a1", "att", &"1a".repeat(33), "1b1g", "ß1b1"] {
        assert_eq!(all.find_node(word), Err(FindError::Nobody { word: word.into() }));
    }
    all.members[0].state = MemberState::Parted;
    all.members[1].name = "attic".into();
    assert_eq!(all.find_node("attic").unwrap().node, NodeId([0x1b; 32]), "those who take part come first");
    assert_eq!(all.find_member("5151"), Ok(MemberId([0x51; 32])));
}
