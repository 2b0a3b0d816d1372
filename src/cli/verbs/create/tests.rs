use clap::Parser;

use super::*;
use crate::base::Wall;
use crate::base::ids::TopicId;
use crate::client::{Member, MemberRole};

const ME: Fingerprint = Fingerprint([0xee; 32]);

fn typed(line: &str) -> args::NewTopic {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: args::NewTopic,
    }
    Line::try_parse_from(line.split(' ')).expect("a good line").create
}

fn client(name: &str, byte: u8) -> KnownClient {
    KnownClient {
        name: Name::parse(name).expect("a good name"),
        fingerprint: Fingerprint([byte; 32]),
        not_after: Wall::from_secs(1),
        last_seen: None,
        fault: None,
    }
}

fn bad(name: &str, byte: u8) -> KnownClient {
    KnownClient { fault: Some("the certificate was revoked".to_owned()), ..client(name, byte) }
}

/// Whom this computer knows: by the byte of the fingerprint.
fn known(people: &[(&str, u8)]) -> Pins {
    let mut pins = Pins::default();
    for (name, byte) in people {
        pins.pin_peer(&Name::parse(name).expect("a good name"), Fingerprint([*byte; 32]), Wall(1));
    }
    pins
}

fn plan(line: &str, clients: &[KnownClient], who: &[(&str, u8)], can_ask: bool) -> Result<Plan, CliError> {
    let topic = typed(line);
    let new_readers = NewReaders::choose(topic.trust_new, can_ask);
    Plan::new(&topic, clients.to_vec(), Vec::new(), ME, &known(who), new_readers)
}

fn chosen(plan: &Plan) -> Vec<&str> {
    match &plan.request.members {
        MemberChoice::Only(names) => names.iter().map(Name::as_str).collect(),
        MemberChoice::OnlyMe => Vec::new(),
        MemberChoice::AllKnown => panic!("whoever is shown is named"),
    }
}

#[test]
fn all_known_clients_but_oneself() {
    let clients = [client("alice", 0xee), client("bob", 1), client("carol", 2), bad("dave", 3)];
    let plan = plan("create a/b", &clients, &[("bob", 1), ("carol", 2)], false).expect("a plan");
    assert_eq!(chosen(&plan), ["bob", "carol"]);
    assert!(
        plan.readers.remarks[0].contains("dave") && plan.readers.remarks[0].contains("revoked"),
        "{:?}",
        plan.readers.remarks
    );
    assert!(!plan.must_ask(&typed("create a/b")));
}

#[test]
fn the_new_are_left_out_unless_trusted_or_asked_about() {
    let clients = [client("bob", 1), client("carol", 2)];
    let silent = plan("create a", &clients, &[("bob", 1)], false).expect("a plan");
    assert_eq!(chosen(&silent), ["bob"]);
    assert!(
        silent.readers.remarks[0].contains("carol 0202") && silent.readers.remarks[0].contains("--trust-new")
    );
    assert!(!silent.must_ask(&typed("create a")));

    let trusting = plan("create a --trust-new", &clients, &[("bob", 1)], false).expect("a plan");
    assert_eq!(chosen(&trusting), ["bob", "carol"]);
    assert!(!trusting.must_ask(&typed("create a --trust-new")));

    let asking = plan("create a", &clients, &[("bob", 1)], true).expect("a plan");
    assert_eq!(chosen(&asking), ["bob", "carol"]);
    assert!(asking.must_ask(&typed("create a")));
    assert!(asking.lines()[1].ends_with("new") && asking.lines()[0].ends_with("01"), "{:?}", asking.lines());
}

#[test]
fn somebody_asked_for_is_never_left_out_in_silence() {
    let clients = [client("bob", 1), bad("dave", 3)];
    let refused = |line| plan(line, &clients, &[], false).expect_err("refused");
    let new = refused("create a --to bob");
    assert!(new.to_string().contains("bob 0101") && new.to_string().contains("--trust-new"), "{new}");
    let fault = refused("create a --to dave --trust-new");
    assert_eq!(fault.exit(), Exit::Refused);
    let unknown = refused("create a --to bob,erna");
    assert!(
        unknown.to_string().contains("erna") && unknown.to_string().contains("it knows bob, dave"),
        "{unknown}"
    );
}

#[test]
fn two_keys_in_force_stop_it_and_are_both_shown() {
    let clients = [client("bob", 1), client("bob", 2), client("carol", 3)];
    for line in ["create a --trust-new", "create a --to bob"] {
        let error = plan(line, &clients, &[("bob", 1), ("carol", 3)], false).expect_err("ambiguous");
        assert_eq!(error.exit(), Exit::Integrity);
        let text = error.to_string();
        assert!(text.contains(&"01".repeat(32)) && text.contains(&"02".repeat(32)), "{text}");
    }
    // Of the one that is no longer in force nobody has to know.
    let clients = [client("bob", 1), bad("bob", 2)];
    assert_eq!(chosen(&plan("create a --to bob", &clients, &[("bob", 1)], false).expect("one")), ["bob"]);
    assert!(
        plan(
            "create a --to carol",
            &[client("bob", 1), client("bob", 2), client("carol", 3)],
            &[("carol", 3)],
            false
        )
        .is_ok()
    );
}

#[test]
fn only_me_asks_nobody() {
    let plan = plan("create a --only-me", &[client("bob", 1)], &[], false).expect("a plan");
    assert_eq!(plan.request.members, MemberChoice::OnlyMe);
    assert!(plan.readers.list.is_empty() && plan.readers.remarks.is_empty());
}

#[test]
fn what_was_made_is_held_against_what_was_chosen() {
    let topic = typed("create a --trust-new");
    let plan =
        Plan::new(&topic, vec![client("bob", 1)], Vec::new(), ME, &Pins::default(), NewReaders::Include)
            .expect("a plan");
    let member = |name: &str, byte, me| Member {
        name: Name::parse(name).expect("a good name"),
        fingerprint: Fingerprint([byte; 32]),
        role: MemberRole::Member,
        me,
    };
    let made =
        |members| Created { topic: topic.topic.clone(), id: TopicId([0; 32]), members, skipped: Vec::new() };
    let good = made(vec![member("alice", 0xee, true), member("bob", 1, false)]);
    assert!(plan.check(&good).is_ok());
    assert_eq!(plan.report(&good)[0], "created a for 2 members");
    assert!(plan.report(&good)[2].ends_with("new"));
    for wrong in [member("bob", 2, false), member("eve", 1, false)] {
        let error = plan.check(&made(vec![member("alice", 0xee, true), wrong])).expect_err("changed");
        assert_eq!(error.exit(), Exit::Integrity);
    }
}

#[test]
fn a_key_that_has_changed_stops_it_and_both_are_shown() {
    for line in ["create a --trust-new", "create a --to bob --trust-new"] {
        let error = plan(line, &[client("bob", 2)], &[("bob", 1)], true).expect_err("another key");
        assert_eq!(error.exit(), Exit::Integrity);
        let text = error.to_string();
        assert!(text.contains(&"01".repeat(32)) && text.contains(&"02".repeat(32)), "{text}");
        assert!(text.contains("sealmq trust replace bob --fingerprint"), "{text}");
    }
}

#[test]
fn retention_as_typed() {
    let topic = typed(
        "create a --retain-count 5 --retain-bytes 1MiB --retain-age 2h --durability disk --policy open",
    );
    let made = request(&topic);
    assert_eq!(made.retention, Retention { count: 5, bytes: 1 << 20, age_ms: 7_200_000 });
    assert_eq!(request(&typed("create a")).retention, Retention::default());
}
