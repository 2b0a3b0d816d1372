//! Who comes to a topic, who leaves it, who asks: from asking to join to being removed.

use crate::support::Town;

/// Makes a topic of alice's that nobody else reads, with one message.
fn door(town: &Town, flags: &str) {
    town.good("alice", &format!("create home/door --only-me {flags}"));
    town.good("alice", "pub -t home/door -m past");
}

#[test]
fn a_late_joiner_asks_is_let_in_and_reads_the_past() {
    let town = Town::new();
    door(&town, "--policy ask");
    let asked = town.run("bob", "sub home/door");
    assert_eq!(asked.code, 6, "{asked:?}");
    assert!(
        asked.err.contains("asked to join home/door; the owner alice was here until just now"),
        "{asked:?}"
    );
    let again = town.run("bob", "pub -t home/door -m x");
    assert_eq!(again.code, 6, "{again:?}");
    assert_eq!(town.good("alice", "topics"), "home/door  owner  1 asks to join\n");
    let table = town.good("alice", "requests");
    let bob = town.world.client("bob").0.public().fingerprint();
    let row: Vec<&str> = table.lines().nth(1).expect("bob asks").split_whitespace().collect();
    assert_eq!(row[..3], ["home/door", "bob", bob.short().as_str()]);
    let json: serde_json::Value =
        serde_json::from_str(&town.good("alice", "requests home/door -J")).expect("JSON");
    assert_eq!((&json["name"], &json["fingerprint"]), (&"bob".into(), &bob.to_string().into()));
    assert_eq!(town.good("alice", "requests other/#"), "");

    let unknown = town.run("alice", "grant home/door bob");
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.err.contains(&bob.to_string()) && unknown.err.contains("--trust-new"), "{unknown:?}");
    let granted = town.good("alice", "grant home/door bob --trust-new");
    assert_eq!(granted, "home/door: bob can read and publish; 2 members\n");
    assert_eq!(town.good("alice", "requests"), "");
    assert_eq!(town.good("bob", "sub home/door -e -F %s:%p"), "alice:past\n");
    assert_eq!(town.good("alice", "grant home/door bob"), "home/door: bob is that already\n");
}

#[test]
fn whoever_waits_reads_on_as_soon_as_the_door_opens() {
    let town = Town::new();
    door(&town, "");
    let mut owner = town.start("alice", "shell");
    owner.type_in(b"whoami\n");
    owner.prints("connected to");
    let mut sub = town.start("bob", "sub home/door --wait -C 2 --strict");
    sub.says("the owner alice is connected now");
    let asks = owner.says("bob (");
    assert!(asks.contains("asks to join home/door: grant home/door bob"), "{asks}");
    owner.type_in(b"grant home/door bob --trust-new\n");
    owner.prints("bob can read and publish; 2 members");
    sub.says("you are a member of home/door now");
    assert_eq!(sub.line(), "past");
    owner.type_in(b"publish home/door new\n");
    assert_eq!(sub.line(), "new");
    assert!(sub.wait().success());
}

#[test]
fn who_is_denied_is_told_why_and_who_is_not_allowed_is_told_whose_it_is() {
    let town = Town::new();
    door(&town, "");
    assert_eq!(town.run("bob", "sub home/door").code, 6);
    let mut deny = town.sealmq("alice");
    deny.args(["deny", "home/door", "bob", "--because", "ask the landlord"]);
    let denied = crate::support::run(deny, b"");
    assert_eq!(denied.out, "home/door: bob is turned away; 1 member\n", "{denied:?}");
    let refused = town.run("bob", "sub home/door --wait");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("ask the landlord"), "{}", refused.err);

    town.good("alice", "policy home/door closed");
    let closed = town.run("carol", "sub home/door");
    assert_eq!(closed.code, 5, "{closed:?}");
    assert!(closed.err.contains("takes nobody who asks"), "{}", closed.err);
    let stranger = town.run("carol", "pub -t home/door -m x");
    assert_eq!(stranger.code, 5, "{stranger:?}");
    assert!(stranger.err.contains("`sealmq sub 'home/door'` asks to join"), "{}", stranger.err);

    town.good("alice", "grant home/door bob --trust-new");
    for line in ["grant home/door carol --trust-new", "rotate home/door", "policy home/door open"] {
        let not_yours = town.run("bob", line);
        assert_eq!(not_yours.code, 5, "{line}: {not_yours:?}");
        assert!(not_yours.err.contains("sealmq members"), "{line}: {}", not_yours.err);
    }
}

#[test]
fn who_is_removed_reads_no_more_and_the_others_go_on() {
    let town = Town::new();
    town.good("alice", "create home/door --to bob,carol --trust-new");
    town.good("alice", "create home/garage --to bob");
    town.good("alice", "create attic --to carol");
    town.good("bob", "pub -t home/door -m from-bob");
    let mut carol = town.start("carol", "sub home/door -F %s:%p -C 2");
    assert_eq!(carol.line(), "bob:from-bob");
    let removed = town.good("alice", "revoke home/door bob");
    assert_eq!(removed, "epoch 1 of home/door: bob can no longer read; 2 members\n");
    for line in ["sub home/door -e", "pub -t home/door -m x"] {
        assert_eq!(town.run("bob", line).code, 5, "{line}");
    }
    town.good("alice", "pub -t home/door -m between-us");
    assert_eq!(carol.line(), "alice:between-us");
    assert!(carol.wait().success());
    assert_eq!(
        town.good("alice", "rotate home/door"),
        "epoch 2 of home/door: a new key for the same members; 2 members\n"
    );
    assert_eq!(town.good("carol", "sub home/door -e"), "from-bob\nbetween-us\n", "the past stays readable");

    let everywhere = town.good("alice", "revoke --everywhere bob");
    assert_eq!(everywhere, "epoch 1 of home/garage: bob can no longer read; 1 member\n");
    let nowhere = town.run("alice", "revoke --everywhere bob");
    assert!(nowhere.code == 0 && nowhere.err.contains("no member of any of the 3 topics"), "{nowhere:?}");
}

#[test]
fn an_admin_lets_in_and_a_recovery_key_is_shown_as_what_it_is() {
    let town = Town::new();
    let safe = town.path("certs/carol.crt");
    let made = town.good("alice", &format!("create a --to bob --trust-new --recovery {}", safe.display()));
    assert!(made.starts_with("created a for 2 members and a recovery key\n"), "{made}");
    let members = town.good("bob", "members a");
    let row = members.lines().find(|line| line.starts_with("carol")).expect("listed");
    assert!(row.contains(" recovery ") && row.ends_with("recovery key, never connects"), "{row}");
    assert_eq!(town.good("alice", "grant a bob --admin"), "a: bob is an admin now; 3 members\n");
    assert!(town.good("bob", "topics").contains("admin"));
    assert_eq!(town.good("bob", "rotate a"), "epoch 1 of a: a new key for the same members; 3 members\n");
    let bad = town.run("alice", &format!("create b --recovery {}", town.path("certs/broker.crt").display()));
    assert_eq!(bad.code, 4, "{bad:?}");
}

#[test]
fn a_steward_lets_in_who_asks_and_removes_who_is_revoked() {
    let town = Town::new();
    door(&town, "--policy open");
    let mut steward = town.start("alice", "steward");
    assert!(steward.line().contains("Never run it on the broker's host"));
    steward.prints("alice is a steward");
    let mut sub = town.start("bob", "sub home/door --wait -C 1");
    assert_eq!(sub.line(), "past");
    assert!(sub.wait().success());
    let let_in = steward.prints("was let in");
    assert!(let_in.starts_with("bob ("), "{let_in}");

    town.revoke("bob");
    let rotated = steward.prints("has epoch 1");
    assert!(rotated.contains("without bob"), "{rotated}");
    assert!(!town.good("alice", "members home/door").contains("bob"));
    steward.interrupt();
    assert!(steward.wait().success());
}

#[test]
fn an_owners_shell_removes_who_is_revoked() {
    let town = Town::new();
    town.good("alice", "create a --to bob,carol --trust-new");
    town.revoke("bob");
    // Until the owner's client is there, nobody may do anything about it.
    let mut waiting = town.good("alice", "topics");
    while !waiting.contains("rotate due") {
        waiting = town.good("alice", "topics");
    }
    assert!(!town.good("carol", "topics").contains("rotate due"), "it is not hers to do");
    let shell = town.start("alice", "shell");
    let rotated = shell.says("has epoch 1");
    assert!(rotated.contains("without bob"), "{rotated}");
    assert!(!town.good("carol", "members a").contains("bob"));
    assert!(!town.good("alice", "topics").contains("rotate due"));
}

#[test]
fn under_since_join_the_past_is_left_out_and_that_is_no_fault() {
    let town = Town::new();
    door(&town, "--history since-join");
    let granted = town.good("alice", "grant home/door bob --trust-new");
    assert_eq!(granted, "epoch 1 of home/door: bob can read and publish; 2 members\n");
    town.good("alice", "pub -t home/door -m new");
    let read = town.run("bob", "sub home/door -e --strict");
    assert_eq!((read.code, read.out.as_str()), (0, "new\n"), "{read:?}");
    assert!(read.err.contains("from before you joined") && !read.err.contains("NOT BELIEVED"), "{read:?}");
}

#[test]
fn a_filter_asks_for_nothing_but_says_what_else_there_is() {
    let town = Town::new();
    town.topic("home/kitchen");
    door(&town, "");
    let read = town.run("bob", "sub home/# -e");
    assert_eq!(read.code, 0, "{read:?}");
    assert!(read.err.contains("home/# also matches 1 topic of which you are no member"), "{}", read.err);
    assert_eq!(town.good("alice", "requests"), "");
}

#[test]
fn the_shell_has_all_of_it() {
    let town = Town::new();
    door(&town, "");
    assert_eq!(town.run_with("bob", "shell", b"subscribe home/door\n").code, 6);
    let script = b"requests\n\
        grant home/door bob --trust-new\n\
        grant home/door bob --admin\n\
        rotate home/door\n\
        policy home/door closed\n\
        retention home/door --retain-count 5\n\
        deny home/door carol --because no\n\
        revoke --everywhere bob\n\
        delete home/door\n\
        delete home/door --yes\n\
        topics\n";
    let ended = town.run_with("alice", "shell", script);
    assert_eq!(ended.code, 2, "deleting without a word of caution is the last failure: {ended:?}");
    for line in [
        "home/door: bob can read and publish; 2 members",
        "home/door: bob is an admin now; 2 members",
        "epoch 1 of home/door: a new key for the same members; 2 members",
        "home/door: nobody may ask to join; 2 members",
        "home/door keeps 5 messages or 64 MiB, whichever is less",
        "home/door: carol is turned away; 2 members",
        "epoch 2 of home/door: bob can no longer read; 1 member",
    ] {
        assert!(ended.out.lines().any(|printed| printed == line), "{line}: {ended:?}");
    }
    assert!(ended.err.contains("line 9: ") && ended.err.contains("deleted home/door"), "{ended:?}");
    assert_eq!(town.good("alice", "topics"), "");
}
