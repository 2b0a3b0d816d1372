//! Connections: who gets in, how a session ends, what rude peers get.

use std::time::Duration;

use super::harness::{Harness, brief, publish, publisher};
use crate::base::ids::RequestId;
use crate::base::limits::CLOCK_SKEW;
use crate::base::transmit::Transmit;
use crate::broker::{BrokerConfig, BrokerEvent};
use crate::crypto::cert::Role;
use crate::session::client::{ClientHandshake, Step, Surroundings};
use crate::store::Memory;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::handshake::RefusalCode;
use crate::wire::values::{Retention, Start};

#[test]
fn exit_answers_first_and_then_closes() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "a", &[], Retention::default());
    h.send(
        &mut alice,
        &[publisher("alice"), publish(topic, 0, b"x"), ClientFrame::Exit { forget: true }],
        &[b"x"],
    );
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["published 0 at 2", "close Normal"]);
    assert_eq!(h.closed, [alice.id]);
    let mut again = h.connect("alice");
    let frames = h.open(&mut again, "a", Start::RecordsOnly);
    let BrokerFrame::Topic { topic, .. } = frames[0] else { panic!("{frames:?}") };
    h.send(&mut again, &[publisher("alice"), publish(topic, 0, b"y")], &[b"y"]);
    h.read(&mut again);
    assert_eq!(
        brief(&again.frames).last().map(String::as_str),
        Some("published 0 at 3"),
        "the id was forgotten"
    );
}

#[test]
fn the_close_names_the_record_that_it_stands_in() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let frames = h.ask(&mut alice, ClientFrame::Exit { forget: false });
    // Record 0 was the Welcome.
    assert!(matches!(frames[..], [BrokerFrame::Close { sequence: 1, .. }]), "{frames:?}");
}

#[test]
fn a_client_that_closes_is_gone() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let close =
        ClientFrame::Close { sequence: 0, code: crate::wire::values::CloseCode::Normal, text: String::new() };
    h.ask(&mut alice, close);
    assert_eq!(h.closed, [alice.id]);
}

#[test]
fn silence_is_pinged_and_then_ended() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    h.advance(Duration::from_secs(59));
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), [""; 0]);
    h.advance(Duration::from_secs(2));
    h.read(&mut alice);
    let BrokerFrame::Ping { number } = alice.frames[0] else { panic!("{:?}", alice.frames) };
    alice.frames.clear();
    h.send(&mut alice, &[ClientFrame::Pong { number }], &[]);
    h.advance(Duration::from_secs(59));
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), [""; 0], "a pong is a sign of life");
    h.advance(Duration::from_secs(62));
    h.read(&mut alice);
    h.advance(Duration::from_secs(61));
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["ping", "close Dead"]);
    assert_eq!(h.closed, [alice.id]);
}

#[test]
fn half_a_record_has_a_deadline_and_hurts_nobody_else() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let mut bob = h.connect("bob");
    let record = bob.seal(&[ClientFrame::Ping { number: 1 }], &[], h.now.wall);
    h.broker.handle_bytes(bob.id, &record[..record.len() - 1], h.now);
    h.settle();
    assert_eq!(brief(&h.ask(&mut alice, ClientFrame::Ping { number: 5 })), ["pong"]);
    h.advance(Duration::from_secs(31));
    h.read(&mut bob);
    assert_eq!(brief(&bob.frames), ["close Dead"]);
    assert_eq!(h.closed, [bob.id]);
}

#[test]
fn a_broken_record_ends_the_session_with_a_reason() {
    let mut h = Harness::new();
    let rude: [fn(&mut Vec<u8>); 3] = [
        |record| record[20] ^= 1,
        |record| record[..4].copy_from_slice(&u32::MAX.to_be_bytes()),
        |record| record[..4].copy_from_slice(&[0; 4]),
    ];
    for mutate in rude {
        let mut alice = h.connect("alice");
        let mut record = alice.seal(&[ClientFrame::Ping { number: 1 }], &[], h.now.wall);
        mutate(&mut record);
        h.broker.handle_bytes(alice.id, &record, h.now);
        h.read(&mut alice);
        assert_eq!(brief(&alice.frames), ["close ProtocolError"]);
        assert_eq!(h.closed.pop(), Some(alice.id));
    }
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "a", &[], Retention::default());
    h.send(&mut alice, &[publisher("alice"), publish(topic, 0, b"x")], &[b"y"]);
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["close ProtocolError"], "a body with another hash");
    let mut bob = h.connect("bob");
    let stats = h.ask(&mut bob, ClientFrame::GetStats { request: RequestId(1) });
    let BrokerFrame::Stats { stats, .. } = &stats[0] else { panic!("{stats:?}") };
    let published = stats.iter().find(|stat| stat.name == "messages published").map(|stat| stat.value);
    assert_eq!(published, Some(0), "no frame of a broken record acts");
}

#[test]
fn garbage_before_the_handshake_is_refused_in_clear() {
    let mut h = Harness::new();
    for (bytes, code) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], RefusalCode::TooLarge),
        (&[0, 0, 0, 0][..], RefusalCode::Malformed),
        (&[0, 0, 0, 1, 99][..], RefusalCode::Malformed),
        (&[0, 0, 0, 1, 3][..], RefusalCode::Unexpected),
        (&[0, 0, 0, 2, 1, 0][..], RefusalCode::Malformed),
    ] {
        let id = h.accept();
        h.broker.handle_bytes(id, bytes, h.now);
        assert_eq!(h.refusal(id).code, code, "{bytes:?}");
        assert_eq!(h.closed.pop(), Some(id));
    }
}

#[test]
fn a_handshake_has_ten_seconds() {
    let mut h = Harness::new();
    let id = h.accept();
    let (_, hello) = ClientHandshake::start(&mut h.seeded());
    for byte in &hello[..9] {
        h.advance(Duration::from_secs(1));
        h.broker.handle_bytes(id, &[*byte], h.now);
        h.settle();
    }
    assert!(h.closed.is_empty());
    h.advance(Duration::from_secs(2));
    assert_eq!(h.refusal(id).code, RefusalCode::Timeout);
    assert_eq!(h.closed, [id]);
}

#[test]
fn a_byte_at_a_time_is_as_good() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let record = alice.seal(&[ClientFrame::Ping { number: 3 }], &[], h.now.wall);
    for byte in record {
        h.broker.handle_bytes(alice.id, &[byte], h.now);
        h.settle();
    }
    h.read(&mut alice);
    assert_eq!(alice.frames, [BrokerFrame::Pong { number: 3 }]);
}

#[test]
fn hellos_that_wait_share_one_signature() {
    let mut h = Harness::new();
    let ids: Vec<_> = (0..100)
        .map(|_| {
            let id = h.accept();
            let (_, hello) = ClientHandshake::start(&mut h.seeded());
            h.broker.handle_bytes(id, &hello, h.now);
            id
        })
        .collect();
    for _ in 0..200 {
        h.advance(Duration::from_millis(1));
        h.settle();
    }
    assert!(ids.iter().all(|id| !h.drain(*id).is_empty()), "everybody was answered");
    let signatures = h.broker.counters.signatures;
    assert!((1..=8).contains(&signatures), "{signatures} signatures for 100 hellos");
}

#[test]
fn a_revoked_client_is_ended_in_the_turn_of_the_reload() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let mut bob = h.connect("bob");
    let crl = h.world.crl(&[*bob.certificate.serial()], 1);
    let mut trust = h.world.trust.clone();
    trust.update_crl(&crl, h.now.wall).expect("a good list");
    h.broker.reload(None, trust, h.now);
    h.read(&mut bob);
    assert_eq!(brief(&bob.frames).last().map(String::as_str), Some("close Revoked"));
    h.read(&mut alice);
    assert_eq!(alice.frames, [BrokerFrame::CrlChanged { number: 1 }]);
    // And may not come back.
    let id = h.accept();
    let mut entropy = h.seeded();
    let (state, hello) = ClientHandshake::start(&mut entropy);
    h.broker.handle_bytes(id, &hello, h.now);
    h.advance(Duration::from_millis(30));
    let answer = h.drain(id);
    let surroundings = Surroundings {
        trust: &h.world.trust,
        certificate: &bob.certificate,
        key: &bob.key,
        host: None,
        now: h.now.wall,
        entropy: &mut entropy,
    };
    let Ok(Step::Handshake(state, auth)) = state.handle(answer[4], &answer[5..], surroundings) else {
        panic!("the broker is good");
    };
    h.broker.handle_bytes(id, &auth, h.now);
    let answer = h.drain(id);
    let surroundings = Surroundings {
        trust: &h.world.trust,
        certificate: &bob.certificate,
        key: &bob.key,
        host: None,
        now: h.now.wall,
        entropy: &mut entropy,
    };
    let refused = state.handle(answer[4], &answer[5..], surroundings).err().expect("a refusal");
    assert!(refused.to_string().contains("revoked"), "{refused}");
}

#[test]
fn a_session_ends_with_its_certificate() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let left = alice.certificate.not_after().since(h.now.wall) + CLOCK_SKEW;
    h.advance(left - Duration::from_secs(30));
    h.read(&mut alice);
    alice.frames.clear();
    h.send(&mut alice, &[ClientFrame::Ping { number: 1 }], &[]);
    h.read(&mut alice);
    h.advance(Duration::from_secs(31));
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames).last().map(String::as_str), Some("close Expired"));
}

#[test]
fn a_shutdown_tells_everybody() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let fresh = h.accept();
    h.broker.shutdown(h.now);
    h.settle();
    assert_eq!(h.closed, [fresh]);
    assert!(!h.broker.can_accept());
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["close ShuttingDown"]);
    assert!(h.broker.is_drained());
}

#[test]
fn one_client_may_have_two_sessions() {
    let mut h = Harness::new();
    let mut one = h.connect("alice");
    let mut two = h.connect("alice");
    let topic = h.create(&mut one, "a", &[], Retention::default());
    h.subscribe(&mut two, "a", Start::Earliest);
    h.name_publisher(&mut one);
    h.publish(&mut one, topic, 0..1);
    h.read(&mut two);
    assert_eq!(brief(&two.frames), ["sender", "message 2"]);
    h.broker.handle_eof(two.id, h.now);
    h.settle();
    h.publish(&mut one, topic, 1..2);
}

#[test]
fn a_client_may_not_come_as_a_broker_nor_the_other_way_round() {
    let mut h = Harness::new();
    let broker_certificate = h.world.verified(&h.world.broker.1, Role::Broker);
    let broker_key = h.world.broker.0.clone();
    let id = h.accept();
    let mut entropy = h.seeded();
    let (state, hello) = ClientHandshake::start(&mut entropy);
    h.broker.handle_bytes(id, &hello, h.now);
    h.advance(Duration::from_millis(30));
    let answer = h.drain(id);
    let surroundings = |entropy| Surroundings {
        trust: &h.world.trust,
        certificate: &broker_certificate,
        key: &broker_key,
        host: None,
        now: h.now.wall,
        entropy,
    };
    let Ok(Step::Handshake(state, auth)) = state.handle(answer[4], &answer[5..], surroundings(&mut entropy))
    else {
        panic!("the broker is good");
    };
    h.broker.handle_bytes(id, &auth, h.now);
    let mut h2 = h;
    let answer = h2.drain(id);
    let refused = state
        .handle(
            answer[4],
            &answer[5..],
            Surroundings {
                trust: &h2.world.trust,
                certificate: &broker_certificate,
                key: &broker_key,
                host: None,
                now: h2.now.wall,
                entropy: &mut entropy,
            },
        )
        .err()
        .expect("a refusal");
    let crate::session::client::ClientError::Refused { refusal, authenticated: true } = refused else {
        panic!("{refused}");
    };
    assert_eq!(refusal.code, RefusalCode::CertWrongUsage);
}

#[test]
fn full_places_go_to_those_who_speak() {
    let config = BrokerConfig { pending_connections_max: 2, ..BrokerConfig::default() };
    let mut h = Harness::with(config, Box::new(Memory::new(1 << 20)));
    let silent = h.accept();
    h.advance(Duration::from_millis(500));
    let (_, hello) = ClientHandshake::start(&mut h.seeded());
    let polite = h.accept();
    h.broker.handle_bytes(polite, &hello, h.now);
    h.settle();
    assert!(!h.broker.can_accept());
    h.advance(Duration::from_millis(600));
    assert_eq!(h.refusal(silent).code, RefusalCode::Busy);
    assert!(h.broker.can_accept());
}

/// The edge for bytes that come while a command is put off was gone when it was done.
#[test]
fn input_behind_a_command_that_was_put_off_is_asked_for() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let (frames, _) = h.creation(&mut alice, "a", &[], Retention::default());
    let frames = [&frames[..], &[publisher("alice")]].concat();
    // Uses up the RSA budget, so that the creation has to wait.
    while h.broker.budget.try_take(crate::session::budget::RsaCost::public(2048)) {}
    h.send(&mut alice, &frames, &[]);
    h.broker.turn(h.now);
    assert!(!h.broker.wants_read(alice.id), "the creation is put off");
    let mut asked = false;
    for _ in 0..40 {
        h.advance(Duration::from_millis(1));
        h.broker.turn(h.now);
        while let Some(event) = h.broker.poll_event() {
            asked |= event == BrokerEvent::Readable(alice.id) && h.broker.wants_read(alice.id);
        }
        let mut out = Transmit::new();
        while h.broker.poll_transmit(alice.id, h.now, &mut out) {}
    }
    assert!(asked, "the driver is told to read again, at a time when that is of use");
}
