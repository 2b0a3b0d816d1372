//! Frames and the plaintext of bodies: what decodes, encodes to the same bytes again.

use sealmq::base::Wall;
use sealmq::base::ids::*;
use sealmq::base::names::{Name, TopicFilter, TopicName};
use sealmq::crypto::digest::sha256;
use sealmq::wire::body::{Body, BodyRef, Sealed};
use sealmq::wire::frame::{BrokerFrame, ClientFrame, scan_bodies};
use sealmq::wire::policy::{History, JoinPolicy, Role};
use sealmq::wire::values::*;

use super::stage::STAGE;

pub fn client(data: &[u8]) {
    let scanned = scan_bodies(data);
    let Ok(frames) = ClientFrame::decode_all(data) else { return };
    let mut again = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut again));
    assert_eq!(again, data, "one meaning has one form");
    let beside = frames.iter().filter_map(|frame| match frame {
        ClientFrame::Publish { body: Body::Beside(body), .. } => Some(*body),
        _ => None,
    });
    assert_eq!(scanned, Ok(beside.collect()), "the bodies are those of the frames");
}

pub fn broker(data: &[u8]) {
    let scanned = scan_bodies(data);
    let Ok(frames) = BrokerFrame::decode_all(data) else { return };
    let mut again = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut again));
    assert_eq!(again, data, "one meaning has one form");
    let beside = frames.iter().filter_map(|frame| match frame {
        BrokerFrame::Message { body: Body::Beside(body), .. } => Some(*body),
        _ => None,
    });
    assert_eq!(scanned, Ok(beside.collect()), "the bodies are those of the frames");
}

pub fn sealed_body(data: &[u8]) {
    let Ok((sealed, signed)) = Sealed::decode(data) else { return };
    assert!(!Sealed::is_unsigned(data));
    let mut again = Vec::new();
    sealed.encode_signed_part(&mut again);
    assert_eq!(again, signed.part, "all that it means is signed");
    again.extend_from_slice(signed.signature);
    assert_eq!(again, data, "one meaning has one form");
}

pub fn sealed_body_seeds() -> Vec<Vec<u8>> {
    [&b""[..], b"turn the light on"]
        .map(|content| {
            let sealed = Sealed {
                topic: TopicId([1; 32]),
                epoch_record: RecordHash([2; 32]),
                publisher: PublisherId([3; 16]),
                counter: Counter(4),
                content,
            };
            let mut out = Vec::new();
            sealed.encode_signed_part(&mut out);
            out.extend_from_slice(&[8; 64]);
            out
        })
        .to_vec()
}

fn topic(text: &str) -> TopicName {
    TopicName::parse(text).expect("a good name")
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a good filter")
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a good name")
}

fn bodies() -> [Body; 2] {
    let beside = BodyRef { len: 5, sha256: sha256(b"hello") };
    [Body::Beside(beside), Body::Inline(b"hello".to_vec())]
}

/// Each of the frames that a client has, alone, and some together.
pub fn client_seeds() -> Vec<Vec<u8>> {
    let request = RequestId(7);
    let handle = TopicHandle(2);
    let mut frames = vec![
        ClientFrame::Ping { number: 1 },
        ClientFrame::Pong { number: 2 },
        ClientFrame::Close { sequence: 3, code: CloseCode::Normal, text: "bye".to_owned() },
        ClientFrame::Create {
            request,
            name: topic("home/kitchen"),
            durability: Durability::Disk,
            retention: Retention::default(),
            genesis: vec![1; 40],
            delta: vec![2; 50],
        },
        ClientFrame::Open { request, name: topic("a"), start: Start::Last(5) },
        ClientFrame::Subscribe { request, filter: filter("home/+/#"), start: Start::Earliest },
        ClientFrame::Unsubscribe { request, filter: filter("#") },
        ClientFrame::Publisher { slot: 1, id: PublisherId([5; 16]), delegation: Vec::new() },
        ClientFrame::Wraps { wraps: vec![vec![6; 20], Vec::new()] },
        ClientFrame::Append { request, topic: handle, record: vec![7; 30] },
        ClientFrame::ListClients { request, after: Fingerprint([0; 32]), names: vec![name("alice")] },
        ClientFrame::ListTopics { request, after: "a".to_owned(), filter: filter("#") },
        ClientFrame::GetStats { request },
        ClientFrame::GetCrl { request, from: 0 },
        ClientFrame::Exit { forget: true },
        ClientFrame::Join { request, name: topic("a"), ask: vec![8; 40] },
        ClientFrame::ListRequests {
            request,
            follow: true,
            filter: filter("#"),
            after: "a".to_owned(),
            after_client: Fingerprint([1; 32]),
        },
        ClientFrame::Delete { request, name: topic("a") },
        ClientFrame::SetRetention { request, name: topic("a"), retention: Retention::default() },
        ClientFrame::GetCertificates { request, fingerprints: vec![Fingerprint([2; 32])] },
        ClientFrame::RecoveryCertificate { certificate: vec![9; 20] },
    ];
    for body in bodies() {
        frames.push(ClientFrame::Publish {
            slot: 0,
            topic: handle,
            epoch: Epoch(0),
            counter: Counter(1),
            body,
        });
    }
    assert!(frames.len() > ClientFrame::TYPES.len(), "each type of frame is there");
    alone_and_together(&frames, ClientFrame::encode)
}

/// Each of the frames that a broker has, alone, and some together.
pub fn broker_seeds() -> Vec<Vec<u8>> {
    let request = RequestId(7);
    let topic_handle = TopicHandle(2);
    let (offset, time) = (Offset(9), Wall(1_800_000_000_000));
    let certificate = STAGE.alice.1.der().to_vec();
    let entry = TopicEntry {
        name: topic("a/b"),
        topic: TopicId([7; 32]),
        role: Some(Role::Admin),
        owner: name("alice"),
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
        next: offset,
        messages: 7,
        bytes: 700,
        oldest: time,
    };
    let ask = JoinEntry { topic: topic("a"), time, ask: vec![8; 40], certificate: certificate.clone() };
    let mut frames = vec![
        BrokerFrame::Ping { number: 1 },
        BrokerFrame::Pong { number: 2 },
        BrokerFrame::Close { sequence: 3, code: CloseCode::Revoked, text: String::new() },
        BrokerFrame::Welcome {
            time,
            keepalive_secs: 60,
            message_bytes_max: 1 << 20,
            window: 1024,
            crl_number: 3,
            version: "0.1.0".to_owned(),
        },
        BrokerFrame::Done { request },
        BrokerFrame::Refused { request, code: RefuseCode::Busy, detail: 250, text: "later".to_owned() },
        BrokerFrame::Topic {
            request,
            topic: topic_handle,
            name: topic("a/b"),
            incarnation: Incarnation(8),
            start: Offset(2),
            end: offset,
            durability: Durability::Memory,
            notice: Notice::BeyondEnd,
        },
        BrokerFrame::Subscribed { request, matched: 2, others: 1 },
        BrokerFrame::Published { slot: 0, topic: topic_handle, counter: Counter(1), offset },
        BrokerFrame::PublishRefused {
            slot: 0,
            topic: topic_handle,
            counter: Counter(1),
            code: RefuseCode::EpochChanged,
            detail: 1,
        },
        BrokerFrame::Record {
            topic: topic_handle,
            offset,
            time,
            record: vec![1; 60],
            wrap: vec![2; 256],
            certificate: certificate.clone(),
        },
        BrokerFrame::Sender {
            topic: topic_handle,
            sender: 1,
            publisher: PublisherId([5; 16]),
            fingerprint: Fingerprint([6; 32]),
            name: name("bob"),
            delegation: Vec::new(),
            certificate: certificate.clone(),
        },
        BrokerFrame::CaughtUp { topic: topic_handle, next: offset },
        BrokerFrame::Gap { topic: topic_handle, from: Offset(1), to: Offset(5) },
        BrokerFrame::Ended { topic: topic_handle, code: RefuseCode::Deleted },
        BrokerFrame::Clients {
            request,
            more: false,
            clients: vec![ClientEntry { certificate, last_seen: time }],
        },
        BrokerFrame::Topics { request, more: true, topics: vec![entry] },
        BrokerFrame::Stats { request, stats: vec![Stat { name: "connections".to_owned(), value: 3 }] },
        BrokerFrame::CrlPart { request, number: 3, total: 10, from: 0, part: vec![3; 10] },
        BrokerFrame::CrlChanged { number: 4 },
        BrokerFrame::Requests { request, more: false, requests: vec![ask.clone()] },
        BrokerFrame::Requested { entry: ask },
        BrokerFrame::RotateDue { name: topic("a") },
    ];
    for body in bodies() {
        let (sender, epoch, counter) = (1, Epoch(0), Counter(1));
        frames.push(BrokerFrame::Message { topic: topic_handle, offset, time, sender, epoch, counter, body });
    }
    assert!(frames.len() > BrokerFrame::TYPES.len(), "each type of frame is there");
    alone_and_together(&frames, BrokerFrame::encode)
}

fn alone_and_together<T>(frames: &[T], encode: fn(&T, &mut Vec<u8>)) -> Vec<Vec<u8>> {
    let together = frames.chunks(5).chain(frames.chunks(1));
    together
        .map(|frames| {
            let mut out = Vec::new();
            frames.iter().for_each(|frame| encode(frame, &mut out));
            out
        })
        .collect()
}
