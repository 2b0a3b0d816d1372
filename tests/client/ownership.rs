//! Whose a topic is and who somebody is: deleted topics, topics made anew, keys that change.

use crate::support::Town;

#[test]
fn only_the_owner_deletes_and_says_so_twice() {
    let town = Town::new();
    town.topic("a");
    assert_eq!(town.run("bob", "delete a --yes").code, 5);
    let unsure = town.run("alice", "delete a");
    assert!(unsure.code == 2 && unsure.err.contains("--yes"), "{unsure:?}");
    let mut reader = town.start("bob", "sub a");
    town.good("alice", "pub -t a -m last");
    assert_eq!(reader.line(), "last");
    assert_eq!(town.good("alice", "delete a --yes"), "deleted a\n");
    assert!(!reader.wait().success(), "nothing more can come");
    let gone = town.run("alice", "delete a --yes");
    assert!(gone.code == 1 && gone.err.contains("sealmq create 'a'"), "{gone:?}");
}

#[test]
fn retention_is_shown_and_changed_by_its_owner() {
    let town = Town::new();
    town.topic("a");
    assert_eq!(town.good("bob", "retention a"), "a keeps 10000 messages or 64 MiB, whichever is less\n");
    let changed = town.good("alice", "retention a --retain-count 1 --retain-bytes 0");
    assert_eq!(changed, "a keeps 1 messages\n");
    assert_eq!(town.run("bob", "retention a --retain-count 2").code, 5);
    let sent = town.run_with("alice", "pub -t a -l", b"one\ntwo\n");
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(town.good("bob", "sub a -e"), "two\n");
}

#[test]
fn a_topic_made_anew_by_its_owner_is_taken_by_another_it_is_not() {
    let town = Town::new();
    town.topic("a");
    town.good("alice", "pub -t a -m old");
    assert_eq!(town.good("bob", "sub a -e --owner alice"), "old\n");
    town.good("alice", "delete a --yes");
    town.topic("a");
    town.good("alice", "pub -t a -m new");
    let anew = town.run("bob", "sub a -e");
    assert_eq!((anew.code, anew.out.as_str()), (0, "new\n"), "{anew:?}");
    assert!(anew.err.contains("a new topic of the same owner"), "{}", anew.err);

    town.good("alice", "delete a --yes");
    town.good("carol", "create a --to bob --trust-new");
    for line in ["sub a -e", "pub -t a -m secret"] {
        let other = town.run("bob", line);
        assert_eq!(other.code, 7, "{line}: {other:?}");
        assert!(
            other.err.contains("a topic of alice") && other.err.contains("made by carol"),
            "{}",
            other.err
        );
    }
    let json = town.run("bob", "sub a -e -J");
    let event: serde_json::Value = serde_json::from_str(json.out.trim()).expect("one JSON line");
    assert_eq!((json.code, &event["event"], &event["stopped"]), (7, &"integrity".into(), &true.into()));

    assert_eq!(town.good("bob", "forget a"), "forgot a, a topic of alice\n");
    assert_eq!(town.good("bob", "forget a"), "nothing was known of a\n");
    assert_eq!(town.run("bob", "sub a -e --owner alice").code, 7);
    assert_eq!(town.good("bob", "sub a -e --owner carol"), "");
}

#[test]
fn somebody_with_another_key_is_not_let_in_before_a_person_says_so() {
    let mut town = Town::new();
    town.topic("a");
    town.good("alice", "create b --only-me");
    // A broker without memory knows only the new certificate.
    town.reissue("bob");
    town.replace_broker();
    town.good("alice", "create c --only-me");
    let new = town.good("bob", "fingerprint");
    let new = new.split_whitespace().next().expect("a fingerprint");
    for line in ["create d --to bob --trust-new", "grant c bob --trust-new"] {
        let changed = town.run("alice", line);
        assert_eq!(changed.code, 7, "{line}: {changed:?}");
        let old = town.world.client("bob").0.public().fingerprint().to_string();
        assert!(changed.err.contains(new) && changed.err.contains(&old), "{line}: {}", changed.err);
    }
    town.good("alice", &format!("trust replace bob --fingerprint {new}"));
    assert_eq!(town.good("alice", "grant c bob"), "c: bob can read and publish; 2 members\n");
    town.good("alice", "pub -t c -m hello");
    assert_eq!(town.good("bob", "sub c -e"), "hello\n");
}
