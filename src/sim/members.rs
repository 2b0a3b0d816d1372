//! Membership between client cores and the broker core, without weather: whoever asks gets in as the
//! topic's policy and its owner say, whoever leaves is out, and races end well.

use std::time::Duration;

use crate::base::ids::ConnId;
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::base::transmit::Transmit;
use crate::base::{Mono, Now};
use crate::broker::{Broker, BrokerConfig, BrokerEvent, Identity};
use crate::client::pins::Pins;
use crate::client::{
    Amended, Answer, Client, ClientConfig, ClientIdentity, CreateRequest, Event, Failure, GrantAs, History,
    Join, MemberChoice, MemberRole, Notice, Ticket,
};
use crate::crypto::cert::testing::{NOON, Seeded, World, name, world};
use crate::crypto::cert::{Certificate, Role, Trust};
use crate::store::Memory;
use crate::wire::values::{Retention, Start};

/// A broker and the clients that are connected to it.
struct Town {
    world: World,
    broker: Broker,
    people: Vec<Person>,
    now: Now,
}

struct Person {
    core: Client,
    conn: Option<ConnId>,
    events: Vec<Event>,
}

impl Town {
    /// The broker's trust and the clients' hold a revocation list that names nobody.
    fn new(who: &[&str]) -> Town {
        Town::with(BrokerConfig::default(), who)
    }

    fn with(config: BrokerConfig, who: &[&str]) -> Town {
        Town::over(Memory::new(1 << 24), config, who)
    }

    fn over(store: Memory, config: BrokerConfig, who: &[&str]) -> Town {
        let world = world();
        let identity = Identity {
            certificate: world.verified(&world.broker.1, Role::Broker),
            key: world.broker.0.clone(),
        };
        let trust = trust(&world, &[], 1);
        let now = Now { mono: Mono(1_000_000), wall: NOON };
        let broker =
            Broker::new(config, identity, trust.clone(), Box::new(store), Box::new(Seeded::new(1)), now);
        let mut town = Town { world, broker, people: Vec::new(), now };
        for who in who {
            town.arrive(who, trust.clone());
        }
        town.run();
        town
    }

    fn arrive(&mut self, who: &str, trust: Trust) {
        let (key, der) = self.world.client(who);
        let identity = ClientIdentity { certificate: self.world.verified(&der, Role::Client), key };
        let seed = 10 + self.people.len() as u64;
        let config = ClientConfig { host: "localhost".into(), ..ClientConfig::default() };
        let core = Client::new(config, identity, trust, Pins::default(), Box::new(Seeded::new(seed)));
        self.people.push(Person { core, conn: None, events: Vec::new() });
        self.dial(self.people.len() - 1);
    }

    fn dial(&mut self, who: usize) {
        let conn = self.broker.accept("192.0.2.7:4000".parse().expect("an address"), self.now);
        self.people[who].conn = Some(conn);
        self.people[who].core.connect(self.now);
    }

    /// The connection is cut, before what is on its way has come.
    fn cut(&mut self, who: usize) {
        let conn = self.people[who].conn.take().expect("a connection");
        self.broker.handle_eof(conn, self.now);
        self.people[who].core.handle_eof(None, self.now);
    }

    /// One exchange in each direction; whether something moved.
    fn step(&mut self) -> bool {
        self.now.mono = self.now.mono + Duration::from_millis(10);
        self.now.wall = self.now.wall + Duration::from_millis(10);
        let mut moved = self.broker.turn(self.now);
        while let Some(event) = self.broker.poll_event() {
            if let BrokerEvent::Close(id) = event
                && let Some(person) = self.people.iter_mut().find(|p| p.conn == Some(id))
            {
                person.conn = None;
                person.core.handle_eof(None, self.now);
            }
        }
        for person in &mut self.people {
            let mut out = Transmit::new();
            while person.core.poll_transmit(self.now, &mut out) {}
            let up = out.take_all();
            let Some(conn) = person.conn else { continue };
            if !up.is_empty() {
                self.broker.handle_bytes(conn, &up, self.now);
            }
            while self.broker.poll_transmit(conn, self.now, &mut out) {}
            let down = out.take_all();
            if !down.is_empty() {
                person.core.handle_bytes(&down, self.now);
            }
            moved |= !up.is_empty() || !down.is_empty();
            person.events.extend(std::iter::from_fn(|| person.core.poll_event()));
        }
        moved
    }

    fn run(&mut self) {
        let mut still = 0;
        for _ in 0..10_000 {
            still = if self.step() { 0 } else { still + 1 };
            if still > 20 {
                return;
            }
        }
        panic!("they never come to rest");
    }

    /// The answer to a ticket; other events stay.
    fn answer(&mut self, who: usize, ticket: Ticket) -> Result<Answer, Failure> {
        self.run();
        let is_it = |event: &Event| matches!(event, Event::Answer { ticket: t, .. } if *t == ticket);
        let events = &mut self.people[who].events;
        let at = events.iter().position(is_it).unwrap_or_else(|| panic!("no answer, but {events:?}"));
        match events.remove(at) {
            Event::Answer { result, .. } => result,
            _ => unreachable!("it was found to be an answer"),
        }
    }

    fn amended(&mut self, who: usize, ticket: Ticket) -> Amended {
        match self.answer(who, ticket) {
            Ok(Answer::Amended(amended)) => amended,
            other => panic!("{other:?}"),
        }
    }

    fn create(&mut self, who: usize, members: &[&str], join: Join, history: History) {
        let members = match members {
            [] => MemberChoice::OnlyMe,
            some => MemberChoice::Only(names(some)),
        };
        let request = CreateRequest { members, join, history, ..CreateRequest::in_memory(topic()) };
        let ticket = self.people[who].core.create(request);
        let answer = self.answer(who, ticket);
        assert!(matches!(answer, Ok(Answer::Created(_))), "{answer:?}");
    }

    /// Members' names and roles as somebody's verified records say.
    fn members(&mut self, who: usize) -> Vec<(String, MemberRole)> {
        let ticket = self.people[who].core.members(&topic());
        match self.answer(who, ticket) {
            Ok(Answer::Members(m)) => m.members.into_iter().map(|m| (m.name.to_string(), m.role)).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn notices(&self, who: usize) -> Vec<String> {
        let notice = |event: &Event| match event {
            Event::Notice(notice) => Some(notice.to_string()),
            _ => None,
        };
        self.people[who].events.iter().filter_map(notice).collect()
    }

    /// Everybody's broker trusts a list that names these; clients fetch it.
    fn revoke(&mut self, gone: &[&Certificate], number: u64) {
        let trust = trust(&self.world, gone, number);
        self.broker.reload(None, trust, self.now);
        self.run();
    }
}

fn trust(world: &World, gone: &[&Certificate], number: u64) -> Trust {
    let mut trust = world.trust.clone();
    let serials: Vec<_> = gone.iter().map(|c| *c.serial()).collect();
    trust.update_crl(&world.crl(&serials, number), NOON).expect("a good list");
    trust
}

fn topic() -> TopicName {
    TopicName::parse("home/door").expect("a good name")
}

fn names(who: &[&str]) -> Vec<Name> {
    who.iter().map(|who| name(who)).collect()
}

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

#[test]
fn who_asks_is_granted_and_who_is_revoked_is_out() {
    let mut town = Town::new(&["alice", "bob", "carol"]);
    for history in [History::All, History::SinceJoin] {
        town.create(ALICE, &[], Join::Ask, history);
        let filter = TopicFilter::from(&topic());
        let ticket = town.people[BOB].core.subscribe(filter.clone(), Start::Earliest);
        let answer = town.answer(BOB, ticket);
        assert!(matches!(answer, Ok(Answer::Subscribed { matched: 0, others: 1, .. })), "{answer:?}");
        let ticket = town.people[BOB].core.join(&topic());
        let Ok(Answer::Asked(asked)) = town.answer(BOB, ticket) else { panic!("bob may ask") };
        assert_eq!((asked.owner.as_str(), asked.owner_seen.is_some()), ("alice", true));
        let ticket = town.people[BOB].core.open(&topic());
        assert!(matches!(town.answer(BOB, ticket), Err(Failure::Waiting { owner_seen: Some(_), .. })));

        let ticket = town.people[ALICE].core.requests(filter.clone());
        let Ok(Answer::Requests(requests)) = town.answer(ALICE, ticket) else { panic!("alice may ask") };
        assert_eq!(
            requests.iter().map(|r| (r.name.as_str(), &r.fault)).collect::<Vec<_>>(),
            [("bob", &None)]
        );
        let ticket = town.people[ALICE].core.grant(&topic(), names(&["bob"]), GrantAs::Admin);
        let granted = town.amended(ALICE, ticket);
        assert_eq!((granted.number, granted.members), (2, 2));
        assert_eq!(granted.new_epoch, history == History::SinceJoin);
        assert_eq!(granted.added[0].role, MemberRole::Admin);
        let is_announced = |e: &Event| matches!(e, Event::Opened(opened) if opened.topic == topic());
        assert!(town.people[BOB].events.iter().any(is_announced), "the filter brings it");

        // Bob may let in carol as a member, but not as more.
        let ticket = town.people[BOB].core.grant(&topic(), names(&["carol"]), GrantAs::Admin);
        assert!(matches!(town.answer(BOB, ticket), Err(Failure::NotAllowed { .. })));
        let ticket = town.people[BOB].core.grant(&topic(), names(&["carol"]), GrantAs::Member);
        assert_eq!(town.amended(BOB, ticket).members, 3);
        let ticket = town.people[CAROL].core.revoke(&topic(), names(&["bob"]));
        let refused = town.answer(CAROL, ticket).expect_err("carol is a plain member");
        assert!(refused.to_string().contains("alice") && refused.to_string().contains("bob"), "{refused}");
        assert_eq!(refused.exit_code(), 5);

        let ticket = town.people[ALICE].core.revoke(&topic(), names(&["bob", "carol"]));
        let revoked = town.amended(ALICE, ticket);
        assert_eq!((revoked.removed.len(), revoked.members, revoked.new_epoch), (2, 1, true));
        let ticket = town.people[BOB].core.open(&topic());
        assert_eq!(town.answer(BOB, ticket), Err(Failure::NotMember(topic())));
        let ticket = town.people[BOB].core.join(&topic());
        assert!(matches!(town.answer(BOB, ticket), Err(Failure::Denied { .. })), "removed, so not by asking");
        // By hand he may come back.
        let ticket = town.people[ALICE].core.grant(&topic(), names(&["bob"]), GrantAs::Member);
        assert_eq!(town.amended(ALICE, ticket).added.len(), 1);
        assert_eq!(town.members(BOB).len(), 2);

        let ticket = town.people[BOB].core.delete(&topic());
        assert!(matches!(town.answer(BOB, ticket), Err(Failure::NotAllowed { .. })));
        let retention = Retention { count: 5, ..Retention::default() };
        let ticket = town.people[ALICE].core.set_retention(&topic(), retention);
        assert_eq!(town.answer(ALICE, ticket), Ok(Answer::RetentionSet { topic: topic(), retention }));
        let ticket = town.people[ALICE].core.delete(&topic());
        assert_eq!(town.answer(ALICE, ticket), Ok(Answer::Deleted { topic: topic() }));
        let ticket = town.people[BOB].core.unsubscribe(filter);
        town.answer(BOB, ticket).expect("it ends");
        town.people.iter_mut().for_each(|person| person.events.clear());
    }
}

#[test]
fn denials_and_closed_doors_say_so() {
    let mut town = Town::new(&["alice", "bob"]);
    town.create(ALICE, &[], Join::Ask, History::All);
    let ticket = town.people[ALICE].core.deny(&topic(), names(&["bob"]), "not yours");
    assert_eq!(town.amended(ALICE, ticket).denied, names(&["bob"]));
    let ticket = town.people[BOB].core.join(&topic());
    let denied = Failure::Denied { topic: topic(), because: "not yours".into() };
    assert_eq!(town.answer(BOB, ticket), Err(denied));
    let ticket = town.people[ALICE].core.deny(&topic(), names(&["bob"]), "not yours");
    assert_eq!(town.amended(ALICE, ticket).unchanged, names(&["bob"]));
    let ticket = town.people[ALICE].core.grant(&topic(), names(&["bob"]), GrantAs::Member);
    assert_eq!(town.amended(ALICE, ticket).members, 2);
    let ticket = town.people[BOB].core.join(&topic());
    assert_eq!(town.answer(BOB, ticket), Err(Failure::AlreadyMember(topic())));
    let ticket = town.people[ALICE].core.set_join_policy(&topic(), Join::Closed);
    assert_eq!(town.amended(ALICE, ticket).number, 4);
    let trust = trust(&town.world, &[], 1);
    town.arrive("carol", trust);
    town.run();
    let ticket = town.people[CAROL].core.join(&topic());
    assert_eq!(town.answer(CAROL, ticket), Err(Failure::Closed { topic: topic() }));
}

#[test]
fn an_open_topic_is_answered_by_itself_but_never_for_who_was_removed() {
    let mut town = Town::new(&["alice", "bob", "carol"]);
    town.create(ALICE, &["bob"], Join::Open, History::All);
    town.people[ALICE].core.watch(true);
    // Bob is no admin: his watching shows and does nothing.
    town.people[BOB].core.watch(true);
    let ticket = town.people[CAROL].core.join(&topic());
    assert!(matches!(town.answer(CAROL, ticket), Ok(Answer::Asked(_))));
    assert_eq!(town.members(CAROL).len(), 3);
    let let_in = |event: &Event| matches!(event, Event::Notice(Notice::LetIn { name, .. }) if name.as_str() == "carol");
    assert_eq!(town.people[ALICE].events.iter().filter(|e| let_in(e)).count(), 1);
    assert!(!town.people[BOB].events.iter().any(let_in));
    let ticket = town.people[ALICE].core.revoke(&topic(), names(&["carol"]));
    town.amended(ALICE, ticket);
    let ticket = town.people[CAROL].core.join(&topic());
    assert!(matches!(town.answer(CAROL, ticket), Err(Failure::Denied { .. })));
    assert_eq!(town.members(ALICE).len(), 2);
}

#[test]
fn a_revoked_member_is_removed_by_whoever_watches_once() {
    let mut town = Town::new(&["alice", "bob", "carol"]);
    town.create(ALICE, &["bob", "carol"], Join::Ask, History::All);
    let ticket = town.people[ALICE].core.grant(&topic(), names(&["bob"]), GrantAs::Admin);
    assert_eq!(town.amended(ALICE, ticket).changed.len(), 1);
    // Two clients that may do it see it at the same time.
    town.people[ALICE].core.watch(true);
    town.people[BOB].core.watch(true);
    town.run();
    let carol = town.world.verified(&town.world.client("carol").1, Role::Client);
    town.revoke(&[&carol], 2);
    assert_eq!(town.members(ALICE).len(), 2);
    assert_eq!(town.members(BOB).len(), 2);
    let all = [town.notices(ALICE), town.notices(BOB)].concat();
    assert_eq!(all.iter().filter(|n| n.contains("without carol")).count(), 1, "{all:?}");
    let ticket = town.people[ALICE].core.rotate(&topic());
    let rotated = town.amended(ALICE, ticket);
    assert_eq!((rotated.epoch.0, rotated.members), (2, 2), "one epoch for the removal, one now");
}

#[test]
fn two_who_change_a_topic_at_once_both_get_their_way() {
    let mut town = Town::new(&["alice", "bob", "carol"]);
    town.create(ALICE, &["bob"], Join::Ask, History::All);
    let ticket = town.people[ALICE].core.grant(&topic(), names(&["bob"]), GrantAs::Admin);
    town.amended(ALICE, ticket);
    town.members(BOB);
    let one = town.people[ALICE].core.grant(&topic(), names(&["carol"]), GrantAs::Member);
    let other = town.people[BOB].core.grant(&topic(), names(&["carol"]), GrantAs::Member);
    let rotate = town.people[BOB].core.rotate(&topic());
    let (one, other) = (town.amended(ALICE, one), town.amended(BOB, other));
    assert_eq!(one.added.len() + other.added.len(), 1, "{one:?} {other:?}");
    assert_eq!(one.unchanged.len() + other.unchanged.len(), 1);
    assert_eq!(town.amended(BOB, rotate).epoch.0, 1);
    assert_eq!(town.members(CAROL).len(), 3);
}

#[test]
fn a_lost_connection_does_not_do_a_thing_twice_or_not_at_all() {
    for steps in 0..14 {
        let mut town = Town::new(&["alice", "bob"]);
        town.create(ALICE, &[], Join::Ask, History::All);
        town.members(ALICE);
        let ticket = town.people[ALICE].core.grant(&topic(), names(&["bob"]), GrantAs::Member);
        (0..steps).for_each(|_| _ = town.step());
        if town.people[ALICE]
            .events
            .iter()
            .any(|e| matches!(e, Event::Answer { ticket: t, .. } if *t == ticket))
        {
            continue;
        }
        town.cut(ALICE);
        (0..5).for_each(|_| _ = town.step());
        town.dial(ALICE);
        let granted = town.amended(ALICE, ticket);
        assert_eq!((granted.number, granted.added.len()), (2, 1), "cut after {steps} steps: {granted:?}");
        assert_eq!(town.members(BOB).len(), 2);
    }
}

#[test]
fn a_connection_that_is_lost_while_certificates_are_asked_for_does_not_fail_a_rotation() {
    for steps in 0..8 {
        let mut town = Town::new(&["alice", "bob"]);
        town.create(ALICE, &["bob"], Join::Ask, History::All);
        town.members(ALICE);
        let ticket = town.people[ALICE].core.rotate(&topic());
        (0..steps).for_each(|_| _ = town.step());
        let is_answer = |e: &Event| matches!(e, Event::Answer { ticket: t, .. } if *t == ticket);
        if town.people[ALICE].events.iter().any(is_answer) {
            continue;
        }
        town.cut(ALICE);
        town.step();
        town.dial(ALICE);
        let rotated = town.amended(ALICE, ticket);
        assert_eq!((rotated.number, rotated.epoch.0), (2, 1), "cut after {steps} steps: {rotated:?}");
    }
}

#[test]
fn a_recovery_key_is_a_member_that_never_connects() {
    let mut town = Town::new(&["alice", "bob"]);
    let safe = town.world.client("carol").1;
    let create = |town: &mut Town, recovery: Vec<Vec<u8>>| {
        let members = MemberChoice::Only(names(&["bob"]));
        let request = CreateRequest { members, recovery, ..CreateRequest::in_memory(topic()) };
        let ticket = town.people[ALICE].core.create(request);
        town.answer(ALICE, ticket)
    };
    let own = town.world.client("alice").1;
    assert!(matches!(create(&mut town, vec![own]), Err(Failure::BadClient { .. })), "nobody's own");
    assert!(matches!(create(&mut town, vec![vec![1]]), Err(Failure::Machine(_))));
    assert!(matches!(create(&mut town, vec![safe.clone(); 9]), Err(Failure::Machine(_))), "eight at most");
    let Ok(Answer::Created(created)) = create(&mut town, vec![safe]) else { panic!("it is made") };
    let roles: Vec<_> = created.members.iter().map(|m| (m.name.as_str(), m.role)).collect();
    let expected =
        [("alice", MemberRole::Owner), ("bob", MemberRole::Member), ("carol", MemberRole::Recovery)];
    assert_eq!(roles, expected);
    // A rotation has a wrap for it, too.
    let ticket = town.people[ALICE].core.rotate(&topic());
    assert_eq!(town.amended(ALICE, ticket).members, 3);
    assert_eq!(town.members(BOB).len(), 3);
}

#[test]
fn members_read_what_their_epochs_allow() {
    for (history, old_is_read) in [(History::All, true), (History::SinceJoin, false)] {
        let mut town = Town::new(&["alice", "bob", "carol"]);
        town.create(ALICE, &["carol"], Join::Ask, history);
        let publish = |town: &mut Town, content: &[u8]| {
            let ticket = town.people[ALICE].core.publish(&topic(), content).expect("room");
            assert!(matches!(town.answer(ALICE, ticket), Ok(Answer::Published { .. })));
        };
        publish(&mut town, b"old");
        let ticket = town.people[ALICE].core.revoke(&topic(), names(&["carol"]));
        town.amended(ALICE, ticket);
        publish(&mut town, b"middle");
        let ticket = town.people[ALICE].core.grant(&topic(), names(&["bob"]), GrantAs::Member);
        town.amended(ALICE, ticket);
        publish(&mut town, b"new");
        // His keys come with records behind the oldest messages, so the records first.
        assert_eq!(town.members(BOB).len(), 2);
        town.people[BOB].core.subscribe(TopicFilter::from(&topic()), Start::Earliest);
        town.run();
        let content = |event: &Event| match event {
            Event::Message(message) => Some(String::from_utf8_lossy(&message.content).into_owned()),
            _ => None,
        };
        let read: Vec<String> = town.people[BOB].events.iter().filter_map(content).collect();
        let expected: &[&str] = if old_is_read { &["old", "middle", "new"] } else { &["new"] };
        assert_eq!(read, expected, "{history}");
    }
}

#[test]
fn records_that_are_not_in_ram_any_more_come_first_with_messages_between_them() {
    let mut town =
        Town::with(BrokerConfig { tail_bytes_max: 0, ..BrokerConfig::default() }, &["alice", "bob"]);
    town.create(ALICE, &["bob"], Join::Ask, History::All);
    for content in [&b"one"[..], b"two", b"three"] {
        let ticket = town.people[ALICE].core.publish(&topic(), content).expect("room");
        town.answer(ALICE, ticket).expect("it is stored");
        let ticket = town.people[ALICE].core.rotate(&topic());
        town.amended(ALICE, ticket);
    }
    town.people[BOB].core.subscribe(TopicFilter::from(&topic()), Start::Earliest);
    town.run();
    let read = town.people[BOB].events.iter().filter(|event| matches!(event, Event::Message(_))).count();
    assert_eq!(read, 3);
}

#[test]
fn a_message_that_outlives_its_time_while_older_ones_are_dropped_does_not_hold_the_broker() {
    for seed in 0..4 {
        let store = Memory::with_delay(1 << 24, seed, 4);
        let mut town = Town::over(store, BrokerConfig::default(), &["alice"]);
        let retention = Retention { age_ms: 35, count: 0, bytes: 0 };
        let ticket =
            town.people[ALICE].core.create(CreateRequest { retention, ..CreateRequest::in_memory(topic()) });
        town.answer(ALICE, ticket).expect("it is made");
        for _ in 0..40 {
            town.people[ALICE].core.publish(&topic(), b"short-lived").expect("room");
            town.step();
        }
        town.run();
        let published = |e: &&Event| matches!(e, Event::Answer { result: Ok(Answer::Published { .. }), .. });
        assert_eq!(town.people[ALICE].events.iter().filter(published).count(), 40);
    }
}
