use super::*;
use crate::base::ids::TopicId;
use crate::wire::policy::{History, JoinPolicy, Role};

fn samples() -> Vec<BrokerFrame> {
    let body = BodyRef { len: 5, sha256: [7; 32] };
    vec![
        BrokerFrame::Ping { number: 9 },
        BrokerFrame::Message {
            topic: TopicHandle(1),
            offset: Offset(2),
            time: Wall(3),
            sender: 4,
            epoch: Epoch(5),
            counter: Counter(6),
            body: Body::Beside(body),
        },
        BrokerFrame::Message {
            topic: TopicHandle(1),
            offset: Offset(3),
            time: Wall(3),
            sender: 4,
            epoch: Epoch(5),
            counter: Counter(7),
            body: Body::Inline(vec![1, 2]),
        },
        BrokerFrame::Topics {
            request: RequestId(1),
            more: true,
            topics: vec![TopicEntry {
                name: TopicName::parse("a/b").expect("a good name"),
                topic: TopicId([7; 32]),
                role: Some(Role::Admin),
                owner: Name::parse("alice").expect("a good name"),
                owner_fingerprint: Fingerprint([8; 32]),
                owner_seen: Wall(4),
                join: JoinPolicy::Ask,
                history: History::All,
                requests: 2,
                rotate_due: false,
                members: 3,
                durability: Durability::Disk,
                retention: Retention::default(),
                incarnation: Incarnation(8),
                first: Offset(2),
                next: Offset(9),
                messages: 7,
                bytes: 700,
                oldest: Wall(1),
            }],
        },
    ]
}

fn encoded(frames: &[BrokerFrame]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|f| f.encode(&mut out));
    out
}

#[test]
fn frames_come_back_as_they_went() {
    let frames = samples();
    assert_eq!(BrokerFrame::decode_all(&encoded(&frames)), Ok(frames));
}

#[test]
fn only_bodies_beside_the_token_are_scanned() {
    let refs = scan_bodies(&encoded(&samples())).expect("good frames");
    assert_eq!(refs, [BodyRef { len: 5, sha256: [7; 32] }]);
}

#[test]
fn a_publish_is_scanned_where_its_body_stands() {
    let body = BodyRef { len: 1, sha256: [1; 32] };
    let publish = ClientFrame::Publish {
        slot: 1,
        topic: TopicHandle(2),
        epoch: Epoch(3),
        counter: Counter(4),
        body: Body::Beside(body),
    };
    let mut out = Vec::new();
    publish.encode(&mut out);
    assert_eq!(scan_bodies(&out), Ok(vec![body]));
    assert_eq!(ClientFrame::decode_all(&out), Ok(vec![publish]));
}

#[test]
fn every_cut_and_every_trailing_byte_is_refused() {
    for frame in samples() {
        let whole = encoded(std::slice::from_ref(&frame));
        for cut in 1..whole.len() {
            assert!(BrokerFrame::decode_all(&whole[..cut]).is_err(), "{frame:?} cut at {cut}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        let len = u16::from_be_bytes([longer[1], longer[2]]) + 1;
        longer[1..3].copy_from_slice(&len.to_be_bytes());
        assert!(BrokerFrame::decode_all(&longer).is_err(), "{frame:?} with a trailing byte");
    }
}

#[test]
fn a_count_of_items_that_are_not_there_allocates_nothing_and_is_refused() {
    let mut out = vec![0x16, 0, 2];
    out.extend_from_slice(&u16::MAX.to_be_bytes());
    assert_eq!(ClientFrame::decode_all(&out), Err(WireError::Truncated));
}

#[test]
fn a_body_larger_than_any_message_is_refused() {
    let publish = ClientFrame::Publish {
        slot: 1,
        topic: TopicHandle(2),
        epoch: Epoch(3),
        counter: Counter(4),
        body: Body::Beside(BodyRef { len: u32::MAX, sha256: [0; 32] }),
    };
    let mut out = Vec::new();
    publish.encode(&mut out);
    assert_eq!(scan_bodies(&out), Err(WireError::TooLong));
    assert_eq!(ClientFrame::decode_all(&out), Err(WireError::TooLong));
}

#[test]
fn the_two_directions_share_only_ping_pong_and_close() {
    let shared: Vec<u8> = ClientFrame::TYPES
        .iter()
        .filter(|c| BrokerFrame::TYPES.iter().any(|b| b.0 == c.0))
        .map(|c| c.0)
        .collect();
    assert_eq!(shared, [1, 2, 3]);
}
