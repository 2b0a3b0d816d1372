//! A thousand clients on one broker at once.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sealmq::base::names::{Name, TopicFilter, TopicName};
use sealmq::client::{Answer, CreateRequest, Event, MemberChoice};
use sealmq::net::client::Connection;
use sealmq::wire::values::Start;

use crate::clients::{connection, pump, wait_for};
use crate::support::Home;

const CROWD: usize = 1000;
/// Handshakes under way at a time.
const BEGINNERS: usize = 64;
/// RSA for a thousand clients in this one process takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_thousand_clients_at_once_are_all_served() {
    // Three descriptors for each: the poll, its waker, the socket.
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(65_536);
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
        .expect("our own limit");
    if wanted < 4 * CROWD as u64 {
        eprintln!("skipped: {wanted} descriptors are too few for {CROWD} clients");
        return;
    }
    let home = Home::new();
    home.write_certificate("bob", &home.world.client("bob").1);
    let daemon = home.start();
    let topic = TopicName::parse("crowd").expect("a good name");

    let mut alice = connection(&home, &daemon, "alice", "alice");
    let mut request = CreateRequest::new(topic.clone());
    request.members = MemberChoice::Only(vec![Name::parse("bob").expect("a good name")]);
    alice.core().create(request);
    wait_for(&mut alice, PATIENCE, |event| match event {
        Event::Answer { result, .. } => Some(result.expect("the topic is made")),
        _ => None,
    });

    // This one process does the RSA of all of them, so only so many begin at a time.
    let mut crowd: Vec<Connection> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut seen: Vec<Vec<u8>> = vec![Vec::new(); CROWD];
    let mut subscribed = vec![false; CROWD];
    let mut published = false;
    while seen.iter().any(|contents| contents.len() < 3) {
        let settled = subscribed.iter().filter(|subscribed| **subscribed).count();
        assert!(Instant::now() < deadline, "{settled} of {} are subscribed", crowd.len());
        while crowd.len() < CROWD && crowd.len() < settled + BEGINNERS {
            let mut member = connection(&home, &daemon, "bob", "bob");
            member.core().subscribe(TopicFilter::from(&topic), Start::Earliest);
            crowd.push(member);
        }
        for (n, member) in crowd.iter_mut().enumerate() {
            for event in pump(member) {
                match event {
                    Event::Message(message) => seen[n].extend_from_slice(&message.content),
                    Event::CaughtUp { .. } => subscribed[n] = true,
                    Event::Integrity(fault) => panic!("client {n}: {fault:?}"),
                    Event::Disconnected { fatal: true, reason, .. } => panic!("client {n}: {reason}"),
                    _ => {}
                }
            }
        }
        if !published && subscribed.iter().all(|subscribed| *subscribed) {
            published = true;
            for content in [b"1", b"2", b"3"] {
                alice.core().publish(&topic, content).expect("room in the window");
            }
            for _ in 0..3 {
                wait_for(&mut alice, PATIENCE, |event| match event {
                    Event::Answer { result: Ok(Answer::Published { .. }), .. } => Some(()),
                    Event::Answer { result, .. } => panic!("{result:?}"),
                    _ => None,
                });
            }
        }
    }
    assert!(seen.iter().all(|contents| contents == b"123"), "everybody read all three, in order, once");
}
