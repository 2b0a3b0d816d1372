//! A broker that says whatever comes to its mind: the client ends sessions, answers each ticket
//! once, and never panics.

use std::collections::BTreeMap;

use super::rig::{Rig, filter, topic};
use super::topic::{HANDLE, Script};
use crate::base::entropy::{Entropy, random_array};
use crate::base::ids::{Counter, Offset, RequestId, TopicHandle};
use crate::base::time::Wall;
use crate::base::transmit::Transmit;
use crate::client::{CreateRequest, Event, MemberChoice, Ticket};
use crate::crypto::cert::testing::Seeded;
use crate::wire::frame::BrokerFrame;
use crate::wire::values::{ClientEntry, CloseCode, RefuseCode, Start};

struct Dice(Seeded);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        u64::from_be_bytes(random_array(&mut self.0)) % sides
    }

    fn code(&mut self) -> RefuseCode {
        let all = RefuseCode::ALL;
        all[self.roll(all.len() as u64) as usize]
    }
}

/// Something that a broker might say, right or wrong.
fn frame(dice: &mut Dice, script: &Script, rig: &Rig) -> (BrokerFrame, Option<Vec<u8>>) {
    let request = RequestId(1 + dice.roll(8) as u32);
    let handle = TopicHandle(HANDLE.0 + u32::from(dice.roll(10) == 0));
    let (counter, offset) = (Counter(dice.roll(4)), Offset(dice.roll(6)));
    let (slot, code, detail) = (dice.roll(2) as u16, dice.code(), dice.roll(3));
    let me = rig.client.identity.certificate.fingerprint();
    let frame = match dice.roll(18) {
        0 | 1 => script.announce(request, dice.roll(4), 4),
        2 | 3 => script.record(dice.roll(script.records.len() as u64) as usize, me),
        4 => script.sender(),
        5 | 6 => {
            let (frame, body) = script.message(offset.0, counter.0, b"content");
            return (frame, Some(body));
        }
        7 => BrokerFrame::CaughtUp { topic: handle, next: offset },
        8 => BrokerFrame::Gap { topic: handle, from: offset, to: offset.next() },
        9 => BrokerFrame::Ended { topic: handle, code },
        10 => BrokerFrame::Published { slot, topic: handle, counter, offset },
        11 => BrokerFrame::PublishRefused { slot, topic: handle, counter, code, detail },
        12 => BrokerFrame::Refused { request, code, detail, text: String::new() },
        13 => BrokerFrame::Done { request },
        14 => BrokerFrame::Subscribed { request, matched: 1, others: 0 },
        15 => {
            let certificate = rig.world.client("carol").1;
            let clients = vec![ClientEntry { certificate, last_seen: Wall(0) }];
            BrokerFrame::Clients { request, more: dice.roll(3) == 0, clients }
        }
        16 => BrokerFrame::Topics { request, more: dice.roll(2) == 0, topics: Vec::new() },
        _ => match dice.roll(4) {
            0 => BrokerFrame::Stats { request, stats: Vec::new() },
            1 => BrokerFrame::CrlChanged { number: detail },
            2 => BrokerFrame::CrlPart { request, number: 1, total: 9, from: 0, part: vec![1; 9] },
            _ => BrokerFrame::Pong { number: request.0.into() },
        },
    };
    (frame, None)
}

fn ask(dice: &mut Dice, rig: &mut Rig) -> Option<Ticket> {
    let name = topic("a/b");
    let client = &mut rig.client;
    Some(match dice.roll(10) {
        0 => client.stats(),
        1 => client.ping(),
        2 => client.topics(filter("#")),
        3 => client.known_clients(),
        4 => client.open(&name),
        5 => client.members(&name),
        6 => client.subscribe(filter("a/#"), Start::Earliest),
        7 => client.unsubscribe(filter("a/#")),
        8 => client.create(CreateRequest { members: MemberChoice::OnlyMe, ..CreateRequest::new(name) }),
        _ => return client.publish(&name, b"x").ok(),
    })
}

/// Counts the answers of each ticket; returns whether the client has closed.
fn count(rig: &mut Rig, answers: &mut BTreeMap<Ticket, u32>) -> bool {
    let mut closed = false;
    for event in rig.events() {
        assert!(!closed, "nothing comes after Closed: {event:?}");
        match event {
            Event::Answer { ticket, .. } => *answers.entry(ticket).or_default() += 1,
            Event::Closed => closed = true,
            _ => {}
        }
    }
    closed
}

fn misbehave(seed: u64) {
    let mut dice = Dice(Seeded::new(seed));
    let mut rig = Rig::connected("bob");
    let mut script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    script.rotate(3);
    let (mut tickets, mut answers, mut sessions) = (Vec::new(), BTreeMap::new(), 1);
    for _ in 0..120 {
        match dice.roll(40) {
            0..=11 => tickets.extend(ask(&mut dice, &mut rig)),
            12 => rig.cut(),
            13 => rig.pass(std::time::Duration::from_secs(1)),
            14 if rig.client.is_connected() => rig.close(CloseCode::ALL[dice.roll(3) as usize]),
            _ if rig.client.is_connected() => {
                let (frame, body) = frame(&mut dice, &script, &rig);
                rig.say_with(&[frame], &body.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            _ if !rig.client.is_over() && sessions < 8 => {
                rig.connect();
                sessions += 1;
            }
            _ => {}
        }
        rig.run();
        assert!(!count(&mut rig, &mut answers));
    }
    rig.client.exit();
    rig.pass(std::time::Duration::from_secs(10));
    assert!(count(&mut rig, &mut answers), "seed {seed}: it closes in any case");
    let expected: BTreeMap<Ticket, u32> = tickets.into_iter().map(|ticket| (ticket, 1)).collect();
    assert_eq!(answers, expected, "seed {seed}: one answer each");
}

#[test]
fn each_ticket_has_one_answer_whatever_the_broker_says() {
    (0..12).for_each(misbehave);
}

#[test]
fn garbage_is_survived_in_every_state() {
    let mut dice = Dice(Seeded::new(1));
    for round in 0..300 {
        let mut rig = Rig::new("bob");
        if round % 100 == 0 {
            rig.connect();
        } else {
            rig.client.connect(rig.now);
        }
        let mut garbage = vec![0; dice.roll(400) as usize];
        dice.0.fill(&mut garbage);
        // Half of them with a length that lets the rest be looked at.
        if round % 2 == 0 && garbage.len() > 5 {
            let len = garbage.len() as u32 - 4;
            garbage[..4].copy_from_slice(&len.to_be_bytes());
            garbage[4] %= 9;
        }
        rig.client.handle_bytes(&garbage, rig.now);
        rig.client.handle_eof(None, rig.now);
        let mut out = Transmit::new();
        while rig.client.poll_transmit(rig.now, &mut out) {}
        let ends = rig.events().iter().filter(|e| matches!(e, Event::Disconnected { .. })).count();
        assert_eq!(ends, 1, "round {round}");
    }
}
