//! Handshake, end, return, keepalive, exit.

use std::time::Duration;

use super::rig::{KEEPALIVE, Rig, filter, topic, welcome};
use crate::base::transmit::Transmit;
use crate::client::{Answer, ClientConfig, Disconnect, Event, Failure, Notice};
use crate::crypto::cert::testing::NOON;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::handshake::{MessageType, RefusalCode, message};
use crate::wire::values::{CloseCode, Start};

const SECOND: Duration = Duration::from_secs(1);

/// The one event there is: why the connection ended, and whether for good.
fn disconnected(rig: &mut Rig) -> (Disconnect, bool) {
    let mut events = rig.events();
    assert_eq!(events.len(), 1, "{events:?}");
    match events.remove(0) {
        Event::Disconnected { reason, fatal, retry_at } => {
            assert_eq!(retry_at, rig.client.reconnect_at());
            assert_eq!((retry_at.is_none(), rig.client.is_over()), (fatal, fatal));
            (reason, fatal)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_comes_up_and_says_who_the_broker_is() {
    let mut rig = Rig::new("alice");
    assert!(!rig.client.wants_transport() && rig.client.reconnect_at().is_none());
    rig.shake_hands();
    assert!(rig.peer.is_active() && !rig.client.is_connected(), "the Welcome is still to come");
    rig.say(&[welcome()]);
    assert!(rig.client.is_connected() && rig.client.wants_transport());
    match &rig.events()[..] {
        [Event::Connected(c)] => {
            assert_eq!((c.broker.as_str(), c.resumed, c.time), ("broker", false, NOON));
            assert_eq!(c.fingerprint, rig.peer.certificate.fingerprint());
        }
        other => panic!("{other:?}"),
    }
    rig.cut();
    rig.events();
    rig.connect();
    assert!(matches!(&rig.events()[..], [Event::Connected(c)] if c.resumed));
}

#[test]
fn a_broker_for_another_host_is_refused_for_good() {
    let config = ClientConfig { host: "elsewhere.test".into(), ..ClientConfig::default() };
    let mut rig = Rig::with("alice", config);
    let ticket = rig.client.stats();
    rig.shake_hands();
    assert!(!rig.client.wants_transport());
    let events = rig.events();
    let [Event::Answer { ticket: answered, result: Err(failure) }, Event::Disconnected { reason, fatal, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*answered, *fatal, failure.exit_code()), (ticket, true, 4));
    let Disconnect::WrongHost { host, broker, hosts } = reason else { panic!("{reason:?}") };
    assert_eq!((host.as_str(), broker.as_str()), ("elsewhere.test", "broker"));
    assert!(hosts.contains(&"localhost".to_owned()));

    rig.client.connect(rig.now);
    assert!(!rig.client.wants_transport(), "it is over");
    let late = rig.client.ping();
    let answers = rig.answers();
    assert!(matches!(answers[..], [(t, Err(Failure::Session(_)))] if t == late));
}

#[test]
fn certificates_out_of_date_end_it_for_good_on_either_side() {
    let days = |n: u64| Duration::from_secs(n * 86_400);
    let mut rig = Rig::new("alice");
    rig.now.wall = rig.now.wall + days(500);
    rig.shake_hands();
    let (reason, fatal) = disconnected(&mut rig);
    assert!(fatal && matches!(&reason, Disconnect::BrokerCertificate(why) if why.contains("expired")));

    // The broker's clock is ahead, ours is not: its refusal is sealed, so it counts.
    let mut rig = Rig::new("alice");
    let there = rig.now.wall + days(500);
    rig.client.connect(rig.now);
    let mut out = Transmit::new();
    while rig.client.poll_transmit(rig.now, &mut out) {
        let then = crate::base::Now { wall: there, ..rig.now };
        let answer = rig.peer.handle(&out.take_all(), then);
        rig.client.handle_bytes(&answer, rig.now);
    }
    let (reason, fatal) = disconnected(&mut rig);
    assert!(fatal, "{reason:?}");
    let Disconnect::Refused { code, authentic, .. } = &reason else { panic!("{reason:?}") };
    assert_eq!((*code, *authentic, reason.exit_code()), (RefusalCode::CertExpired, true, 4));
}

#[test]
fn a_refusal_in_clear_never_stops_the_retries() {
    for code in [RefusalCode::CertRevoked, RefusalCode::Authentication, RefusalCode::Busy] {
        let mut rig = Rig::new("alice");
        rig.client.connect(rig.now);
        let refusal = crate::wire::handshake::Refusal { code, retry_after_ms: 7000, text: "no".into() };
        let bytes = message(MessageType::Refusal, &refusal.encode());
        rig.client.handle_bytes(&bytes, rig.now);
        let (reason, fatal) = disconnected(&mut rig);
        assert!(!fatal && matches!(reason, Disconnect::Refused { authentic: false, .. }));
        assert_eq!(reason.exit_code(), 3);
        assert!(rig.client.reconnect_at() >= Some(rig.now.mono + 7 * SECOND), "as the broker asked");
    }
}

#[test]
fn attempts_are_spread_from_a_quarter_of_a_second_to_half_a_minute() {
    let mut rig = Rig::new("alice");
    let mut longest = Duration::ZERO;
    for attempt in 0..40 {
        rig.client.handle_unreachable("nothing listens".into(), rig.now);
        let (reason, fatal) = disconnected(&mut rig);
        assert!(!fatal && reason == Disconnect::Unreachable("nothing listens".into()));
        let wait = rig.client.reconnect_at().expect("it comes back").since(rig.now.mono);
        let bound = Duration::from_millis(250 << (attempt + 1).min(7)).min(30 * SECOND);
        assert!(wait >= Duration::from_millis(250) && wait <= bound, "{attempt}: {wait:?}");
        longest = longest.max(wait);
    }
    assert!(longest > 15 * SECOND, "{longest:?}");
}

#[test]
fn a_good_session_makes_the_next_attempt_soon() {
    let mut rig = Rig::new("alice");
    for _ in 0..20 {
        rig.client.handle_unreachable(String::new(), rig.now);
    }
    rig.connect();
    rig.pass(10 * SECOND);
    rig.events();
    rig.cut();
    assert_eq!(disconnected(&mut rig), (Disconnect::Lost(None), false));
    let wait = rig.client.reconnect_at().expect("it comes back").since(rig.now.mono);
    assert!(wait <= Duration::from_millis(500), "{wait:?}");
}

#[test]
fn a_silent_handshake_ends_after_ten_seconds() {
    let mut rig = Rig::new("alice");
    rig.client.connect(rig.now);
    rig.pass(9 * SECOND);
    assert!(rig.events().is_empty());
    rig.pass(SECOND);
    assert_eq!(disconnected(&mut rig), (Disconnect::HandshakeTimeout, false));

    let mut rig = Rig::new("alice");
    rig.shake_hands();
    rig.pass(10 * SECOND);
    assert_eq!(disconnected(&mut rig), (Disconnect::HandshakeTimeout, false), "no Welcome came");
}

#[test]
fn silence_is_pinged_and_then_believed() {
    let mut rig = Rig::connected("alice");
    rig.pass(SECOND * u32::from(KEEPALIVE));
    let heard = rig.heard();
    assert!(matches!(heard[..], [ClientFrame::Ping { .. }]), "{heard:?}");
    rig.say(&[BrokerFrame::Ping { number: 9 }]);
    assert_eq!(rig.heard(), [ClientFrame::Pong { number: 9 }]);
    rig.pass(SECOND * 2 * u32::from(KEEPALIVE));
    assert_eq!(disconnected(&mut rig), (Disconnect::BrokerSilent, false));
    let heard = rig.heard();
    assert!(matches!(heard.last(), Some(ClientFrame::Close { code: CloseCode::Dead, .. })), "{heard:?}");
}

#[test]
fn what_is_not_read_is_not_silence() {
    let config = ClientConfig { host: "localhost".into(), event_bytes_max: 0, ..ClientConfig::default() };
    let mut rig = Rig::with("alice", config);
    rig.connect();
    assert!(!rig.client.wants_read(), "an event waits");
    rig.pass(SECOND * 10 * u32::from(KEEPALIVE));
    assert!(rig.client.is_connected());
    let pings = rig.heard();
    assert!(pings.len() >= 9, "the broker hears from us: {pings:?}");
    assert!(matches!(rig.events()[..], [Event::Connected(_)]));
    assert!(rig.client.wants_read());
    rig.pass(SECOND * 3 * u32::from(KEEPALIVE));
    assert_eq!(disconnected(&mut rig), (Disconnect::BrokerSilent, false));
}

#[test]
fn goodbyes_are_told_from_cuts() {
    for (code, fatal) in [
        (CloseCode::ShuttingDown, false),
        (CloseCode::Normal, false),
        (CloseCode::Limit, false),
        (CloseCode::Revoked, true),
        (CloseCode::Expired, true),
    ] {
        let mut rig = Rig::connected("alice");
        rig.close(code);
        let expected = Disconnect::Closed { code, text: String::new() };
        assert_eq!(disconnected(&mut rig), (expected, fatal));
    }
    let mut rig = Rig::connected("alice");
    let early = rig.peer.next_sequence() - 1;
    rig.say(&[BrokerFrame::Close { sequence: early, code: CloseCode::Normal, text: String::new() }]);
    assert!(matches!(disconnected(&mut rig), (Disconnect::Protocol(_), false)));
}

#[test]
fn what_the_protocol_does_not_allow_ends_the_session() {
    let number = crate::base::ids::RequestId(99);
    let frames = [
        welcome(),
        BrokerFrame::Done { request: number },
        BrokerFrame::Subscribed { request: number, matched: 0, others: 0 },
        BrokerFrame::Stats { request: number, stats: Vec::new() },
        BrokerFrame::CaughtUp { topic: crate::base::ids::TopicHandle(5), next: crate::base::ids::Offset(0) },
    ];
    for frame in frames {
        let mut rig = Rig::connected("alice");
        rig.say(std::slice::from_ref(&frame));
        let (reason, fatal) = disconnected(&mut rig);
        assert!(!fatal && matches!(reason, Disconnect::Protocol(_)), "{frame:?}: {reason:?}");
        let heard = rig.heard();
        assert!(
            matches!(heard[..], [ClientFrame::Close { code: CloseCode::ProtocolError, sequence: 0, .. }]),
            "{frame:?}: {heard:?}"
        );
    }
    let mut rig = Rig::new("alice");
    rig.shake_hands();
    rig.say(&[BrokerFrame::CrlChanged { number: 1 }]);
    assert!(matches!(disconnected(&mut rig), (Disconnect::Protocol(_), false)), "before the Welcome");
}

#[test]
fn a_changed_record_is_not_obeyed() {
    let mut rig = Rig::connected("alice");
    let good = rig.peer.say(&[BrokerFrame::Ping { number: 1 }], &[], rig.now);
    let mut bad = good.clone();
    *bad.last_mut().expect("a record has bytes") ^= 1;
    rig.client.handle_bytes(&bad, rig.now);
    let (reason, fatal) = disconnected(&mut rig);
    assert!(!fatal && matches!(reason, Disconnect::Protocol(_)));
    assert_eq!(reason.exit_code(), 7);
    let heard = rig.heard();
    assert!(!heard.iter().any(|f| matches!(f, ClientFrame::Pong { .. })), "{heard:?}");
    rig.client.handle_bytes(&good, rig.now);
    assert!(rig.heard().is_empty());
}

#[test]
fn questions_wait_for_a_session_and_are_asked_again_in_the_next() {
    let mut rig = Rig::new("alice");
    let tickets = [rig.client.stats(), rig.client.ping(), rig.client.topics(filter("#"))];
    rig.connect();
    assert_eq!(rig.heard().len(), 3);
    rig.cut();
    assert!(rig.answers().is_empty());
    rig.connect();
    let heard = rig.heard();
    let [
        ClientFrame::GetStats { request },
        ClientFrame::Ping { number },
        ClientFrame::ListTopics { request: list, .. },
    ] = heard[..]
    else {
        panic!("{heard:?}")
    };
    rig.now.mono = rig.now.mono + Duration::from_millis(3);
    rig.say(&[
        BrokerFrame::Topics { request: list, more: false, topics: Vec::new() },
        BrokerFrame::Pong { number },
        BrokerFrame::Stats { request, stats: Vec::new() },
    ]);
    let round_trip = Duration::from_millis(3);
    let expected = [
        (tickets[2], Ok(Answer::Topics(Vec::new()))),
        (tickets[1], Ok(Answer::Pong { round_trip })),
        (tickets[0], Ok(Answer::Stats(Vec::new()))),
    ];
    assert_eq!(rig.answers(), expected);
}

#[test]
fn every_ticket_is_answered_when_it_ends_for_good() {
    let mut rig = Rig::connected("alice");
    let name = topic("a");
    let mut tickets = vec![
        rig.client.stats(),
        rig.client.known_clients(),
        rig.client.create(crate::client::CreateRequest::new(name.clone())),
        rig.client.subscribe(filter("#"), Start::Latest),
        rig.client.unsubscribe(filter("b")),
        rig.client.open(&name),
        rig.client.members(&name),
        rig.client.publish(&name, b"x").expect("there is room"),
    ];
    rig.run();
    rig.close(CloseCode::Revoked);
    let mut answered = Vec::new();
    for event in rig.events() {
        match event {
            Event::Answer { ticket, result: Err(failure) } => {
                assert!(matches!(failure.exit_code(), 4), "{failure:?}");
                answered.push(ticket);
            }
            Event::Disconnected { fatal, .. } => assert!(fatal),
            other => panic!("{other:?}"),
        }
    }
    tickets.sort();
    answered.sort();
    assert_eq!(answered, tickets);
    let late = rig.client.publish(&name, b"y").expect("answered at once");
    assert!(matches!(rig.answers()[..], [(t, Err(Failure::Session(_)))] if t == late));
}

#[test]
fn exit_waits_for_answers_then_for_the_goodbye() {
    let mut rig = Rig::connected("alice");
    let ticket = rig.client.stats();
    rig.client.exit();
    let heard = rig.heard();
    let [ClientFrame::GetStats { request }] = heard[..] else { panic!("{heard:?}") };
    let refused = rig.client.ping();
    rig.say(&[BrokerFrame::Stats { request, stats: Vec::new() }]);
    assert_eq!(rig.heard(), [ClientFrame::Exit { forget: true }]);
    assert_eq!(rig.answers(), [(refused, Err(Failure::Exiting)), (ticket, Ok(Answer::Stats(Vec::new())))]);
    assert!(rig.client.wants_transport());
    rig.close(CloseCode::Normal);
    assert!(matches!(rig.events()[..], [Event::Closed]));
    assert!(rig.client.is_over() && !rig.client.wants_transport() && rig.client.reconnect_at().is_none());
    rig.client.exit();
    assert!(rig.events().is_empty(), "closed once");
}

#[test]
fn exit_without_a_session_is_immediate_and_a_silent_broker_delays_it_ten_seconds() {
    let mut rig = Rig::new("alice");
    let ticket = rig.client.stats();
    rig.client.exit();
    let events = rig.events();
    let [Event::Answer { ticket: answered, result: Err(Failure::Exiting) }, Event::Closed] = events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(answered, ticket);

    let mut rig = Rig::connected("alice");
    rig.client.stats();
    rig.client.exit();
    rig.pass(9 * SECOND);
    assert!(rig.events().is_empty());
    rig.pass(SECOND);
    assert!(matches!(rig.events()[..], [Event::Answer { result: Err(_), .. }, Event::Closed]));
}

#[test]
fn what_a_person_should_know_is_said_once_a_session() {
    let mut rig = Rig::new("alice");
    rig.now.wall = rig.now.wall + Duration::from_secs(380 * 86_400);
    rig.connect();
    let events = rig.events();
    let notices: Vec<&Notice> = events
        .iter()
        .filter_map(|event| match event {
            Event::Notice(notice) => Some(notice),
            _ => None,
        })
        .collect();
    assert!(
        matches!(
            notices[..],
            [
                Notice::CertificateEnds { .. },
                Notice::BrokerCertificateEnds { .. },
                Notice::ClocksDiffer { .. }
            ]
        ),
        "{events:?}"
    );
}

#[test]
fn a_newer_revocation_list_is_fetched_verified_and_enforced() {
    let mut rig = Rig::connected("alice");
    let der = rig.world.crl(&[], 3);
    rig.say(&[BrokerFrame::CrlChanged { number: 3 }]);
    let heard = rig.heard();
    let [ClientFrame::GetCrl { request, from: 0 }] = heard[..] else { panic!("{heard:?}") };
    let (first, second) = der.split_at(100);
    let part = |request, from: usize, part: &[u8]| BrokerFrame::CrlPart {
        request,
        number: 3,
        total: der.len() as u32,
        from: from as u32,
        part: part.to_vec(),
    };
    rig.say(&[part(request, 0, first)]);
    let heard = rig.heard();
    let [ClientFrame::GetCrl { request, from: 100 }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[part(request, 100, second)]);
    let events = rig.events();
    assert!(
        matches!(&events[..], [Event::CrlUpdated { der: kept, number: 3 }] if **kept == *der),
        "{events:?}"
    );
    assert_eq!(rig.client.trust().crl_number(), Some(3));
    rig.say(&[BrokerFrame::CrlChanged { number: 3 }, BrokerFrame::CrlChanged { number: 2 }]);
    assert!(rig.heard().is_empty(), "no news");

    // A list that is not the CA's changes nothing.
    rig.say(&[BrokerFrame::CrlChanged { number: 4 }]);
    let heard = rig.heard();
    let [ClientFrame::GetCrl { request, .. }] = heard[..] else { panic!("{heard:?}") };
    let mut forged = rig.world.crl(&[], 4);
    *forged.last_mut().expect("a list has bytes") ^= 1;
    rig.say(&[BrokerFrame::CrlPart {
        request,
        number: 4,
        total: forged.len() as u32,
        from: 0,
        part: forged,
    }]);
    assert!(matches!(rig.events()[..], [Event::Notice(Notice::CrlRefused(_))]));
    assert!(rig.client.is_connected());
    assert_eq!(rig.client.trust().crl_number(), Some(3));
}

#[test]
fn a_revoked_broker_is_left_for_good() {
    let mut rig = Rig::connected("alice");
    let der = rig.world.crl(&[*rig.peer.certificate.serial()], 1);
    rig.say(&[BrokerFrame::CrlChanged { number: 1 }]);
    let heard = rig.heard();
    let [ClientFrame::GetCrl { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[BrokerFrame::CrlPart { request, number: 1, total: der.len() as u32, from: 0, part: der }]);
    let events = rig.events();
    let [Event::CrlUpdated { .. }, Event::Disconnected { reason, fatal: true, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(matches!(reason, Disconnect::BrokerCertificate(_)));
}

/// Shakes hands with a broker that hears a broken ClientReady; the client gets its refusal in pieces.
fn refuse_ready(rig: &mut Rig, tamper: impl Fn(&mut Vec<u8>)) {
    rig.client.connect(rig.now);
    let mut out = Transmit::new();
    for step in 0..3 {
        assert!(rig.client.poll_transmit(rig.now, &mut out), "message {step} of the client's");
        let mut bytes = out.take_all();
        if step == 2 {
            *bytes.last_mut().expect("a MAC") ^= 1;
        }
        let mut answer = rig.peer.handle(&bytes, rig.now);
        if step == 2 {
            assert_eq!(answer[4], MessageType::SealedRefusal as u8);
            tamper(&mut answer);
        }
        answer.chunks(100).for_each(|piece| rig.client.handle_bytes(piece, rig.now));
    }
}

#[test]
fn a_refusal_of_client_ready_is_told_from_a_record() {
    let mut rig = Rig::new("alice");
    refuse_ready(&mut rig, |_| {});
    let (reason, _) = disconnected(&mut rig);
    let is_authentic =
        matches!(reason, Disconnect::Refused { code: RefusalCode::Authentication, authentic: true, .. });
    assert!(is_authentic, "{reason:?}");

    let mut rig = Rig::new("alice");
    refuse_ready(&mut rig, |answer| *answer.last_mut().expect("a message") ^= 1);
    let (reason, fatal) = disconnected(&mut rig);
    assert!(matches!(reason, Disconnect::Protocol(_)) && !fatal, "{reason:?}");
}

#[test]
fn a_sealed_refusal_behind_the_first_record_is_none() {
    let mut rig = Rig::connected("alice");
    rig.client.handle_bytes(&message(MessageType::SealedRefusal, &[0; 100]), rig.now);
    let (reason, fatal) = disconnected(&mut rig);
    assert!(matches!(reason, Disconnect::Protocol(_)) && !fatal, "{reason:?}");
}
